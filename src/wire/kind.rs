//! Which protocol a datagram speaks, told by its first byte (RFC 7983, as updated by RFC 9443).

use super::link;

/// A protocol that shares the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// ICE connectivity checks.
    Stun,
    /// Key agreement.
    Dtls,
    /// Media (SRTP).
    Rtp,
    /// Reports and feedback (SRTCP).
    Rtcp,
    /// What other nodes send (`src/link`).
    Link,
}

/// Tells the protocol of a datagram; `None` for an empty one and for first bytes that belong to
/// none of ours (ZRTP, TURN channels but the last of them, and QUIC).
///
/// RTP and RTCP share their first byte. RFC 5761 §4 tells them apart by the second: 192 to 223 is
/// an RTCP packet type, which is why no RTP payload type from 64 to 95 may be negotiated.
#[must_use]
#[inline]
pub fn of(bytes: &[u8]) -> Option<Kind> {
    match *bytes.first()? {
        0..=3 => Some(Kind::Stun),
        20..=63 => Some(Kind::Dtls),
        link::FIRST_BYTE => Some(Kind::Link),
        128..=191 => match *bytes.get(1)? {
            192..=223 => Some(Kind::Rtcp),
            _ => Some(Kind::Rtp),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, of};

    #[test]
    fn first_bytes_follow_the_table_of_rfc_7983() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Some(Kind::Stun),
                20..=63 => Some(Kind::Dtls),
                79 => Some(Kind::Link),
                128..=191 => Some(Kind::Rtp),
                _ => None,
            };
            assert_eq!(of(&[first, 96]), expected, "first byte {first}");
        }
    }

    #[test]
    fn second_bytes_follow_rfc_5761() {
        for second in 0..=255u8 {
            let rtcp = (192..=223).contains(&second);
            assert_eq!(of(&[0x80, second]), Some(if rtcp { Kind::Rtcp } else { Kind::Rtp }));
        }
    }

    #[test]
    fn nothing_is_guessed_from_too_few_bytes() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0x80]), None);
        assert_eq!(of(&[0x16]), Some(Kind::Dtls));
    }
}
