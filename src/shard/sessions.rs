//! The sessions of one shard, by slot.

use std::time::{Duration, Instant};

use super::trial::Trust;
use super::watch::Watch;
use crate::egress::{Control, Reception};
use crate::id::{SessionKey, StreamKey};
use crate::limits::SESSION_IDLE;
use crate::media::ViewerTerms;
use crate::session::Session;
use crate::srtp::{MasterKey, Profile};
use crate::wire::dtls::Flight;

/// One session with what its shard keeps about it.
pub(super) struct Entry {
    pub key: SessionKey,
    pub session: Box<Session>,
    /// Slot of the port its answer named.
    pub port: u32,
    pub created: Instant,
    pub connected: bool,
    /// Whether a check or report that authenticated has come, and when last.
    pub heard: Instant,
    /// How far its DTLS handshake has come.
    pub flight: Option<Flight>,
    /// When str0m wants to hear of time.
    pub rtc_deadline: Instant,
    /// The stream it publishes, if it does.
    pub publishes: Option<StreamKey>,
    /// The streams it takes tracks of.
    pub takes: Vec<Taking>,
    /// SRTP keys, once DTLS has said, where they are ours to use.
    pub keys: Option<Box<Keys>>,
    /// How far media may go where the peer was not seen to receive.
    pub trust: Trust,
    /// RTCP with whoever takes something.
    pub control: Option<Box<Control>>,
    /// How it fares.
    pub watch: Watch,
}

/// What a session takes of one stream.
pub(super) struct Taking {
    pub stream: StreamKey,
    /// The tracks it was promised, until it is ready.
    pub terms: ViewerTerms,
    /// Set when it is ready for media.
    pub ready: Option<Ready>,
}

/// A viewer that is ready for the media of a stream.
pub(super) struct Ready {
    /// Its place in the stream's order of fan-out.
    pub position: usize,
    /// What it reports of the stream.
    pub reception: Reception,
}

/// The keys of both ends.
pub(super) struct Keys {
    pub profile: Profile,
    /// What this end writes with.
    pub local: MasterKey,
    /// What the peer writes with.
    pub remote: MasterKey,
}

impl Entry {
    /// The first stream it takes that is ready, with its place there.
    pub fn first_ready(&self) -> Option<(StreamKey, &Ready)> {
        self.takes.iter().find_map(|taking| Some((taking.stream, taking.ready.as_ref()?)))
    }

    /// The earliest thing it waits for, where it has as long as `setup_timeout` to connect.
    pub fn deadline(&self, setup_timeout: Duration) -> Instant {
        let limit =
            if self.connected { self.heard + SESSION_IDLE } else { self.created + setup_timeout };
        let at = self.rtc_deadline.min(limit);
        let at = self.trust.deadline().map_or(at, |trial| at.min(trial));
        match &self.control {
            Some(control) => at.min(control.next_report),
            None if self.connected && self.publishes.is_some() => at.min(self.watch.next),
            None => at,
        }
    }
}

/// Sessions by slot.
#[derive(Default)]
pub(super) struct Sessions {
    slots: Vec<Option<Box<Entry>>>,
    count: usize,
}

impl Sessions {
    /// Puts a session into its slot; the one that was there is returned.
    pub fn insert(&mut self, entry: Entry) -> Option<Box<Entry>> {
        let slot = entry.key.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        let previous = self.slots[slot].replace(Box::new(entry));
        self.count += usize::from(previous.is_none());
        previous
    }

    /// The session in a slot.
    pub fn at(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The session with exactly this key.
    pub fn get(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.at(key.slot).filter(|entry| entry.key == key)
    }

    /// Takes a session out.
    pub fn remove(&mut self, slot: u32) -> Option<Box<Entry>> {
        let entry = self.slots.get_mut(slot as usize)?.take();
        self.count -= usize::from(entry.is_some());
        entry
    }

    /// Slots in use, ascending.
    pub fn occupied(&self) -> impl Iterator<Item = u32> + '_ {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, entry)| entry.is_some()).map(|(slot, _)| slot as u32)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }
}
