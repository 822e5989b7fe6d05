//! The few words of a stream that several threads read: who publishes it, which shards watch it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::{Loudness, Offered, Taken, Thinned, loudness};
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{MAX_LAYERS, MAX_SHARDS, MAX_THINNED, MAX_TRACKS_OF_A_KIND};
use crate::media::{LayerName, PictureSize, WantedLayers};

const NO_SHARD: u32 = u32::MAX;

/// A bit for each shard.
type Shards = [AtomicU64; MAX_SHARDS / 64];

/// Shared by the shards that take part in a stream. Written when a first viewer comes to a shard or
/// a last one leaves, and when a publisher comes or goes; read per packet, which costs nothing
/// while nobody writes.
#[derive(Debug)]
pub struct StreamShared {
    /// The stream's name to the shards.
    pub key: StreamKey,
    interest: Shards,
    /// Which shards have viewers that take a layer of a video track; behind the layers, those who
    /// take whichever is the best.
    takers: [[Shards; MAX_LAYERS + 1]; MAX_TRACKS_OF_A_KIND],
    publisher_shard: AtomicU32,
    /// Counts the publishers that have taken over; see [`crate::media::Origin`].
    publishers: AtomicU32,
    /// What other nodes are told of the newest: see [`Publication`].
    publication: AtomicU64,
    path: AtomicU64,
    /// Unlike that of any other stream, here or elsewhere.
    seed: u64,
    /// The best layer of each track that arrives, by kind and number: see [`Standing`].
    standings: [[AtomicU32; MAX_TRACKS_OF_A_KIND]; TrackKind::ALL.len()],
    /// What the publisher calls the layers of each video track, in two words each.
    names: [[[AtomicU64; 2]; MAX_LAYERS]; MAX_TRACKS_OF_A_KIND],
    /// What each layer of each track sends, in a word: see [`LayerShown`].
    layers: [[[AtomicU64; MAX_LAYERS]; MAX_TRACKS_OF_A_KIND]; TrackKind::ALL.len()],
    /// What each layer of each video track needs, in thousands of bits a second.
    needs: [[AtomicU32; MAX_LAYERS]; MAX_TRACKS_OF_A_KIND],
    /// What each layer of each video track would be, thinned: see [`Thinned`].
    thinned: [[[AtomicU64; MAX_THINNED]; MAX_LAYERS]; MAX_TRACKS_OF_A_KIND],
    /// How loud each audio track is.
    levels: loudness::Levels,
}

/// The publisher of a stream, as other nodes are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its number among the stream's publishers on this node.
    pub number: u32,
    /// What it is called on every node; 0 where a link brings it that has not said so.
    pub name: u64,
    /// Where a link brings it, the path by which it has come, this node included, as
    /// [`crate::link::Path::to_word`] says: 0 while it comes no more.
    pub relayed: Option<u64>,
}

/// Stands for the path of what is published on this node.
const HERE: u64 = u64::MAX;

/// How the layers of a track stand, in a word that other shards read with each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The best layer that arrives.
    pub best: u8,
    /// Counts the times that a layer has come, fallen silent or changed its size; 24 bits.
    pub changes: u32,
}

/// Set in the rate of a layer that sends nothing now.
const SILENT: u32 = 1 << 31;
/// The same where it does not come from another node, since the way has no room for it.
const WITHHELD: u32 = 1 << 30;

/// Set in what a layer needs that answers no requests for key frames.
const DEAF: u32 = 1 << 31;

/// How large a layer's pictures are, thinned and not.
pub(super) type Sizes = ([Option<PictureSize>; MAX_THINNED], Option<PictureSize>);

