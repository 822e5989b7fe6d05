//! How far a peer's DTLS handshake has come, told by the outside of its records.
//!
//! The handshake itself is the library's. This reads what passes in the clear (RFC 6347 §4.1,
//! RFC 9147 §4), so that a session that never connected can be told apart: nothing came, its hello
//! came, its keys came, or it gave up and said why.

use super::be16;

/// What a peer sent last in its handshake. A later flight is greater; an alert is greater than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flight {
    /// A ClientHello, or a ServerHello where the peer is the server.
    Hello,
    /// Its certificate or its half of the key agreement, in the clear as in DTLS 1.2.
    Keys,
    /// Encrypted records: its Finished in DTLS 1.2, all but the hello in DTLS 1.3.
    Sealed,
    /// An alert in the clear, with its description (RFC 8446 §6).
    Alert(u8),
}

/// Type, version, epoch, sequence number and length (RFC 6347 §4.1).
const RECORD_HEADER_BYTES: usize = 13;

/// Records looked at in one datagram: the longest flight of a client has five.
const MOST_RECORDS: usize = 8;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// `001xxxxx`: the unified header of DTLS 1.3's encrypted records (RFC 9147 §4).
const UNIFIED_HEADER: std::ops::RangeInclusive<u8> = 0x20..=0x3f;

/// The furthest flight in one datagram; `None` when nothing in it tells.
#[must_use]
pub fn flight(datagram: &[u8]) -> Option<Flight> {
    let mut furthest = None;
    let mut rest = datagram;
    for _ in 0..MOST_RECORDS {
        let Some(kind) = rest.first() else { break };
        if UNIFIED_HEADER.contains(kind) {
            return furthest.max(Some(Flight::Sealed));
        }
        let (Some(epoch), Some(length)) = (be16(rest, 3), be16(rest, 11)) else { break };
        let after = RECORD_HEADER_BYTES + usize::from(length);
        let Some(body) = rest.get(RECORD_HEADER_BYTES..after) else { break };
        furthest = furthest.max(told_by(*kind, epoch, body));
        rest = &rest[after..];
    }
    furthest
}

fn told_by(kind: u8, epoch: u16, body: &[u8]) -> Option<Flight> {
    match (kind, epoch, body) {
        (CHANGE_CIPHER_SPEC, _, _) => Some(Flight::Sealed),
        (HANDSHAKE | ALERT, 1.., _) => Some(Flight::Sealed),
        (ALERT, 0, [_level, description, ..]) => Some(Flight::Alert(*description)),
        // HelloRequest, ClientHello, ServerHello, HelloVerifyRequest (RFC 6347 §4.3.2).
        (HANDSHAKE, 0, [0..=3, ..]) => Some(Flight::Hello),
        (HANDSHAKE, 0, [_, ..]) => Some(Flight::Keys),
        _ => None,
    }
}

/// The name of an alert (RFC 8446 §6); empty where it has none here.
#[must_use]
pub const fn alert_name(description: u8) -> &'static str {
    match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xfe, 0xfd];
        record.extend(epoch.to_be_bytes());
        record.extend([0; 6]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn the_furthest_record_of_a_datagram_counts() {
        let hello = record(HANDSHAKE, 0, &[1, 0, 0]);
        let keys = record(HANDSHAKE, 0, &[16, 0, 0]);
        let change = record(CHANGE_CIPHER_SPEC, 0, &[1]);
        let finished = record(HANDSHAKE, 1, &[0x99; 40]);
        assert_eq!(flight(&hello), Some(Flight::Hello));
        assert_eq!(flight(&keys), Some(Flight::Keys));
        assert_eq!(flight(&[keys.clone(), change, finished].concat()), Some(Flight::Sealed));
        assert_eq!(flight(&[0x2f, 1, 2]), Some(Flight::Sealed), "the header of DTLS 1.3");
        assert_eq!(flight(&record(ALERT, 0, &[2, 42])), Some(Flight::Alert(42)));
        assert_eq!(flight(&record(ALERT, 1, &[2, 42])), Some(Flight::Sealed));
        assert!(Flight::Alert(0) > Flight::Sealed && Flight::Sealed > Flight::Keys);
    }

    #[test]
    fn what_is_cut_short_tells_nothing() {
        let hello = record(HANDSHAKE, 0, &[1, 0, 0]);
        for length in 0..hello.len() {
            assert_eq!(flight(&hello[..length]), None, "{length} bytes");
        }
        assert_eq!(flight(&record(HANDSHAKE, 0, &[])), None);
        assert_eq!(flight(&record(23, 0, &[1, 2, 3])), None, "application data in the clear");
    }
}
