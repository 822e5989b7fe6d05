//! Which layers of a stream one link takes away: those that its other end wants of those there are,
//! each from its last key frame on, as a viewer begins with it.

use std::time::Instant;

use smallvec::SmallVec;

use super::feed::Feed;
use super::links::Reach;
use super::sending::{Behind, media};
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::{LINK_HISTORY_PACKETS, MAX_LAYERS, MAX_TRACKS_OF_A_KIND};
use crate::link::{Coming, Load, Outgoing, Places, Room, Rung, Said, SaidLayers, taken};
use crate::media::{MediaPacket, WantedLayers};
use crate::net::Way;
use crate::telemetry::limited;
use crate::track::{LayerShown, Streams, Thinned};

/// What one link takes.
pub(super) struct Taking {
    /// The number of its feed.
    pub feed: u32,
    /// Where its packets are kept there.
    pub places: Places,
    /// Which layers of each video track, a bit each, and which of them is the best.
    videos: [(u8, u8); MAX_TRACKS_OF_A_KIND],
    /// What it has no room for, and how many of its packets have been missed.
    room: Room,
    pub missed: u64,
    /// What of it comes, in words for others.
    pub shown: [u64; MAX_TRACKS_OF_A_KIND],
    /// What its other end lacks yet of what has passed.
    pub behind: Option<Box<Behind>>,
    /// Whether something was said or has changed since that was chosen.
    pub anew: bool,
}

impl Taking {
    /// All, before anything is known.
    pub fn new(feed: u32, most_bits_per_s: Option<u64>) -> Taking {
        let videos = [(u8::MAX, 0); MAX_TRACKS_OF_A_KIND];
        let shown = Default::default();
        let (places, room) = (Places::default(), Room::new(most_bits_per_s));
        let behind = None;
        Taking { feed, places, videos, room, missed: 0, shown, behind, anew: true }
    }

    /// Whether it takes a packet: sound always.
    pub fn takes(&self, packet: &MediaPacket) -> bool {
        self.takes_layer(packet.track.id, packet.layer)
    }

    fn takes_layer(&self, track: TrackId, layer: u8) -> bool {
        let video = self.videos.get(usize::from(track.number));
        track.kind == TrackKind::Audio || video.is_some_and(|(taken, _)| taken & 1 << layer != 0)
    }

    /// Chooses again. Returns which layers it takes that it did not, by track, a bit each.
    pub fn choose(
        &mut self,
        outgoing: &Outgoing,
        stream: StreamKey,
        streams: &Streams,
    ) -> [u8; MAX_TRACKS_OF_A_KIND] {
        let mut more = [0; MAX_TRACKS_OF_A_KIND];
        let Some(shared) = streams.shared(stream) else { return more };
        for ((number, video), more) in (0..).zip(&mut self.videos).zip(&mut more) {
            let id = TrackId { kind: TrackKind::Video, number };
            let offered = shared.offered(id);
            let rungs = offered.iter().map(|offer| Rung { layer: offer.layer, flows: offer.flows });
            let rungs: SmallVec<[Rung; MAX_LAYERS]> = rungs.collect();
            let wanted = outgoing.wants().map(|wants| wants.videos[usize::from(number)]);
            let held = self.room.held(number);
            let chosen = taken(&rungs, shared.best_layer(id), wanted, held);
            *more = chosen.0 & !video.0;
            *video = chosen;
        }
        self.anew = false;
        more
    }

    /// The layers of video that it takes of those that are known.
    pub fn layers(
        &self,
        stream: StreamKey,
        streams: &Streams,
    ) -> impl Iterator<Item = (TrackKey, u8)> {
        let ids = (0..MAX_TRACKS_OF_A_KIND as u8)
            .map(|number| TrackId { kind: TrackKind::Video, number });
        let offered = ids.flat_map(move |id| {
            let offered = streams.shared(stream).map(|shared| shared.offered(id));
            offered.into_iter().flatten().map(move |offer| (id, offer.layer))
        });
        let taken = offered.filter(|(id, layer)| self.takes_layer(*id, *layer));
        taken.map(move |(id, layer)| (TrackKey { stream, id }, layer))
    }

