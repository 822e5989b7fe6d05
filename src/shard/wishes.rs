//! Which layers of a stream that a link brings are wanted: what viewers of this node take, and what
//! other nodes take from here, and both for some time after.

use std::time::Instant;

use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{LINK_LAYER_LINGER, MAX_LAYERS, MAX_TRACKS_OF_A_KIND};
use crate::link::{Coming, Said, SaidLayers};
use crate::media::WantedLayers;
use crate::track::{LayerShown, Streams, Thinned};

/// What is wanted of each video track.
pub(super) type Wanted = [WantedLayers; MAX_TRACKS_OF_A_KIND];

/// When each layer was wanted last.
pub(super) struct Wishes {
    /// Who has come for the link gets the best, once it is there: the other end need not wait for
    /// a word of it.
    since: Instant,
    last: [[Option<Instant>; MAX_LAYERS]; MAX_TRACKS_OF_A_KIND],
    /// Which layers do not come, though they could: a bit each.
    away: [u8; MAX_TRACKS_OF_A_KIND],
    /// What comes, in words for others.
    pub shown: [u64; MAX_TRACKS_OF_A_KIND],
}

impl Wishes {
    pub fn new(since: Instant) -> Wishes {
        let (last, away, shown) = Default::default();
        Wishes { since, last, away, shown }
    }

    /// What is wanted of `stream` at `now`.
    pub fn at(&mut self, now: Instant, stream: StreamKey, streams: &Streams) -> Wanted {
        let best = |number| {
            let id = TrackId { kind: TrackKind::Video, number };
            streams.shared(stream).map_or(0, |shared| shared.best_layer(id))
        };
        self.after(now, streams.wanted(stream), best)
    }

    fn after(&mut self, now: Instant, wanted: Wanted, best: impl Fn(u8) -> u8) -> Wanted {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < LINK_LAYER_LINGER;
        let begins = is_recent(self.since);
        let mut all = wanted;
        for ((number, track), last) in (0..).zip(&mut all).zip(&mut self.last) {
            let followed = if track.best { 1 << best(number) } else { 0 };
            for (layer, last) in last.iter_mut().enumerate() {
                if (track.layers | followed) & 1 << layer != 0 {
                    *last = Some(now);
                }
                *last = last.filter(|at| is_recent(*at));
                track.layers |= u8::from(last.is_some()) << layer;
            }
            track.best |= begins;
        }
        all
    }

    /// Somebody waits for a key frame of a layer. True where it does not come at all.
    pub fn is_to_come(&mut self, now: Instant, track: TrackId, layer: u8) -> bool {
        let away = self.away.get(usize::from(track.number)).copied().unwrap_or(0);
        let last = self.last.get_mut(usize::from(track.number));
        let is_away = track.kind == TrackKind::Video && away & 1 << layer != 0;
        if let Some(last) = last.and_then(|last| last.get_mut(usize::from(layer)))
            && is_away
        {
            *last = Some(now);
        }
        is_away
    }

    /// Another end gives the stream, and has said nothing.
    pub fn are_untold(&mut self) {
        (self.away, self.shown) = Default::default();
    }

    /// The other end says which layers come.
    pub fn are_told(&mut self, said: &SaidLayers) {
        let number = usize::from(said.track.number);
        if let Some(word) = self.shown.get_mut(number) {
            let known = said.layers.iter().map(|layer| (layer.layer, layer.coming));
            *word = Coming::to_word(known);
        }
        if let Some(away) = self.away.get_mut(number) {
            let layers = said.layers.iter().filter(|layer| layer.coming != Coming::Comes);
            *away = layers.fold(0, |bits, layer| bits | 1 << layer.layer);
        }
    }
}

/// What the other end says of a layer, for the viewers here, and whether it comes. What it
/// withholds is to them as if nobody sent it.
pub(super) fn shown(said: &Said) -> (u8, LayerShown, bool) {
    let shown = LayerShown {
        kilobits_per_s: said.kilobits_per_s,
        size: said.size,
        silent: said.silent || said.coming.is_withheld(),
        withheld: said.coming.is_withheld(),
        needs_kilobits_per_s: said.needs_kilobits_per_s,
        deaf: said.deaf,
        thinned: said.thinned.map(Thinned::from_word),
    };
    (said.layer, shown, said.coming == Coming::Comes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEST: WantedLayers = WantedLayers { layers: 0, best: true };

    fn first(track: WantedLayers) -> Wanted {
        [track, WantedLayers::default(), WantedLayers::default(), WantedLayers::default()]
    }

    #[test]
    fn what_nobody_takes_any_more_is_wanted_for_a_while_and_the_best_to_begin_with() {
        let start = Instant::now();
        let mut wishes = Wishes::new(start);
        let mut at = |ms: u64, wanted: WantedLayers| {
            let now = start + std::time::Duration::from_millis(ms);
            wishes.after(now, first(wanted), |_track| 2)[0]
        };
        let linger = LINK_LAYER_LINGER.as_millis() as u64;
        assert_eq!(at(0, WantedLayers::default()), BEST);
        assert_eq!(at(linger, WantedLayers::default()), WantedLayers::default());
        assert_eq!(at(linger, BEST), WantedLayers { layers: 0b100, best: true });
        let low = WantedLayers { layers: 0b001, best: false };
        assert_eq!(at(linger + 1, low), WantedLayers { layers: 0b101, best: false });
        assert_eq!(at(2 * linger - 1, low), WantedLayers { layers: 0b101, best: false });
        assert_eq!(at(2 * linger, low), low);
    }

    #[test]
    fn who_waits_for_a_layer_that_does_not_come_asks_for_all_of_it() {
        let start = Instant::now();
        let track = TrackId::first(TrackKind::Video);
        let mut wishes = Wishes::new(start - LINK_LAYER_LINGER);
        assert!(!wishes.is_to_come(start, track, 1), "nothing was said");
        let layer = Said { layer: 1, coming: Coming::Unasked, ..Said::default() };
        let said = SaidLayers { track, best: 1, layers: vec![Said::default(), layer] };
        wishes.are_told(&said);
        assert!(wishes.is_to_come(start, track, 1) && !wishes.is_to_come(start, track, 0));
        let wanted = wishes.after(start, Wanted::default(), |_track| 0);
        assert_eq!(wanted[0], WantedLayers { layers: 0b10, best: false });
        let (_, gone, comes) = shown(&Said { coming: Coming::Loses, ..layer });
        assert!(gone.silent && !comes);
    }
}
