//! Which layers of a track the viewers of a shard take: the one each has, and the one it goes to.

use crate::id::TrackId;
use crate::limits::{MAX_LAYERS, MAX_POINTS};

use super::{StreamShared, layer_of};

/// What somebody takes of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Whichever layer is the best.
    Best,
    /// This layer, or a layer thinned, by its number.
    Layer(u8),
}

/// How many take what. Who goes from one layer to another takes both.
#[derive(Debug, Default)]
pub(super) struct Takers {
    best: u32,
    /// Of a layer, thinned or not: what comes of it.
    layers: [u32; MAX_LAYERS],
    /// Of layers, and of each thinned, by number.
    points: [u32; MAX_POINTS],
}

impl Takers {
    /// Whether anybody takes a layer, thinned or not, where `best` is the best one.
    pub fn take(&self, layer: u8, best: u8) -> bool {
        self.count(Taken::Layer(layer)) > 0 || (layer == best && self.best > 0)
    }

    /// Whether anybody takes exactly what has this number.
    pub fn take_exactly(&self, number: u8, best: u8) -> bool {
        let some = self.points.get(usize::from(number)).is_some_and(|count| *count > 0);
        some || (number == best && self.best > 0)
    }

    /// One more takes it, of the track `id` on `shard`.
    pub fn add(&mut self, what: Taken, shared: &StreamShared, (id, shard): (TrackId, u16)) {
        if let Taken::Layer(number) = what
            && let Some(count) = self.points.get_mut(usize::from(number))
        {
            *count += 1;
        }
        if let Some(count) = self.count_mut(what) {
            *count += 1;
            if *count == 1 {
                shared.set_taken(id, what.whole(), shard, true);
            }
        }
    }

    /// One takes it no longer.
    pub fn remove(&mut self, what: Taken, shared: &StreamShared, (id, shard): (TrackId, u16)) {
        if let Taken::Layer(number) = what
            && let Some(count) = self.points.get_mut(usize::from(number))
        {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.count_mut(what) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shared.set_taken(id, what.whole(), shard, false);
            }
        }
    }

    pub fn count(&self, what: Taken) -> u32 {
        match what.whole() {
            Taken::Best => self.best,
            Taken::Layer(layer) => self.layers.get(usize::from(layer)).copied().unwrap_or(0),
        }
    }

    fn count_mut(&mut self, what: Taken) -> Option<&mut u32> {
        match what.whole() {
            Taken::Best => Some(&mut self.best),
            Taken::Layer(layer) => self.layers.get_mut(usize::from(layer)),
        }
    }
}

impl Taken {
    /// The layer that comes for it: all of it, though it be thinned.
    fn whole(self) -> Taken {
        match self {
            Taken::Best => Taken::Best,
            Taken::Layer(number) => Taken::Layer(layer_of(number)),
        }
    }
}
