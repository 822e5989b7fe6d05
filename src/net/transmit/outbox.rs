//! The kernel's transmitter: batches over arenas, `sendmmsg(2)`, and who gives way when it is full.

use crate::drop::DropReason;
use crate::limits::{SEND_ARENA_BYTES, SEND_BATCH_MESSAGES};
use crate::net::sockets::Sockets;
use crate::net::{Destination, SendBatch, SendFailure, Sender, UdpSocket};
use crate::telemetry::{Histogram, PortCounters, PortTable, ShardCounters, limited};

/// What waits to leave, by port.
#[derive(Default)]
pub(super) struct Outboxes {
    /// Of mux ports, by slot.
    own: Vec<Option<Box<Outbox>>>,
    /// What the ports of sessions share.
    shared: Option<Box<Shared>>,
    /// Of ports that are closed, what was not published yet.
    closed: Tally,
}

struct Shared {
    outbox: Outbox,
    /// The slot of the socket that what is in the outbox leaves through.
    filled_for: u32,
}

/// Datagrams that wait to leave through one socket.
struct Outbox {
    batch: SendBatch,
    sender: Sender,
    tally: Tally,
}

/// What left since the last turn's end: plain numbers, to be published once a turn.
#[derive(Default)]
pub(super) struct Tally {
    pub datagrams: u64,
    pub messages: u64,
    pub bytes: u64,
    calls: u64,
    would_block: u64,
    trains_refused: u64,
    /// Datagrams that the kernel refused.
    refused: u64,
    /// Datagrams that gave way to newer ones.
    overflown: u64,
}

impl Outboxes {
    /// One outbox for the ports of all sessions.
    pub fn shared() -> Outboxes {
        let shared = Shared { outbox: Outbox::new(), filled_for: 0 };
        Outboxes { shared: Some(Box::new(shared)), ..Outboxes::default() }
    }

    /// Bytes of their arenas.
    pub fn bytes(&self) -> usize {
        let outboxes = self.own.iter().flatten().count() + usize::from(self.shared.is_some());
        outboxes * SEND_ARENA_BYTES
    }

    /// Makes an outbox for the mux port in `slot`.
    pub fn add(&mut self, slot: u32) {
        let slot = slot as usize;
        if self.own.len() <= slot {
            self.own.resize_with(slot + 1, || None);
        }
        self.own[slot] = Some(Box::new(Outbox::new()));
    }

    /// Sends what waits to leave through the mux port in `slot`, which is about to be closed.
    pub fn close(&mut self, slot: u32, socket: Option<&UdpSocket>, refused: &mut Vec<Destination>) {
        let outbox = self.own.get_mut(slot as usize).and_then(Option::take);
        let Some(mut outbox) = outbox else { return };
        if let Some(socket) = socket {
            outbox.flush(socket, refused);
        }
        outbox.give_up();
        self.closed.add(&outbox.tally);
    }

    /// Sends what waits to leave through the port of the session in `slot`.
    pub fn leave(&mut self, slot: u32, sockets: &Sockets, refused: &mut Vec<Destination>) {
        if let Some(shared) = self.shared.as_mut().filter(|shared| shared.filled_for == slot) {
            shared.flush(sockets, refused);
        }
    }

    /// The batch of the port in slot `port`, with room in it unless the kernel takes nothing.
    #[inline]
    pub fn batch(
        &mut self,
        port: u32,
        sockets: &Sockets,
        refused: &mut Vec<Destination>,
    ) -> Result<&mut SendBatch, DropReason> {
        let socket = sockets.get(port).ok_or(DropReason::SendRefused)?;
        let outbox = match (&mut self.shared, self.own.get_mut(port as usize)) {
            (Some(shared), _) => {
                if shared.filled_for != port {
                    shared.flush(sockets, refused);
                    shared.filled_for = port;
                }
                &mut shared.outbox
            }
            (None, Some(Some(own))) => own,
            (None, _) => return Err(DropReason::SendRefused),
        };
        if outbox.batch.slot().is_none() && !outbox.flush(socket, refused) {
            outbox.tally.overflown += outbox.batch.drop_older_half() as u64;
        }
        Ok(&mut outbox.batch)
    }

    /// Hands everything queued to the kernel; false when a mux port's socket took not all of it.
    pub fn flush(&mut self, sockets: &Sockets, refused: &mut Vec<Destination>) -> bool {
        if let Some(shared) = &mut self.shared {
            shared.flush(sockets, refused);
        }
        let mut all_sent = true;
        for slot in sockets.mux() {
            let outbox = self.own.get_mut(*slot as usize).and_then(Option::as_deref_mut);
            if let (Some(outbox), Some(socket)) = (outbox, sockets.get(*slot)) {
                all_sent &= outbox.flush(socket, refused);
            }
        }
        all_sent
    }

