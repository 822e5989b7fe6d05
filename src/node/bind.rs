//! The UDP sockets of all shards, those of the start and those opened while the server runs; and
//! the TCP listener beside them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::StartError;
use super::announce::Reachable;
use crate::config::{Config, PortRange};
use crate::control::{PortOpener, PortRefused};
use crate::limits::{OTHER_FILES, SESSION_SOCKET_BUFFER_BYTES};
use crate::net::{
    PortHolder, SocketOptions, UdpSocket, raise_open_files, tcp_listener, tcp_port_holder,
    udp_port_holder, udp_ports_in_use,
};
use crate::shard::{BoundPort, Wiring};

/// What was bound at the start.
pub(super) struct Bound {
    /// The address every port is bound to.
    pub ip: IpAddr,
    /// The sockets of each shard: one per mux port, shared by all shards. Empty with a range.
    pub sockets: Vec<Vec<UdpSocket>>,
}

/// Binds the mux ports, or makes sure that a range has a free port.
pub(super) fn bind_udp(config: &Config) -> Result<Bound, StartError> {
    if let Some(range) = config.udp.range {
        return probe(config, range);
    }
    // SO_REUSEPORT lets two servers of one user share a port without a word, and each would lose
    // half of its packets to the other.
    for port in config.udp.mux.iter().copied().filter(|port| *port != 0) {
        if let Ok(Some(holder)) = udp_port_holder(port) {
            return Err(StartError::UdpPortInUse { port, by: describe(&holder) });
        }
    }
    let mut error = None;
    for ip in config.bind_candidates() {
        match bind_all(ip, config) {
            Ok(sockets) => return Ok(Bound { ip, sockets }),
            Err(failed) => error.get_or_insert(failed),
        };
    }
    Err(error.expect("there is at least one address to try"))
}

/// Opens ports while the server runs, with the options it was started with.
pub(super) struct Opener {
    pub ip: IpAddr,
    reachable: Mutex<Vec<Reachable>>,
    pub shards: usize,
    pub mux: SocketOptions,
    pub own: SocketOptions,
    pub wiring: Arc<Wiring>,
}

impl Opener {
    pub fn new(
        config: &Config,
        ip: IpAddr,
        reachable: Vec<Reachable>,
        wiring: Arc<Wiring>,
    ) -> Opener {
        let (shards, mux) = (config.shards(), socket_options(config));
        let own = SocketOptions {
            receive_buffer_bytes: mux.receive_buffer_bytes.min(SESSION_SOCKET_BUFFER_BYTES),
            send_buffer_bytes: mux.send_buffer_bytes.min(SESSION_SOCKET_BUFFER_BYTES),
            ..mux
        };
        let reachable = Mutex::new(reachable);
        Opener { ip, reachable, shards, mux, own, wiring }
    }

    fn bound(&self, socket: UdpSocket) -> BoundPort {
        let port = socket.port();
        let reachable = self.reachable.lock().unwrap_or_else(PoisonError::into_inner);
        BoundPort { socket, candidates: reachable.iter().map(|one| one.at(port)).collect() }
    }

    /// The addresses that answers name.
    pub fn reachable(&self) -> Vec<Reachable> {
        self.reachable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ports that are opened from now on are named at `now`. Returns what it was before, if that
    /// was anything else.
    pub fn announce(&self, now: &[Reachable]) -> Option<Vec<Reachable>> {
        let mut reachable = self.reachable.lock().unwrap_or_else(PoisonError::into_inner);
        (*reachable != now).then(|| std::mem::replace(&mut *reachable, now.to_vec()))
    }

    fn refused(port: u16, error: &std::io::Error) -> PortRefused {
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => PortRefused::InUse(format!("UDP port {port} is in use")),
            Some(libc::EMFILE | libc::ENFILE) => PortRefused::Failed(format!(
                "UDP port {port}: {error}; raise ulimit -n (LimitNOFILE= in systemd)"
            )),
            _ => PortRefused::Failed(format!("UDP port {port}: {error}")),
        }
    }
}

