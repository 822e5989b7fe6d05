//! A shard's sockets, each in a slot that keeps its number, and the datagrams that wait to leave;
//! and beside them its TCP connections.
//!
//! **Mux ports** are few, and each shard has a socket on every one. Each is read every turn, and
//! has an arena of its own for what it sends, so that the viewers on one port share its system
//! calls. They come and go while the shard runs. **Ports of sessions** (`--port-range`) are as
//! many as sessions, in the slot of their session: the kernel's list says which to read, and all
//! share one arena, which is handed to the kernel whenever the socket changes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::connections::Connections;
use super::sessions::Via;
use super::{BoundPort, Wiring};
use crate::drop::DropReason;
use crate::limits::{SEND_ARENA_BYTES, SEND_BATCH_MESSAGES, SESSION_SOCKETS_PER_TURN};
use crate::net::{
    Destination, Readiness, ReadySet, Receiver, SendBatch, SendFailure, Sender, UdpSocket,
};
use crate::telemetry::{Histogram, PortCounters, PortName, ShardCounters, limited};

/// Every way out of a shard.
pub(super) struct Ways<'a> {
    pub ports: &'a mut Ports,
    pub tcp: &'a mut Connections,
}

impl Ways<'_> {
    /// Lets `write` fill a slot of what `via` names and queues what it wrote for `to`.
    ///
    /// # Errors
    /// What `write` says, and that the way is full or gone.
    pub fn push(
        &mut self,
        via: Via,
        to: Destination,
        counters: &ShardCounters,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        match via {
            Via::Udp(port) => self.ports.push(port, to, counters, write),
            Via::Tcp(connection) => self.tcp.push(connection, write),
        }
    }
}

/// The sockets of one shard.
pub(super) struct Ports {
    /// The shard's number, and where it counts.
    index: u16,
    wiring: Arc<Wiring>,
    table: Vec<Option<Port>>,
    /// Slots of the mux ports.
    mux: Vec<usize>,
    /// What the ports of sessions share; `None` where ports are muxed.
    sessions: Option<SessionPorts>,
    /// Destinations for which the kernel refused a train since the last look, and their ports.
    pub refused_trains: Vec<(usize, Destination)>,
}

/// One socket.
pub(super) struct Port {
    pub socket: UdpSocket,
    /// Addresses the answers name; str0m takes datagrams for these only.
    candidates: Vec<SocketAddr>,
    /// `None` where it shares one.
    outbox: Option<Box<Outbox>>,
    /// Something to receive; `None` where the kernel's list says so.
    readiness: Option<Readiness>,
}

struct SessionPorts {
    ready: ReadySet,
    readiness: Option<Readiness>,
    outbox: Outbox,
    /// The slot of the socket that what is in the outbox leaves through.
    filled_for: usize,
}

impl Ports {
    /// The mux ports the shard starts with, in the slots of their order.
    pub fn muxed(ports: Vec<BoundPort>, index: u16, wiring: Arc<Wiring>) -> Ports {
        let mut muxed = Ports::none(index, wiring);
        for (slot, port) in ports.into_iter().enumerate() {
            muxed.insert(slot, port, true);
        }
        muxed
    }

