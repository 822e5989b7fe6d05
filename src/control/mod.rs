//! Who publishes and watches what, and where: the control side of the server.
//!
//! Protocols call its verbs ([`Control::publish`], [`Control::subscribe`], [`Control::offer`],
//! [`Control::leave`], and those of the ports); it finds a place, has [`crate::session`] negotiate,
//! and sends the finished session to its shard as one command. Nothing in here is on the path of a
//! packet.
//!
//! ```text
//! setup.rs      publish, subscribe: from an offer to a session and its answer
//! offer.rs      a later offer of a session
//! restart.rs    ICE restarts
//! room.rs       room for one more session
//! kick.rs       ending what others have set up
//! layer.rs      which layer a client wants
//! links.rs      streams from other nodes, and to them
//! reports.rs    what shards report
//! connecting.rs those who have not connected, and who gives way; caller.rs, who asks
//! registry.rs   streams, sessions, and the slots in use; streams.rs, session.rs, slots.rs
//! placement.rs  which shard a session goes to
//! directory/    who publishes what, among all nodes; member.rs, this node among them
//! ports/        which UDP port it gets, and how ports come and go
//! takeover.rs   between two processes of which one takes over from the other
//! awaited.rs    which streams viewers wait for that another node may have
//! audience.rs   what a session's client may know of its stream; speakers.rs, who speaks
//! read.rs       what the API reads; history.rs, ended.rs, events.rs
//! news.rs       for who is to miss nothing
//! ```
//!
//! Slots of shards and indexes of streams are given out here and taken back when the shard has
//! reported the end, so a name in use is never given out twice.

mod audience;
mod awaited;
mod caller;
mod connecting;
mod directory;
mod ended;
mod error;
mod events;
mod history;
mod kick;
mod layer;
mod links;
mod member;
mod news;
mod offer;
mod placement;
mod ports;
mod read;
mod registry;
mod reports;
mod restart;
mod room;
mod session;
mod setup;
mod slots;
mod speakers;
mod streams;
mod takeover;
mod viewers;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::id::SessionKey;
use crate::session::{CodecMatch, Negotiator};
pub use crate::session::{OfferError, Renegotiated};
use crate::shard::{Command, EndReason, Wiring};
use crate::telemetry::{Exposition, Failures, SessionCard};
pub use audience::{PictureNow, StreamNow};
pub use caller::Caller;
use connecting::Connecting;
pub use connecting::ConnectingLimits;
use directory::DirectoryMeter;
pub use directory::{
    About, Beat, Claim, Claimed, Directory, HttpAt, MediaPorts, MemoryDirectory, MemoryStore,
    Misfit, NodeRecord, Owner, RedisDirectory, Reply, Terms, Unreachable,
};
pub use ended::{EndedSession, Refusal};
pub use error::ControlError;
pub use events::SessionEvent;
pub use history::Point;
pub use layer::LayerChoice;
pub use links::{KnownChild, LinkCodecs, LinkPlace, LinkView, LinkWay, OtherEnd, Whence};
pub use member::Member;
use member::Others;
pub use news::{End, Happening, Listener, News};
use ports::PortTable;
pub use ports::{
    AutoPorts, Decisions, PortDecision, PortNow, PortOpener, PortRefused, PortRule, PortState,
    PortsNow, RangeNow, StartingPorts,
};
pub use read::StreamView;
use registry::Registry;
pub use restart::RestartedIce;
pub use session::{LiveSession, unix_now};
pub use setup::Placement;
pub use speakers::{Sound, Speaker, Speakers};
pub use takeover::{EarlierLeft, EarlierProcess};

/// What a POST does to a stream that somebody publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The newcomer takes over when its first media is there.
    #[default]
    Replace,
    /// It is refused for as long as media comes from the publisher there is.
    Refuse,
}

/// How a server was asked to run, as far as control goes.
pub struct Settings {
    /// The UDP ports there are at the start.
    pub ports: StartingPorts,
    /// Addresses for answers over TCP; none where it is not served.
    pub tcp_candidates: Vec<SocketAddr>,
    /// Where more ports come from.
    pub opener: Arc<dyn PortOpener>,
    /// The room each shard has.
    pub sessions_per_shard: usize,
    /// How many more sessions than the emptiest shard one may have, so that viewers are where
    /// their publisher is.
    pub gather: usize,
    /// What a POST does to a stream that somebody publishes.
    pub on_conflict: OnConflict,
    /// Whether viewers may come before there is a publisher.
    pub whep_wait: bool,
    /// How many sessions may be answered and not connected.
    pub connecting: ConnectingLimits,
    /// Which viewers fit a stream's codecs.
    pub codec_match: CodecMatch,
    /// Who hears of all that happens.
    pub listener: Arc<dyn Listener>,
    /// This node among others.
    pub member: Member,
}

/// Everything a request needs.
pub struct Control {
    /// Makes sessions.
    pub negotiator: Negotiator,
    /// The way to the shards.
    pub wiring: Arc<Wiring>,
    /// Addresses for answers over TCP; none where it is not served.
    tcp_candidates: Mutex<Arc<[SocketAddr]>>,
    opener: Arc<dyn PortOpener>,
    /// What `--ports-auto` has decided; empty without it.
    decisions: OnceLock<Decisions>,
    registry: Mutex<Registry>,
    /// Notified when a session's place is free again.
    room: Notify,
    member: Member,
    others: Others,
    directory_meter: DirectoryMeter,
    /// Notified when there is something to tell the directory.
    directory_changed: Notify,
    /// Held while the lease is renewed or given back; says whether it was given back.
    left: tokio::sync::Mutex<bool>,
    on_conflict: OnConflict,
    whep_wait: bool,
    failures: Arc<Failures>,
    /// The process that this one has taken over from.
    earlier: Mutex<Option<Arc<dyn EarlierProcess>>>,
}

