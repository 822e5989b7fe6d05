//! How large the pictures of a layer are, as its key frames say.

use str0m::format::Codec;

use super::bits::Bits;
use crate::limits::MAX_SPATIAL;

/// Width and height in pixels, as coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureSize {
    /// Pixels a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

impl PictureSize {
    /// In a word that other threads and nodes read: 0 where it is not known.
    #[must_use]
    pub fn to_word(size: Option<PictureSize>) -> u32 {
        let PictureSize { width, height } = size.unwrap_or_default();
        u32::from(width) << 16 | u32::from(height)
    }

    /// What [`PictureSize::to_word`] has made.
    #[must_use]
    pub fn from_word(word: u32) -> Option<PictureSize> {
        let size = PictureSize { width: (word >> 16) as u16, height: word as u16 };
        Some(size).filter(|size| *size != PictureSize::default())
    }
}

/// Of the pictures of a layer: of one, or of an encoding with spatial layers the smaller ones, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureSizes([Option<PictureSize>; MAX_SPATIAL]);

impl PictureSizes {
    /// The same with that of another spatial layer, of which each comes behind those below it: of
    /// those that are not told apart the highest counts.
    #[must_use]
    pub fn with(mut self, spatial: u8, size: Option<PictureSize>) -> PictureSizes {
        self.0[usize::from(spatial).min(MAX_SPATIAL - 1)] = size;
        self
    }

    /// That of pictures up to a spatial layer, 0 where there is one.
    #[must_use]
    pub fn of(self, spatial: u8) -> Option<PictureSize> {
        self.0.get(usize::from(spatial)).copied().flatten()
    }

    /// The highest spatial layer that is told, 0 where there is one.
    #[must_use]
    pub fn highest(self) -> u8 {
        self.0.iter().rposition(Option::is_some).unwrap_or(0) as u8
    }
}

/// What a packet says of the sizes of its pictures: the first packet of a key frame, or of VP9 any
/// with a scalability structure. `None` where it says nothing, and for codecs whose headers are not
/// read: of AV1 the dependency descriptor says it ([`super::FrameStructure`]), of H.265 nothing.
///
/// VP8: RFC 6386 §9.1. VP9: RFC 9628 §4.2 and the bitstream's uncompressed header. H.264: the
/// sequence parameter set, ITU-T H.264 §7.3.2.1.1, alone or in an aggregate (RFC 6184 §5.7.1).
#[must_use]
pub fn picture_sizes(codec: Codec, payload: &[u8], keyframe: bool) -> Option<PictureSizes> {
    let one = |size| PictureSizes::default().with(0, Some(size));
    match codec {
        Codec::Vp8 if keyframe => vp8(payload).map(one),
        Codec::Vp9 => {
            let header = || vp9(payload).filter(|_| keyframe).map(one);
            vp9_structure(payload).or_else(header)
        }
        Codec::H264 if keyframe => h264(payload).map(one),
        _ => None,
    }
}

fn vp8(payload: &[u8]) -> Option<PictureSize> {
    // Behind the payload descriptor of whatever length stand three bytes of frame tag.
    let start = &payload[..payload.len().min(MAX_VP8_DESCRIPTOR + 6)];
    let at = start.windows(3).position(|bytes| bytes == VP8_START_CODE)?;
    let sizes = payload.get(at + 3..at + 7)?;
    let side = |low: u8, high: u8| u16::from_le_bytes([low, high]) & 0x3fff;
    size(side(sizes[0], sizes[1]).into(), side(sizes[2], sizes[3]).into())
}

/// What begins a key frame behind its tag (RFC 6386 §9.1).
const VP8_START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
/// RFC 7741 §4.2: two bytes of flags, two of picture, one each of the rest.
const MAX_VP8_DESCRIPTOR: usize = 6;

/// VP9's payload descriptor begins with I, P, L, F, B, E, V, Z (RFC 9628 §4.2).
const NUMBERED: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const LAYERED: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGINS: u8 = 0x08;
const STRUCTURED: u8 = 0x02;