impl PortOpener for Opener {
    fn open_mux(&self, port: u16) -> Result<Vec<BoundPort>, PortRefused> {
        let refused = |error: std::io::Error| Opener::refused(port, &error);
        if port != 0
            && let Ok(Some(holder)) = udp_port_holder(port)
        {
            let by = describe(&holder);
            return Err(PortRefused::InUse(format!("UDP port {port} is in use{by}")));
        }
        let number = if port == 0 { free_port(self.ip).map_err(refused)? } else { port };
        let address = SocketAddr::new(self.ip, number);
        let sockets: Vec<UdpSocket> = (0..self.shards)
            .map(|_| UdpSocket::bind(address, &self.mux))
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        if let Some(steering) = &self.wiring.ownership.steering {
            let group: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            steering.attach(&group).map_err(PortRefused::Failed)?;
        }
        Ok(sockets.into_iter().map(|socket| self.bound(socket)).collect())
    }

    fn open_own(&self, port: u16) -> Result<BoundPort, PortRefused> {
        UdpSocket::bind_alone(SocketAddr::new(self.ip, port), &self.own)
            .map(|socket| self.bound(socket))
            .map_err(|error| Opener::refused(port, &error))
    }
}

/// The listener of ICE-TCP on `port`, at the address the UDP sockets have.
pub(super) fn bind_tcp(port: u16, ip: IpAddr) -> Result<TcpListener, StartError> {
    tcp_listener(SocketAddr::new(ip, port)).map_err(|error| {
        let holder = match error.kind() {
            ErrorKind::AddrInUse => tcp_port_holder(port).ok().flatten(),
            _ => None,
        };
        let by = holder.map(|holder| describe(&holder)).unwrap_or_default();
        StartError::TcpBind { port, address: ip, by, error }
    })
}

/// How the sockets of mux ports are set up.
pub(super) fn socket_options(config: &Config) -> SocketOptions {
    SocketOptions {
        receive_buffer_bytes: config.receive_buffer,
        send_buffer_bytes: config.send_buffer,
        gro: config.gro,
        timestamps: true,
        busy_poll_us: u32::try_from(config.busy_poll.as_micros()).unwrap_or(u32::MAX),
    }
}

fn bind_all(ip: IpAddr, config: &Config) -> Result<Vec<Vec<UdpSocket>>, StartError> {
    let options = socket_options(config);
    let mut shards: Vec<Vec<UdpSocket>> = Vec::new();
    shards.resize_with(config.shards(), Vec::new);
    for port in &config.udp.mux {
        let failed = |error| StartError::UdpBind { port: *port, address: ip, error };
        let number = if *port == 0 { free_port(ip).map_err(failed)? } else { *port };
        for sockets in &mut shards {
            let socket = UdpSocket::bind(SocketAddr::new(ip, number), &options).map_err(failed)?;
            sockets.push(socket);
        }
    }
    Ok(shards)
}

/// Finds the address to bind to by binding one port of the range, and lets it go again.
fn probe(config: &Config, range: PortRange) -> Result<Bound, StartError> {
    // Sockets of sessions, and what a server has open besides: HTTP, rings, files.
    let wanted = (range.count().min(config.max_sessions) + OTHER_FILES) as u64;
    match raise_open_files(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => tracing::warn!(
            "{limit} open files allow fewer sessions than --port-range {range} has ports: raise \
             ulimit -Hn to {wanted} (LimitNOFILE= in systemd)"
        ),
        Err(error) => tracing::warn!("the limit of open files stays: {error}"),
    }
    let taken = udp_ports_in_use().unwrap_or_default();
    let free = (range.first..=range.last).find(|port| !taken.contains(port));
    let port = free.ok_or(StartError::RangeInUse(range))?;
    let mut error = None;
    for ip in config.bind_candidates() {
        match UdpSocket::bind_alone(SocketAddr::new(ip, port), &socket_options(config)) {
            Ok(_released) => return Ok(Bound { ip, sockets: Vec::new() }),
            Err(failed) => {
                error.get_or_insert(StartError::UdpBind { port, address: ip, error: failed })
            }
        };
    }
    Err(error.expect("there is at least one address to try"))
}

/// A port nobody has. The kernel is asked through a socket that shares with nobody: asked through
/// one with SO_REUSEPORT it may give out the port of another such socket.
fn free_port(ip: IpAddr) -> std::io::Result<u16> {
    std::net::UdpSocket::bind((ip, 0))?.local_addr().map(|bound| bound.port())
}

fn describe(holder: &PortHolder) -> String {
    match (holder.pid, &holder.command) {
        (Some(pid), Some(command)) => format!(" by pid {pid} ({command})"),
        (Some(pid), None) => format!(" by pid {pid}"),
        _ => String::new(),
    }
}
