//! The TCP connections of one shard: each is a path to a session as a UDP flow is, and the bytes
//! that wait on it.
//!
//! A connection needs no flow table and never goes astray: it was handed to the shard of its first
//! check's session, and that shard alone reads it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use super::outbox::Outbox;
use crate::drop::DropReason;
use crate::id::ConnectionId;
use crate::limits::{MAX_TCP_CONNECTIONS_PER_SHARD, TCP_STALL, TCP_SWEEP};
use crate::net::{Moved, TcpConnection, TcpWatch};
use crate::telemetry::ShardCounters;
use crate::wire::framing::Backlog;

/// A TCP connection on its way to the shard of the session it is for.
#[derive(Debug)]
pub struct NewConnection {
    /// The connection.
    pub stream: TcpStream,
    /// Our address on it.
    pub local: IpAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// What has been read of it: one frame at least.
    pub received: Vec<u8>,
}

/// One connection.
pub(super) struct Connection {
    pub wire: TcpConnection,
    /// Our address on it.
    pub local: IpAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The slot of the session that has proved it to be its own.
    pub session: Option<u32>,
    pub since: Instant,
    /// Frames received before the first one that proved it.
    pub unproved_frames: usize,
    /// Bytes received that are no whole frame yet.
    pub inbox: Vec<u8>,
    pub outbox: Outbox,
    /// Bytes that the kernel has taken.
    taken: u64,
    /// The end has come: it is behind what is left to read.
    pub ended: bool,
    /// The kernel took not all of what waits; it says when it takes more.
    pub blocked: bool,
    /// When it was first seen to be blocked, since the kernel took a byte.
    pub stalled_since: Option<Instant>,
    /// Stands in the queue of those to read.
    listed_to_read: bool,
    /// Stands in the list of those to write.
    listed_to_write: bool,
}

/// What one flush of a connection did.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    calls: u64,
    bytes: u64,
    frames: u64,
    /// The connection is over.
    ended: bool,
}

/// All of them.
pub struct Connections {
    watch: TcpWatch,
    table: Vec<ConnectionSlot>,
    free: Vec<u32>,
    to_read: VecDeque<ConnectionId>,
    to_write: Vec<ConnectionId>,
    /// When they are looked over next.
    next_sweep: Instant,
}

#[derive(Default)]
struct ConnectionSlot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Connections {
    /// None yet.
    ///
    /// # Errors
    ///
    /// Those of [`TcpWatch::new`].
    pub(super) fn new(now: Instant) -> io::Result<Connections> {
        Ok(Connections {
            watch: TcpWatch::new()?,
            table: Vec::new(),
            free: Vec::new(),
            to_read: VecDeque::new(),
            to_write: Vec::new(),
            next_sweep: now,
        })
    }

    /// See [`TcpWatch`]; the shard waits for it beside its sockets.
    pub fn watch(&self) -> &TcpWatch {
        &self.watch
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len() - self.free.len()
    }

