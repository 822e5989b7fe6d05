//! A session comes to the shard and ends, and nothing of it stays behind.

use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::sessions::{Entry, Publishing, Taking};
use super::trial::Trust;
use super::watch::Watch;
use super::{BoundPort, EndReason, Ended, Report, SessionPort};
use crate::id::SessionKey;
use crate::session::{HandshakeFault, Output, Session};
use crate::telemetry::{DtlsStop, limited};
use crate::track::{Source, StreamShared};
use crate::wire::dtls::Flight;

impl Core {
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
                self.post.tell_control(Report::Ended(Ended { key, reason, card: None }));
            }
        }
    }

    /// The slot of the port that the session owns from here on, unless it can't be read.
    fn open_for_session(&mut self, key: SessionKey, bound: BoundPort) -> Option<u32> {
        let BoundPort { socket, .. } = bound;
        let number = socket.port();
        match self.paths.ways.transmitter.open_for_session(key.slot, socket) {
            Ok(()) => {
                self.paths.ports.insert(key.slot, number);
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
        let mut session = session;
        self.streams.join(shared);
        let publishes = session.publishes.take().map(|publisher| {
            let (stream, terms) = (publisher.stream, publisher.terms);
            let tracks = terms.tracks.iter().map(|track| track.id).collect();
            Box::new(Publishing { stream, number: 0, tracks, terms, ingest: None })
        });
        let terms = std::mem::take(&mut session.takes);
        let takes = if publishes.is_none() {
            vec![Taking { stream: shared.key, terms, ready: None }]
        } else {
            Vec::new()
        };
        self.port_counters(port).sessions.add(1);
        let watch = Watch::new(now, session.answered, session.answered_ms);
        let entry = Entry {
            key,
            session,
            port,
            created: now,
            connected: false,
            heard: now,
            flight: None,
            dtls_deadline: None,
            publishes,
            takes,
            keys: None,
            trust: Trust::new(now),
            control: None,
            watch,
        };
        // The control side gives a slot out only after its last tenant was reported as ended.
        debug_assert!(self.sessions.at(key.slot).is_none(), "slot {} is taken", key.slot);
        self.sessions.insert(entry);
        self.paths.enter(now, key.slot, port);
        self.timers.schedule(key.slot, now);
        self.show(key.slot);
    }

    /// Arms the timer of the session in `slot` for the earliest thing it waits for.
    pub fn arm(&mut self, slot: u32) {
        if let Some(entry) = self.sessions.at(slot) {
            self.timers.schedule(slot, entry.deadline(self.setup_timeout));
        }
    }

    /// Ends the session in `slot`: nothing of it stays behind.
    pub fn end(&mut self, slot: u32, reason: EndReason) {
        self.show(slot);
        let Some(entry) = self.sessions.remove(slot) else { return };
        self.timers.cancel(slot);
        let meters = self.post.meters();
        let card = meters.cards.read(slot).map(|(_generation, card)| Box::new(card));
        meters.cards.clear(slot);
        match reason {
            EndReason::DtlsTimeout(flight) => meters.dtls_stopped(dtls_stop(flight)),
            EndReason::Failed(Some(HandshakeFault::Alert(_))) => {
                meters.dtls_stopped(DtlsStop::Alert);
            }
            _ => {}
        }
        let sessions = &self.port_counters(entry.port).sessions;
        sessions.set(sessions.get().saturating_sub(1));
        for taking in &entry.takes {
            self.stop_taking(slot, taking);
        }
        if let Some(publishing) = &entry.publishes {
            self.streams.leave(publishing.stream, Source::Session(slot));
        }
        limited!(DEBUG, session = %entry.key, "ended: {}", reason.describe());
        // Before the end is reported: the port may be given out again from then on.
        self.paths.leave(slot, self.post.counters());
        self.post.tell_control(Report::Ended(Ended { key: entry.key, reason, card }));
    }

    /// Says goodbye to the peer of the session in `slot`, then ends it.
    pub fn close(&mut self, slot: u32, reason: EndReason) {
        if let Some(entry) = self.sessions.at(slot) {
            entry.session.close();
            let mut outputs = std::mem::take(&mut self.scratch.outputs);
            entry.session.drain(&mut outputs);
            let path = self.paths.path(slot);
            for output in outputs.drain(..) {
                if let (Output::Datagram(contents), Some(path)) = (output, path) {
                    self.send(path.destination(false), &contents);
                }
            }
            self.scratch.outputs = outputs;
        }
        self.end(slot, reason);
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