/// The flags, and where what follows the picture's number, the layer's indices and what the picture
/// needs stands: the structure, if there is one, else the picture.
fn behind_indices(payload: &[u8]) -> Option<(u8, usize)> {
    let flags = *payload.first()?;
    let has = |all: u8| flags & all == all;
    let mut at = 1;
    if has(NUMBERED) {
        at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if has(LAYERED) {
        // Without flexible mode another byte counts the lowest layer's pictures.
        at += if has(FLEXIBLE) { 1 } else { 2 };
    }
    if has(FLEXIBLE | PREDICTED) {
        // Three at most, each of which says whether another one follows.
        let needed = payload.get(at..)?.iter().take(3);
        at += 1 + needed.take_while(|needed| *needed & 1 == 1).count().min(2);
    }
    Some((flags, at))
}

/// The scalability structure: behind the number of spatial layers less one, in three bits, and a
/// bit each for whether their sizes and the group of pictures follow.
fn vp9_structure(payload: &[u8]) -> Option<PictureSizes> {
    let is_there = payload.first()? & STRUCTURED != 0;
    let (_, at) = behind_indices(payload).filter(|_| is_there)?;
    let structure = *payload.get(at)?;
    let (layers, has_sizes) = (usize::from(structure >> 5) + 1, structure & 0x10 != 0);
    let sizes = payload.get(at + 1..).filter(|_| has_sizes)?.get(..4 * layers)?;
    let side = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
    let each = (0..).zip(sizes.as_chunks::<4>().0);
    Some(each.fold(PictureSizes::default(), |all, (spatial, [a, b, c, d])| {
        all.with(spatial, size(side(*a, *b), side(*c, *d)))
    }))
}

fn vp9(payload: &[u8]) -> Option<PictureSize> {
    let (flags, at) = behind_indices(payload)?;
    // A structure without sizes is sent by nobody, and its length is not worth following.
    if flags & (PREDICTED | BEGINS | STRUCTURED) != BEGINS {
        return None;
    }
    let mut bits = Bits::new(payload.get(at..)?);
    let (marker, profile) = (bits.take(2)?, bits.take(1)? | bits.take(1)? << 1);
    let (existing, inter, _shown_and_resilient) = (bits.take(1)?, bits.take(1)?, bits.take(2)?);
    if marker != 2 || profile != 0 || existing == 1 || inter == 1 || bits.take(24)? != 0x49_83_42 {
        return None;
    }
    let color_space = bits.take(3)?;
    if color_space == 7 {
        // RGB is of higher profiles.
        return None;
    }
    bits.take(1)?;
    size(bits.take(16)? + 1, bits.take(16)? + 1)
}

fn h264(payload: &[u8]) -> Option<PictureSize> {
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    let header = *payload.first()?;
    if header & 0x1f == SPS {
        return sps(payload.get(1..)?);
    }
    let mut rest = payload.get(1..).filter(|_| header & 0x1f == STAP_A)?;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let unit = behind.get(..usize::from(u16::from_be_bytes(*length)))?;
        if unit.first().is_some_and(|header| header & 0x1f == SPS) {
            return sps(&unit[1..]);
        }
        rest = &behind[unit.len()..];
    }
    None
}

