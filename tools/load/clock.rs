//! The process's one clock: nanoseconds of `CLOCK_MONOTONIC` since the process began, which is what
//! stamps carry.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

static EPOCH: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first use of this clock.
#[must_use]
pub fn now_ns() -> u64 {
    since_epoch_ns(Instant::now())
}

/// The instant at which this clock shows `ns`.
#[must_use]
pub fn instant(ns: u64) -> Instant {
    *EPOCH.get_or_init(Instant::now) + Duration::from_nanos(ns)
}

/// `instant` on this clock; 0 for one before its first use.
#[must_use]
pub fn since_epoch_ns(instant: Instant) -> u64 {
    let epoch = *EPOCH.get_or_init(|| instant);
    u64::try_from(instant.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

/// Two clocks that were read one after the other are compared where no more than this lay between:
/// a process that was put aside there would see a difference that is none.
const AT_ONCE: Duration = Duration::from_micros(20);
/// A datagram is taken to be no older than this, whatever the kernel says: its clock was set.
const OLDEST_NS: u64 = 60_000_000_000;

/// When a datagram came, on this clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The kernel had it from the network.
    pub arrived_ns: u64,
    /// We read it, perhaps much later where this process has too much to do.
    pub now_ns: u64,
}

/// The kernel's clock, which is the time of day and may be set, beside this one.
#[derive(Debug, Default)]
pub struct KernelClock {
    /// What it is ahead.
    ahead_ns: Option<u64>,
    now_ns: u64,
}

impl KernelClock {
    /// Looks at both clocks; returns what time it is.
    pub fn look(&mut self) -> Instant {
        let before = Instant::now();
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Instant::now();
        self.compare(now.duration_since(before), since_epoch_ns(now), unix.as_nanos() as u64);
        now
    }

    fn compare(&mut self, between: Duration, now_ns: u64, unix_ns: u64) {
        self.now_ns = now_ns;
        if between <= AT_ONCE || self.ahead_ns.is_none() {
            self.ahead_ns = Some(unix_ns.saturating_sub(now_ns));
        }
    }

    /// When a datagram came that was read at the last look; the kernel says `unix_ns`, or 0.
    #[must_use]
    pub fn came(&self, unix_ns: u64) -> Came {
        let now_ns = self.now_ns;
        let arrived_ns = match self.ahead_ns.filter(|_| unix_ns > 0) {
            Some(ahead_ns) => unix_ns.saturating_sub(ahead_ns),
            None => now_ns,
        };
        let arrived_ns = arrived_ns.clamp(now_ns.saturating_sub(OLDEST_NS), now_ns);
        Came { arrived_ns, now_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_NS: u64 = 1_800_000_000_000_000_000;

    #[test]
    fn a_datagram_came_when_the_kernel_had_it_unless_clocks_were_set() {
        let mut clock = KernelClock::default();
        let second = 1_000_000_000;
        clock.compare(Duration::ZERO, 100 * second, UNIX_NS);
        let age = |clock: &KernelClock, unix_ns| {
            let Came { arrived_ns, now_ns } = clock.came(unix_ns);
            now_ns - arrived_ns
        };
        assert_eq!(age(&clock, UNIX_NS - 1_500), 1_500);
        assert_eq!(age(&clock, UNIX_NS - 3_600 * second), OLDEST_NS, "set forward by an hour");
        assert_eq!(age(&clock, UNIX_NS + 7), 0, "set back");
        assert_eq!(age(&clock, 0), 0, "not said");
        // Put aside for 5 ms between the readings: what was known before holds.
        clock.compare(5 * AT_ONCE, 101 * second, UNIX_NS + second - 5_000_000);
        assert_eq!(age(&clock, UNIX_NS + second - 1_500), 1_500);
    }
}