    /// Takes a connection over, with what has been read of it; `None` when there are
    /// [`MAX_TCP_CONNECTIONS_PER_SHARD`] already, or it is over.
    pub(super) fn add(&mut self, now: Instant, newcomer: NewConnection) -> Option<ConnectionId> {
        let NewConnection { stream, local, remote, received } = newcomer;
        let wire = TcpConnection::new(stream).ok()?;
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.table.len() < MAX_TCP_CONNECTIONS_PER_SHARD => {
                self.table.push(ConnectionSlot::default());
                self.table.len() as u32 - 1
            }
            None => return None,
        };
        if self.watch.add(&wire, index as usize).is_err() {
            self.free.push(index);
            return None;
        }
        let place = &mut self.table[index as usize];
        place.connection = Some(Box::new(Connection {
            wire,
            local,
            remote,
            session: None,
            since: now,
            unproved_frames: 0,
            inbox: received,
            outbox: Outbox::default(),
            taken: 0,
            ended: false,
            blocked: false,
            stalled_since: None,
            listed_to_read: false,
            listed_to_write: false,
        }));
        let id = ConnectionId { index, generation: place.generation };
        self.read_later(id);
        Some(id)
    }

    /// The connection of this name, if it still is.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let place = self.table.get_mut(id.index as usize)?;
        place.connection.as_deref_mut().filter(|_| place.generation == id.generation)
    }

    /// What waits for a connection.
    pub(super) fn backlog(&self, id: ConnectionId) -> Option<Backlog> {
        let Connection { outbox, taken, blocked, .. } = self.at(id)?;
        let (waiting, taken, blocked) = (outbox.waiting().len(), *taken, *blocked);
        Some(Backlog { waiting, taken, blocked })
    }

    /// The slot of the session that has proved a connection.
    pub(super) fn session_of(&self, id: ConnectionId) -> Option<u32> {
        self.at(id)?.session
    }

    fn at(&self, id: ConnectionId) -> Option<&Connection> {
        let place = self.table.get(id.index as usize)?;
        place.connection.as_deref().filter(|_| place.generation == id.generation)
    }

    /// Hands the kernel what waits for a connection; true when that is over.
    pub(super) fn write(&mut self, id: ConnectionId, counters: &ShardCounters) -> bool {
        self.get(id).is_some_and(|connection| {
            let written = connection.write();
            written.count(counters);
            written.ended
        })
    }

    /// Closes a connection with what waits for it; returns the slot of its session.
    pub(super) fn discard(&mut self, id: ConnectionId, counters: &ShardCounters) -> Option<u32> {
        let connection = self.remove(id)?;
        lost(&connection, counters);
        self.count(counters);
        connection.session
    }

    /// Closes a connection after what waits for it, as far as the kernel takes that at once.
    pub(super) fn finish(&mut self, id: ConnectionId, counters: &ShardCounters) {
        let Some(mut connection) = self.remove(id) else { return };
        connection.write().count(counters);
        lost(&connection, counters);
        connection.wire.finish();
        self.count(counters);
    }

    /// Shows how many there are.
    pub(super) fn count(&self, counters: &ShardCounters) {
        counters.tcp_connections.set(self.len() as u64);
    }

    /// When connections want to be looked over, if there are any.
    #[must_use]
    pub fn next_sweep(&self) -> Option<Instant> {
        (self.len() > 0).then_some(self.next_sweep)
    }

    /// Takes a connection out.
    fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.get(id)?;
        let place = &mut self.table[id.index as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        place.connection.take()
    }

    /// Every connection, by name.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.table.iter().enumerate().filter(|(_, place)| place.connection.is_some()).map(
            |(index, place)| ConnectionId { index: index as u32, generation: place.generation },
        )
    }

    /// Notes who can be read and written. True when there may be more.
    pub fn look(&mut self) -> bool {
        if self.len() == 0 {
            return false;
        }
        let Connections { watch, table, to_read, to_write, .. } = self;
        watch.look(|change| {
            let Some(place) = table.get_mut(change.index) else { return };
            let index = change.index as u32;
            let id = ConnectionId { index, generation: place.generation };
            let Some(connection) = place.connection.as_deref_mut() else { return };
            connection.ended |= change.ended;
            if change.readable && !std::mem::replace(&mut connection.listed_to_read, true) {
                to_read.push_back(id);
            }
            let waits = !connection.outbox.waiting().is_empty();
            let free = change.writable && waits;
            if free && !std::mem::replace(&mut connection.listed_to_write, true) {
                to_write.push(id);
            }
        })
    }

    /// Whose turn to be read it is.
    pub(super) fn next_to_read(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.to_read.pop_front() {
            if let Some(connection) = self.get(id) {
                connection.listed_to_read = false;
                return Some(id);
            }
        }
        None
    }

    /// Puts a connection behind all others that are to be read.
    pub(super) fn read_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.get(id) else { return };
        if !std::mem::replace(&mut connection.listed_to_read, true) {
            self.to_read.push_back(id);
        }
    }

    /// Whether any is to be read.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.to_read.is_empty()
    }

    /// Lets `write` fill a slot and queues what it wrote for a connection.
    ///
    /// # Errors
    /// [`DropReason::ConnectionLost`], [`DropReason::TcpQueueFull`], and what `write` says.
    pub fn push(
        &mut self,
        id: ConnectionId,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        let place = self.table.get_mut(id.index as usize).ok_or(DropReason::ConnectionLost)?;
        let connection = place.connection.as_deref_mut();
        let connection = connection.filter(|_| place.generation == id.generation);
        let connection = connection.ok_or(DropReason::ConnectionLost)?;
        connection.outbox.push(write)?;
        if !connection.blocked && !std::mem::replace(&mut connection.listed_to_write, true) {
            self.to_write.push(id);
        }
        Ok(())
    }

    /// A connection with something to write.
    pub(super) fn next_to_write(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.to_write.pop() {
            if let Some(connection) = self.get(id) {
                connection.listed_to_write = false;
                return Some(id);
            }
        }
        None
    }

    /// Whether connections are to be looked over, which then is due again after [`TCP_SWEEP`].
    pub(super) fn sweep_is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_sweep && self.len() > 0;
        if due {
            self.next_sweep = now + TCP_SWEEP;
        }
        due
    }
}

