//! What a connectivity check has that str0m takes it for, and what it lacks.
//!
//! str0m's agent wants a PRIORITY in each check, and reads a few attributes and no others. A lite
//! agent has no use for priorities (RFC 8445 §6.1.1: it makes no pairs of its own), and what is
//! optional is to be ignored, of whatever length it is (RFC 8489 §14). So a check that is not of
//! the usual kind is made anew of what str0m reads ([`super::binding::remade`]).

use super::{be16, be32};
use crate::limits::MAX_STUN_ATTRIBUTES;

const HEADER_LEN: usize = super::stun::HEADER_LEN;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// Which network the sender is on; of browsers.
const NETWORK_COST: u16 = 0xC057;
/// From here on an attribute may be ignored (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// Attributes that must be understood, and are, though they say nothing to a check's receiver:
/// those of RFC 8489 §18.3.
const UNDERSTOOD: [u16; 9] =
    [0x0001, 0x0009, 0x000A, 0x0014, 0x0015, 0x001D, 0x001E, 0x0020, 0x8022];

/// A check, read up to its MESSAGE-INTEGRITY.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckAttributes<'a> {
    /// USERNAME, both parts.
    pub username: &'a [u8],
    /// PRIORITY, where it has one.
    pub priority: Option<u32>,
    /// USE-CANDIDATE.
    pub nominates: bool,
    /// The attribute of its role with the tie breaker, where it has one.
    pub role: Option<(u16, u64)>,
    /// Whether it is of the kind that str0m reads.
    pub is_usual: bool,
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
}

/// Reads a check that [`super::stun::peek`] has found to be well formed; `None` where it is not.
#[must_use]
pub fn of_check(message: &[u8]) -> Option<CheckAttributes<'_>> {
    let mut check = CheckAttributes { is_usual: true, ..CheckAttributes::default() };
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
            PRIORITY if length == 4 => check.priority = check.priority.or(be32(value, 0)),
            USE_CANDIDATE => check.nominates = true,
            ICE_CONTROLLED | ICE_CONTROLLING if length == 8 => {
                let tie_breaker = value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                check.role = check.role.or(tie_breaker.map(|tie_breaker| (kind, tie_breaker)));
            }
            NETWORK_COST if length == 4 => {}
            _ => check.add_unusual(kind),
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    check.is_usual &= check.priority.is_some();
    Some(check)
}

impl CheckAttributes<'_> {
    fn add_unusual(&mut self, kind: u16) {
        self.is_usual = false;
        let known = [USERNAME, PRIORITY].contains(&kind) || UNDERSTOOD.contains(&kind);
        if kind < OPTIONAL && !known && self.unknowns < MAX_UNKNOWN {
            self.unknown[self.unknowns] = kind;
            self.unknowns += 1;
        }
    }
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
    fn a_usual_check_is_one_with_a_priority_and_nothing_strange() {
        let priority = (PRIORITY, [0, 0, 0, 7].as_slice());
        let usual = message(&[
            (USERNAME, b"a:b"),
            (NETWORK_COST, &[0; 4]),
            (ICE_CONTROLLING, &[0, 0, 0, 0, 0, 0, 0, 9]),
            (USE_CANDIDATE, &[]),
            priority,
            (MESSAGE_INTEGRITY, &[0; 20]),
            (0x8028, &[0; 4]),
            (0x7777, &[]),
        ]);
        let check = of_check(&usual).expect("it is well formed");
        assert!(check.is_usual && check.nominates && check.unknown().is_empty());
        assert_eq!((check.username, check.priority), (b"a:b".as_slice(), Some(7)));
        assert_eq!(check.role, Some((ICE_CONTROLLING, 9)));
        for unusual in [
            message(&[(USERNAME, b"a:b"), (USE_CANDIDATE, &[])]),
            message(&[(USERNAME, b"a:b"), priority, (0xC070, &[0; 1_100])]),
        ] {
            let check = of_check(&unusual).expect("it is well formed");
            assert!(!check.is_usual && check.unknown().is_empty());
        }
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
