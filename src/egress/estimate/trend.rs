//! Whether delays grow: a line through those of the last groups, against a threshold that adapts
//! (draft-ietf-rmcat-gcc-02 §5.3 to §5.5, with the trend line that libwebrtc has in place of the
//! Kalman filter).

use super::State;
use crate::limits::TREND_GROUPS;

/// The constants of libwebrtc's `trendline_estimator.cc`.
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const MOST_DELTAS: u32 = 60;
const THRESHOLD_START_MS: f64 = 12.5;
const THRESHOLD_LEAST_MS: f64 = 6.0;
const THRESHOLD_MOST_MS: f64 = 600.0;
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// The threshold does not follow what is this far above it.
const OUTLIER_MS: f64 = 15.0;
/// It follows at most this much time at once.
const MOST_STEP_MS: f64 = 100.0;
/// Overuse is what has lasted this long.
const OVERUSE_MS: f64 = 10.0;

/// The trend of the delays of groups.
#[derive(Debug)]
pub(super) struct Trend {
    /// When each of the last groups came, in milliseconds since the first, and the smoothed sum of
    /// how much later than the one before it came than it should have.
    points: [(f64, f64); TREND_GROUPS],
    next: u8,
    /// Groups so far, as far as it matters.
    groups: u32,
    came_ms: f64,
    late_ms: f64,
    smooth_ms: f64,
    slope: f64,
    threshold_ms: f64,
    /// How long it has been above the threshold, and how many groups.
    above: Option<(f64, u32)>,
    state: State,
}

impl Trend {
    pub fn new() -> Trend {
        Trend {
            points: [(0.0, 0.0); TREND_GROUPS],
            next: 0,
            groups: 0,
            came_ms: 0.0,
            late_ms: 0.0,
            smooth_ms: 0.0,
            slope: 0.0,
            threshold_ms: THRESHOLD_START_MS,
            above: None,
            state: State::Normal,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The next group left `sent_ms` after the one before, and came `came_ms` after it.
    pub fn note(&mut self, sent_ms: f64, came_ms: f64) {
        self.groups = (self.groups + 1).min(MOST_DELTAS);
        self.came_ms += came_ms;
        self.late_ms += came_ms - sent_ms;
        self.smooth_ms = SMOOTHING * self.smooth_ms + (1.0 - SMOOTHING) * self.late_ms;
        self.points[usize::from(self.next)] = (self.came_ms, self.smooth_ms);
        self.next = (self.next + 1) % TREND_GROUPS as u8;
        let before = self.slope;
        if self.groups as usize >= TREND_GROUPS {
            self.slope = slope(&self.points).unwrap_or(self.slope);
        }
        self.judge(before, sent_ms, came_ms);
    }

    fn judge(&mut self, before: f64, sent_ms: f64, came_ms: f64) {
        let modified = f64::from(self.groups) * self.slope * GAIN;
        self.state = if modified > self.threshold_ms {
            let (time, groups) = self.above.unwrap_or((-sent_ms / 2.0, 0));
            let (time, groups) = (time + sent_ms, groups + 1);
            self.above = Some((time, groups));
            if time > OVERUSE_MS && groups > 1 && self.slope >= before {
                self.above = Some((0.0, 0));
                State::Overuse
            } else {
                self.state
            }
        } else {
            self.above = None;
            if modified < -self.threshold_ms { State::Underuse } else { State::Normal }
        };
        let size = modified.abs();
        if size <= self.threshold_ms + OUTLIER_MS {
            let pace = if size < self.threshold_ms { THRESHOLD_DOWN } else { THRESHOLD_UP };
            let step = came_ms.clamp(0.0, MOST_STEP_MS);
            let threshold = self.threshold_ms + pace * (size - self.threshold_ms) * step;
            self.threshold_ms = threshold.clamp(THRESHOLD_LEAST_MS, THRESHOLD_MOST_MS);
        }
    }
}

/// Of the line of least squares; `None` where all came at once.
fn slope(points: &[(f64, f64); TREND_GROUPS]) -> Option<f64> {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / count, y / count);
    let spread = points.iter().fold((0.0, 0.0), |(above, below), point| {
        let dx = point.0 - x;
        (above + dx * (point.1 - y), below + dx * dx)
    });
    (spread.1 > 0.0).then(|| spread.0 / spread.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 20 ms that each come so much later than they should.
    fn after(groups: usize, late_ms: f64) -> Trend {
        let mut trend = Trend::new();
        (0..40).for_each(|_| trend.note(20.0, 20.0));
        (0..groups).for_each(|_| trend.note(20.0, 20.0 + late_ms));
        trend
    }

    #[test]
    fn delays_that_grow_are_overuse_and_those_that_shrink_are_not() {
        assert_eq!(after(0, 0.0).state(), State::Normal);
        let mut trend = after(0, 0.0);
        let needed = (1..20).find(|_| {
            trend.note(20.0, 24.0);
            trend.state() == State::Overuse
        });
        assert!(needed.is_some_and(|groups| groups > 1), "{needed:?}");
        assert_eq!(after(12, -4.0).state(), State::Underuse);
    }

    #[test]
    fn one_late_group_is_no_overuse() {
        let mut trend = after(0, 0.0);
        let mut states = [20.0, -20.0].map(|late| {
            trend.note(20.0, 20.0 + late);
            trend.state()
        });
        states.reverse();
        assert_eq!(states, [State::Normal; 2]);
    }

    #[test]
    fn the_threshold_rises_with_what_stays_above_it() {
        let mut trend = after(0, 0.0);
        let low = trend.threshold_ms;
        assert!((low - THRESHOLD_LEAST_MS).abs() < 1.0, "{low}: it falls while nothing happens");
        (0..100).for_each(|_| trend.note(20.0, 20.7));
        assert!(trend.threshold_ms > low + 1.0, "{}", trend.threshold_ms);
    }

    #[test]
    fn nothing_a_viewer_says_makes_it_other_than_a_number() {
        let mut trend = Trend::new();
        for extreme in [0.0_f64, -1e12, 1e12, 0.0, 0.0, 1e-9] {
            (0..30).for_each(|_| trend.note(extreme.abs(), extreme));
            assert!(trend.slope.is_finite() && trend.threshold_ms.is_finite());
        }
    }
}
