//! What a viewer's path carries that is a TCP connection: what the kernel takes while something
//! waits for it, that is what TCP gets through.
//!
//! Nothing is asked of the viewer. While nothing waits, more may get through than is sent; whether
//! it does is found out by sending more, after a while, and seeing whether that waits.

use super::{Estimate, Micros, Reason, State};
use crate::limits::{ESTIMATE_LEAST, TCP_FREE_FOR, TCP_LOOK, TCP_WAITED, TOLD_MOST};
use crate::wire::framing::Backlog;

/// Of what gets through, what may be sent: what waits already is to get through too.
const SHARE: f64 = 0.95;

/// What is thought of such a path.
#[derive(Debug)]
pub struct Drain {
    bits_per_s: f64,
    /// Whether it ever was too narrow for anything.
    is_doubted: bool,
    reason: Reason,
    /// Since when something has waited, without a pause.
    waits: Option<Micros>,
    /// Since when what the kernel takes is counted, and what it had taken then.
    counted: Option<(Micros, u64)>,
    /// What it had taken when it was looked at last.
    taken: u64,
    /// Since when nothing has waited, or what is sent has changed.
    free: Option<Micros>,
    waiting: usize,
    looked: Option<Micros>,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            bits_per_s: ESTIMATE_LEAST,
            is_doubted: false,
            reason: Reason::Start,
            waits: None,
            counted: None,
            taken: 0,
            free: None,
            waiting: 0,
            looked: None,
        }
    }
}

impl Drain {
    /// What waits at `now`; whether other layers may follow from it.
    pub fn look(&mut self, now: Micros, backlog: Backlog) -> bool {
        self.waiting = backlog.waiting;
        let has_taken = backlog.taken != std::mem::replace(&mut self.taken, backlog.taken);
        if !backlog.blocked {
            (self.waits, self.counted) = (None, None);
            self.free.get_or_insert(now);
            return self.is_doubted && self.is_due(now);
        }
        self.free = None;
        self.waits.get_or_insert(now);
        let (since, before) = *self.counted.get_or_insert((now, backlog.taken));
        let passed = now.saturating_sub(since);
        // It takes some at a time: a count from one moment to another at which it did is exact.
        let is_exact = has_taken || passed >= 3 * micros(TCP_WAITED);
        if passed >= micros(TCP_WAITED) && is_exact {
            let taken = backlog.taken.saturating_sub(before) as f64;
            self.counted = Some((now, backlog.taken));
            self.measured(SHARE * taken * 8e6 / passed as f64);
            self.looked = Some(now);
            return true;
        }
        self.is_doubted && self.is_due(now)
    }

    fn measured(&mut self, bits_per_s: f64) {
        if bits_per_s < self.bits_per_s || self.is_doubted {
            (self.bits_per_s, self.reason) = (bits_per_s.max(ESTIMATE_LEAST), Reason::Queue);
            self.is_doubted = true;
        }
    }

    fn is_due(&mut self, now: Micros) -> bool {
        let is_due = self.looked.is_none_or(|at| now.saturating_sub(at) >= micros(TCP_LOOK));
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// The best layers need so many bits a second. Until something has waited for long the path
    /// carries them, and what is beyond them by far was never tried.
    pub fn assume(&mut self, needed: f64) {
        let most = (TOLD_MOST * needed).max(ESTIMATE_LEAST);
        self.bits_per_s = if self.is_doubted { self.bits_per_s.min(most) } else { most };
    }

    /// The viewer could be sent a better layer, if its path carried so many bits a second: it is
    /// taken to, when nothing has waited for a while.
    pub fn wants(&mut self, now: Micros, needed: f64) {
        let free = self.free.map_or(0, |since| now.saturating_sub(since));
        if free >= micros(TCP_FREE_FOR) {
            self.bits_per_s = self.bits_per_s.max(needed);
        }
    }

    /// The viewer begins with another layer: nothing is known of whether that waits.
    pub fn switches(&mut self, now: Micros) {
        self.free = self.free.map(|_| now);
    }

    /// How fast what waits may leave, in bits a second, if that is known.
    #[must_use]
    pub fn pace(&self) -> Option<f64> {
        self.is_doubted.then_some(self.bits_per_s)
    }

    /// Whether anything ever waited for long.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// What is thought of the path.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let waits = self.waits.zip(self.looked).is_some_and(|(since, looked)| looked > since);
        Estimate {
            bits_per_s: self.bits_per_s,
            ceiling_bits_per_s: None,
            queue_ms: self.waiting as f64 * 8e3 / self.bits_per_s,
            lost: None,
            state: if waits { State::Overuse } else { State::Normal },
            rival: false,
            reason: self.reason,
            widened: None,
        }
    }
}

fn micros(time: std::time::Duration) -> Micros {
    time.as_micros() as Micros
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Micros = 1_000;

    /// A kernel that takes eight kilobytes at a time, and so many bits a second.
    fn taken(now: Micros, bits_per_s: u64) -> u64 {
        now * bits_per_s / 8_000_000 / 8_192 * 8_192
    }

    #[test]
    fn what_the_kernel_takes_while_something_waits_is_what_gets_through() {
        for rate in [100_000, 300_000, 1_000_000, 8_000_000] {
            let mut drain = Drain::default();
            drain.assume(10e6);
            for now in (0..4_000).step_by(10).map(|ms| ms * MS) {
                let taken = taken(now, rate);
                drain.look(now, Backlog { waiting: 9_000, taken, blocked: true });
            }
            let estimate = drain.estimate();
            let share = estimate.bits_per_s / rate as f64;
            assert!((0.7..=1.0).contains(&share), "{estimate:?} of {rate}");
            assert_eq!(estimate.state, State::Overuse);
        }
    }

    #[test]
    fn a_burst_that_passes_says_nothing() {
        let mut drain = Drain::default();
        drain.assume(2e6);
        for burst in 0..20 {
            for ms in 0..100 {
                let (now, blocked) = (burst * 1_000 + ms * 10, ms < 20);
                let due =
                    drain.look(now * MS, Backlog { waiting: 9_000, taken: now * 50, blocked });
                assert!(!due && !drain.is_doubted());
            }
        }
        assert_eq!((drain.estimate().bits_per_s, drain.pace()), (TOLD_MOST * 2e6, None));
    }

    #[test]
    fn more_is_tried_when_nothing_has_waited_for_a_while() {
        let mut drain = Drain::default();
        drain.assume(2e6);
        for ms in 0..1_000 {
            let taken = taken(ms * MS, 300_000);
            drain.look(ms * MS, Backlog { waiting: 9_000, taken, blocked: true });
        }
        let narrow = drain.estimate().bits_per_s;
        let (free, begun) = (Backlog::default(), 1_000 * MS);
        let tried = |drain: &mut Drain, now: Micros| {
            drain.look(now, free);
            drain.wants(now, 1e6);
            drain.estimate().bits_per_s
        };
        assert_eq!(tried(&mut drain, begun), narrow);
        let free_for = micros(TCP_FREE_FOR);
        assert_eq!(tried(&mut drain, begun + free_for - MS), narrow);
        drain.switches(begun + free_for - MS);
        assert_eq!(tried(&mut drain, begun + free_for), narrow, "something else is sent");
        assert_eq!(tried(&mut drain, begun + 2 * free_for), 1e6);
        assert_eq!(drain.estimate().state, State::Normal);
    }
}
