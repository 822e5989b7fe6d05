//! The lists behind [`super::Control`]: streams, sessions, slots and ports in use.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::connecting::Connecting;
use super::directory::Kept;
use super::ended::{EndedSession, EndedSessions};
use super::events::{self, SessionEvent};
use super::links::LinkTable;
use super::placement::Balance;
use super::ports::{GivenPort, PortTable};
use super::session::{self, LiveSession, unix_now};
use super::slots::Slots;
use super::streams::Stream;
use super::{ControlError, End, Happening, Listener, News, OnConflict};
use crate::id::{SessionKey, StreamKey};
use crate::session::{CodecMatch, HandshakeFault, PublisherOffer, StreamCodecs, Template};
use crate::shard::{EndReason, Ended};
use crate::telemetry::limited;
use crate::track::StreamShared;

pub(super) struct Registry {
    pub streams: BTreeMap<Arc<str>, Stream>,
    /// Sessions by the secret of their URL.
    pub sessions: HashMap<String, SessionKey>,
    /// Sessions by their public name.
    pub live: BTreeMap<SessionKey, LiveSession>,
    /// Those of them that have not connected.
    pub connecting: Connecting,
    /// Those that are no more.
    pub ended: EndedSessions,
    /// Hears of all that happens to them.
    listener: Arc<dyn Listener>,
    /// What happens to them.
    pub events: broadcast::Sender<SessionEvent>,
    pub slots: Vec<Slots>,
    /// Where the next session goes.
    pub balance: Balance,
    pub stream_keys: Slots,
    pub ports: PortTable,
    pub links: LinkTable,
    /// Publishers on each shard.
    pub publishers: Vec<usize>,
    /// Sessions to be ended as soon as their shard can be told.
    pub ending: VecDeque<(SessionKey, EndReason)>,
    /// What the directory is told.
    pub kept: Kept,
    on_conflict: OnConflict,
    codec_match: CodecMatch,
    pub stopping: bool,
    /// Since when its viewers are told so one after the other, and over how long.
    pub spread: Option<(Instant, Duration)>,
    /// Whether another process has taken over.
    pub passed_on: bool,
}

/// A place that is held while the session for it is negotiated.
pub(super) struct Reservation {
    pub key: SessionKey,
    pub port: GivenPort,
    pub stream: Arc<str>,
    pub shared: Arc<StreamShared>,
    /// What the stream carried before.
    pub carried: StreamCodecs,
    pub codecs: StreamCodecs,
}

impl Registry {
    /// Nobody there, and room for `sessions_per_shard` on each of `shards`.
    pub fn new(
        shards: usize,
        sessions_per_shard: usize,
        ports: PortTable,
        gather: usize,
        (on_conflict, codec_match): (OnConflict, CodecMatch),
        connecting: Connecting,
        listener: Arc<dyn Listener>,
    ) -> Registry {
        Registry {
            streams: BTreeMap::new(),
            sessions: HashMap::new(),
            live: BTreeMap::new(),
            connecting,
            listener,
            ended: EndedSessions::new(),
            events: events::channel(),
            slots: (0..shards).map(|_| Slots::new(sessions_per_shard)).collect(),
            balance: Balance::new(shards, gather),
            stream_keys: Slots::new(sessions_per_shard * shards),
            ports,
            links: LinkTable::new(shards),
            publishers: vec![0; shards],
            ending: VecDeque::new(),
            kept: Kept::default(),
            on_conflict,
            codec_match,
            stopping: false,
            spread: None,
            passed_on: false,
        }
    }

    pub fn reserve_publisher(
        &mut self,
        name: &str,
        offer: &PublisherOffer,
        is_heard: impl Fn(SessionKey) -> bool,
    ) -> Result<Reservation, ControlError> {
        self.still_open()?;
        let live = self.streams.get(name).and_then(Stream::publisher);
        if self.on_conflict == OnConflict::Refuse && live.is_some_and(is_heard) {
            return Err(ControlError::conflict(format!(
                "`{name}` is being published; it is free again when its publisher ends or falls \
                 silent (--on-conflict refuse)"
            )));
        }
        let carried = self.carried(name);
        let codecs = offer.choose_codecs(carried)?;
        let (key, port) = self.take_slot(self.balance.for_publisher(&self.slots))?;
        let name = self.stream_for(name, key, &port)?;
        let stream = self.streams.get_mut(&name).expect("it is there or was made just now");
        stream.reserved += 1;
        let shared = stream.shared.clone();
        Ok(Reservation { key, port, stream: name, shared, carried, codecs })
    }

