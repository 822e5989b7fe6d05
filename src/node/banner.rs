//! What was bound and chosen, for the person who started the server.

use std::fmt::Write;
use std::net::SocketAddr;

use super::opened::Opened;
use crate::config::{Config, PortCount};
use crate::net::{Backend, UdpSocket};
use crate::srtp;
use crate::telemetry::MemoryTerm;

/// What was chosen at the start, in words.
pub(super) struct Chosen {
    pub backend: Backend,
    pub backend_reason: String,
    pub steering: String,
}

pub(super) fn banner(
    config: &Config,
    opened: &Opened,
    candidates: &[Vec<SocketAddr>],
    tcp_candidates: &[SocketAddr],
    chosen: &Chosen,
) -> String {
    let Opened { bound, http: listener, reachable, .. } = opened;
    let mut text = format!("monoport {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    let http = listener.local_addr().unwrap_or(config.http);
    if let Some(range) = config.udp.range {
        let (ip, count) = (bound.ip, range.count());
        line("media", format!("UDP {ip} ports {range}, one for each of {count} sessions at most"));
    }
    if let Some(socket) = bound.sockets.first().and_then(|sockets| sockets.first()) {
        let (ip, count) = (bound.ip, bound.sockets.len());
        let ports = ports_of(&bound.sockets[0]);
        line("media", format!("UDP {ip} port {ports}, a socket for each of {count} shards"));
        if let Some(PortCount { min, max }) = config.udp.auto {
            line("ports", format!("{min} to {max} by load, counted up from the first"));
        }
        let (receive, send) = socket.effective_buffers();
        let hint = if receive < config.receive_buffer.min(4 << 20) {
            format!("; too small for load: sysctl -w net.core.rmem_max={}", config.receive_buffer)
        } else {
            String::new()
        };
        line("buffers", format!("{receive} B to receive, {send} B to send, per socket{hint}"));
    }
    let (addresses, more) = match candidates {
        [] => (reachable.iter().map(|one| one.ip.to_string()).collect(), "; the port is its own"),
        [one] => (one.iter().map(ToString::to_string).collect::<Vec<_>>(), ""),
        [one, ..] => (
            one.iter().map(ToString::to_string).collect(),
            "; the port is the one with the fewest sessions",
        ),
    };
    line("answers", format!("{}{more}", addresses.join(" ")));
    let tcp: Vec<String> = tcp_candidates.iter().map(ToString::to_string).collect();
    let tcp = if tcp.is_empty() { "no (--no-tcp)".into() } else { tcp.join(" ") };
    line("over TCP", tcp);
    let cores: Vec<String> = config.shard_cores.iter().map(ToString::to_string).collect();
    line("shards", format!("{} on cores {}", config.shards(), cores.join(" ")));
    line("receive", format!("{:?}, {}", chosen.backend, chosen.backend_reason).to_lowercase());
    line("steering", chosen.steering.clone());
    line("cipher", srtp::library::choice().to_string());
    let auth = match (&config.access.publish, &config.access.watch, config.access.everybody) {
        (Some(publish), Some(watch), _) if publish == watch => "bearer token",
        (Some(_), Some(_), _) => "a bearer token to publish, another to watch",
        (Some(_), None, _) => "bearer token to publish, none to watch",
        (None, Some(_), _) => "bearer token to watch, none to publish",
        (None, None, true) => "none (--no-auth)",
        (None, None, false) => "none needed on this machine",
    };
    let jwt = if config.access.jwt.is_some() { "JSON Web Tokens; besides, " } else { "" };
    line("auth", format!("{jwt}{auth}"));
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    line("page", format!("{scheme}://{}/", page_host(http)));
    text
}

/// What the memory is that is set aside at the start, the largest part first.
pub(super) fn memory(terms: &[MemoryTerm]) -> String {
    let mut terms: Vec<&MemoryTerm> = terms.iter().filter(|term| term.bytes > 0).collect();
    terms.sort_by_key(|term| std::cmp::Reverse(term.bytes));
    let megabytes = |bytes: usize| format!("{:.1} MB", bytes as f64 / 1e6);
    let named = |term: &&MemoryTerm| format!("{} {}", term.name, megabytes(term.bytes));
    let named: Vec<String> = terms.iter().map(named).collect();
    let all = terms.iter().map(|term| term.bytes).sum();
    let aside = "of which receive_slots is address space until used";
    format!("  {:<10} {} at first, {aside}: {}\n", "memory", megabytes(all), named.join(", "))
}

fn ports_of(sockets: &[UdpSocket]) -> String {
    let ports: Vec<String> = sockets.iter().map(|socket| socket.port().to_string()).collect();
    ports.join(" ")
}

/// How a browser on this machine reaches HTTP. `localhost` is a secure context, which the camera
/// needs.
fn page_host(http: SocketAddr) -> String {
    if http.ip().is_loopback() || http.ip().is_unspecified() {
        format!("localhost:{}", http.port())
    } else {
        http.to_string()
    }
}
