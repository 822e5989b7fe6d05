//! What viewers say that give no transport-wide feedback: their own estimate
//! (draft-alvestrand-rmcat-remb), or losses alone (RFC 3550 §6.4.1).

use super::Micros;

/// Growth a second of the rate towards what a viewer says.
const GROWTH: f64 = 1.08;
/// Transport-wide feedback that is older than this is none.
const MEASURED: Micros = 2_000_000;
/// An estimate that is older than this is none.
const TOLD: Micros = 15_000_000;
/// Beside transport-wide feedback, an estimate counts below this share of what arrives.
const FAR_LOWER: f64 = 0.5;
/// Losses in 1/256 below and above which the rate is moved: 2 % and 10 % (GCC §6).
const FEW: u8 = 5;
const MANY: u8 = 26;

/// What follows for the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What was said, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    measured: Option<Micros>,
    remb: Option<(Micros, f64)>,
    reported: Option<Micros>,
}

impl Told {
    /// Transport-wide feedback came.
    pub fn measured(&mut self, now: Micros) {
        self.measured = Some(now);
    }

    /// The viewer's own estimate, beside a rate of which `acked` arrives.
    pub fn remb(&mut self, now: Micros, told: f64, rate: f64, acked: f64) -> Option<Bound> {
        let passed = self.remb.map_or(0, |(at, _)| now.saturating_sub(at));
        self.remb = Some((now, told));
        if self.is_measured(now) {
            return (told < FAR_LOWER * acked).then_some(Bound::AtMost(told));
        }
        if told <= rate {
            return Some(Bound::AtMost(told));
        }
        let grown = rate * GROWTH.powf(passed.min(1_000_000) as f64 / 1e6);
        Some(Bound::AtLeast(grown.min(told)))
    }

    /// Losses of the viewer's media since the report before.
    pub fn report(&mut self, now: Micros, fraction_lost: u8, rate: f64) -> Option<Bound> {
        let passed = self.reported.map_or(0, |at| now.saturating_sub(at));
        if self.is_measured(now) {
            return None;
        }
        self.reported = Some(now);
        if fraction_lost > MANY {
            return Some(Bound::AtMost(rate * (1.0 - f64::from(fraction_lost) / 512.0)));
        }
        let is_told = self.remb.is_some_and(|(at, _)| now.saturating_sub(at) < TOLD);
        // However often it reports: five percent a second.
        let grown = rate * (1.0 + 0.05 * passed.min(1_000_000) as f64 / 1e6);
        (fraction_lost < FEW && !is_told).then_some(Bound::AtLeast(grown))
    }

    fn is_measured(&self, now: Micros) -> bool {
        self.measured.is_some_and(|at| now.saturating_sub(at) < MEASURED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn the_rate_falls_to_what_a_viewer_says_at_once_and_rises_slowly() {
        let mut told = Told::default();
        assert_eq!(told.remb(SECOND, 0.4e6, 1e6, 0.0), Some(Bound::AtMost(0.4e6)));
        let risen = told.remb(2 * SECOND, 9e6, 1e6, 0.0);
        assert_eq!(risen, Some(Bound::AtLeast(1e6 * GROWTH)));
        assert_eq!(told.remb(2 * SECOND, 9e6, 1e6, 0.0), Some(Bound::AtLeast(1e6)), "often");
    }

    #[test]
    fn beside_feedback_only_a_far_lower_estimate_counts() {
        let mut told = Told::default();
        told.measured(SECOND);
        assert_eq!(told.remb(SECOND, 0.6e6, 1e6, 1e6), None);
        assert_eq!(told.remb(SECOND, 0.4e6, 1e6, 1e6), Some(Bound::AtMost(0.4e6)));
        assert_eq!(told.report(SECOND, 200, 1e6), None);
        assert!(told.remb(SECOND + MEASURED, 0.6e6, 1e6, 1e6).is_some(), "it has stopped");
    }

    #[test]
    fn losses_alone_move_the_rate_when_there_is_nothing_else() {
        let mut told = Told::default();
        assert_eq!(told.report(SECOND, 128, 1e6), Some(Bound::AtMost(0.75e6)));
        assert_eq!(told.report(2 * SECOND, 10, 1e6), None, "neither few nor many");
        assert_eq!(told.report(3 * SECOND, 0, 1e6), Some(Bound::AtLeast(1.05e6)));
        told.remb(3 * SECOND, 1e6, 1e6, 0.0);
        assert_eq!(told.report(4 * SECOND, 0, 1e6), None, "the estimate is the bound");
    }
}
