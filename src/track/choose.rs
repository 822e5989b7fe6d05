//! Which layer of each track a viewer gets: what the estimate of its path carries, shared between
//! its tracks, and changed no oftener than is good to look at.

use crate::egress::estimate::Micros;
use crate::limits::{
    CHOICE_DOWN_AFTER, CHOICE_FLAP, CHOICE_PAUSE_LEAST, CHOICE_PAUSE_MOST, CHOICE_UP_AFTER,
};

/// What is left for audio, in bits a second.
const AUDIO_BITS: f64 = 50_000.0;
/// A better layer must fit into this share of what the present one need to be kept.
const UP_SHARE: f64 = 0.89;

/// A layer that a viewer may get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// The layer's number.
    pub layer: u8,
    /// What there must be room for to send it, in bits a second.
    pub bits_per_s: f64,
}

/// A track that a viewer takes: its layers, the least demanding first, and how urgent it is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Tracks of a higher priority get better layers first.
    pub priority: u8,
    /// The layers there are, within the viewer's limits.
    pub rungs: &'a [Rung],
    /// Which of the rungs it gets: what [`share`] decides.
    pub rung: usize,
}

/// What of an estimate may be shared between tracks.
#[must_use]
pub fn usable(bits_per_s: f64) -> f64 {
    (bits_per_s - AUDIO_BITS).max(0.0)
}

/// The estimate of which so much is usable for tracks, a better layer's share kept free.
#[must_use]
pub fn needed(bits_per_s: f64) -> f64 {
    bits_per_s / UP_SHARE + AUDIO_BITS
}

/// What a layer counts as.
#[must_use]
pub fn cost(rung: Rung) -> f64 {
    rung.bits_per_s
}

