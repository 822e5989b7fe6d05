//! Scalable encodings: which temporal and spatial layer a frame is of, and who may begin with one
//! at it. Frames need none of the layers above their own, so that whoever leaves those out decodes
//! all the same.

use str0m::format::Codec;

use super::structure::FrameStructure;
use super::{Bytes, MediaPacket};

/// What a packet says of its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scalable {
    /// The temporal layer (TID), from 0 on.
    pub temporal: u8,
    /// The spatial layer (SID), from 0 on.
    pub spatial: u8,
    /// It is a switching up point to its own temporal layer: this frame, and those of the layer
    /// that follow, need nothing older of it.
    pub own: bool,
    /// It is one to those above: no later frame of them needs an older one of them.
    pub above: bool,
    /// It is the frame's last packet, as far as that is said; others of the picture may follow.
    pub ends: bool,
}

/// The rank of all frames of the lowest spatial layer.
pub const ALL_FRAMES: u8 = 2;

impl Scalable {
    /// Its place among what can be left out, so that nothing needs what is of a higher rank: up to
    /// [`ALL_FRAMES`] temporal layers of the smallest picture, then larger pictures with all
    /// frames.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self.spatial {
            0 => self.temporal.min(ALL_FRAMES),
            above => ALL_FRAMES + above,
        }
    }

    /// Whether who was sent what ranks up to `from` can go on from this frame of it with what ranks
    /// up to `to`. To a larger picture one goes at a key frame only: larger pictures are made of
    /// their own past.
    #[must_use]
    pub fn opens(self, from: u8, to: u8) -> bool {
        if to > ALL_FRAMES || self.spatial > 0 {
            return false;
        }
        self.above && self.temporal <= from
            || self.own && self.temporal == to && from.checked_add(1) == Some(to)
    }

    /// What a packet says, with the structure that its publisher sent in a dependency descriptor
    /// before. VP8 RFC 7741 §4.2, VP9 RFC 9628 §4.2, H.265 RFC 7798 §1.1.4; for others, and where
    /// those say nothing, AV1 RTP specification, appendix A. `None` where it is not said.
    #[must_use]
    pub fn of<P: Bytes>(
        packet: &MediaPacket<P>,
        structure: Option<&FrameStructure>,
    ) -> Option<Scalable> {
        in_payload(packet.codec, &packet.payload).or_else(|| {
            let descriptor = packet.extensions.descriptor.as_ref()?;
            structure?.scalable(descriptor)
        })
    }
}

/// What the payload alone says.
#[must_use]
pub fn in_payload(codec: Codec, payload: &[u8]) -> Option<Scalable> {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H265 => h265(payload),
        _ => None,
    }
}

