//! How much of what waits may leave now: a key frame all at once would be a queue on the path, and
//! losses where that is short.

use crate::egress::estimate::Micros;
use crate::limits::{PACE_LEAST_BYTES, PACE_TICK};

/// A frame up to so many times the mean leaves at once: it is no burst.
const WHOLE: u32 = 2;
/// The weight of a new frame in the mean, as a divisor.
const WEIGHT: u32 = 16;

/// A viewer's credit. It may be overdrawn by the packet that uses it up.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes that may leave.
    credit: f64,
    filled: Micros,
    /// Bytes of a frame, on average.
    frame: u32,
}

impl Pace {
    /// Credit for one tick.
    #[must_use]
    pub fn new(now: Micros) -> Pace {
        Pace { credit: f64::from(PACE_LEAST_BYTES), filled: now, frame: 0 }
    }

    /// Time has passed, in which so much may leave.
    pub fn earn(&mut self, now: Micros, bits_per_s: f64) {
        let per_micro = bits_per_s / 8e6;
        let tick = per_micro * PACE_TICK.as_micros() as f64;
        let most = tick + f64::from(PACE_LEAST_BYTES);
        let passed = now.saturating_sub(self.filled) as f64;
        self.credit = (self.credit + per_micro * passed).min(most);
        self.filled = self.filled.max(now);
    }

    /// Whether anything more may leave now.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.credit > 0.0
    }

    /// So many bytes have left.
    pub fn spend(&mut self, bytes: u32) {
        self.credit -= f64::from(bytes);
    }

    /// Whether a frame of so many bytes, of a viewer for whom nothing waits, leaves whole.
    pub fn admits_whole(&mut self, bytes: u32) -> bool {
        let is_whole = self.frame == 0 || bytes <= WHOLE * self.frame;
        let frame = if self.frame == 0 { bytes } else { self.frame };
        self.frame = frame - frame / WEIGHT + bytes / WEIGHT;
        is_whole || self.credit >= f64::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that leave in a second in packets of 1,000, ticks of 10 ms.
    fn leaves(bits_per_s: f64) -> u32 {
        let mut pace = Pace::new(0);
        let mut left = 0;
        for tick in 1..=100 {
            pace.earn(tick * 10_000, bits_per_s);
            while pace.has_credit() {
                pace.spend(1_000);
                left += 1_000;
            }
        }
        left
    }

    #[test]
    fn what_waits_leaves_at_the_rate_that_is_given() {
        for rate in [100_000u32, 1_000_000, 10_000_000] {
            let expected = rate / 8;
            let left = leaves(f64::from(rate));
            let most = expected + 2 * PACE_LEAST_BYTES + 2_000;
            assert!((expected..=most).contains(&left), "{left} of {expected}");
        }
    }

    #[test]
    fn a_pause_earns_no_burst() {
        let mut pace = Pace::new(0);
        pace.earn(60_000_000, 1e6);
        pace.spend(1_250 + PACE_LEAST_BYTES);
        assert!(!pace.has_credit());
    }

    #[test]
    fn frames_leave_whole_unless_they_are_far_above_the_mean() {
        let mut pace = Pace::new(0);
        (0..50).for_each(|_| assert!(pace.admits_whole(4_000)));
        assert!(pace.admits_whole(7_900));
        assert!(!pace.admits_whole(24_000));
    }
}
