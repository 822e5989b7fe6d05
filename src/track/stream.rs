//! One stream as one shard sees it: its tracks, its viewers, and its publisher if that is here.

use std::sync::Arc;
use std::time::Instant;

use super::{Admission, Carry, Replay, StreamShared, Track};
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::id::{TrackId, TrackKind};
use crate::limits::MAX_TRACKS_OF_A_KIND;
use crate::media::MediaPacket;
use crate::net::Destination;

/// A viewer that is ready for media. These lie in one array per stream, in the order of fan-out.
pub struct Viewer {
    /// What a packet touches of it.
    pub egress: Egress,
    /// Where its packets go.
    pub to: Destination,
    /// Its session's slot.
    pub slot: u32,
    /// Whether it was sent anything yet.
    pub started: bool,
    /// Whether it is sent nothing for now: nobody was seen to receive where it would go.
    pub muted: bool,
    /// How far it is in the past that it began with, until it has caught up.
    pub replay: Option<Box<Replay>>,
}

/// Where a stream's packets come from, on the shard they come to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The session in this slot.
    Session(u32),
    /// A relay of this shard, by its number: the publisher is elsewhere.
    Relay(u32),
}

/// Who is asked for the key frames of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The source, which is on this shard.
    Source(Source),
    /// The shard that the source is on.
    Shard(u16),
}

/// The publisher of a stream, when its packets come to this shard first.
#[derive(Clone, Copy)]
struct LocalPublisher {
    source: Source,
    /// Its number among the stream's publishers.
    number: u32,
}

/// A stream, on one shard.
pub struct Stream {
    /// What all shards know of it.
    pub(super) shared: Arc<StreamShared>,
    /// Those that somebody sends or takes, audio first.
    pub(super) tracks: Vec<Track>,
    pub(super) viewers: Vec<Viewer>,
    publisher: Option<LocalPublisher>,
    /// Sessions of this shard that belong to the stream, ready or not.
    pub(super) members: usize,
    /// Whether it stands in the list of streams with something to do.
    pub(super) active: bool,
    /// Viewers that have not caught up, by their places in the order of fan-out.
    pub(super) replaying: Vec<usize>,
    /// When those are sent more.
    pub(super) replay_due: Option<Instant>,
}

impl Stream {
    pub(super) fn new(shared: Arc<StreamShared>) -> Stream {
        Stream {
            shared,
            tracks: Vec::new(),
            viewers: Vec::new(),
            publisher: None,
            members: 0,
            active: false,
            replaying: Vec::new(),
            replay_due: None,
        }
    }

