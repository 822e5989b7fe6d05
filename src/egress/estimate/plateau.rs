//! A path that has become longer: another route, another cell, or a viewer's clock that a stall has
//! set back, as Firefox's is. Its delays look like those of a queue, but the least of each second
//! is the same from then on, whatever is sent. A queue that somebody else fills rises and falls
//! with what that sends.

use crate::limits::{PLATEAU_FLAT, PLATEAU_SECONDS, PLATEAU_SECONDS_MOST};

const FLAT: i64 = PLATEAU_FLAT.as_micros() as i64;

/// How long delays have been what they are, second by second.
#[derive(Debug)]
pub(super) struct Plateau {
    /// The least delay of this second, and the bounds of those of the seconds before it.
    least: i64,
    lowest: i64,
    highest: i64,
    seconds: u8,
    /// As many are taken for a longer path.
    needed: u8,
    /// What the path was taken to be the last time; `MIN` where it never was.
    taken: i64,
}

impl Plateau {
    pub fn new() -> Plateau {
        Plateau {
            least: i64::MAX,
            lowest: i64::MAX,
            highest: i64::MIN,
            seconds: 0,
            needed: PLATEAU_SECONDS,
            taken: i64::MIN,
        }
    }

    /// A delay, in microseconds, the first of its second or not, on a path of which `known` is the
    /// least: the least of the path that it has become, where that is so.
    pub fn note(&mut self, is_first: bool, delay: i64, known: i64) -> Option<i64> {
        // It was no longer path: somebody's queue has gone, and comes again perhaps.
        if delay < self.taken.saturating_sub(FLAT) {
            (self.taken, self.seconds) = (i64::MIN, 0);
            self.needed = (2 * self.needed).min(PLATEAU_SECONDS_MOST);
        }
        if !is_first {
            self.least = self.least.min(delay);
            return None;
        }
        let least = std::mem::replace(&mut self.least, delay);
        let (lowest, highest) = (self.lowest.min(least), self.highest.max(least));
        if self.seconds == 0 || highest.saturating_sub(lowest) > FLAT {
            (self.lowest, self.highest, self.seconds) = (least, least, 1);
            return None;
        }
        (self.lowest, self.highest) = (lowest, highest);
        self.seconds = self.seconds.saturating_add(1);
        if self.seconds < self.needed || lowest <= known.saturating_add(FLAT) {
            return None;
        }
        self.taken = lowest;
        Some(lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: i64 = -7_000_000;

    /// Delays of so many seconds, ten in each, above what is known: the second in which the path is
    /// taken to be longer, and by how much.
    fn taken(plateau: &mut Plateau, from: u64, above: impl Fn(u64) -> i64) -> Option<(u64, i64)> {
        (10 * from..10 * (from + 30)).find_map(|tenth| {
            let delay = KNOWN + above(tenth);
            plateau
                .note(tenth % 10 == 0, delay, KNOWN)
                .map(|least| (tenth / 10 - from, least - KNOWN))
        })
    }

    #[test]
    fn delays_that_stay_for_seconds_are_those_of_a_longer_path() {
        let mut plateau = Plateau::new();
        let jitter = |tenth: u64| (tenth % 10) as i64 * 700;
        let longer = taken(&mut plateau, 100, |tenth| 90_000 + jitter(tenth));
        assert_eq!(longer, Some((u64::from(PLATEAU_SECONDS), 90_000)));
        let same = taken(&mut Plateau::new(), 100, |tenth| jitter(tenth) + FLAT / 2);
        assert_eq!(same, None, "no longer than it was");
    }

    #[test]
    fn a_queue_that_somebody_else_fills_rises_and_falls() {
        // A sawtooth of four seconds.
        let queue = |tenth: u64| 40_000 + (tenth % 40) as i64 * 1_000;
        assert_eq!(taken(&mut Plateau::new(), 100, queue), None);
    }

    #[test]
    fn who_was_taken_for_a_longer_path_and_was_none_is_looked_at_for_twice_as_long() {
        let mut plateau = Plateau::new();
        let waits = [0, 40, 80, 120, 160].map(|from| {
            let waited = taken(&mut plateau, 100 + from, |_| 90_000).map(|(after, _)| after);
            // It drains.
            plateau.note(true, KNOWN, KNOWN);
            waited
        });
        assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
    }
}
