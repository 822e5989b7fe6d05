//! STUN Binding messages of our own (RFC 8489): written and sealed, and verified, by whoever knows
//! the password.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

use super::stun::{HEADER_LEN, MAGIC_COOKIE};
use super::{be16, be32};
use crate::limits::MAX_STUN_ATTRIBUTES;

/// Names one request and the answer to it.
pub type TransactionId = [u8; 12];

/// Binding request and its success response (RFC 8489 §5).
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// The length of an attribute's head, and those of the seal: HMAC-SHA1 and CRC-32.
const ATTRIBUTE_HEAD: usize = 4;
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 4;

/// What FINGERPRINT is XORed with: "STUN" (RFC 8489 §14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// A success response that tells its receiver the address it was seen at.
#[must_use]
pub fn response(id: TransactionId, seen_at: SocketAddr, password: &str) -> Vec<u8> {
    let mut message = begin(SUCCESS, id);
    // RFC 8489 §14.2: port and address are XORed with the cookie and, in IPv6, the transaction.
    let mask = [&MAGIC_COOKIE.to_be_bytes()[..], &id].concat();
    let mut value = vec![0];
    value.push(if seen_at.is_ipv4() { 1 } else { 2 });
    value.extend((seen_at.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes());
    let xored =
        |octets: &[u8]| -> Vec<u8> { octets.iter().zip(&mask).map(|(a, b)| a ^ b).collect() };
    match seen_at.ip() {
        IpAddr::V4(v4) => value.extend(xored(&v4.octets())),
        IpAddr::V6(v6) => value.extend(xored(&v6.octets())),
    }
    attribute(&mut message, XOR_MAPPED_ADDRESS, &value);
    sealed(message, password)
}

/// The error response to a request with attributes that must be understood and are `unknown` (RFC
/// 8489 §6.3.1).
#[must_use]
pub fn unknown_attributes(id: TransactionId, unknown: &[u16], password: &str) -> Vec<u8> {
    let mut message = begin(ERROR, id);
    // Class 4, number 20 (RFC 8489 §14.8).
    let code = [&[0, 0, 4, 20][..], b"Unknown Attribute"].concat();
    attribute(&mut message, ERROR_CODE, &code);
    let kinds: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    attribute(&mut message, UNKNOWN_ATTRIBUTES, &kinds);
    sealed(message, password)
}

/// The error response to a request whose sender is to be the controlling agent and believes to be
/// the controlled one: it changes its role and asks again (RFC 8445 §7.3.1.1).
#[must_use]
pub fn role_conflict(id: TransactionId, password: &str) -> Vec<u8> {
    let mut message = begin(ERROR, id);
    let code = [&[0, 0, 4, 87][..], b"Role Conflict"].concat();
    attribute(&mut message, ERROR_CODE, &code);
    sealed(message, password)
}

/// A check of our own, as the controlled agent (RFC 8445 §7.1). `username` is the peer's ufrag, a
/// colon and ours; `tie_breaker` is for a peer that believes to be controlled as well.
#[must_use]
pub fn request(id: TransactionId, username: &str, tie_breaker: u64, password: &str) -> Vec<u8> {
    /// Of a peer-reflexive candidate, the first component (RFC 8445 §5.1.2.1).
    const PEER_REFLEXIVE: u32 = 110 << 24 | 65_535 << 8 | 255;
    let mut message = begin(REQUEST, id);
    attribute(&mut message, USERNAME, username.as_bytes());
    attribute(&mut message, PRIORITY, &PEER_REFLEXIVE.to_be_bytes());
    attribute(&mut message, ICE_CONTROLLED, &tie_breaker.to_be_bytes());
    sealed(message, password)
}

/// Whether MESSAGE-INTEGRITY is there and `password` made it. What stands behind it is not looked
/// at (RFC 8489 §14.5).
#[must_use]
pub fn is_sealed_with(message: &[u8], password: &str) -> bool {
    let Some(at) = integrity_at(message) else { return false };
    let Some(tag) = message.get(at + ATTRIBUTE_HEAD..at + ATTRIBUTE_HEAD + INTEGRITY_LEN) else {
        return false;
    };
    // The length in the header counts up to the end of MESSAGE-INTEGRITY.
    let length = (at + ATTRIBUTE_HEAD + INTEGRITY_LEN - HEADER_LEN) as u16;
    let mut covered = message[..at].to_vec();
    covered[2..4].copy_from_slice(&length.to_be_bytes());
    hmac::verify(&key(password), &covered, tag).is_ok()
}

/// Where MESSAGE-INTEGRITY begins, in a message that is one.
fn integrity_at(message: &[u8]) -> Option<usize> {
    let mut at = HEADER_LEN;
    for _ in 0..MAX_STUN_ATTRIBUTES {
        let (kind, length) = (be16(message, at)?, usize::from(be16(message, at + 2)?));
        if kind == MESSAGE_INTEGRITY {
            return (length == INTEGRITY_LEN).then_some(at);
        }
        at += ATTRIBUTE_HEAD + length.next_multiple_of(4);
    }
    None
}

/// The transaction that a success response answers; `None` where it is no such.
#[must_use]
pub fn answered(message: &[u8]) -> Option<TransactionId> {
    let is_success = be16(message, 0)? == SUCCESS && be32(message, 4)? == MAGIC_COOKIE;
    let id = message.get(8..HEADER_LEN)?;
    is_success.then(|| id.try_into().ok()).flatten()
}

fn begin(kind: u16, id: TransactionId) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.extend(kind.to_be_bytes());
    message.extend([0; 2]);
    message.extend(MAGIC_COOKIE.to_be_bytes());
    message.extend(id);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Puts MESSAGE-INTEGRITY and FINGERPRINT behind all attributes. Each covers the length in the
/// header as if it were the last.
fn sealed(mut message: Vec<u8>, password: &str) -> Vec<u8> {
    set_length(&mut message, ATTRIBUTE_HEAD + INTEGRITY_LEN);
    let tag = hmac::sign(&key(password), &message);
    attribute(&mut message, MESSAGE_INTEGRITY, tag.as_ref());
    set_length(&mut message, ATTRIBUTE_HEAD + FINGERPRINT_LEN);
    let fingerprint = crc32(&message) ^ FINGERPRINT_MASK;
    attribute(&mut message, FINGERPRINT, &fingerprint.to_be_bytes());
    message
}

/// Sets the length in the header to what is there and `more`.
fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - HEADER_LEN + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// CRC-32 of ISO-HDLC, bit by bit: a message has a hundred bytes, and checks are few.
fn crc32(bytes: &[u8]) -> u32 {
    let rest = bytes.iter().fold(u32::MAX, |rest, byte| {
        (0..8).fold(rest ^ u32::from(*byte), |rest, _bit| {
            let odd = rest & 1 != 0;
            rest >> 1 ^ if odd { 0xedb8_8320 } else { 0 }
        })
    });
    !rest
}

#[cfg(test)]
mod tests {
    use is::stun::StunMessage;

    use super::*;

    fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        hmac::sign(&key, &parts.concat()).as_ref().try_into().expect("SHA-1 has 20 bytes")
    }

    const ID: TransactionId = *b"transaction!";

    #[test]
    fn an_agent_takes_what_is_written() {
        for seen_at in ["192.0.2.1:32853", "[2001:db8::1]:5"] {
            let seen_at: SocketAddr = seen_at.parse().unwrap();
            let bytes = response(ID, seen_at, "password");
            let message = StunMessage::parse(&bytes).expect("it is STUN");
            assert!(message.is_successful_binding_response());
            assert!(message.verify(b"password", hmac_sha1) && !message.verify(b"other", hmac_sha1));
            assert_eq!(message.mapped_address(), Some(seen_at));
            assert_eq!(answered(&bytes), Some(ID));
        }
        let bytes = request(ID, "theirs:ours", 7, "password");
        let message = StunMessage::parse(&bytes).expect("it is STUN");
        assert!(message.is_binding_request() && message.verify(b"password", hmac_sha1));
        assert_eq!(message.split_username(), Some(("theirs", "ours")));
        assert_eq!(answered(&bytes), None, "it answers nothing");
    }

    #[test]
    fn only_the_password_that_sealed_a_message_opens_it() {
        let bytes = response(ID, "192.0.2.1:1".parse().unwrap(), "password");
        assert!(is_sealed_with(&bytes, "password") && !is_sealed_with(&bytes, "passwords"));
        for changed in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[changed] ^= 1;
            // The length of the whole and the fingerprint are not covered.
            let is_covered = changed < bytes.len() - 8 && !(2..4).contains(&changed);
            assert_eq!(is_sealed_with(&forged, "password"), !is_covered, "byte {changed}");
        }
        for length in 0..bytes.len() - 8 {
            assert!(!is_sealed_with(&bytes[..length], "password"));
        }
    }

    /// RFC 5769 §2.2: a response with a MESSAGE-INTEGRITY that others made.
    #[test]
    fn the_response_of_rfc_5769_verifies() {
        let bytes = [
            &b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86"[..],
            b"\xfa\x87\xdf\xae",
            b"\x80\x22\x00\x0btest vector\x20\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43",
            b"\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9",
            b"\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7",
            b"\x80\x28\x00\x04\xc0\x7d\x4c\x96",
        ]
        .concat();
        assert!(is_sealed_with(&bytes, "VOkJxbRl1RmTxUk/WvJxBt"));
        let crc = crc32(&bytes[..bytes.len() - 8]) ^ FINGERPRINT_MASK;
        assert_eq!(crc, 0xc07d_4c96);
    }
}
