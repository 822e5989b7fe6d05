//! Datagrams that come and go framed in TCP connections (RFC 4571, RFC 6544): the shard's side.
//!
//! A frame takes the way of a UDP datagram; what differs is the path it came by. A connection is
//! closed when no check proves it in time, when its peer reads nothing for
//! [`crate::limits::TCP_STALL`], when a frame is overlong, and with its session. A session that
//! loses its connection falls back to another of its paths, or waits for its peer's next check.

use std::time::Instant;

use super::command::NewConnection;
use super::connections::Written;
use super::core::Core;
use super::inbound::Inbound;
use super::sessions::Address;
use crate::drop::DropReason;
use crate::id::{ConnectionId, Via};
use crate::limits::{
    MAX_TCP_CONNECTIONS_PER_SESSION, MAX_TCP_FRAME_IN, MAX_TCP_FRAMES_UNPROVED, TCP_INTRODUCTION,
    TCP_READS_PER_TURN,
};
use crate::net::Moved;
use crate::telemetry::ShardCounters;
use crate::wire::framing::{self, Front};

impl Core {
    /// Takes over a connection from a control thread; what it has said so far is heard next turn.
    pub fn connect(&mut self, now: Instant, connection: NewConnection) {
        if self.ways.tcp.add(now, connection).is_none() {
            self.counters().tcp_connections_refused.add(1);
        }
        self.count_connections();
    }

    /// Takes in what connections have, a bounded number of reads; true when there may be more.
    pub fn receive_tcp(&mut self, now: Instant) -> bool {
        let more = self.ways.tcp.look();
        let mut scratch = std::mem::take(&mut self.ways.tcp.scratch);
        for _ in 0..TCP_READS_PER_TURN {
            let Some(id) = self.ways.tcp.next_to_read() else { break };
            self.read(now, id, &mut scratch);
        }
        self.ways.tcp.scratch = scratch;
        more || self.ways.tcp.has_more()
    }

    /// Hands the kernel what waits for connections, and closes those that have had their time.
    pub fn flush_tcp(&mut self, now: Instant) {
        while let Some(id) = self.ways.tcp.next_to_write() {
            self.write(now, id);
        }
        if self.ways.tcp.sweep_is_due(now) {
            self.sweep(now);
        }
    }

    /// When connections want to be looked over, if there are any.
    pub fn next_tcp_sweep(&self) -> Option<Instant> {
        (self.ways.tcp.len() > 0).then_some(self.ways.tcp.next_sweep)
    }

    /// The session in `slot` has proved that the connection is its own.
    pub fn prove_connection(&mut self, now: Instant, slot: u32, id: ConnectionId) {
        let Some(connection) = self.ways.tcp.get(id) else { return };
        let previous = connection.session.replace(slot);
        if previous == Some(slot) {
            return;
        }
        if let Some(previous) = previous {
            self.part_with_connection(now, previous, id);
        }
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.connections.push(id);
        if entry.connections.len() > MAX_TCP_CONNECTIONS_PER_SESSION {
            let oldest = entry.connections[0];
            self.lose_connection(now, oldest);
        }
    }

    /// Closes the connections of a session that has ended, after what it said last.
    pub fn finish_connections(&mut self, ids: Vec<ConnectionId>) {
        for id in ids {
            let Some(mut connection) = self.ways.tcp.remove(id) else { continue };
            let written = connection.write();
            count(self.counters(), &written);
            self.count_lost(connection.outbox.frames());
            connection.wire.finish();
        }
        self.count_connections();
    }