    /// The first of the mux ports in `slots` that has something left to send.
    pub fn first_full(&self, slots: &[u32]) -> Option<u32> {
        let waits = |slot: &u32| {
            let outbox = self.own.get(*slot as usize).and_then(Option::as_deref);
            outbox.is_some_and(|outbox| !outbox.batch.is_empty())
        };
        slots.iter().copied().find(waits)
    }

    /// Publishes what happened since the last call.
    pub fn publish(
        &mut self,
        slots: &[u32],
        shard: &ShardCounters,
        ports: &PortTable,
        trains: &Histogram,
    ) {
        self.closed.publish(shard, None);
        if let Some(Shared { outbox, .. }) = self.shared.as_deref_mut() {
            outbox.publish(shard, ports.at(0), trains);
        }
        for slot in slots {
            let slot = *slot as usize;
            if let Some(outbox) = self.own.get_mut(slot).and_then(Option::as_deref_mut) {
                outbox.publish(shard, ports.at(slot), trains);
            }
        }
    }
}

impl Shared {
    /// Empties the outbox. What a socket does not take is lost, since the others must not wait for
    /// it: its client is slower than its own send buffer is long.
    fn flush(&mut self, sockets: &Sockets, refused: &mut Vec<Destination>) {
        let Shared { outbox, filled_for } = self;
        if outbox.batch.is_empty() {
            return;
        }
        if let Some(socket) = sockets.get(*filled_for) {
            outbox.flush(socket, refused);
        }
        outbox.give_up();
    }
}

impl Outbox {
    fn new() -> Outbox {
        Outbox {
            batch: SendBatch::new(SEND_BATCH_MESSAGES, SEND_ARENA_BYTES),
            sender: Sender::new(SEND_BATCH_MESSAGES),
            tally: Tally::default(),
        }
    }

    /// Hands everything queued to the kernel; false when it took not all of it. The destinations
    /// whose path takes no trains are added to `refused_trains`.
    fn flush(&mut self, socket: &UdpSocket, refused_trains: &mut Vec<Destination>) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let mut on_failure = |to: Destination, failure: SendFailure| match failure {
            SendFailure::Refused(errno) => {
                limited!(DEBUG, remote = %to.remote, "send refused: errno {errno}");
            }
            SendFailure::TrainRefused(errno) => {
                limited!(DEBUG, remote = %to.remote, "train refused: errno {errno}");
                refused_trains.push(to);
            }
        };
        let report = self.sender.flush(socket, &mut self.batch, &mut on_failure);
        self.tally.datagrams += report.datagrams;
        self.tally.messages += report.messages;
        self.tally.bytes += report.bytes;
        self.tally.calls += report.syscalls;
        self.tally.would_block += u64::from(report.would_block);
        self.tally.trains_refused += report.trains_refused;
        self.tally.refused += report.refused;
        !report.would_block
    }

    /// Drops what is queued.
    fn give_up(&mut self) {
        self.tally.overflown += self.batch.datagrams() as u64;
        self.batch.clear();
    }

    fn publish(&mut self, shard: &ShardCounters, port: &PortCounters, trains: &Histogram) {
        self.tally.publish(shard, Some(port));
        self.batch.take_train_lengths(|length, count| {
            trains.record_many(length as u64, u64::from(count));
        });
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.datagrams += other.datagrams;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.calls += other.calls;
        self.would_block += other.would_block;
        self.trains_refused += other.trains_refused;
        self.refused += other.refused;
        self.overflown += other.overflown;
    }

    /// Publishes the numbers and begins at zero.
    pub fn publish(&mut self, shard: &ShardCounters, port: Option<&PortCounters>) {
        let tally = std::mem::take(self);
        let dropped = tally.refused + tally.overflown;
        if tally.calls + tally.datagrams + dropped == 0 {
            return;
        }
        shard.datagrams_out.add(tally.datagrams);
        shard.trains_out.add(tally.messages);
        shard.bytes_out.add(tally.bytes);
        shard.send_calls.add(tally.calls);
        shard.trains_refused.add(tally.trains_refused);
        shard.send_would_block.add(tally.would_block);
        shard.dropped_many(DropReason::SendRefused, tally.refused);
        shard.dropped_many(DropReason::SendQueueFull, tally.overflown);
        if let Some(port) = port {
            port.datagrams_out.add(tally.datagrams);
            port.bytes_out.add(tally.bytes);
            port.would_block.add(tally.would_block);
            port.send_drops.add(dropped);
        }
    }
}
