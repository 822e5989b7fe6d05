//! What a viewer's path carries, by what the viewer says of it without saying when packets come:
//! its own estimate (REMB), or the share that is lost.

use super::told::{Bound, Told};
use super::{Estimate, Micros, Reason, State};
use crate::limits::{ESTIMATE_LEAST, TOLD_MOST};

/// What is thought of the path of such a viewer.
#[derive(Debug)]
pub struct Hearsay {
    told: Told,
    bits_per_s: f64,
    lost: Option<f64>,
    reason: Reason,
    /// Whether anything was said against the path carrying everything.
    is_doubted: bool,
}

impl Default for Hearsay {
    fn default() -> Hearsay {
        Hearsay {
            told: Told::default(),
            bits_per_s: ESTIMATE_LEAST,
            lost: None,
            reason: Reason::Start,
            is_doubted: false,
        }
    }
}

impl Hearsay {
    /// The best layers need so many bits a second. Until the viewer says otherwise its path carries
    /// them, and what is beyond them by far was never tried.
    pub fn assume(&mut self, needed: f64) {
        let most = (TOLD_MOST * needed).max(ESTIMATE_LEAST);
        self.bits_per_s = if self.is_doubted { self.bits_per_s.min(most) } else { most };
    }

    /// Whether anything was ever said against its carrying everything.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// The viewer's own estimate.
    pub fn remb(&mut self, now: Micros, bits_per_s: u64) {
        let bound = self.told.remb(now, bits_per_s as f64, self.bits_per_s, 0.0);
        self.follow(bound, Reason::Told);
    }

    /// The share of its video that it lost, in 1/256.
    pub fn report(&mut self, now: Micros, fraction_lost: u8) {
        self.lost = Some(f64::from(fraction_lost) / 256.0);
        let bound = self.told.report(now, fraction_lost, self.bits_per_s);
        self.follow(bound, Reason::Loss);
    }

    /// What is thought of the path.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        Estimate {
            bits_per_s: self.bits_per_s,
            ceiling_bits_per_s: None,
            queue_ms: 0.0,
            lost: self.lost,
            state: State::Unknown,
            rival: false,
            reason: self.reason,
            widened: None,
        }
    }

    fn follow(&mut self, bound: Option<Bound>, reason: Reason) {
        match bound {
            Some(Bound::AtMost(most)) if most < self.bits_per_s => {
                (self.bits_per_s, self.reason) = (most.max(ESTIMATE_LEAST), reason);
                self.is_doubted = true;
            }
            Some(Bound::AtLeast(least)) => self.bits_per_s = self.bits_per_s.max(least),
            Some(Bound::AtMost(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn a_path_of_which_nothing_bad_is_said_carries_everything() {
        let mut hearsay = Hearsay::default();
        for (second, needed) in (1..20).zip([2e6, 4e6].into_iter().cycle()) {
            hearsay.report(second * SECOND, 3);
            hearsay.assume(needed);
            assert!(hearsay.estimate().bits_per_s >= needed);
        }
    }

    #[test]
    fn losses_lower_it_at_once_and_it_comes_back_slowly() {
        let mut hearsay = Hearsay::default();
        hearsay.assume(2e6);
        hearsay.report(SECOND, 128);
        let low = hearsay.estimate().bits_per_s;
        assert!(low < 0.8 * TOLD_MOST * 2e6, "{low}");
        let mut seconds = 1;
        while hearsay.estimate().bits_per_s < TOLD_MOST * 2e6 {
            seconds += 1;
            hearsay.report(seconds * SECOND, 0);
            hearsay.assume(2e6);
        }
        assert!((4..12).contains(&seconds), "{seconds} s");
        assert_eq!(hearsay.estimate().reason, Reason::Loss);
    }

    #[test]
    fn an_estimate_of_the_viewers_own_counts_whatever_it_is() {
        let mut hearsay = Hearsay::default();
        hearsay.assume(2e6);
        hearsay.remb(SECOND, 300_000);
        assert_eq!(hearsay.estimate().bits_per_s, 3e5);
        hearsay.remb(2 * SECOND, 0);
        assert_eq!(hearsay.estimate().bits_per_s, ESTIMATE_LEAST);
    }
}
