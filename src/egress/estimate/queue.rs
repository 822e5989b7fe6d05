//! How long the queue on the path is: a delay, less the least of the last seconds.

use super::Micros;
use super::plateau::Plateau;
use crate::limits::LEAST_DELAY_SECONDS;

/// The weight of a new delay.
const WEIGHT: f64 = 0.3;

const SECOND: Micros = 1_000_000;

/// The level of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    /// The least delay of each second, in turn; delays have the difference of the clocks in them.
    least: [i64; LEAST_DELAY_SECONDS],
    second: Micros,
    level_ms: f64,
    newest: i64,
    plateau: Plateau,
}

impl Queue {
    pub fn new() -> Queue {
        Queue {
            least: [i64::MAX; LEAST_DELAY_SECONDS],
            second: 0,
            level_ms: 0.0,
            newest: 0,
            plateau: Plateau::new(),
        }
    }

    /// The level, in milliseconds.
    pub fn level_ms(&self) -> f64 {
        self.level_ms
    }

    /// How long the newest group has waited, in microseconds.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// A group that left at `sent` took so long, in microseconds and whatever the clocks differ by.
    /// The least delay of a path is not forgotten while it is `occupied` by somebody. True where
    /// the path has turned out to be longer than it was: what was taken for a queue is none.
    pub fn note(&mut self, sent: Micros, delay: i64, occupied: bool) -> bool {
        let second = sent / SECOND;
        let passed = second.saturating_sub(self.second).min(LEAST_DELAY_SECONDS as Micros);
        let kept = if occupied { self.least() } else { i64::MAX };
        for step in 0..passed {
            self.least[place(second - step)] = kept;
        }
        self.second = self.second.max(second);
        let least = &mut self.least[place(second)];
        *least = delay.min(*least);
        let longer = self.plateau.note(passed > 0, delay, self.least());
        if let Some(least) = longer {
            let by_ms = least.saturating_sub(self.least()) as f64 / 1_000.0;
            self.least.fill(least);
            self.level_ms = (self.level_ms - by_ms).max(0.0);
        }
        self.newest = delay.saturating_sub(self.least()).max(0);
        let above_ms = self.newest as f64 / 1_000.0;
        self.level_ms += WEIGHT * (above_ms - self.level_ms);
        longer.is_some()
    }

    fn least(&self) -> i64 {
        self.least.into_iter().fold(i64::MAX, i64::min)
    }
}

fn place(second: Micros) -> usize {
    (second % LEAST_DELAY_SECONDS as Micros) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(queue: &mut Queue, from: Micros, groups: u64, delay: i64) -> f64 {
        (0..groups).for_each(|group| _ = queue.note(from + group * 33_000, delay, false));
        queue.level_ms()
    }

    #[test]
    fn the_level_is_what_a_delay_has_above_the_least() {
        let mut queue = Queue::new();
        assert_eq!(noted(&mut queue, 0, 30, -7_000_000), 0.0, "clocks differ by any amount");
        let level = noted(&mut queue, SECOND, 30, -7_000_000 + 50_000);
        assert!((49.0..=50.0).contains(&level), "{level}");
    }

    #[test]
    fn a_path_that_has_become_longer_is_taken_as_it_is_in_the_end() {
        let mut queue = Queue::new();
        noted(&mut queue, 0, 30, 0);
        assert!(noted(&mut queue, SECOND, 120, 80_000) > 79.0);
        assert!(noted(&mut queue, 5 * SECOND, 60, 80_000) < 1.0);
        // After a pause as well.
        assert!(noted(&mut queue, 90 * SECOND, 30, 500_000) < 1.0);
    }

    #[test]
    fn the_least_is_not_forgotten_while_somebody_fills_the_queue() {
        let mut queue = Queue::new();
        noted(&mut queue, 0, 30, 0);
        let fills = |second: u64| 80_000 + (second % 4) as i64 * 10_000;
        (0..40).for_each(|second| _ = queue.note(second * SECOND, fills(second), true));
        assert!(queue.level_ms() > 79.0, "{}", queue.level_ms());
    }
}
