//! What is found out by trying it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use super::ports::grant;
use super::{Finding, Host};
use crate::config::{Config, Io, SteerBy};
use crate::limits::{MAX_DATAGRAM_OUT, STEERING_FLOWS_PER_SESSION};
use crate::net::{
    Destination, SendBatch, Sender, SocketOptions, Steering, UdpSocket, ring_available,
    uring_available,
};

fn loopback(options: &SocketOptions) -> std::io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options)
}

/// A train of two, sent to itself.
pub(super) fn gso() -> Finding {
    const BYTES: usize = 100;
    let what = "GSO";
    let upgrade = "upgrade to Linux 4.18 or newer";
    let options = SocketOptions { gro: false, ..SocketOptions::default() };
    let socket = match loopback(&options) {
        Ok(socket) => socket,
        Err(error) => return Finding::fail(what, format!("no UDP socket: {error}"), upgrade),
    };
    let from_any = Ipv4Addr::UNSPECIFIED.into();
    let to = Destination::new(socket.local_addr(), from_any, true);
    let mut batch = SendBatch::new(2, 2 * MAX_DATAGRAM_OUT);
    for _ in 0..2 {
        if let Some(slot) = batch.slot() {
            slot[..BYTES].fill(0);
            batch.commit(to, BYTES);
        }
    }
    let report = Sender::new(2).flush(&socket, &mut batch, &mut |_, _| {});
    match report.trains_refused == 0 && report.datagrams == 2 {
        true => Finding::ok(what, "the kernel takes trains (UDP_SEGMENT)"),
        false => Finding::warn(what, "no trains: each datagram costs a whole message", upgrade),
    }
}

pub(super) fn gro() -> Finding {
    let what = "GRO";
    match loopback(&SocketOptions::default()) {
        Ok(_socket) => Finding::ok(what, "the kernel joins what it receives (UDP_GRO)"),
        Err(error) => {
            let found = format!("no UDP_GRO: {error}");
            Finding::fail(what, found, "upgrade to Linux 5.0 or newer, or pass --gro false")
        }
    }
}

/// Shards wait on a ring whatever receives the packets, so none at all is a failure.
pub(super) fn uring(io: Io, host: &Host) -> Finding {
    let what = "io_uring";
    let disabled = host.number("proc/sys/kernel/io_uring_disabled").unwrap_or(0);
    let fix = match disabled {
        0 => {
            "upgrade to Linux 6.0 or newer; in a container, allow io_uring_setup, io_uring_enter \
             and io_uring_register (docker run --security-opt seccomp=unconfined)"
        }
        _ => "sysctl -w kernel.io_uring_disabled=0",
    };
    if let Err(reason) = ring_available() {
        return Finding::fail(what, format!("{reason}; every shard waits on a ring"), fix);
    }
    match uring_available() {
        Ok(()) => Finding::ok(what, "works, multishot receive too"),
        Err(reason) if io == Io::Uring => Finding::fail(what, reason, fix),
        Err(reason) => {
            Finding::ok(what, format!("works for waiting; --io uring does not: {reason}"))
        }
    }
}

/// Whether the server would not start without the steering program.
fn must_steer(config: &Config) -> bool {
    config.kernel_drop || config.steering == SteerBy::Ebpf
}

/// Whether the server would load the steering program.
pub(super) fn wants_steering(config: &Config) -> bool {
    config.steering != SteerBy::Hash
        && config.udp.range.is_none()
        && (config.shards() > 1 || must_steer(config))
}

pub(super) fn steering(config: &Config) -> Finding {
    let what = "eBPF";
    let needed = must_steer(config);
    if config.steering == SteerBy::Hash {
        return Finding::ok(what, "not asked for (--steering hash)");
    }
    if config.udp.range.is_some() {
        return Finding::ok(what, "not needed: each port is one session's");
    }
    if config.shards() == 1 && !needed {
        return Finding::ok(what, "not needed: there is one shard");
    }
    let flows = config.max_sessions * STEERING_FLOWS_PER_SESSION;
    let options = SocketOptions::default();
    let loaded = loopback(&options).map_err(|error| error.to_string()).and_then(|socket| {
        Steering::load(&[vec![socket.as_fd()]], flows, config.kernel_drop).map(|_steering| ())
    });
    let fix = grant(config);
    match loaded {
        Ok(()) => Finding::ok(what, "the kernel takes the steering program"),
        Err(reason) if needed => Finding::fail(what, reason, fix),
        Err(reason) => {
            Finding::warn(what, format!("{reason}; shards hand strays over by ring"), fix)
        }
    }
}

/// The buffers a socket is really given.
pub(super) fn buffers(config: &Config, host: &Host) -> Finding {
    let what = "buffers";
    let (receive, send) = (config.receive_buffer, config.send_buffer);
    let options = SocketOptions {
        receive_buffer_bytes: receive,
        send_buffer_bytes: send,
        ..SocketOptions::default()
    };
    let (got_receive, got_send) = match loopback(&options) {
        Ok(socket) => socket.effective_buffers(),
        Err(error) => return Finding::fail(what, error.to_string(), "ulimit -n 65536"),
    };
    let limit = |name| match host.number(&format!("proc/sys/net/core/{name}")) {
        Some(bytes) => format!("{name} {bytes}"),
        None => format!("{name} unknown"),
    };
    let (read, write) = (limit("rmem_max"), limit("wmem_max"));
    let found = format!("{got_receive} B to receive, {got_send} B to send ({read}, {write})");
    if got_receive >= receive && got_send >= send {
        return Finding::ok(what, found);
    }
    let fix = format!("sysctl -w net.core.rmem_max={receive} net.core.wmem_max={send}");
    Finding::warn(what, format!("{found} of {receive} B and {send} B asked for"), fix)
}
