//! When a datagram came, on the clock of the loop.

use std::time::{Duration, Instant};

/// A datagram is taken to be no older than this, whatever the kernel's clock says: it was set back,
/// or forward, in between. Datagrams do wait that long while the process is stopped.
const OLDEST: Duration = Duration::from_secs(60);

/// One moment on both clocks: the kernel's, which is the time of day, and the loop's, which never
/// jumps. Read once per batch.
#[derive(Clone, Copy)]
pub(super) struct KernelClock {
    instant: Instant,
    unix_ns: u64,
}

impl KernelClock {
    /// A moment, which is `unix_ns` nanoseconds of Unix time by the kernel's clock.
    pub fn new(instant: Instant, unix_ns: u64) -> KernelClock {
        KernelClock { instant, unix_ns }
    }

    /// The moment by the kernel's clock, in nanoseconds of Unix time.
    pub fn unix_ns(&self) -> u64 {
        self.unix_ns
    }

    /// When a datagram came, of which the kernel says `arrived_ns`; 0 when it says nothing, and the
    /// datagram came just now.
    pub fn instant(&self, arrived_ns: u64) -> Instant {
        if arrived_ns == 0 {
            return self.instant;
        }
        let age = Duration::from_nanos(self.unix_ns.saturating_sub(arrived_ns)).min(OLDEST);
        self.instant.checked_sub(age).unwrap_or(self.instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_and_clocks_that_jump_are_not_believed() {
        let clock = KernelClock::new(Instant::now(), 10_000_000_000_000);
        let ago = |age_ns: u64| clock.instant - clock.instant(clock.unix_ns - age_ns);
        assert_eq!(ago(1_500), Duration::from_nanos(1_500));
        assert_eq!(ago(3_600_000_000_000), OLDEST, "set forward by an hour");
        assert_eq!(clock.instant(clock.unix_ns + 7), clock.instant, "set back");
        assert_eq!(clock.instant(0), clock.instant, "not said");
    }
}
