//! What a connectivity check asks of the agent it is for.
//!
//! A lite agent has no use for priorities and tie breakers (RFC 8445 §6.1.1: it makes no pairs of
//! its own, and its role does not change), and what is optional is to be ignored, of whatever
//! length it is (RFC 8489 §14).

use super::be16;
use crate::limits::MAX_STUN_ATTRIBUTES;

const HEADER_LEN: usize = super::stun::HEADER_LEN;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const ICE_CONTROLLED: u16 = 0x8029;
/// From here on an attribute may be ignored (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// Attributes that must be understood, and are, though most say nothing to a check's receiver:
/// those of RFC 8489 §18.3, and PRIORITY and USE-CANDIDATE of RFC 8445 §16.1.
const UNDERSTOOD: [u16; 12] = [
    0x0001, USERNAME, 0x0009, 0x000A, 0x0014, 0x0015, 0x001D, 0x001E, 0x0020, 0x0024, 0x0025,
    0x8022,
];

/// A check, read up to its MESSAGE-INTEGRITY.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckAttributes<'a> {
    /// USERNAME, both parts.
    pub username: &'a [u8],
    /// Its sender takes itself for the controlled agent, as we do (RFC 8445 §7.3.1.1).
    pub is_controlled: bool,
    unknown: [u16; MAX_UNKNOWN],
    unknowns: usize,
}

/// Of more attributes that must be understood and are not, the answer names the first.
const MAX_UNKNOWN: usize = 8;

impl CheckAttributes<'_> {
    /// Attributes that must be understood and are not.
    #[must_use]
    pub fn unknown(&self) -> &[u16] {
        &self.unknown[..self.unknowns]
    }

    fn add_unknown(&mut self, kind: u16) {
        if kind < OPTIONAL && !UNDERSTOOD.contains(&kind) && self.unknowns < MAX_UNKNOWN {
            self.unknown[self.unknowns] = kind;
            self.unknowns += 1;
        }
    }
}

/// Reads a check that [`super::stun::peek`] has found to be well formed; `None` where it is not.
#[must_use]
pub fn of_check(message: &[u8]) -> Option<CheckAttributes<'_>> {
    let mut check = CheckAttributes::default();
    let mut rest = message.get(HEADER_LEN..)?;
    for _ in 0..MAX_STUN_ATTRIBUTES {
        if rest.is_empty() {
            break;
        }
        let (kind, length) = (be16(rest, 0)?, usize::from(be16(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        match kind {
            MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 => break,
            USERNAME if check.username.is_empty() => check.username = value,
            ICE_CONTROLLED => check.is_controlled = true,
            _ => check.add_unknown(kind),
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    Some(check)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        for (kind, value) in attributes {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_check_says_whom_it_is_for_and_which_role_its_sender_has() {
        let usual = message(&[
            (USERNAME, b"a:b"),
            (0xC057, &[0; 4]),
            (0x802A, &[0, 0, 0, 0, 0, 0, 0, 9]),
            (0x0025, &[]),
            (0x0024, &[0, 0, 0, 7]),
            (USERNAME, b"c:d"),
            (MESSAGE_INTEGRITY, &[0; 20]),
            (0x8028, &[0; 4]),
            (0x7777, &[]),
            (ICE_CONTROLLED, &[0; 8]),
        ]);
        let check = of_check(&usual).expect("it is well formed");
        assert_eq!(check.username, b"a:b");
        assert!(!check.is_controlled && check.unknown().is_empty(), "what follows is not covered");
        let strange = message(&[(ICE_CONTROLLED, &[0; 3]), (0xC070, &[0; 1_100])]);
        let check = of_check(&strange).expect("it is well formed");
        assert!(check.is_controlled && check.unknown().is_empty());
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named_in_order() {
        let strange = message(&[(0x7777, &[1]), (USERNAME, b"a:b"), (0x0003, &[0; 4])]);
        assert_eq!(of_check(&strange).expect("it is well formed").unknown(), [0x7777, 0x0003]);
        let many: Vec<(u16, &[u8])> = (0..20).map(|n| (0x7000 + n, [].as_slice())).collect();
        assert_eq!(of_check(&message(&many)).expect("well formed").unknown().len(), MAX_UNKNOWN);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = of_check(&bytes);
        }
    }
}