/// What a layer sends, for those who look at a stream from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerShown {
    /// Payload, in thousands of bits a second.
    pub kilobits_per_s: u32,
    /// Of its pictures, where its key frames say.
    pub size: Option<PictureSize>,
    /// Whether it has fallen silent: then this is what it sent before.
    pub silent: bool,
    /// Whether that is because the way from the node that has it has no room for it.
    pub withheld: bool,
    /// Payload that there must be room for to get it, in thousands of bits a second.
    pub needs_kilobits_per_s: u32,
    /// Whether it answers no requests for key frames.
    pub deaf: bool,
    /// What it would be without its upper temporal layers, by the highest one left.
    pub thinned: [Thinned; MAX_THINNED],
}

impl LayerShown {
    /// How large its pictures are, thinned and not.
    pub(super) fn sizes(&self) -> Sizes {
        (self.thinned.map(|thinned| thinned.size), self.size)
    }

    fn to_word(self) -> u64 {
        let flag = |has: bool, flag: u32| if has { flag } else { 0 };
        let flags = flag(self.silent, SILENT) | flag(self.withheld, WITHHELD);
        u64::from(self.kilobits_per_s & !(SILENT | WITHHELD) | flags) << 32
            | u64::from(PictureSize::to_word(self.size))
    }

    fn from_word(word: u64) -> LayerShown {
        let size = PictureSize::from_word(word as u32);
        let word = (word >> 32) as u32;
        let (silent, withheld) = (word & SILENT != 0, word & WITHHELD != 0);
        let kilobits_per_s = word & !(SILENT | WITHHELD);
        LayerShown { kilobits_per_s, size, silent, withheld, ..LayerShown::default() }
    }
}

impl StreamShared {
    /// A stream nobody publishes or watches yet.
    #[must_use]
    pub fn new(key: StreamKey) -> StreamShared {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        StreamShared {
            key,
            publication: AtomicU64::new(0),
            path: AtomicU64::new(HERE),
            seed: u64::from_ne_bytes(seed),
            interest: Default::default(),
            takers: Default::default(),
            publisher_shard: AtomicU32::new(NO_SHARD),
            publishers: AtomicU32::new(0),
            standings: Default::default(),
            names: Default::default(),
            layers: Default::default(),
            needs: Default::default(),
            thinned: Default::default(),
            levels: loudness::Levels::new(Instant::now()),
        }
    }

    /// Says whether `shard` has viewers.
    pub fn set_interest(&self, shard: u16, interested: bool) {
        set(&self.interest, shard, interested);
    }

    /// The shards with viewers now, ascending. The iterator holds a copy, so that nobody needs a
    /// reference of their own to walk it, which would be a count shared between shards per packet.
    pub fn interested(&self) -> impl Iterator<Item = u16> + use<> {
        shards(self.interest.each_ref().map(|bits| bits.load(Ordering::Relaxed)))
    }

    /// Says whether `shard` has viewers that take a layer of a video track.
    pub fn set_taken(&self, track: TrackId, what: Taken, shard: u16, taken: bool) {
        if let Some(takers) = self.takers_of(track, what) {
            set(takers, shard, taken);
        }
    }

    /// The shards with viewers that take a layer of a track, of which `best` is the best one.
    pub fn takers(&self, track: TrackId, layer: u8, best: u8) -> impl Iterator<Item = u16> + use<> {
        if track.kind == TrackKind::Audio {
            return shards(self.interest.each_ref().map(|bits| bits.load(Ordering::Relaxed)));
        }
        let mut all = [0; MAX_SHARDS / 64];
        let follow_best = Some(Taken::Best).filter(|_| layer == best);
        for what in [Taken::Layer(layer)].into_iter().chain(follow_best) {
            for (all, bits) in all.iter_mut().zip(self.takers_of(track, what).into_iter().flatten())
            {
                *all |= bits.load(Ordering::Relaxed);
            }
        }
        shards(all)
    }

