//! A shard's sockets, one per mux port, each with the datagrams that wait to leave through it; and
//! beside them its TCP connections.

use super::connections::Connections;
use super::sessions::Via;
use crate::drop::DropReason;
use crate::limits::{SEND_ARENA_BYTES, SEND_BATCH_MESSAGES};
use crate::net::{Destination, SendBatch, SendFailure, Sender, UdpSocket};
use crate::telemetry::{Histogram, PortCounters, ShardCounters, limited};

/// Every way out of a shard.
pub(super) struct Ways<'a> {
    pub ports: &'a mut [Port],
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
            Via::Udp(port) => self.ports[port].push(to, counters, write),
            Via::Tcp(connection) => self.tcp.push(connection, write),
        }
    }
}

/// One mux port of one shard.
pub(super) struct Port {
    pub socket: UdpSocket,
    batch: SendBatch,
    sender: Sender,
    /// Destinations for which the kernel refused a train since the last look.
    pub refused_trains: Vec<Destination>,
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

impl Port {
    pub fn new(socket: UdpSocket) -> Port {
        Port {
            socket,
            batch: SendBatch::new(SEND_BATCH_MESSAGES, SEND_ARENA_BYTES),
            sender: Sender::new(SEND_BATCH_MESSAGES),
            refused_trains: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Lets `write` fill a slot and queues what it wrote for `to`. When the batch is full it is
    /// flushed first; when the kernel takes no more, the oldest datagrams give way and are counted
    /// as [`DropReason::SendQueueFull`].
    ///
    /// # Errors
    /// What `write` says.
    pub fn push(
        &mut self,
        to: Destination,
        counters: &ShardCounters,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        if self.batch.slot().is_none() && !self.flush(counters) {
            let dropped = self.batch.drop_older_half();
            counters.dropped_many(DropReason::SendQueueFull, dropped as u64);
            self.tally.dropped += dropped as u64;
        }
        let slot = self.batch.slot().ok_or(DropReason::SendQueueFull)?;
        let length = write(slot)?;
        self.batch.commit(to, length);
        Ok(())
    }

    /// Whether nothing waits to leave.
    pub fn is_flushed(&self) -> bool {
        self.batch.is_empty()
    }

    /// Hands everything queued to the kernel; false when it took not all of it.
    pub fn flush(&mut self, counters: &ShardCounters) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let Port { socket, batch, sender, refused_trains, tally } = self;
        let mut on_failure = |to: Destination, failure: SendFailure| match failure {
            SendFailure::Refused(errno) => {
                limited!(DEBUG, remote = %to.remote, "send refused: errno {errno}");
                counters.dropped(DropReason::SendRefused);
            }
            SendFailure::TrainRefused(errno) => {
                limited!(DEBUG, remote = %to.remote, "train refused: errno {errno}");
                refused_trains.push(to);
            }
        };
        let report = sender.flush(socket, batch, &mut on_failure);
        counters.datagrams_out.add(report.datagrams);
        counters.trains_out.add(report.messages);
        counters.bytes_out.add(report.bytes);
        counters.send_calls.add(report.syscalls);
        counters.trains_refused.add(report.trains_refused);
        counters.send_would_block.add(u64::from(report.would_block));
        tally.datagrams += report.datagrams;
        tally.bytes += report.bytes;
        tally.would_block += u64::from(report.would_block);
        tally.dropped += report.refused;
        !report.would_block
    }

    /// Publishes what happened at the port since the last call.
    pub fn publish(&mut self, counters: &PortCounters, train_lengths: &Histogram) {
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
