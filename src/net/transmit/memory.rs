//! The transmitter of a simulation: what leaves is kept in a list.

use super::Tally;
use crate::drop::DropReason;
use crate::limits::MAX_DATAGRAM_OUT;
use crate::net::Destination;

/// A datagram that has left, in a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where it goes, and through which port.
    pub to: Destination,
    /// Its payload.
    pub bytes: Box<[u8]>,
}

/// What has left and was not taken yet.
#[derive(Default)]
pub(super) struct Collected {
    pub sent: Vec<Sent>,
    pub tally: Tally,
}

impl Collected {
    /// Lets `write` make a datagram for `to`.
    pub fn push(
        &mut self,
        to: Destination,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        let mut slot = [0; MAX_DATAGRAM_OUT];
        let length = write(&mut slot)?;
        self.tally.datagrams += 1;
        self.tally.messages += 1;
        self.tally.bytes += length as u64;
        self.sent.push(Sent { to, bytes: slot[..length].into() });
        Ok(())
    }
}
