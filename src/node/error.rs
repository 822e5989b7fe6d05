//! Why the server does not start, in words for the person who started it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::takeover::TakeoverError;
use super::tls::TlsError;

/// Why the server does not start, in words.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the UDP port.
    #[error("UDP port {port} is in use{by}; stop it or pass --udp-port")]
    UdpPortInUse {
        /// The port.
        port: u16,
        /// ` by pid 812 (monoport)`, where that can be found out.
        by: String,
    },
    /// The directory of nodes can't be used.
    #[error("--cluster: {0}")]
    Cluster(String),
    /// The host's name is no node's.
    #[error("--cluster: this host has no name that a node can have; pass --node NAME")]
    NoNodeName,
    /// HTTPS has no certificate.
    #[error("HTTPS: {0}; look at --tls-cert and --tls-key")]
    Tls(#[from] TlsError),
    /// The UDP port can't be bound.
    #[error("UDP port {port} on {address}: {error}; pass another --udp-port or --bind")]
    UdpBind {
        /// The port.
        port: u16,
        /// The address.
        address: IpAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// Every port of the range is somebody else's.
    #[error("--port-range {0}: every port of it is in use by others; pass another range")]
    RangeInUse(crate::config::PortRange),
    /// The TCP port of media can't be bound.
    #[error("TCP port {port} on {address}{by}: {error}; pass another --tcp-port, or --no-tcp")]
    TcpBind {
        /// The port.
        port: u16,
        /// The address.
        address: IpAddr,
        /// ` by pid 812 (monoport)`, where somebody has it and that can be found out.
        by: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The HTTP address can't be bound.
    #[error("HTTP on {address}: {error}; pass another --http")]
    HttpBind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no address to put into answers.
    #[error("no network interface has an address for answers; pass --announce IP")]
    NothingToAnnounce,
    /// The filter lets no address through.
    #[error("{filter} leaves no address for answers; there are {there}")]
    NothingAdmitted {
        /// The options.
        filter: String,
        /// What the filter was applied to.
        there: String,
    },
    /// A name to announce can't be looked up.
    #[error("--announce {name}: {error}; announce its IP address, or mend the name")]
    HostName {
        /// The name.
        name: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// io_uring was asked for and is not to be had.
    #[error("--io uring: {0}; pass --io mmsg")]
    Uring(String),
    /// Steering by eBPF was asked for and is not to be had.
    #[error("{option}: {reason}; or go without {option}")]
    Steering {
        /// The option that asks for it.
        option: &'static str,
        /// Why not, and what to grant.
        reason: String,
    },
    /// Asked which ports would be used, and one is the kernel's to choose.
    #[error("{0} has port 0, which the kernel chooses at the start; name a port")]
    ChosenAtStart(&'static str),
    /// The place of the running server can't be taken.
    #[error("--takeover: {0}")]
    Takeover(#[from] TakeoverError),
    /// A thread, a runtime or a registration failed.
    #[error("start: {0}")]
    Io(#[from] io::Error),
}
