//! A queue that is not ours: a download fills it, and stays whatever the viewer's media does. Who
//! gives way to it is starved; so delays are not listened to until it has gone.

use super::Micros;
use crate::limits::{QUEUE_OVERUSE, RIVAL_AFTER, RIVAL_GONE_AFTER};

/// Below this, in milliseconds, the queue counts as gone.
const GONE_MS: f64 = 25.0;
/// The rate has fallen to this share, and this share of the queue is still there.
const FALLEN_TO: f64 = 0.75;
const STILL_THERE: f64 = 0.6;
/// A queue that was shorter than this when the rate began to fall counts as this long.
const LEVEL_LEAST_MS: f64 = 40.0;
/// Less than this share of the ceiling makes no queue.
const SMALL: f64 = 0.5;
const AFTER: Micros = RIVAL_AFTER.as_micros() as Micros;
/// A share of losses above which the queue is ours.
const LOST: f64 = 0.15;
/// Clocks that drift by 100 ppm are 12 ms apart then, which is less than [`GONE_MS`].
const OCCUPIES: Micros = 120_000_000;

/// When the rate began to fall, and from where.
#[derive(Clone, Copy, Debug)]
struct Fall {
    since: Micros,
    level_ms: f64,
    rate: f64,
}

/// Whether the queue is another's.
#[derive(Debug, Default)]
pub(super) struct Rival {
    fall: Option<Fall>,
    /// When the queue was long the last time.
    long_at: Micros,
    came: Option<Micros>,
    /// Since when there is a queue though little is sent.
    small_since: Option<Micros>,
}

impl Rival {
    pub fn is_there(&self) -> bool {
        self.came.is_some()
    }

    /// Whether the path's least delay is from before it came: for long that can't be said, as
    /// clocks drift apart.
    pub fn occupies(&self, now: Micros) -> bool {
        self.came.is_some_and(|came| now.saturating_sub(came) < OCCUPIES)
    }

    /// Looks at the level of the queue, at the rate so far, and at whether there is overuse. When
    /// it turns out that the queue is another's, the rate is returned that it was given up at.
    pub fn look(&mut self, now: Micros, level_ms: f64, rate: f64, signs: Signs) -> Option<f64> {
        if level_ms >= GONE_MS {
            self.long_at = now;
        } else if now.saturating_sub(self.long_at) > RIVAL_GONE_AFTER.as_micros() as Micros {
            (self.fall, self.came) = (None, None);
        }
        // Who loses much does not get through beside another, but has a path that is too narrow.
        if signs.lost > LOST && signs.share_of_ceiling >= SMALL {
            (self.fall, self.came) = (None, None);
            return None;
        }
        // A queue that stands while far less is sent than the path carries is another's, too.
        let gone = RIVAL_GONE_AFTER.as_micros() as Micros;
        let is_queue = self.long_at > 0 && now.saturating_sub(self.long_at) < gone;
        let is_small = is_queue && signs.share_of_ceiling < SMALL;
        self.small_since = is_small.then(|| self.small_since.unwrap_or(now));
        let stands = self.small_since.is_some_and(|since| now.saturating_sub(since) > AFTER);
        if stands && self.came.is_none() {
            self.came = Some(now);
            return Some(self.fall.map_or(rate, |fall| FALLEN_TO * fall.rate));
        }
        if !signs.overuse && level_ms <= QUEUE_OVERUSE.as_millis() as f64 {
            return None;
        }
        let fall = *self.fall.get_or_insert(Fall { since: now, level_ms, rate });
        let long_enough = now.saturating_sub(fall.since) > AFTER;
        let stays = level_ms > STILL_THERE * fall.level_ms.max(LEVEL_LEAST_MS);
        let is_new = self.came.is_none();
        if is_new && long_enough && stays && rate < FALLEN_TO * fall.rate {
            self.came = Some(now);
            return Some(FALLEN_TO * fall.rate);
        }
        None
    }
}

/// What else tells whose a queue is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    /// Delays grow.
    pub overuse: bool,
    /// The share of packets that was lost.
    pub lost: f64,
    /// What arrives, of what the path could carry at most.
    pub share_of_ceiling: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERUSE: Signs = Signs { overuse: true, lost: 0.01, share_of_ceiling: 1.0 };
    const CALM: Signs = Signs { overuse: false, ..OVERUSE };

    /// Overuse from 10 s on, with these levels and rates each 100 ms.
    fn seen(rival: &mut Rival, from: Micros, steps: u64, level_ms: f64, rate: f64) -> bool {
        for step in 0..steps {
            rival.look(from + step * 100_000, level_ms, rate, OVERUSE);
        }
        rival.is_there()
    }

    #[test]
    fn a_queue_that_stays_when_the_rate_has_fallen_is_anothers() {
        let mut rival = Rival::default();
        assert!(!seen(&mut rival, 10_000_000, 1, 100.0, 2e6));
        assert!(!seen(&mut rival, 10_100_000, 20, 90.0, 1e6), "too soon to tell");
        assert!(seen(&mut rival, 12_100_000, 6, 90.0, 1e6));
    }

    #[test]
    fn a_queue_that_goes_with_the_rate_is_ours() {
        let mut rival = Rival::default();
        seen(&mut rival, 10_000_000, 1, 100.0, 2e6);
        assert!(!seen(&mut rival, 10_100_000, 40, 50.0, 1e6), "it drains");
        let mut rival = Rival::default();
        seen(&mut rival, 10_000_000, 1, 100.0, 2e6);
        assert!(!seen(&mut rival, 10_100_000, 40, 100.0, 1.6e6), "the rate has hardly fallen");
    }

    #[test]
    fn it_has_gone_when_the_queue_has_been_short_for_a_while() {
        let mut rival = Rival::default();
        seen(&mut rival, 10_000_000, 1, 100.0, 2e6);
        assert!(seen(&mut rival, 10_100_000, 40, 90.0, 1e6));
        for step in 0..10 {
            rival.look(14_100_000 + step * 100_000, 10.0, 1e6, CALM);
        }
        assert!(rival.is_there(), "not at once");
        rival.look(15_200_000, 10.0, 1e6, CALM);
        assert!(!rival.is_there());
    }

    #[test]
    fn it_gives_back_what_was_given_up_for_it_unless_much_is_lost() {
        let mut rival = Rival::default();
        rival.look(10_000_000, 100.0, 2e6, OVERUSE);
        assert_eq!(rival.look(12_600_000, 90.0, 1e6, OVERUSE), Some(1.5e6));
        assert_eq!(rival.look(12_700_000, 90.0, 1.5e6, OVERUSE), None, "once");
        assert!(rival.occupies(12_700_000) && !rival.occupies(12_600_000 + OCCUPIES));
        rival.look(12_800_000, 90.0, 1.5e6, Signs { lost: 0.2, ..OVERUSE });
        assert!(!rival.is_there(), "a path that is too narrow");
    }

    #[test]
    fn a_queue_that_stands_while_little_is_sent_is_anothers() {
        let signs = Signs { share_of_ceiling: 0.4, ..CALM };
        let stands = |level_ms, signs| {
            let mut rival = Rival::default();
            (0..40).for_each(|step| _ = rival.look(step * 100_000, level_ms, 1e6, signs));
            rival.is_there()
        };
        assert!(stands(30.0, signs));
        assert!(!stands(20.0, signs));
        assert!(!stands(30.0, Signs { share_of_ceiling: 0.6, ..CALM }));
    }
}
