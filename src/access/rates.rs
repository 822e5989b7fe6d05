//! How often somebody may do something: a rate, and some of it at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{MAX_RATED, RATE_BURST_SECONDS, RATED_LOOK};

/// Rates of those who have not been quiet lately, by a number that names each.
pub struct Rates {
    /// How much time one takes; `None` where there is no limit.
    each: Option<Duration>,
    known: Mutex<Known>,
}

/// When what somebody has used up will be there again.
#[derive(Default)]
struct Known {
    whole_at: HashMap<u64, Instant>,
    /// Those for whom there was no place.
    others: Option<Instant>,
    looked: Option<Instant>,
}

impl Rates {
    /// `per_second` for each, and [`RATE_BURST_SECONDS`] times as many at once; 0 is no limit.
    #[must_use]
    pub fn new(per_second: u32) -> Rates {
        let each = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Rates { each, known: Mutex::default() }
    }

    /// Takes one of `who` in.
    ///
    /// # Errors
    /// How long it is until it may come again.
    pub fn admit(&self, who: u64, now: Instant) -> Result<(), Duration> {
        let Some(each) = self.each else { return Ok(()) };
        // Nothing under the lock panics half-way.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let whole_at = known.place(who, now);
        let used = whole_at.saturating_duration_since(now) + each;
        let most = Duration::from_secs(u64::from(RATE_BURST_SECONDS));
        if used > most {
            return Err(used - most);
        }
        *whole_at = now + used;
        Ok(())
    }
}

impl Known {
    /// What is known of `who`, with a place made where there is one.
    fn place(&mut self, who: u64, now: Instant) -> &mut Instant {
        let is_full = self.whole_at.len() >= MAX_RATED && !self.whole_at.contains_key(&who);
        if is_full && self.looked.is_none_or(|looked| now >= looked + RATED_LOOK) {
            self.looked = Some(now);
            self.whole_at.retain(|_, whole_at| *whole_at > now);
        }
        if is_full && self.whole_at.len() >= MAX_RATED {
            return self.others.get_or_insert(now);
        }
        self.whole_at.entry(who).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_burst_and_then_its_rate_and_nobody_has_that_of_another() {
        let rates = Rates::new(10);
        let start = Instant::now();
        let burst = 10 * RATE_BURST_SECONDS;
        assert_eq!((0..100).filter(|_| rates.admit(1, start).is_ok()).count(), burst as usize);
        let wait = rates.admit(1, start).expect_err("it has had its share");
        assert_eq!(wait, Duration::from_millis(100));
        assert!(rates.admit(2, start).is_ok());
        assert!(rates.admit(1, start + wait).is_ok());
        assert!(rates.admit(1, start + wait).is_err(), "one more, and no second one");
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| rates.admit(1, later).is_ok()).count(), burst as usize);
        let free = Rates::new(0);
        assert!((0..10_000).all(|_| free.admit(1, start).is_ok()));
    }

    #[test]
    fn however_many_there_are_memory_has_a_bound_and_the_quiet_make_room() {
        let rates = Rates::new(1);
        let start = Instant::now();
        for who in 0..2 * MAX_RATED as u64 {
            let _ = rates.admit(who, start);
        }
        let known = || rates.known.lock().unwrap().whole_at.len();
        assert_eq!(known(), MAX_RATED);
        assert!(rates.admit(u64::MAX, start).is_err(), "those without a place share a rate");
        assert!(rates.admit(1, start).is_ok(), "who has a place has it");
        let later = start + Duration::from_secs(10);
        assert!(rates.admit(u64::MAX, later).is_ok());
        assert!(known() <= 2, "the quiet are forgotten: {}", known());
    }
}
