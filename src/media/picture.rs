//! How large the pictures of a layer are, as its key frames say.

use str0m::format::Codec;

/// Width and height in pixels, as coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureSize {
    /// Pixels a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

impl PictureSize {
    /// Half as large each way, so many times: what browsers make of each lower spatial layer.
    #[must_use]
    pub fn halved(self, times: u8) -> PictureSize {
        let times = u32::from(times);
        let side = |side: u16| side.checked_shr(times).unwrap_or(0).max(1);
        PictureSize { width: side(self.width), height: side(self.height) }
    }
}

/// What the first packet of a key frame says of the picture's size. `None` where it says nothing,
/// and for codecs whose headers are not read (H.265 and AV1).
///
/// VP8: RFC 6386 §9.1. VP9: RFC 9628 §4.2 and the bitstream's uncompressed header. H.264: the
/// sequence parameter set, ITU-T H.264 §7.3.2.1.1, alone or in an aggregate (RFC 6184 §5.7.1).
#[must_use]
pub fn picture_size(codec: Codec, payload: &[u8]) -> Option<PictureSize> {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
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

fn vp9(payload: &[u8]) -> Option<PictureSize> {
    // RFC 9628 §4.2: I, P, L, F, B, E, V, Z; then the picture's number and the layer's indices.
    let flags = *payload.first()?;
    if flags & 0x40 != 0 || flags & 0x08 == 0 {
        return None;
    }
    let mut at = 1;
    if flags & 0x80 != 0 {
        at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if flags & 0x20 != 0 {
        // Without flexible mode another byte counts the lowest layer's pictures.
        at += if flags & 0x10 != 0 { 1 } else { 2 };
    }
    if flags & 0x02 != 0 {
        // The scalability structure names the size of each spatial layer: the last is the largest.
        let structure = *payload.get(at)?;
        let layers = usize::from(structure >> 5) + 1;
        if structure & 0x10 != 0 {
            let last = payload.get(at + 1 + 4 * (layers - 1)..at + 1 + 4 * layers)?;
            let side = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
            return size(side(last[0], last[1]), side(last[2], last[3]));
        }
        // Its length is not worth following: the structure comes without sizes from nobody.
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

/// Bits from the front of some bytes, the highest of each first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0 }
    }

    /// The next `count` bits, 32 at most.
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// An unsigned Exp-Golomb code (ITU-T H.264 §9.1).
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A codec, a payload, and the width and height it says.
    type Case = (Codec, &'static [u8], Option<(u16, u16)>);

    /// Found by the fuzzer: the code of a difference was the greatest number there is.
    #[test]
    fn a_scaling_list_with_a_difference_out_of_its_range_says_no_size() {
        let payload = *b"\x67\x2c\x06\x25\xff\xff\xff\xff\xff\x14\0\0\0\x02\0\0\0\0\xf7\0";
        assert_eq!(picture_size(Codec::H264, &payload), None);
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
            assert_eq!(picture_size(*codec, payload), expected, "{codec:?} {payload:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(first: u8, payload in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::H264] {
                let _ = picture_size(codec, &payload);
            }
            let sps = [&[0x67, first][..], &payload].concat();
            let _ = picture_size(Codec::H264, &sps);
        }
    }
}
