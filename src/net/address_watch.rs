//! Word from the kernel that addresses of this host have come or gone (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::Readiness;

/// What is listened to: addresses of both families, and interfaces that go up and down.
const GROUPS: i32 = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR | libc::RTMGRP_LINK;

/// A socket that becomes readable when something has changed. What it was is not read: the list of
/// addresses says how things are.
pub struct AddressWatch {
    socket: OwnedFd,
    readiness: Readiness,
}

impl AddressWatch {
    /// Listens from now on, in a tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)` and `bind(2)`: some sandboxes allow no netlink.
    pub fn new() -> io::Result<AddressWatch> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
        // The kernel gives it a port id of its own.
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS.cast_unsigned()))?;
        let readiness = Readiness::new(socket.as_fd())?;
        Ok(AddressWatch { socket, readiness })
    }

    /// Waits until something has changed since the last call.
    ///
    /// # Errors
    ///
    /// Those of `recv(2)`, save that messages were lost: then something has changed for certain.
    pub async fn changed(&self) -> io::Result<()> {
        while !self.take()? {
            Readiness::any_readable([&self.readiness]).await;
            // A runtime that shuts down resolves that again and again.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Takes in what has been said; true when that was anything.
    fn take(&self) -> io::Result<bool> {
        let mut buffer = [0; 8 * 1024];
        let mut changed = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