    /// Which layers of a video track any viewers take.
    #[must_use]
    pub fn wanted(&self, track: TrackId) -> WantedLayers {
        let some = |what| {
            let mut words = self.takers_of(track, what).into_iter().flatten();
            words.any(|bits| bits.load(Ordering::Relaxed) != 0)
        };
        let layers = (0..MAX_LAYERS as u8).filter(|layer| some(Taken::Layer(*layer)));
        let layers = layers.fold(0, |bits, layer| bits | 1 << layer);
        WantedLayers { layers, best: some(Taken::Best) }
    }

    fn takers_of(&self, track: TrackId, what: Taken) -> Option<&Shards> {
        let layer = match what {
            Taken::Best => MAX_LAYERS,
            Taken::Layer(layer) => usize::from(layer).min(MAX_LAYERS - 1),
        };
        let track = Some(track).filter(|track| track.kind == TrackKind::Video)?;
        Some(&self.takers.get(usize::from(track.number))?[layer])
    }

    /// A publisher on `shard` takes the place of the one before, if there is one. Returns its
    /// number among the stream's publishers.
    pub fn take_over(&self, shard: u16) -> u32 {
        let number = self.begin(shard, HERE);
        let name = self.seed.wrapping_add(u64::from(number)).max(1);
        self.publication.store(name, Ordering::Release);
        number
    }

    /// The same for a link of `shard`, which says whose packets it brings by
    /// [`StreamShared::relays`].
    pub fn take_over_by_link(&self, shard: u16) -> u32 {
        self.begin(shard, 0)
    }

    fn begin(&self, shard: u16, path: u64) -> u32 {
        self.hide_layers();
        self.publisher_shard.store(u32::from(shard), Ordering::Relaxed);
        self.publication.store(0, Ordering::Relaxed);
        self.path.store(path, Ordering::Relaxed);
        self.publishers.fetch_add(1, Ordering::Release).wrapping_add(1)
    }

    /// The link that took over with this `number` brings what is called `name` on every node, over
    /// the nodes of `path`, this one included.
    pub fn relays(&self, number: u32, name: u64, path: u64) {
        if self.newest_publisher() == number {
            self.publication.store(name, Ordering::Release);
            self.path.store(path, Ordering::Relaxed);
        }
    }

