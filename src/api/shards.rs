//! `GET /api/v1/shards`: the load of each core.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Api;
use super::answer::{Answer, json};
use super::sample::{ShardSample, Span, tenths};
use super::sampler::Window;
use crate::drop::DropReason;

#[derive(Serialize)]
pub(super) struct Shards {
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Shard {
    shard: usize,
    core: Option<usize>,
    cpu_percent: Option<f64>,
    sessions: u64,
    publishers: usize,
    viewers_ready: u64,
    streams: u64,
    flows: u64,
    packets_in_per_s: Option<f64>,
    packets_out_per_s: Option<f64>,
    bits_in_per_s: Option<f64>,
    bits_out_per_s: Option<f64>,
    drops_per_s: Option<f64>,
    handed_over_per_s: Option<f64>,
    turns_per_s: Option<f64>,
    turn_us: Turn,
    mail_depth: usize,
    mail_full: u64,
    stuck: bool,
}

#[derive(Default, Serialize)]
struct Turn {
    p50: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Answer {
    api.sampler.look(api.wiring()).await;
    let shards = shards(&api, &api.sampler.window());
    json(&shards)
}

pub(super) fn shards(api: &Api, window: &Window) -> Shards {
    let span = window.spans().map(|(second, _)| second);
    let publishers = api.control.publishers_by_shard();
    let each = (0..api.wiring().counters.len()).map(|shard| one(api, shard, span, &publishers));
    Shards { shards: each.collect() }
}

fn one(api: &Api, shard: usize, span: Option<Span<'_>>, publishers: &[usize]) -> Shard {
    let wiring = api.wiring();
    let counters = &wiring.counters[shard];
    let both = span
        .and_then(|span| Some((span, span.from.shards.get(shard)?, span.to.shards.get(shard)?)));
    let rate = |read: fn(&ShardSample) -> u64| {
        both.map(|(span, from, to)| span.rate(read(from), read(to)))
    };
    Shard {
        shard,
        core: api.facts.cores.get(shard).copied(),
        cpu_percent: both.and_then(|(span, from, to)| {
            let used = to.cpu?.saturating_sub(from.cpu?).as_secs_f64();
            Some(tenths(used * 100.0 / span.seconds()))
        }),
        sessions: counters.sessions.get(),
        publishers: publishers.get(shard).copied().unwrap_or(0),
        viewers_ready: counters.viewers_ready.get(),
        streams: counters.streams.get(),
        flows: counters.flows.get(),
        packets_in_per_s: rate(|shard| shard.traffic.datagrams_in),
        packets_out_per_s: rate(|shard| shard.traffic.datagrams_out),
        bits_in_per_s: rate(|shard| shard.traffic.bytes_in * 8),
        bits_out_per_s: rate(|shard| shard.traffic.bytes_out * 8),
        drops_per_s: rate(|shard| {
            let wanted = shard.drops.iter().zip(DropReason::ALL).filter(|(_, r)| !r.is_unwanted());
            wanted.map(|(count, _)| count).sum()
        }),
        handed_over_per_s: rate(|shard| shard.handed_over),
        turns_per_s: rate(|shard| shard.turns),
        turn_us: both.map(|(_, from, to)| turn(from, to)).unwrap_or_default(),
        mail_depth: wiring.mailboxes[shard].depth(),
        mail_full: counters.mailboxes_full(),
        stuck: api.alive.is_stuck(shard),
    }
}

fn turn(from: &ShardSample, to: &ShardSample) -> Turn {
    let seen = to.turn.since(&from.turn);
    if seen.count() == 0 {
        return Turn::default();
    }
    let hdr = seen.hdr();
    // hdrhistogram answers with the end of a bucket of its own, which may lie beyond the greatest.
    let at = |quantile| Some(hdr.value_at_quantile(quantile).min(seen.max()));
    Turn { p50: at(0.5), p99: at(0.99), max: Some(seen.max()) }
}
