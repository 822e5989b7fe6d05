//! Every way out of a shard.

use super::connections::Connections;
use crate::drop::DropReason;
use crate::id::Via;
use crate::net::{Destination, Transmitter, Way};
use crate::wire::framing::Backlog;

/// What datagrams leave by.
pub struct Ways {
    /// UDP ports.
    pub transmitter: Transmitter,
    /// TCP connections.
    pub tcp: Connections,
}

impl Way for Ways {
    #[inline]
    fn push(
        &mut self,
        to: Destination,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        match to.via {
            Via::Udp(_) => self.transmitter.push(to, write),
            Via::Tcp(connection) => self.tcp.push(connection, write),
        }
    }

    #[inline]
    fn backlog(&self, to: Destination) -> Option<Backlog> {
        match to.via {
            Via::Udp(_) => None,
            Via::Tcp(connection) => self.tcp.backlog(connection),
        }
    }
}
