//! Which layers of a video track somebody wants.

use crate::limits::MAX_LAYERS;

/// Layers of a video track that somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedLayers {
    /// A bit each.
    pub layers: u8,
    /// Whether somebody wants the best one, whichever that is.
    pub best: bool,
}

const _: () = assert!(MAX_LAYERS <= 8, "a bit each");

impl WantedLayers {
    /// What this one and the other want together.
    #[must_use]
    pub fn and(self, other: WantedLayers) -> WantedLayers {
        WantedLayers { layers: self.layers | other.layers, best: self.best || other.best }
    }
}
