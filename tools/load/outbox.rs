//! What a worker sends, and the sockets it sends from.
//!
//! Against a server on loopback one socket serves all peers of a worker: each peer has an address
//! of its own in 127/8, which the kernel accepts as a source without its being configured.
//! Elsewhere every peer has a socket.

use monoport::net::{Destination, SendBatch, Sender, SocketOptions, UdpSocket};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Messages per system call, and per batch.
const MESSAGES: usize = 256;
/// Bytes queued before a flush.
const ARENA_BYTES: usize = 512 << 10;
/// The address of slot 0 of a worker on loopback.
const FIRST_LOOPBACK: u32 = u32::from_be_bytes([127, 1, 0, 0]);
/// The address of slot 0 of a worker on loopback, once it has changed.
const FIRST_REBOUND: u32 = u32::from_be_bytes([127, 129, 0, 0]);
/// Slots that fit between that address and the end of 127/8, less its broadcast address.
pub const MAX_LOOPBACK_SLOTS: usize = u32::from_be_bytes([0, 126, 255, 254]) as usize;

/// Sends for the peers of one worker.
pub struct Outbox {
    sockets: Vec<UdpSocket>,
    /// The socket that what is queued will leave from.
    current: usize,
    batch: SendBatch,
    sender: Sender,
    /// Datagrams the kernel refused or had no room for.
    pub dropped: u64,
}

impl Outbox {
    /// An outbox with one wildcard socket, which is all that loopback needs.
    ///
    /// # Errors
    /// Those of binding a UDP socket.
    pub fn new() -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        // All viewers of the worker share one receive queue, so it is as deep as the kernel gives.
        let options = SocketOptions { receive_buffer_bytes: 64 << 20, ..options() };
        Ok(Self {
            sockets: vec![UdpSocket::bind_alone(any, &options)?],
            current: 0,
            batch: SendBatch::new(MESSAGES, ARENA_BYTES),
            sender: Sender::new(MESSAGES),
            dropped: 0,
        })
    }

    /// Gives the peer in `slot` a way to `remote`: the socket's index and the source address.
    ///
    /// # Errors
    /// Those of binding a UDP socket.
    pub fn route(&mut self, slot: usize, remote: SocketAddr) -> io::Result<(usize, IpAddr)> {
        if remote.ip().is_loopback() && remote.is_ipv4() && slot <= MAX_LOOPBACK_SLOTS {
            return Ok((0, loopback_address(slot)));
        }
        self.own_socket(remote)
    }

    /// Gives the peer in `slot` another way to `remote`, as a NAT does that forgot the first.
    ///
    /// # Errors
    /// Those of binding a UDP socket.
    pub fn rebind(&mut self, slot: usize, remote: SocketAddr) -> io::Result<(usize, IpAddr)> {
        if remote.ip().is_loopback() && remote.is_ipv4() && slot <= MAX_LOOPBACK_SLOTS {
            return Ok((0, rebound_address(slot)));
        }
        self.own_socket(remote)
    }

    fn own_socket(&mut self, remote: SocketAddr) -> io::Result<(usize, IpAddr)> {
        let any: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.sockets.push(UdpSocket::bind_alone((any, 0).into(), &options())?);
        Ok((self.sockets.len() - 1, any))
    }

    #[must_use]
    pub fn socket(&self, index: usize) -> &UdpSocket {
        &self.sockets[index]
    }

    /// Queues the datagram that `fill` writes; `fill` returns its length, 0 for none.
    pub fn send(&mut self, socket: usize, to: Destination, fill: impl FnOnce(&mut [u8]) -> usize) {
        if socket != self.current {
            self.flush();
            self.current = socket;
        }
        if self.batch.slot().is_none() {
            self.flush();
        }
        let Some(slot) = self.batch.slot() else {
            self.dropped += 1;
            return;
        };
        let length = fill(slot);
        if length > 0 {
            self.batch.commit(to, length);
        }
    }

    /// Hands everything queued to the kernel. What it has no room for is dropped and counted: a
    /// load generator that waits would measure itself.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let socket = &self.sockets[self.current];
        let report = self.sender.flush(socket, &mut self.batch, &mut |_, _| {});
        self.dropped += report.refused;
        if report.would_block {
            self.dropped += self.batch.datagrams() as u64;
            self.batch.clear();
        }
    }
}

/// Each datagram with the time at which the kernel had it: what viewers report is when it came, and
/// not when this process had time for it.
fn options() -> SocketOptions {
    SocketOptions { timestamps: true, ..SocketOptions::default() }
}

/// The source address of the peer in `slot`.
fn loopback_address(slot: usize) -> IpAddr {
    Ipv4Addr::from(FIRST_LOOPBACK + slot as u32).into()
}

/// The source address of the peer in `slot` after it has changed.
fn rebound_address(slot: usize) -> IpAddr {
    Ipv4Addr::from(FIRST_REBOUND + slot as u32).into()
}

/// The slot whose source address `local` is or was; `None` for any other address.
#[must_use]
pub fn loopback_slot(local: IpAddr) -> Option<usize> {
    let IpAddr::V4(v4) = local else { return None };
    let from = |first| u32::from(v4).checked_sub(first).map(|slot| slot as usize);
    from(FIRST_REBOUND).or_else(|| from(FIRST_LOOPBACK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{self, KernelClock};
    use monoport::net::{Backend, Receiver};
    use std::time::Duration;

    /// By the socket that all share, and by one of a peer's own.
    #[test]
    fn a_datagram_that_is_read_late_came_when_the_kernel_had_it() {
        // The clock begins before what came, as in a process of its own.
        let _ = clock::now_ns();
        let mut outbox = Outbox::new().expect("a free port");
        let elsewhere = "192.0.2.1:9".parse().expect("an address");
        let (own, _) = outbox.route(0, elsewhere).expect("a free port");
        let mut receiver = Receiver::new(Backend::Mmsg, 4, &[]).expect("there is memory");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for socket in [0, own] {
            let socket = outbox.socket(socket);
            let to = (Ipv4Addr::LOCALHOST, socket.port());
            sender.send_to(&[7], to).expect("loopback takes it");
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(receiver.receive(socket).expect("nothing fails"), 1);
            let mut clock = KernelClock::default();
            clock.look();
            let read = receiver.datagrams().map(|datagram| clock.came(datagram.arrived_ns));
            let waited_ns = read.map(|came| came.now_ns - came.arrived_ns).max();
            assert!(waited_ns >= Some(29_000_000), "{waited_ns:?}");
        }
    }

    /// A port that two sockets share is one from which the kernel deals the packets out to both:
    /// another run of this program would take them.
    #[test]
    fn nobody_else_can_have_the_port_of_a_socket() {
        let remote = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
        let mut outbox = Outbox::new().unwrap();
        let (own, _) = outbox.own_socket(remote).unwrap();
        for index in [0, own] {
            let address = outbox.socket(index).local_addr();
            let second = UdpSocket::bind(address, &SocketOptions::default());
            assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        }
    }

    #[test]
    fn every_slot_has_an_address_of_its_own_in_127() {
        for slot in [0, 1, 255, 256, 65_536, MAX_LOOPBACK_SLOTS] {
            let address = loopback_address(slot);
            assert!(address.is_loopback(), "{address}");
            assert_eq!(loopback_slot(address), Some(slot));
            assert_eq!(loopback_slot(rebound_address(slot)), Some(slot));
        }
        assert_eq!(loopback_slot("127.0.0.1".parse().unwrap()), None);
        assert_eq!(rebound_address(MAX_LOOPBACK_SLOTS).to_string(), "127.255.255.254");
    }
}
