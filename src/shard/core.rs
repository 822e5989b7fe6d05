//! Everything a shard owns but its receiver, and the small helpers all its parts use.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::port_changes::PortChange;
use super::relay::Relays;
use super::sessions::{Entry, Sessions};
use super::timers::Wheel;
use super::watch::Watch;
use super::{
    BoundPort, EndReason, Ended, Mail, QueueFull, Report, SessionPort, ShardConfig, Wiring,
};
use crate::drop::DropReason;
use crate::egress::Feedback;
use crate::id::{SessionKey, StreamKey};
use crate::limits::{SESSION_IDLE, TCP_READ_BYTES};
use crate::net::{Destination, Transmitter, Way};
use crate::paths::{Paths, PathsConfig, Sharing};
use crate::session::{Output, Session};
use crate::telemetry::{DtlsStop, Meters, PortCounters, PortName, ShardCounters, limited};
use crate::track::{NeedKeyframe, Source, StreamShared, Streams};
use crate::wire::dtls::Flight;

/// A shard without its receiver, so that datagrams can be read out of the one while the other
/// changes.
pub(super) struct Core {
    pub index: u16,
    pub wiring: Arc<Wiring>,
    /// How long a session may take to connect.
    pub setup_timeout: Duration,
    /// Mux ports to open and close at the end of this turn's commands.
    pub port_changes: Vec<PortChange>,
    pub paths: Paths,
    pub sessions: Sessions,
    pub streams: Streams,
    /// Streams whose publisher is elsewhere.
    pub relays: Relays,
    pub timers: Wheel,
    /// Shards that got mail this turn.
    pub posted: Vec<bool>,
    pub stopping: bool,
    /// Whether the kernel took all that was to leave in the last turn.
    pub all_sent: bool,
    /// When the datagram that is being handled came.
    pub arriving: Option<Instant>,
    random: u64,
    // Memory that is used anew each turn.
    pub outputs: Vec<Output>,
    pub due: Vec<u32>,
    pub feedback: Feedback,
    pub opened: Vec<u8>,
    pub keyframes_needed: Vec<NeedKeyframe>,
    /// Where connections are read into, in turn.
    pub tcp_buffer: Vec<u8>,
    /// When the published packets came that leave in this turn.
    pub departing: Vec<Instant>,
    /// Viewers that were sent their first packet in this turn.
    pub started: Vec<u32>,
}

impl Core {
    /// A shard that serves `ports`, each with its number and the addresses that answers name.
    ///
    /// # Errors
    /// Those of [`Paths::new`].
    pub fn new(
        config: &ShardConfig,
        sharing: Sharing,
        ports: Vec<(u16, Vec<SocketAddr>)>,
        transmitter: Transmitter,
        wiring: Arc<Wiring>,
        now: Instant,
    ) -> io::Result<Core> {
        let shards = wiring.mailboxes.len();
        let setup = PathsConfig {
            shard: config.index,
            tcp_candidates: config.tcp_candidates.clone(),
            trains: config.trains,
            ufrag_key: wiring.ufrag_key.clone(),
        };
        let paths = Paths::new(setup, wiring.ownership.clone(), sharing, transmitter, now)?;
        let mut core = Core {
            index: config.index,
            wiring,
            setup_timeout: config.setup_timeout,
            port_changes: Vec::new(),
            paths,
            sessions: Sessions::default(),
            streams: Streams::new(config.index, config.hold),
            relays: Relays::default(),
            timers: Wheel::new(now),
            posted: vec![false; shards],
            stopping: false,
            all_sent: true,
            arriving: None,
            random: config.seed | 1,
            outputs: Vec::new(),
            due: Vec::new(),
            feedback: Feedback::default(),
            opened: Vec::new(),
            keyframes_needed: Vec::new(),
            tcp_buffer: vec![0; TCP_READ_BYTES],
            departing: Vec::new(),
            started: Vec::new(),
        };
        if sharing == Sharing::Session {
            // One place counts for all of them.
            core.port_counters(0).open(PortName::All);
        }
        for (slot, (number, candidates)) in (0..).zip(ports) {
            core.serve_port(slot, number, candidates);
        }
        Ok(core)
    }