    /// Says what time it is in the layers that it takes, before anything of them: those that begin
    /// with what has passed come at another time than they were made at. Returns whether that is
    /// known of all of them, or there are no two to be told apart.
    pub fn tell_clocks(
        &self,
        now: Instant,
        outgoing: &mut Outgoing,
        (stream, streams): (StreamKey, &Streams),
        reach: &mut Reach<'_>,
    ) -> bool {
        let (mut layers, mut silent) = (0, 0);
        for (track, layer) in self.layers(stream, streams) {
            layers += 1;
            match streams.clock_of(track, layer) {
                Some(report) => {
                    let told = reach.ways.push(reach.to, |slot| outgoing.clock(now, &report, slot));
                    told.unwrap_or_else(|reason| reach.post.dropped(reason));
                }
                None => silent += 1,
            }
        }
        silent == 0 || layers < 2
    }

    /// Looks whether the link has room for what it takes.
    fn look_at_room(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        stream: StreamKey,
        streams: &Streams,
    ) {
        let Some(shared) = streams.shared(stream) else { return };
        if !self.room.is_to_look(now, self.missed) {
            return;
        }
        let mut loads: SmallVec<[Load; MAX_LAYERS]> = SmallVec::new();
        for (track, (_, best)) in (0..).zip(self.videos) {
            let id = TrackId { kind: TrackKind::Video, number: track };
            let wanted = outgoing.wants().map(|wants| wants.videos[usize::from(track)]);
            let bests = 1 << best | 1 << shared.best_layer(id);
            let wanted = wanted
                .map_or(u8::MAX, |wanted| wanted.layers | if wanted.best { bests } else { 0 });
            for (place, offer) in shared.offered(id).into_iter().enumerate() {
                let (layer, bits_per_s, is_lowest) = (offer.layer, offer.bits_per_s, place == 0);
                let is_wanted = wanted & 1 << layer != 0;
                loads.push(Load { track, layer, bits_per_s, is_lowest, is_wanted });
            }
        }
        loads.sort_by_key(|load| load.bits_per_s);
        let sent = outgoing.figures().packets;
        if self.room.look(now, sent, self.missed, &loads) {
            let held = (0..MAX_TRACKS_OF_A_KIND as u8).map(|track| self.room.held(track));
            let held: u32 = held.map(u8::count_ones).sum();
            limited!(INFO, "another node is sent {held} layers fewer than there are: no room");
        }
    }

    /// What is said of a track; nothing of one without layers.
    fn said(&self, key: TrackKey, streams: &Streams) -> Option<SaidLayers> {
        let shared = streams.shared(key.stream)?;
        let layers = shared.all_layers(key.id).map(|(layer, shown)| {
            let coming = match self.takes_layer(key.id, layer) {
                _ if shown.withheld => Coming::Above,
                true => Coming::Comes,
                false => self.room.why(key.id.number, layer).unwrap_or(Coming::Unasked),
            };
            said(layer, &shown, coming)
        });
        let layers: Vec<Said> = layers.collect();
        let (_, best) = *self.videos.get(usize::from(key.id.number))?;
        (!layers.is_empty()).then_some(SaidLayers { track: key.id, best, layers })
    }

