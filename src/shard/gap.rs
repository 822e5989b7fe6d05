//! The gap between turns: under load a shard rests a while before it looks again, so that a turn
//! handles several datagrams.
//!
//! A turn costs 16 to 24 µs besides its packets, most of it going to sleep and being woken. Where
//! thousands of small streams send at times of their own, a turn comes nearly per packet. A shard
//! that is busy then lets datagrams wait for up to a millisecond. One with little to do wakes at
//! once: only energy would be gained, and latency paid.
//!
//! While it rests, mail and commands wait too: who sends them sees a shard that is awake and makes
//! no system call.

use std::time::{Duration, Instant};

/// How often the load is looked at.
const WINDOW: Duration = Duration::from_millis(100);

/// From which share of its core on, in thousandths, a shard rests how long.
const STEPS: [(u64, Duration); 4] = [
    (0, Duration::ZERO),
    (250, Duration::from_micros(250)),
    (500, Duration::from_micros(500)),
    (750, Duration::from_micros(1_000)),
];

/// A longer gap makes a shard less busy: it goes back to a shorter one when it is this much, in
/// thousandths of its core, below where the longer one began.
const MARGIN: u64 = 100;

/// How long a shard rests between turns.
#[derive(Debug)]
pub(super) struct Gap {
    /// What the operator has said; else the load decides.
    fixed: Option<Duration>,
    step: usize,
    looked: Instant,
    cpu: Duration,
}

impl Gap {
    /// A shard whose thread has used `cpu` so far.
    pub fn new(fixed: Option<Duration>, now: Instant, cpu: Duration) -> Gap {
        Gap { fixed, step: 0, looked: now, cpu }
    }

    /// The least time from the beginning of a turn to that of the next.
    pub fn length(&self) -> Duration {
        self.fixed.unwrap_or(STEPS[self.step].1)
    }

    /// Takes the load in, if it is time to: `cpu` says what the thread has used since its start.
    /// True when the length has changed.
    pub fn look(&mut self, now: Instant, cpu: impl FnOnce() -> Duration) -> bool {
        let elapsed = now.saturating_duration_since(self.looked);
        if self.fixed.is_some() || elapsed < WINDOW {
            return false;
        }
        let cpu = cpu();
        let ran = cpu.saturating_sub(self.cpu);
        (self.looked, self.cpu) = (now, cpu);
        let permille = (ran.as_micros() as u64 * 1_000) / (elapsed.as_micros() as u64).max(1);
        let before = self.step;
        let reached = STEPS.iter().rposition(|(from, _)| permille >= *from).unwrap_or(0);
        if reached > self.step {
            self.step = reached;
        } else if permille + MARGIN < STEPS[self.step].0 {
            self.step -= 1;
        }
        self.step != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard that used `permille` of its core in each window of `windows`.
    fn run(gap: &mut Gap, now: &mut Instant, cpu: &mut Duration, permille: u32, windows: u32) {
        for _ in 0..windows {
            *now += WINDOW;
            *cpu += WINDOW * permille / 1_000;
            gap.look(*now, || *cpu);
        }
    }

    #[test]
    fn a_busy_shard_rests_longer_and_a_calm_one_wakes_at_once() {
        let (mut now, mut cpu) = (Instant::now(), Duration::from_secs(1));
        let mut gap = Gap::new(None, now, cpu);
        let mut after = |permille, windows| {
            run(&mut gap, &mut now, &mut cpu, permille, windows);
            gap.length().as_micros()
        };
        assert_eq!(after(240, 5), 0);
        assert_eq!(after(300, 1), 250);
        assert_eq!(after(800, 1), 1_000, "at once");
        assert_eq!(after(660, 5), 1_000, "what the gap itself has brought about");
        assert_eq!(after(600, 1), 500, "one step in a window");
        assert_eq!(after(10, 1), 250);
        assert_eq!(after(160, 5), 250);
        assert_eq!(after(140, 1), 0);
    }

    #[test]
    fn what_the_operator_says_counts_whatever_the_load() {
        let (mut now, mut cpu) = (Instant::now(), Duration::ZERO);
        let mut gap = Gap::new(Some(Duration::from_micros(700)), now, cpu);
        run(&mut gap, &mut now, &mut cpu, 900, 3);
        assert_eq!(gap.length(), Duration::from_micros(700));
        let mut off = Gap::new(Some(Duration::ZERO), now, cpu);
        run(&mut off, &mut now, &mut cpu, 900, 3);
        assert!(off.length().is_zero());
    }

    #[test]
    fn the_load_is_not_asked_for_in_each_turn() {
        let now = Instant::now();
        let mut gap = Gap::new(None, now, Duration::ZERO);
        let soon = now + WINDOW - Duration::from_micros(1);
        assert!(!gap.look(soon, || unreachable!("the clock of CPU time is a system call")));
    }
}
