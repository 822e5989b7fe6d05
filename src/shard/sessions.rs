//! The sessions of one shard, by slot.

use std::time::{Duration, Instant};

use super::trial::Trust;
use super::watch::Watch;
use crate::drop::DropReason;
use crate::egress::{Control, Reception};
use crate::id::{SessionKey, StreamKey, TrackId};
use crate::ingest::Ingest;
use crate::limits::{DTLS_SESSION_BYTES, SESSION_IDLE};
use crate::media::{PublisherTerms, ViewerTerms};
use crate::session::Session;
use crate::srtp::{MasterKey, Profile, Rejected, RtcpOpener, RtcpSealer};
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
    /// When its DTLS wants to hear of time, if it does.
    pub dtls_deadline: Option<Instant>,
    /// What it publishes, if it does.
    pub publishes: Option<Box<Publishing>>,
    /// The streams it takes tracks of.
    pub takes: Vec<Taking>,
    /// SRTP keys, once DTLS has said.
    pub keys: Option<Box<Keys>>,
    /// How far media may go where the peer was not seen to receive.
    pub trust: Trust,
    /// What repair may cost, of one that takes something.
    pub control: Option<Box<Control>>,
    /// How it fares.
    pub watch: Watch,
}

/// What a session publishes.
pub(super) struct Publishing {
    pub stream: StreamKey,
    /// Its number among the publishers of the stream, once it has taken over; see
    /// [`crate::media::Origin`].
    pub number: u32,
    pub tracks: Vec<TrackId>,
    /// How it sends, until its keys are there.
    pub terms: PublisherTerms,
    /// What takes its media in from then on.
    pub ingest: Option<Ingest>,
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

/// The keys of both ends. RTCP is of the session, whatever it publishes and takes: it is numbered
/// in one.
pub(super) struct Keys {
    pub profile: Profile,
    /// What this end writes media with.
    pub local: MasterKey,
    /// Seals the RTCP of this end.
    pub sealer: RtcpSealer,
    /// Opens that of the peer.
    pub opener: RtcpOpener,
}

impl Keys {
    /// `local` is the master key this end writes with, `remote` the peer's.
    pub fn new(profile: Profile, local: MasterKey, remote: &MasterKey) -> Keys {
        let sealer = RtcpSealer::new(profile, &local);
        Keys { profile, local, sealer, opener: RtcpOpener::new(profile, remote) }
    }

    /// Opens one SRTCP datagram in place and returns the length of the compound in it.
    pub fn open(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        self.opener.open(datagram).map_err(|rejected| match rejected {
            Rejected::Malformed => DropReason::MalformedRtcp,
            Rejected::Auth => DropReason::SrtpAuth,
            Rejected::Replay => DropReason::SrtpReplay,
        })
    }
}

impl Entry {
    /// The first stream it takes that is ready, with its place there.
    pub fn first_ready(&self) -> Option<(StreamKey, &Ready)> {
        self.takes.iter().find_map(|taking| Some((taking.stream, taking.ready.as_ref()?)))
    }

    /// Bytes of memory that it takes: all that is known, and what DTLS keeps by experience.
    pub fn bytes(&self) -> (usize, usize) {
        let keys = self.keys.as_deref().map_or(0, size_of_val);
        let control = self.control.as_deref().map_or(0, size_of_val);
        let published = self.publishes.as_deref().map_or(0, |publishing| {
            let beside = publishing.ingest.as_ref().map_or(0, Ingest::bytes_beside);
            size_of_val(publishing) + beside
        });
        let takes = self.takes.capacity() * size_of::<Taking>();
        let own = size_of_val(self) + size_of_val(&*self.session);
        let dtls = if self.flight.is_some() { DTLS_SESSION_BYTES } else { 0 };
        (own + keys + control + published + takes, dtls)
    }

    /// The earliest thing it waits for, where it has as long as `setup_timeout` to connect.
    pub fn deadline(&self, setup_timeout: Duration) -> Instant {
        let limit =
            if self.connected { self.heard + SESSION_IDLE } else { self.created + setup_timeout };
        let at = self.dtls_deadline.map_or(limit, |dtls| dtls.min(limit));
        let at = self.trust.deadline().map_or(at, |trial| at.min(trial));
        let at = self.control.as_ref().map_or(at, |control| at.min(control.next_report));
        let Some(publishing) = self.publishes.as_ref().filter(|_| self.connected) else {
            return at;
        };
        let feedback = publishing.ingest.as_ref().map_or(at, Ingest::deadline);
        at.min(feedback).min(self.watch.next)
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

    /// The session in a slot, to look at it.
    pub fn look_at(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// The session with exactly this key.
    pub fn get(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.at(key.slot).filter(|entry| entry.key == key)
    }

    /// How many slots there are, in use or not.
    pub fn slots(&self) -> usize {
        self.slots.len()
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
