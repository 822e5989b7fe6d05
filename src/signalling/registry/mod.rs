//! Who publishes and watches what, and where: the control side's only shared state.
//!
//! Slots of shards and indexes of streams are given out here and taken back when the shard has
//! reported the end, so a name in use is never given out twice. Nothing in here is on the path of
//! a packet.

mod book;
mod live;
mod ports;
mod slots;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use str0m::IceCreds;

use crate::id::SessionKey;
use crate::session::{Negotiated, Negotiator, Offer, OfferError, Place};
use crate::shard::{Command, EndReason, SessionPort, Wiring};
use crate::signalling::{Decisions, PortOpener, Problem, StartingPorts};
use book::{Registry, Reservation, Session};
pub use live::{PortNow, PortsNow, RangeNow};
use ports::PortBook;
pub use ports::PortState;

/// Everything a request needs.
pub struct Control {
    /// Makes sessions.
    pub negotiator: Negotiator,
    /// The way to the shards.
    pub wiring: Arc<Wiring>,
    opener: Arc<dyn PortOpener>,
    /// What `--ports-auto` has decided; empty without it.
    pub(in crate::signalling) decisions: OnceLock<Decisions>,
    registry: Mutex<Registry>,
}

/// A session that was set up.
pub struct Placement {
    /// Names the session in its URL: 128 random bits in hexadecimal.
    pub id: String,
    /// The SDP answer.
    pub answer: String,
    /// Names the ICE session, for ETag.
    pub etag: String,
}

impl Control {
    /// A server with nobody on it. `sessions_per_shard` is the room each shard has.
    #[must_use]
    pub fn new(
        negotiator: Negotiator,
        wiring: Arc<Wiring>,
        starting: StartingPorts,
        opener: Arc<dyn PortOpener>,
        sessions_per_shard: usize,
    ) -> Arc<Control> {
        let shards = wiring.mailboxes.len();
        let registry = Registry::new(shards, sessions_per_shard, PortBook::new(starting));
        let (decisions, registry) = (OnceLock::new(), Mutex::new(registry));
        Arc::new(Control { negotiator, wiring, opener, decisions, registry })
    }

    /// Sets up a publisher of `stream`. Whoever published it before is ended; viewers stay.
    ///
    /// # Errors
    /// What is wrong with the offer, or 503 when there is no room.
    pub fn publish(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        let offer = Offer::to_publish(sdp)?;
        let mut reservation = self.lock().reserve_publisher(stream, &offer)?;
        let port = self.port_for(&mut reservation)?;
        let Reservation { codecs, epoch, ref shared, .. } = reservation;
        let place = self.place(&reservation);
        let etag = place.credentials.ufrag.clone();
        let negotiated = self.negotiator.publisher(offer, place, codecs, shared.key, epoch);
        self.settle(reservation, port, negotiated, etag, remote_ufrag(sdp))
    }

    /// Sets up a viewer of `stream`.
    ///
    /// # Errors
    /// What is wrong with the offer, 409 when nobody publishes the stream, 503 when there is no
    /// room.
    pub fn watch(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        let offer = Offer::to_watch(sdp)?;
        let mut reservation = self.lock().reserve_viewer(stream)?;
        let port = self.port_for(&mut reservation)?;
        let place = self.place(&reservation);
        let etag = place.credentials.ufrag.clone();
        let negotiated = self.negotiator.viewer(offer, place, reservation.codecs);
        self.settle(reservation, port, negotiated, etag, remote_ufrag(sdp))
    }

    /// Ends the session with this id.
    ///
    /// # Errors
    /// 404 when there is none; 503 when its shard is too busy to be told.
    pub fn delete(&self, id: &str) -> Result<(), Problem> {
        let mut registry = self.lock();
        let session = registry.sessions.get(id).ok_or_else(no_session)?;
        self.end(session.key, EndReason::Deleted)?;
        // The URL is dead from here on; the slot is taken back when the shard is done with it.
        registry.sessions.remove(id);
        Ok(())
    }

