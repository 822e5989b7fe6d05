//! Which layers of a stream a link carries. The end that takes media says what it wants; the other
//! one says what there is, whether it comes, and what it needs, since the end that takes media
//! can't measure what does not come. Sound comes always, and so does the smallest layer of each
//! video track: it is what viewers begin with while another one is asked for.
//!
//! Both say it again and again, and an end that never has is one that knows of no choice: it gets
//! all layers.

use super::frame::{Reader, track_byte, writer};
use crate::drop::DropReason;
use crate::id::{TrackId, TrackKind};
use crate::limits::{MAX_LAYERS, MAX_THINNED, MAX_TRACKS_OF_A_KIND};
use crate::media::{PictureSize, WantedLayers};

/// The first bytes of the two frames.
pub(super) const WANTS: u8 = 18;
pub(super) const LAYERS: u8 = 19;

/// Bytes that say what a layer is.
const LAYER_BYTES: usize = 14 + 8 * MAX_THINNED;

const SILENT: u8 = 1;
const DEAF: u8 = 1 << 1;
/// How it comes, in the bits above.
const COMING_SHIFT: u8 = 2;

/// Bits of a layer where all of a track are a word, and behind them one for each.
const WORD_BITS: u8 = 3;
const KNOWN: u8 = WORD_BITS * MAX_LAYERS as u8;

const _: () = assert!(KNOWN as u32 + MAX_LAYERS as u32 <= u64::BITS, "a word has them all");

/// What the end that takes media wants of each video track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Counts the times it has changed: of two the later one counts.
    pub turn: u32,
    /// By the track's number.
    pub videos: [WantedLayers; MAX_TRACKS_OF_A_KIND],
}

/// Whether a layer comes over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coming {
    /// It does.
    #[default]
    Comes,
    /// It would, if it were wanted.
    Unasked,
    /// It does not, since the way between the nodes loses too much.
    Loses,
    /// It does not, since it is above what a link may carry (`--link-mbps`).
    Capped,
    /// It does not come to the node that would send it: the way there has no room for it.
    Above,
}

impl Coming {
    /// All there are.
    pub const ALL: [Coming; 5] =
        [Coming::Comes, Coming::Unasked, Coming::Loses, Coming::Capped, Coming::Above];

    /// Whether it can't be had, though it is wanted.
    #[must_use]
    pub const fn is_withheld(self) -> bool {
        matches!(self, Coming::Loses | Coming::Capped | Coming::Above)
    }

    /// What is known of some layers, in a word: three bits each, and behind them which are known.
    #[must_use]
    pub fn to_word(layers: impl Iterator<Item = (u8, Coming)>) -> u64 {
        layers.filter(|(layer, _)| usize::from(*layer) < MAX_LAYERS).fold(0, |word, known| {
            let (layer, coming) = known;
            word | (coming as u64) << (WORD_BITS * layer) | 1 << (KNOWN + layer)
        })
    }

    /// Whether a layer comes, as a word says, if it is known there.
    #[must_use]
    pub fn in_word(word: u64, layer: u8) -> Option<Coming> {
        if usize::from(layer) >= MAX_LAYERS || word >> (KNOWN + layer) & 1 == 0 {
            return None;
        }
        Coming::ALL.get((word >> (WORD_BITS * layer) & 7) as usize).copied()
    }

    /// Its name in the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Coming::Comes => "comes",
            Coming::Unasked => "unasked",
            Coming::Loses => "loses",
            Coming::Capped => "capped",
            Coming::Above => "above",
        }
    }
}

/// What an end says of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The layer.
    pub layer: u8,
    /// Whether it comes.
    pub coming: Coming,
    /// Whether its publisher sends nothing of it now.
    pub silent: bool,
    /// Whether it answers no requests for key frames.
    pub deaf: bool,
    /// What it sends, in thousands of bits a second.
    pub kilobits_per_s: u32,
    /// What there must be room for to get it, likewise.
    pub needs_kilobits_per_s: u32,
    /// Of its pictures, where it is known.
    pub size: Option<PictureSize>,
    /// What it would be thinned, a word each.
    pub thinned: [u64; MAX_THINNED],
}

/// What an end says of the layers of a video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidLayers {
    /// The track.
    pub track: TrackId,
    /// The best one that can be had.
    pub best: u8,
    /// Those there are.
    pub layers: Vec<Said>,
}

