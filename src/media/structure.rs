//! What a dependency descriptor says of temporal and spatial layers: the structure that comes with
//! a key frame (AV1 RTP specification, appendix A.8.2), and what follows from it for the frames
//! behind.

use super::bits::Bits;
use super::picture::{PictureSize, PictureSizes};
use super::{DependencyDescriptor, Scalable};

/// Templates that six bits of a descriptor tell apart, and decode targets of five bits.
const MOST_TEMPLATES: usize = 64;
const MOST_TARGETS: usize = 32;

/// What a frame is to a decode target: it is a switching point to it (two bits of DTI).
const SWITCH: u32 = 2;

/// Where a frame stands by its template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Template {
    temporal: u8,
    spatial: u8,
    /// The decode targets that it has to do with, and those it is a switching point to.
    present: u32,
    switches: u32,
}

/// The frames of a publisher, as it has told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameStructure {
    offset: u8,
    templates: [Template; MOST_TEMPLATES],
    count: u8,
    targets: u8,
    /// The highest spatial and temporal layer of each decode target.
    reach: [(u8, u8); MOST_TARGETS],
    /// How large the pictures of each spatial layer are, where it says so.
    sizes: Option<PictureSizes>,
}

impl FrameStructure {
    /// What a descriptor tells; `None` where it tells no structure, or it makes no sense.
    #[must_use]
    pub fn read(descriptor: &DependencyDescriptor) -> Option<FrameStructure> {
        if !descriptor.has_structure() {
            return None;
        }
        let mut bits = Bits::new(descriptor.behind_frame_number());
        bits.take(5)?;
        let offset = bits.take(6)? as u8;
        let targets = bits.take(5)? as u8 + 1;
        let mut templates = [Template::default(); MOST_TEMPLATES];
        let (mut count, mut temporal, mut spatial) = (0, 0u8, 0u8);
        loop {
            let template = templates.get_mut(count)?;
            (template.temporal, template.spatial) = (temporal, spatial);
            count += 1;
            match bits.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (temporal, spatial) = (0, spatial + 1),
                _ => break,
            }
        }
        let mut reach = [(0, 0); MOST_TARGETS];
        for template in &mut templates[..count] {
            for target in 0..targets {
                let indication = bits.take(2)?;
                let bit = 1 << target;
                template.present |= if indication > 0 { bit } else { 0 };
                template.switches |= if indication == SWITCH { bit } else { 0 };
                let reach = &mut reach[usize::from(target)];
                if indication > 0 {
                    let Template { spatial, temporal, .. } = *template;
                    *reach = (reach.0.max(spatial), reach.1.max(temporal));
                }
            }
        }
        let sizes = sizes(&mut bits, (count, targets), spatial);
        Some(FrameStructure { offset, templates, count: count as u8, targets, reach, sizes })
    }

    /// How large the pictures are, where it says so.
    #[must_use]
    pub fn sizes(&self) -> Option<PictureSizes> {
        self.sizes
    }

    /// The layers of a frame, and whether one can go up to more frames there.
    #[must_use]
    pub fn scalable(&self, descriptor: &DependencyDescriptor) -> Option<Scalable> {
        let flags = *descriptor.bytes().first()?;
        let place = usize::from((flags & 0x3f).wrapping_sub(self.offset) & 0x3f);
        let Template { temporal, spatial, present, switches } =
            *self.templates[..usize::from(self.count)].get(place)?;
        let switches = self.custom(descriptor).unwrap_or(switches);
        // Of pictures of its size: what larger ones need is another question.
        let mut targets = (0..usize::from(self.targets))
            .filter(|target| present >> target & 1 == 1 && self.reach[*target].0 == spatial);
        let above =
            targets.all(|target| self.reach[target].1 <= temporal || switches >> target & 1 == 1);
        // Where there is nothing above, nobody asks.
        Some(Scalable { temporal, spatial, own: false, above, ends: flags & 0x40 != 0 })
    }

    /// The decode targets that a frame is a switching point to by its own word.
    fn custom(&self, descriptor: &DependencyDescriptor) -> Option<u32> {
        let mut bits = Bits::new(descriptor.behind_frame_number());
        let flags = bits.take(5)?;
        // Behind a structure, of a key frame, are other things first.
        if flags & 0b10100 != 0b00100 {
            return None;
        }
        if flags & 0b01000 != 0 {
            for _ in 0..self.targets {
                bits.take(1)?;
            }
        }
        let mut switches = 0;
        for target in 0..self.targets {
            switches |= if bits.take(2)? == SWITCH { 1 << target } else { 0 };
        }
        Some(switches)
    }
}

