//! A shard at the kernel: what its sockets have received, whom it wakes, and mux ports that come
//! and go while it runs.
//!
//! What a simulation does without: it gives datagrams to the shard itself.

use std::io;
use std::time::Instant;

use super::BoundPort;
use super::arrival::KernelClock;
use super::core::Core;
use super::port_changes::PortChange;
use super::takeover::TakeoverStep;
use super::turn::Next;
use crate::drop::DropReason;
use crate::id::Via;
use crate::limits::{LOOK_AHEAD_DATAGRAMS, LOOK_AHEAD_SESSIONS, RECEIVE_BATCHES_PER_TURN};
use crate::net::{
    Backend, Datagram, Readiness, Receiver, Sockets, Stray, StrayReader, UdpSocket, WakeRing,
};
use crate::paths::Inbound;
use crate::telemetry::limited;

/// A shard with what ties it to the kernel.
pub(super) struct Reactor {
    pub core: Core,
    pub receiver: Receiver,
    /// Wakes other shards, and is how they wake this one, with io_uring.
    pub wake_ring: Option<WakeRing>,
    /// This moment, on the clock that arrivals are stamped by and on the loop's.
    pub clock: fn() -> KernelClock,
    /// Whether the last turn found datagrams or mail: more are on their way.
    pub found: bool,
    /// What the process that has taken over hands over.
    pub later: Option<Later>,
}

/// The process that has taken over, as a shard has it.
pub(super) struct Later {
    strays: StrayReader,
    pub readiness: Readiness,
}

impl Reactor {
    /// Says what is set aside to receive into.
    pub fn show_slots(&self) {
        let memory = &self.core.post.meters().memory;
        memory.receive_slots.set(self.receiver.bytes() as u64);
    }

    /// One turn.
    pub fn turn(&mut self, now: Instant) -> Next {
        self.found = self.core.post.mailbox().depth() > 0;
        let clock = self.clock;
        self.core.begin_strays(|| clock().unix_ns());
        let more = self.receive(now) | self.receive_strays(now);
        self.core.flush_strays();
        let next = self.core.turn(now, more);
        self.core.post.wake_readers(self.wake_ring.as_mut());
        let changed = self.change_ports() | self.take_over(now);
        // What a closed port's sessions said last may wait at other ports.
        if changed && next != Next::Stop { Next::Now } else { next }
    }

    /// Takes in what the kernel has; true when there may be more.
    fn receive(&mut self, now: Instant) -> bool {
        let mut more = false;
        let read = if self.sockets().are_resting() { 0 } else { self.sockets().mux().len() };
        for index in 0..read {
            let port = self.sockets().mux()[index];
            for round in 1..=RECEIVE_BATCHES_PER_TURN {
                if self.receive_batch(now, port) == 0 {
                    break;
                }
                more |= round == RECEIVE_BATCHES_PER_TURN;
            }
        }
        for index in 0..self.look_at_sessions() {
            let Some(port) = self.sockets().ready_session(index) else { break };
            // What is left is named again by the next look.
            more |= self.receive_batch(now, port) >= self.receiver.batch();
        }
        more |= self.sockets().more_sessions_ready();
        let (core, drops) = (&self.core, self.receiver.overflow_drops());
        core.post.counters().kernel_receive_drops.set(drops);
        if core.paths.ports.are_of_sessions() {
            core.port_counters(0).receive_drops.set(drops);
        }
        more
    }

    /// One batch of the socket in slot `port`; returns how many datagrams that were.
    fn receive_batch(&mut self, now: Instant, port: u32) -> usize {
        let Reactor { core, receiver, clock, found, .. } = self;
        let Some(socket) = core.paths.ways.transmitter.sockets().get(port) else { return 0 };
        let count = match receiver.receive(socket) {
            Ok(0) => return 0,
            Ok(count) => count,
            Err(error) => {
                // ICMP errors of earlier sends surface here; the next call goes on.
                limited!(DEBUG, "receive: {error}");
                return 0;
            }
        };
        *found = true;
        let clock = clock();
        if count >= LOOK_AHEAD_DATAGRAMS && core.sessions.len() >= LOOK_AHEAD_SESSIONS {
            core.look_ahead(port, receiver.senders());
        }
        let mut bytes_in = 0;
        let mut datagrams = receiver.datagrams();
        let handle_them = |core: &mut Core| {
            for datagram in datagrams.by_ref() {
                bytes_in += datagram.bytes.len() as u64;
                let Datagram { local, remote, bytes, arrived_ns } = datagram;
                let arrived = clock.instant(arrived_ns);
                let (via, handed_over) = (Via::Udp(port), false);
                let inbound = Inbound { via, local, remote, bytes, arrived, handed_over };
                core.on_datagram(now, inbound);
            }
        };
        let mut handle_them = handle_them;
        // After a panic the next datagram goes on.
        while core.contain(&mut handle_them).is_none() {}
        core.post.meters().histograms.receive_batch.record(count as u64);
        core.post.counters().receive_batches.add(1);
        core.count_received(port, count as u64, bytes_in);
        // Of the sockets of sessions, the receiver has the sum.
        let socket = core.paths.ways.transmitter.sockets().get(port);
        if let (false, Some(socket)) = (core.paths.ports.are_of_sessions(), socket) {
            core.port_counters(port).receive_drops.set(socket.receive_drops());
        }
        count
    }

