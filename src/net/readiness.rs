//! Waiting for the kernel in a tokio runtime.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::Poll;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when there is something to receive; see [`super::Receiver::readiness`].
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Watches `fd` for reading only: a UDP socket reports room to send whenever a sent packet is
    /// freed, which would wake us for each.
    pub(super) fn new(fd: BorrowedFd<'_>) -> io::Result<Readiness> {
        watch(fd, Interest::READABLE).map(Readiness)
    }

    /// Resolves when one of `all` has something to receive since the last time it resolved. Edges,
    /// not levels: receive until nothing is left before waiting again. May resolve once for
    /// nothing, and when the runtime is shutting down.
    ///
    /// Dropping the future loses no edge.
    pub async fn any_readable<'a>(all: impl IntoIterator<Item = &'a Readiness> + Clone) {
        std::future::poll_fn(|context| {
            let mut ready = false;
            for Readiness(fd) in all.clone() {
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
}

/// See [`super::UdpSocket::writable`].
pub(super) async fn writable(fd: BorrowedFd<'_>) -> io::Result<()> {
    watch(fd, Interest::WRITABLE)?.writable().await?.retain_ready();
    Ok(())
}

/// Registers a duplicate of `fd` with the runtime.
fn watch(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: "must refer to an open file descriptor, and it must remain open and refer to the same
    // file description": an OwnedFd that nobody else can reach does.
    Ok(unsafe { AsyncFd::register_with_interest(own, interest) }?)
}
