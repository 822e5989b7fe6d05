//! Who publishes and watches what, and where: the control side's only shared state.
//!
//! Slots of shards and indexes of streams are given out here and taken back when the shard has
//! reported the end, so a name in use is never given out twice. Nothing in here is on the path of
//! a packet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use str0m::IceCreds;

use crate::id::{SessionKey, StreamKey};
use crate::session::{Negotiated, Negotiator, Offer, OfferError, Place, StreamCodecs};
use crate::shard::{Command, EndReason, Ended, Wiring};
use crate::signalling::Problem;
use crate::stream::StreamShared;

/// Everything a request needs.
pub struct Control {
    /// Makes sessions.
    pub negotiator: Negotiator,
    /// The way to the shards.
    pub wiring: Arc<Wiring>,
    /// Addresses for answers, one list per mux port.
    candidates: Vec<Vec<SocketAddr>>,
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

struct Registry {
    streams: HashMap<String, Stream>,
    sessions: HashMap<String, Session>,
    /// The URL and the mux port of each session.
    ids: HashMap<SessionKey, (String, usize)>,
    slots: Vec<Slots>,
    stream_keys: Slots,
    /// Sessions per mux port.
    port_sessions: Vec<usize>,
    stopping: bool,
}

struct Stream {
    shared: Arc<StreamShared>,
    codecs: StreamCodecs,
    publisher: Option<SessionKey>,
    /// Publishers there have been.
    epoch: u32,
    viewers: Vec<SessionKey>,
    /// Set-ups under way: the stream must not go while one is.
    reserved: usize,
}

struct Session {
    key: SessionKey,
    stream: String,
    etag: String,
    /// The client's ICE user name, to tell a restart from more candidates.
    remote_ufrag: Option<String>,
}

/// Gives out small numbers with a generation.
struct Slots {
    capacity: u32,
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Slots {
    fn new(capacity: usize) -> Slots {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        Slots { capacity, generations: Vec::new(), free: Vec::new() }
    }

    fn used(&self) -> usize {
        self.generations.len() - self.free.len()
    }

    fn take(&mut self) -> Option<(u32, u32)> {
        let slot = self.free.pop().or_else(|| {
            let next = self.generations.len() as u32;
            (next < self.capacity).then(|| {
                self.generations.push(0);
                next
            })
        })?;
        Some((slot, self.generations[slot as usize]))
    }

    fn give_back(&mut self, slot: u32) {
        let generation = &mut self.generations[slot as usize];
        *generation = SessionKey::next_generation(*generation);
        self.free.push(slot);
    }
}

/// A place that is held while the session for it is negotiated.
struct Reservation {
    key: SessionKey,
    /// Index of the mux port.
    port: usize,
    stream: String,
    shared: Arc<StreamShared>,
    codecs: StreamCodecs,
    epoch: u32,
}

impl Control {
    /// A server with nobody on it. `sessions_per_shard` is the room each shard has.
    #[must_use]
    pub fn new(
        negotiator: Negotiator,
        wiring: Arc<Wiring>,
        candidates: Vec<Vec<SocketAddr>>,
        sessions_per_shard: usize,
    ) -> Arc<Control> {
        let shards = wiring.mailboxes.len();
        let registry = Registry {
            streams: HashMap::new(),
            sessions: HashMap::new(),
            ids: HashMap::new(),
            slots: (0..shards).map(|_| Slots::new(sessions_per_shard)).collect(),
            stream_keys: Slots::new(sessions_per_shard * shards),
            port_sessions: vec![0; candidates.len()],
            stopping: false,
        };
        Arc::new(Control { negotiator, wiring, candidates, registry: Mutex::new(registry) })
    }

    /// Sets up a publisher of `stream`. Whoever published it before is ended; viewers stay.
    ///
    /// # Errors
    /// What is wrong with the offer, or 503 when there is no room.
    pub fn publish(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        let offer = Offer::to_publish(sdp)?;
        let reservation = self.lock().reserve_publisher(stream, &offer)?;
        let Reservation { codecs, epoch, ref shared, .. } = reservation;
        let place = self.place(&reservation);
        let etag = place.credentials.ufrag.clone();
        let negotiated = self.negotiator.publisher(offer, place, codecs, shared.key, epoch);
        self.settle(reservation, negotiated, etag, remote_ufrag(sdp), true)
    }

