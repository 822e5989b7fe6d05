//! One stream as one shard sees it: its tracks, its viewers, and its publisher if that is here.

use std::sync::Arc;
use std::time::Instant;

use super::aim::Aim;
use super::{Admission, Carry, Layer, Replay, StreamShared, Track};
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::id::{TrackId, TrackKind};
use crate::limits::MAX_TRACKS_OF_A_KIND;
use crate::media::{Bytes, MediaPacket, WantedLayers};
use crate::net::{Destination, prefetch};

/// Viewers whose memory is asked for before a packet is handled.
const VIEWERS_AHEAD: usize = 2;

/// The steps of [`Stream::prefetch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tracks and viewers.
    Tracks,
    /// The layers of tracks.
    Layers,
    /// Where the next packet of a layer is kept.
    Places,
    /// The payload that it takes the memory of.
    Payloads,
}

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
    /// Whether it stands in the list of those.
    pub(super) replays: bool,
    /// Which layers it is to get, by lane; where it has nothing to say to that, the best.
    pub(super) aims: Option<Box<[Aim]>>,
    /// Whether it may not have them.
    pub(super) unsettled: bool,
    /// Whether it takes transport-wide numbers, and never says anything of them.
    pub(super) gives_no_feedback: bool,
    /// Which of its lanes show nothing before a key frame comes, a bit each.
    pub(super) broken: u8,
    /// Before that it is not kept waiting for another layer again.
    pub(super) hold_again: Instant,
    /// Before that no key frame is asked for again because it is too far behind.
    pub(super) asks_again: Instant,
}

impl Viewer {
    /// One that comes at `now` and gets the best of everything it takes.
    pub(super) fn new(now: Instant, slot: u32, egress: Egress, to: Destination) -> Viewer {
        Viewer {
            egress,
            to,
            slot,
            started: false,
            muted: false,
            replay: None,
            replays: false,
            aims: None,
            unsettled: false,
            gives_no_feedback: false,
            broken: 0,
            hold_again: now,
            asks_again: now,
        }
    }
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
    /// The number of this one.
    pub(super) shard: u16,
    /// Those that somebody sends or takes, audio first.
    pub(super) tracks: Vec<Track>,
    pub(super) viewers: Vec<Viewer>,
    publisher: Option<LocalPublisher>,
    /// Sessions of this shard that belong to the stream, ready or not.
    pub(super) members: usize,
    /// Whoever takes it to other nodes, by its number on the shard.
    pub(super) exporter: Option<u32>,
    /// Which layers of its video tracks those nodes want.
    pub(super) wanted_elsewhere: [WantedLayers; MAX_TRACKS_OF_A_KIND],
    /// Whether it stands in the list of streams with something to do.
    pub(super) active: bool,
    /// Viewers that have not caught up, by their places in the order of fan-out.
    pub(super) replaying: Vec<usize>,
    /// When those are sent more.
    pub(super) replay_due: Option<Instant>,
    /// Viewers that may not have the layers they are to get, likewise.
    pub(super) unsettled: Vec<usize>,
    /// Viewers that were sent something in this turn whose packets have transport-wide numbers, by
    /// their places in the order of fan-out.
    pub(super) numbered: Vec<usize>,
    /// Viewers over TCP for whom other layers may follow from what waits for them, in this turn.
    pub(super) looked_at: Vec<usize>,
    /// Viewers that are sent padding, as it is found out what their paths carry, likewise.
    pub(super) probing: Vec<usize>,
    /// When those are sent more.
    pub(super) probe_due: Option<Instant>,
    /// Whether there may be viewers that need not report but now and then; up to when their turns
    /// came, and whose turn was last.
    pub(super) samples: bool,
    pub(super) sampled: Option<Instant>,
    pub(super) sample_next: usize,
}

impl Stream {
    pub(super) fn new(shard: u16, shared: Arc<StreamShared>) -> Stream {
        Stream {
            shared,
            shard,
            tracks: Vec::new(),
            viewers: Vec::new(),
            publisher: None,
            members: 0,
            exporter: None,
            wanted_elsewhere: Default::default(),
            active: false,
            replaying: Vec::new(),
            replay_due: None,
            unsettled: Vec::new(),
            numbered: Vec::new(),
            looked_at: Vec::new(),
            probing: Vec::new(),
            probe_due: None,
            samples: false,
            sampled: None,
            sample_next: 0,
        }
    }

