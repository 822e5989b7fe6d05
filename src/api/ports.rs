//! `/api/v1/ports`: the load of each mux port, how it is shared among the shards, and how the plan
//! is changed while the server runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, json, parameters};
use super::sample::{PortSample, Span};
use super::sampler::Window;
use crate::control::{Decisions, PortNow, PortState, RangeNow};
use crate::limits::{MAX_PORT_DRAIN, PORT_DRAIN};
use crate::telemetry::PortName;
use crate::whip::Problem;

#[derive(Serialize)]
pub(super) struct Ports {
    mode: &'static str,
    range: Option<Range>,
    ports: Vec<Port>,
    auto: Option<Auto>,
}

#[derive(Serialize)]
struct Range {
    first: u16,
    last: u16,
    free: usize,
    used: usize,
    exhausted: u64,
    skipped: u64,
}

#[derive(Serialize)]
struct Auto {
    min: usize,
    max: usize,
    decisions: Vec<Decision>,
}

#[derive(Serialize)]
struct Decision {
    at: f64,
    action: &'static str,
    port: Option<u16>,
    why: String,
}

#[derive(Serialize)]
struct Port {
    port: Option<u16>,
    protocol: &'static str,
    state: &'static str,
    drain_deadline_at: Option<f64>,
    sessions: usize,
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

/// The body of a POST.
#[derive(Deserialize)]
struct Wanted {
    port: u16,
}

/// The parameters of a DELETE.
#[derive(Deserialize)]
pub(super) struct Deadline {
    deadline_s: Option<u64>,
}

/// GET: the ports now.
pub(super) async fn get(State(api): State<Arc<Api>>) -> Answer {
    api.sampler.look(api.wiring()).await;
    let ports = ports(&api, &api.sampler.window());
    json(&ports)
}

/// POST `{"port": 7890}`: one more mux port, open on every shard when this is answered; one that
/// drains is taken back. 0 lets the kernel choose.
pub(super) async fn open(State(api): State<Arc<Api>>, body: Bytes) -> Answer {
    let opened = api.control.open_port(wanted(&body)?).await?;
    let mut response = json(&entry(&api, &opened))?;
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/ports/{}", opened.number)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// The port that a body asks for: `{"port": 7890}`.
///
/// # Errors
/// It is not of this form.
pub fn wanted(body: &[u8]) -> Result<u16, Problem> {
    let wanted = serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("the body must be {{\"port\": 7890}}: {error}"))
    })?;
    let Wanted { port } = wanted;
    Ok(port)
}

/// DELETE `/api/v1/ports/7890?deadline_s=60`: no new sessions; closed when it is empty or the time
/// is over.
pub(super) async fn drain(
    State(api): State<Arc<Api>>,
    Path(number): Path<String>,
    query: Result<Query<Deadline>, QueryRejection>,
) -> Answer {
    let most = MAX_PORT_DRAIN.as_secs();
    let deadline = match parameters(query)?.deadline_s {
        None => PORT_DRAIN,
        Some(seconds) if seconds <= most => Duration::from_secs(seconds),
        Some(seconds) => {
            return Err(Problem::bad_request(format!("deadline_s={seconds}: at most {most}")));
        }
    };
    let number = number.parse();
    let number = number.map_err(|_| Problem::not_found("the path does not end with a UDP port"))?;
    let draining = api.control.drain_port(number, deadline)?;
    let mut response = json(&entry(&api, &draining))?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

pub(super) fn ports(api: &Api, window: &Window) -> Ports {
    let span = window.spans().map(|(second, _)| second);
    let now = api.control.ports_now();
    let (mode, ports) = match &now.range {
        Some(range) => ("range", vec![of_range(span, range)]),
        None => ("mux", now.mux.iter().map(|port| of_port(span, port)).collect()),
    };
    let range = now.range.map(|range| {
        let RangeNow { first, last, free, used, exhausted, skipped } = range;
        Range { first, last, free, used, exhausted, skipped }
    });
    Ports { mode, range, ports, auto: api.control.decisions().map(auto) }
}

fn entry(api: &Api, port: &PortNow) -> Port {
    of_port(api.sampler.window().spans().map(|(second, _)| second), port)
}

fn auto(decided: &Decisions) -> Auto {
    let decisions = decided.all().into_iter();
    let decisions = decisions
        .map(|one| Decision { at: unix(one.at), action: one.action, port: one.port, why: one.why })
        .collect();
    Auto { min: decided.least, max: decided.most, decisions }
}

fn of_port(span: Option<Span<'_>>, port: &PortNow) -> Port {
    let (state, drain_deadline_at) = match port.state {
        PortState::Opening | PortState::Open => ("open", None),
        PortState::Draining(until) => ("draining", Some(unix(until))),
        PortState::Closing => ("draining", None),
    };
    let counted = counted(span, PortName::Port(port.number));
    Port { port: Some(port.number), state, drain_deadline_at, sessions: port.sessions, ..counted }
}

fn of_range(span: Option<Span<'_>>, range: &RangeNow) -> Port {
    Port { sessions: range.used, ..counted(span, PortName::All) }
}

/// What shards count at a port; zero before there are two readings.
fn counted(span: Option<Span<'_>>, name: PortName) -> Port {
    let (mut from, mut to) = (PortSample::default(), PortSample::default());
    let mut shards = Vec::new();
    let rate = |from, to| span.map_or(0.0, |span| span.rate(from, to));
    let pairs = span.iter().flat_map(|span| span.from.shards.iter().zip(&span.to.shards));
    for (shard, (before, after)) in pairs.enumerate() {
        let (before, after) = (before.port(name), after.port(name));
        from.add(&before);
        to.add(&after);
        shards.push(Share {
            shard,
            packets_in_per_s: rate(before.traffic.datagrams_in, after.traffic.datagrams_in),
            packets_out_per_s: rate(before.traffic.datagrams_out, after.traffic.datagrams_out),
            receive_drops: after.receive_drops,
        });
    }
    let (before, after) = (&from.traffic, &to.traffic);
    Port {
        port: None,
        protocol: "udp",
        state: "open",
        drain_deadline_at: None,
        sessions: 0,
        packets_in_per_s: rate(before.datagrams_in, after.datagrams_in),
        packets_out_per_s: rate(before.datagrams_out, after.datagrams_out),
        bits_in_per_s: rate(before.bytes_in * 8, after.bytes_in * 8),
        bits_out_per_s: rate(before.bytes_out * 8, after.bytes_out * 8),
        receive_drops: to.receive_drops,
        send_drops: to.send_drops,
        shards,
    }
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
