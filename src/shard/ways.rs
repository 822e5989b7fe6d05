//! Every way out of a shard.

use super::connections::Connections;
use crate::drop::DropReason;
use crate::id::Via;
use crate::net::{Destination, Transmitter};
use crate::track::Way;

/// What datagrams leave by.
pub(super) struct Ways {
    pub transmitter: Transmitter,
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
}
