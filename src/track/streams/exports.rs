//! What is published here and taken to other nodes: one copy of each packet, however many nodes
//! take it.

use std::time::Instant;

use super::Streams;
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::MAX_TRACKS_OF_A_KIND;
use crate::media::{ClockReport, LayerName, MediaPacket};
use crate::track::Publication;

/// What goes to other nodes, with the numbers of the publisher.
#[derive(Clone, Debug)]
pub enum Export {
    /// A packet.
    Media(MediaPacket),
    /// What time it is in a layer.
    Clock(ClockReport),
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

    /// Takes what is to go to other nodes, in its order, each with its exporter, into `into`, which
    /// is empty.
    pub fn take_exports(&mut self, into: &mut Vec<(u32, Export)>) {
        std::mem::swap(&mut self.exports, into);
    }
}
