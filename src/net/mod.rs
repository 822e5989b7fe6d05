//! The kernel boundary: sockets, batches of datagrams, and all of the project's unsafe code.
//!
//! A shard owns one [`Receiver`] and one [`Transmitter`], which owns the [`Sockets`]:
//!
//! ```text
//! Sockets ── receive ──▶ Receiver ── datagrams() ──▶ the shard's turn
//! Sockets ◀── flush ──── Transmitter (Sender, a SendBatch per port) ◀── push(to, write)
//! ```
//!
//! Neither call blocks, and neither allocates after construction. **Receiving has two back ends
//! and one contract**, that of [`Receiver`]; the tests run over both and compare. Sending has one
//! that reaches the kernel, where trains gain several times and io_uring has nothing to gain: the
//! price is per message. [`Transmitter::memory`] needs no kernel at all.
//!
//! [`Steering`] makes the kernel hand each datagram to the right shard's socket in the first place.
//! [`PacketSocket`] takes sockets to another process, and [`StrayWriter`] the datagrams that are
//! its.

mod addr;
mod address_watch;
mod batch;
mod cmsg;
mod holder;
mod inbound;
mod mmsg;
mod packets;
mod prefetch;
mod readiness;
mod ready_set;
mod send;
mod socket;
mod sockets;
mod steer;
mod strays;
pub(crate) mod sys;
mod tcp;
mod transmit;
mod uring;

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "proptest's macros count")]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use addr::{Interface, interfaces, udp_hash_has_ports};
pub use address_watch::AddressWatch;
pub use batch::{Destination, FlushReport, SendBatch, SendFailure};
pub use holder::{PortHolder, tcp_port_holder, udp_port_holder, udp_ports_in_use};
pub use inbound::{Datagram, Datagrams};
pub use packets::{PacketSocket, PeerProcess};
pub use prefetch::{prefetch, prefetch_bytes};
pub use readiness::Readiness;
pub use ready_set::ReadySet;
pub use send::Sender;
pub use socket::{SocketOptions, UdpSocket};
pub use sockets::Sockets;
pub use steer::Steering;
pub use strays::{Stray, StrayReader, StrayWriter, Strays, StraysSent, strays};
pub use tcp::{Moved, TcpChange, TcpConnection, TcpWatch, tcp_listener};
pub use transmit::{Sent, Transmitter};
pub use uring::{RingWaker, WakeRing, ring_available, uring_available};

use crate::drop::DropReason;
pub use crate::wire::framing::Backlog;

/// Raises the limit of open files to `wanted`, as far as this process may, and returns what it is
/// now.
///
/// # Errors
///
/// Those of `setrlimit(2)`.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let reachable = wanted.min(hard);
    if reachable > soft {
        setrlimit(Resource::RLIMIT_NOFILE, reachable, hard)?;
    }
    Ok(reachable.max(soft))
}

/// What datagrams leave by.
pub trait Way {
    /// Lets `write` fill a slot of what `to` is reached by and queues what it wrote.
    ///
    /// # Errors
    ///
    /// What `write` says, and that the way is full or gone.
    fn push(
        &mut self,
        to: Destination,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason>;

    /// What waits on the way to `to`, where that is a TCP connection.
    fn backlog(&self, to: Destination) -> Option<Backlog>;
}

/// How datagrams are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `recvmmsg(2)`: works everywhere.
    Mmsg,
    /// io_uring: multishot recvmsg into provided buffers. Ask [`uring_available`] first.
    Uring,
}

/// Receives batches of datagrams from the sockets it was made for, without blocking.
pub struct Receiver(Inner);

enum Inner {
    Mmsg(mmsg::MmsgReceiver),
    Uring(uring::UringReceiver),
}

impl Receiver {
    /// A receiver of `backend` for `sockets`, which reads up to `batch` messages at once and takes
    /// [`crate::limits::RECEIVE_SLOT_BYTES`] of address space for each: with io_uring, for
    /// [`crate::limits::URING_BUFFERS_PER_SLOT`] of each and per socket.
    ///
    /// With io_uring the port stays taken until the receiver is dropped as well as the socket, and
    /// dropping it on another thread than the one that received leaks its memory, because only
    /// there can the kernel be told to stop writing to it.
    ///
    /// It may be made on one thread and moved to another before the first
    /// [`Receiver::receive`]; io_uring then ties it to the thread that called that.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; with io_uring also what the kernel says to a ring, see [`uring_available`].
    pub fn new(backend: Backend, batch: usize, sockets: &[&UdpSocket]) -> io::Result<Receiver> {
        Ok(Receiver(match backend {
            Backend::Mmsg => Inner::Mmsg(mmsg::MmsgReceiver::new(batch)?),
            Backend::Uring => Inner::Uring(uring::UringReceiver::new(batch, sockets)?),
        }))
    }

