//! What was bound and chosen, for the person who started the server.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::config::Config;
use crate::net::{Backend, UdpSocket};
use crate::srtp;

/// What was chosen at the start, in words.
pub(super) struct Chosen {
    pub backend: Backend,
    pub backend_reason: String,
    pub steering: String,
}

pub(super) fn banner(
    config: &Config,
    sockets: &[Vec<UdpSocket>],
    listener: &std::net::TcpListener,
    candidates: &[Vec<SocketAddr>],
    tcp_candidates: &[SocketAddr],
    chosen: &Chosen,
) -> String {
    let mut text = format!("monoport {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    let http = listener.local_addr().unwrap_or(config.http);
    let ports: Vec<String> = sockets[0].iter().map(|s| s.port().to_string()).collect();
    if let Some(socket) = sockets[0].first() {
        let (ip, count) = (socket.local_addr().ip(), sockets.len());
        let ports = ports.join(" ");
        line("media", format!("UDP {ip} port {ports}, a socket for each of {count} shards"));
        let (receive, send) = socket.effective_buffers();
        let hint = if receive < config.receive_buffer.min(4 << 20) {
            format!("; too small for load: sysctl -w net.core.rmem_max={}", config.receive_buffer)
        } else {
            String::new()
        };
        line("buffers", format!("{receive} B to receive, {send} B to send, per socket{hint}"));
    }
    let addresses: Vec<String> = candidates[0].iter().map(ToString::to_string).collect();
    let more = if candidates.len() > 1 { "; the port is the least loaded one" } else { "" };
    line("answers", format!("{}{more}", addresses.join(" ")));
    let tcp: Vec<String> = tcp_candidates.iter().map(ToString::to_string).collect();
    let tcp = if tcp.is_empty() { "no (--no-tcp)".into() } else { tcp.join(" ") };
    line("over TCP", tcp);
    let cores: Vec<String> = config.shard_cores.iter().map(ToString::to_string).collect();
    line("shards", format!("{} on cores {}", config.shards(), cores.join(" ")));
    line("receive", format!("{:?}, {}", chosen.backend, chosen.backend_reason).to_lowercase());
    line("steering", chosen.steering.clone());
    line("cipher", srtp::library::choice().to_string());
    let auth = match (&config.token, http.ip().is_loopback()) {
        (Some(_), _) => "bearer token",
        (None, true) => "none needed on loopback",
        (None, false) => "none (--no-auth)",
    };
    line("auth", auth.into());
    line("page", format!("http://{}/", page_host(http)));
    text
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