    /// The ETag and the client's ICE user name of the session with this id.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn ice_session(&self, id: &str) -> Result<(String, Option<String>), Problem> {
        let registry = self.lock();
        let session = registry.sessions.get(id).ok_or_else(no_session)?;
        Ok((session.etag.clone(), session.remote_ufrag.clone()))
    }

    /// Takes in what shards have reported as ended. Runs until the server stops.
    pub async fn watch_ended(self: Arc<Control>) {
        loop {
            self.take_ended();
            self.wiring.ended_bell.notified().await;
        }
    }

    /// Sessions and streams there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let registry = self.lock();
        (registry.ids.len(), registry.streams.len())
    }

    /// What `--ports-auto` has decided; `None` without it.
    #[must_use]
    pub fn decisions(&self) -> Option<&Decisions> {
        self.decisions.get()
    }

    /// Takes no more sessions.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    fn take_ended(&self) {
        let mut registry = self.lock();
        for queue in &self.wiring.ended {
            while let Some(ended) = queue.pop() {
                registry.ended(ended);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock left at worst one session half registered.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place<'a>(&self, reservation: &'a Reservation) -> Place<'a> {
        let ufrag = self.wiring.ufrag_key.encode(reservation.key).as_str().to_owned();
        let credentials = IceCreds { ufrag, pass: random_hex(16) };
        Place { credentials, candidates: &reservation.port.candidates }
    }

    /// The port the reservation holds, bound; a reservation without one is given back.
    fn port_for(&self, reservation: &mut Reservation) -> Result<SessionPort, Problem> {
        let bound = self.bind_own(&mut reservation.port);
        if bound.is_err() {
            let Reservation { key, port, stream, .. } = &*reservation;
            self.lock().give_back(*key, port, stream);
        }
        bound
    }

    fn end(&self, key: SessionKey, reason: EndReason) -> Result<(), Problem> {
        let mailbox = &self.wiring.mailboxes[usize::from(key.shard)];
        mailbox
            .command(Command::End(key, reason))
            .map_err(|_command| Problem::overloaded("the session's shard has too much to do"))
    }

    /// Turns a reservation into a session, or gives it back.
    fn settle(
        &self,
        reservation: Reservation,
        session_port: SessionPort,
        negotiated: Result<Negotiated, OfferError>,
        etag: String,
        remote_ufrag: Option<String>,
    ) -> Result<Placement, Problem> {
        let Reservation { key, port, stream, shared, codecs, publisher, .. } = reservation;
        let mut registry = self.lock();
        let sent = negotiated.map_err(Problem::from).and_then(|Negotiated { session, answer }| {
            let (port, session) = (session_port, Box::new(session));
            let command = Command::Add { key, port, session, stream: shared };
            match self.wiring.mailboxes[usize::from(key.shard)].command(command) {
                Ok(()) => Ok(answer),
                Err(_full) => Err(Problem::overloaded("the shard has too many set-ups waiting")),
            }
        });
        let answer = match sent {
            Ok(answer) => answer,
            Err(problem) => {
                registry.give_back(key, &port, &stream);
                return Err(problem);
            }
        };
        let id = random_hex(16);
        let displaced = registry.register(key, &stream, codecs, publisher);
        for (key, reason) in displaced {
            // When its queue is full the old session lives until its peer leaves; its packets
            // count for nothing, since the new publisher's epoch is greater.
            let _ = self.end(key, reason);
        }
        let session = Session { key, stream, etag: etag.clone(), remote_ufrag };
        registry.sessions.insert(id.clone(), session);
        registry.ids.insert(key, (id.clone(), port));
        Ok(Placement { id, answer, etag })
    }
}

fn no_session() -> Problem {
    Problem::not_found("there is no such session; it may have ended")
}

/// `bytes` bytes from the operating system's generator, in hexadecimal.
fn random_hex(bytes: usize) -> String {
    let mut random = [0; 32];
    let random = &mut random[..bytes.min(32)];
    getrandom::fill(random).expect("the operating system gives random bytes");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The client's ICE user name: that of the session, or of the first section.
fn remote_ufrag(sdp: &str) -> Option<String> {
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(|u| u.trim().to_owned())
}
