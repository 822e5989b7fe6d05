//! The process's one clock: nanoseconds of `CLOCK_MONOTONIC` since the process began, which is what
//! stamps carry.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

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