    /// The publisher that there is, as other nodes are told of it.
    #[must_use]
    pub fn publication(&self) -> Option<Publication> {
        let _shard = self.publisher()?;
        loop {
            let number = self.publishers.load(Ordering::Acquire);
            let name = self.publication.load(Ordering::Acquire);
            let path = self.path.load(Ordering::Acquire);
            // Another one may take over meanwhile.
            if self.publishers.load(Ordering::Acquire) == number {
                let relayed = Some(path).filter(|path| *path != HERE);
                return Some(Publication { number, name, relayed });
            }
        }
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

    /// Says how the layers of a track stand.
    pub fn set_standing(&self, track: TrackId, standing: Standing) {
        let place = self.standings[track.kind as usize].get(usize::from(track.number));
        if let Some(word) = place {
            word.store(standing.changes << 8 | u32::from(standing.best), Ordering::Relaxed);
        }
    }

    /// How the layers of a track stand.
    #[must_use]
    pub fn standing(&self, track: TrackId) -> Standing {
        let place = self.standings[track.kind as usize].get(usize::from(track.number));
        let word = place.map_or(0, |word| word.load(Ordering::Relaxed));
        Standing { best: word as u8, changes: word >> 8 }
    }

    /// The best layer of a track that arrives; 0 where nobody has said so.
    #[must_use]
    pub fn best_layer(&self, track: TrackId) -> u8 {
        self.standing(track).best
    }

    /// Says what a layer of a track sends. One that sent nothing of late has what it sent before.
    pub fn show_layer(&self, track: TrackId, layer: u8, mut shown: LayerShown) {
        let layers = self.layers[track.kind as usize].get(usize::from(track.number));
        let word = layers.and_then(|layers| layers.get(usize::from(layer)));
        let Some(word) = word else { return };
        if shown.kilobits_per_s > 0 && !shown.silent {
            let words = self.thinned_of(track, layer).into_iter().flatten();
            for (word, thinned) in words.zip(shown.thinned) {
                word.store(thinned.to_word(), Ordering::Relaxed);
            }
        }
        if shown.kilobits_per_s == 0 {
            let before = LayerShown::from_word(word.load(Ordering::Relaxed));
            let LayerShown { silent, withheld, needs_kilobits_per_s, deaf, .. } = shown;
            shown = LayerShown { silent, withheld, needs_kilobits_per_s, deaf, ..before };
        }
        word.store(shown.to_word(), Ordering::Relaxed);
        if let Some(needs) = self.needs_of(track, layer).filter(|_| shown.needs_kilobits_per_s > 0)
        {
            let deaf = if shown.deaf { DEAF } else { 0 };
            needs.store(shown.needs_kilobits_per_s & !DEAF | deaf, Ordering::Relaxed);
        }
    }

    fn thinned_of(&self, track: TrackId, layer: u8) -> Option<&[AtomicU64; MAX_THINNED]> {
        let track = Some(track).filter(|track| track.kind == TrackKind::Video)?;
        self.thinned.get(usize::from(track.number))?.get(usize::from(layer))
    }

    /// What a layer of a track would be without the temporal layers above each of the lowest.
    pub(super) fn thinned(&self, track: TrackId, layer: u8) -> [Thinned; MAX_THINNED] {
        let mut all = [Thinned::default(); MAX_THINNED];
        for (thinned, word) in
            all.iter_mut().zip(self.thinned_of(track, layer).into_iter().flatten())
        {
            *thinned = Thinned::from_word(word.load(Ordering::Relaxed));
        }
        all
    }

    fn needs_of(&self, track: TrackId, layer: u8) -> Option<&AtomicU32> {
        let track = Some(track).filter(|track| track.kind == TrackKind::Video)?;
        self.needs.get(usize::from(track.number))?.get(usize::from(layer))
    }

    /// What the layers of a track send; those that send nothing, or are no more, are left out.
    pub fn shown_layers(&self, track: TrackId) -> impl Iterator<Item = (u8, LayerShown)> + '_ {
        self.words(track).filter(|(_, shown)| shown.kilobits_per_s > 0 && !shown.silent)
    }