    /// What a stream has carried so far.
    pub fn carried(&self, name: &str) -> StreamCodecs {
        self.streams.get(name).map(|stream| stream.codecs).unwrap_or_default()
    }

    /// A place for a viewer; `may_wait` says whether it may come before there is a publisher.
    pub fn reserve_viewer(
        &mut self,
        name: &str,
        may_wait: bool,
    ) -> Result<Reservation, ControlError> {
        self.still_open()?;
        let known = self.streams.get(name);
        let home = known.and_then(Stream::home);
        // Whoever publishes it next does so in the later process.
        if home.is_none() && (!may_wait || self.passed_on) {
            return Err(ControlError::no_publisher(name));
        }
        let having = known.into_iter().flat_map(|stream| stream.shared.interested());
        let shard = self.balance.for_viewer(&self.slots, home, having);
        let (key, port) = self.take_slot(shard)?;
        let name = self.stream_for(name, key, &port)?;
        let stream = self.streams.get_mut(&name).expect("it is there or was made just now");
        stream.reserved += 1;
        let (shared, codecs) = (stream.shared.clone(), stream.codecs);
        Ok(Reservation { key, port, stream: name, shared, carried: codecs, codecs })
    }

    /// The name of the stream that a session is to belong to, which is made where it is new. The
    /// session's place is given back where there is no room for that.
    fn stream_for(
        &mut self,
        name: &str,
        key: SessionKey,
        port: &GivenPort,
    ) -> Result<Arc<str>, ControlError> {
        if let Some((name, _)) = self.streams.get_key_value(name) {
            return Ok(name.clone());
        }
        let Some((index, generation)) = self.stream_keys.take() else {
            self.slots[usize::from(key.shard)].give_back(key.slot);
            self.ports.give_back(port);
            return Err(ControlError::no_room("the server has as many streams as it takes"));
        };
        let name: Arc<str> = name.into();
        self.streams.insert(name.clone(), Stream::new(StreamKey { index, generation }));
        Ok(name)
    }

    /// Whether there is no place for one more session, whatever it is.
    pub fn is_full(&self) -> bool {
        self.slots.iter().all(Slots::is_full) || self.ports.is_used_up()
    }