    pub fn counters(&self) -> &ShardCounters {
        &self.wiring.counters[usize::from(self.index)]
    }

    pub fn meters(&self) -> &Meters {
        &self.wiring.meters[usize::from(self.index)]
    }

    /// What is counted at the port in a slot; of ports of sessions, at all of them.
    pub fn port_counters(&self, slot: u32) -> &PortCounters {
        self.meters().ports.at(self.paths.ports.place(slot))
    }

    /// Counts datagrams that came in through the port in a slot.
    pub fn count_received(&self, port: u32, datagrams: u64, bytes: u64) {
        self.counters().datagrams_in.add(datagrams);
        self.counters().bytes_in.add(bytes);
        self.port_counters(port).datagrams_in.add(datagrams);
        self.port_counters(port).bytes_in.add(bytes);
    }

    pub fn dropped(&self, reason: DropReason) {
        self.counters().dropped(reason);
    }

    /// Starting points for sequence numbers and timestamps; xorshift64, since nothing secret hangs
    /// on them.
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Queues a datagram made by str0m.
    pub fn send(&mut self, to: Destination, bytes: &[u8]) {
        let pushed = self.paths.ways.push(to, |slot| {
            slot.get_mut(..bytes.len()).ok_or(DropReason::TooLong)?.copy_from_slice(bytes);
            Ok(bytes.len())
        });
        if let Err(reason) = pushed {
            self.dropped(reason);
        }
    }

    /// Posts mail to another shard, which must exist; it is rung at the end of the turn.
    ///
    /// # Errors
    /// [`QueueFull`]: the mail is gone, and whoever posted it says what that means.
    pub fn post(&mut self, shard: u16, mail: Mail) -> Result<(), QueueFull> {
        self.posted[usize::from(shard)] = true;
        self.wiring.mailboxes[usize::from(shard)].post(mail)
    }

    /// Posts a note whose loss costs time and no packet: it is counted, and that is all.
    pub fn note(&mut self, shard: u16, note: Mail) {
        if self.post(shard, note).is_err() {
            self.counters().mail_lost.add(1);
        }
    }

    /// Takes over a session from a control thread, and its port where it has one of its own. One
    /// whose port is closed by now, or can't be read, ends at once.
    pub fn add(
        &mut self,
        now: Instant,
        key: SessionKey,
        port: SessionPort,
        session: Box<Session>,
        shared: &Arc<StreamShared>,
    ) {
        let port = match port {
            SessionPort::Mux(slot) => {
                let slot = slot as u32;
                self.paths.ports.number(slot).map(|_number| slot)
            }
            SessionPort::Own(bound) => self.open_for_session(key, bound),
        };
        match port {
            Some(port) => self.enter(now, key, port, session, shared),
            None => {
                let reason = EndReason::PortClosed;
                self.tell_control(Report::Ended(Ended { key, reason, card: None }));
            }
        }
    }

    /// The slot of the port that the session owns from here on, unless it can't be read.
    fn open_for_session(&mut self, key: SessionKey, bound: BoundPort) -> Option<u32> {
        let BoundPort { socket, candidates } = bound;
        let number = socket.port();
        match self.paths.ways.transmitter.open_for_session(key.slot, socket) {
            Ok(()) => {
                self.paths.ports.insert(key.slot, number, candidates);
                Some(key.slot)
            }
            Err(error) => {
                limited!(WARN, session = %key, "its port can't be read: {error}");
                None
            }
        }
    }

    fn enter(
        &mut self,
        now: Instant,
        key: SessionKey,
        port: u32,
        session: Box<Session>,
        shared: &Arc<StreamShared>,
    ) {
        let is_publisher = session.publishes.is_some();
        self.streams.join(shared);
        self.port_counters(port).sessions.add(1);
        let watch = Watch::new(now, session.answered, session.answered_ms);
        let entry = Entry {
            key,
            session,
            stream: shared.key,
            port,
            created: now,
            connected: false,
            heard: now,
            flight: None,
            rtc_deadline: now,
            viewer: None,
            is_publisher,
            watch,
        };
        // The control side gives a slot out only after its last tenant was reported as ended.
        debug_assert!(self.sessions.at(key.slot).is_none(), "slot {} is taken", key.slot);
        self.sessions.insert(entry);
        self.paths.enter(key.slot, port);
        self.timers.schedule(key.slot, now);
        self.show(key.slot);
    }