    /// The same, with those that have fallen silent.
    pub fn all_layers(&self, track: TrackId) -> impl Iterator<Item = (u8, LayerShown)> + '_ {
        let known = self.words(track).filter(|(_, shown)| shown.kilobits_per_s > 0);
        known.map(move |(layer, shown)| {
            let word = self.needs_of(track, layer).map_or(0, |word| word.load(Ordering::Relaxed));
            let (deaf, needs_kilobits_per_s) = (word & DEAF != 0, word & !DEAF);
            let thinned = self.thinned(track, layer);
            (layer, LayerShown { deaf, needs_kilobits_per_s, thinned, ..shown })
        })
    }

    /// All layers of a track that its publisher has sent at some time.
    pub(super) fn known_layers(&self, track: TrackId) -> impl Iterator<Item = Offered> + '_ {
        let known = self.words(track).filter(|(_, shown)| shown.kilobits_per_s > 0);
        let needs = move |layer, shown: LayerShown| {
            let needs = self.needs_of(track, layer).map_or(0, |word| word.load(Ordering::Relaxed));
            let needs = needs & !DEAF;
            if needs > 0 { needs } else { shown.kilobits_per_s }
        };
        known.map(move |(layer, shown)| Offered {
            layer,
            name: self.layer_name(track, layer),
            bits_per_s: u64::from(needs(layer, shown)) * 1_000,
            size: shown.size,
            flows: !shown.silent,
            withheld: shown.withheld,
            frames_per_s: None,
            spatial: None,
        })
    }

    /// Whether a track comes in several layers, or in one that may be thinned.
    pub(super) fn has_choice(&self, track: TrackId) -> bool {
        let mut layers = self.shown_layers(track).map(|(layer, _)| layer);
        let first = layers.next();
        let is_thinned = |layer| self.thinned(track, layer) != [Thinned::default(); MAX_THINNED];
        layers.next().is_some() || first.is_some_and(is_thinned)
    }

    fn words(&self, track: TrackId) -> impl Iterator<Item = (u8, LayerShown)> + '_ {
        let layers = self.layers[track.kind as usize].get(usize::from(track.number));
        let layers = layers.into_iter().flatten().map(|word| word.load(Ordering::Relaxed));
        (0..).zip(layers.map(LayerShown::from_word))
    }

    /// Says what the publisher calls a layer of a video track.
    pub fn name_layer(&self, track: TrackId, layer: u8, name: LayerName) {
        let Some(words) = self.name_of(track, layer) else { return };
        for (word, bytes) in words.iter().zip(name.0.as_chunks::<8>().0) {
            word.store(u64::from_be_bytes(*bytes), Ordering::Relaxed);
        }
    }

    fn name_of(&self, track: TrackId, layer: u8) -> Option<&[AtomicU64; 2]> {
        let track = Some(track).filter(|track| track.kind == TrackKind::Video)?;
        self.names.get(usize::from(track.number))?.get(usize::from(layer))
    }

    fn layer_name(&self, track: TrackId, layer: u8) -> LayerName {
        let mut name = LayerName::default();
        for (word, bytes) in
            self.name_of(track, layer).into_iter().flatten().zip(name.0.as_chunks_mut::<8>().0)
        {
            *bytes = word.load(Ordering::Relaxed).to_be_bytes();
        }
        name
    }

    /// A packet of an audio track says how loud it is.
    pub fn hear(&self, track: TrackId, now: Instant, said: u8) {
        if track.kind == TrackKind::Audio {
            self.levels.hear(track.number, now, said);
        }
    }

    /// How loud the audio tracks are whose publisher says so.
    pub fn loudness(&self, now: Instant) -> impl Iterator<Item = (u8, Loudness)> + '_ {
        let numbers = 0..MAX_TRACKS_OF_A_KIND as u8;
        numbers.filter_map(move |track| Some((track, self.levels.loudness(track, now)?)))
    }

    /// Nobody sends anything any more.
    fn hide_layers(&self) {
        self.levels.hush();
        self.names.iter().flatten().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
        let layers = self.layers.iter().flatten().flatten();
        layers.for_each(|word| word.store(0, Ordering::Relaxed));
        self.needs.iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
        let thinned = self.thinned.iter().flatten().flatten();
        thinned.for_each(|word| word.store(0, Ordering::Relaxed));
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

fn set(shards: &Shards, shard: u16, on: bool) {
    let (word, bit) = (usize::from(shard) / 64, 1u64 << (shard % 64));
    if on {
        shards[word].fetch_or(bit, Ordering::Relaxed);
    } else {
        shards[word].fetch_and(!bit, Ordering::Relaxed);
    }
}

fn shards(words: [u64; MAX_SHARDS / 64]) -> impl Iterator<Item = u16> {
    words.into_iter().enumerate().flat_map(|(word, mut bits)| {
        std::iter::from_fn(move || {
            (bits != 0).then(|| {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                (word * 64) as u16 + bit as u16
            })
        })
    })
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
        let shown = LayerShown { kilobits_per_s: 4_000_000, size, ..LayerShown::default() };
        let small = LayerShown { kilobits_per_s: 3, withheld: true, ..LayerShown::default() };
        shared.show_layer(video, 7, shown);
        shared.show_layer(video, 1, small);
        shared.show_layer(video, 2, LayerShown::default());
        let layers: Vec<_> = shared.shown_layers(video).collect();
        assert_eq!(layers, [(1, small), (7, shown)]);
        shared.publisher_left(first);
        assert_eq!(shared.shown_layers(video).count(), 0);
    }
}
