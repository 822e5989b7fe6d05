//! The UDP socket with every option the packet path relies on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use super::addr::Family;
use super::readiness;
use super::sys;
use crate::limits::DEFAULT_SOCKET_BUFFER_BYTES;

/// What a deployment may choose about a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Receive buffer asked for, in bytes; see [`UdpSocket::effective_buffers`] for what was given.
    pub receive_buffer_bytes: usize,
    /// Send buffer asked for, in bytes.
    pub send_buffer_bytes: usize,
    /// Whether the kernel may coalesce datagrams of one flow (`UDP_GRO`).
    pub gro: bool,
    /// Whether the kernel notes when each datagram came (`SO_TIMESTAMPNS`), for
    /// `Datagram::arrived`.
    pub timestamps: bool,
    /// Microseconds a receive may poll the network card for more (`SO_BUSY_POLL`); 0 is off.
    pub busy_poll_us: u32,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            receive_buffer_bytes: DEFAULT_SOCKET_BUFFER_BYTES,
            send_buffer_bytes: DEFAULT_SOCKET_BUFFER_BYTES,
            gro: true,
            timestamps: false,
            busy_poll_us: 0,
        }
    }
}

/// A non-blocking UDP socket that may share its port with those of other shards.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    family: Family,
    /// The last `SO_RXQ_OVFL` reading, to turn the kernel's wrapping counter into increments.
    overflow: AtomicU32,
    /// The sum of those increments.
    receive_drops: AtomicU64,
}

