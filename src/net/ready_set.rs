//! Many sockets of which few have something to receive: the kernel keeps the list (`epoll(7)`).
//!
//! A mux port is read every turn, because there is nearly always something. With a port per session
//! a shard has thousands of sockets, and asking each of them would cost a system call apiece; one
//! call asks the set, and its answer names only those worth reading.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::readiness::Readiness;
use super::socket::UdpSocket;

/// Sockets, each under a number of the caller's.
///
/// A socket leaves the set when it is dropped: "Closing a file descriptor causes it to be removed
/// from all epoll interest lists" unless it was duplicated, which those of a set are not.
pub struct ReadySet {
    epoll: Epoll,
    events: Box<[EpollEvent]>,
    found: usize,
}

impl ReadySet {
    /// An empty set that names up to `most` sockets at a time.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn new(most: usize) -> io::Result<ReadySet> {
        let events = vec![EpollEvent::empty(); most.max(1)].into_boxed_slice();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(ReadySet { epoll, events, found: 0 })
    }

    /// Puts `socket` in, under `number`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when `fs.epoll.max_user_watches` is used up, `ENOMEM`, and `EEXIST` for a socket
    /// that is in already.
    pub fn add(&self, socket: &UdpSocket, number: u32) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(number));
        Ok(self.epoll.add(socket.as_fd(), event)?)
    }

    /// Asks which sockets have something to receive and returns how many are named, without
    /// blocking. Levels, not edges: what was not read is named again, behind the others.
    ///
    /// # Errors
    ///
    /// Those of `epoll_wait(2)`, never `EINTR`.
    pub fn look(&mut self) -> io::Result<usize> {
        self.found = 0;
        loop {
            match self.epoll.wait(&mut self.events, EpollTimeout::ZERO) {
                Ok(found) => {
                    self.found = found;
                    return Ok(found);
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The number of the `index`th socket that the last [`ReadySet::look`] named.
    #[must_use]
    pub fn named(&self, index: usize) -> Option<u32> {
        let event = self.events[..self.found].get(index)?;
        // What `add` put there came from a u32.
        u32::try_from(event.data()).ok()
    }

    /// Whether the last [`ReadySet::look`] named as many as it can, so that there may be more.
    #[must_use]
    pub fn may_have_more(&self) -> bool {
        self.found == self.events.len()
    }

    /// Something to await that is ready when a socket of the set has got something. Made once, in
    /// the runtime of the thread that looks.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn readiness(&self) -> io::Result<Readiness> {
        Readiness::new(self.epoll.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use super::*;
    use crate::net::SocketOptions;

    fn socket() -> UdpSocket {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        UdpSocket::bind_alone(address, &SocketOptions::default()).unwrap()
    }

    fn named(set: &mut ReadySet) -> Vec<u32> {
        let found = set.look().unwrap();
        (0..found).filter_map(|index| set.named(index)).collect()
    }

    #[test]
    fn only_those_with_something_to_receive_are_named_until_it_is_received() {
        let sockets: Vec<UdpSocket> = (0..20).map(|_| socket()).collect();
        let mut set = ReadySet::new(64).unwrap();
        for (number, socket) in (0u32..).zip(&sockets) {
            set.add(socket, number).unwrap();
        }
        assert!(named(&mut set).is_empty());
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for number in [3, 17] {
            sender.send_to(b"x", sockets[number].local_addr()).unwrap();
        }
        let mut found = named(&mut set);
        found.sort_unstable();
        assert_eq!(found, [3, 17]);
        assert_eq!(named(&mut set).len(), 2, "nobody has received yet");
        let mut receiver =
            crate::net::Receiver::new(crate::net::Backend::Mmsg, 4, &[&sockets[3]]).unwrap();
        assert_eq!(receiver.receive(&sockets[3]).unwrap(), 1);
        assert_eq!(named(&mut set), [17]);
    }

    #[test]
    fn a_socket_leaves_when_it_is_dropped_and_every_one_gets_its_turn() {
        let sockets: Vec<UdpSocket> = (0..3).map(|_| socket()).collect();
        let mut set = ReadySet::new(1).unwrap();
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for (number, socket) in (0u32..).zip(&sockets) {
            set.add(socket, number).unwrap();
            sender.send_to(b"x", socket.local_addr()).unwrap();
        }
        let mut seen: Vec<u32> = (0..3).flat_map(|_| named(&mut set)).collect();
        assert!(set.may_have_more());
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2], "what was not read goes behind the others");
        drop(sockets);
        assert!(named(&mut set).is_empty());
        assert!(!set.may_have_more());
    }

    /// A set inside a runtime's own set: the second datagram comes while the first one's socket is
    /// still on the kernel's list.
    #[tokio::test]
    async fn every_arrival_wakes_who_waits() {
        let (one, other) = (socket(), socket());
        let mut set = ReadySet::new(8).unwrap();
        set.add(&one, 1).unwrap();
        set.add(&other, 2).unwrap();
        let readiness = set.readiness().unwrap();
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut receiver =
            crate::net::Receiver::new(crate::net::Backend::Mmsg, 4, &[&one, &other]).unwrap();
        for round in 0..100 {
            let (number, socket) = if round % 3 == 0 { (2, &other) } else { (1, &one) };
            sender.send_to(b"x", socket.local_addr()).unwrap();
            loop {
                let woken = Readiness::any_readable([&readiness]);
                tokio::time::timeout(Duration::from_secs(10), woken).await.expect("it is woken");
                if named(&mut set) == [number] {
                    break;
                }
            }
            assert_eq!(receiver.receive(socket).unwrap(), 1);
        }
    }
}
