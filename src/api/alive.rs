//! Whether shards turn.
//!
//! A shard counts its turns. One that has nothing to do sleeps for up to half a minute, so a count
//! that stands still says nothing yet: the shard is rung, as for a command, and a ring is always
//! followed by a turn. One whose count has not moved for [`STUCK_AFTER`] though it was rung is
//! stuck: in an endless loop, in a system call, or without a core to run on.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::limits::STUCK_AFTER;

/// What is known of the shards' turns.
pub(super) struct Alive {
    seen: Mutex<Vec<Seen>>,
    stuck: Vec<AtomicBool>,
}

struct Seen {
    turns: u64,
    /// When the count had last moved.
    at: Instant,
}

impl Alive {
    pub fn new(shards: usize, now: Instant) -> Alive {
        let seen = (0..shards).map(|_| Seen { turns: 0, at: now }).collect();
        Alive {
            seen: Mutex::new(seen),
            stuck: (0..shards).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Looks at every shard's count of `turns`, and rings those that have not turned since the last
    /// look.
    pub fn look(
        &self,
        now: Instant,
        turns: impl Iterator<Item = u64>,
        mut ring: impl FnMut(usize),
    ) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for ((index, seen), turns) in seen.iter_mut().enumerate().zip(turns) {
            if turns != seen.turns {
                *seen = Seen { turns, at: now };
            } else {
                ring(index);
            }
            let stuck = now.saturating_duration_since(seen.at) >= STUCK_AFTER;
            let before = self.stuck[index].swap(stuck, Ordering::Relaxed);
            match (before, stuck) {
                (false, true) => tracing::error!(
                    "shard {index} has made no turn for {} s though it was rung: it hangs, or \
                     gets no core",
                    STUCK_AFTER.as_secs()
                ),
                (true, false) => tracing::warn!("shard {index} turns again"),
                _ => {}
            }
        }
    }

    /// Whether a shard was stuck at the last look.
    pub fn is_stuck(&self, shard: usize) -> bool {
        self.stuck.get(shard).is_some_and(|stuck| stuck.load(Ordering::Relaxed))
    }

    /// The shards that were.
    pub fn stuck(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.stuck.len()).filter(|shard| self.is_stuck(*shard))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_shard_that_was_rung_in_vain_is_stuck_until_it_turns() {
        let start = Instant::now();
        let alive = Alive::new(2, start);
        let seconds = STUCK_AFTER.as_secs();
        let mut rung = Vec::new();
        for second in 0..=seconds {
            assert_eq!(alive.stuck().count(), 0, "not before {seconds} s");
            let now = start + Duration::from_secs(second);
            alive.look(now, [second + 1, 0].into_iter(), |shard| rung.push(shard));
        }
        assert!(alive.stuck().eq([1]), "shard 0 turned all the time");
        assert!(rung.iter().all(|shard| *shard == 1) && rung.len() as u64 == seconds + 1);
        alive.look(start + 2 * STUCK_AFTER, [99, 1].into_iter(), |_| {});
        assert_eq!(alive.stuck().count(), 0);
    }
}
