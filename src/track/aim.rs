//! Which layer of a track a viewer is to get: what it has asked for, within that what was chosen
//! for it, and of that what is there.

use std::time::Instant;

use smallvec::SmallVec;

use super::choose::Steps;
use super::{StreamShared, Taken, frames_of, layer_of, point};
use crate::id::TrackId;
use crate::limits::{MAX_LAYERS, MAX_POINTS};
use crate::media::{ALL_FRAMES, LayerName, PictureSize};

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
    /// Whether it does not because the way from the node that has it has no room for it.
    pub withheld: bool,
    /// Frames a second, where it is a layer thinned.
    pub frames_per_s: Option<u8>,
    /// Its spatial layer, where its encoding has several.
    pub spatial: Option<u8>,
}

impl Offered {
    /// What clients call it: as its publisher does, else by its number; pictures of one encoding
    /// by their spatial layers.
    #[must_use]
    pub fn called(&self) -> String {
        match (self.name.as_str(), self.spatial) {
            (Some(name), None) => name.to_owned(),
            (Some(name), Some(spatial)) => format!("{name}-S{spatial}"),
            (None, Some(spatial)) => format!("S{spatial}"),
            (None, None) => self.layer.to_string(),
        }
    }

    /// Whether a client that says `name` means it.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.called() == name
    }

    /// Whether it has all frames: of a larger picture, it is another one.
    fn is_picture(&self) -> bool {
        frames_of(self.layer).is_none()
    }
}

/// The place of what is shown of the point `number`, among pictures
/// ([`StreamShared::pictures`]): of one with fewer frames the picture that they are of.
#[must_use]
pub fn picture_in(pictures: &[Offered], number: u8) -> Option<usize> {
    let place = |number: u8| pictures.iter().position(|offer| offer.layer == number);
    let smallest = || point(layer_of(number), ALL_FRAMES).and_then(place);
    let whole = || place(layer_of(number));
    match frames_of(number) {
        Some(_) => smallest().or_else(whole),
        None => place(number).or_else(whole),
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

    /// What a layer may be thinned to, the least first.
    fn points_of(&self, track: TrackId, whole: Offered) -> impl Iterator<Item = Offered> {
        let limits = (0..).zip(self.thinned(track, whole.layer));
        let some = limits.filter(|(_, thinned)| thinned.needs_kilobits_per_s > 0);
        some.filter_map(move |(limit, thinned)| {
            let bits_per_s = u64::from(thinned.needs_kilobits_per_s) * 1_000;
            let (layer, frames_per_s) = (point(whole.layer, limit)?, Some(thinned.frames_per_s));
            let spatial = whole.spatial.map(|_| limit.saturating_sub(ALL_FRAMES));
            // Where that is not known of smaller pictures, it is of none.
            let size = if spatial.is_some() { thinned.size } else { whole.size };
            Some(Offered { layer, bits_per_s, frames_per_s, spatial, size, ..whole })
        })
    }

    /// The highest spatial layer of a layer, where it has several.
    fn spatial_of(&self, track: TrackId, layer: u8) -> Option<u8> {
        let thinned = self.thinned(track, layer);
        let smaller = thinned[usize::from(ALL_FRAMES)..]
            .iter()
            .filter(|thinned| thinned.needs_kilobits_per_s > 0)
            .count();
        (layer == 0 && smaller > 0).then_some(smaller as u8)
    }

    /// The pictures of a track that are told apart for clients, the smallest first: its layers, and
    /// of an encoding with spatial layers its smaller pictures.
    #[must_use]
    pub fn pictures(&self, track: TrackId) -> SmallVec<[Offered; MAX_LAYERS]> {
        self.points(track).into_iter().filter(Offered::is_picture).collect()
    }

    /// The layers of a track that were ever sent by its publisher, the smallest first: by the size
    /// of their pictures, else by what they send. Never by their names, which say nothing.
    #[must_use]
    pub fn offered(&self, track: TrackId) -> SmallVec<[Offered; MAX_LAYERS]> {
        let known = self.known_layers(track);
        let mut offered: SmallVec<[Offered; MAX_LAYERS]> = known
            .map(|offer| Offered { spatial: self.spatial_of(track, offer.layer), ..offer })
            .collect();
        let pixels = |size: PictureSize| u32::from(size.width) * u32::from(size.height);
        let all_sized = offered.iter().all(|layer| layer.size.is_some());
        offered
            .sort_by_key(|layer| (layer.size.map(pixels).filter(|_| all_sized), layer.bits_per_s));
        offered
    }
}

/// What can be had of a track, layer by layer: those of one stand together.
pub(super) fn by_layer(points: &[Offered]) -> impl DoubleEndedIterator<Item = &[Offered]> {
    points.chunk_by(|one, next| layer_of(one.layer) == layer_of(next.layer))
}

impl Bounds {
    /// The place of the smallest picture that has as much as is asked for, else of the largest; if
    /// it can be, with no more frames than are asked for.
    pub(super) fn enough(&self, points: &[Offered]) -> usize {
        let pictures = || (0..points.len()).filter(|place| points[*place].is_picture());
        // Who bounds nothing but frames has use for the largest.
        let is_bound = self.width.is_some() || self.height.is_some() || self.place.is_some();
        let mut all = pictures().enumerate().filter(|_| is_bound);
        let enough = all.find(|(nth, place)| self.are_met(*nth, &points[*place]));
        // The largest picture stands last.
        let picture = enough.map_or(points.len().saturating_sub(1), |(_, place)| place);
        let Some(up_to) = points.get(..=picture) else { return picture };
        let of_layer = by_layer(up_to).next_back().unwrap_or_default();
        up_to.len() - of_layer.len() + self.best_of(of_layer)
    }

    /// The place of the best that is asked for, among what can be had of one layer: its largest
    /// picture; where that is its smallest, too, with no more frames than are asked for.
    pub(super) fn best_of(&self, of_layer: &[Offered]) -> usize {
        let mut pictures = (0..of_layer.len()).filter(|place| of_layer[*place].is_picture());
        let (smallest, largest) = (pictures.next(), pictures.next_back());
        let fewer = self.temporal.filter(|_| largest.is_none());
        let fewer = of_layer
            .iter()
            .position(|offer| frames_of(offer.layer).is_some_and(|frames| Some(frames) == fewer));
        let last = of_layer.len().saturating_sub(1);
        fewer.or(largest).or(smallest).unwrap_or(last)
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