/// A sequence parameter set behind its NAL header.
fn sps(unit: &[u8]) -> Option<PictureSize> {
    let unit = unescaped(unit);
    let mut bits = Bits::new(&unit);
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.golomb()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.take(1)? == 1 {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.take(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb().filter(|count| *count < 256)? {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.take(1)?;
    let width = (bits.golomb()?.checked_add(1)?).checked_mul(16)?;
    let map_units = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.take(1)?;
    let fields = 2 - frames_only;
    if frames_only == 0 {
        bits.take(1)?;
    }
    let height = map_units.checked_mul(16 * fields)?;
    bits.take(1)?;
    let mut cut = [0; 4];
    if bits.take(1)? == 1 {
        for side in &mut cut {
            *side = bits.golomb()?.min(1 << 16);
        }
    }
    let (across, down) = match chroma {
        1 => (2, 2 * fields),
        2 => (2, fields),
        _ => (1, fields),
    };
    let width = width.checked_sub((cut[0] + cut[1]) * across)?;
    size(width, height.checked_sub((cut[2] + cut[3]) * down)?)
}

/// ITU-T H.264 §7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, entries: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..entries {
        if next != 0 {
            // From -128 to 127 (§7.4.2.1.1.1), as an Exp-Golomb code.
            let code = bits.golomb().filter(|code| *code <= 256)? as i32;
            let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
            next = (last + delta).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Without the bytes that keep start codes out of a unit (ITU-T H.264 §7.4.1): as much as a
/// parameter set may need.
fn unescaped(unit: &[u8]) -> Vec<u8> {
    const MAX_SPS_BYTES: usize = 256;
    let mut plain = Vec::with_capacity(unit.len().min(MAX_SPS_BYTES));
    let mut zeros = 0;
    for byte in unit.iter().take(MAX_SPS_BYTES) {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain
}

fn size(width: u32, height: u32) -> Option<PictureSize> {
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    (width > 0 && height > 0).then_some(PictureSize { width, height })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A codec, a payload, and the width and height it says of the largest picture.
    type Case = (Codec, &'static [u8], Option<(u16, u16)>);

    fn largest(codec: Codec, payload: &[u8]) -> Option<PictureSize> {
        picture_sizes(codec, payload, true).and_then(|sizes| sizes.of(sizes.highest()))
    }

    /// Found by the fuzzer: the code of a difference was the greatest number there is.
    #[test]
    fn a_scaling_list_with_a_difference_out_of_its_range_says_no_size() {
        let payload = *b"\x67\x2c\x06\x25\xff\xff\xff\xff\xff\x14\0\0\0\x02\0\0\0\0\xf7\0";
        assert_eq!(picture_sizes(Codec::H264, &payload, true), None);
    }

    #[test]
    fn the_size_is_what_the_key_frame_says() {
        let cases: &[Case] = &[
            // 640×480 behind the shortest descriptor, 320×240 behind a long one.
            (Codec::Vp8, &[0x10, 0x50, 1, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1], Some((640, 480))),
            (
                Codec::Vp8,
                &[0x90, 0xe0, 0x81, 2, 3, 4, 0, 0, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0],
                Some((320, 240)),
            ),
            (Codec::Vp8, &[0x10, 0x51, 1, 0, 1, 2, 3, 4, 5, 6, 7], None),
            // The scalability structure of two spatial layers, 640×360 and 1280×720.
            (
                Codec::Vp9,
                &[0x8a, 0x01, 0x30, 2, 0x80, 1, 0x68, 5, 0, 2, 0xd0, 0x82],
                Some((1280, 720)),
            ),
            // The uncompressed header of profile 0, 352×288: marker 2, a key frame, sync code.
            (
                Codec::Vp9,
                &[0x88, 0x01, 0x82, 0x49, 0x83, 0x42, 0x20, 0x15, 0xf0, 0x11, 0xf0, 0x00],
                Some((352, 288)),
            ),
            // x264's for 1280×720, and OpenH264's for 640×480 in an aggregate behind a delimiter.
            (
                Codec::H264,
                &[
                    0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00,
                    0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60,
                ],
                Some((1280, 720)),
            ),
            (
                Codec::H264,
                &[
                    0x78, 0x00, 0x02, 0x09, 0x10, 0x00, 0x0b, 0x67, 0x42, 0xc0, 0x1e, 0x8c, 0x8d,
                    0x40, 0x50, 0x1e, 0x90, 0x08,
                ],
                Some((640, 480)),
            ),
            (Codec::H264, &[0x65, 0x88, 0x84], None),
            (Codec::Av1, &[0x18, 0x0a, 0x0b], None),
        ];
        for (codec, payload, expected) in cases {
            let expected = expected.map(|(width, height)| PictureSize { width, height });
            assert_eq!(largest(*codec, payload), expected, "{codec:?} {payload:02x?}");
        }
    }

    /// Three spatial layers of 1.5:1 each, as libvpx makes them for `L3T3h`, in each form in which
    /// they may come.
    #[test]
    fn the_structure_of_vp9_names_the_size_of_each_spatial_layer() {
        let sides = [(426u16, 240u16), (640, 360), (960, 540)];
        let sizes: Vec<u8> =
            sides.iter().flat_map(|(w, h)| [w.to_be_bytes(), h.to_be_bytes()].concat()).collect();
        let heads: [&[u8]; 5] = [
            &[0xaa, 0x81, 2, 0, 7],
            &[0xba, 0x81, 2, 0],
            &[0x2a, 0, 7],
            // Of no key frame, behind what it needs: one picture, and three of them.
            &[0xfa, 0x81, 2, 0, 2],
            &[0xfa, 1, 0, 3, 5, 6],
        ];
        for head in heads {
            let payload = [head, &[0x58], &sizes].concat();
            let is_key = payload[0] & PREDICTED == 0;
            let told = picture_sizes(Codec::Vp9, &payload, is_key).expect("a structure");
            let told = [0, 1, 2].map(|spatial| told.of(spatial));
            let expected = sides.map(|(width, height)| Some(PictureSize { width, height }));
            assert_eq!(told, expected, "{head:02x?}");
            for length in 0..payload.len() {
                assert_eq!(picture_sizes(Codec::Vp9, &payload[..length], false), None);
            }
        }
        let four = [&[0xaa, 0, 0, 0, 0x78][..], &sizes, &[7, 0x80, 4, 0x38]].concat();
        let told = picture_sizes(Codec::Vp9, &four, true).expect("a structure");
        let highest = told.of(told.highest()).expect("the fourth");
        assert_eq!((highest.width, highest.height), (1920, 1080), "all above the second are one");
        // A layer that is off is said to be of no size (libwebrtc).
        let off = [&[0xaa, 0, 0, 0, 0x38][..], &[0; 4], &sizes[8..]].concat();
        let told = picture_sizes(Codec::Vp9, &off, true).expect("a structure");
        assert_eq!((told.of(0), told.highest()), (None, 1));
    }

    proptest! {
        #[test]
        fn no_payload_panics(first: u8, payload in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::H264] {
                let _ = picture_sizes(codec, &payload, first & 1 == 1);
            }
            let sps = [&[0x67, first][..], &payload].concat();
            let _ = picture_sizes(Codec::H264, &sps, true);
            let structured = [&[first | STRUCTURED][..], &payload].concat();
            let _ = picture_sizes(Codec::Vp9, &structured, false);
        }
    }
}
