//! The lists behind [`super::Control`]: streams, sessions, slots and ports in use.

use std::collections::HashMap;
use std::sync::Arc;

use super::ports::{GivenPort, PortBook};
use super::slots::Slots;
use crate::id::{SessionKey, StreamKey};
use crate::session::{Offer, StreamCodecs};
use crate::shard::{EndReason, Ended};
use crate::signalling::Problem;
use crate::stream::StreamShared;

pub(super) struct Registry {
    pub streams: HashMap<String, Stream>,
    pub sessions: HashMap<String, Session>,
    /// The URL and the port of each session.
    pub ids: HashMap<SessionKey, (String, GivenPort)>,
    pub slots: Vec<Slots>,
    pub stream_keys: Slots,
    pub ports: PortBook,
    pub stopping: bool,
}

pub(super) struct Stream {
    pub shared: Arc<StreamShared>,
    pub codecs: StreamCodecs,
    pub publisher: Option<SessionKey>,
    /// Publishers there have been.
    pub epoch: u32,
    pub viewers: Vec<SessionKey>,
    /// Set-ups under way: the stream must not go while one is.
    pub reserved: usize,
}

pub(super) struct Session {
    pub key: SessionKey,
    pub stream: String,
    pub etag: String,
    /// The client's ICE user name, to tell a restart from more candidates.
    pub remote_ufrag: Option<String>,
}

/// A place that is held while the session for it is negotiated.
pub(super) struct Reservation {
    pub key: SessionKey,
    pub port: GivenPort,
    pub stream: String,
    pub shared: Arc<StreamShared>,
    pub codecs: StreamCodecs,
    pub epoch: u32,
    pub publisher: bool,
}

impl Registry {
    /// Nobody there, and room for `sessions_per_shard` on each of `shards`.
    pub fn new(shards: usize, sessions_per_shard: usize, ports: PortBook) -> Registry {
        Registry {
            streams: HashMap::new(),
            sessions: HashMap::new(),
            ids: HashMap::new(),
            slots: (0..shards).map(|_| Slots::new(sessions_per_shard)).collect(),
            stream_keys: Slots::new(sessions_per_shard * shards),
            ports,
            stopping: false,
        }
    }

    pub fn reserve_publisher(&mut self, name: &str, offer: &Offer) -> Result<Reservation, Problem> {
        let current = match self.streams.get(name) {
            Some(stream) => stream.codecs,
            None => StreamCodecs::default(),
        };
        let codecs = offer.choose_codecs(current)?;
        let (key, port) = self.take_slot()?;
        if !self.streams.contains_key(name) {
            let Some((index, generation)) = self.stream_keys.take() else {
                self.slots[usize::from(key.shard)].give_back(key.slot);
                self.ports.give_back(&port);
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
        let stream = name.to_owned();
        Ok(Reservation { key, port, stream, shared, codecs, epoch, publisher: true })
    }

    pub fn reserve_viewer(&mut self, name: &str) -> Result<Reservation, Problem> {
        let published = |stream: &&Stream| stream.publisher.is_some();
        if self.streams.get(name).filter(published).is_none() {
            return Err(Problem::no_publisher(name));
        }
        let (key, port) = self.take_slot()?;
        let stream = self.streams.get_mut(name).expect("it was there a moment ago");
        stream.reserved += 1;
        let (shared, codecs) = (stream.shared.clone(), stream.codecs);
        let stream = name.to_owned();
        Ok(Reservation { key, port, stream, shared, codecs, epoch: 0, publisher: false })
    }

    /// A slot on the shard with the fewest sessions, and a port.
    pub fn take_slot(&mut self) -> Result<(SessionKey, GivenPort), Problem> {
        if self.stopping {
            return Err(Problem::overloaded("the server is stopping"));
        }
        let shards = self.slots.iter_mut().enumerate();
        let least = shards.min_by_key(|(_, slots)| slots.used());
        let taken = least.and_then(|(shard, slots)| slots.take().map(|taken| (shard, taken)));
        let (shard, (slot, generation)) = taken
            .ok_or_else(|| Problem::overloaded("the server has as many sessions as it takes"))?;
        let port = self.ports.take().inspect_err(|_| self.slots[shard].give_back(slot))?;
        Ok((SessionKey { shard: shard as u16, slot, generation }, port))
    }

    pub fn give_back(&mut self, key: SessionKey, port: &GivenPort, stream: &str) {
        self.slots[usize::from(key.shard)].give_back(key.slot);
        self.ports.give_back(port);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.reserved -= 1;
        }
        self.forget_if_unused(stream);
    }

    /// Enters a session that is on its way to its shard; returns the sessions it displaces.
    pub fn register(
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

    pub fn ended(&mut self, ended: Ended) {
        let Ended { key, reason } = ended;
        self.slots[usize::from(key.shard)].give_back(key.slot);
        let Some((id, port)) = self.ids.remove(&key) else { return };
        self.ports.give_back(&port);
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
                EndReason::Unheard => format!(" at {:?}", port.candidates),
                _ => String::new(),
            };
            tracing::info!("publisher of `{name}` ended: {}{told}", reason.describe());
        } else {
            stream.viewers.retain(|viewer| *viewer != key);
            tracing::debug!("viewer {key} of `{name}` ended: {}", reason.describe());
        }
        self.forget_if_unused(&name);
    }

    pub fn forget_if_unused(&mut self, name: &str) {
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
