//! Which layer a viewer gets, and why, in words.

use super::path::in_words;

/// The layer a viewer gets of its video, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerGot {
    /// The number of the one that it asked for, or that was chosen for it.
    pub wanted: u8,
    /// The number of the one it has, once it has one.
    pub got: Option<u8>,
    /// Why it has that.
    pub why: LayerReason,
    /// Whether it was asked for by name.
    pub asked: bool,
    /// Layers that are larger than the one it has.
    pub below_largest: u8,
}

in_words! {
    /// Why a viewer has a layer, or has not the one it is to get.
    LayerReason {
        /// It chooses nothing, and nothing was chosen for it.
        Best = "it is the best there is",
        /// It was chosen by what the path carries.
        Carried = "it is what the path carries",
        /// The viewer named it.
        Asked = "it was asked for by name",
        /// The viewer said how large a picture it has use for.
        Enough = "it is as large as was asked for",
        /// The publisher sends nothing of the one it is to get.
        Silent = "the publisher sends nothing of the wanted one at present",
        /// What the viewer could begin with has not come.
        Awaited = "a key frame of the wanted one has not come yet",
    }
}

/// Bits of the numbers below; a layer that there is not is one more than the last.
const LAYER_BITS: u32 = 4;
const REASON_BITS: u32 = 3;
const DISTANCE_BITS: u32 = 4;
const ASKED_BITS: u32 = 1;

/// Bits that [`LayerGot::pack`] takes.
pub(super) const GOT_BITS: u32 = 2 * LAYER_BITS + REASON_BITS + ASKED_BITS + DISTANCE_BITS;

const NO_LAYER: u32 = (1 << LAYER_BITS) - 1;

const _: () = assert!(crate::limits::MAX_LAYERS < NO_LAYER as usize, "a layer has its bits");
const _: () = assert!(LayerReason::ALL.len() < 1 << REASON_BITS, "a reason has its bits");

impl LayerGot {
    /// As a number of [`GOT_BITS`] bits; 0 is none.
    pub(super) fn pack(got: Option<LayerGot>) -> u32 {
        let Some(LayerGot { wanted, got, why, asked, below_largest }) = got else { return 0 };
        let layer =
            |layer: Option<u8>| layer.map_or(NO_LAYER, |layer| u32::from(layer).min(NO_LAYER));
        let distance = u32::from(below_largest).min((1 << DISTANCE_BITS) - 1);
        let word = distance << ASKED_BITS | u32::from(asked);
        let word = word << LAYER_BITS | layer(Some(wanted));
        // From one on, so that none is zero.
        (word << LAYER_BITS | layer(got)) << REASON_BITS | (why as u32 + 1)
    }

    /// The other way.
    pub(super) fn unpack(word: u32) -> Option<LayerGot> {
        let why = (word & ((1 << REASON_BITS) - 1)).checked_sub(1)?;
        let word = word >> REASON_BITS;
        let layer = |word: u32| (word & NO_LAYER) as u8;
        Some(LayerGot {
            wanted: layer(word >> LAYER_BITS),
            got: Some(layer(word)).filter(|layer| u32::from(*layer) < NO_LAYER),
            why: *LayerReason::ALL.get(why as usize)?,
            asked: word >> (2 * LAYER_BITS) & 1 == 1,
            below_largest: (word >> (2 * LAYER_BITS + ASKED_BITS)) as u8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        assert_eq!(LayerGot::unpack(LayerGot::pack(None)), None);
        for why in LayerReason::ALL {
            for (wanted, got, below_largest) in [(0, None, 0), (7, Some(0), 7), (2, Some(7), 1)] {
                let asked = below_largest == 1;
                let shown = LayerGot { wanted, got, why: *why, asked, below_largest };
                let packed = LayerGot::pack(Some(shown));
                assert!(packed < 1 << GOT_BITS);
                assert_eq!(LayerGot::unpack(packed), Some(shown));
            }
        }
    }
}