/// Gives each track its lowest layer, then, by priority and cheapest step first, better ones as
/// long as they fit into `usable` bits a second.
pub fn share(tracks: &mut [Wanted<'_>], usable: f64) {
    let mut left = usable;
    for track in tracks.iter_mut() {
        track.rung = 0;
        left -= track.rungs.first().copied().map_or(0.0, cost);
    }
    while let Some((step, track)) = cheapest_step(tracks, left) {
        tracks[track].rung += 1;
        left -= step;
    }
}

/// The next step up that fits: of the tracks of the highest priority that have one, the cheapest.
fn cheapest_step(tracks: &[Wanted<'_>], left: f64) -> Option<(f64, usize)> {
    let mut best: Option<(f64, usize)> = None;
    for (index, track) in tracks.iter().enumerate() {
        let Some(next) = track.rungs.get(track.rung + 1) else { continue };
        let step = cost(*next) - cost(track.rungs[track.rung]);
        let is_better = best.is_none_or(|(cheapest, other)| {
            (tracks[other].priority, step).lt(&(track.priority, cheapest))
        });
        if step <= left && is_better {
            best = Some((step, index));
        }
    }
    best
}

/// When a track may change its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Since when a better layer would fit, and since when this one does not.
    better: Option<Micros>,
    worse: Option<Micros>,
    changed: Option<Micros>,
    rose: Option<Micros>,
    pause: Micros,
}

impl Default for Steps {
    fn default() -> Steps {
        let pause = CHOICE_PAUSE_LEAST.as_micros() as Micros;
        Steps { better: None, worse: None, changed: None, rose: None, pause }
    }
}

impl Steps {
    /// The rung that follows `now`: `fits` is the best that fits, `fits_easily` the best that
    /// would with room to spare.
    pub fn next(
        &mut self,
        now: Micros,
        now_at: usize,
        (fits, fits_easily): (usize, usize),
        overuse: bool,
    ) -> usize {
        let micros = |time: std::time::Duration| time.as_micros() as Micros;
        let lasted = |since: &mut Option<Micros>, is_so: bool| {
            *since = is_so.then(|| since.unwrap_or(now));
            since.map_or(0, |since| now.saturating_sub(since))
        };
        let better = lasted(&mut self.better, fits_easily > now_at);
        let worse = lasted(&mut self.worse, fits < now_at);
        let since_change = self.changed.map_or(Micros::MAX, |at| now.saturating_sub(at));
        if fits < now_at && (overuse || worse >= micros(CHOICE_DOWN_AFTER)) {
            let since_rise = self.rose.map_or(Micros::MAX, |at| now.saturating_sub(at));
            self.pause = if since_rise < micros(CHOICE_FLAP) {
                (self.pause * 2).min(micros(CHOICE_PAUSE_MOST))
            } else {
                micros(CHOICE_PAUSE_LEAST)
            };
            self.changed_at(now);
            return fits;
        }
        if fits_easily > now_at && better >= micros(CHOICE_UP_AFTER) && since_change >= self.pause {
            self.changed_at(now);
            self.rose = Some(now);
            return fits_easily;
        }
        now_at
    }

    /// The path has become wider at `widened`: that the track fell before is not its fault, and it
    /// need wait no longer for that.
    pub fn forgive(&mut self, widened: Option<Micros>) {
        if widened > self.changed {
            self.pause = CHOICE_PAUSE_LEAST.as_micros() as Micros;
        }
    }

    fn changed_at(&mut self, now: Micros) {
        (self.changed, self.better, self.worse) = (Some(now), None, None);
    }
}

/// The share of what is usable that a better layer must fit into.
#[must_use]
pub fn easily(usable: f64) -> f64 {
    UP_SHARE * usable
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNGS: [Rung; 3] = [
        Rung { layer: 2, bits_per_s: 100_000.0 },
        Rung { layer: 0, bits_per_s: 500_000.0 },
        Rung { layer: 1, bits_per_s: 2_000_000.0 },
    ];

    fn shared(priorities: &[u8], usable: f64) -> Vec<usize> {
        let track = |priority: &u8| Wanted { priority: *priority, rungs: &RUNGS, rung: 9 };
        let mut tracks: Vec<_> = priorities.iter().map(track).collect();
        share(&mut tracks, usable);
        tracks.iter().map(|track| track.rung).collect()
    }

    #[test]
    fn all_get_their_lowest_and_the_urgent_better_ones_first() {
        assert_eq!(shared(&[0, 0, 0], 0.0), [0, 0, 0], "never nothing");
        assert_eq!(shared(&[0, 0, 0], 1_300_000.0), [1, 1, 0]);
        assert_eq!(shared(&[0, 1, 0], 2_500_000.0), [0, 2, 0]);
        assert_eq!(shared(&[0, 1, 0], 900_000.0), [0, 1, 0]);
        assert_eq!(shared(&[0, 0], 5_000_000.0), [2, 2]);
        assert!(shared(&[], 5_000_000.0).is_empty());
        share(&mut [Wanted { priority: 0, rungs: &[], rung: 0 }], 1.0);
    }

    const MS: Micros = 1_000;

    #[test]
    fn up_takes_time_and_down_is_at_once_on_overuse() {
        let mut steps = Steps::default();
        let mut at = |ms: Micros, rung, fits, overuse| steps.next(ms * MS, rung, fits, overuse);
        assert_eq!(at(0, 0, (2, 2), false), 0);
        assert_eq!(at(499, 0, (2, 2), false), 0);
        assert_eq!(at(500, 0, (2, 2), false), 2);
        assert_eq!(at(600, 2, (1, 1), false), 2, "it may pass");
        assert_eq!(at(700, 2, (1, 1), true), 1);
        assert_eq!(at(1_000, 1, (0, 0), false), 1);
        assert_eq!(at(1_300, 1, (0, 0), false), 0);
    }

    #[test]
    fn who_falls_soon_after_a_rise_waits_twice_as_long_each_time() {
        let mut steps = Steps::default();
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..8 {
            let fell = now;
            while steps.next(now, 0, (1, 1), false) == 0 {
                now += 100 * MS;
            }
            waits.push((now - fell) / (1_000 * MS));
            now += 1_000 * MS;
            assert_eq!(steps.next(now, 1, (0, 0), true), 0);
        }
        assert_eq!(waits, [0, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn who_fell_waits_no_longer_once_its_path_has_become_wider() {
        let mut steps = Steps::default();
        let mut now = 0;
        for _ in 0..4 {
            while steps.next(now, 0, (1, 1), false) == 0 {
                now += 100 * MS;
            }
            now += 1_000 * MS;
            assert_eq!(steps.next(now, 1, (0, 0), true), 0);
        }
        let fell = now;
        let waited = |widened| {
            let mut steps = steps;
            let rises = |after: &Micros| {
                steps.forgive(Some(widened));
                steps.next(fell + after, 0, (1, 1), false) == 1
            };
            (0..).step_by(100_000).find(rises)
        };
        assert_eq!(waited(fell - MS), Some(32_000 * MS), "it was wider before it fell");
        assert_eq!(waited(fell + MS), Some(2_000 * MS));
    }
}
