//! TCP for ICE: a listener, connections that never block, and one look at which can go on.
//!
//! A shard may have thousands of connections. Each registered with the runtime by itself would cost
//! a look at each before every sleep; so they share an epoll of their own, and the runtime watches
//! that ([`TcpWatch::readiness`]).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Readiness;
use crate::limits::{TCP_BACKLOG, TCP_EVENTS_PER_LOOK, TCP_UNSENT_BYTES};

/// A non-blocking listener on `address`; `[::]` takes IPv4 as well. A port somebody listens on
/// already is an error, and one whose connections of an earlier run linger is not (`SO_REUSEADDR`,
/// socket(7)).
///
/// # Errors
///
/// Those of `socket(2)`, `bind(2)`, `listen(2)` and `setsockopt(2)`.
pub fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

/// What became of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes, at least one, were read or taken.
    Bytes(usize),
    /// Nothing for now; [`TcpWatch::look`] tells when to try again.
    Blocked,
    /// The connection is over: closed by the peer, or broken.
    Ended,
}

/// One connection.
#[derive(Debug)]
pub struct TcpConnection(TcpStream);

impl TcpConnection {
    /// Makes a stream fit for media: frames leave at once (`TCP_NODELAY`), and the kernel takes
    /// little that it cannot send yet ([`TCP_UNSENT_BYTES`]).
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; on a connection that is over already, among others.
    pub fn new(stream: TcpStream) -> io::Result<TcpConnection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_notsent_lowat(TCP_UNSENT_BYTES)?;
        Ok(TcpConnection(stream))
    }

    /// Reads what is there into `buffer`, which must not be empty.
    pub fn read(&mut self, buffer: &mut [u8]) -> Moved {
        moved(|| self.0.read(buffer))
    }

    /// Hands `bytes`, which must not be empty, to the kernel, as many as it takes.
    pub fn write(&mut self, bytes: &[u8]) -> Moved {
        moved(|| self.0.write(bytes))
    }

    /// Says that nothing more will be written. What the kernel has taken is still delivered.
    pub fn finish(self) {
        // An error means that the peer has gone first.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

fn moved(mut call: impl FnMut() -> io::Result<usize>) -> Moved {
    loop {
        return match call() {
            Ok(0) => Moved::Ended,
            Ok(count) => Moved::Bytes(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => continue,
                ErrorKind::WouldBlock => Moved::Blocked,
                _ => Moved::Ended,
            },
        };
    }
}

impl AsFd for TcpConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What has changed about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpChange {
    /// The number it was added under.
    pub index: usize,
    /// There is something to read, be it the end.
    pub readable: bool,
    /// The end of the stream has come: it is behind what is left to read.
    pub ended: bool,
    /// A write that was [`Moved::Blocked`] or taken in part can go on.
    pub writable: bool,
}

/// Watches the connections of one shard.
pub struct TcpWatch {
    poll: Poll,
    events: Events,
}

impl TcpWatch {
    /// Watches nobody yet.
    ///
    /// # Errors
    ///
    /// Those of `epoll_create1(2)`.
    pub fn new() -> io::Result<TcpWatch> {
        Ok(TcpWatch { poll: Poll::new()?, events: Events::with_capacity(TCP_EVENTS_PER_LOOK) })
    }

    /// Watches `connection` under `index` until it is dropped. Its first change is how it stands.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl(2)`.
    pub fn add(&self, connection: &TcpConnection, index: usize) -> io::Result<()> {
        let fd = connection.0.as_raw_fd();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&fd), Token(index), both)
    }

    /// Tells `seen` what has changed since the last look, without waiting. Changes, not states:
    /// whoever hears of one reads or writes until it is blocked, or comes back by itself. True when
    /// there may be more to see.
    pub fn look(&mut self, mut seen: impl FnMut(TcpChange)) -> bool {
        if let Err(error) = self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            // EINTR, and nothing else: the next look sees what this one has not.
            return error.kind() == ErrorKind::Interrupted;
        }
        let mut count = 0;
        for event in &self.events {
            count += 1;
            let ended = event.is_read_closed() || event.is_error();
            seen(TcpChange {
                index: event.token().0,
                readable: event.is_readable() || ended,
                ended,
                writable: event.is_writable(),
            });
        }
        count >= TCP_EVENTS_PER_LOOK
    }

    /// Something to await that is ready when a look would see something. Made once, inside the
    /// runtime of the thread that looks.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn readiness(&self) -> io::Result<Readiness> {
        // SAFETY: the poll is borrowed for as long as the descriptor is, and owns it.
        Readiness::new(unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (TcpConnection, TcpStream) {
        let listener = tcp_listener("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        // Through the IPv4 side of the dual-stack listener.
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(false).unwrap();
        (TcpConnection::new(listener.accept().unwrap().0).unwrap(), client)
    }

    /// Looks until a change satisfies `wanted`.
    fn until(watch: &mut TcpWatch, wanted: impl Fn(&TcpChange) -> bool) {
        for _ in 0..20_000 {
            let mut found = false;
            watch.look(|change| found |= wanted(&change));
            if found {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the change never came");
    }

    #[test]
    fn a_taken_port_is_an_error_and_a_lingering_one_is_not() {
        let listener = tcp_listener("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = tcp_listener(address).expect_err("somebody listens");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        // Whoever closes first lingers in TIME_WAIT.
        drop(listener.accept().unwrap());
        drop((listener, client));
        tcp_listener(address).expect("nobody listens any more");
    }

    #[test]
    fn changes_are_seen_once_and_the_end_with_them() {
        let (mut connection, mut client) = pair();
        let mut watch = TcpWatch::new().unwrap();
        watch.add(&connection, 7).unwrap();
        until(&mut watch, |change| change.index == 7 && change.writable && !change.ended);
        let mut buffer = [0; 8];
        assert_eq!(connection.read(&mut buffer), Moved::Blocked);
        client.write_all(b"hello").unwrap();
        until(&mut watch, |change| change.readable && !change.ended);
        assert_eq!(connection.read(&mut buffer), Moved::Bytes(5));
        watch.look(|change| assert!(!change.readable, "it was seen already"));
        drop(client);
        until(&mut watch, |change| change.readable && change.ended);
        assert_eq!(connection.read(&mut buffer), Moved::Ended);
    }

    #[test]
    fn the_kernel_takes_little_and_says_when_it_takes_more() {
        let (mut connection, mut client) = pair();
        let mut watch = TcpWatch::new().unwrap();
        watch.add(&connection, 0).unwrap();
        until(&mut watch, |change| change.writable);
        let lot = vec![0; 16 << 20];
        let mut taken = 0;
        while let Moved::Bytes(count) = connection.write(&lot) {
            taken += count;
        }
        assert!(taken < lot.len(), "not all of it: {taken}");
        let mut received = vec![0; taken];
        client.read_exact(&mut received).unwrap();
        until(&mut watch, |change| change.writable);
        assert!(matches!(connection.write(&lot), Moved::Bytes(_)));
        drop(client);
        while connection.write(&lot) != Moved::Ended {
            std::thread::yield_now();
        }
    }
}
