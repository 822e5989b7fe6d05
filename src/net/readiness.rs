//! Waiting for the kernel: until a socket, or the ring that receives for it, has something to read,
//! or a socket takes datagrams again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::Poll;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Receiver, UdpSocket};

/// What a shard waits for, registered with the runtime of its thread.
pub struct Readiness {
    readable: Vec<AsyncFd<OwnedFd>>,
    /// Registered only while somebody waits to write: the kernel tells of every datagram that has
    /// left, and a shard that sends without hindrance need not wake for it.
    sockets: Vec<OwnedFd>,
}

impl Readiness {
    /// Registers `sockets` and what receives for them. Must be called on the runtime.
    ///
    /// # Errors
    ///
    /// `EMFILE`, or what the runtime says.
    pub fn new<'a>(
        receiver: &Receiver,
        sockets: impl Iterator<Item = &'a UdpSocket>,
    ) -> io::Result<Readiness> {
        let mut readiness = Readiness { readable: Vec::new(), sockets: Vec::new() };
        let mut known: Vec<RawFd> = Vec::new();
        for socket in sockets {
            let fd = receiver.readiness_fd(socket);
            if fd >= 0 && !known.contains(&fd) {
                known.push(fd);
                // SAFETY: "readiness_fd" is open as long as the receiver and the socket, which
                // outlive this borrow.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                readiness.readable.push(register(fd, Interest::READABLE)?);
            }
            readiness.sockets.push(socket.as_fd().try_clone_to_owned()?);
        }
        Ok(readiness)
    }

    /// Waits until something can be read.
    ///
    /// Only edges wake: the caller has read until nothing was left.
    pub async fn readable(&self) {
        std::future::poll_fn(|context| {
            let mut ready = false;
            for fd in &self.readable {
                if let Poll::Ready(guard) = fd.poll_read_ready(context) {
                    ready = true;
                    if let Ok(mut guard) = guard {
                        guard.clear_ready();
                    }
                }
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits until one of the sockets takes datagrams again; for ever unless `wanted`.
    pub async fn writable(&self, wanted: bool) {
        if !wanted {
            return std::future::pending().await;
        }
        let register = |fd: &OwnedFd| register(fd.as_fd(), Interest::WRITABLE);
        // A socket that cannot be registered (EMFILE) is tried again at the next deadline.
        let sockets: Vec<_> = self.sockets.iter().filter_map(|fd| register(fd).ok()).collect();
        std::future::poll_fn(|context| {
            let ready = sockets.iter().any(|fd| fd.poll_write_ready(context).is_ready());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Registers a duplicate of `fd`: it is ours to close, and epoll tells two descriptors of one file
/// apart where it would refuse the same one twice.
fn register(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = fd.try_clone_to_owned()?;
    debug_assert!(fd.as_raw_fd() >= 0);
    // SAFETY: "must be a valid, open file descriptor, and it must remain open … for the entire
    // lifetime of the AsyncFd", which owns it and gives it to nobody.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
