//! Datagrams on their way to the process that this one has taken over from.
//!
//! ```text
//! message   unix_ns u64, then records
//! record    age_us u32, port u16, remote port u16, local 16 B, remote 16 B, length u16, payload
//! ```
//!
//! Many datagrams make one message, for the kernel's price is per message. What waits unread is
//! bounded by the sender's socket buffer ([`STRAYS_UNREAD_BYTES`]); beyond it the newest message is
//! lost, and whoever flushes counts it. Little-endian, since both ends are one machine's.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use super::{PacketSocket, Readiness};
use crate::limits::{STRAYS_FLUSH_BYTES, STRAYS_MESSAGE_BYTES, STRAYS_UNREAD_BYTES};

const RECORD_BYTES: usize = 4 + 2 + 2 + 16 + 16 + 2;

/// A datagram for the other process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray<'a> {
    /// How long ago it came when it was written, in microseconds. When read: when it came, in
    /// nanoseconds of Unix time.
    pub time: u64,
    /// The number of the mux port it came in at.
    pub port: u16,
    /// Our address that was hit.
    pub local: IpAddr,
    /// The sender.
    pub remote: SocketAddr,
    /// The payload.
    pub bytes: &'a [u8],
}

/// The end that strays are written to, of one shard.
#[derive(Debug)]
pub struct StrayWriter {
    socket: PacketSocket,
    message: Vec<u8>,
    /// Datagrams in the message.
    waiting: u64,
    /// What ages count back from.
    unix_ns: u64,
    /// What became of those before, since the last flush.
    done: StraysSent,
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StraysSent {
    /// The other process has them.
    pub sent: u64,
    /// It reads too slowly, or has gone.
    pub lost: u64,
}

/// The end that strays are read from.
#[derive(Debug)]
pub struct StrayReader {
    socket: PacketSocket,
    message: Box<[u8]>,
    length: usize,
}

/// Both ends of a way for strays: what is written comes out.
///
/// # Errors
///
/// Those of `socketpair(2)`.
pub fn strays() -> io::Result<(PacketSocket, PacketSocket)> {
    PacketSocket::pair(STRAYS_UNREAD_BYTES)
}

impl StrayWriter {
    /// Writes to one end of [`strays`].
    #[must_use]
    pub fn new(socket: PacketSocket) -> StrayWriter {
        let message = Vec::with_capacity(STRAYS_MESSAGE_BYTES);
        StrayWriter { socket, message, waiting: 0, unix_ns: 0, done: StraysSent::default() }
    }

    /// The ages of what is pushed from here on count back from `unix_ns`. Nothing waits.
    pub fn begin(&mut self, unix_ns: u64) {
        self.unix_ns = unix_ns;
    }

    /// Puts a datagram, at most [`crate::limits::MAX_DATAGRAM_IN`] bytes, behind those that wait;
    /// they are handed over where it does not fit. Never blocks.
    pub fn push(&mut self, stray: &Stray<'_>) {
        let length = u16::try_from(stray.bytes.len()).unwrap_or(u16::MAX);
        if self.message.len() + RECORD_BYTES + usize::from(length) > STRAYS_FLUSH_BYTES {
            self.send();
        }
        if self.waiting == 0 {
            self.message.clear();
            self.message.extend(self.unix_ns.to_le_bytes());
        }
        let age_us = u32::try_from(stray.time).unwrap_or(u32::MAX);
        self.message.extend(age_us.to_le_bytes());
        self.message.extend(stray.port.to_le_bytes());
        self.message.extend(stray.remote.port().to_le_bytes());
        self.message.extend(octets(stray.local));
        self.message.extend(octets(stray.remote.ip()));
        self.message.extend(length.to_le_bytes());
        self.message.extend(&stray.bytes[..usize::from(length)]);
        self.waiting += 1;
    }

    /// Hands over what waits. Returns what became of all since the last flush.
    pub fn flush(&mut self) -> StraysSent {
        self.send();
        std::mem::take(&mut self.done)
    }

    fn send(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting == 0 {
            return;
        }
        match self.socket.send(&self.message, &[]) {
            Ok(()) => self.done.sent += waiting,
            Err(_full_or_gone) => self.done.lost += waiting,
        }
    }
}

impl StrayReader {
    /// Reads from one end of [`strays`].
    #[must_use]
    pub fn new(socket: PacketSocket) -> StrayReader {
        let message = vec![0; STRAYS_MESSAGE_BYTES].into_boxed_slice();
        StrayReader { socket, message, length: 0 }
    }

    /// Receives the next message. `Some(true)` when there was one, `Some(false)` when there is none
    /// for now, `None` when there will be no more.
    pub fn receive(&mut self) -> Option<bool> {
        self.length = 0;
        match self.socket.receive_bytes(&mut self.message) {
            Ok(0) => None,
            Ok(length) => {
                self.length = length;
                Some(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Some(false),
                // One that is too long was not written by a server of ours: it is passed over.
                ErrorKind::InvalidData => Some(true),
                _ => None,
            },
        }
    }

    /// The datagrams of the last message, in their order.
    #[must_use]
    pub fn strays(&self) -> Strays<'_> {
        Strays::of(&self.message[..self.length])
    }