    pub fn still_open(&self) -> Result<(), ControlError> {
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

    /// Enters a session that is on its way to its shard.
    pub fn register(&mut self, key: SessionKey, live: LiveSession) {
        self.tell(SessionEvent::now(key, &live, "created", None));
        self.connecting.enter(key, live.caller.ip, Instant::now());
        let stream = self.streams.get_mut(&live.stream).expect("a reservation keeps the stream");
        stream.reserved -= 1;
        if live.publisher {
            self.publishers[usize::from(key.shard)] += 1;
            let gives_way = stream.apply(key, live.codecs);
            self.ending.extend(gives_way.map(|oldest| (oldest, EndReason::Replaced)));
        } else {
            stream.viewers.join(key);
            // The publisher it waits for does well to send what it takes.
            stream.expect_what_is_taken(live.codecs);
            if !live.codecs.fit(&stream.codecs, self.codec_match) {
                // Another publisher has come while it was negotiated.
                self.ending.push_back((key, EndReason::CodecChanged));
            }
        }
        self.live.insert(key, live);
    }

    /// A session is connected: its answer was good for offers that are like its own, if none was
    /// kept before.
    pub fn connected(&mut self, key: SessionKey) -> Option<Box<Template>> {
        self.connecting.leave(key);
        let live = self.live.get_mut(&key)?;
        live.history.connected = true;
        let _ = self.events.send(SessionEvent::now(key, live, "connected", None));
        let what = Happening::SessionJoined;
        self.listener.hear(&News { what, key, live, end: None, at: unix_now() });
        live.template.take()
    }

    /// A publisher is connected and its media is there: whoever published the stream before is to
    /// be ended. Returns the stream's codecs and its viewers where there may be some that do not
    /// take them.
    pub fn live(
        &mut self,
        key: SessionKey,
        number: u32,
    ) -> Option<(StreamCodecs, Vec<SessionKey>)> {
        let live = self.live.get(&key).filter(|live| live.publisher)?;
        let stream = self.streams.get_mut(&live.stream)?;
        let codecs = live.codecs;
        let replaced = stream.live(key, number, codecs);
        self.ending.extend(replaced.map(|replaced| (replaced, EndReason::Replaced)));
        if stream.publisher() != Some(key) {
            return None;
        }
        self.kept.went_live(&live.stream);
        if replaced.is_none() {
            let what = Happening::StreamStarted;
            self.listener.hear(&News { what, key, live, end: None, at: unix_now() });
        }
        if let Some(former) = replaced {
            limited!(INFO, session = %key, "takes `{}` over from {former}", live.stream);
        }
        if self.on_conflict == OnConflict::Refuse {
            let late = stream.candidates().map(|late| (late, EndReason::Replaced));
            self.ending.extend(late);
        }
        Some((codecs, stream.viewers.keys().to_vec()))
    }

    /// A publisher sends another codec of its answer. Returns what its stream carries now and its
    /// viewers, of whom some may not take it.
    pub fn switched(
        &mut self,
        key: SessionKey,
        payload_type: u8,
    ) -> Option<(StreamCodecs, Vec<SessionKey>)> {
        let live = self.live.get_mut(&key).filter(|live| live.publisher)?;
        let (_, spec) = *live.payloads.iter().find(|(answered, _)| *answered == payload_type)?;
        if spec.codec.is_audio() {
            (live.codecs.audio, live.audio) = (Some(spec), Some(session::name(&spec)));
        } else {
            (live.codecs.video, live.video) = (Some(spec), Some(session::name(&spec)));
        }
        let codecs = live.codecs;
        let stream = self.streams.get_mut(&live.stream)?;
        stream.switched(key, codecs);
        let is_carried = stream.expected() == Some(key);
        is_carried.then(|| (codecs, stream.viewers.keys().to_vec()))
    }

    /// Ends those of `viewers` that do not take `codecs`.
    pub fn end_misfits(&mut self, viewers: &[SessionKey], codecs: &StreamCodecs) {
        for viewer in viewers {
            let how = self.codec_match;
            let misfit = |live: &LiveSession| !live.codecs.fit(codecs, how);
            if self.live.get(viewer).is_some_and(misfit) {
                self.ending.push_back((*viewer, EndReason::CodecChanged));
            }
        }
    }

    pub fn ended(&mut self, ended: Ended) {
        let Ended { key, reason, card } = ended;
        self.slots[usize::from(key.shard)].give_back(key.slot);
        self.connecting.leave(key);
        let Some(live) = self.live.remove(&key) else { return };
        self.ports.give_back(&live.given);
        self.sessions.remove(&live.url);
        if live.publisher {
            self.publishers[usize::from(key.shard)] -= 1;
        }
        let name = live.stream.clone();
        let publisher = self.streams.get(&name).and_then(Stream::publisher);
        let successor = publisher.filter(|_| reason == EndReason::Replaced);
        let published = publisher == Some(key);
        if let Some(stream) = self.streams.get_mut(&name) {
            stream.leave(key);
        }
        if published {
            self.kept.went_away(&name);
        }
        self.tell(SessionEvent::now(key, &live, "ended", Some(reason.label())));
        let mut words = reason.describe().into_owned();
        if reason == EndReason::Unheard {
            let announced = live.given.candidates.iter().map(ToString::to_string);
            words += &format!(" at {}", announced.collect::<Vec<_>>().join(" or "));
        }
        let ended_at = unix_now();
        let end = Some(End { reason, words: &words, card: card.as_deref() });
        let was_there = live.history.connected.then_some(Happening::SessionLeft);
        let session = reason.failure().map(|_| Happening::SessionFailed).or(was_there);
        let stream = published.then_some(Happening::StreamEnded);
        for what in stream.into_iter().chain(session) {
            self.listener.hear(&News { what, key, live: &live, end, at: ended_at });
        }
        let is_of_kind =
            |fault: Option<HandshakeFault>| fault.is_some_and(HandshakeFault::is_of_kind);
        let lacked_certificate = matches!(reason, EndReason::Failed(fault) if is_of_kind(fault));
        self.ended.add(EndedSession {
            key,
            live,
            card,
            ended_at,
            reason,
            words,
            successor,
            lacked_certificate,
        });
        self.forget_if_unused(&name);
    }

    /// SessionEvent is lost where nobody listens.
    pub fn tell(&self, event: SessionEvent) {
        let _ = self.events.send(event);
    }

    pub fn forget_if_unused(&mut self, name: &str) {
        if self.streams.get(name).is_some_and(Stream::is_unused)
            && let Some(stream) = self.streams.remove(name)
        {
            self.stream_keys.give_back(stream.shared.key.index);
        }
    }
}
