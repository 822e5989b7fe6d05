//! The io_uring receive back end: a multishot recvmsg per socket, into provided buffers.
//!
//! Over loopback on Linux 6.18 it is the slower one (`benches/net.rs`): draining a queue of single
//! datagrams costs about 4 % less than with recvmmsg in batches up to 64, but each arrival wakes
//! the armed receive, which the sender's core pays for, and in sum it is 1 to 7 % more. Coalesced
//! trains cost 20 to 75 % more to drain, because the kernel takes buffers in the order they were
//! given back, which walks through all of them, where recvmmsg fills the same warm slots.
//!
//! Each socket has a ring of its own. One ring for all would mix their completions in one queue,
//! and a shard has as many sockets as there are mux ports, which are few.

mod buffers;
mod ring;
mod wake;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::inbound::{Datagrams, Message, SLOT_BYTES};
use super::socket::{SocketOptions, UdpSocket};
use crate::limits::{MAX_MESSAGES_PER_CALL, URING_BUFFERS_PER_SLOT};
use ring::SocketRing;

pub use wake::{RingWaker, WakeRing};

/// Whether [`super::Backend::Uring`] works here; if not, why, in words for the log.
///
/// Asks by doing: a ring is set up and one datagram is received over loopback. Old kernels and
/// containers fail at different steps, some of them only at the last.
///
/// # Errors
///
/// The reason.
pub fn uring_available() -> Result<(), String> {
    receive_one().map_err(|error| refusal(&error))
}

/// Whether there are rings at all, which is all that the runtime of a shard needs; if not, why.
///
/// # Errors
///
/// The reason.
pub fn ring_available() -> Result<(), String> {
    io_uring::IoUring::new(2).map(|_ring| ()).map_err(|error| refusal(&error))
}

/// What the kernel's refusal means.
fn refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no io_uring".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: by kernel.io_uring_disabled, or by the seccomp profile of \
             a container"
                .to_owned()
        }
        Some(libc::EINVAL) => "this kernel's io_uring is too old: Linux 6.0 is needed".to_owned(),
        Some(libc::ENOMEM) => "io_uring got no memory: see RLIMIT_MEMLOCK".to_owned(),
        _ => format!("io_uring does not work here: {error}"),
    }
}

fn receive_one() -> io::Result<()> {
    const ATTEMPTS: u32 = 100;
    let options = SocketOptions::default();
    let socket = UdpSocket::bind_alone(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &options)?;
    let mut receiver = UringReceiver::new(1, &[&socket])?;
    let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.send_to(b"?", socket.local_addr())?;
    for _ in 0..ATTEMPTS {
        if receiver.receive(&socket)? > 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other("a datagram sent over loopback did not arrive"))
}

fn ring_for(socket: &UdpSocket, batch: usize) -> io::Result<SocketRing> {
    let buffers = (batch * URING_BUFFERS_PER_SLOT).next_power_of_two() as u16;
    let ring = ring::deferred(buffers).or_else(|_| ring::cooperative(buffers))?;
    SocketRing::new(ring, socket, batch, buffers)
}

/// Receives through one ring per socket.
pub(super) struct UringReceiver {
    rings: Vec<SocketRing>,
    batch: usize,
    /// The ring of the last receive.
    last: usize,
    messages: Vec<Message>,
    overflow: u64,
    /// How often rings that are gone ran out of buffers.
    exhausted: u64,
}

impl UringReceiver {
    pub(super) fn new(batch: usize, sockets: &[&UdpSocket]) -> io::Result<UringReceiver> {
        let batch = batch.clamp(1, MAX_MESSAGES_PER_CALL);
        let ring = |socket: &&UdpSocket| ring_for(socket, batch);
        UringReceiver::of(batch, sockets.iter().map(ring).collect::<io::Result<_>>()?)
    }

    /// With the flags that kernels before 6.1 have, for tests.
    #[cfg(test)]
    pub(super) fn cooperative(batch: usize, socket: &UdpSocket) -> io::Result<UringReceiver> {
        let buffers = (batch * URING_BUFFERS_PER_SLOT).next_power_of_two() as u16;
        let ring = SocketRing::new(ring::cooperative(buffers)?, socket, batch, buffers)?;
        UringReceiver::of(batch, vec![ring])
    }

    fn of(batch: usize, rings: Vec<SocketRing>) -> io::Result<UringReceiver> {
        if rings.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let messages = Vec::with_capacity(batch);
        Ok(UringReceiver { rings, batch, last: 0, messages, overflow: 0, exhausted: 0 })
    }

    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// See [`super::Receiver::bytes`].
    pub(super) fn bytes(&self) -> usize {
        self.rings.len() * (self.batch * URING_BUFFERS_PER_SLOT).next_power_of_two() * SLOT_BYTES
    }

    /// See [`super::Receiver::add`].
    pub(super) fn add(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.rings.push(ring_for(socket, self.batch)?);
        Ok(())
    }

    /// See [`super::Receiver::remove`].
    pub(super) fn remove(&mut self, socket: &UdpSocket) {
        // What was received last lies in a ring's memory.
        self.messages.clear();
        self.last = 0;
        if let Some(index) = self.index(socket) {
            let ring = self.rings.remove(index);
            self.exhausted += ring.exhausted;
        }
    }

    /// See [`super::Receiver::pause`].
    pub(super) fn pause(&mut self, socket: &UdpSocket) {
        if let Some(index) = self.index(socket) {
            self.rings[index].pause();
        }
    }

    /// See [`super::Receiver::resume`].
    pub(super) fn resume(&mut self, socket: &UdpSocket) {
        if let Some(index) = self.index(socket) {
            self.rings[index].paused = false;
        }
    }

    /// See [`super::Receiver::receive`].
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.messages.clear();
        self.last = self.index(socket).ok_or(io::ErrorKind::NotFound)?;
        self.rings[self.last].receive(socket, &mut self.messages, &mut self.overflow)?;
        Ok(self.messages.iter().map(Message::datagrams).sum())
    }

    /// See [`super::Receiver::datagrams`].
    pub(super) fn datagrams(&mut self) -> Datagrams<'_> {
        let memory = &self.rings[self.last].buffers().memory;
        // SAFETY: the buffers of these messages, one each, are held back from the kernel until the
        // next receive; both need self alone.
        unsafe { Datagrams::new(memory, &self.messages) }
    }

    /// See [`super::Receiver::readiness`]. `None` for a socket this was not made for.
    pub(super) fn readiness(&self, socket: &UdpSocket) -> Option<BorrowedFd<'_>> {
        self.index(socket).map(|index| self.rings[index].readiness())
    }

    /// The messages of the last receive.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn overflow_drops(&self) -> u64 {
        self.overflow
    }

    pub(super) fn buffers_exhausted(&self) -> u64 {
        self.exhausted + self.rings.iter().map(|ring| ring.exhausted).sum::<u64>()
    }

    fn index(&self, socket: &UdpSocket) -> Option<usize> {
        self.rings.iter().position(|ring| ring.socket() == socket.as_raw_fd())
    }
}
