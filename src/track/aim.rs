//! Which layer of a track a viewer is to get: what it has asked for, within that what was chosen
//! for it, and of that what is there.

use std::time::Instant;

use smallvec::SmallVec;

use super::choose::Steps;
use super::{StreamShared, Taken, layer_of, limit_of, point};
use crate::id::TrackId;
use crate::limits::{MAX_LAYERS, MAX_POINTS};
use crate::media::{LayerName, PictureSize};

/// What a viewer has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: it gets what is chosen for it, else the best layer.
    #[default]
    Automatic,
    /// A layer, thinned or not, whatever is chosen for it.
    Layer(u8),
    /// Nothing larger than it needs to be.
    Within(Bounds),
}

/// How large a viewer's picture need be: it gets no larger layer than the smallest one that has as
/// much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Pixels a line.
    pub width: Option<u16>,
    /// Lines.
    pub height: Option<u16>,
    /// The layer's place, by what they send, from 0 on.
    pub place: Option<u8>,
    /// The highest temporal layer it has use for.
    pub temporal: Option<u8>,
}

/// One viewer's aim in one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Aim {
    /// What it has asked for.
    pub wish: Wish,
    /// What was chosen for it by what its network carries.
    pub chosen: Option<u8>,
    /// What comes of it, of the layers there are.
    pub goal: u8,
    /// When another may be chosen.
    pub steps: Steps,
    /// When another may be chosen of the smallest layer, thinned or not.
    pub thinning: Steps,
    /// Since when it waits for a new key frame of it.
    pub waits: Option<Instant>,
}

impl Aim {
    /// What a viewer with this aim takes.
    pub fn taken(self) -> Taken {
        match (self.wish, self.chosen) {
            (Wish::Automatic, None) => Taken::Best,
            _ => Taken::Layer(self.goal),
        }
    }

    /// The same, as things stand: of what there is ([`StreamShared::points`]), `best` is the layer
    /// for those who want nothing.
    pub fn renewed(self, offered: &[Offered], best: u8) -> Aim {
        let goal = self.goal_of(offered, best);
        Aim { goal, waits: self.waits.filter(|_| goal == self.goal), ..self }
    }

    fn goal_of(self, offered: &[Offered], best: u8) -> u8 {
        let flowing = |place: usize| {
            // What is silent gives way to the next lower one that flows, else to the next higher.
            let mut below = (0..=place).rev().chain(place + 1..offered.len());
            below.find(|place| offered.get(*place).is_some_and(|offer| offer.flows))
        };
        // What can't be thinned any more is taken as it is.
        let find = |layer: u8| offered.iter().position(|offer| offer.layer == layer);
        let place = |layer: u8| find(layer).or_else(|| find(layer_of(layer)));
        let wanted = match self.wish {
            Wish::Layer(layer) => place(layer),
            Wish::Automatic => place(self.chosen.unwrap_or(best)),
            Wish::Within(bounds) => {
                let most = bounds.enough(offered);
                Some(self.chosen.and_then(place).map_or(most, |chosen| chosen.min(most)))
            }
        };
        let found = wanted.and_then(flowing).and_then(|place| offered.get(place));
        found.map_or(best, |offer| offer.layer)
    }
}

/// What a layer of a track is, for whoever chooses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its number.
    pub layer: u8,
    /// What its publisher calls it.
    pub name: LayerName,
    /// Payload that there must be room for: a twentieth more than it usually sends, or sent before
    /// it fell silent.
    pub bits_per_s: u64,
    /// Of its pictures, where its key frames say.
    pub size: Option<PictureSize>,
    /// Whether it flows: who gets a layer that does not is given another one.
    pub flows: bool,
    /// Frames a second, where it is a layer thinned.
    pub frames_per_s: Option<u8>,
}

impl Offered {
    /// What clients call it: as its publisher does, else by its number.
    #[must_use]
    pub fn called(&self) -> String {
        match self.name.as_str() {
            Some(name) => name.to_owned(),
            None => self.layer.to_string(),
        }
    }

    /// Whether a client that says `name` means it.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name.as_str().map_or(name.parse() == Ok(self.layer), |own| own == name)
    }
}

impl StreamShared {
    /// All that can be taken of a track: its layers, the smallest first, and before each of them
    /// what it may be thinned to.
    #[must_use]
    pub fn points(&self, track: TrackId) -> SmallVec<[Offered; MAX_POINTS]> {
        let mut points = SmallVec::new();
        for layer in self.offered(track) {
            points.extend(self.points_of(track, layer));
            points.push(layer);
        }
        points
    }

    /// The layers of a track that were ever sent by its publisher, the smallest first: by the size
    /// of their pictures, else by what they send. Never by their names, which say nothing.
    #[must_use]
    pub fn offered(&self, track: TrackId) -> SmallVec<[Offered; MAX_LAYERS]> {
        let mut offered: SmallVec<[Offered; MAX_LAYERS]> = self.known_layers(track).collect();
        let pixels = |size: PictureSize| u32::from(size.width) * u32::from(size.height);
        let all_sized = offered.iter().all(|layer| layer.size.is_some());
        offered
            .sort_by_key(|layer| (layer.size.map(pixels).filter(|_| all_sized), layer.bits_per_s));
        offered
    }
}

impl Bounds {
    /// The place of the smallest layer that has as much as is asked for, else of the largest; if it
    /// can be, thinned to what is asked for.
    pub(super) fn enough(&self, points: &[Offered]) -> usize {
        let layers = || points.iter().filter(|offer| limit_of(offer.layer).is_none());
        let enough = layers().enumerate().find(|(place, offer)| self.are_met(*place, offer));
        // The largest layer stands last.
        let layer = enough.map(|(_, offer)| offer).or(points.last()).map(|offer| offer.layer);
        let of_layer = |offer: &Offered| Some(layer_of(offer.layer)) == layer;
        let found =
            points.iter().position(|offer| of_layer(offer) && self.is_thinned_so(offer, points));
        found.unwrap_or(points.len().saturating_sub(1))
    }

    /// Whether a layer is thinned to what is asked for: as it is, where nothing is, or where it
    /// can't be.
    pub(super) fn is_thinned_so(&self, offer: &Offered, points: &[Offered]) -> bool {
        let so = |layer: u8| self.temporal.and_then(|most| point(layer, most));
        match limit_of(offer.layer) {
            Some(_) => so(layer_of(offer.layer)) == Some(offer.layer),
            None => !points.iter().any(|other| Some(other.layer) == so(offer.layer)),
        }
    }

    /// Whether a layer has as much as is asked for. One whose size is not known has as much as any.
    fn are_met(&self, place: usize, offer: &Offered) -> bool {
        let size = offer.size;
        let enough = |asked: Option<u16>, side: Option<u16>| {
            asked.zip(side).is_none_or(|(asked, side)| side >= asked)
        };
        let by_size = enough(self.width, size.map(|size| size.width))
            && enough(self.height, size.map(|size| size.height));
        by_size && self.place.is_none_or(|asked| place >= usize::from(asked))
    }
}
