//! How often a publisher is asked for a key frame.

use std::time::{Duration, Instant};

/// Lets one key frame request through per interval, and remembers one that came too early.
#[derive(Debug, Default)]
pub struct KeyframeThrottle {
    last: Option<Instant>,
    waiting: bool,
}

impl KeyframeThrottle {
    /// Notes that somebody needs a key frame.
    pub fn request(&mut self) {
        self.waiting = true;
    }

    /// Whether the publisher is to be asked now: a request waits, and the last one that was sent
    /// is `interval` ago.
    pub fn due(&mut self, now: Instant, interval: Duration) -> bool {
        let due = self.waiting && self.last.is_none_or(|last| now >= last + interval);
        if due {
            self.last = Some(now);
            self.waiting = false;
        }
        due
    }

    /// When a waiting request may be sent.
    #[must_use]
    pub fn deadline(&self, interval: Duration) -> Option<Instant> {
        self.waiting.then(|| self.last.map(|last| last + interval)).flatten()
    }

    /// A key frame has come: nobody waits any more.
    pub fn satisfied(&mut self) {
        self.waiting = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_within_the_interval_become_one() {
        let start = Instant::now();
        let interval = Duration::from_millis(500);
        let mut throttle = KeyframeThrottle::default();
        assert!(!throttle.due(start, interval), "nobody asked");
        throttle.request();
        assert!(throttle.due(start, interval));
        throttle.request();
        throttle.request();
        assert!(!throttle.due(start + interval / 2, interval));
        assert_eq!(throttle.deadline(interval), Some(start + interval));
        assert!(throttle.due(start + interval, interval), "the early request was not lost");
        assert!(!throttle.due(start + interval * 3, interval));
    }
}