/// X, then I, L, T and K; behind the picture and TL0PICIDX two bits of TID, and Y: the frame needs
/// the lowest temporal layer only.
fn vp8(payload: &[u8]) -> Option<Scalable> {
    if payload.first()? & 0x80 == 0 {
        return None;
    }
    let flags = *payload.get(1)?;
    if flags & 0x20 == 0 {
        return None;
    }
    let mut at = 2;
    if flags & 0x80 != 0 {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    at += usize::from(flags & 0x40 != 0);
    let indices = *payload.get(at)?;
    Some(Scalable { temporal: indices >> 6, own: indices & 0x20 != 0, ..Scalable::default() })
}

/// I, P, L, F, B, E; behind the picture three bits of TID, U, three of SID, and D. Frames above a
/// switching up point need nothing above it that is older; encoders make them need nothing of their
/// own layer either.
fn vp9(payload: &[u8]) -> Option<Scalable> {
    let flags = *payload.first()?;
    if flags & 0x20 == 0 {
        return None;
    }
    let mut at = 1;
    if flags & 0x80 != 0 {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let indices = *payload.get(at)?;
    let up = indices & 0x10 != 0;
    Some(Scalable {
        temporal: indices >> 5,
        spatial: indices >> 1 & 0x07,
        own: up,
        above: up,
        ends: flags & 0x04 != 0,
    })
}

/// The second byte of every payload header ends with TID and one; TSA pictures are types 2 and 3,
/// STSA 4 and 5 (H.265 §7.4.2.2).
fn h265(payload: &[u8]) -> Option<Scalable> {
    let [first, second, ..] = *payload else { return None };
    let temporal = (second & 0x07).checked_sub(1)?;
    let kind = match first >> 1 & 0x3f {
        // Aggregated: the first unit's size and header; fragmented: the type is behind.
        48 => payload.get(4)? >> 1 & 0x3f,
        49 => payload.get(2)? & 0x3f,
        kind => kind,
    };
    let (tsa, stsa) = (matches!(kind, 2 | 3), matches!(kind, 4 | 5));
    Some(Scalable { temporal, own: tsa || stsa, above: tsa, ..Scalable::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(temporal: u8, own: bool, above: bool) -> Option<Scalable> {
        Some(Scalable { temporal, spatial: 0, own, above, ends: false })
    }

    const fn large(temporal: u8, spatial: u8, ends: bool) -> Option<Scalable> {
        Some(Scalable { temporal, spatial, own: false, above: false, ends })
    }

    #[test]
    fn the_layers_of_a_frame_are_read_of_each_codec() {
        let cases: &[(Codec, &[u8], Option<Scalable>)] = &[
            (Codec::Vp8, &[0x10, 0], None),
            (Codec::Vp8, &[0x90, 0x80, 0x05, 0], None),
            (Codec::Vp8, &[0x90, 0xe0, 0x81, 0x02, 9, 0x60, 1], of(1, true, false)),
            (Codec::Vp8, &[0x90, 0xe0, 0x01, 9, 0x80, 1], of(2, false, false)),
            (Codec::Vp8, &[0x90, 0x20, 0x00, 1], of(0, false, false)),
            (Codec::Vp8, &[0x90, 0xe0, 0x81, 0x02, 9], None),
            (Codec::Vp9, &[0x88, 0x81, 0x02], None),
            (Codec::Vp9, &[0xa8, 0x81, 0x02, 0x30, 7], of(1, true, true)),
            (Codec::Vp9, &[0x28, 0x40, 7], of(2, false, false)),
            (Codec::Vp9, &[0xa8, 0x81], None),
            (Codec::Vp9, &[0xac, 0x81, 0x02, 0x44, 7], large(2, 2, true)),
            (Codec::Vp9, &[0xb8, 0x81, 0x02, 0x03], large(0, 1, false)),
            (Codec::H265, &[0x02, 0x01], of(0, false, false)),
            (Codec::H265, &[2 << 1, 0x02], of(1, true, true)),
            (Codec::H265, &[4 << 1, 0x03], of(2, true, false)),
            (Codec::H265, &[49 << 1, 0x02, 0x83], of(1, true, true)),
            (Codec::H265, &[48 << 1, 0x02, 0, 9, 5 << 1, 0x02], of(1, true, false)),
            (Codec::H265, &[0x02, 0x00], None),
            (Codec::H264, &[0x61, 0x42, 7], None),
            (Codec::Av1, &[0x10, 0x36, 0x20], None),
        ];
        for (codec, payload, expected) in cases {
            assert_eq!(in_payload(*codec, payload), *expected, "{codec:?} {payload:02x?}");
        }
    }

    #[test]
    fn who_goes_up_does_so_where_nothing_is_needed_that_it_was_not_sent() {
        let [own, above, neither] = [(true, false), (false, true), (false, false)]
            .map(|(own, above)| move |temporal| of(temporal, own, above).expect("some"));
        assert!(own(1).opens(0, 1) && own(2).opens(1, 2));
        assert!(!own(2).opens(0, 2), "it may need what is between");
        assert!(!own(1).opens(0, 2) && !own(0).opens(0, 1) && !own(1).opens(1, 2));
        assert!(above(0).opens(0, 2) && above(1).opens(1, 2));
        assert!(!above(1).opens(0, 2), "its own layer may need older frames of it");
        assert!(!neither(0).opens(0, 1));
        assert!(!above(0).opens(2, 3), "a larger picture needs its own past");
    }

    #[test]
    fn nothing_needs_what_ranks_above_it() {
        let rank = |temporal, spatial| large(temporal, spatial, false).expect("some").rank();
        assert_eq!([rank(0, 0), rank(1, 0), rank(2, 0), rank(5, 0)], [0, 1, 2, 2]);
        assert_eq!([rank(0, 1), rank(2, 1), rank(0, 2)], [3, 3, 4]);
    }
}
