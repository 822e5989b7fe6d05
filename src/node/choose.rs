//! What is chosen at the start from what the kernel allows, and why.

use std::os::fd::AsFd;

use super::StartError;
use crate::config::{Config, Io, SteerBy};
use crate::limits::STEERING_FLOWS_PER_SESSION;
use crate::net::{Backend, Steering, UdpSocket, uring_available};

/// The receive back end, and why.
pub(super) fn backend(io: Io) -> Result<(Backend, String), StartError> {
    match io {
        Io::Mmsg => Ok((Backend::Mmsg, "asked for".into())),
        Io::Uring => match uring_available() {
            Ok(()) => Ok((Backend::Uring, "asked for".into())),
            Err(reason) => Err(StartError::Uring(reason)),
        },
        Io::Auto => Ok((Backend::Mmsg, "the faster one in benches/net.rs".into())),
    }
}

/// Puts steering programs on the ports where that is wanted and allowed, and says what is active.
pub(super) fn steering(
    config: &Config,
    sockets: &[Vec<UdpSocket>],
) -> Result<(Option<Steering>, String), StartError> {
    let by_hash = "kernel hash; strays are handed over by ring";
    let useless = config.shards() == 1 && !config.kernel_drop;
    if config.udp.range.is_some() {
        return Ok((None, "none: each port is one session's, on its shard".into()));
    }
    match config.steering {
        SteerBy::Hash => return Ok((None, format!("{by_hash}; asked for"))),
        SteerBy::Auto if useless => return Ok((None, "none: there is one shard".into())),
        SteerBy::Auto | SteerBy::Ebpf => {}
    }
    let ports = 0..config.udp.mux.len();
    let by_port: Vec<Vec<_>> =
        ports.map(|port| sockets.iter().map(|shard| shard[port].as_fd()).collect()).collect();
    let flows = config.max_sessions * STEERING_FLOWS_PER_SESSION;
    match Steering::load(&by_port, flows, config.kernel_drop) {
        Ok(steering) => {
            let unknown = match steering.drops_unknown() {
                true => "dropped by the kernel",
                false => "spread by hash",
            };
            let active = format!("eBPF: by ufrag and flow; unknown flows are {unknown}");
            Ok((Some(steering), active))
        }
        Err(reason) if config.kernel_drop => {
            Err(StartError::Steering { option: "--kernel-drop", reason })
        }
        Err(reason) if config.steering == SteerBy::Ebpf => {
            Err(StartError::Steering { option: "--steering ebpf", reason })
        }
        Err(reason) => Ok((None, format!("{by_hash}; {reason}"))),
    }
}
