//! The streams one shard takes part in.

use std::sync::Arc;
use std::time::Instant;

use crate::egress::Egress;
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::MAX_TRACKS_OF_A_KIND;
use crate::media::MediaPacket;
use crate::net::Destination;
use crate::track::{Carry, StreamShared, Track};

/// A viewer that is ready for media. These lie in one array per stream, in the order of fan-out.
pub(super) struct Viewer {
    pub egress: Egress,
    pub to: Destination,
    /// Its session's slot.
    pub slot: u32,
    /// Whether it was sent anything yet.
    pub started: bool,
}

/// The publisher of a stream whose media has come.
#[derive(Clone, Copy)]
pub(super) struct LocalPublisher {
    /// Its session's slot.
    pub slot: u32,
    /// Its number among the stream's publishers.
    pub number: u32,
}

/// One stream as this shard sees it.
pub(super) struct LocalStream {
    pub shared: Arc<StreamShared>,
    /// Those that somebody sends or takes, audio first.
    pub tracks: Vec<Track>,
    pub viewers: Vec<Viewer>,
    /// The publisher, when it is on this shard.
    pub publisher: Option<LocalPublisher>,
    /// Sessions of this shard that belong to the stream, ready or not.
    pub members: usize,
    /// Whether it stands in the list of streams with something to do.
    pub active: bool,
}

impl LocalStream {
    fn new(shared: Arc<StreamShared>) -> LocalStream {
        LocalStream {
            shared,
            tracks: Vec::new(),
            viewers: Vec::new(),
            publisher: None,
            members: 0,
            active: false,
        }
    }

    /// The track named `id`, made where it is new; `None` where there can be no such.
    pub fn track(&mut self, id: TrackId) -> Option<&mut Track> {
        let place = self.tracks.partition_point(|track| track.id() < id);
        if self.tracks.get(place).is_none_or(|track| track.id() != id) {
            if usize::from(id.number) >= MAX_TRACKS_OF_A_KIND {
                return None;
            }
            self.tracks.insert(place, Track::new(id));
        }
        self.tracks.get_mut(place)
    }

    /// The publisher in `slot` of this shard, which is `shard`, takes the place of the one before.
    /// Returns its number. It owes a key frame of its `tracks` to whoever watches already, here or
    /// elsewhere.
    pub fn take_over(
        &mut self,
        shard: u16,
        slot: u32,
        tracks: impl Iterator<Item = TrackId>,
    ) -> u32 {
        let number = self.shared.take_over(shard);
        self.publisher = Some(LocalPublisher { slot, number });
        let is_watched = self.shared.interested().next().is_some();
        for id in tracks.filter(|id| id.kind == TrackKind::Video && is_watched) {
            let Some(track) = self.track(id) else { continue };
            let wanted = track.wanted_layer();
            if let Some(layer) = track.layer_mut(wanted) {
                layer.keyframes.start_over();
                layer.keyframes.request();
            }
        }
        number
    }

    /// Decides on a packet of the publisher, who is on this shard, and whether there is a key frame
    /// to be asked for; `None` where there can be no such track.
    pub fn carry_published(&mut self, packet: &MediaPacket) -> Option<(Carry, bool)> {
        let id = packet.track.id;
        let track = self.track(id)?;
        let (carry, best) = track.carry_published(packet);
        // Whoever watches already needs a key frame of the new publisher, or of the new layer.
        let asks = best.filter(|_| id.kind == TrackKind::Video);
        if let Some(layer) = asks.and_then(|layer| track.layer_mut(layer)) {
            layer.keyframes.request();
        }
        if packet.keyframe
            && let Some(layer) = track.layer_mut(packet.layer)
        {
            layer.keyframes.satisfied();
        }
        if let Some(best) = best {
            self.shared.set_best_layer(id, best);
        }
        Some((carry, asks.is_some()))
    }

    /// Whether anybody here takes anything of it.
    pub fn has_viewers(&self) -> bool {
        !self.viewers.is_empty()
    }

    /// The track named `id`, if there is anything of it.
    pub fn find(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id() == id)
    }

    /// Packets whose time has come, audio first.
    pub fn take_pending(&mut self, now: Instant, into: &mut Vec<MediaPacket>) {
        for track in &mut self.tracks {
            track.take_pending(now, into);
        }
    }

    /// When the next pending packet must leave.
    pub fn pending_deadline(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(Track::pending_deadline).min()
    }
}

/// Streams by index.
#[derive(Default)]
pub(super) struct Streams {
    table: Vec<Option<Box<LocalStream>>>,
    count: usize,
}

impl Streams {
    /// The stream with exactly this key.
    pub fn get(&mut self, key: StreamKey) -> Option<&mut LocalStream> {
        let stream = self.table.get_mut(key.index as usize)?.as_deref_mut()?;
        (stream.shared.key == key).then_some(stream)
    }

    /// A session of the stream comes to this shard.
    pub fn join(&mut self, shared: &Arc<StreamShared>) -> &mut LocalStream {
        let index = shared.key.index as usize;
        if self.table.len() <= index {
            self.table.resize_with(index + 1, || None);
        }
        let place = &mut self.table[index];
        if place.as_ref().is_none_or(|stream| stream.shared.key != shared.key) {
            self.count += usize::from(place.is_none());
            *place = Some(Box::new(LocalStream::new(shared.clone())));
        }
        let stream = place.as_deref_mut().expect("the place was filled just now");
        stream.members += 1;
        stream
    }

    /// A session of the stream leaves this shard; the last one takes the stream with it.
    pub fn leave(&mut self, key: StreamKey) {
        let Some(stream) = self.get(key) else { return };
        stream.members -= 1;
        if stream.members == 0 {
            self.table[key.index as usize] = None;
            self.count -= 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }
}
