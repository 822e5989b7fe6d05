//! A look at a STUN message (RFC 8489) that finds the session it is for.
//!
//! This is a peek, not an agent: MESSAGE-INTEGRITY and FINGERPRINT are verified by the session,
//! which alone knows the password. Nothing read here may change state before that.

use super::{Malformed, be16, be32};
use crate::limits::MAX_STUN_ATTRIBUTES;

/// What a STUN message is, by the two class bits of its type (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Asks for an answer: a connectivity check.
    Request,
    /// Asks for none: a keep-alive.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

/// What can be told of a STUN message without a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek<'a> {
    /// Request, indication or response.
    pub class: Class,
    /// The method is Binding, the only one ICE uses.
    pub binding: bool,
    /// Echoed by a response.
    pub transaction_id: [u8; 12],
    /// The part of USERNAME before the colon: the receiver's ufrag (RFC 8445 §7.2.2). `None` when
    /// there is no USERNAME or no colon in it.
    pub local_ufrag: Option<&'a [u8]>,
    /// USE-CANDIDATE is present: the peer nominates this 4-tuple (RFC 8445 §7.1.2).
    pub use_candidate: bool,
}

pub(super) const HEADER_LEN: usize = 20;
pub(super) const MAGIC_COOKIE: u32 = 0x2112_A442;
/// The method bits of the message type, which interleave with the class bits (RFC 8489 §5).
const METHOD_MASK: u16 = 0x3EEF;
const BINDING: u16 = 0x0001;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const USE_CANDIDATE: u16 = 0x0025;

/// Reads a datagram that [`super::kind`] found to be STUN.
///
/// Browsers put USERNAME first (Chromium in every request measured), so the first step of the walk
/// finds it at byte 20. The walk goes on for USE-CANDIDATE and ends at MESSAGE-INTEGRITY, because
/// what stands behind it is not covered by it and could have been appended by anyone (RFC 8489
/// §14.5); attributes behind it are neither read nor checked.
///
/// # Errors
///
/// When the datagram is not exactly one STUN message, an attribute reaches beyond it, or there are
/// more than [`MAX_STUN_ATTRIBUTES`].
#[inline]
pub fn peek(bytes: &[u8]) -> Result<Peek<'_>, Malformed> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Short)?;
    let message_type = u16::from_be_bytes([header[0], header[1]]);
    if message_type & 0xC000 != 0 || be32(header, 4) != Some(MAGIC_COOKIE) {
        return Err(Malformed::Constant);
    }
    // RFC 8489 §5: the length counts what follows the header and is a multiple of four. Over UDP
    // one datagram is one message, so anything else is not STUN.
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if !length.is_multiple_of(4) || length != bytes.len() - HEADER_LEN {
        return Err(Malformed::Length);
    }
    let mut transaction_id = [0; 12];
    transaction_id.copy_from_slice(&header[8..]);
    let (local_ufrag, use_candidate) = walk(&bytes[HEADER_LEN..])?;
    Ok(Peek {
        class: class_of(message_type),
        binding: message_type & METHOD_MASK == BINDING,
        transaction_id,
        local_ufrag,
        use_candidate,
    })
}

fn class_of(message_type: u16) -> Class {
    match (message_type & 0x0100 != 0, message_type & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    }
}

/// Walks the attributes up to MESSAGE-INTEGRITY for the ufrag and USE-CANDIDATE.
fn walk(mut attributes: &[u8]) -> Result<(Option<&[u8]>, bool), Malformed> {
    let mut username = None;
    let mut use_candidate = false;
    let mut seen = 0;
    while !attributes.is_empty() {
        if seen == MAX_STUN_ATTRIBUTES {
            return Err(Malformed::TooMany);
        }
        seen += 1;
        let kind = be16(attributes, 0).ok_or(Malformed::Length)?;
        let length = usize::from(be16(attributes, 2).ok_or(Malformed::Length)?);
        let value = attributes.get(4..4 + length).ok_or(Malformed::Length)?;
        match kind {
            // RFC 8489 §14: of an attribute that appears twice, only the first counts.
            USERNAME if username.is_none() => username = Some(value),
            USE_CANDIDATE => use_candidate = true,
            MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 => break,
            _ => {}
        }
        attributes = attributes.get(4 + length.next_multiple_of(4)..).ok_or(Malformed::Length)?;
    }
    Ok((username.and_then(before_colon), use_candidate))
}