/// A layer that a link may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The layer.
    pub layer: u8,
    /// Whether its publisher sends it.
    pub flows: bool,
}

/// Which layers of a track, whose `rungs` stand from the smallest on and whose best is `best`, are
/// taken over a link whose other end wants these, and which of them is the best there: a bit each.
/// What is not known yet is; what is withheld is not. One that says nothing wants all.
#[must_use]
pub fn taken(rungs: &[Rung], best: u8, wanted: Option<WantedLayers>, withheld: u8) -> (u8, u8) {
    let bit = |layer: u8| 1u8.checked_shl(u32::from(layer)).unwrap_or(0);
    let known = rungs.iter().fold(0, |bits, rung| bits | bit(rung.layer));
    let is_there = |rung: &&Rung| rung.flows && bit(rung.layer) & withheld == 0;
    let highest = rungs.iter().rfind(is_there).map_or(best, |rung| rung.layer);
    let best = if bit(best) & withheld == 0 { best } else { highest };
    let lowest = rungs.iter().find(is_there).or(rungs.first()).map_or(0, |rung| bit(rung.layer));
    let wanted = wanted
        .map_or(u8::MAX, |wanted| wanted.layers | lowest | if wanted.best { bit(best) } else { 0 });
    ((wanted | !known) & !withheld, best)
}

/// Writes what is wanted.
pub(super) fn write_wants(slot: &mut [u8], wants: &Wants) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[WANTS])?;
    out.put(&wants.turn.to_be_bytes())?;
    for wanted in &wants.videos {
        out.put(&[wanted.layers, u8::from(wanted.best)])?;
    }
    Ok(out.length())
}

/// Writes what there is of a track.
pub(super) fn write_layers(slot: &mut [u8], said: &SaidLayers) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[LAYERS, track_byte(said.track), said.best])?;
    for layer in said.layers.iter().take(MAX_LAYERS) {
        let flag = |has: bool, flag: u8| if has { flag } else { 0 };
        let coming = (layer.coming as u8) << COMING_SHIFT;
        let flags = flag(layer.silent, SILENT) | flag(layer.deaf, DEAF) | coming;
        out.put(&[layer.layer, flags])?;
        out.put(&layer.kilobits_per_s.to_be_bytes())?;
        out.put(&layer.needs_kilobits_per_s.to_be_bytes())?;
        out.put(&PictureSize::to_word(layer.size).to_be_bytes())?;
        for word in layer.thinned {
            out.put(&word.to_be_bytes())?;
        }
    }
    Ok(out.length())
}

