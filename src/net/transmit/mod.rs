//! What leaves a shard by UDP: written into arenas, queued by the port it leaves through, handed
//! over in batches.
//!
//! ```text
//! push(to, write) ──▶ arena of the port ── flush ──▶ kernel   (Mmsg: sendmmsg, trains)
//!                                       └─ flush ──▶ a list   (Memory: no kernel at all)
//! ```
//!
//! **A message carries the port it leaves through** ([`Destination::via`]), so one transmitter
//! serves all ports of a shard. Which memory a datagram is written into is the back end's own
//! affair: one that sends past the kernel's stack (`AF_XDP`) would lend its frames here.

mod memory;
mod outbox;

use std::io;

use super::batch::Destination;
use super::sockets::Sockets;
use super::{Receiver, UdpSocket};
use crate::drop::DropReason;
use crate::id::Via;
use crate::telemetry::{Histogram, PortTable, ShardCounters};
use memory::Collected;
use outbox::{Outboxes, Tally};

pub use memory::Sent;

/// Sends the datagrams of one shard. Owns its sockets, which a [`Receiver`] reads.
pub struct Transmitter {
    sockets: Sockets,
    back_end: BackEnd,
    /// Destinations for which the kernel refused a train since the last look.
    refused_trains: Vec<Destination>,
}

enum BackEnd {
    Mmsg(Outboxes),
    Memory(Collected),
}

impl Transmitter {
    /// Sends by `sendmmsg(2)` through the mux ports in `sockets`, each with an arena of its own, so
    /// that all who are reached through one port share its system calls.
    #[must_use]
    pub fn muxed(sockets: Vec<UdpSocket>) -> Transmitter {
        let mut muxed = Transmitter::over(Sockets::default(), BackEnd::Mmsg(Outboxes::default()));
        for (slot, socket) in (0..).zip(sockets) {
            muxed.insert(slot, socket);
        }
        muxed
    }

