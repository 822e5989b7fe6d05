//! `GET /api/v1/ports`: the load of each mux port, and how it is shared among the shards.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Api;
use super::answer::{Answer, json};
use super::pulse::Window;
use super::sample::{PortSample, Span};
use crate::telemetry::PortName;

#[derive(Serialize)]
pub(super) struct Ports {
    mode: &'static str,
    range: Option<()>,
    ports: Vec<Port>,
    auto: Option<()>,
}

#[derive(Serialize)]
struct Port {
    port: Option<u16>,
    protocol: &'static str,
    state: &'static str,
    drain_deadline_at: Option<f64>,
    sessions: u64,
    packets_in_per_s: f64,
    packets_out_per_s: f64,
    bits_in_per_s: f64,
    bits_out_per_s: f64,
    receive_drops: u64,
    send_drops: u64,
    shards: Vec<Share>,
}

/// A shard's part.
#[derive(Serialize)]
struct Share {
    shard: usize,
    packets_in_per_s: f64,
    packets_out_per_s: f64,
    receive_drops: u64,
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Answer {
    api.pulse.look(api.wiring()).await;
    let ports = ports(&api.pulse.window());
    json(&ports)
}

pub(super) fn ports(window: &Window) -> Ports {
    let span = window.spans().map(|(second, _)| second);
    let ports = span.map(|span| {
        let ports = span.to.ports();
        ports.iter().map(|(name, now)| one(span, *name, now)).collect()
    });
    Ports { mode: "mux", range: None, ports: ports.unwrap_or_default(), auto: None }
}

fn one(span: Span<'_>, name: PortName, now: &PortSample) -> Port {
    let mut before = PortSample::default();
    span.from.shards.iter().for_each(|shard| before.add(&shard.port(name)));
    let (from, to) = (&before.traffic, &now.traffic);
    let shards = span.from.shards.iter().zip(&span.to.shards).enumerate();
    Port {
        port: match name {
            PortName::Port(port) => Some(port),
            PortName::All => None,
        },
        protocol: "udp",
        state: "open",
        drain_deadline_at: None,
        sessions: now.sessions,
        packets_in_per_s: span.rate(from.datagrams_in, to.datagrams_in),
        packets_out_per_s: span.rate(from.datagrams_out, to.datagrams_out),
        bits_in_per_s: span.rate(from.bytes_in * 8, to.bytes_in * 8),
        bits_out_per_s: span.rate(from.bytes_out * 8, to.bytes_out * 8),
        receive_drops: now.receive_drops,
        send_drops: now.send_drops,
        shards: shards
            .map(|(shard, (from, to))| {
                let (from, to) = (from.port(name), to.port(name));
                let (before, after) = (from.traffic, to.traffic);
                Share {
                    shard,
                    packets_in_per_s: span.rate(before.datagrams_in, after.datagrams_in),
                    packets_out_per_s: span.rate(before.datagrams_out, after.datagrams_out),
                    receive_drops: to.receive_drops,
                }
            })
            .collect(),
    }
}
