//! What is published here and taken to other nodes: one copy of each packet, however many nodes
//! take it.

use std::time::Instant;

use super::Streams;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::MAX_TRACKS_OF_A_KIND;
use crate::media::{ClockReport, LayerName, MediaPacket, WantedLayers};
use crate::track::{LayerShown, Publication, StreamShared};

/// What goes to other nodes, with the numbers of the publisher.
#[derive(Clone, Debug)]
pub enum Export {
    /// A packet.
    Media(MediaPacket),
    /// What time it is in a layer.
    Clock(ClockReport),
    /// The layers of a track have changed.
    Layers(TrackKey),
}

impl Streams {
    /// What is published of a stream here goes to other nodes from here on, by way of `exporter`;
    /// without one to none any more.
    pub fn export(&mut self, key: StreamKey, exporter: Option<u32>) {
        if let Some(stream) = self.get_mut(key) {
            stream.exporter = exporter;
            stream.tell_interest();
        }
    }

    /// What the publisher of a stream calls its layers, those that are called nothing left out.
    #[must_use]
    pub fn layer_names(&self, key: StreamKey) -> Vec<(TrackId, u8, LayerName)> {
        let Some(stream) = self.get(key) else { return Vec::new() };
        let videos = (0..MAX_TRACKS_OF_A_KIND as u8)
            .map(|number| TrackId { kind: TrackKind::Video, number });
        let named = videos.flat_map(|id| {
            let offered = stream.shared.offered(id).into_iter();
            offered.map(move |offer| (id, offer.layer, offer.name))
        });
        named.filter(|(_, _, name)| *name != LayerName::default()).collect()
    }

    /// What is kept of a stream that came since then, of all tracks and layers, in the order it
    /// came in, as its publisher sent it.
    #[must_use]
    pub fn recent(&self, key: StreamKey, since: Instant) -> Vec<MediaPacket> {
        let Some(stream) = self.get(key) else { return Vec::new() };
        let Some(publisher) = stream.shared.live_publisher() else { return Vec::new() };
        let layers = stream.tracks.iter().flat_map(|track| track.layers());
        let of_all = layers.flat_map(|layer| layer.recent(since));
        let mut all: Vec<MediaPacket> =
            of_all.filter(|packet| packet.origin.publisher == publisher).collect();
        all.sort_by_key(|packet| packet.received);
        all
    }

    /// The publisher of a stream, as other nodes are told of it; none where there is none.
    #[must_use]
    pub fn publication(&self, key: StreamKey) -> Option<Publication> {
        self.get(key)?.shared.publication()
    }

    /// See [`crate::track::StreamShared::relays`].
    pub fn relays(&self, key: StreamKey, Publication { number, name, relayed }: Publication) {
        if let Some(stream) = self.get(key) {
            stream.shared.relays(number, name, relayed.unwrap_or(0));
        }
    }

    /// Other nodes want these layers of the video tracks of a stream.
    pub fn want_elsewhere(&mut self, key: StreamKey, videos: [WantedLayers; MAX_TRACKS_OF_A_KIND]) {
        if let Some(stream) = self.get_mut(key) {
            stream.wanted_elsewhere = videos;
        }
    }

    /// Which layers of the video tracks of a stream somebody wants, here or on other nodes.
    #[must_use]
    pub fn wanted(&self, key: StreamKey) -> [WantedLayers; MAX_TRACKS_OF_A_KIND] {
        let Some(stream) = self.get(key) else { return Default::default() };
        let mut videos = stream.wanted_elsewhere;
        for (number, wanted) in (0..).zip(&mut videos) {
            *wanted = wanted.and(stream.shared.wanted(TrackId { kind: TrackKind::Video, number }));
        }
        videos
    }

    /// What all shards know of a stream.
    #[must_use]
    pub fn shared(&self, key: StreamKey) -> Option<&StreamShared> {
        Some(&self.get(key)?.shared)
    }

    /// Whether a layer of a track comes here.
    #[must_use]
    pub fn comes(&self, key: TrackKey, layer: u8) -> bool {
        let track = self.get(key.stream).and_then(|stream| stream.track(key.id));
        track.is_some_and(|track| track.does_come(layer))
    }

    /// What the publisher said last of the time in a layer.
    #[must_use]
    pub fn clock_of(&self, key: TrackKey, layer: u8) -> Option<ClockReport> {
        let stream = self.get(key.stream)?;
        stream.track(key.id)?.layer(layer)?.told_clock()
    }

    /// The node that a link brings a stream from, as the publisher with this number, says which
    /// layers of a track there are, each with whether it comes, and which is the best.
    pub fn layers_said(
        &mut self,
        (key, number): (TrackKey, u32),
        best: u8,
        layers: &[(u8, LayerShown, bool)],
    ) {
        let Some(stream) = self.get_mut(key.stream) else { return };
        if stream.shared.live_publisher() == Some(number)
            && let Some(track) = stream.track_mut(key.id)
        {
            track.is_said(best, layers);
        }
    }

    /// Another node gives a stream, and has said nothing of its layers.
    pub fn layers_unsaid(&mut self, key: StreamKey) {
        let tracks = self.get_mut(key).map(|stream| &mut stream.tracks);
        tracks.into_iter().flatten().for_each(|track| track.is_unsaid());
    }

    /// Takes what is to go to other nodes, in its order, each with its exporter, into `into`, which
    /// is empty.
    pub fn take_exports(&mut self, into: &mut Vec<(u32, Export)>) {
        std::mem::swap(&mut self.exports, into);
    }
}

#[cfg(test)]
mod tests {
    use str0m::format::Codec;

    use super::*;
    use crate::track::Source;
    use crate::track::tests::{KEY, Shard, packet, shared};

    /// How much sound is kept of three packets that nobody takes.
    fn kept(source: Source) -> usize {
        let (now, shared, mut shard) = (Instant::now(), shared(), Shard::new(0));
        shard.streams.join(&shared);
        let id = TrackId::first(TrackKind::Audio);
        let publisher = shard.streams.connected(KEY, source, [id].into_iter()).expect("the first");
        for sequence in 1..=3 {
            let track = TrackKey { stream: KEY, id };
            let sound = packet(publisher, sequence, false);
            let packet = MediaPacket { track, codec: Codec::Opus, received: now, ..sound };
            let _nobody = shard.streams.publish(packet, |_, _| {});
        }
        shard.streams.recent(KEY, now).len()
    }

    #[test]
    fn sound_that_comes_from_another_node_is_kept_for_those_below_it() {
        assert_eq!(kept(Source::Relay(1)), 3, "whoever has it from another one comes here then");
        assert_eq!(kept(Source::Session(1)), 0, "nobody begins with sound of the past");
    }
}