impl Reader<'_> {
    pub(super) fn wants(&mut self) -> Option<Wants> {
        let turn = u32::from_be_bytes(self.take()?);
        let mut videos = [WantedLayers::default(); MAX_TRACKS_OF_A_KIND];
        for wanted in &mut videos {
            *wanted = WantedLayers { layers: self.byte()?, best: self.byte()? != 0 };
        }
        Some(Wants { turn, videos })
    }

    pub(super) fn layers(&mut self) -> Option<SaidLayers> {
        let track = self.track().filter(|track| track.kind == TrackKind::Video)?;
        let best = self.layer()?;
        let count = self.left() / LAYER_BYTES;
        let layers = (0..count.min(MAX_LAYERS)).map(|_| self.said());
        Some(SaidLayers { track, best, layers: layers.collect::<Option<_>>()? })
    }

    fn said(&mut self) -> Option<Said> {
        let (layer, flags) = (self.layer()?, self.byte()?);
        let coming = *Coming::ALL.get(usize::from(flags >> COMING_SHIFT))?;
        let kilobits_per_s = u32::from_be_bytes(self.take()?);
        let needs_kilobits_per_s = u32::from_be_bytes(self.take()?);
        let size = PictureSize::from_word(u32::from_be_bytes(self.take()?));
        let mut thinned = [0; MAX_THINNED];
        for word in &mut thinned {
            *word = u64::from_be_bytes(self.take()?);
        }
        let (silent, deaf) = (flags & SILENT != 0, flags & DEAF != 0);
        Some(Said {
            layer,
            coming,
            silent,
            deaf,
            kilobits_per_s,
            needs_kilobits_per_s,
            size,
            thinned,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::id::StreamKey;
    use crate::link::Frame;

    const HERE: StreamKey = StreamKey { index: 1, generation: 1 };
    const RUNGS: [Rung; 3] = [
        Rung { layer: 2, flows: true },
        Rung { layer: 0, flows: true },
        Rung { layer: 1, flows: true },
    ];

    fn wanted(layers: u8, best: bool) -> Option<WantedLayers> {
        Some(WantedLayers { layers, best })
    }

    #[test]
    fn the_smallest_comes_always_and_the_others_if_they_are_wanted_and_may() {
        let unknown = 0b1111_1000;
        let of = |wanted, withheld| {
            let (taken, best) = taken(&RUNGS, 1, wanted, withheld);
            (taken & !unknown, best)
        };
        assert_eq!(of(wanted(0, false), 0), (0b100, 1));
        assert_eq!(of(wanted(0, true), 0), (0b110, 1));
        assert_eq!(of(wanted(0b001, false), 0), (0b101, 1));
        assert_eq!(of(None, 0), (0b111, 1), "it knows of no choice");
        assert_eq!(of(wanted(0, true), 0b010), (0b101, 0), "the next one is the best then");
        assert_eq!(of(wanted(0b010, false), 0b010), (0b100, 0));
        let (known, _) = taken(&RUNGS, 1, wanted(0, false), 0);
        assert_eq!(known & unknown, unknown, "nobody can have chosen");
        let silent = [Rung { layer: 2, flows: false }, RUNGS[1], RUNGS[2]];
        assert_eq!(taken(&silent, 1, wanted(0, false), 0).0 & !unknown, 0b001);
    }

    #[test]
    fn what_comes_has_room_in_a_word() {
        let known =
            [(0, Coming::Loses), (3, Coming::Comes), (4, Coming::Above), (7, Coming::Capped)];
        let word = Coming::to_word(known.into_iter());
        for layer in 0..9 {
            let expected = known.iter().find(|(number, _)| *number == layer);
            assert_eq!(Coming::in_word(word, layer), expected.map(|(_, coming)| *coming));
        }
    }

    #[test]
    fn both_frames_read_as_they_were_written() {
        let mut slot = [0; 1_400];
        let mut wants = Wants { turn: 1 << 31 | 3, ..Wants::default() };
        wants.videos[1] = WantedLayers { layers: 0b101, best: true };
        let length = write_wants(&mut slot, &wants).expect("it has room");
        let read = Frame::read(&slot[..length], HERE, Instant::now());
        assert!(matches!(read, Some(Frame::Wants(read)) if read == wants), "{read:?}");

        let layer = Said {
            layer: 3,
            coming: Coming::Above,
            silent: true,
            deaf: true,
            kilobits_per_s: 1 << 31,
            needs_kilobits_per_s: 7,
            size: Some(PictureSize { width: 9, height: 65_535 }),
            thinned: [u64::MAX - 5; MAX_THINNED],
        };
        let track = TrackId { kind: TrackKind::Video, number: 1 };
        for count in [0, 1, MAX_LAYERS] {
            let layers = vec![layer, Said::default()];
            let layers = layers.into_iter().cycle().take(count).collect();
            let said = SaidLayers { track, best: 2, layers };
            let length = write_layers(&mut slot, &said).expect("it has room");
            let read = Frame::read(&slot[..length], HERE, Instant::now());
            assert!(matches!(read, Some(Frame::Layers(read)) if read == said), "{count}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_taken_that_is_withheld_and_something_is_of_what_may_come(
            flows in prop::collection::vec(any::<bool>(), 0..8),
            best in 0u8..8,
            layers: u8,
            wants_best: bool,
            withheld: u8,
        ) {
            let rungs: Vec<Rung> =
                (0..).zip(&flows).map(|(layer, flows)| Rung { layer, flows: *flows }).collect();
            let all = taken(&rungs, best, wanted(layers, wants_best), withheld);
            prop_assert_eq!(all.0 & withheld, 0);
            let may = |rung: &Rung| rung.flows && 1 << rung.layer & withheld == 0;
            let some = rungs.iter().any(|rung| may(rung) && all.0 & 1 << rung.layer != 0);
            prop_assert!(some || !rungs.iter().any(may));
            let more = taken(&rungs, best, None, withheld);
            prop_assert_eq!(all.0 & !more.0, 0, "who says nothing gets no less");
        }
    }
}
