//! The UDP sockets of all shards, and the TCP listener beside them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::StartError;
use crate::config::Config;
use crate::net::{
    PortHolder, SocketOptions, UdpSocket, tcp_listener, tcp_port_holder, udp_port_holder,
};

/// The sockets of each shard: one per mux port, shared by all shards.
pub(super) fn bind_udp(config: &Config) -> Result<Vec<Vec<UdpSocket>>, StartError> {
    // SO_REUSEPORT lets two servers of one user share a port without a word, and each would lose
    // half of its packets to the other.
    for port in config.udp_ports.iter().copied().filter(|port| *port != 0) {
        if let Ok(Some(holder)) = udp_port_holder(port) {
            return Err(StartError::UdpPortInUse { port, by: describe(&holder) });
        }
    }
    let mut error = None;
    for ip in config.bind_candidates() {
        match bind_all(ip, config) {
            Ok(sockets) => return Ok(sockets),
            Err(failed) => error.get_or_insert(failed),
        };
    }
    Err(error.expect("there is at least one address to try"))
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

fn bind_all(ip: IpAddr, config: &Config) -> Result<Vec<Vec<UdpSocket>>, StartError> {
    let options = SocketOptions {
        receive_buffer_bytes: config.receive_buffer,
        send_buffer_bytes: config.send_buffer,
        gro: config.gro,
        timestamps: true,
        busy_poll_us: u32::try_from(config.busy_poll.as_micros()).unwrap_or(u32::MAX),
    };
    let mut shards: Vec<Vec<UdpSocket>> = Vec::new();
    shards.resize_with(config.shards(), Vec::new);
    for port in &config.udp_ports {
        let address = SocketAddr::new(ip, if *port == 0 { free_port(ip)? } else { *port });
        for sockets in &mut shards {
            let socket = UdpSocket::bind(address, &options)
                .map_err(|error| StartError::UdpBind { port: *port, address: ip, error })?;
            sockets.push(socket);
        }
    }
    Ok(shards)
}

/// A port nobody has. The kernel is asked through a socket that shares with nobody: asked through
/// one with SO_REUSEPORT it may give out the port of another such socket.
fn free_port(ip: IpAddr) -> Result<u16, StartError> {
    let bound = std::net::UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr());
    let bound = bound.map_err(|error| StartError::UdpBind { port: 0, address: ip, error })?;
    Ok(bound.port())
}

fn describe(holder: &PortHolder) -> String {
    match (holder.pid, &holder.command) {
        (Some(pid), Some(command)) => format!(" by pid {pid} ({command})"),
        (Some(pid), None) => format!(" by pid {pid}"),
        _ => String::new(),
    }
}