    /// The track named `id`, if there is anything of it.
    #[must_use]
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id() == id)
    }

    /// The clock of a track at `now`, which is `wall` by our own, for a viewer of a layer of it: an
    /// NTP time and the timestamp that belongs to it. Where the publisher says it of none of its
    /// tracks, all go by our clock and when their packets come; of one alone that would part it
    /// from the others.
    #[must_use]
    pub fn clock_at(
        &self,
        (id, layer): (TrackId, Option<u8>),
        now: Instant,
        wall: u64,
    ) -> Option<(u64, u32)> {
        let track = self.track(id)?;
        if let Some(clock) = track.clock_at(now, layer) {
            return Some(clock);
        }
        let is_silent = self.tracks.iter().all(|track| track.clock_at(now, None).is_none());
        track.arrival_clock_at(now).filter(|_| is_silent).map(|timestamp| (wall, timestamp))
    }

    /// The track named `id`, made where it is new; `None` where there can be no such.
    pub(super) fn track_mut(&mut self, id: TrackId) -> Option<&mut Track> {
        track_in(&mut self.tracks, id)
    }

    /// There are the tracks that the viewer at `position` takes, though nobody may send them yet.
    pub(super) fn make_tracks(&mut self, position: usize) {
        for lane in 0..self.viewers[position].egress.lanes().len() {
            let id = self.viewers[position].egress.lanes()[lane].id();
            self.track_mut(id);
        }
    }

    /// The number of its publisher, while that is there.
    #[must_use]
    pub fn live_publisher(&self) -> Option<u32> {
        self.shared.live_publisher()
    }

    /// Bytes of memory that it takes, and its histories.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let viewers = self.viewers.capacity() * size_of::<Viewer>();
        let tracks = self.tracks.capacity() * size_of::<Track>();
        let own = size_of::<Stream>() + size_of::<StreamShared>() + viewers + tracks;
        let layers = self.tracks.iter().flat_map(Track::layers);
        let of_layer = |(own, histories): (usize, usize), layer: &Layer| {
            (own + size_of::<Layer>(), histories + layer.history.bytes())
        };
        let thinned = self.tracks.iter().map(Track::bytes_to_thin).sum::<usize>();
        let points = self.tracks.iter().flat_map(Track::points);
        layers.chain(points).fold((own + thinned, 0), of_layer)
    }

    /// A packet will come soon: each step fetches what the memory of the one before leads to. First
    /// its tracks and its first viewers; the others come one after the other, which a processor
    /// foresees.
    pub fn prefetch(&self, step: Step) {
        if step == Step::Tracks {
            prefetch(&self.tracks[..]);
            prefetch(&self.viewers[..self.viewers.len().min(VIEWERS_AHEAD)]);
            return;
        }
        self.tracks.iter().for_each(|track| track.prefetch(step));
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

    /// Other shards and the publisher hear whether anybody here, or on another node, takes it.
    pub(super) fn tell_interest(&self) {
        let interested = self.has_viewers() || self.exporter.is_some();
        self.shared.set_interest(self.shard, interested);
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
        let number = match source {
            Source::Session(_) => self.shared.take_over(shard),
            Source::Relay(_) => self.shared.take_over_by_link(shard),
        };
        self.publisher = Some(LocalPublisher { source, number });
        let is_watched = self.shared.interested().next().is_some();
        for id in tracks.filter(|id| id.kind == TrackKind::Video && is_watched) {
            let Some(track) = self.track_mut(id) else { continue };
            let wanted = track.best_layer();
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

    /// Decides on a packet of the publisher, who is on this shard: why nobody gets it, if so. Then
    /// whether its layers have changed, and whether a key frame is to be asked for.
    pub(super) fn carry_published<P: Bytes>(
        &mut self,
        packet: &MediaPacket<P>,
    ) -> (Result<(), DropReason>, bool, bool) {
        let id = packet.track.id;
        let Stream { tracks, shared, .. } = self;
        let Some(track) = track_in(tracks, id) else {
            return (Err(DropReason::UnknownTrack), false, false);
        };
        let show = |layer, shown| shared.show_layer(id, layer, shown);
        let (carry, standing) = track.carry_published(packet, show);
        satisfy(track, packet, carry);
        if let Some(standing) = standing {
            shared.set_standing(id, standing);
        }
        if let Some(said) = packet.extensions.audio_level {
            shared.hear(id, packet.received, said);
        }
        let asks = track.prepare(shared, packet.received);
        (carried(carry), standing.is_some(), asks)
    }

    /// Decides on a packet of a publisher on another shard, likewise.
    pub(super) fn carry_received(
        &mut self,
        packet: &MediaPacket,
    ) -> (Result<(), DropReason>, bool) {
        let id = packet.track.id;
        let standing = self.shared.standing(id);
        let Some(track) = self.track_mut(id) else {
            return (Err(DropReason::UnknownTrack), false);
        };
        let (carry, changed) = track.carry_received(packet, standing);
        satisfy(track, packet, carry);
        (carried(carry), changed)
    }

    /// Whether anybody here takes the layer of a packet.
    pub(super) fn takes<P>(&self, packet: &MediaPacket<P>) -> bool {
        let track = self.track(packet.track.id);
        self.has_viewers() && track.is_some_and(|track| track.is_taken(packet.layer))
    }

    /// Takes a packet that is carried into its track.
    ///
    /// # Errors
    /// Why nobody here gets it.
    pub(super) fn admit<P: Bytes + Clone>(
        &mut self,
        packet: MediaPacket<P>,
        hold: std::time::Duration,
    ) -> Result<(), DropReason> {
        let track = self.track_mut(packet.track.id).ok_or(DropReason::UnknownTrack)?;
        match track.admit(packet, hold) {
            Admission::Admitted => Ok(()),
            Admission::Duplicate | Admission::TooOld | Admission::Replaced => {
                Err(DropReason::StaleMedia)
            }
        }
    }

    /// Keeps a packet that is carried, though nobody here takes it, for who comes next. Returns
    /// whether it is one that has come before.
    pub(super) fn keep<P: Bytes + Clone>(&mut self, mut packet: MediaPacket<P>) -> bool {
        let id = packet.track.id;
        // Nobody begins with sound of the past, but for nodes that had it from another one.
        let by = self.publisher.map(|by| by.source);
        let is_for_nodes = matches!(by, Some(Source::Relay(_)));
        let is_kept = id.kind == TrackKind::Video || is_for_nodes;
        let Some(track) = self.track_mut(id).filter(|_| is_kept) else { return false };
        let Ok(kept) = track.keep(&mut packet) else { return true };
        if track.points().next().is_some() {
            track.thin(&kept, None);
        }
        false
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
        // Who was to be sent something may have gone.
        let replay = self.replay_due.filter(|_| !self.replaying.is_empty());
        let probe = self.probe_due.filter(|_| !self.probing.is_empty());
        [pending, keyframe, replay, probe].into_iter().flatten().min()
    }

    /// Whether a key frame is to be asked for, and nobody was asked yet.
    pub(super) fn has_to_ask(&self, shard: u16) -> bool {
        let mut layers = self.tracks.iter().flat_map(|track| track.layers());
        self.who_to_ask(shard).is_some() && layers.any(|layer| layer.keyframes.is_due_at_once())
    }

    /// The viewer at `position` has gone; the last one has its place now.
    pub(super) fn forget_place(&mut self, position: usize) {
        let last = self.viewers.len();
        for places in [&mut self.replaying, &mut self.unsettled, &mut self.probing] {
            places.retain(|place| *place != position);
            for place in places.iter_mut().filter(|place| **place == last) {
                *place = position;
            }
        }
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
        mut due: impl FnMut(TrackId, u8, bool, bool),
    ) {
        let is_watched = match ask {
            Ask::Source(_) => self.shared.interested().next().is_some(),
            Ask::Shard(_) => self.has_viewers(),
        };
        for track in &mut self.tracks {
            let id = track.id();
            for layer in 0..track.layers().len() as u8 {
                let Some(known) = track.layer_mut(layer) else { continue };
                let heard = !known.keyframes.is_deaf();
                if !is_watched {
                    known.keyframes.satisfied();
                } else if known.keyframes.due(now) {
                    let has_gone_deaf = heard && known.keyframes.is_deaf();
                    due(id, layer, known.keyframes.past_will_do(), has_gone_deaf);
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
        tracks.reserve_exact(1);
        tracks.insert(place, Track::new(id));
    }
    tracks.get_mut(place)
}

/// A key frame has come.
fn satisfy<P>(track: &mut Track, packet: &MediaPacket<P>, carry: Carry) {
    if packet.keyframe
        && carry == Carry::Yes
        && let Some(layer) = track.layer_mut(packet.layer)
    {
        layer.keyframes.come(packet.received);
    }
}

fn carried(carry: Carry) -> Result<(), DropReason> {
    match carry {
        Carry::Yes => Ok(()),
        Carry::TooManyLayers => Err(DropReason::TooManyLayers),
        Carry::Replaced => Err(DropReason::StaleMedia),
    }
}