    /// Chooses again which layers it takes, where that may be others than before or `reports`, and
    /// tells the other end. Those that come from now on begin with their last key frames.
    pub fn renew(
        &mut self,
        now: Instant,
        outgoing: &mut Outgoing,
        feed: Option<&mut Feed>,
        (streams, reports): (&mut Streams, bool),
        reach: &mut Reach<'_>,
    ) {
        let Some(feed) = feed.filter(|_| outgoing.has_begun() && (self.anew || reports)) else {
            return;
        };
        let stream = feed.stream;
        self.look_at_room(now, outgoing, stream, streams);
        let more = self.choose(outgoing, stream, streams);
        let id = |number| TrackId { kind: TrackKind::Video, number };
        for number in 0..MAX_TRACKS_OF_A_KIND as u8 {
            let key = TrackKey { stream, id: id(number) };
            let said = self.said(key, streams);
            let layers = said.iter().flat_map(|said| &said.layers);
            let known = layers.map(|layer| (layer.layer, layer.coming));
            self.shown[usize::from(number)] = Coming::to_word(known);
            let said = said.filter(|_| outgoing.wants().is_some());
            if let Some(said) = said {
                let told = reach.ways.push(reach.to, |slot| outgoing.layers(&said, slot));
                told.unwrap_or_else(|reason| reach.post.dropped(reason));
            }
        }
        for (number, more) in (0..).zip(more) {
            for layer in (0..MAX_LAYERS as u8).filter(|layer| more & 1 << layer != 0) {
                let key = TrackKey { stream, id: id(number) };
                self.start(now, outgoing, feed, (key, layer), (streams, &mut *reach));
            }
        }
    }

    /// A layer comes from now on: from its last key frame, or from the next one, which is asked
    /// for. Where it does not come here either, what comes of it then begins with one.
    fn start(
        &mut self,
        now: Instant,
        outgoing: &mut Outgoing,
        feed: &mut Feed,
        (key, layer): (TrackKey, u8),
        (streams, reach): (&mut Streams, &mut Reach<'_>),
    ) {
        if !streams.comes(key, layer) {
            return;
        }
        // Without the clocks it would be taken to be made when it comes.
        if !self.tell_clocks(now, outgoing, (key.stream, streams), reach) {
            return streams.want_keyframe(key, Some(layer));
        }
        let Some(first) =
            feed.keyframe_of(key, layer).or_else(|| feed.recall(now, key, layer, streams))
        else {
            return streams.want_keyframe(key, Some(layer));
        };
        for place in first..feed.next {
            let packet =
                feed.at(place).filter(|packet| (packet.track, packet.layer) == (key, layer));
            if let Some(packet) = packet {
                media(now, (outgoing, self), (place, packet), reach);
            }
        }
    }
}

/// Other nodes want of a stream what its links want together.
pub(super) fn together<'a>(
    links: impl Iterator<Item = &'a Outgoing>,
) -> [WantedLayers; MAX_TRACKS_OF_A_KIND] {
    let mut all = [WantedLayers::default(); MAX_TRACKS_OF_A_KIND];
    // One that says nothing takes all there is.
    let everything = [WantedLayers { layers: u8::MAX, best: true }; MAX_TRACKS_OF_A_KIND];
    for link in links.filter(|link| link.has_begun()) {
        let videos = link.wants().map_or(everything, |wants| wants.videos);
        for (all, wanted) in all.iter_mut().zip(videos) {
            *all = all.and(wanted);
        }
    }
    all
}

impl Feed {
    /// Takes in what is kept of a layer since its last key frame, if that leaves room for the rest.
    /// Returns where it begins.
    fn recall(&mut self, now: Instant, key: TrackKey, layer: u8, streams: &Streams) -> Option<u64> {
        let past = streams.past(now, key, layer);
        let first = self.next;
        if past.is_empty() || past.len() > LINK_HISTORY_PACKETS / 2 {
            return None;
        }
        past.into_iter().filter(|packet| crate::link::fits(packet).is_ok()).for_each(|packet| {
            self.push(packet);
        });
        Some(first)
    }
}

/// A layer, as the other end is told of it.
fn said(layer: u8, shown: &LayerShown, coming: Coming) -> Said {
    let LayerShown { kilobits_per_s, size, needs_kilobits_per_s, deaf, thinned, .. } = *shown;
    let silent = shown.silent;
    let thinned = thinned.map(Thinned::to_word);
    Said { layer, coming, silent, deaf, kilobits_per_s, needs_kilobits_per_s, size, thinned }
}