impl Control {
    /// A server with nobody on it.
    #[must_use]
    pub fn new(negotiator: Negotiator, wiring: Arc<Wiring>, settings: Settings) -> Arc<Control> {
        let shards = wiring.mailboxes.len();
        let Settings { ports, tcp_candidates, opener, member, .. } = settings;
        let (room, gather) = (settings.sessions_per_shard, settings.gather);
        let ports = PortTable::new(ports);
        let rules = (settings.on_conflict, settings.codec_match);
        let connecting = Connecting::new(settings.connecting);
        let listener = settings.listener;
        let registry = Registry::new(shards, room, ports, gather, rules, connecting, listener);
        let failures = registry.ended.failures.clone();
        Arc::new(Control {
            negotiator,
            wiring,
            tcp_candidates: Mutex::new(tcp_candidates.into()),
            opener,
            decisions: OnceLock::new(),
            registry: Mutex::new(registry),
            room: Notify::new(),
            directory_meter: DirectoryMeter::new(member.has_others),
            member,
            others: Others::default(),
            directory_changed: Notify::new(),
            left: tokio::sync::Mutex::default(),
            on_conflict: settings.on_conflict,
            whep_wait: settings.whep_wait,
            failures,
            earlier: Mutex::default(),
        })
    }

    /// Ends the session with this id.
    ///
    /// # Errors
    /// 404 when there is none, 410 when the server has ended it; 503 when its shard is too busy to
    /// be told.
    pub fn leave(&self, id: &str) -> Result<(), ControlError> {
        let mut registry = self.lock();
        let key = *registry.sessions.get(id).ok_or_else(|| registry.ended.gone(id))?;
        self.end(key, EndReason::Deleted)?;
        // The URL is dead from here on; the slot is taken back when the shard is done with it.
        registry.sessions.remove(id);
        Ok(())
    }

    /// The ETag and the client's ICE user name of the session with this id.
    ///
    /// # Errors
    /// 404 when there is none, 410 when the server has ended it.
    pub fn ice_session(&self, id: &str) -> Result<(String, Option<String>), ControlError> {
        let registry = self.lock();
        let session = registry.sessions.get(id).and_then(|key| registry.live.get(key));
        let session = session.ok_or_else(|| registry.ended.gone(id))?;
        Ok((session.etag.clone(), session.remote_ufrag.clone()))
    }

    /// Whether the session with this id publishes, and which stream it is of.
    ///
    /// # Errors
    /// 404 when there is none, 410 when the server has ended it.
    pub fn whose(&self, id: &str) -> Result<(bool, Arc<str>), ControlError> {
        let registry = self.lock();
        let session = registry.sessions.get(id).and_then(|key| registry.live.get(key));
        let session = session.ok_or_else(|| registry.ended.gone(id))?;
        Ok((session.publisher, session.stream.clone()))
    }

    /// Tells shards whom to end; where one has too much to do, whoever takes reports tries again.
    fn end_soon(&self, registry: &mut Registry) {
        if !self.end_those_to_be_ended(registry) {
            self.wiring.reported.notify_one();
        }
    }

    /// Tells shards whom to end; false where a shard has too much to do and some are left.
    fn end_those_to_be_ended(&self, registry: &mut Registry) -> bool {
        while let Some((key, reason)) = registry.ending.front() {
            if self.end(*key, *reason).is_err() {
                return false;
            }
            registry.ending.pop_front();
        }
        true
    }

    /// What tells this node from its predecessor of the same name.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.member.incarnation
    }

    /// Adds how it goes with the directory, where there are other nodes.
    pub fn expose_directory(&self, exposition: &mut Exposition) {
        self.directory_meter.expose(exposition);
    }

    /// Sessions and streams there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let registry = self.lock();
        (registry.live.len(), registry.streams.len())
    }

    /// Sessions that were answered and have not connected.
    #[must_use]
    pub fn connecting(&self) -> usize {
        self.lock().connecting.len()
    }

    /// What `--ports-auto` has decided; `None` without it.
    #[must_use]
    pub fn decisions(&self) -> Option<&Decisions> {
        self.decisions.get()
    }

    /// Takes in how much of the last second each shard ran, in thousandths, for the placement of
    /// the sessions to come; `None` where that is not known.
    pub fn observe_load(&self, permille: &[Option<u32>]) {
        self.others.observe(permille);
        self.lock().balance.observe(permille);
    }

    /// Answers from now on name other addresses: `at` says which, by UDP port, and `tcp` those for
    /// TCP. Sessions there are keep what they were answered.
    pub fn announce(&self, at: impl Fn(u16) -> Vec<SocketAddr>, tcp: Vec<SocketAddr>) {
        self.lock().ports.announce(at);
        *self.tcp_candidates.lock().unwrap_or_else(PoisonError::into_inner) = tcp.into();
    }

    /// Addresses for answers over TCP.
    fn tcp_candidates(&self) -> Arc<[SocketAddr]> {
        self.tcp_candidates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes no more sessions.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    /// What its shard says of a session.
    #[must_use]
    pub fn card(&self, key: SessionKey) -> Option<SessionCard> {
        let meters = self.wiring.meters.get(usize::from(key.shard))?;
        let (generation, card) = meters.cards.read(key.slot)?;
        (generation == key.generation).then_some(card)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock left at worst one session half registered.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, key: SessionKey, reason: EndReason) -> Result<(), ControlError> {
        let mailbox = &self.wiring.mailboxes[usize::from(key.shard)];
        mailbox
            .command(Command::End(key, reason))
            .map_err(|_command| ControlError::overloaded("the session's shard has too much to do"))
    }
}