    /// The track named `id`, if there is anything of it.
    #[must_use]
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id() == id)
    }

    /// The clock of a track at `now`, which is `wall` by our own: an NTP time and the timestamp
    /// that belongs to it. Where the publisher says it of none of its tracks, all go by our clock
    /// and when their packets come; of one alone that would part it from the others.
    #[must_use]
    pub fn clock_at(&self, id: TrackId, now: Instant, wall: u64) -> Option<(u64, u32)> {
        let track = self.track(id)?;
        if let Some(clock) = track.clock_at(now) {
            return Some(clock);
        }
        let is_silent = self.tracks.iter().all(|track| track.clock_at(now).is_none());
        track.arrival_clock_at(now).filter(|_| is_silent).map(|timestamp| (wall, timestamp))
    }

    /// The track named `id`, made where it is new; `None` where there can be no such.
    pub(super) fn track_mut(&mut self, id: TrackId) -> Option<&mut Track> {
        track_in(&mut self.tracks, id)
    }

    /// A viewer by its place in the order of fan-out.
    #[must_use]
    pub fn viewer(&self, position: usize) -> Option<&Viewer> {
        self.viewers.get(position)
    }

    /// A viewer by its place in the order of fan-out, to change it.
    pub fn viewer_mut(&mut self, position: usize) -> Option<&mut Viewer> {
        self.viewers.get_mut(position)
    }

    /// Whether anybody here takes anything of it.
    pub(super) fn has_viewers(&self) -> bool {
        !self.viewers.is_empty()
    }

    /// `source` on this shard, which is `shard`, takes the place of the publisher before. Returns
    /// its number. It owes a key frame of its `tracks` to whoever watches already, here or
    /// elsewhere.
    pub(super) fn take_over(
        &mut self,
        shard: u16,
        source: Source,
        tracks: impl Iterator<Item = TrackId>,
    ) -> u32 {
        let number = self.shared.take_over(shard);
        self.publisher = Some(LocalPublisher { source, number });
        let is_watched = self.shared.interested().next().is_some();
        for id in tracks.filter(|id| id.kind == TrackKind::Video && is_watched) {
            let Some(track) = self.track_mut(id) else { continue };
            let wanted = track.wanted_layer();
            if let Some(layer) = track.layer_mut(wanted) {
                layer.keyframes.start_over();
                layer.keyframes.request();
            }
        }
        number
    }

    /// `source` has ended; if it was the publisher, there is none here from now on.
    pub(super) fn source_left(&mut self, source: Source) {
        if let Some(publisher) = self.publisher.filter(|publisher| publisher.source == source) {
            self.publisher = None;
            self.shared.publisher_left(publisher.number);
        }
    }

    /// Decides on a packet of the publisher, who is on this shard: why nobody gets it, if so. True
    /// where there is a key frame to be asked for.
    pub(super) fn carry_published(
        &mut self,
        packet: &MediaPacket,
    ) -> (Result<(), DropReason>, bool) {
        let id = packet.track.id;
        let Stream { tracks, shared, .. } = self;
        let Some(track) = track_in(tracks, id) else {
            return (Err(DropReason::UnknownTrack), false);
        };
        let show = |layer, shown| shared.show_layer(id, layer, shown);
        let (carry, best) = track.carry_published(packet, show);
        // Whoever watches already needs a key frame of the new publisher, or of the new layer.
        let asks = best.filter(|_| id.kind == TrackKind::Video);
        if let Some(layer) = asks.and_then(|layer| track.layer_mut(layer)) {
            layer.keyframes.request();
        }
        if packet.keyframe
            && carry != Carry::Replaced
            && let Some(layer) = track.layer_mut(packet.layer)
        {
            layer.keyframes.satisfied();
        }
        if let Some(best) = best {
            shared.set_best_layer(id, best);
        }
        (carried(carry), asks.is_some())
    }

    /// Decides on a packet of a publisher on another shard, likewise. A key frame is to be asked
    /// for where the publisher's shard has changed layers and the new one's has not come here.
    pub(super) fn carry_received(
        &mut self,
        packet: &MediaPacket,
    ) -> (Result<(), DropReason>, bool) {
        let best = self.shared.best_layer(packet.track.id);
        let Some(track) = self.track_mut(packet.track.id) else {
            return (Err(DropReason::UnknownTrack), false);
        };
        let carry = track.carry(packet, best);
        let mut asks = false;
        if let Some(layer) = track.layer_mut(packet.layer) {
            if packet.keyframe && carry != Carry::Replaced {
                layer.keyframes.satisfied();
            } else if carry == Carry::OtherLayer && packet.layer == best {
                layer.keyframes.request();
                asks = true;
            }
        }
        (carried(carry), asks)
    }

    /// Takes a packet that is carried into its track.
    ///
    /// # Errors
    /// Why nobody here gets it.
    pub(super) fn admit(
        &mut self,
        packet: MediaPacket,
        hold: std::time::Duration,
    ) -> Result<(), DropReason> {
        if !self.has_viewers() {
            return Err(DropReason::NoViewers);
        }
        let track = self.track_mut(packet.track.id).ok_or(DropReason::UnknownTrack)?;
        match track.admit(packet, hold) {
            Admission::Admitted => Ok(()),
            Admission::Duplicate | Admission::TooOld | Admission::Replaced => {
                Err(DropReason::StaleMedia)
            }
        }
    }

    /// Keeps a packet that is carried, though nobody here takes it, for who comes next.
    pub(super) fn keep(&mut self, mut packet: MediaPacket) {
        let id = packet.track.id;
        if let Some(track) = self.track_mut(id).filter(|_| id.kind == TrackKind::Video) {
            track.keep(&mut packet);
        }
    }

    /// Packets whose time has come, audio first.
    pub(super) fn take_pending(&mut self, now: Instant, into: &mut Vec<MediaPacket>) {
        for track in &mut self.tracks {
            track.take_pending(now, into);
        }
    }

    /// When the stream must be looked at again: for a pending packet, or for a key frame that is to
    /// be asked for, while there is somebody to ask on a shard that is not `shard`, or here.
    pub(super) fn deadline(&self, shard: u16) -> Option<Instant> {
        let pending = self.tracks.iter().filter_map(Track::pending_deadline).min();
        let keyframe = self.who_to_ask(shard).and_then(|_ask| {
            let layers = self.tracks.iter().flat_map(|track| track.layers());
            layers.filter_map(|layer| layer.keyframes.deadline()).min()
        });
        [pending, keyframe, self.replay_due].into_iter().flatten().min()
    }

    /// Who could be asked for a key frame; `None` while there is no publisher.
    pub(super) fn who_to_ask(&self, shard: u16) -> Option<Ask> {
        match (self.publisher, self.shared.publisher()) {
            (Some(publisher), _) => Some(Ask::Source(publisher.source)),
            (None, Some(other)) if other != shard => Some(Ask::Shard(other)),
            _ => None,
        }
    }

    /// Visits the layers whose key frame is to be asked for now. Where nobody watches, nobody waits
    /// any more.
    pub(super) fn keyframes_due(
        &mut self,
        now: Instant,
        ask: Ask,
        mut due: impl FnMut(TrackId, u8, bool),
    ) {
        let is_watched = match ask {
            Ask::Source(_) => self.shared.interested().next().is_some(),
            Ask::Shard(_) => self.has_viewers(),
        };
        for track in &mut self.tracks {
            let id = track.id();
            for layer in 0..track.layers().len() as u8 {
                let Some(known) = track.layer_mut(layer) else { continue };
                if !is_watched {
                    known.keyframes.satisfied();
                } else if known.keyframes.due(now) {
                    due(id, layer, known.keyframes.past_will_do());
                }
            }
        }
    }
}

fn track_in(tracks: &mut Vec<Track>, id: TrackId) -> Option<&mut Track> {
    let place = tracks.partition_point(|track| track.id() < id);
    if tracks.get(place).is_none_or(|track| track.id() != id) {
        if usize::from(id.number) >= MAX_TRACKS_OF_A_KIND {
            return None;
        }
        tracks.insert(place, Track::new(id));
    }
    tracks.get_mut(place)
}

fn carried(carry: Carry) -> Result<(), DropReason> {
    match carry {
        Carry::Yes => Ok(()),
        Carry::OtherLayer => Err(DropReason::LayerNotCarried),
        Carry::TooManyLayers => Err(DropReason::TooManyLayers),
        Carry::Replaced => Err(DropReason::StaleMedia),
    }
}