    /// Arms the timer of the session in `slot` for the earliest thing it waits for.
    pub fn arm(&mut self, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let limit = if entry.connected {
            entry.heard + SESSION_IDLE
        } else {
            entry.created + self.setup_timeout
        };
        let mut at = entry.rtc_deadline.min(limit);
        if let Some(viewer) = &entry.viewer {
            at = at.min(viewer.control.next_report);
        } else if entry.connected && entry.is_publisher {
            at = at.min(entry.watch.next);
        }
        self.timers.schedule(slot, at);
    }

    /// Ends the session in `slot`: nothing of it stays behind.
    pub fn end(&mut self, slot: u32, reason: EndReason) {
        self.show(slot);
        let Some(entry) = self.sessions.remove(slot) else { return };
        self.timers.cancel(slot);
        let meters = self.meters();
        let card = meters.cards.read(slot).map(|(_generation, card)| Box::new(card));
        meters.cards.clear(slot);
        if let EndReason::DtlsTimeout(flight) = reason {
            meters.dtls_stopped(dtls_stop(flight));
        }
        let sessions = &self.port_counters(entry.port).sessions;
        sessions.set(sessions.get().saturating_sub(1));
        if let Some(viewer) = &entry.viewer {
            self.remove_viewer(entry.stream, viewer.position);
        }
        self.streams.leave(entry.stream, Source::Session(slot));
        limited!(DEBUG, session = %entry.key, "ended: {}", reason.describe());
        // Before the end is reported: the port may be given out again from then on.
        self.paths.leave(slot, &self.wiring.counters[usize::from(self.index)]);
        self.tell_control(Report::Ended(Ended { key: entry.key, reason, card }));
    }

    pub fn tell_control(&self, report: Report) {
        // The queue has room for all that is told of one tenant of every slot, and a slot has the
        // next tenant only when all of it was taken in.
        let pushed = self.wiring.reports[usize::from(self.index)].push(report);
        debug_assert!(pushed.is_ok(), "more was reported than there are slots for");
        self.wiring.reported.notify_one();
    }

    /// Says goodbye to the peer of the session in `slot`, then ends it.
    pub fn close(&mut self, now: Instant, slot: u32, reason: EndReason) {
        if let Some(entry) = self.sessions.at(slot) {
            entry.session.close();
            let mut outputs = std::mem::take(&mut self.outputs);
            entry.session.drain(now, &mut outputs);
            let path = self.paths.path(slot);
            for output in outputs.drain(..) {
                if let (Output::Datagram { contents, .. }, Some(path)) = (output, path) {
                    self.send(path.destination(false), &contents);
                }
            }
            self.outputs = outputs;
        }
        self.end(slot, reason);
    }

    /// Takes a ready viewer out of its stream's list. The last of the list moves into its place.
    fn remove_viewer(&mut self, key: StreamKey, position: usize) {
        let moved = self.streams.remove_viewer(key, position);
        let ready = &self.wiring.counters[usize::from(self.index)].viewers_ready;
        ready.set(ready.get() - 1);
        if let Some(entry) = moved.and_then(|slot| self.sessions.at(slot))
            && let Some(viewer) = &mut entry.viewer
        {
            viewer.position = position;
        }
    }
}

/// Where a handshake stopped whose last flight was this.
fn dtls_stop(flight: Option<Flight>) -> DtlsStop {
    match flight {
        None => DtlsStop::NoHello,
        Some(Flight::Hello) => DtlsStop::Hello,
        Some(Flight::Keys) => DtlsStop::Keys,
        Some(Flight::Sealed) => DtlsStop::Sealed,
        Some(Flight::Alert(_)) => DtlsStop::Alert,
    }
}
