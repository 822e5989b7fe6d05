//! Messages between two processes of one user, with descriptors in them: a Unix socket that keeps
//! messages apart (`SOCK_SEQPACKET`).

use std::fs::{self, File, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recv, recvmsg, sendmsg,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::sys;

/// Descriptors one message carries at most: `SCM_MAX_FD` in `include/net/scm.h`.
const MOST_DESCRIPTORS: usize = 253;

/// Connections that wait to be accepted. One takeover is served at a time.
const BACKLOG: i32 = 4;

/// A Unix socket whose messages arrive whole, each with the descriptors it was sent with.
#[derive(Debug)]
pub struct PacketSocket(Socket);

/// Who is at the other end, as the kernel saw him connect (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProcess {
    /// The user's number.
    pub uid: u32,
    /// The process's number.
    pub pid: i32,
}

impl PacketSocket {
    /// Listens at `path`, in the place of whoever listened there, for this user alone (mode 0600).
    ///
    /// # Errors
    ///
    /// Those of `socket(2)`, `bind(2)`, `listen(2)`, `fchmod(2)` and `rename(2)`.
    pub fn listen(path: &Path) -> io::Result<PacketSocket> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        // A socket's file is made with the socket's own mode (net/unix/af_unix.c, unix_bind), so
        // that it is never there with another one.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(0o600))?;
        let socket = Socket::from(OwnedFd::from(file));
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = Path::new(&beside);
        let _stale = fs::remove_file(beside);
        socket.bind(&SockAddr::unix(beside)?)?;
        socket.listen(BACKLOG)?;
        // At no moment is there nobody at the path.
        fs::rename(beside, path)?;
        Ok(PacketSocket(socket))
    }

    /// Connects to whoever listens at `path`.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)` and `connect(2)`: `NotFound` and `ConnectionRefused` mean nobody.
    pub fn connect(path: &Path) -> io::Result<PacketSocket> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(PacketSocket(socket))
    }

    /// Two ends of a connection. What one may have waiting at the other is `unread_bytes`, as far
    /// as the kernel grants it.
    ///
    /// # Errors
    ///
    /// Those of `socketpair(2)`.
    pub fn pair(unread_bytes: usize) -> io::Result<(PacketSocket, PacketSocket)> {
        let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        for end in [&one, &other] {
            let bytes = i32::try_from(unread_bytes).unwrap_or(i32::MAX);
            // What is sent and not read counts against the sender's buffer alone (unix(7)).
            sys::set_option(end.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).or_else(
                |_| sys::set_option(end.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, bytes),
            )?;
        }
        Ok((PacketSocket(one), PacketSocket(other)))
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`; `InvalidInput` after [`PacketSocket::end`].
    pub fn accept(&self) -> io::Result<PacketSocket> {
        self.0.accept().map(|(socket, _unnamed)| PacketSocket(socket))
    }

    /// Ends it in both directions, for whoever waits for it on another thread as well.
    pub fn end(&self) {
        // An error means that it had ended.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// Another handle to the same socket.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn try_clone(&self) -> io::Result<PacketSocket> {
        self.0.try_clone().map(PacketSocket)
    }

    /// How long receiving may take; `None` for as long as it takes. What takes longer is
    /// `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)
    }

    /// The process at the other end.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    pub fn peer(&self) -> io::Result<PeerProcess> {
        let peer = getsockopt(&self.0, PeerCredentials)?;
        Ok(PeerProcess { uid: peer.uid(), pid: peer.pid() })
    }

    /// Sends one message with `descriptors`, of which the other end gets duplicates. Never blocks.
    ///
    /// # Errors
    ///
    /// Those of `sendmsg(2)`: `BrokenPipe` when the other end has gone, `WouldBlock` when it does
    /// not read; then nothing of the message was sent.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let parts = [IoSlice::new(message)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.0.as_raw_fd(), &parts, rights, flags, None)?;
        Ok(())
    }

    /// Receives one message without descriptors into `buffer`: its length, 0 for the end. Never
    /// blocks, and allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of `recv(2)`; `InvalidData` for a message that the buffer does not hold.
    pub fn receive_bytes(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // "Return the real length of the packet or datagram, even when it was longer than the
        // passed buffer" (recv(2)).
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let length = recv(self.0.as_raw_fd(), buffer, flags)?;
        if length > buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
        }
        Ok(length)
    }

    /// Receives one message into `buffer`: its length, 0 for the end, and its descriptors.
    ///
    /// # Errors
    ///
    /// Those of `recvmsg(2)`; `InvalidData` for a message that the buffer does not hold.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let mut descriptors = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(rights) = message {
                // SAFETY: "a set of open file descriptors": the kernel has just installed them in
                // this process, and nobody else knows of them.
                descriptors
                    .extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
        }
        Ok((received.bytes, descriptors))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for PacketSocket {
    fn from(fd: OwnedFd) -> PacketSocket {
        PacketSocket(fd.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn messages_stay_apart_and_descriptors_come_with_theirs() {
        let folder = std::env::temp_dir().join(format!("monoport-packets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        assert!(PacketSocket::connect(&path).is_err(), "nobody is there");
        drop(PacketSocket::listen(&path).unwrap());
        // Another test that starts a program may have it for a moment, between fork and exec.
        let stale = (0..1_000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            PacketSocket::connect(&path).err()
        });
        let stale = stale.expect("nobody is there any more");
        assert_eq!(stale.kind(), io::ErrorKind::ConnectionRefused);
        let listener = PacketSocket::listen(&path).expect("in the place of the stale one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let here = PacketSocket::connect(&path).unwrap();
        let there = listener.accept().unwrap();
        let own =
            PeerProcess { uid: nix::unistd::getuid().as_raw(), pid: std::process::id() as i32 };
        assert_eq!((here.peer().unwrap(), there.peer().unwrap()), (own, own));

        let (mut near, far) = UnixStream::pair().unwrap();
        here.send(b"one", &[]).unwrap();
        here.send(b"two", &[far.as_fd()]).unwrap();
        drop((far, here));
        let mut buffer = [0; 8];
        assert_eq!(there.receive(&mut buffer).unwrap().0, 3);
        assert_eq!(&buffer[..3], b"one");
        let (length, mut descriptors) = there.receive(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"two"[..], 1));
        let mut far = UnixStream::from(descriptors.remove(0));
        near.write_all(b"hello").unwrap();
        far.read_exact(&mut buffer[..5]).unwrap();
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(there.receive(&mut buffer).unwrap().0, 0, "the end");
        assert_eq!(there.send(b"?", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        listener.end();
        assert!(listener.accept().is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
