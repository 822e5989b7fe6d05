//! `GET /api/v1/status`: the server at a glance.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Api;
use super::answer::{Answer, json};
use super::memory::{Memory, memory};
use super::ready::Readiness;
use super::sample::{Span, tenths};
use super::sampler::Window;
use crate::control::EarlierLeft;
use crate::drop::DropReason;
use crate::telemetry::{Level, Snapshot};

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// The process that answers: after a takeover, the later one.
    pid: u32,
    /// What is left of the process it has taken over from.
    earlier: Option<Earlier>,
    started_at: f64,
    uptime_s: u64,
    state: &'static str,
    shards: usize,
    io: String,
    steering: &'static str,
    cipher: String,
    sessions: Sessions,
    streams: usize,
    #[serde(rename = "in")]
    into: Rates,
    out: Rates,
    drops: Vec<Drops>,
    train_length_mean: Option<f64>,
    batch_size_mean: Option<f64>,
    latency_us: Latency,
    quality: Quality,
    setup_ms: Setups,
    failures: Vec<Failed>,
    memory: Memory,
}

/// A process that was taken over, with those before it.
#[derive(Serialize)]
struct Earlier {
    pid: i32,
    version: Box<str>,
    sessions: usize,
    streams: usize,
}

impl Earlier {
    fn of(left: EarlierLeft) -> Earlier {
        let EarlierLeft { pid, version, sessions, streams } = left;
        Earlier { pid, version, sessions, streams }
    }
}

#[derive(Serialize)]
struct Sessions {
    total: usize,
    max: usize,
    publishers: u64,
    viewers: u64,
    connecting: u64,
    connected: u64,
}

#[derive(Serialize)]
struct Rates {
    packets_per_s: Option<f64>,
    bits_per_s: Option<f64>,
}

#[derive(Serialize)]
struct Drops {
    reason: &'static str,
    total: u64,
    per_s: f64,
}

#[derive(Serialize)]
struct Latency {
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
    count: u64,
}

#[derive(Serialize)]
struct Quality {
    up: Levels,
    down: Levels,
}

#[derive(Serialize)]
struct Levels {
    excellent: u64,
    good: u64,
    poor: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Setups {
    /// Since the start.
    count: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

#[derive(Serialize)]
struct Failed {
    reason: &'static str,
    total: u64,
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Answer {
    api.sampler.look(api.wiring()).await;
    let status = status(&api, &api.sampler.window());
    json(&status)
}

pub(super) fn status(api: &Api, window: &Window) -> Status {
    let (total, streams) = api.control.counts();
    let spans = window.spans();
    let second = spans.as_ref().map(|(second, _)| *second);
    let counts = second.map(|span| span.to.counts).unwrap_or_default();
    let (into, out) = rates(second);
    let mean = |read: fn(Span<'_>) -> Snapshot| {
        second.and_then(|span| read(span).mean()).map(super::sample::thousandths)
    };
    Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        earlier: api.control.earlier().map(|earlier| Earlier::of(earlier.left())),
        started_at: api.started_at,
        uptime_s: api.started.elapsed().as_secs(),
        state: Readiness::of(api).label(),
        shards: api.facts.cores.len(),
        io: api.facts.io.clone(),
        steering: api.facts.steering,
        cipher: api.facts.cipher.clone(),
        sessions: Sessions {
            total,
            max: api.facts.max_sessions,
            publishers: counts.publishers,
            viewers: counts.viewers,
            connecting: counts.connecting,
            connected: counts.connected,
        },
        streams,
        into,
        out,
        drops: second.map(drops).unwrap_or_default(),
        train_length_mean: mean(|span| span.to.trains.since(&span.from.trains)),
        batch_size_mean: mean(|span| span.to.batches.since(&span.from.batches)),
        latency_us: latency(spans.as_ref().map(|(_, ten)| *ten)),
        quality: Quality { up: levels(&counts.up), down: levels(&counts.down) },
        setup_ms: setups(&window.setups(), second.map_or(0, |span| span.to.setups.count())),
        failures: failures(api),
        memory: memory(api),
    }
}

fn rates(span: Option<Span<'_>>) -> (Rates, Rates) {
    let Some(span) = span else {
        let unknown = || Rates { packets_per_s: None, bits_per_s: None };
        return (unknown(), unknown());
    };
    let (from, to) = (span.from.traffic(), span.to.traffic());
    let rates = |packets: (u64, u64), bytes: (u64, u64)| Rates {
        packets_per_s: Some(span.rate(packets.0, packets.1)),
        bits_per_s: Some(span.rate(bytes.0 * 8, bytes.1 * 8)),
    };
    (
        rates((from.datagrams_in, to.datagrams_in), (from.bytes_in, to.bytes_in)),
        rates((from.datagrams_out, to.datagrams_out), (from.bytes_out, to.bytes_out)),
    )
}

/// The reasons there were, the most frequent first.
fn drops(span: Span<'_>) -> Vec<Drops> {
    let mut drops: Vec<Drops> = DropReason::ALL
        .iter()
        .map(|reason| (reason, span.from.drops(*reason), span.to.drops(*reason)))
        .filter(|(_, _, total)| *total > 0)
        .map(|(reason, before, total)| Drops {
            reason: reason.label(),
            total,
            per_s: span.rate(before, total),
        })
        .collect();
    drops.sort_by_key(|drops| std::cmp::Reverse(drops.total));
    drops
}

fn latency(span: Option<Span<'_>>) -> Latency {
    let seen = span.map(|span| span.to.latency.since(&span.from.latency)).unwrap_or_default();
    let count = seen.count();
    let hdr = (count > 0).then(|| seen.hdr());
    // hdrhistogram answers with the end of a bucket of its own, which may lie beyond the greatest.
    let at = |quantile| hdr.as_ref().map(|hdr| hdr.value_at_quantile(quantile).min(seen.max()));
    Latency {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: (count > 0).then(|| seen.max()),
        count,
    }
}

fn levels(counts: &[u64; Level::ALL.len()]) -> Levels {
    let of = |level: Level| counts[level as usize];
    Levels {
        excellent: of(Level::Excellent),
        good: of(Level::Good),
        poor: of(Level::Poor),
        lost: of(Level::Lost),
    }
}

/// The histogram counts microseconds.
fn setups(seen: &Snapshot, count: u64) -> Setups {
    let hdr = (seen.count() > 0).then(|| seen.hdr());
    let at = |quantile: f64| {
        hdr.as_ref().map(|hdr| tenths(hdr.value_at_quantile(quantile) as f64 / 1_000.0))
    };
    Setups { count, p50: at(0.5), p90: at(0.9), p99: at(0.99) }
}

fn failures(api: &Api) -> Vec<Failed> {
    let each = api.control.failures().each().filter(|(_, total)| *total > 0);
    let mut failures: Vec<Failed> =
        each.map(|(reason, total)| Failed { reason: reason.label(), total }).collect();
    failures.sort_by_key(|failed| std::cmp::Reverse(failed.total));
    failures
}