/// How large pictures are to be shown, of each spatial layer up to the `highest`: that stands last,
/// behind what the frames of each template need, and the chains that say whether that has come.
fn sizes(bits: &mut Bits<'_>, counts: (usize, u8), highest: u8) -> Option<PictureSizes> {
    let (templates, targets) = counts;
    for _ in 0..templates {
        while bits.take(1)? == 1 {
            bits.take(4)?;
        }
    }
    let chains = bits.below(u32::from(targets) + 1)?;
    if chains > 0 {
        for _ in 0..targets {
            bits.below(chains)?;
        }
        for _ in 0..templates * chains as usize {
            bits.take(4)?;
        }
    }
    if bits.take(1)? == 0 {
        return None;
    }
    let mut side = || (bits.take(16)? as u16).checked_add(1);
    (0..=highest).try_fold(PictureSizes::default(), |all, spatial| {
        Some(all.with(spatial, Some(PictureSize { width: side()?, height: side()? })))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Three temporal layers, as libwebrtc tells them: 0 is a switching point to all, 1 to what is
    /// above it.
    fn structure(offset: u8) -> Vec<u8> {
        let mut bits = Vec::new();
        let mut put = |value: u8, count: u32| {
            bits.extend((0..count).rev().map(|bit| value >> bit & 1));
        };
        put(0b10000, 5);
        put(offset, 6);
        put(2, 5);
        // Templates: two of the lowest, one of the middle, two of the highest.
        for next in [0, 1, 1, 0, 3] {
            put(next, 2);
        }
        for indications in [[2, 2, 2], [2, 2, 2], [0, 1, 2], [0, 0, 1], [0, 0, 1]] {
            indications.into_iter().for_each(|indication| put(indication, 2));
        }
        packed(bits)
    }

    fn descriptor(template: u8, more: &[u8]) -> DependencyDescriptor {
        let bytes = [&[0xc0 | template, 0, 1], more].concat();
        DependencyDescriptor::new(&bytes).expect("it fits")
    }

    #[test]
    fn the_temporal_layer_of_a_frame_follows_from_the_structure() {
        let told = FrameStructure::read(&descriptor(60, &structure(60))).expect("a structure");
        // Numbers of templates wrap at 64.
        let of =
            |template: u8| told.scalable(&descriptor(template, &[])).map(|t| (t.temporal, t.above));
        assert_eq!([60, 61].map(of), [Some((0, true)); 2]);
        assert_eq!(of(62), Some((1, true)));
        assert_eq!([63, 0].map(of), [Some((2, true)); 2]);
        assert_eq!(of(1), None, "there are five");
        // Flags: the frame tells its own indications, required for all.
        let custom = descriptor(60, &[0b0010_0111, 0b1111_0000]);
        assert_eq!(told.scalable(&custom).map(|t| (t.temporal, t.above)), Some((0, false)));
        assert_eq!(FrameStructure::read(&descriptor(60, &[])), None);
    }

    /// Two spatial layers, each with frames of its own after a key picture, as libwebrtc tells them
    /// for `L2T1_KEY`: four templates, two targets, two chains, and sizes of `L2T1h`.
    fn structure_with_sizes() -> Vec<u8> {
        let mut bits = Vec::new();
        let mut put = |value: u16, count: u32| {
            bits.extend((0..count).rev().map(|bit| (value >> bit & 1) as u8));
        };
        put(0b10000, 5);
        put(0, 6);
        put(1, 5);
        // Two of the lower spatial layer, two of the upper.
        [0, 2, 0, 3].into_iter().for_each(|next| put(next, 2));
        for indications in [[2, 2], [2, 0], [0, 2], [0, 2]] {
            indications.into_iter().for_each(|indication| put(indication, 2));
        }
        // What they need: nothing, two frames before, the one before, two before.
        put(0, 1);
        [0b10_0010, 0b10_0000, 0b10_0010].into_iter().for_each(|needed| put(needed, 6));
        // Two chains of at most two: ns(3); each target by its own; how far back each goes.
        put(0b11, 2);
        [0, 1].into_iter().for_each(|chain| put(chain, 1));
        (0..8).for_each(|_| put(1, 4));
        put(1, 1);
        [639, 359, 959, 539].into_iter().for_each(|side| put(side, 16));
        packed(bits)
    }

    fn packed(mut bits: Vec<u8>) -> Vec<u8> {
        bits.resize(bits.len().next_multiple_of(8), 0);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
    }

    #[test]
    fn spatial_layers_and_their_sizes_follow_from_the_structure() {
        let whole = structure_with_sizes();
        let told = FrameStructure::read(&descriptor(0, &whole)).expect("a structure");
        let of = |template: u8| told.scalable(&descriptor(template, &[])).map(|t| t.spatial);
        assert_eq!([0, 1, 2, 3, 4].map(of), [Some(0), Some(0), Some(1), Some(1), None]);
        let sizes = told.sizes().expect("it says them");
        let sizes = [0, 1, 2].map(|spatial| sizes.of(spatial).map(|s| (s.width, s.height)));
        assert_eq!(sizes, [Some((640, 360)), Some((960, 540)), None]);
        let cut = FrameStructure::read(&descriptor(0, &whole[..whole.len() - 1]));
        let cut = cut.expect("the frames are as before");
        assert_eq!((cut.sizes(), of(1)), (None, Some(0)));
        assert_eq!(FrameStructure::read(&descriptor(60, &structure(60))).unwrap().sizes(), None);
    }

    proptest! {
        #[test]
        fn whatever_a_descriptor_says_of_sizes_they_are_some(
            mut bytes in prop::collection::vec(any::<u8>(), 3..120),
            changed in prop::collection::vec((0..40usize, any::<u8>()), 0..4),
        ) {
            bytes[0] |= 0x80;
            let mut near = structure_with_sizes();
            for (place, byte) in changed {
                if let Some(old) = near.get_mut(place) {
                    *old = byte;
                }
            }
            for bytes in [bytes, near] {
                let told = FrameStructure::read(&descriptor(0, &bytes));
                let sizes = told.as_ref().and_then(FrameStructure::sizes);
                if let Some(sizes) = sizes {
                    let highest = sizes.of(sizes.highest()).expect("there is one");
                    prop_assert!(highest.width > 0 && highest.height > 0);
                }
            }
        }
    }

    #[test]
    fn no_structure_however_short_or_wrong_panics() {
        let whole = structure(0);
        for length in 0..whole.len() {
            let _ = FrameStructure::read(&descriptor(0, &whole[..length]));
        }
        // Templates without end.
        assert_eq!(FrameStructure::read(&descriptor(0, &[0x80; 1])), None);
        let endless = [&[0x80][..], &[0; 200]].concat();
        assert_eq!(FrameStructure::read(&descriptor(0, &endless)), None);
        let climbing = [&[0x80, 0][..], &[0x55; 200]].concat();
        assert_eq!(FrameStructure::read(&descriptor(0, &climbing)), None);
    }
}