    /// Takes in what the process that has taken over hands over; true when there may be more.
    fn receive_strays(&mut self, now: Instant) -> bool {
        for _ in 0..RECEIVE_BATCHES_PER_TURN {
            let Reactor { core, later, clock, found, .. } = self;
            let Some(Later { strays, .. }) = later else { return false };
            match strays.receive() {
                Some(true) => {}
                Some(false) => return false,
                None => {
                    *later = None;
                    return false;
                }
            }
            *found = true;
            let clock = clock();
            let mut strays = strays.strays();
            let handle_them = |core: &mut Core| {
                for Stray { time, port, local, remote, bytes } in strays.by_ref() {
                    let Some(port) = core.paths.ports.slot_of(port) else {
                        core.post.counters().datagrams_in.add(1);
                        core.post.dropped(DropReason::PortClosed);
                        continue;
                    };
                    core.count_received(port, 1, bytes.len() as u64);
                    let (via, arrived, handed_over) = (Via::Udp(port), clock.instant(time), false);
                    let mut copy = std::mem::take(&mut core.scratch.stray);
                    copy.clear();
                    copy.extend_from_slice(bytes);
                    let bytes = &mut copy[..];
                    let inbound = Inbound { via, local, remote, bytes, arrived, handed_over };
                    core.on_datagram(now, inbound);
                    core.scratch.stray = copy;
                }
            };
            let mut handle_them = handle_them;
            while core.contain(&mut handle_them).is_none() {}
        }
        true
    }

    /// How many sockets of sessions the kernel names.
    fn look_at_sessions(&mut self) -> usize {
        let sockets = self.core.paths.ways.transmitter.sockets_mut();
        sockets.look_at_sessions().unwrap_or_else(|error| {
            limited!(WARN, "the kernel does not say which sockets have something: {error}");
            0
        })
    }

    fn sockets(&self) -> &Sockets {
        self.core.paths.ways.transmitter.sockets()
    }

    /// Opens and closes the mux ports that commands have asked for; false when there were none.
    fn change_ports(&mut self) -> bool {
        let changes = std::mem::take(&mut self.core.port_changes);
        let changed = !changes.is_empty();
        // In the order of the commands.
        for change in changes {
            match change {
                PortChange::Open { slot, port, done } => {
                    let opened = self.open_port(slot as u32, port);
                    // Whoever asked may have given up waiting, and takes it back by a command.
                    let _ = done.send(opened.map_err(|error| error.to_string()));
                }
                PortChange::Close { slot, done } => {
                    let slot = slot as u32;
                    if self.core.vacate_port(slot) {
                        self.core.paths.ways.transmitter.close(slot, &mut self.receiver);
                    }
                    let _ = done.send(());
                }
            }
        }
        if changed {
            self.show_slots();
        }
        changed
    }

    /// Does what a takeover by another process wants; false when it wants nothing.
    fn take_over(&mut self, now: Instant) -> bool {
        let steps = std::mem::take(&mut self.core.takeover_steps);
        let changed = !steps.is_empty();
        for step in steps {
            match step {
                TakeoverStep::Lend { done } => {
                    let _ = done.send(self.core.lend_sockets());
                }
                TakeoverStep::Hear { strays, done } => {
                    let readiness = strays.readiness();
                    let _ = done.send(readiness.map(|readiness| {
                        self.later = Some(Later { strays, readiness });
                    }));
                }
                TakeoverStep::Rest { done } => {
                    self.each_mux(Receiver::pause);
                    // With io_uring some of it is in memory already.
                    while self.receiver.backend() == Backend::Uring && self.receive(now) {}
                    self.core.paths.ways.transmitter.sockets_mut().rest(true);
                    let _ = done.send(());
                }
                TakeoverStep::Resume => {
                    self.core.paths.ways.transmitter.sockets_mut().rest(false);
                    self.each_mux(Receiver::resume);
                }
                TakeoverStep::Alone => self.core.set_earlier(None),
            }
        }
        changed
    }

    fn each_mux(&mut self, change: impl Fn(&mut Receiver, &UdpSocket)) {
        let sockets = self.core.paths.ways.transmitter.sockets();
        let mux = sockets.mux().iter().filter_map(|slot| sockets.get(*slot));
        mux.for_each(|socket| change(&mut self.receiver, socket));
    }

    fn open_port(&mut self, slot: u32, port: BoundPort) -> io::Result<()> {
        let BoundPort { socket, .. } = port;
        let number = socket.port();
        self.core.paths.ways.transmitter.open(slot, socket, &mut self.receiver)?;
        self.core.serve_port(slot, number);
        Ok(())
    }
}
