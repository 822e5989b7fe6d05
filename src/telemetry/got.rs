//! Which layer a viewer gets, and why, in words.

use super::path::in_words;
use crate::limits::{MAX_LAYERS, MAX_POINTS};

/// The layer a viewer gets of its video, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerGot {
    /// The number of the one that it asked for, or that was chosen for it; it may be one thinned.
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
        Awaited = "a frame to begin the wanted one with has not come yet",
    }
}

/// Values of each part: numbers of layers, thinned or not, with one more for none; reasons; layers
/// that may be larger.
const WANTED: u32 = MAX_POINTS as u32;
const GOT: u32 = WANTED + 1;
const REASONS: u32 = LayerReason::ALL.len() as u32;
/// Six layers that are larger, and seven, are one value.
const DISTANCES: u32 = MAX_LAYERS as u32 - 1;

/// Bits that [`LayerGot::pack`] takes.
pub(super) const GOT_BITS: u32 = 16;

const _: () = assert!(
    2 * WANTED * GOT * REASONS * DISTANCES < 1 << GOT_BITS,
    "the parts are digits of one number"
);

impl LayerGot {
    /// As a number of [`GOT_BITS`] bits; 0 is none.
    pub(super) fn pack(got: Option<LayerGot>) -> u32 {
        let Some(LayerGot { wanted, got, why, asked, below_largest }) = got else { return 0 };
        let wanted = u32::from(wanted).min(WANTED - 1);
        let got = got.map_or(GOT - 1, |got| u32::from(got).min(WANTED - 1));
        let distance = u32::from(below_largest).min(DISTANCES - 1);
        let word = (distance * 2 + u32::from(asked)) * WANTED + wanted;
        // From one on, so that none is zero.
        (word * GOT + got) * REASONS + why as u32 + 1
    }

    /// The other way.
    pub(super) fn unpack(word: u32) -> Option<LayerGot> {
        let word = word.checked_sub(1)?;
        let (why, rest) = (word % REASONS, word / REASONS);
        let (got, rest) = (rest % GOT, rest / GOT);
        let (wanted, rest) = (rest % WANTED, rest / WANTED);
        Some(LayerGot {
            wanted: wanted as u8,
            got: Some(got as u8).filter(|_| got < GOT - 1),
            why: *LayerReason::ALL.get(why as usize)?,
            asked: rest & 1 == 1,
            below_largest: (rest / 2) as u8,
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
            for (wanted, got, below_largest) in [(0, None, 0), (7, Some(0), 6), (25, Some(25), 1)] {
                let asked = below_largest == 1;
                let shown = LayerGot { wanted, got, why: *why, asked, below_largest };
                let packed = LayerGot::pack(Some(shown));
                assert!(packed < 1 << GOT_BITS);
                assert_eq!(LayerGot::unpack(packed), Some(shown));
            }
        }
    }
}
