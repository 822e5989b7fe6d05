//! What is said at fixed times, and only when there is something to say: ten thousand peers that
//! are asked fifty times a second whether they have are more work than all that comes for them.

use std::time::{Duration, Instant};

/// A time that comes again and again.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    every: Duration,
    next: Instant,
    wanted: bool,
}

impl Beat {
    /// The first is at `now`.
    #[must_use]
    pub fn new(every: Duration, now: Instant) -> Self {
        Self { every, next: now, wanted: false }
    }

    /// The next beat, while there is something to say.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.wanted.then_some(self.next)
    }

    /// There is something to say since `now`, or nothing more; what passed meanwhile is over.
    pub fn want(&mut self, wanted: bool, now: Instant) {
        if wanted && !self.wanted && self.next < now {
            let passed = now.duration_since(self.next).as_nanos().div_ceil(self.every.as_nanos());
            self.next += self.every.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX));
        }
        self.wanted = wanted;
    }

    /// It was said at `now`, with `more` to say at once.
    pub fn said(&mut self, more: bool, now: Instant) {
        self.next = if more { now } else { now + self.every };
        self.wanted = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_its_times_while_nobody_wants_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut beat = Beat::new(Duration::from_millis(20), start);
        assert_eq!(beat.due(), None);
        beat.want(true, start);
        assert_eq!(beat.due(), Some(start), "the first is at once");
        beat.said(false, at(1));
        assert_eq!(beat.due(), None);
        beat.want(true, at(2));
        assert_eq!(beat.due(), Some(at(21)));
        beat.want(false, at(3));
        assert_eq!(beat.due(), None, "there is nothing more to say");
        beat.want(true, at(62));
        assert_eq!(beat.due(), Some(at(81)), "of the beats at 21, 41, 61 and 81");
        beat.want(true, at(100));
        assert_eq!(beat.due(), Some(at(81)), "one that is wanted waits for who is late");
        beat.said(true, at(101));
        assert_eq!(beat.due(), Some(at(101)));
    }
}
