//! What a dependency descriptor says of temporal and spatial layers: the structure that comes with
//! a key frame (AV1 RTP specification, appendix A.8.2), and what follows from it for the frames
//! behind.

use super::{DependencyDescriptor, Scalable};

/// Templates that six bits of a descriptor tell apart, and decode targets of five bits.
const MOST_TEMPLATES: usize = 64;
const MOST_TARGETS: usize = 32;

/// What a frame is to a decode target: it is a switching point to it (two bits of DTI).
const SWITCH: u8 = 2;

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
}

impl FrameStructure {
    /// What a descriptor tells; `None` where it tells no structure, or it makes no sense.
    #[must_use]
    pub fn read(descriptor: &DependencyDescriptor) -> Option<FrameStructure> {
        if !descriptor.has_structure() {
            return None;
        }
        let mut bits = Bits::behind_frame_number(descriptor.bytes());
        bits.take(5)?;
        let offset = bits.take(6)?;
        let targets = bits.take(5)? + 1;
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
        Some(FrameStructure { offset, templates, count: count as u8, targets, reach })
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
        let mut bits = Bits::behind_frame_number(descriptor.bytes());
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

/// Bits, the most significant of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn behind_frame_number(bytes: &[u8]) -> Bits<'_> {
        Bits { bytes, at: 24 }
    }

    /// The next eight at most.
    fn take(&mut self, count: u32) -> Option<u8> {
        (0..count).try_fold(0u8, |value, _| {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(value << 1 | bit)
        })
    }
}

#[cfg(test)]
mod tests {
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
        bits.resize(bits.len().next_multiple_of(8), 0);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
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
