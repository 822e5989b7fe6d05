//! The few words of a stream that several threads read: who publishes it, which shards watch it.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{MAX_LAYERS, MAX_SHARDS, MAX_TRACKS_OF_A_KIND};
use crate::media::PictureSize;

const NO_SHARD: u32 = u32::MAX;

/// Shared by the shards that take part in a stream. Written when a first viewer comes to a shard or
/// a last one leaves, and when a publisher comes or goes; read per packet, which costs nothing
/// while nobody writes.
#[derive(Debug)]
pub struct StreamShared {
    /// The stream's name to the shards.
    pub key: StreamKey,
    interest: [AtomicU64; MAX_SHARDS / 64],
    publisher_shard: AtomicU32,
    /// Counts the publishers that have taken over; see [`crate::media::Origin`].
    publishers: AtomicU32,
    /// The best layer of each track that arrives, by kind and number.
    best_layers: [[AtomicU8; MAX_TRACKS_OF_A_KIND]; TrackKind::ALL.len()],
    /// What each layer of each track sends, in a word: see [`LayerShown`].
    layers: [[[AtomicU64; MAX_LAYERS]; MAX_TRACKS_OF_A_KIND]; TrackKind::ALL.len()],
}

/// What a layer sends, for those who look at a stream from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerShown {
    /// Payload, in thousands of bits a second.
    pub kilobits_per_s: u32,
    /// Of its pictures, where its key frames say.
    pub size: Option<PictureSize>,
}

impl LayerShown {
    fn to_word(self) -> u64 {
        let PictureSize { width, height } = self.size.unwrap_or_default();
        u64::from(self.kilobits_per_s) << 32 | u64::from(width) << 16 | u64::from(height)
    }

    fn from_word(word: u64) -> LayerShown {
        let size = PictureSize { width: (word >> 16) as u16, height: word as u16 };
        let size = Some(size).filter(|size| *size != PictureSize::default());
        LayerShown { kilobits_per_s: (word >> 32) as u32, size }
    }
}

impl StreamShared {
    /// A stream nobody publishes or watches yet.
    #[must_use]
    pub fn new(key: StreamKey) -> StreamShared {
        StreamShared {
            key,
            interest: Default::default(),
            publisher_shard: AtomicU32::new(NO_SHARD),
            publishers: AtomicU32::new(0),
            best_layers: Default::default(),
            layers: Default::default(),
        }
    }

    /// Says whether `shard` has viewers.
    pub fn set_interest(&self, shard: u16, interested: bool) {
        let (word, bit) = (usize::from(shard) / 64, 1u64 << (shard % 64));
        if interested {
            self.interest[word].fetch_or(bit, Ordering::Relaxed);
        } else {
            self.interest[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The shards with viewers now, ascending. The iterator holds a copy, so that nobody needs a
    /// reference of their own to walk it, which would be a count shared between shards per packet.
    pub fn interested(&self) -> impl Iterator<Item = u16> + use<> {
        let interest = self.interest.each_ref().map(|bits| bits.load(Ordering::Relaxed));
        interest.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros();
                    bits &= bits - 1;
                    (word * 64) as u16 + bit as u16
                })
            })
        })
    }

    /// A publisher on `shard` takes the place of the one before, if there is one. Returns its
    /// number among the stream's publishers.
    pub fn take_over(&self, shard: u16) -> u32 {
        self.hide_layers();
        self.publisher_shard.store(u32::from(shard), Ordering::Relaxed);
        self.publishers.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// The number of the publisher that took over last; 0 before the first.
    #[must_use]
    pub fn newest_publisher(&self) -> u32 {
        self.publishers.load(Ordering::Relaxed)
    }

    /// The same, while that publisher is there.
    #[must_use]
    pub fn live_publisher(&self) -> Option<u32> {
        self.publisher().map(|_shard| self.newest_publisher())
    }

    /// The publisher with this number has left, and the stream is without one, unless another has
    /// taken over in the meantime.
    pub fn publisher_left(&self, number: u32) {
        if self.newest_publisher() == number {
            self.publisher_shard.store(NO_SHARD, Ordering::Relaxed);
            self.hide_layers();
        }
    }

    /// Says which layer of a track is the best that arrives.
    pub fn set_best_layer(&self, track: TrackId, layer: u8) {
        if let Some(best) = self.best_layers[track.kind as usize].get(usize::from(track.number)) {
            best.store(layer, Ordering::Relaxed);
        }
    }

    /// The best layer of a track that arrives; 0 where nobody has said so.
    #[must_use]
    pub fn best_layer(&self, track: TrackId) -> u8 {
        let best = self.best_layers[track.kind as usize].get(usize::from(track.number));
        best.map_or(0, |best| best.load(Ordering::Relaxed))
    }

    /// Says what a layer of a track sends.
    pub fn show_layer(&self, track: TrackId, layer: u8, shown: LayerShown) {
        let layers = self.layers[track.kind as usize].get(usize::from(track.number));
        if let Some(word) = layers.and_then(|layers| layers.get(usize::from(layer))) {
            word.store(shown.to_word(), Ordering::Relaxed);
        }
    }

    /// What the layers of a track send; those that send nothing, or are no more, are left out.
    pub fn shown_layers(&self, track: TrackId) -> impl Iterator<Item = (u8, LayerShown)> + '_ {
        let layers = self.layers[track.kind as usize].get(usize::from(track.number));
        let layers = layers.into_iter().flatten().map(|word| word.load(Ordering::Relaxed));
        let layers = (0..).zip(layers.map(LayerShown::from_word));
        layers.filter(|(_, shown)| shown.kilobits_per_s > 0)
    }

    /// Nobody sends anything any more.
    fn hide_layers(&self) {
        let layers = self.layers.iter().flatten().flatten();
        layers.for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The shard of the publisher, while there is one.
    #[must_use]
    pub fn publisher(&self) -> Option<u16> {
        match self.publisher_shard.load(Ordering::Relaxed) {
            NO_SHARD => None,
            shard => Some(shard as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_lists_the_shards_that_have_viewers() {
        let shared = StreamShared::new(StreamKey { index: 0, generation: 0 });
        for shard in [0, 63, 64, 200, 255] {
            shared.set_interest(shard, true);
        }
        shared.set_interest(63, false);
        assert_eq!(shared.interested().collect::<Vec<_>>(), [0, 64, 200, 255]);
    }

    #[test]
    fn layers_are_shown_while_somebody_sends_them() {
        let shared = StreamShared::new(StreamKey { index: 0, generation: 0 });
        let video = TrackId::first(TrackKind::Video);
        let first = shared.take_over(0);
        let size = Some(PictureSize { width: 65_535, height: 1 });
        let shown = LayerShown { kilobits_per_s: 4_000_000, size };
        shared.show_layer(video, 7, shown);
        shared.show_layer(video, 1, LayerShown { kilobits_per_s: 3, size: None });
        shared.show_layer(video, 2, LayerShown::default());
        let layers: Vec<_> = shared.shown_layers(video).collect();
        assert_eq!(layers, [(1, LayerShown { kilobits_per_s: 3, size: None }), (7, shown)]);
        shared.publisher_left(first);
        assert_eq!(shared.shown_layers(video).count(), 0);
    }
}
