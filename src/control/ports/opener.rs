//! Where new UDP ports come from: the node binds them, because it knows the options.

use std::net::SocketAddr;

use crate::shard::BoundPort;

/// Opens UDP ports while the server runs. Its calls block for as long as system calls take.
pub trait PortOpener: Send + Sync {
    /// One more mux port: a socket for each shard, in their order, steered like those of the other
    /// ports. Port 0 lets the kernel choose.
    ///
    /// # Errors
    /// [`PortRefused`]; nothing is left bound.
    fn open_mux(&self, port: u16) -> Result<Vec<BoundPort>, PortRefused>;

    /// A port for one session.
    ///
    /// # Errors
    /// [`PortRefused`].
    fn open_own(&self, port: u16) -> Result<BoundPort, PortRefused>;
}

/// Why a port can't be opened, in words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRefused {
    /// Somebody has it.
    InUse(String),
    /// The kernel refuses: descriptors, memory, privileges.
    Failed(String),
}

/// The ports a server starts with.
#[derive(Clone, Debug)]
pub enum StartingPorts {
    /// Mux ports, which all shards serve, each with the addresses answers name.
    Mux(Vec<(u16, Vec<SocketAddr>)>),
    /// A port per session, from the first to the last.
    Range {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
}