    /// Receives from `socket` too, from here on. With io_uring only on the thread that receives.
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::new`].
    pub fn add(&mut self, socket: &UdpSocket) -> io::Result<()> {
        match &mut self.0 {
            Inner::Mmsg(_) => Ok(()),
            Inner::Uring(uring) => uring.add(socket),
        }
    }

    /// Lets go of `socket`, which is about to be dropped. With io_uring only on the thread that
    /// receives. The datagrams of the last receive are gone.
    pub fn remove(&mut self, socket: &UdpSocket) {
        if let Inner::Uring(uring) = &mut self.0 {
            uring.remove(socket);
        }
    }

    /// Takes in nothing more from `socket`, which somebody else reads from here on, until
    /// [`Receiver::resume`]. What was taken in already is still received: receive until nothing is
    /// left. With io_uring only on the thread that receives.
    pub fn pause(&mut self, socket: &UdpSocket) {
        if let Inner::Uring(uring) = &mut self.0 {
            uring.pause(socket);
        }
    }

    /// Goes on after [`Receiver::pause`].
    pub fn resume(&mut self, socket: &UdpSocket) {
        if let Inner::Uring(uring) = &mut self.0 {
            uring.resume(socket);
        }
    }

    /// Which back end this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.0 {
            Inner::Mmsg(_) => Backend::Mmsg,
            Inner::Uring(_) => Backend::Uring,
        }
    }

    /// Messages read at once, at most.
    #[must_use]
    pub fn batch(&self) -> usize {
        match &self.0 {
            Inner::Mmsg(mmsg) => mmsg.batch(),
            Inner::Uring(uring) => uring.batch(),
        }
    }

    /// Fills the batch from `socket` and returns how many datagrams it holds; those of the last
    /// receive are gone. 0 means that nothing is there: only then is it right to wait for
    /// [`Receiver::readiness`].
    ///
    /// # Errors
    ///
    /// Those of `recvmmsg(2)`, never `EAGAIN` or `EINTR`. The next call tries again. With io_uring,
    /// `EEXIST` when called from a second thread and `NotFound` for a socket it was not made for.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Mmsg(mmsg) => mmsg.receive(socket),
            Inner::Uring(uring) => uring.receive(socket),
        }
    }

    /// The datagrams of the last [`Receiver::receive`], in the order of arrival, with what GRO
    /// coalesced split again. They are the caller's to change.
    #[must_use]
    pub fn datagrams(&mut self) -> Datagrams<'_> {
        match &mut self.0 {
            Inner::Mmsg(mmsg) => mmsg.datagrams(),
            Inner::Uring(uring) => uring.datagrams(),
        }
    }

    /// Bytes of address space that is received into. A page that nothing has come into yet takes no
    /// memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Inner::Mmsg(mmsg) => mmsg.bytes(),
            Inner::Uring(uring) => uring.bytes(),
        }
    }

    /// The sender of each message of the last [`Receiver::receive`], with our address that it was
    /// sent to. A message may be several datagrams.
    pub fn senders(&self) -> impl Iterator<Item = (SocketAddr, IpAddr)> + '_ {
        let messages = match &self.0 {
            Inner::Mmsg(mmsg) => mmsg.messages(),
            Inner::Uring(uring) => uring.messages(),
        };
        messages.iter().map(inbound::Message::sender)
    }

    /// Something to await that is ready when [`Receiver::receive`] would find something after it
    /// found nothing. Made once per socket, inside the runtime of the thread that receives.
    ///
    /// # Errors
    ///
    /// `EMFILE`, and `NotFound` for a socket this receiver was not made for.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn readiness(&self, socket: &UdpSocket) -> io::Result<Readiness> {
        Readiness::new(match &self.0 {
            Inner::Mmsg(_) => socket.as_fd(),
            Inner::Uring(uring) => uring.readiness(socket).ok_or(io::ErrorKind::NotFound)?,
        })
    }

    /// Datagrams the kernel dropped because a receive queue was full, over all sockets received
    /// from (`SO_RXQ_OVFL`). Never falls; the kernel reports a drop with the next datagram.
    #[must_use]
    pub fn overflow_drops(&self) -> u64 {
        match &self.0 {
            Inner::Mmsg(mmsg) => mmsg.overflow_drops(),
            Inner::Uring(uring) => uring.overflow_drops(),
        }
    }

    /// How often io_uring ran out of buffers and had to be armed again. Nothing is lost by it: the
    /// datagrams wait in the socket's queue. Always 0 with recvmmsg.
    #[must_use]
    pub fn buffers_exhausted(&self) -> u64 {
        match &self.0 {
            Inner::Mmsg(_) => 0,
            Inner::Uring(uring) => uring.buffers_exhausted(),
        }
    }
}