impl Connection {
    /// Whether the kernel has taken nothing for as long as it may.
    pub fn is_stalled(&mut self, now: Instant) -> bool {
        self.blocked && now >= *self.stalled_since.get_or_insert(now) + TCP_STALL
    }

    /// Hands the kernel what waits.
    fn write(&mut self) -> Written {
        let mut written = Written::default();
        self.blocked = false;
        while !self.outbox.waiting().is_empty() {
            let waiting = self.outbox.waiting();
            written.calls += 1;
            match self.wire.write(waiting) {
                Moved::Bytes(count) => {
                    written.bytes += count as u64;
                    self.taken += count as u64;
                    written.frames += self.outbox.take(count) as u64;
                    self.stalled_since = None;
                }
                Moved::Blocked => {
                    self.blocked = true;
                    break;
                }
                Moved::Ended => {
                    written.ended = true;
                    break;
                }
            }
        }
        written
    }
}

impl Written {
    fn count(&self, counters: &ShardCounters) {
        counters.tcp_write_calls.add(self.calls);
        counters.tcp_bytes_out.add(self.bytes);
        counters.tcp_frames_out.add(self.frames);
    }
}

/// What waits for a connection that is over is lost.
fn lost(connection: &Connection, counters: &ShardCounters) {
    counters.dropped_many(DropReason::ConnectionLost, connection.outbox.frames() as u64);
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn newcomer(listener: &TcpListener) -> (NewConnection, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, remote) = listener.accept().unwrap();
        let local = stream.local_addr().unwrap().ip();
        (NewConnection { stream, local, remote, received: vec![0, 1, 7] }, client)
    }

    #[test]
    fn what_waits_is_what_the_kernel_has_not_taken() {
        let now = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connections = Connections::new(now).unwrap();
        let (first, mut client) = newcomer(&listener);
        let id = connections.add(now, first).unwrap();
        let counters = ShardCounters::default();
        assert_eq!(connections.backlog(id), Some(Backlog::default()));
        let mut pushed = 0;
        while !connections.backlog(id).unwrap().blocked {
            connections.push(id, |_| Ok(1_200)).unwrap();
            pushed += 1_202;
            connections.write(id, &counters);
        }
        let full = connections.backlog(id).unwrap();
        assert!(full.waiting > 0, "{full:?}");
        assert_eq!(full.waiting as u64 + full.taken, pushed);
        std::io::copy(&mut (&mut client).take(full.taken), &mut std::io::sink()).unwrap();
        // The kernel hears in its own time that there is room.
        while connections.backlog(id).unwrap().blocked {
            connections.write(id, &counters);
        }
        assert_eq!(connections.backlog(id), Some(Backlog { taken: pushed, ..Backlog::default() }));
        connections.remove(id);
        assert_eq!(connections.backlog(id), None);
    }

    #[test]
    fn a_name_never_means_the_next_connection_in_its_place() {
        let now = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connections = Connections::new(now).unwrap();
        let (first, _client) = newcomer(&listener);
        let first = connections.add(now, first).unwrap();
        assert_eq!(connections.next_to_read(), Some(first), "it has said something already");
        connections.push(first, |_| Ok(1)).unwrap();
        assert!(connections.remove(first).is_some() && connections.remove(first).is_none());
        let (second, _client) = newcomer(&listener);
        let second = connections.add(now, second).unwrap();
        assert_eq!(second.index, first.index);
        assert!(connections.get(first).is_none());
        assert_eq!(connections.push(first, |_| Ok(1)), Err(DropReason::ConnectionLost));
        assert_eq!(connections.next_to_write(), None, "what was queued for the first is gone");
        assert_eq!(connections.push(second, |_| Ok(1)), Ok(()));
        assert_eq!(connections.next_to_write(), Some(second));
        assert_eq!((connections.len(), connections.ids().next()), (1, Some(second)));
    }
}