    /// Sets up a viewer of `stream`.
    ///
    /// # Errors
    /// What is wrong with the offer, 409 when nobody publishes the stream, 503 when there is no
    /// room.
    pub fn watch(&self, stream: &str, sdp: &str) -> Result<Placement, Problem> {
        let offer = Offer::to_watch(sdp)?;
        let reservation = self.lock().reserve_viewer(stream)?;
        let place = self.place(&reservation);
        let etag = place.credentials.ufrag.clone();
        let negotiated = self.negotiator.viewer(offer, place, reservation.codecs);
        self.settle(reservation, negotiated, etag, remote_ufrag(sdp), false)
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

    /// Takes no more sessions.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    fn take_ended(&self) {
        let mut registry = self.lock();
        for queue in &self.wiring.ended {
            while let Some(ended) = queue.pop() {
                registry.ended(ended, &self.candidates);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock left at worst one session half registered.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, reservation: &Reservation) -> Place<'_> {
        let ufrag = self.wiring.ufrag_key.encode(reservation.key).as_str().to_owned();
        let credentials = IceCreds { ufrag, pass: random_hex(16) };
        Place { credentials, candidates: &self.candidates[reservation.port] }
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
        negotiated: Result<Negotiated, OfferError>,
        etag: String,
        remote_ufrag: Option<String>,
        publisher: bool,
    ) -> Result<Placement, Problem> {
        let Reservation { key, port, stream, shared, codecs, .. } = reservation;
        let mut registry = self.lock();
        let sent = negotiated.map_err(Problem::from).and_then(|Negotiated { session, answer }| {
            let command = Command::Add { key, port, session: Box::new(session), stream: shared };
            match self.wiring.mailboxes[usize::from(key.shard)].command(command) {
                Ok(()) => Ok(answer),
                Err(_full) => Err(Problem::overloaded("the shard has too many set-ups waiting")),
            }
        });
        let answer = match sent {
            Ok(answer) => answer,
            Err(problem) => {
                registry.give_back(key, port, &stream);
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

impl Registry {
    fn reserve_publisher(&mut self, name: &str, offer: &Offer) -> Result<Reservation, Problem> {
        let current = match self.streams.get(name) {
            Some(stream) => stream.codecs,
            None => StreamCodecs::default(),
        };
        let codecs = offer.choose_codecs(current)?;
        let (key, port) = self.take_slot()?;
        if !self.streams.contains_key(name) {
            let Some((index, generation)) = self.stream_keys.take() else {
                self.slots[usize::from(key.shard)].give_back(key.slot);
                self.port_sessions[port] -= 1;
                return Err(Problem::overloaded("the server has as many streams as it takes"));
            };
            let shared = Arc::new(StreamShared::new(StreamKey { index, generation }));
            let stream = Stream {
                shared,
                codecs: StreamCodecs::default(),
                publisher: None,
                epoch: 0,
                viewers: Vec::new(),
                reserved: 0,
            };
            self.streams.insert(name.to_owned(), stream);
        }
        let stream = self.streams.get_mut(name).expect("it is there or was made just now");
        stream.reserved += 1;
        stream.epoch += 1;
        let (shared, epoch) = (stream.shared.clone(), stream.epoch);
        Ok(Reservation { key, port, stream: name.to_owned(), shared, codecs, epoch })
    }

    fn reserve_viewer(&mut self, name: &str) -> Result<Reservation, Problem> {
        let published = |stream: &&Stream| stream.publisher.is_some();
        if self.streams.get(name).filter(published).is_none() {
            return Err(Problem::no_publisher(name));
        }
        let (key, port) = self.take_slot()?;
        let stream = self.streams.get_mut(name).expect("it was there a moment ago");
        stream.reserved += 1;
        let (shared, codecs) = (stream.shared.clone(), stream.codecs);
        Ok(Reservation { key, port, stream: name.to_owned(), shared, codecs, epoch: 0 })
    }

    /// A slot on the shard with the fewest sessions, and the mux port with the fewest.
    fn take_slot(&mut self) -> Result<(SessionKey, usize), Problem> {
        if self.stopping {
            return Err(Problem::overloaded("the server is stopping"));
        }
        let shards = self.slots.iter_mut().enumerate();
        let least = shards.min_by_key(|(_, slots)| slots.used());
        let taken = least.and_then(|(shard, slots)| slots.take().map(|taken| (shard, taken)));
        let (shard, (slot, generation)) = taken
            .ok_or_else(|| Problem::overloaded("the server has as many sessions as it takes"))?;
        let ports = self.port_sessions.iter_mut().enumerate();
        let (port, sessions) = ports.min_by_key(|(_, sessions)| **sessions).expect("one port");
        *sessions += 1;
        Ok((SessionKey { shard: shard as u16, slot, generation }, port))
    }

    fn give_back(&mut self, key: SessionKey, port: usize, stream: &str) {
        self.slots[usize::from(key.shard)].give_back(key.slot);
        self.port_sessions[port] -= 1;
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.reserved -= 1;
        }
        self.forget_if_unused(stream);
    }

    /// Enters a session that is on its way to its shard; returns the sessions it displaces.
    fn register(
        &mut self,
        key: SessionKey,
        name: &str,
        codecs: StreamCodecs,
        publisher: bool,
    ) -> Vec<(SessionKey, EndReason)> {
        let stream = self.streams.get_mut(name).expect("a reservation keeps the stream");
        stream.reserved -= 1;
        if !publisher {
            stream.viewers.push(key);
            return Vec::new();
        }
        let replaced = stream.publisher.replace(key).map(|old| (old, EndReason::Replaced));
        let mut displaced: Vec<_> = replaced.into_iter().collect();
        let lost = |old: &Option<_>, new: &Option<_>| old.is_some() && new.is_some() && old != new;
        let changed =
            lost(&stream.codecs.audio, &codecs.audio) || lost(&stream.codecs.video, &codecs.video);
        if changed {
            let viewers = stream.viewers.iter();
            displaced.extend(viewers.map(|viewer| (*viewer, EndReason::CodecChanged)));
        }
        stream.codecs = codecs;
        displaced
    }

    fn ended(&mut self, ended: Ended, candidates: &[Vec<SocketAddr>]) {
        let Ended { key, reason } = ended;
        self.slots[usize::from(key.shard)].give_back(key.slot);
        let Some((id, port)) = self.ids.remove(&key) else { return };
        self.port_sessions[port] -= 1;
        let name = match self.sessions.remove(&id) {
            Some(session) => session.stream,
            // Its URL was deleted; the stream still lists it.
            None => match self.streams.iter().find(|(_, stream)| stream.has(key)) {
                Some((name, _)) => name.clone(),
                None => return,
            },
        };
        let Some(stream) = self.streams.get_mut(&name) else { return };
        if stream.publisher == Some(key) {
            stream.publisher = None;
            let told = match reason {
                EndReason::Unheard => format!(" at {:?}", candidates[port]),
                _ => String::new(),
            };
            tracing::info!("publisher of `{name}` ended: {}{told}", reason.describe());
        } else {
            stream.viewers.retain(|viewer| *viewer != key);
            tracing::debug!("viewer {key} of `{name}` ended: {}", reason.describe());
        }
        self.forget_if_unused(&name);
    }

    fn forget_if_unused(&mut self, name: &str) {
        let unused = |stream: &Stream| {
            stream.publisher.is_none() && stream.viewers.is_empty() && stream.reserved == 0
        };
        if self.streams.get(name).is_some_and(unused)
            && let Some(stream) = self.streams.remove(name)
        {
            self.stream_keys.give_back(stream.shared.key.index);
        }
    }
}

impl Stream {
    fn has(&self, key: SessionKey) -> bool {
        self.publisher == Some(key) || self.viewers.contains(&key)
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