    /// Sends by `sendmmsg(2)`, with a port for every session to come. All share one arena, which is
    /// handed to the kernel whenever the port changes.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn of_sessions() -> io::Result<Transmitter> {
        let outboxes = BackEnd::Mmsg(Outboxes::shared());
        Ok(Transmitter::over(Sockets::of_sessions()?, outboxes))
    }

    /// Sends nothing: what leaves is collected for [`Transmitter::take_sent`], and there are no
    /// sockets. For simulations.
    #[must_use]
    pub fn memory() -> Transmitter {
        Transmitter::over(Sockets::default(), BackEnd::Memory(Collected::default()))
    }

    fn over(sockets: Sockets, back_end: BackEnd) -> Transmitter {
        Transmitter { sockets, back_end, refused_trains: Vec::new() }
    }

    /// Bytes of the arenas that datagrams are written into.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.back_end {
            BackEnd::Mmsg(outboxes) => outboxes.bytes(),
            BackEnd::Memory(_) => 0,
        }
    }

    /// The sockets, to be read and waited for.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The same.
    pub fn sockets_mut(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    /// Adds a mux port while the shard runs; see [`Sockets::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Sockets::open`].
    pub fn open(
        &mut self,
        slot: u32,
        socket: UdpSocket,
        receiver: &mut Receiver,
    ) -> io::Result<()> {
        self.sockets.open(slot, socket, receiver)?;
        self.add_outbox(slot);
        Ok(())
    }

    /// Closes a mux port, once what waits to leave through it has left. What the kernel does not
    /// take any more is dropped as [`DropReason::SendQueueFull`].
    pub fn close(&mut self, slot: u32, receiver: &mut Receiver) {
        if let BackEnd::Mmsg(outboxes) = &mut self.back_end {
            outboxes.close(slot, self.sockets.get(slot), &mut self.refused_trains);
        }
        self.sockets.close(slot, receiver);
    }

    /// Takes over the port of the session in `slot`.
    ///
    /// # Errors
    ///
    /// Those of [`Sockets::open_for_session`].
    pub fn open_for_session(&mut self, slot: u32, socket: UdpSocket) -> io::Result<()> {
        self.sockets.open_for_session(slot, socket)
    }

    /// Gives the port of the session in `slot` back to the kernel, with what waits for it sent.
    /// Nothing happens where it has none.
    pub fn close_for_session(&mut self, slot: u32) {
        if let BackEnd::Mmsg(outboxes) = &mut self.back_end {
            outboxes.leave(slot, &self.sockets, &mut self.refused_trains);
        }
        self.sockets.close_for_session(slot);
    }

    /// Lets `write` fill a slot of the arena and queues what it wrote for `to`. When the batch is
    /// full it is flushed first; when the kernel takes no more, the oldest datagrams give way and
    /// are counted as [`DropReason::SendQueueFull`].
    ///
    /// # Errors
    ///
    /// What `write` says, or [`DropReason::SendRefused`] where the port is closed.
    #[inline]
    pub fn push(
        &mut self,
        to: Destination,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        let Via::Udp(port) = to.via else { return Err(DropReason::SendRefused) };
        let batch = match &mut self.back_end {
            BackEnd::Mmsg(outboxes) => {
                outboxes.batch(port, &self.sockets, &mut self.refused_trains)?
            }
            BackEnd::Memory(collected) => return collected.push(to, write),
        };
        let slot = batch.slot().ok_or(DropReason::SendQueueFull)?;
        let length = write(slot)?;
        batch.commit(to, length);
        Ok(())
    }

    /// Hands over everything queued; false when a mux port's socket took not all of it.
    pub fn flush(&mut self) -> bool {
        match &mut self.back_end {
            BackEnd::Mmsg(outboxes) => outboxes.flush(&self.sockets, &mut self.refused_trains),
            BackEnd::Memory(_) => true,
        }
    }

    /// A destination whose path refused a train, each once: it should be sent single datagrams.
    pub fn next_refused_train(&mut self) -> Option<Destination> {
        self.refused_trains.pop()
    }

    /// Publishes what has left since the last call: in sum, and by port.
    pub fn publish(&mut self, shard: &ShardCounters, ports: &PortTable, trains: &Histogram) {
        match &mut self.back_end {
            BackEnd::Mmsg(outboxes) => {
                outboxes.publish(self.sockets.mux(), shard, ports, trains);
            }
            BackEnd::Memory(collected) => collected.tally.publish(shard, None),
        }
    }

    /// Resolves when the first socket that was full takes datagrams again; never when none was.
    pub async fn writable(&self) {
        let full = match &self.back_end {
            BackEnd::Mmsg(outboxes) => outboxes.first_full(self.sockets.mux()),
            BackEnd::Memory(_) => None,
        };
        match full.and_then(|slot| self.sockets.get(slot)) {
            // When the wait itself fails, the deadline brings the next try.
            Some(socket) if socket.writable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Takes what was collected in memory; nothing where datagrams are sent.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        match &mut self.back_end {
            BackEnd::Mmsg(_) => Vec::new(),
            BackEnd::Memory(collected) => std::mem::take(&mut collected.sent),
        }
    }

    fn insert(&mut self, slot: u32, socket: UdpSocket) {
        self.sockets.insert(slot, socket);
        self.add_outbox(slot);
    }

    fn add_outbox(&mut self, slot: u32) {
        if let BackEnd::Mmsg(outboxes) = &mut self.back_end {
            outboxes.add(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::net::{Backend, SocketOptions};

    fn bind() -> UdpSocket {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        UdpSocket::bind_alone(address, &SocketOptions::default()).unwrap()
    }

    fn push(transmitter: &mut Transmitter, to: Destination, byte: u8) -> Result<(), DropReason> {
        transmitter.push(to, |slot| {
            slot[0] = byte;
            Ok(1)
        })
    }

    /// From where what `peer` received came, and what it was.
    fn received(peer: &UdpSocket) -> Vec<(u16, u8)> {
        let mut receiver = Receiver::new(Backend::Mmsg, 16, &[peer]).unwrap();
        let mut all = Vec::new();
        while receiver.receive(peer).unwrap() > 0 {
            all.extend(receiver.datagrams().map(|found| (found.remote.port(), found.bytes[0])));
        }
        all
    }

    #[test]
    fn a_message_leaves_through_the_port_it_carries() {
        let (peer, any) = (bind(), Ipv4Addr::UNSPECIFIED.into());
        let to = |slot| Destination {
            via: Via::Udp(slot),
            ..Destination::new(peer.local_addr(), any, true)
        };
        let mut muxed = Transmitter::muxed(vec![bind(), bind()]);
        let mut own = Transmitter::of_sessions().unwrap();
        own.open_for_session(0, bind()).unwrap();
        own.open_for_session(1, bind()).unwrap();
        for transmitter in [&mut muxed, &mut own] {
            let ports = [0, 1].map(|slot| transmitter.sockets().get(slot).unwrap().port());
            for (slot, byte) in [(0, 1), (1, 2), (0, 3)] {
                push(transmitter, to(slot), byte).unwrap();
            }
            assert_eq!(push(transmitter, to(2), 4), Err(DropReason::SendRefused), "no such port");
            assert!(transmitter.flush());
            let mut found = received(&peer);
            found.sort_by_key(|(_, byte)| *byte);
            assert_eq!(found, [(ports[0], 1), (ports[1], 2), (ports[0], 3)]);
        }
        let (shard, ports) = (ShardCounters::default(), PortTable::default());
        muxed.publish(&shard, &ports, &Histogram::default());
        assert_eq!(shard.datagrams_out.get(), 3);
        assert_eq!([0, 1].map(|slot| ports.at(slot).datagrams_out.get()), [2, 1]);
    }

    #[test]
    fn a_port_is_closed_after_what_waits_for_it_has_left() {
        let peer = bind();
        let to = Destination::new(peer.local_addr(), Ipv4Addr::UNSPECIFIED.into(), true);
        let mut muxed = Transmitter::muxed(vec![bind()]);
        push(&mut muxed, to, 1).unwrap();
        muxed.close(0, &mut Receiver::new(Backend::Mmsg, 1, &[]).unwrap());
        let mut own = Transmitter::of_sessions().unwrap();
        own.open_for_session(0, bind()).unwrap();
        push(&mut own, to, 2).unwrap();
        own.close_for_session(0);
        let found: Vec<u8> = received(&peer).into_iter().map(|(_, byte)| byte).collect();
        assert_eq!(found, [1, 2]);
        for mut closed in [muxed, own] {
            assert_eq!(push(&mut closed, to, 3), Err(DropReason::SendRefused));
            let (shard, ports) = (ShardCounters::default(), PortTable::default());
            closed.publish(&shard, &ports, &Histogram::default());
            assert_eq!(shard.datagrams_out.get(), 1, "what left through it is counted");
        }
    }

    #[test]
    fn in_memory_every_datagram_is_kept_in_order_with_its_way() {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let to = Destination {
            via: Via::Udp(7),
            ..Destination::new(remote, Ipv4Addr::UNSPECIFIED.into(), true)
        };
        let mut memory = Transmitter::memory();
        assert_eq!(memory.push(to, |_| Err(DropReason::TooLong)), Err(DropReason::TooLong));
        (1..=3).for_each(|byte| push(&mut memory, to, byte).unwrap());
        assert!(memory.flush());
        let sent: Vec<(Destination, u8)> =
            memory.take_sent().into_iter().map(|sent| (sent.to, sent.bytes[0])).collect();
        assert_eq!(sent, [(to, 1), (to, 2), (to, 3)]);
        assert!(memory.take_sent().is_empty());
    }
}
