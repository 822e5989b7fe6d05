//! One thread of peers: sockets, timers, and the loop around them.

use crate::args::Arrivals;
use crate::clock::{self, KernelClock};
use crate::hardship::Hardships;
use crate::lens::Lens;
use crate::outbox::{Outbox, loopback_slot};
use crate::peer::{Input, Peer, Plan};
use crate::rebind::Moved;
use crate::report::Harvest;
use crate::sums::Sums;
use crate::tally::{Phase, PhaseCell, Tally, bump};
use crate::timers::Timers;
use crate::transport::Identity;
use crate::waiter::Waiter;
use crossbeam::channel;
use hdrhistogram::Histogram;
use monoport::net::{Backend, Destination, Receiver};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Messages per receive call; each may be a train.
const RECEIVE_BATCH: usize = 64;
/// How often a worker adds up what its viewers got: 10,000 of them take 2 ms.
const SUM_INTERVAL: Duration = Duration::from_millis(500);
/// Receive calls on one socket before timers are looked at again: a publisher must not starve.
const RECEIVES_PER_TURN: usize = 8;

/// What a worker is given.
pub struct Setup {
    pub identity: Arc<Identity>,
    pub phase: Arc<PhaseCell>,
    pub tally: Arc<Tally>,
    pub inbox: channel::Receiver<Box<Plan>>,
    pub open_one_in: u32,
    pub nack: bool,
    pub arrivals: Arrivals,
    /// The part of arriving media that is lost on purpose.
    pub drop: f64,
}

struct Worker {
    setup: Setup,
    outbox: Outbox,
    receiver: Receiver,
    waiter: Waiter,
    peers: Vec<Peer>,
    /// Which peer a socket belongs to; the first one is shared.
    owner: Vec<Option<usize>>,
    timers: Timers,
    kernel_clock: KernelClock,
    /// Sockets that may hold datagrams.
    ready: Vec<usize>,
    /// Peers that will change their address, and when after the measurement began.
    rebinds: Vec<(Duration, usize)>,
    measuring_since: Option<Instant>,
    lens: Lens,
}

/// Runs a worker until the phase is [`Phase::Stop`].
///
/// # Errors
/// When sockets or the poller cannot be made, or receiving fails.
pub fn run(setup: Setup) -> io::Result<Harvest> {
    let outbox = Outbox::new()?;
    let waiter = Waiter::new(setup.arrivals)?;
    let Setup { open_one_in, nack, drop, .. } = setup;
    let lens = Lens::new(setup.tally.clone(), open_one_in, nack, drop);
    let receiver = Receiver::new(Backend::Mmsg, RECEIVE_BATCH, &[])?;
    let (peers, timers, ready) = (Vec::new(), Timers::default(), Vec::new());
    let owner = vec![None];
    let (rebinds, measuring_since) = (Vec::new(), None);
    let mut worker = Worker {
        setup,
        outbox,
        receiver,
        waiter,
        peers,
        owner,
        timers,
        kernel_clock: KernelClock::default(),
        ready,
        rebinds,
        measuring_since,
        lens,
    };
    worker.register(0)?;
    worker.turns()?;
    Ok(worker.harvest())
}

/// Microseconds up to a minute, to three digits.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds and digits are in range")
}

impl Worker {
    fn turns(&mut self) -> io::Result<()> {
        let mut next_sum = Instant::now();
        loop {
            let phase = self.setup.phase.get();
            if phase == Phase::Stop {
                return Ok(());
            }
            self.look_at_phase(phase);
            self.take_peers()?;
            if phase == Phase::Measure {
                self.rebind_due(Instant::now())?;
            }
            self.fire_timers(phase);
            self.receive_ready()?;
            self.outbox.flush();
            if Instant::now() >= next_sum {
                self.sum_up();
                next_sum = Instant::now() + SUM_INTERVAL;
            }
            let until = self.next_turn();
            self.waiter.wait(until, &mut self.ready)?;
        }
    }

    /// What is seen counts while the phase is that of the measurement.
    fn look_at_phase(&mut self, phase: Phase) {
        let measuring = phase == Phase::Measure;
        if measuring == self.lens.measuring {
            return;
        }
        let now_ns = clock::now_ns();
        self.lens.measuring = measuring;
        if measuring {
            self.lens.measuring_since_ns = Some(now_ns);
        }
        self.peers.iter_mut().for_each(|peer| peer.measure(measuring, now_ns));
    }

    /// Tells those who watch the run how much came of what should have.
    fn sum_up(&self) {
        let sums = self.peers.iter().map(Peer::progress);
        let (spanned, unique) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.setup.tally.spanned.store(spanned, Ordering::Relaxed);
        self.setup.tally.unique.store(unique, Ordering::Relaxed);
    }

