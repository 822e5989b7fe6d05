//! Where a decoder can start.

use str0m::format::Codec;

use crate::limits::MAX_UNITS_BEFORE_PICTURE;

/// Whether this payload is the first packet of a key frame (for H.264 and H.265: also the first
/// parameter set, which stands before the key frame's slices).
///
/// Payload formats: VP8 RFC 7741 §4.2–4.3, VP9 RFC 9628 §4.2, H.264 RFC 6184 §5.3–5.8, H.265
/// RFC 7798 §4.4, AV1 RTP specification §4.4. Audio can start anywhere.
#[must_use]
pub fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::H265 => h265(payload),
        // The aggregation header's N bit: first packet of a coded video sequence.
        Codec::Av1 => payload.first().is_some_and(|header| header & 0x08 != 0),
        _ => true,
    }
}

fn vp8(payload: &[u8]) -> bool {
    let Some(&descriptor) = payload.first() else { return false };
    let (extended, starts_partition, partition) =
        (descriptor & 0x80 != 0, descriptor & 0x10 != 0, descriptor & 0x07);
    if !starts_partition || partition != 0 {
        return false;
    }
    let mut at = 1;
    if extended {
        let Some(&flags) = payload.get(1) else { return false };
        at = 2;
        if flags & 0x80 != 0 {
            let Some(&picture) = payload.get(at) else { return false };
            at += if picture & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(flags & 0x40 != 0);
        at += usize::from(flags & 0x30 != 0);
    }
    // The P bit of the frame header is 0 on key frames.
    payload.get(at).is_some_and(|header| header & 0x01 == 0)
}

fn vp9(payload: &[u8]) -> bool {
    let Some(&flags) = payload.first() else { return false };
    let (inter_predicted, starts_frame) = (flags & 0x40 != 0, flags & 0x08 != 0);
    if inter_predicted || !starts_frame {
        return false;
    }
    let (has_picture, has_layers) = (flags & 0x80 != 0, flags & 0x20 != 0);
    let mut at = 1;
    if has_picture {
        let Some(&picture) = payload.get(at) else { return false };
        at += if picture & 0x80 != 0 { 2 } else { 1 };
    }
    // A spatial layer above the lowest is not where a decoder starts: SID, bits 1–3.
    !has_layers || payload.get(at).is_some_and(|layers| layers & 0x0e == 0)
}

fn h264(payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    let Some(&header) = payload.first() else { return false };
    match header & 0x1f {
        IDR | SPS => true,
        // STAP-A: a byte of header. Types 1 to 4 are slices of other pictures.
        24 => first_that_tells(&payload[1..], |unit| match unit & 0x1f {
            IDR | SPS => Some(true),
            1..=4 => Some(false),
            _ => None,
        }),
        // FU-A: the start bit, and the type of what is fragmented.
        28 => payload.get(1).is_some_and(|fu| fu & 0x80 != 0 && fu & 0x1f == IDR),
        _ => false,
    }
}

fn h265(payload: &[u8]) -> bool {
    // IRAP pictures are types 16 to 23, parameter sets 32 to 34.
    let starts = |kind: u8| matches!(kind, 16..=23 | 32..=34);
    let Some(&header) = payload.first() else { return false };
    match (header >> 1) & 0x3f {
        // Aggregation packet: two bytes of header. Types below 32 are slices.
        48 => first_that_tells(payload.get(2..).unwrap_or_default(), |unit| {
            let kind = (unit >> 1) & 0x3f;
            (kind < 35).then(|| starts(kind))
        }),
        // Fragmentation unit: the start bit, and the type of what is fragmented.
        49 => payload.get(2).is_some_and(|fu| fu & 0x80 != 0 && starts(fu & 0x3f)),
        kind => starts(kind),
    }
}

/// What the first of the aggregated units says that says something, by the first byte of its
/// header: an access unit delimiter or supplemental information may stand before it (H.264
/// §7.4.1.2.3, H.265 §7.4.2.4.4). Each unit has a 16-bit size before it.
fn first_that_tells(mut units: &[u8], tell: impl Fn(u8) -> Option<bool>) -> bool {
    for _ in 0..MAX_UNITS_BEFORE_PICTURE {
        let Some((size, rest)) = units.split_first_chunk() else { return false };
        let size = usize::from(u16::from_be_bytes(*size));
        let Some(&header) = rest.first().filter(|_| size > 0) else { return false };
        if let Some(told) = tell(header) {
            return told;
        }
        units = rest.get(size..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_of_each_codec_are_told_from_the_rest() {
        let cases: &[(Codec, &[u8], bool)] = &[
            (Codec::Vp8, &[0x10, 0x00], true),
            (Codec::Vp8, &[0x10, 0x01], false),
            (Codec::Vp8, &[0x00, 0x00], false),
            (Codec::Vp8, &[0x90, 0xe0, 0x81, 0x02, 0x03, 0x04, 0x00], true),
            (Codec::Vp8, &[0x90, 0xe0, 0x01, 0x03, 0x04, 0x01], false),
            (Codec::Vp8, &[0x90], false),
            (Codec::Vp9, &[0x88, 0x81, 0x02, 0x00], true),
            (Codec::Vp9, &[0xc8, 0x81, 0x02, 0x00], false),
            (Codec::Vp9, &[0xa8, 0x01, 0x02], false),
            (Codec::H264, &[0x67, 0x42], true),
            (Codec::H264, &[0x65, 0x42], true),
            (Codec::H264, &[0x61, 0x42], false),
            (Codec::H264, &[0x78, 0x00, 0x10, 0x67], true),
            (Codec::H264, &[0x7c, 0x85], true),
            (Codec::H264, &[0x7c, 0x05], false),
            (Codec::H265, &[0x40, 0x01], true),
            (Codec::H265, &[0x02, 0x01], false),
            (Codec::H265, &[0x62, 0x01, 0x93], true),
            (Codec::H265, &[0x60, 0x01, 0x00, 0x10, 0x40], true),
            (Codec::Av1, &[0x18], true),
            (Codec::Av1, &[0x10], false),
            (Codec::Opus, &[], true),
        ];
        for (codec, payload, expected) in cases {
            assert_eq!(starts_keyframe(*codec, payload), *expected, "{codec:?} {payload:02x?}");
        }
    }

    #[test]
    fn an_aggregation_that_begins_with_a_delimiter_is_a_key_frame_all_the_same() {
        let units = |header: &[u8], kinds: &[u8]| {
            let mut payload = header.to_vec();
            for kind in kinds {
                payload.extend([0, 3, *kind, 0x01, 0x02]);
            }
            payload
        };
        let stap = |kinds: &[u8]| starts_keyframe(Codec::H264, &units(&[0x78], kinds));
        assert!(stap(&[0x09, 0x67, 0x68, 0x65]), "AUD, SPS, PPS, IDR");
        assert!(stap(&[0x09, 0x06, 0x65]), "AUD, SEI, IDR");
        assert!(stap(&[0x67, 0x68]));
        assert!(!stap(&[0x09, 0x61]), "AUD, another picture's slice");
        assert!(!stap(&[0x09, 0x06]) && !stap(&[]));
        assert!(!stap(&[0x61, 0x67]), "the slice came first");
        let ap = |kinds: &[u8]| starts_keyframe(Codec::H265, &units(&[0x60, 0x01], kinds));
        let [aud, sei, vps, idr, slice] = [35, 39, 32, 19, 1].map(|kind: u8| kind << 1);
        assert!(ap(&[aud, vps]) && ap(&[aud, sei, idr]) && ap(&[vps]));
        assert!(!ap(&[aud, slice, vps]) && !ap(&[aud, sei]) && !ap(&[]));
    }

    #[test]
    fn units_without_end_are_not_walked_without_end() {
        let delimiters = [&[0x78][..], &[0, 1, 0x09].repeat(400), &[0, 1, 0x65]].concat();
        assert!(!starts_keyframe(Codec::H264, &delimiters));
        let empty = [&[0x78][..], &[0, 0].repeat(600)].concat();
        assert!(!starts_keyframe(Codec::H264, &empty));
        let beyond = [0x78, 0xff, 0xff, 0x09, 0, 1, 0x65];
        assert!(!starts_keyframe(Codec::H264, &beyond), "a size beyond the packet ends it");
    }

    #[test]
    fn no_payload_however_short_panics() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
            for first in 0..=255u8 {
                for length in 0..6 {
                    let _ =
                        starts_keyframe(codec, &[first, 0xff, 0x80, first, 0xff, 0xff][..length]);
                }
            }
        }
    }
}