    /// Something to await that is ready when there is a message, or the end.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn readiness(&self) -> io::Result<Readiness> {
        Readiness::new(self.socket.as_fd())
    }
}

/// The datagrams of one message. What does not parse ends it.
pub struct Strays<'a> {
    unix_ns: u64,
    rest: &'a [u8],
}

impl<'a> Strays<'a> {
    /// Those of a message.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Strays<'a> {
        match message.split_first_chunk() {
            Some((head, rest)) => Strays { unix_ns: u64::from_le_bytes(*head), rest },
            None => Strays { unix_ns: 0, rest: &[] },
        }
    }
}

impl<'a> Iterator for Strays<'a> {
    type Item = Stray<'a>;

    fn next(&mut self) -> Option<Stray<'a>> {
        let rest = self.rest;
        let (age_us, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (remote_port, rest) = rest.split_first_chunk()?;
        let (local, rest) = rest.split_first_chunk::<16>()?;
        let (remote, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.rest = rest;
        let age_ns = u64::from(u32::from_le_bytes(*age_us)) * 1_000;
        let address = |octets: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical();
        Some(Stray {
            time: self.unix_ns.saturating_sub(age_ns),
            port: u16::from_le_bytes(*port),
            local: address(local),
            remote: SocketAddr::new(address(remote), u16::from_le_bytes(*remote_port)),
            bytes,
        })
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::MAX_DATAGRAM_IN;

    fn ends() -> (StrayWriter, StrayReader) {
        let (one, other) = strays().unwrap();
        (StrayWriter::new(one), StrayReader::new(other))
    }

    #[test]
    fn what_is_written_comes_out_with_its_addresses_and_its_time() {
        let (mut writer, mut reader) = ends();
        let longest = vec![7; MAX_DATAGRAM_IN];
        let strays: [(u64, &str, &[u8]); 3] = [
            (5, "192.0.2.1:1", b"one"),
            (0, "[2001:db8::1]:65535", b""),
            (9, "192.0.2.2:2", &longest),
        ];
        writer.begin(1_000_000);
        for (time, remote, bytes) in strays {
            let remote: SocketAddr = remote.parse().unwrap();
            writer.push(&Stray { time, port: 7_882, local: remote.ip(), remote, bytes });
        }
        assert_eq!(writer.flush(), StraysSent { sent: 3, lost: 0 });
        assert_eq!(writer.flush(), StraysSent::default());
        let mut found = Vec::new();
        while reader.receive() == Some(true) {
            found.extend(reader.strays().map(|s| (s.time, s.remote, s.local, s.bytes.to_vec())));
        }
        let expected = [995_000, 1_000_000, 991_000].into_iter().zip(strays);
        for ((time, (_, remote, bytes)), found) in expected.zip(&found) {
            let remote: SocketAddr = remote.parse().unwrap();
            assert_eq!(found, &(time, remote, remote.ip(), bytes.to_vec()));
        }
        assert_eq!(found.len(), 3);
        drop(writer);
        assert_eq!(reader.receive(), None, "the other process has gone");
    }

    #[test]
    fn a_process_that_does_not_read_has_a_bounded_backlog_and_the_rest_is_counted() {
        let (mut writer, mut reader) = ends();
        let remote: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let stray = Stray { time: 0, port: 1, local: remote.ip(), remote, bytes: &[1; 1_200] };
        let (mut sent, mut lost) = (0, 0);
        for _ in 0..2 * STRAYS_UNREAD_BYTES / 1_200 {
            writer.push(&stray);
            let now = writer.flush();
            (sent, lost) = (sent + now.sent, lost + now.lost);
        }
        assert!(sent > 0 && lost > 0, "{sent} sent, {lost} lost");
        let mut found = 0;
        while reader.receive() == Some(true) {
            found += reader.strays().count() as u64;
        }
        assert_eq!(found, sent);
        drop(reader);
        // Another test that starts a program may have its end for a moment, between fork and exec.
        let nobody_is_there = (0..1_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            writer.push(&stray);
            writer.flush() == StraysSent { sent: 0, lost: 1 }
        });
        assert!(nobody_is_there);
    }

    #[test]
    fn bytes_that_are_no_message_are_nothing() {
        let (one, other) = strays().unwrap();
        let mut reader = StrayReader::new(other);
        for length in [1, 8, 9, 8 + RECORD_BYTES] {
            one.send(&vec![0xff; length], &[]).unwrap();
            assert_eq!(reader.receive(), Some(true));
            assert_eq!(reader.strays().count(), 0);
        }
    }
}