    fn read(&mut self, now: Instant, id: ConnectionId, scratch: &mut [u8]) {
        let Some(connection) = self.ways.tcp.get(id) else { return };
        // The frame that has begun first; its rest follows it without a gap.
        let held = connection.inbox.len();
        scratch[..held].copy_from_slice(&connection.inbox);
        connection.inbox.clear();
        let room = scratch.len() - held;
        let mut filled = held;
        let mut over = false;
        match connection.wire.read(&mut scratch[held..]) {
            Moved::Bytes(count) => {
                filled += count;
                // Less than there was room for is all there was, but for the end.
                if count == room || connection.ended {
                    self.ways.tcp.read_later(id);
                }
            }
            Moved::Blocked => {}
            Moved::Ended => over = true,
        }
        self.take_frames(now, id, &scratch[..filled]);
        if over {
            self.lose_connection(now, id);
        }
    }

    /// Handles every whole frame and keeps the rest for later.
    fn take_frames(&mut self, now: Instant, id: ConnectionId, mut stream: &[u8]) {
        loop {
            // A frame may have ended the session, and the connection with it.
            let Some(connection) = self.ways.tcp.get(id) else { return };
            match framing::front(stream, MAX_TCP_FRAME_IN) {
                Front::Whole(bytes, rest) => {
                    stream = rest;
                    if connection.session.is_none() {
                        connection.unproved_frames += 1;
                        if connection.unproved_frames > MAX_TCP_FRAMES_UNPROVED {
                            self.counters().tcp_connections_unproved.add(1);
                            return self.lose_connection(now, id);
                        }
                    }
                    let (local, remote) = (connection.local, connection.remote);
                    let counters = self.counters();
                    counters.tcp_frames_in.add(1);
                    counters.tcp_bytes_in.add(bytes.len() as u64);
                    let (via, arrived, handed_over) = (Via::Tcp(id), now, false);
                    let inbound = Inbound { via, local, remote, bytes, arrived, handed_over };
                    self.on_datagram(now, inbound);
                }
                Front::Part => return connection.inbox.extend_from_slice(stream),
                Front::TooLong(length) => {
                    tracing::debug!("{} sent a frame of {length} bytes", connection.remote);
                    self.counters().tcp_connections_malformed.add(1);
                    return self.lose_connection(now, id);
                }
            }
        }
    }

    fn write(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.ways.tcp.get(id) else { return };
        let written = connection.write();
        count(self.counters(), &written);
        if written.ended {
            self.lose_connection(now, id);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let ids: Vec<ConnectionId> = self.ways.tcp.ids().collect();
        for id in ids {
            let Some(connection) = self.ways.tcp.get(id) else { continue };
            let unproved = connection.session.is_none();
            if connection.is_stalled(now) {
                tracing::debug!("{} reads nothing: its connection is closed", connection.remote);
                self.counters().tcp_connections_stalled.add(1);
                self.lose_connection(now, id);
            } else if unproved && now >= connection.since + TCP_INTRODUCTION {
                self.counters().tcp_connections_unproved.add(1);
                self.lose_connection(now, id);
            }
        }
    }

    /// The connection is over, or is to be: its session goes on without it.
    fn lose_connection(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.ways.tcp.remove(id) else { return };
        self.count_lost(connection.outbox.frames());
        self.count_connections();
        if let Some(slot) = connection.session {
            self.part_with_connection(now, slot, id);
        }
    }

    /// The connection is no longer one of the session in `slot`.
    fn part_with_connection(&mut self, now: Instant, slot: u32, id: ConnectionId) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.connections.retain(|other| *other != id);
        let here = |address: Address| address.via == Via::Tcp(id);
        if entry.address.is_some_and(here) {
            self.fall_back(now, slot);
        }
    }

    fn count_lost(&self, frames: usize) {
        self.counters().dropped_many(DropReason::ConnectionLost, frames as u64);
    }

    fn count_connections(&self) {
        self.counters().tcp_connections.set(self.ways.tcp.len() as u64);
    }
}

fn count(counters: &ShardCounters, written: &Written) {
    counters.tcp_write_calls.add(written.calls);
    counters.tcp_bytes_out.add(written.bytes);
    counters.tcp_frames_out.add(written.frames);
}