    /// When there is something to do again: at once while a socket may hold more.
    fn next_turn(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::now());
        }
        self.timers.first().map(|(at, _)| at)
    }

    fn take_peers(&mut self) -> io::Result<()> {
        while let Ok(plan) = self.setup.inbox.try_recv() {
            let slot = self.peers.len();
            let (socket, local) = self.outbox.route(slot, plan.remote)?;
            if socket > 0 {
                self.owner.push(Some(slot));
                self.register(socket)?;
            }
            let to = Destination::new(plan.remote, local, false);
            let now = Instant::now();
            self.rebinds.extend(plan.rebind_after.map(|after| (after, slot)));
            self.peers.push(Peer::new(*plan, socket, to, now));
            self.timers.set(slot, now);
        }
        Ok(())
    }

    /// Changes the address of those whose time has come.
    fn rebind_due(&mut self, now: Instant) -> io::Result<()> {
        let since = *self.measuring_since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        while let Some(at) = self.rebinds.iter().position(|(after, _)| *after <= elapsed) {
            let (_, slot) = self.rebinds.swap_remove(at);
            let (socket, local) = self.outbox.rebind(slot, self.peers[slot].remote())?;
            if socket > 0 {
                self.owner.push(Some(slot));
                self.register(socket)?;
            }
            self.peers[slot].rebind(socket, local);
        }
        Ok(())
    }

    fn register(&mut self, socket: usize) -> io::Result<()> {
        self.waiter.register(self.outbox.socket(socket), socket)
    }

    fn fire_timers(&mut self, phase: Phase) {
        let now = Instant::now();
        while let Some((_, slot)) = self.timers.first().filter(|(at, _)| *at <= now) {
            let (peer, input) =
                (&mut self.peers[slot], Input::Timer { silent: phase >= Phase::Drain });
            peer.handle(input, &self.setup, now, &mut self.outbox, &mut self.lens);
            self.timers.set(slot, peer.deadline());
        }
    }

    fn receive_ready(&mut self) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let mut failure = None;
        ready.retain(|&socket| {
            let drained = self.receive(socket);
            drained.map_err(|error| failure = Some(error)).is_ok_and(|drained| !drained)
        });
        self.ready = ready;
        failure.map_or(Ok(()), Err)
    }

    /// Receives some; returns whether nothing is left.
    fn receive(&mut self, socket: usize) -> io::Result<bool> {
        for _ in 0..RECEIVES_PER_TURN {
            // The receiver is taken out, because peers send while its datagrams are read.
            let outbox = &self.outbox;
            let count = match self.receiver.receive(outbox.socket(socket)) {
                Ok(count) => count,
                // An ICMP error of one peer is about that peer, not about the socket.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            if count == 0 {
                return Ok(true);
            }
            let now = self.kernel_clock.look();
            let (mut bytes, mut packets) = (0, 0);
            let mut before = None;
            for datagram in self.receiver.datagrams() {
                let slot = self.owner[socket].or_else(|| loopback_slot(datagram.local));
                let Some(peer) = slot.and_then(|slot| self.peers.get_mut(slot)) else {
                    self.lens.odd.unknown += 1;
                    continue;
                };
                let slot = slot.unwrap_or_default();
                if !peer.is_at(socket, datagram.local) {
                    self.lens.odd.late_for_a_move += 1;
                    continue;
                }
                let came = self.kernel_clock.came(datagram.arrived_ns);
                let input = Input::Datagram { bytes: datagram.bytes, from: datagram.remote, came };
                let media = peer.handle(input, &self.setup, now, &mut self.outbox, &mut self.lens);
                if media {
                    packets += 1;
                    bytes += datagram.bytes.len() as u64;
                }
                // Once for all that comes for a peer at a time.
                if let Some(done) = before.replace(slot).filter(|done| *done != slot) {
                    self.timers.set(done, self.peers[done].deadline());
                }
            }
            if let Some(done) = before {
                self.timers.set(done, self.peers[done].deadline());
            }
            bump(&self.setup.tally.packets, packets);
            bump(&self.setup.tally.bytes, bytes);
        }
        Ok(false)
    }

    fn harvest(self) -> Harvest {
        let mut servers = self.lens.servers;
        let mut sums = Sums::default();
        let mut moved = Moved::default();
        let mut hardships = Hardships::default();
        let mut reasons = std::collections::BTreeMap::new();
        let now_ns = clock::now_ns();
        for peer in &self.peers {
            peer.add_to(&mut sums, &mut moved);
            peer.add_served(&mut servers);
            peer.add_hardships(&mut hardships, now_ns);
            if let Some(reason) = peer.failure() {
                *reasons.entry(reason).or_insert(0) += 1;
            }
        }
        let setup_ms = self.peers.iter().filter_map(Peer::setup_ms).collect();
        Harvest {
            sums,
            moved,
            hardships,
            odd: self.lens.odd,
            punctuality: self.lens.punctuality,
            servers,
            latency_us: self.lens.latency_us,
            linked_latency_us: self.lens.linked_latency_us,
            setup_ms,
            failures: reasons,
            receive_overflows: self.receiver.overflow_drops(),
            send_drops: self.outbox.dropped,
            lost_consent: self.setup.tally.lost_consent.load(Ordering::Relaxed),
        }
    }
}
