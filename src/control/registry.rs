//! The lists behind [`super::Control`]: streams, sessions, slots and ports in use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::broadcast;

use super::ControlError;
use super::ended::{EndedSession, EndedSessions};
use super::events::{self, SessionEvent};
use super::placement::Balance;
use super::ports::{GivenPort, PortTable};
use super::session::{LiveSession, unix_now};
use super::slots::Slots;
use crate::id::{SessionKey, StreamKey};
use crate::session::{Offer, StreamCodecs};
use crate::shard::{EndReason, Ended};
use crate::track::StreamShared;

pub(super) struct Registry {
    pub streams: BTreeMap<Arc<str>, Stream>,
    /// Sessions by the secret of their URL.
    pub sessions: HashMap<String, SessionKey>,
    /// Sessions by their public name.
    pub live: BTreeMap<SessionKey, LiveSession>,
    /// Those that are no more.
    pub ended: EndedSessions,
    /// What happens to them.
    pub events: broadcast::Sender<SessionEvent>,
    pub slots: Vec<Slots>,
    /// Where the next session goes.
    pub balance: Balance,
    pub stream_keys: Slots,
    pub ports: PortTable,
    pub stopping: bool,
}

pub(super) struct Stream {
    pub shared: Arc<StreamShared>,
    pub codecs: StreamCodecs,
    pub publisher: Option<SessionKey>,
    pub viewers: Vec<SessionKey>,
    /// Set-ups under way: the stream must not go while one is.
    pub reserved: usize,
}

/// A place that is held while the session for it is negotiated.
pub(super) struct Reservation {
    pub key: SessionKey,
    pub port: GivenPort,
    pub stream: Arc<str>,
    pub shared: Arc<StreamShared>,
    pub codecs: StreamCodecs,
}

impl Registry {
    /// Nobody there, and room for `sessions_per_shard` on each of `shards`.
    pub fn new(
        shards: usize,
        sessions_per_shard: usize,
        ports: PortTable,
        gather: usize,
    ) -> Registry {
        Registry {
            streams: BTreeMap::new(),
            sessions: HashMap::new(),
            live: BTreeMap::new(),
            ended: EndedSessions::new(),
            events: events::channel(),
            slots: (0..shards).map(|_| Slots::new(sessions_per_shard)).collect(),
            balance: Balance::new(shards, gather),
            stream_keys: Slots::new(sessions_per_shard * shards),
            ports,
            stopping: false,
        }
    }

    pub fn reserve_publisher(
        &mut self,
        name: &str,
        offer: &Offer,
    ) -> Result<Reservation, ControlError> {
        self.still_open()?;
        let current = match self.streams.get(name) {
            Some(stream) => stream.codecs,
            None => StreamCodecs::default(),
        };
        let codecs = offer.choose_codecs(current)?;
        let (key, port) = self.take_slot(self.balance.for_publisher(&self.slots))?;
        let name: Arc<str> = match self.streams.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        if !self.streams.contains_key(&name) {
            let Some((index, generation)) = self.stream_keys.take() else {
                self.slots[usize::from(key.shard)].give_back(key.slot);
                self.ports.give_back(&port);
                return Err(ControlError::no_room("the server has as many streams as it takes"));
            };
            let shared = Arc::new(StreamShared::new(StreamKey { index, generation }));
            let stream = Stream {
                shared,
                codecs: StreamCodecs::default(),
                publisher: None,
                viewers: Vec::new(),
                reserved: 0,
            };
            self.streams.insert(name.clone(), stream);
        }
        let stream = self.streams.get_mut(&name).expect("it is there or was made just now");
        stream.reserved += 1;
        let shared = stream.shared.clone();
        Ok(Reservation { key, port, stream: name, shared, codecs })
    }

    pub fn reserve_viewer(&mut self, name: &str) -> Result<Reservation, ControlError> {
        self.still_open()?;
        let known = self.streams.get_key_value(name);
        let known = known.filter(|(_, stream)| stream.publisher.is_some());
        let (name, stream) = known.ok_or_else(|| ControlError::no_publisher(name))?;
        let name = name.clone();
        let home = stream.publisher.map(|publisher| publisher.shard);
        let having = stream.shared.interested();
        let (key, port) = self.take_slot(self.balance.for_viewer(&self.slots, home, having))?;
        let stream = self.streams.get_mut(&name).expect("it was there a moment ago");
        stream.reserved += 1;
        let (shared, codecs) = (stream.shared.clone(), stream.codecs);
        Ok(Reservation { key, port, stream: name, shared, codecs })
    }

    fn still_open(&self) -> Result<(), ControlError> {
        match self.stopping {
            true => Err(ControlError::no_room("the server is stopping, and takes no new sessions")),
            false => Ok(()),
        }
    }

    /// A slot on `shard`, which is `None` when all are full, and a port.
    pub fn take_slot(
        &mut self,
        shard: Option<usize>,
    ) -> Result<(SessionKey, GivenPort), ControlError> {
        let taken = shard.and_then(|shard| self.slots[shard].take().map(|taken| (shard, taken)));
        let (shard, (slot, generation)) = taken
            .ok_or_else(|| ControlError::no_room("the server has as many sessions as it takes"))?;
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
        live: LiveSession,
        codecs: StreamCodecs,
    ) -> Vec<(SessionKey, EndReason)> {
        self.tell(SessionEvent::now(key, &live, "created", None));
        let publisher = live.publisher;
        let stream = self.streams.get_mut(&live.stream).expect("a reservation keeps the stream");
        self.live.insert(key, live);
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
        let Ended { key, reason, card } = ended;
        self.slots[usize::from(key.shard)].give_back(key.slot);
        let Some(live) = self.live.remove(&key) else { return };
        self.ports.give_back(&live.given);
        self.sessions.remove(&live.url);
        let name = live.stream.clone();
        if let Some(stream) = self.streams.get_mut(&name) {
            match stream.publisher == Some(key) {
                true => stream.publisher = None,
                false => stream.viewers.retain(|viewer| *viewer != key),
            }
        }
        self.tell(SessionEvent::now(key, &live, "ended", Some(reason.label())));
        let mut words = reason.describe().into_owned();
        if reason == EndReason::Unheard {
            let announced = live.given.candidates.iter().map(ToString::to_string);
            words += &format!(" at {}", announced.collect::<Vec<_>>().join(" or "));
        }
        self.ended.add(EndedSession { key, live, card, ended_at: unix_now(), reason, words });
        self.forget_if_unused(&name);
    }

    /// SessionEvent is lost where nobody listens.
    pub fn tell(&self, event: SessionEvent) {
        let _ = self.events.send(event);
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
