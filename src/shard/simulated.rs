//! A shard without a thread, without sockets and without a clock: whoever has one gives it
//! datagrams and the time, and takes what it sends.
//!
//! It is the shard that serves, with the same mailbox and the same turn; what is missing is what
//! the kernel does. `tests/simulation` runs whole servers of these under virtual time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::turn::Next;
use super::{ShardConfig, Wiring};
use crate::id::Via;
use crate::net::{Sent, Transmitter};
use crate::paths::{Inbound, Sharing};

/// A shard that is driven by hand.
pub struct Simulated {
    core: Core,
}

impl Simulated {
    /// A shard with mux ports, by number, in the slots of their order.
    ///
    /// # Errors
    /// `EMFILE`: it could serve TCP, and has the kernel's list of connections for that.
    pub fn new(
        config: &ShardConfig,
        ports: Vec<u16>,
        wiring: Arc<Wiring>,
        now: Instant,
    ) -> io::Result<Simulated> {
        let core = Core::new(config, Sharing::Mux, ports, Transmitter::memory(), wiring, now)?;
        Ok(Simulated { core })
    }

    /// Datagrams of handshakes that wait for their turn.
    #[must_use]
    pub fn handshakes_waiting(&self) -> usize {
        self.core.handshakes.waiting()
    }

    /// A datagram from `remote` has come to our address `local`, at the port in slot `port`: the
    /// first phase of a turn, which [`Simulated::turn`] goes on with.
    pub fn deliver(
        &mut self,
        now: Instant,
        port: u32,
        local: IpAddr,
        remote: SocketAddr,
        bytes: &[u8],
    ) {
        self.core.count_received(port, 1, bytes.len() as u64);
        let via = Via::Udp(port);
        let bytes = &mut bytes.to_vec()[..];
        let datagram = Inbound { via, local, remote, bytes, arrived: now, handed_over: false };
        self.core.on_datagram(now, datagram);
    }

    /// The other phases. Returns when the next turn is due unless something comes before: `now`
    /// where there is more to do, `None` once the shard was stopped.
    pub fn turn(&mut self, now: Instant) -> Option<Instant> {
        let next = self.core.turn(now, false);
        self.core.time_turn(now, now);
        match next {
            Next::Now => Some(now),
            Next::At(at) | Next::WhenWritable(at) => Some(at),
            Next::Stop => None,
        }
    }

    /// What it has sent since the last call, in that order.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        self.core.paths.ways.transmitter.take_sent()
    }

    /// Whether its tables agree with one another: between two turns they do.
    ///
    /// # Errors
    /// What does not agree, in words.
    pub fn audit(&mut self) -> Result<(), String> {
        self.core.audit()
    }
}