fn before_colon(username: &[u8]) -> Option<&[u8]> {
    let colon = username.iter().position(|&byte| byte == b':')?;
    Some(&username[..colon])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: u16 = 0x0001;

    /// Lays out a message the way a correct sender does.
    fn message(message_type: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut bytes = message_type.to_be_bytes().to_vec();
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend(*b"transaction!");
        bytes.extend(body);
        bytes
    }

    /// The request Chromium sends, attribute for attribute.
    fn chromium(nominating: bool) -> Vec<u8> {
        let mut attributes: Vec<(u16, &[u8])> =
            vec![(USERNAME, b"BBBAAAQIDAAFcml4+F:abcd"), (0xC057, &[0; 4]), (0x802A, &[0; 8])];
        if nominating {
            attributes.push((USE_CANDIDATE, &[]));
        }
        attributes.extend([
            (0x0024, [0; 4].as_slice()),
            (MESSAGE_INTEGRITY, &[0; 20]),
            (0x8028, &[0; 4]),
        ]);
        message(REQUEST, &attributes)
    }

    #[test]
    fn chromium_request_is_read() {
        for nominating in [false, true] {
            let bytes = chromium(nominating);
            let peek = peek(&bytes).unwrap();
            assert_eq!(peek.class, Class::Request);
            assert!(peek.binding);
            assert_eq!(&peek.transaction_id, b"transaction!");
            assert_eq!(peek.local_ufrag, Some(b"BBBAAAQIDAAFcml4+F".as_slice()));
            assert_eq!(peek.use_candidate, nominating);
        }
    }

    #[test]
    fn classes_and_methods_are_told_apart() {
        let told = |message_type| {
            let bytes = message(message_type, &[]);
            peek(&bytes).map(|peek| (peek.class, peek.binding)).unwrap()
        };
        assert_eq!(told(0x0001), (Class::Request, true));
        assert_eq!(told(0x0011), (Class::Indication, true));
        assert_eq!(told(0x0101), (Class::Success, true));
        assert_eq!(told(0x0111), (Class::Error, true));
        assert_eq!(told(0x0003), (Class::Request, false));
        assert_eq!(told(0x2001), (Class::Request, false));
    }

    #[test]
    fn username_is_found_wherever_it_stands() {
        let bytes = message(REQUEST, &[(0x0024, &[0; 4]), (0x8022, b"agent"), (USERNAME, b"a:b")]);
        assert_eq!(peek(&bytes).unwrap().local_ufrag, Some(b"a".as_slice()));
    }

    #[test]
    fn a_second_username_does_not_count() {
        let bytes = message(REQUEST, &[(USERNAME, b"first:x"), (USERNAME, b"second:x")]);
        assert_eq!(peek(&bytes).unwrap().local_ufrag, Some(b"first".as_slice()));
    }

    #[test]
    fn what_follows_message_integrity_is_not_believed() {
        for integrity in [MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256] {
            let bytes = message(
                REQUEST,
                &[(integrity, &[0; 20]), (USE_CANDIDATE, &[]), (USERNAME, b"late:x")],
            );
            let peek = peek(&bytes).unwrap();
            assert_eq!((peek.local_ufrag, peek.use_candidate), (None, false));
        }
    }

    #[test]
    fn a_username_without_colon_names_nobody() {
        let bytes = message(REQUEST, &[(USERNAME, b"BBBAAAQIDAAFcml4+F")]);
        assert_eq!(peek(&bytes).unwrap().local_ufrag, None);
    }

    #[test]
    fn lengths_must_agree_with_the_datagram() {
        let good = chromium(false);
        let mut trailing = good.clone();
        trailing.extend([0; 4]);
        assert_eq!(peek(&trailing), Err(Malformed::Length));
        assert_eq!(peek(&good[..good.len() - 4]), Err(Malformed::Length));
        assert_eq!(peek(&good[..19]), Err(Malformed::Short));
        let mut odd = message(REQUEST, &[]);
        odd.push(0);
        odd[3] = 1;
        assert_eq!(peek(&odd), Err(Malformed::Length));
        let mut reaching = message(REQUEST, &[(USERNAME, b"a:bc")]);
        reaching[23] = 5;
        assert_eq!(peek(&reaching), Err(Malformed::Length));
    }

    #[test]
    fn type_bits_and_cookie_are_demanded() {
        let mut cookie = chromium(false);
        cookie[7] ^= 1;
        assert_eq!(peek(&cookie), Err(Malformed::Constant));
        let mut bits = chromium(false);
        bits[0] |= 0x40;
        assert_eq!(peek(&bits), Err(Malformed::Constant));
    }

    #[test]
    fn attributes_are_bounded() {
        let full = vec![(0x8000, [].as_slice()); MAX_STUN_ATTRIBUTES];
        assert!(peek(&message(REQUEST, &full)).is_ok());
        let over = vec![(0x8000, [].as_slice()); MAX_STUN_ATTRIBUTES + 1];
        assert_eq!(peek(&message(REQUEST, &over)), Err(Malformed::TooMany));
    }

    fn optional_attribute() -> impl Strategy<Value = (u16, Vec<u8>)> {
        (0x8000u16..0x8020, prop::collection::vec(any::<u8>(), 0..9))
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = peek(&bytes);
        }

        /// Most arbitrary bytes die at the cookie; these reach the attribute walk.
        #[test]
        fn arbitrary_attributes_never_panic(mut body: Vec<u8>) {
            body.resize(body.len().next_multiple_of(4), 0);
            let mut bytes = message(REQUEST, &[]);
            bytes[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
            bytes.extend(body);
            let _ = peek(&bytes);
        }

        #[test]
        fn what_is_written_is_read(
            before in prop::collection::vec(optional_attribute(), 0..5),
            ufrag in "[A-Za-z0-9+/]{4,24}",
            nominate: bool,
        ) {
            let username = format!("{ufrag}:peer");
            let mut attributes: Vec<(u16, &[u8])> =
                before.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
            attributes.push((USERNAME, username.as_bytes()));
            if nominate {
                attributes.push((USE_CANDIDATE, &[]));
            }
            let bytes = message(REQUEST, &attributes);
            let peek = peek(&bytes).unwrap();
            prop_assert_eq!(peek.local_ufrag, Some(ufrag.as_bytes()));
            prop_assert_eq!(peek.use_candidate, nominate);
        }
    }
}