    /// No port yet, and one for every session to come.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn of_sessions(index: u16, wiring: Arc<Wiring>) -> io::Result<Ports> {
        let sessions = SessionPorts {
            ready: ReadySet::new(SESSION_SOCKETS_PER_TURN)?,
            readiness: None,
            outbox: Outbox::new(),
            filled_for: 0,
        };
        let ports = Ports { sessions: Some(sessions), ..Ports::none(index, wiring) };
        // One place counts for all of them.
        ports.counters(0).open(PortName::All);
        Ok(ports)
    }

    fn none(index: u16, wiring: Arc<Wiring>) -> Ports {
        let (table, mux, refused_trains) = (Vec::new(), Vec::new(), Vec::new());
        Ports { index, wiring, table, mux, sessions: None, refused_trains }
    }

    /// Whether each session has a port of its own.
    pub fn are_of_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// Begins to wait for what the shard starts with. Called in its runtime.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn watch(&mut self, receiver: &Receiver) -> io::Result<()> {
        for port in self.table.iter_mut().flatten() {
            port.readiness = Some(receiver.readiness(&port.socket)?);
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.readiness = Some(sessions.ready.readiness()?);
        }
        Ok(())
    }

    /// Adds a mux port while the shard runs. Called in its runtime.
    ///
    /// # Errors
    /// `EMFILE`, and with io_uring what the kernel says to a ring. Nothing is left of it.
    pub fn open(
        &mut self,
        slot: usize,
        port: BoundPort,
        receiver: &mut Receiver,
    ) -> io::Result<()> {
        receiver.add(&port.socket)?;
        match receiver.readiness(&port.socket) {
            Ok(readiness) => {
                self.insert(slot, port, true);
                if let Some(port) = &mut self.table[slot] {
                    port.readiness = Some(readiness);
                }
                Ok(())
            }
            Err(error) => {
                receiver.remove(&port.socket);
                Err(error)
            }
        }
    }

    /// Closes a mux port, once what waits to leave through it has left.
    pub fn close(&mut self, slot: usize, receiver: &mut Receiver, counters: &ShardCounters) {
        self.flush_slot(slot, counters);
        self.mux.retain(|other| *other != slot);
        if let Some(port) = self.table.get_mut(slot).and_then(Option::take) {
            // The last that was counted here goes with the port's place.
            let left = port.outbox.map_or(0, |outbox| outbox.batch.datagrams());
            counters.dropped_many(DropReason::SendQueueFull, left as u64);
            receiver.remove(&port.socket);
            self.counters(slot).close();
        }
    }

    /// What is counted at the port in a slot; of ports of sessions, at all of them.
    pub fn counters(&self, slot: usize) -> &PortCounters {
        let place = if self.are_of_sessions() { 0 } else { slot };
        self.wiring.meters[usize::from(self.index)].ports.at(place)
    }

    /// Notes what was received through the port in a slot.
    pub fn received(&self, slot: usize, datagrams: u64, bytes: u64) {
        let counters = self.counters(slot);
        counters.datagrams_in.add(datagrams);
        counters.bytes_in.add(bytes);
        // Of the sockets of sessions, the receiver has the sum.
        if let (None, Some(socket)) = (&self.sessions, self.socket(slot)) {
            counters.receive_drops.set(socket.receive_drops());
        }
    }

    /// Takes over the port of the session in `slot`.
    ///
    /// # Errors
    /// Where the kernel's list takes no more; nothing is left of it.
    pub fn open_for_session(&mut self, slot: u32, port: BoundPort) -> io::Result<()> {
        let sessions = self.sessions.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        sessions.ready.add(&port.socket, slot)?;
        self.insert(slot as usize, port, false);
        Ok(())
    }

    /// Gives the port of the session in `slot` back to the kernel, with what waits for it sent.
    /// Nothing happens where ports are muxed.
    pub fn close_for_session(&mut self, slot: u32, counters: &ShardCounters) {
        let slot = slot as usize;
        if let Some(sessions) = &self.sessions {
            if sessions.filled_for == slot {
                self.flush_sessions(counters);
            }
            self.table[slot] = None;
        }
    }

    /// Slots of the mux ports.
    pub fn mux(&self) -> &[usize] {
        &self.mux
    }

    /// The socket in a slot.
    pub fn socket(&self, slot: usize) -> Option<&UdpSocket> {
        self.table.get(slot)?.as_ref().map(|port| &port.socket)
    }

    /// The port number of the socket in a slot.
    pub fn number(&self, slot: usize) -> Option<u16> {
        self.socket(slot).map(UdpSocket::port)
    }

    /// The slot of the mux port with this number.
    pub fn slot_of(&self, number: u16) -> Option<usize> {
        self.mux.iter().copied().find(|slot| self.number(*slot) == Some(number))
    }

    /// Asks the kernel which sessions' sockets have something; their slots are
    /// [`Ports::ready_session`] from 0 on. Returns how many, none where ports are muxed.
    pub fn look_at_sessions(&mut self) -> usize {
        let Some(sessions) = &mut self.sessions else { return 0 };
        sessions.ready.look().unwrap_or_else(|error| {
            limited!(WARN, "the kernel does not say which sockets have something: {error}");
            0
        })
    }

    /// The slot of the `index`th socket found by [`Ports::look_at_sessions`].
    pub fn ready_session(&self, index: usize) -> Option<usize> {
        self.sessions.as_ref()?.ready.named(index).map(|slot| slot as usize)
    }

    /// Whether more sockets may have something than were found.
    pub fn more_sessions_ready(&self) -> bool {
        self.sessions.as_ref().is_some_and(|sessions| sessions.ready.may_have_more())
    }

    /// Addresses that the answers name for the port in a slot; str0m takes datagrams for these
    /// only.
    pub fn candidates(&self, slot: usize) -> Option<&[SocketAddr]> {
        self.table.get(slot)?.as_ref().map(|port| &*port.candidates)
    }

    /// Lets `write` fill a slot of the arena and queues what it wrote for `to`, to leave through
    /// the port in `port`. When the batch is full it is flushed first; when the kernel takes no
    /// more, the oldest datagrams give way and are counted as [`DropReason::SendQueueFull`].
    ///
    /// # Errors
    /// What `write` says, or [`DropReason::SendRefused`] where the port is closed.
    pub fn push(
        &mut self,
        port: usize,
        to: Destination,
        counters: &ShardCounters,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        if self.sessions.as_ref().is_some_and(|sessions| sessions.filled_for != port) {
            self.flush_sessions(counters);
        }
        let Ports { table, sessions, refused_trains, .. } = self;
        let entry = table.get_mut(port).and_then(Option::as_mut).ok_or(DropReason::SendRefused)?;
        let Port { socket, outbox, .. } = entry;
        let outbox = match (outbox, sessions) {
            (Some(own), _) => own,
            (None, Some(sessions)) => {
                sessions.filled_for = port;
                &mut sessions.outbox
            }
            (None, None) => return Err(DropReason::SendRefused),
        };
        let mut refused = |to| refused_trains.push((port, to));
        if outbox.batch.slot().is_none() && !outbox.flush(socket, counters, &mut refused) {
            let dropped = outbox.batch.drop_older_half() as u64;
            counters.dropped_many(DropReason::SendQueueFull, dropped);
            outbox.tally.dropped += dropped;
        }
        let slot = outbox.batch.slot().ok_or(DropReason::SendQueueFull)?;
        let length = write(slot)?;
        outbox.batch.commit(to, length);
        Ok(())
    }

    /// Hands everything queued to the kernel; false when a mux port's socket took not all of it.
    pub fn flush(&mut self, counters: &ShardCounters) -> bool {
        self.flush_sessions(counters);
        let mut all_sent = true;
        for index in 0..self.mux.len() {
            all_sent &= self.flush_slot(self.mux[index], counters);
        }
        all_sent
    }

    /// Publishes what left through each port since the last call, for others to read.
    pub fn publish(&mut self, train_lengths: &Histogram) {
        let Ports { table, sessions, wiring, index, .. } = self;
        let places = &wiring.meters[usize::from(*index)].ports;
        if let Some(sessions) = sessions {
            sessions.outbox.publish(places.at(0), train_lengths);
        }
        for slot in &self.mux {
            let port = table[*slot].as_mut().and_then(|port| port.outbox.as_mut());
            if let Some(outbox) = port {
                outbox.publish(places.at(*slot), train_lengths);
            }
        }
    }

    /// Resolves when a socket, or one of `others`, has something to receive.
    pub async fn readable(&self, others: &[Readiness]) {
        let mux = self.mux.iter().filter_map(|slot| self.table[*slot].as_ref()?.readiness.as_ref());
        let sessions = self.sessions.as_ref().and_then(|sessions| sessions.readiness.as_ref());
        Readiness::any_readable(mux.chain(sessions).chain(others)).await;
    }

    /// Resolves when the first socket that was full takes datagrams again; never when none was.
    pub async fn writable(&self) {
        let full = self
            .mux
            .iter()
            .filter_map(|slot| self.table[*slot].as_ref())
            .find(|port| port.outbox.as_ref().is_some_and(|outbox| !outbox.batch.is_empty()));
        match full {
            // When the wait itself fails, the deadline brings the next try.
            Some(port) if port.socket.writable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    fn insert(&mut self, slot: usize, port: BoundPort, muxed: bool) {
        let BoundPort { socket, candidates } = port;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        let outbox = muxed.then(|| Box::new(Outbox::new()));
        if muxed {
            self.mux.push(slot);
            self.counters(slot).open(PortName::Port(socket.port()));
        }
        self.table[slot] = Some(Port { socket, candidates, outbox, readiness: None });
    }

    fn flush_slot(&mut self, slot: usize, counters: &ShardCounters) -> bool {
        let Ports { table, refused_trains, .. } = self;
        let Some(port) = table.get_mut(slot).and_then(Option::as_mut) else { return true };
        let Port { socket, outbox: Some(outbox), .. } = port else { return true };
        outbox.flush(socket, counters, &mut |to| refused_trains.push((slot, to)))
    }

    /// Empties the outbox that sessions' ports share. What a socket does not take is lost, since
    /// the others must not wait for it: its client is slower than its own send buffer is long.
    fn flush_sessions(&mut self, counters: &ShardCounters) {
        let Ports { table, sessions, refused_trains, .. } = self;
        let Some(SessionPorts { outbox, filled_for, .. }) = sessions else { return };
        if outbox.batch.is_empty() {
            return;
        }
        let slot = *filled_for;
        if let Some(port) = table.get(slot).and_then(Option::as_ref) {
            outbox.flush(&port.socket, counters, &mut |to| refused_trains.push((slot, to)));
        }
        let left = outbox.batch.datagrams() as u64;
        counters.dropped_many(DropReason::SendQueueFull, left);
        outbox.tally.dropped += left;
        outbox.batch.clear();
    }
}

/// Datagrams that wait to leave through one socket.
struct Outbox {
    batch: SendBatch,
    sender: Sender,
    tally: Tally,
}

/// What left through a port since the last turn's end: plain numbers, to be published once a turn.
#[derive(Default)]
struct Tally {
    datagrams: u64,
    bytes: u64,
    would_block: u64,
    dropped: u64,
}

impl Outbox {
    fn new() -> Outbox {
        Outbox {
            batch: SendBatch::new(SEND_BATCH_MESSAGES, SEND_ARENA_BYTES),
            sender: Sender::new(SEND_BATCH_MESSAGES),
            tally: Tally::default(),
        }
    }

    /// Hands everything queued to the kernel; false when it took not all of it. `refused_train`
    /// gets the destinations whose path takes no trains.
    fn flush(
        &mut self,
        socket: &UdpSocket,
        counters: &ShardCounters,
        refused_train: &mut dyn FnMut(Destination),
    ) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let mut on_failure = |to: Destination, failure: SendFailure| match failure {
            SendFailure::Refused(errno) => {
                limited!(DEBUG, remote = %to.remote, "send refused: errno {errno}");
                counters.dropped(DropReason::SendRefused);
            }
            SendFailure::TrainRefused(errno) => {
                limited!(DEBUG, remote = %to.remote, "train refused: errno {errno}");
                refused_train(to);
            }
        };
        let report = self.sender.flush(socket, &mut self.batch, &mut on_failure);
        counters.datagrams_out.add(report.datagrams);
        counters.trains_out.add(report.messages);
        counters.bytes_out.add(report.bytes);
        counters.send_calls.add(report.syscalls);
        counters.trains_refused.add(report.trains_refused);
        counters.send_would_block.add(u64::from(report.would_block));
        self.tally.datagrams += report.datagrams;
        self.tally.bytes += report.bytes;
        self.tally.would_block += u64::from(report.would_block);
        self.tally.dropped += report.refused;
        !report.would_block
    }

    /// Publishes what happened at the port since the last call.
    fn publish(&mut self, counters: &PortCounters, train_lengths: &Histogram) {
        let Tally { datagrams, bytes, would_block, dropped } = std::mem::take(&mut self.tally);
        if datagrams + would_block + dropped == 0 {
            return;
        }
        counters.datagrams_out.add(datagrams);
        counters.bytes_out.add(bytes);
        counters.would_block.add(would_block);
        counters.send_drops.add(dropped);
        self.batch.take_train_lengths(|length, count| {
            train_lengths.record_many(length as u64, u64::from(count));
        });
    }
}
