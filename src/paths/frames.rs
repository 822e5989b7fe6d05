//! Datagrams that come and go framed in TCP connections (RFC 4571, RFC 6544).
//!
//! A frame takes the way of a UDP datagram; what differs is the path it came by. A connection is
//! closed when no check proves it in time, when its peer reads nothing for
//! [`crate::limits::TCP_STALL`], when a frame is overlong, and with its session. A session that
//! loses its connection falls back to another of its paths, or waits for its peer's next check.

use std::time::Instant;

use super::connections::NewConnection;
use super::{Inbound, Moved, Paths};
use crate::id::{ConnectionId, Via};
use crate::limits::{MAX_TCP_FRAME_IN, MAX_TCP_FRAMES_UNPROVED, TCP_INTRODUCTION};
use crate::net::Moved as Bytes;
use crate::telemetry::ShardCounters;
use crate::wire::framing::{self, Front};

/// What was read of a connection, on its way to be taken apart into frames.
#[derive(Debug)]
pub struct Reading {
    id: ConnectionId,
    /// Where the next frame begins.
    at: usize,
    end: usize,
    /// The connection is over when its frames are.
    over: bool,
}

impl Paths {
    /// Takes over a connection from a control thread; what it has said so far is read like the
    /// rest.
    pub fn connect(&mut self, now: Instant, connection: NewConnection, counters: &ShardCounters) {
        if self.ways.tcp.add(now, connection).is_none() {
            counters.tcp_connections_refused.add(1);
        }
        self.ways.tcp.count(counters);
    }

    /// Reads the next connection that has something into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<Reading> {
        let id = self.ways.tcp.next_to_read()?;
        let connection = self.ways.tcp.get(id)?;
        // The frame that has begun first; its rest follows it without a gap.
        let held = connection.inbox.len();
        buffer[..held].copy_from_slice(&connection.inbox);
        connection.inbox.clear();
        let room = buffer.len() - held;
        let mut reading = Reading { id, at: 0, end: held, over: false };
        match connection.wire.read(&mut buffer[held..]) {
            Bytes::Bytes(count) => {
                reading.end += count;
                // Less than there was room for is all there was, but for the end.
                if count == room || connection.ended {
                    self.ways.tcp.read_later(id);
                }
            }
            Bytes::Blocked => {}
            Bytes::Ended => reading.over = true,
        }
        Some(reading)
    }

    /// The next whole frame of what was read into `buffer`. What is no whole frame yet is kept for
    /// the next reading.
    pub fn next_frame<'a>(
        &mut self,
        now: Instant,
        reading: &mut Reading,
        buffer: &'a mut [u8],
        counters: &ShardCounters,
    ) -> Option<Inbound<'a>> {
        // A frame may have ended the session, and the connection with it.
        let connection = self.ways.tcp.get(reading.id)?;
        let stream = &buffer[reading.at..reading.end];
        match framing::front(stream, MAX_TCP_FRAME_IN) {
            Front::Whole(bytes, rest) => {
                let end = reading.end - rest.len();
                let (from, length) = (end - bytes.len(), bytes.len());
                reading.at = end;
                if connection.session.is_none() {
                    connection.unproved_frames += 1;
                    if connection.unproved_frames > MAX_TCP_FRAMES_UNPROVED {
                        counters.tcp_connections_unproved.add(1);
                        reading.over = true;
                        return None;
                    }
                }
                counters.tcp_frames_in.add(1);
                counters.tcp_bytes_in.add(length as u64);
                let (local, remote) = (connection.local, connection.remote);
                let (via, bytes) = (Via::Tcp(reading.id), &mut buffer[from..end]);
                Some(Inbound { via, local, remote, bytes, arrived: now, handed_over: false })
            }
            Front::Part => {
                connection.inbox.extend_from_slice(stream);
                None
            }
            Front::TooLong(length) => {
                tracing::debug!("{} sent a frame of {length} bytes", connection.remote);
                counters.tcp_connections_malformed.add(1);
                reading.over = true;
                None
            }
        }
    }

    /// All frames of a reading were taken. Returns who moved, if the connection is over.
    pub fn end_reading(&mut self, reading: &Reading, counters: &ShardCounters) -> Option<Moved> {
        if reading.over { self.lose_connection(reading.id, counters) } else { None }
    }

    /// Hands the kernel what waits for connections, and closes those that have had their time.
    /// Returns who moved.
    pub fn flush_connections(&mut self, now: Instant, counters: &ShardCounters) -> Vec<Moved> {
        let mut moved = Vec::new();
        while let Some(id) = self.ways.tcp.next_to_write() {
            if self.ways.tcp.write(id, counters) {
                moved.extend(self.lose_connection(id, counters));
            }
        }
        if self.ways.tcp.sweep_is_due(now) {
            self.sweep(now, counters, &mut moved);
        }
        moved
    }

    fn sweep(&mut self, now: Instant, counters: &ShardCounters, moved: &mut Vec<Moved>) {
        let ids: Vec<ConnectionId> = self.ways.tcp.ids().collect();
        for id in ids {
            let Some(connection) = self.ways.tcp.get(id) else { continue };
            let unproved = connection.session.is_none();
            if connection.is_stalled(now) {
                tracing::debug!("{} reads nothing: its connection is closed", connection.remote);
                counters.tcp_connections_stalled.add(1);
                moved.extend(self.lose_connection(id, counters));
            } else if unproved && now >= connection.since + TCP_INTRODUCTION {
                counters.tcp_connections_unproved.add(1);
                moved.extend(self.lose_connection(id, counters));
            }
        }
    }

    /// Closes a connection of a session that has ended, after what it said last.
    pub(super) fn finish(&mut self, id: ConnectionId, counters: &ShardCounters) {
        self.ways.tcp.finish(id, counters);
    }
}
