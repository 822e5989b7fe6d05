//! Counters that a worker bumps and the progress line reads, and the phases of a run.

use crate::latencies::Latencies;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Counts of one worker. Each is written by one thread, so that a bump is a plain load and store.
#[derive(Default)]
#[repr(align(128))]
pub struct Tally {
    pub publishers_connected: AtomicU64,
    pub viewers_connected: AtomicU64,
    pub failed: AtomicU64,
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    pub lost_consent: AtomicU64,
    /// Packets between the first and the newest of each viewer, and how many of them came; both as
    /// of the last second.
    pub spanned: AtomicU64,
    pub unique: AtomicU64,
    /// Latencies of the packets whose way was measured.
    pub latency: Latencies,
}

/// Adds to a counter that this thread alone writes.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

/// A point in time of some workers' counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub publishers_connected: u64,
    pub viewers_connected: u64,
    pub failed: u64,
    pub packets: u64,
    pub bytes: u64,
    pub spanned: u64,
    pub unique: u64,
}

impl Snapshot {
    /// The sum over workers.
    pub fn of<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Self {
        tallies.into_iter().fold(Self::default(), |sum, tally| {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            Self {
                publishers_connected: sum.publishers_connected + read(&tally.publishers_connected),
                viewers_connected: sum.viewers_connected + read(&tally.viewers_connected),
                failed: sum.failed + read(&tally.failed),
                packets: sum.packets + read(&tally.packets),
                bytes: sum.bytes + read(&tally.bytes),
                spanned: sum.spanned + read(&tally.spanned),
                unique: sum.unique + read(&tally.unique),
            }
        })
    }

    #[must_use]
    pub fn connected(&self) -> u64 {
        self.publishers_connected + self.viewers_connected
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Sessions are being set up; media flows already.
    Ramp,
    /// Latency and rates are measured.
    Measure,
    /// Publishers are silent; what is in flight arrives.
    Drain,
    /// Workers hand in their results.
    Stop,
}

/// The phase all workers look at.
pub struct PhaseCell(AtomicU8);

impl Default for PhaseCell {
    fn default() -> Self {
        Self(AtomicU8::new(Phase::Ramp as u8))
    }
}

impl PhaseCell {
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    #[must_use]
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Ramp,
            1 => Phase::Measure,
            2 => Phase::Drain,
            _ => Phase::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_round_trip() {
        let cell = PhaseCell::default();
        for phase in [Phase::Ramp, Phase::Measure, Phase::Drain, Phase::Stop] {
            cell.set(phase);
            assert_eq!(cell.get(), phase);
        }
    }

    #[test]
    fn a_snapshot_is_the_sum_of_its_workers() {
        let tallies = [Tally::default(), Tally::default()];
        bump(&tallies[0].packets, 3);
        bump(&tallies[1].packets, 4);
        bump(&tallies[1].publishers_connected, 1);
        bump(&tallies[0].viewers_connected, 2);
        let sum = Snapshot::of(&tallies);
        assert_eq!((sum.packets, sum.connected()), (7, 3));
    }
}
