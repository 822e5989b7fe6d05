//! Nothing is sent for a moment where a path has become far narrower: what it can't carry stands in
//! front of it. What is sent later comes no later then, and is not lost where there is no room for
//! more: a key frame of a smaller layer is what is sent next.

use super::Micros;

/// A rate that falls to less than this share is of a path that has become another.
const FAR_BELOW: f64 = 0.5;
/// Queues that lose packets are this long at least.
const MOST: Micros = 150_000;

/// For so long after that the path is full of what was too much for it.
const AFTERMATH: Micros = 500_000;

/// Until when nothing is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    until: Micros,
}

impl Pause {
    /// The rate has fallen. Where it has by so much that the path has become another, nothing is
    /// sent for as long as the newest packets have `waited` on it, in microseconds: true then.
    pub fn fell(&mut self, now: Micros, (before, after): (f64, f64), waited: i64) -> bool {
        let is_another = after < FAR_BELOW * before;
        if is_another {
            self.until = now + MOST.min(waited.try_into().unwrap_or(0));
        }
        is_another
    }

    pub fn is_on(self, now: Micros) -> bool {
        now < self.until
    }

    /// Whether it is on, or was a moment ago.
    pub fn is_felt(self, now: Micros) -> bool {
        self.until > 0 && now < self.until + AFTERMATH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_packets_have_waited_and_no_longer_than_it_may_be() {
        let paused = |rates, waited| {
            let mut pause = Pause::default();
            pause.fell(1_000_000, rates, waited);
            (0..).step_by(10_000).find(|after| !pause.is_on(1_000_000 + after)).unwrap_or(0)
        };
        assert_eq!(paused((2e6, 0.3e6), 80_000), 80_000);
        assert_eq!(paused((2e6, 0.3e6), 10_000_000), MOST);
        assert_eq!(paused((2e6, 1.7e6), 80_000), 0, "it has not become another");
        assert_eq!(paused((2e6, 0.3e6), i64::MIN), 0);
    }
}
