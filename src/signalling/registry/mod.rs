//! Who publishes and watches what, and where: the control side's only shared state.
//!
//! Slots of shards and indexes of streams are given out here and taken back when the shard has
//! reported the end, so a name in use is never given out twice. Nothing in here is on the path of
//! a packet.

mod book;
mod history;
mod journal;
mod live;
mod news;
mod placement;
mod ports;
mod read;
mod roster;
mod slots;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use str0m::IceCreds;

use crate::id::SessionKey;
use crate::session::{Negotiated, Negotiator, Offer, OfferError, Place};
use crate::shard::{Command, EndReason, SessionPort, Wiring};
use crate::signalling::{Decisions, PortOpener, Problem, StartingPorts};
use crate::telemetry::{Failures, limited};
use book::{Registry, Reservation, Session};
use history::History;
pub use history::Point;
pub use journal::{EndedSession, Refusal};
pub use live::{PortNow, PortsNow, RangeNow};
pub use news::News;
use ports::PortBook;
pub use ports::PortState;
pub use read::StreamView;
pub use roster::{Live, unix_now};

/// Everything a request needs.
pub struct Control {
    /// Makes sessions.
    pub negotiator: Negotiator,
    /// The way to the shards.
    pub wiring: Arc<Wiring>,
    /// Addresses for answers over TCP; none where it is not served.
    tcp_candidates: Vec<SocketAddr>,
    opener: Arc<dyn PortOpener>,
    /// What `--ports-auto` has decided; empty without it.
    pub(in crate::signalling) decisions: OnceLock<Decisions>,
    registry: Mutex<Registry>,
    failures: Arc<Failures>,
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

/// What a client asked for, as far as it is remembered.
struct Asked {
    etag: String,
    remote_ufrag: Option<String>,
    publisher: bool,
    /// The codecs of audio and video.
    names: (Option<&'static str>, Option<&'static str>),
}

impl Control {
    /// A server with nobody on it. `sessions_per_shard` is the room each shard has, `gather` how
    /// many more sessions than the emptiest shard one may have, so that viewers are where their
    /// publisher is.
    #[must_use]
    pub fn new(
        negotiator: Negotiator,
        wiring: Arc<Wiring>,
        starting: StartingPorts,
        tcp_candidates: Vec<SocketAddr>,
        opener: Arc<dyn PortOpener>,
        sessions_per_shard: usize,
        gather: usize,
    ) -> Arc<Control> {
        let shards = wiring.mailboxes.len();
        let ports = PortBook::new(starting);
        let registry = Registry::new(shards, sessions_per_shard, ports, gather);
        let failures = registry.journal.failures.clone();
        Arc::new(Control {
            negotiator,
            wiring,
            tcp_candidates,
            opener,
            decisions: OnceLock::new(),
            registry: Mutex::new(registry),
            failures,
        })
    }

    /// Sets up a publisher of `stream`. Whoever published it before is ended; viewers stay.
    ///
    /// # Errors
    /// What is wrong with the offer, or 503 when there is no room.
    pub fn publish(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        self.set_up_publisher(stream, sdp)
            .inspect_err(|problem| self.refused(stream, true, problem))
    }

    fn set_up_publisher(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        let offer = Offer::to_publish(sdp)?;
        let mut reservation = self.lock().reserve_publisher(stream, &offer)?;
        let port = self.port_for(&mut reservation)?;
        let Reservation { codecs, ref shared, .. } = reservation;
        let place = self.place(&reservation);
        let etag = place.credentials.ufrag.clone();
        let names = roster::names(&codecs, &offer);
        let negotiated = self.negotiator.publisher(offer, place, codecs, shared.key);
        let asked = Asked { etag, remote_ufrag: remote_ufrag(sdp), publisher: true, names };
        self.settle(reservation, port, negotiated, asked)
    }

    /// Sets up a viewer of `stream`.
    ///
    /// # Errors
    /// What is wrong with the offer, 409 when nobody publishes the stream, 503 when there is no
    /// room.
    pub fn watch(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        self.set_up_viewer(stream, sdp).inspect_err(|problem| self.refused(stream, false, problem))
    }

    fn set_up_viewer(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        let offer = Offer::to_watch(sdp)?;
        let mut reservation = self.lock().reserve_viewer(stream)?;
        let port = self.port_for(&mut reservation)?;
        let place = self.place(&reservation);
        let etag = place.credentials.ufrag.clone();
        let names = roster::names(&reservation.codecs, &offer);
        let negotiated = self.negotiator.viewer(offer, place, reservation.codecs);
        let asked = Asked { etag, remote_ufrag: remote_ufrag(sdp), publisher: false, names };
        self.settle(reservation, port, negotiated, asked)
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
        (registry.live.len(), registry.streams.len())
    }

    /// What `--ports-auto` has decided; `None` without it.
    #[must_use]
    pub fn decisions(&self) -> Option<&Decisions> {
        self.decisions.get()
    }

    /// Takes in how much of the last second each shard ran, in thousandths, for the placement of
    /// the sessions to come; `None` where that is not known.
    pub fn observe_load(&self, permille: &[Option<u32>]) {
        self.lock().balance.observe(permille);
    }

    /// Takes no more sessions.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    fn refused(&self, stream: &str, publisher: bool, problem: &Problem) {
        let Some((reason, words)) = problem.failure() else { return };
        let refusal = Refusal {
            at: unix_now(),
            stream: stream.into(),
            publisher,
            reason,
            words: words.into(),
        };
        self.lock().journal.refuse(refusal);
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

    fn place<'a>(&'a self, reservation: &'a Reservation) -> Place<'a> {
        let ufrag = self.wiring.ufrag_key.encode(reservation.key).as_str().to_owned();
        let credentials = IceCreds { ufrag, pass: random_hex(16) };
        let candidates = &reservation.port.candidates;
        Place { credentials, candidates, tcp_candidates: &self.tcp_candidates }
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
        asked: Asked,
    ) -> Result<Placement, Problem> {
        let Asked { etag, remote_ufrag, publisher, names: (audio, video) } = asked;
        let Reservation { key, port, stream, shared, codecs, .. } = reservation;
        let mut registry = self.lock();
        let sent = negotiated.map_err(Problem::from).and_then(|Negotiated { session, answer }| {
            let (port, session) = (session_port, Box::new(session));
            let command = Command::Add { key, port, session, stream: shared };
            match self.wiring.mailboxes[usize::from(key.shard)].command(command) {
                Ok(()) => Ok(answer),
                Err(_full) => Err(Problem::no_room("the shard has too many set-ups waiting")),
            }
        });
        let answer = match sent {
            Ok(answer) => answer,
            Err(problem) => {
                registry.give_back(key, &port, &stream);
                return Err(problem);
            }
        };
        if publisher {
            limited!(INFO, session = %key, stream = &*stream, "publisher set up");
        } else {
            limited!(DEBUG, session = %key, stream = &*stream, "viewer set up");
        }
        let id = random_hex(16);
        let (url, created_at) = (id.clone(), unix_now());
        let history = History::default();
        let (port, given) = (port.number, port);
        let live = Live { url, stream, publisher, created_at, port, given, audio, video, history };
        let displaced = registry.register(key, live, codecs);
        for (key, reason) in displaced {
            // When its queue is full the old session lives until its peer leaves; its packets
            // count for nothing once the new publisher's media has come.
            let _ = self.end(key, reason);
        }
        let session = Session { key, etag: etag.clone(), remote_ufrag };
        registry.sessions.insert(id.clone(), session);
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
