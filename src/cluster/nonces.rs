//! Requests that were heard: none is heard twice while its time is good.

use std::collections::HashSet;
use std::time::Instant;

use super::Unsigned;
use crate::limits::{CLUSTER_CLOCK_SKEW, MAX_FORWARD_NONCES};

/// Numbers of the requests of the last while, in two halves of which the older is forgotten whole.
pub(super) struct Nonces {
    now: HashSet<u128>,
    before: HashSet<u128>,
    since: Instant,
}

impl Nonces {
    pub fn new(since: Instant) -> Nonces {
        Nonces { now: HashSet::new(), before: HashSet::new(), since }
    }

    /// Takes in a number, unless it is known. Who has the secret alone gets here; where there are
    /// too many, the oldest are forgotten sooner.
    pub fn take(&mut self, nonce: &str, at: Instant) -> Result<(), Unsigned> {
        // A request may come by a clock that is behind, and again by one that is ahead.
        let is_over = at.duration_since(self.since) >= CLUSTER_CLOCK_SKEW * 2;
        if is_over || self.now.len() >= MAX_FORWARD_NONCES {
            self.before = std::mem::take(&mut self.now);
            self.since = at;
        }
        let number = u128::from_str_radix(nonce, 16).map_err(|_error| Unsigned::Form)?;
        if self.before.contains(&number) || !self.now.insert(number) {
            return Err(Unsigned::Replayed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_for_as_long_as_its_time_is_good() {
        let start = Instant::now();
        let mut nonces = Nonces::new(start);
        let long = CLUSTER_CLOCK_SKEW * 2;
        assert_eq!(nonces.take("a", start), Ok(()));
        assert_eq!(nonces.take("0a", start), Err(Unsigned::Replayed), "it is the same number");
        assert_eq!(nonces.take("a", start + long), Err(Unsigned::Replayed));
        assert_eq!(nonces.take("b", start + long), Ok(()));
        assert_eq!(nonces.take("a", start + long * 2), Ok(()), "its time is over long since");
        assert_eq!(nonces.take("b", start + long * 2), Err(Unsigned::Replayed));
        assert_eq!(nonces.take("-", start), Err(Unsigned::Form));
    }
}
