//! What the counters say at one moment, and what two moments say together.

use std::time::{Duration, Instant};

use super::counts::SessionCounts;
use crate::drop::DropReason;
use crate::shard::Wiring;
use crate::telemetry::{PortCounters, PortName, Snapshot};

/// Every shard at one moment.
pub(super) struct Sample {
    pub at: Instant,
    pub shards: Vec<ShardSample>,
    pub counts: SessionCounts,
    /// Kernel to kernel, of all shards.
    pub latency: Snapshot,
    /// Datagrams in a message, of all shards.
    pub trains: Snapshot,
    /// Datagrams taken by a receive call, of all shards.
    pub batches: Snapshot,
    /// POST to connected, of all shards.
    pub setups: Snapshot,
}

/// One shard.
pub(super) struct ShardSample {
    pub traffic: Traffic,
    pub handed_over: u64,
    pub turns: u64,
    pub drops: [u64; DropReason::ALL.len()],
    pub cpu: Option<Duration>,
    pub turn: Snapshot,
    pub ports: Vec<(PortName, PortSample)>,
}

/// What went in and out, in datagrams and bytes of UDP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
}

/// One mux port of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PortSample {
    pub traffic: Traffic,
    pub receive_drops: u64,
    pub send_drops: u64,
    pub sessions: u64,
}

impl Traffic {
    pub fn add(&mut self, other: &Traffic) {
        self.datagrams_in += other.datagrams_in;
        self.bytes_in += other.bytes_in;
        self.datagrams_out += other.datagrams_out;
        self.bytes_out += other.bytes_out;
    }
}

impl PortSample {
    fn of(port: &PortCounters) -> PortSample {
        PortSample {
            traffic: Traffic {
                datagrams_in: port.datagrams_in.get(),
                bytes_in: port.bytes_in.get(),
                datagrams_out: port.datagrams_out.get(),
                bytes_out: port.bytes_out.get(),
            },
            receive_drops: port.receive_drops.get(),
            send_drops: port.send_drops.get(),
            sessions: port.sessions.get(),
        }
    }

    pub fn add(&mut self, other: &PortSample) {
        self.traffic.add(&other.traffic);
        self.receive_drops += other.receive_drops;
        self.send_drops += other.send_drops;
        self.sessions += other.sessions;
    }
}

impl Sample {
    /// Reads everything. Some ten microseconds a shard, and 0.1 µs a session.
    pub fn take(wiring: &Wiring, now: Instant) -> Sample {
        let mut sample = Sample {
            at: now,
            shards: Vec::with_capacity(wiring.counters.len()),
            counts: SessionCounts::take(wiring),
            latency: Snapshot::default(),
            trains: Snapshot::default(),
            batches: Snapshot::default(),
            setups: Snapshot::default(),
        };
        for (counters, meters) in wiring.counters.iter().zip(&wiring.meters) {
            let histograms = &meters.histograms;
            sample.latency.add(&histograms.socket_to_socket.snapshot());
            sample.trains.add(&histograms.train_length.snapshot());
            sample.batches.add(&histograms.receive_batch.snapshot());
            sample.setups.add(&histograms.setup_dtls.snapshot());
            let mut drops = [0; DropReason::ALL.len()];
            for (count, reason) in drops.iter_mut().zip(DropReason::ALL) {
                *count = counters.drops(*reason);
            }
            sample.shards.push(ShardSample {
                traffic: Traffic {
                    datagrams_in: counters.datagrams_in.get(),
                    bytes_in: counters.bytes_in.get(),
                    datagrams_out: counters.datagrams_out.get(),
                    bytes_out: counters.bytes_out.get(),
                },
                handed_over: counters.handed_over.get(),
                turns: counters.turns.get(),
                drops,
                cpu: meters.thread.cpu_time(),
                turn: histograms.turn.snapshot(),
                ports: meters.ports.open().map(|(n, port)| (n, PortSample::of(port))).collect(),
            });
        }
        sample
    }

    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.traffic));
        sum
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.shards.iter().map(|shard| shard.drops[reason as usize]).sum()
    }
}

impl ShardSample {
    pub fn port(&self, name: PortName) -> PortSample {
        let found = self.ports.iter().find(|(known, _)| *known == name);
        found.map_or_else(PortSample::default, |(_, sample)| *sample)
    }
}

/// Two samples: what happened between them, by the second.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub from: &'a Sample,
    pub to: &'a Sample,
}

impl Span<'_> {
    pub fn seconds(&self) -> f64 {
        self.to.at.saturating_duration_since(self.from.at).as_secs_f64().max(1e-3)
    }

    /// The growth of a counter by the second, to a tenth. A counter that starts anew, as that of a
    /// port that was closed and opened again, counts from zero.
    pub fn rate(&self, from: u64, to: u64) -> f64 {
        let grown = if to >= from { to - from } else { to };
        tenths(grown as f64 / self.seconds())
    }
}

/// Rounded to a tenth: more digits would be noise.
pub(super) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Rounded to a thousandth.
pub(super) fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