impl UdpSocket {
    /// Binds a socket to `address`. `[::]:port` is dual-stack, and port 0 lets the kernel choose.
    ///
    /// `SO_REUSEPORT` is set, so a port another process of this user holds is *not* an error here:
    /// ask [`super::udp_port_holder`] first.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)`, `bind(2)` and `setsockopt(2)`. Buffer sizes and busy polling are
    /// wishes: what is not granted is no error.
    pub fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
        UdpSocket::bound(address, options, true)
    }

    /// Binds a socket that shares its port with nobody: a port that somebody has is `EADDRINUSE`.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::bind`].
    pub fn bind_alone(address: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
        UdpSocket::bound(address, options, false)
    }

    fn bound(address: SocketAddr, options: &SocketOptions, shared: bool) -> io::Result<UdpSocket> {
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        // socket2 creates with SOCK_CLOEXEC.
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if family == Family::V6 {
            socket.set_only_v6(false)?;
        }
        if shared {
            socket.set_reuse_port(true)?;
        }
        set_packet_options(socket.as_fd(), family, options)?;
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket();
        let local = local.ok_or_else(|| io::Error::other("a UDP socket has an IP address"))?;
        let (overflow, receive_drops) = (AtomicU32::new(0), AtomicU64::new(0));
        Ok(UdpSocket { fd: socket.into(), local, family, overflow, receive_drops })
    }

    /// A socket that another process of this user has bound and still has, set up as if it had been
    /// bound here.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)` and `setsockopt(2)`; `InvalidInput` for what is no UDP socket.
    pub fn adopt(fd: OwnedFd, options: &SocketOptions) -> io::Result<UdpSocket> {
        let socket = Socket::from(fd);
        let local = socket
            .local_addr()?
            .as_socket()
            .filter(|_| socket.r#type().is_ok_and(|kind| kind == Type::DGRAM));
        let local = local.ok_or(io::ErrorKind::InvalidInput)?;
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        socket.set_nonblocking(true)?;
        set_packet_options(socket.as_fd(), family, options)?;
        let (overflow, receive_drops) = (AtomicU32::new(0), AtomicU64::new(0));
        Ok(UdpSocket { fd: socket.into(), local, family, overflow, receive_drops })
    }

    /// Another descriptor of the same socket, for [`UdpSocket::adopt`].
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// The address the socket is bound to, with the port the kernel chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The port the socket is bound to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    /// Receive and send buffer as granted, in bytes: `net.core.rmem_max` and `wmem_max` may have
    /// cut what was asked for. The kernel doubles the value for its bookkeeping and reports the
    /// double (socket(7)); this is the half. 0 where the kernel would not say.
    #[must_use]
    pub fn effective_buffers(&self) -> (usize, usize) {
        let granted = |name| {
            let doubled = sys::option(self.as_fd(), libc::SOL_SOCKET, name).unwrap_or(0);
            usize::try_from(doubled).unwrap_or(0) / 2
        };
        (granted(libc::SO_RCVBUF), granted(libc::SO_SNDBUF))
    }

    /// Datagrams the kernel dropped because this socket's receive queue was full (`SO_RXQ_OVFL`).
    /// The kernel reports a drop with the next datagram.
    #[must_use]
    pub fn receive_drops(&self) -> u64 {
        self.receive_drops.load(Ordering::Relaxed)
    }

    /// Resolves when a flush that would have blocked can go on: at least half of the send buffer is
    /// free. After `ENOBUFS` that may be at once. Registers with the runtime each time, because
    /// it is rarely needed and being watched for it all the time costs a wake-up per packet.
    ///
    /// # Errors
    ///
    /// `EMFILE`, or when the runtime is shutting down.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn writable(&self) -> io::Result<()> {
        readiness::writable(self.as_fd()).await
    }

    /// Goes back to the kernel's default of discovering and heeding the path MTU: for networks with
    /// a narrow link inside, at the price of an IP id and a path lookup per message.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    pub fn heed_path_mtu(&self) -> io::Result<()> {
        let (v4, v6) = (libc::IP_PMTUDISC_WANT, libc::IPV6_PMTUDISC_WANT);
        set_mtu_discovery(self.as_fd(), self.family, v4, v6)
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Takes a `SO_RXQ_OVFL` reading and returns by how much it grew.
    pub(super) fn overflow_increment(&self, reading: u32) -> u64 {
        // Relaxed: the counter publishes nothing but itself, and one shard reads a socket.
        let grown = u64::from(reading.wrapping_sub(self.overflow.swap(reading, Ordering::Relaxed)));
        self.receive_drops.fetch_add(grown, Ordering::Relaxed);
        grown
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn set_packet_options(
    fd: BorrowedFd<'_>,
    family: Family,
    options: &SocketOptions,
) -> io::Result<()> {
    let buffers = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, options.receive_buffer_bytes),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, options.send_buffer_bytes),
    ];
    for (force, plain, bytes) in buffers {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // The forced form needs CAP_NET_ADMIN and ignores the sysctl limits; the plain form is
        // clamped to them without an error.
        sys::set_option(fd, libc::SOL_SOCKET, force, bytes)
            .or_else(|_| sys::set_option(fd, libc::SOL_SOCKET, plain, bytes))?;
    }
    match family {
        Family::V4 => sys::set_option(fd, libc::SOL_IP, libc::IP_PKTINFO, 1)?,
        Family::V6 => sys::set_option(fd, libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
    }
    // The DF bit without heeding what ICMP claims about the path: a forged ICMP cannot shrink us,
    // and the kernel needs no IP id and no path cache, which saves 4 % of a message over loopback
    // (`benches/net.rs`) and more where sending is all there is. What exceeds the interface's MTU
    // fails with EMSGSIZE.
    set_mtu_discovery(fd, family, libc::IP_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_PROBE)?;
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    let gro = sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, i32::from(options.gro));
    if options.gro {
        gro?;
    }
    if options.timestamps {
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    }
    let time_us = i32::try_from(options.busy_poll_us).unwrap_or(i32::MAX);
    // Raising it needs CAP_NET_ADMIN; without it the socket works as ever, only not faster.
    let _ = sys::set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, time_us);
    Ok(())
}

fn set_mtu_discovery(fd: BorrowedFd<'_>, family: Family, v4: i32, v6: i32) -> io::Result<()> {
    if family == Family::V6 {
        sys::set_option(fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, v6)?;
    }
    // A dual-stack socket sends IPv4 too, and there the IPv4 option governs.
    sys::set_option(fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, v4)
}
