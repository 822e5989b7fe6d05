//! Every way out of a shard.

use super::connections::Connections;
use crate::drop::DropReason;
use crate::id::Via;
use crate::net::{Destination, Transmitter};

/// What datagrams leave by.
pub(super) struct Ways {
    pub transmitter: Transmitter,
    pub tcp: Connections,
}

impl Ways {
    /// Lets `write` fill a slot of what `to` is reached by and queues what it wrote.
    ///
    /// # Errors
    /// What `write` says, and that the way is full or gone.
    #[inline]
    pub fn push(
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
