//! Which layers of a track the viewers of a shard take: the one each has, and the one it goes to.

use crate::id::TrackId;
use crate::limits::MAX_LAYERS;

use super::StreamShared;

/// What somebody takes of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Whichever layer is the best.
    Best,
    /// This layer.
    Layer(u8),
}

/// How many take what. Who goes from one layer to another takes both.
#[derive(Debug, Default)]
pub(super) struct Takers {
    best: u32,
    layers: [u32; MAX_LAYERS],
}

impl Takers {
    /// Whether anybody takes a layer, where `best` is the best one.
    pub fn take(&self, layer: u8, best: u8) -> bool {
        self.count(Taken::Layer(layer)) > 0 || (layer == best && self.best > 0)
    }

    /// One more takes it, of the track `id` on `shard`.
    pub fn add(&mut self, what: Taken, shared: &StreamShared, (id, shard): (TrackId, u16)) {
        if let Some(count) = self.count_mut(what) {
            *count += 1;
            if *count == 1 {
                shared.set_taken(id, what, shard, true);
            }
        }
    }

    /// One takes it no longer.
    pub fn remove(&mut self, what: Taken, shared: &StreamShared, (id, shard): (TrackId, u16)) {
        if let Some(count) = self.count_mut(what) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shared.set_taken(id, what, shard, false);
            }
        }
    }

    pub fn count(&self, what: Taken) -> u32 {
        match what {
            Taken::Best => self.best,
            Taken::Layer(layer) => self.layers.get(usize::from(layer)).copied().unwrap_or(0),
        }
    }

    fn count_mut(&mut self, what: Taken) -> Option<&mut u32> {
        match what {
            Taken::Best => Some(&mut self.best),
            Taken::Layer(layer) => self.layers.get_mut(usize::from(layer)),
        }
    }
}
