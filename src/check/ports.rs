//! Ports: whether they are free, who has them, and whether this process may bind them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use super::Finding;
use super::attempts::wants_steering;
use crate::config::{Config, PortRange};
use crate::net::{PortHolder, tcp_port_holder, udp_port_holder, udp_ports_in_use};

/// Ports below are for who has CAP_NET_BIND_SERVICE, unless `net.ipv4.ip_unprivileged_port_start`
/// says otherwise (ip(7)).
const FIRST_UNPRIVILEGED: u16 = 1024;
/// What the server is called in `/proc/PID/comm`.
const SERVER: &str = "monoport";

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
        }
    }

    fn listing(self) -> &'static str {
        match self {
            Protocol::Udp => "ss -ulpn",
            Protocol::Tcp => "ss -tlpn",
        }
    }
}

/// The UDP ports of media.
pub(super) fn free_ports(config: &Config) -> Finding {
    let what = "UDP ports";
    if let Some(range) = config.udp.range {
        return free_of(range, config.max_sessions);
    }
    for port in config.udp.possible_mux().iter().filter(|port| **port != 0) {
        if let Ok(Some(holder)) = udp_port_holder(*port) {
            return taken(what, *port, Protocol::Udp, holder, "--udp-port");
        }
    }
    Finding::ok(what, format!("{} free", config.udp.describe()))
}

/// Ports of a range that others have are skipped by the server; too few are a failure to come.
fn free_of(range: PortRange, sessions: usize) -> Finding {
    let what = "UDP ports";
    let taken = match udp_ports_in_use() {
        Ok(taken) => taken,
        Err(error) => return Finding::warn(what, error.to_string(), "mount -t proc proc /proc"),
    };
    let taken = taken.range(range.first..=range.last).count();
    let free = range.count() - taken;
    let found = format!("{free} of {range} free, {taken} in use by others");
    let fix = format!(
        "pass a --port-range of {sessions} ports or more, or --max-sessions {}; ss -ulpn \
         'sport >= :{} and sport <= :{}' says who has some",
        free.max(1),
        range.first,
        range.last
    );
    match free {
        0 => Finding::fail(what, found, fix),
        free if free < sessions => {
            Finding::warn(what, format!("{found}: fewer than {sessions} sessions"), fix)
        }
        _ => Finding::ok(what, found),
    }
}

/// The port of ICE-TCP. Somebody who has it keeps the server from starting.
pub(super) fn tcp_port(config: &Config) -> Finding {
    let what = "TCP port";
    let Some(port) = config.tcp_port else {
        return Finding::ok(what, "not asked for (--no-tcp)");
    };
    match tcp_port_holder(port) {
        Ok(Some(holder)) if port != 0 => taken(what, port, Protocol::Tcp, holder, "--tcp-port"),
        _ => Finding::ok(what, format!("{port} free; each client over TCP takes an open file")),
    }
}

/// Where HTTP is to listen.
pub(super) fn http(config: &Config) -> Finding {
    let what = "HTTP";
    let address = config.http;
    let port = address.port();
    if port != 0 && config.tcp_port == Some(port) {
        let found = format!("{address} and the TCP port of media are one");
        return Finding::fail(what, found, "pass another --http or another --tcp-port");
    }
    match tcp_port_holder(port) {
        Ok(Some(holder)) if port != 0 => taken(what, port, Protocol::Tcp, holder, "--http"),
        _ => {
            let reach = match (address.ip().is_loopback(), &config.access.publish) {
                (true, _) => "for this machine alone",
                (false, Some(_)) => "others reach it, with a token",
                (false, None) => "others reach it, and need no token",
            };
            Finding::ok(what, format!("{address} free; {reach}"))
        }
    }
}

/// A port that somebody has. A server that runs is not in its own way.
fn taken(
    what: &'static str,
    port: u16,
    protocol: Protocol,
    holder: PortHolder,
    option: &str,
) -> Finding {
    let fix = match (holder.pid, holder.command) {
        (Some(pid), Some(command)) if command == SERVER => {
            let found = format!("{port} is that of a {SERVER} that runs (pid {pid})");
            return Finding::ok(what, format!("{found}; a second one needs another {option}"));
        }
        (Some(pid), Some(command)) => format!("kill {pid}  # {command}"),
        _ => format!("{} 'sport = :{port}'  # as root: says who has it", protocol.listing()),
    };
    Finding::warn(what, format!("{port} is in use"), fix)
}

/// Whether this process may bind what the server would.
pub(super) fn permission(config: &Config) -> Finding {
    judge_permission(config, |protocol, address| match protocol {
        Protocol::Udp => UdpSocket::bind(address).map(|_released| ()),
        Protocol::Tcp => TcpListener::bind(address).map(|_released| ()),
    })
}

/// The same with `bind` to try.
pub(super) fn judge_permission(
    config: &Config,
    bind: impl Fn(Protocol, SocketAddr) -> io::Result<()>,
) -> Finding {
    let what = "permission";
    let mut refused = Vec::new();
    for (protocol, ips, port) in targets(config) {
        let tried = ips.iter().map(|ip| bind(protocol, SocketAddr::new(*ip, port)).err());
        let errors: Option<Vec<io::Error>> = tried.collect();
        // One address that works is enough, and a port that is taken has a line of its own.
        let Some(error) = errors.and_then(|errors| errors.into_iter().next()) else { continue };
        match error.kind() {
            ErrorKind::PermissionDenied => refused.push(format!("{} {port}", protocol.name())),
            ErrorKind::AddrNotAvailable => {
                let found = format!("{} is no address of this host", ips[0]);
                let fix = "ip address  # lists them: pass one to --bind or --http, or none";
                return Finding::fail(what, found, fix);
            }
            _ => {}
        }
    }
    match refused.is_empty() {
        true => Finding::ok(what, "every port may be bound"),
        false => {
            let found = format!("may not bind {}", refused.join(", "));
            Finding::fail(what, found, grant(config))
        }
    }
}

/// What would be bound: the addresses of which one must do, and the port.
fn targets(config: &Config) -> Vec<(Protocol, Vec<IpAddr>, u16)> {
    let media = config.bind_candidates();
    let udp = match config.udp.range {
        Some(range) => vec![range.first],
        None => config.udp.possible_mux(),
    };
    let mut targets: Vec<_> =
        udp.into_iter().map(|port| (Protocol::Udp, media.clone(), port)).collect();
    targets.extend(config.tcp_port.map(|port| (Protocol::Tcp, media, port)));
    targets.push((Protocol::Tcp, vec![config.http.ip()], config.http.port()));
    targets
}

/// The command that grants all the server can use with these options. It is one, because each
/// `setcap` takes away what the last one gave.
pub(super) fn grant(config: &Config) -> String {
    let mut capabilities = Vec::new();
    if wants_steering(config) {
        capabilities.push("cap_bpf");
    }
    let low = |(_, _, port): &(Protocol, _, u16)| (1..FIRST_UNPRIVILEGED).contains(port);
    if targets(config).iter().any(low) {
        capabilities.push("cap_net_bind_service");
    }
    format!("setcap {}+ep \"$(command -v monoport)\"", capabilities.join(","))
}
