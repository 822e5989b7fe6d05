//! What checks may cost: those with a wrong password, and those from ever new addresses, are
//! refused unread once they come by the thousand.

use std::time::{Duration, Instant};

use crate::limits::{
    NEW_ADDRESSES, NEW_ADDRESSES_PER_SECOND, REFUSED_CHECKS, REFUSED_CHECKS_PER_SECOND,
};

/// The checks of one session.
#[derive(Debug)]
pub(super) struct Guard {
    /// Whether a check ever had a wrong password.
    pub refused: bool,
    /// Checks that may yet have a wrong password, by paths of the session's own and by others: a
    /// stranger's flood does not use up what the session's client has.
    wrong: [Allowance; 2],
    /// Addresses that may yet be proved.
    addresses: Allowance,
}

impl Guard {
    pub fn new(now: Instant) -> Guard {
        let wrong = || Allowance::full(now, REFUSED_CHECKS, REFUSED_CHECKS_PER_SECOND);
        Guard {
            refused: false,
            wrong: [wrong(), wrong()],
            addresses: Allowance::full(now, NEW_ADDRESSES, NEW_ADDRESSES_PER_SECOND),
        }
    }

    /// Whether one more check may be verified: `is_own` says whether it came by a path of the
    /// session's own.
    pub fn may_be_wrong(&mut self, now: Instant, is_own: bool) -> bool {
        self.wrong[usize::from(is_own)].is_left(now)
    }

    /// A check had a wrong password. True the first time.
    pub fn was_wrong(&mut self, now: Instant, is_own: bool) -> bool {
        self.wrong[usize::from(is_own)].take(now);
        !std::mem::replace(&mut self.refused, true)
    }

    /// Whether one more address may be proved.
    pub fn may_be_new(&mut self, now: Instant) -> bool {
        self.addresses.is_left(now)
    }

    /// An address was proved.
    pub fn was_new(&mut self, now: Instant) {
        self.addresses.take(now);
    }
}

/// So many at once, and so many a second.
#[derive(Debug)]
struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    /// Up to when what is left was earned.
    earned: Instant,
}

impl Allowance {
    fn full(now: Instant, most: u32, per_second: u32) -> Allowance {
        Allowance { left: most, most, per_second, earned: now }
    }

    fn is_left(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.earned);
        let earned = passed.as_nanos() * u128::from(self.per_second) / NANOS;
        if earned >= u128::from(self.most - self.left) {
            (self.left, self.earned) = (self.most, now.max(self.earned));
        } else if earned > 0 {
            self.left += earned as u32;
            let worth = earned * NANOS / u128::from(self.per_second);
            self.earned += Duration::from_nanos(worth as u64);
        }
        self.left > 0
    }

    fn take(&mut self, now: Instant) {
        if self.is_left(now) {
            self.left -= 1;
        }
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_passwords_are_looked_at_so_often_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut guard = Guard::new(start);
        let mut looked_at = |at: Instant, asked: u32| {
            let checks = 0..asked;
            let look = |_: &u32| {
                guard.may_be_wrong(at, false) && {
                    guard.was_wrong(at, false);
                    true
                }
            };
            checks.filter(look).count() as u32
        };
        assert_eq!(looked_at(start, 100_000), REFUSED_CHECKS);
        let mut later = 0;
        for step in 1..=1_000 {
            later += looked_at(start + Duration::from_millis(7 * step), 3);
        }
        assert_eq!(later, 7 * REFUSED_CHECKS_PER_SECOND);
        assert!(guard.may_be_wrong(start, true), "by its own paths the client is heard");
        let earned = |rest: u64| start + Duration::from_secs(1_000 + rest);
        assert!(guard.may_be_wrong(earned(0), false));
    }
}
