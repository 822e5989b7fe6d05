//! The numbers that decoders order pictures by, beside those of RTP.
//!
//! VP8 and VP9 count pictures, and those of the lowest temporal layer, in front of each payload;
//! a dependency descriptor counts frames. A viewer that goes from one layer to another must see
//! each of them go on: a receiver waits for numbers that are missing, and drops what steps back.

use str0m::format::Codec;

use super::MediaPacket;

/// What is added to each of a packet's numbers on its way to a viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// To the picture number, which wraps at the width it has.
    pub picture: u16,
    /// To the number of a dependency descriptor's frame.
    pub frame: u16,
    /// To the number of pictures of the lowest temporal layer (TL0PICIDX).
    pub lowest: u8,
    /// To VP8's number of key frames (KEYIDX), of five bits.
    pub key: u8,
}

impl Shift {
    /// Nothing is added.
    pub const NONE: Shift = Shift { picture: 0, frame: 0, lowest: 0, key: 0 };

    /// Whether a payload stays as it is.
    #[must_use]
    pub fn spares_payload(self) -> bool {
        (self.picture, self.lowest, self.key) == (0, 0, 0)
    }

    /// What makes the numbers of `first` go on behind those of `last`, to which `before` was added.
    /// Where either has none of a kind, nothing is added to it.
    #[must_use]
    pub fn behind(last: &MediaPacket, before: Shift, first: &MediaPacket) -> Shift {
        let number =
            |packet: &MediaPacket| packet.extensions.descriptor.as_ref().map(|d| d.frame_number());
        let frame = number(last).zip(number(first)).map(|(last, first)| {
            last.wrapping_add(before.frame).wrapping_add(1).wrapping_sub(first)
        });
        let (ended, begins) =
            (places(last.codec, &last.payload), places(first.codec, &first.payload));
        let apart = |(before, place, at): (u8, Option<usize>, Option<usize>)| {
            let (place, at) = (place?, at?);
            let last = last.payload.get(place)?.wrapping_add(before);
            Some(last.wrapping_add(1).wrapping_sub(*first.payload.get(at)?))
        };
        let picture = ended.picture(&last.payload).zip(begins.picture(&first.payload));
        Shift {
            picture: picture.map_or(0, |(last, first)| {
                last.wrapping_add(before.picture).wrapping_add(1).wrapping_sub(first)
            }),
            frame: frame.unwrap_or(0),
            lowest: apart((before.lowest, ended.lowest, begins.lowest)).unwrap_or(0),
            key: apart((before.key, ended.key, begins.key)).unwrap_or(0) & KEY_BITS,
        }
    }

    /// What makes the numbers of `first` go on behind those of `last`, to which `before` was added,
    /// where both are of one encoding, of which either leaves some pictures out: but for VP8's
    /// pictures, which are counted anew, they are those of the encoding.
    #[must_use]
    pub fn within(last: &MediaPacket, before: Shift, first: &MediaPacket) -> Shift {
        let Shift { picture, .. } = Shift::behind(last, before, first);
        if first.codec == Codec::Vp8 { Shift { picture, ..before } } else { before }
    }

    /// Changes the numbers in a payload, in place: four bytes at most.
    pub fn apply(self, codec: Codec, payload: &mut [u8]) {
        let places = places(codec, payload);
        if let Some(number) = places.picture(payload) {
            let at = places.picture;
            let number = number.wrapping_add(self.picture);
            if places.wide {
                payload[at] = 0x80 | (number >> 8) as u8;
                payload[at + 1] = number as u8;
            } else {
                payload[at] = number as u8 & 0x7f;
            }
        }
        if let Some(lowest) = places.lowest.and_then(|at| payload.get_mut(at)) {
            *lowest = lowest.wrapping_add(self.lowest);
        }
        if let Some(key) = places.key.and_then(|at| payload.get_mut(at)) {
            *key = *key & !KEY_BITS | key.wrapping_add(self.key) & KEY_BITS;
        }
    }
}

const KEY_BITS: u8 = 0x1f;

/// Where in a payload the numbers stand.
#[derive(Clone, Copy, Default)]
struct Places {
    /// 0 where there is none: the first byte of a payload is none.
    picture: usize,
    /// Whether it has 15 bits, and not 7.
    wide: bool,
    lowest: Option<usize>,
    key: Option<usize>,
}

impl Places {
    fn picture(&self, payload: &[u8]) -> Option<u16> {
        let first = payload.get(self.picture).filter(|_| self.picture > 0)?;
        if !self.wide {
            return Some(u16::from(first & 0x7f));
        }
        let second = payload.get(self.picture + 1)?;
        Some(u16::from_be_bytes([first & 0x7f, *second]))
    }
}

fn places(codec: Codec, payload: &[u8]) -> Places {
    let found = match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        _ => None,
    };
    found.unwrap_or_default()
}

/// RFC 7741 §4.2: X, then I, L, T and K, then the picture, TL0PICIDX, and TID with Y and KEYIDX.
fn vp8(payload: &[u8]) -> Option<Places> {
    let mut places = Places::default();
    if payload.first()? & 0x80 == 0 {
        return None;
    }
    let flags = *payload.get(1)?;
    let mut at = 2;
    if flags & 0x80 != 0 {
        (places.picture, places.wide) = (at, payload.get(at)? & 0x80 != 0);
        at += if places.wide { 2 } else { 1 };
    }
    if flags & 0x40 != 0 {
        places.lowest = Some(at);
        at += 1;
    }
    places.key = (flags & 0x10 != 0).then_some(at);
    Some(places)
}

/// RFC 9628 §4.2: I, P, L and F; the picture; the layer's indices; without flexible mode TL0PICIDX.
fn vp9(payload: &[u8]) -> Option<Places> {
    let mut places = Places::default();
    let flags = *payload.first()?;
    let mut at = 1;
    if flags & 0x80 != 0 {
        (places.picture, places.wide) = (at, payload.get(at)? & 0x80 != 0);
        at += if places.wide { 2 } else { 1 };
    }
    places.lowest = (flags & 0x20 != 0 && flags & 0x10 == 0).then_some(at + 1);
    Some(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_change_where_they_stand_and_nothing_else_does() {
        let shift = Shift { picture: 3, frame: 0, lowest: 5, key: 2 };
        let cases: &[(Codec, &[u8], &[u8])] = &[
            // Nothing that could be changed: no extension.
            (Codec::Vp8, &[0x10, 1, 2, 3], &[0x10, 1, 2, 3]),
            // 15 bits of picture wrap to 2; KEYIDX wraps at 32, TID and Y stay.
            (
                Codec::Vp8,
                &[0x90, 0xf0, 0xff, 0xff, 254, 0b011_11111, 9],
                &[0x90, 0xf0, 0x80, 0x02, 3, 0b011_00001, 9],
            ),
            // 7 bits of picture stay 7.
            (Codec::Vp8, &[0x90, 0x80, 0x7e, 9], &[0x90, 0x80, 0x01, 9]),
            // A temporal layer without KEYIDX.
            (Codec::Vp8, &[0x90, 0x60, 7, 0x40, 9], &[0x90, 0x60, 12, 0x40, 9]),
            (Codec::Vp9, &[0xa8, 0x81, 0x02, 0x30, 7, 9], &[0xa8, 0x81, 0x05, 0x30, 12, 9]),
            // Flexible mode has no TL0PICIDX.
            (Codec::Vp9, &[0xb8, 0x11, 0x30, 7, 9], &[0xb8, 0x14, 0x30, 7, 9]),
            (Codec::H264, &[0x90, 0xf0, 1, 2, 3], &[0x90, 0xf0, 1, 2, 3]),
        ];
        for (codec, before, after) in cases {
            let mut payload = before.to_vec();
            shift.apply(*codec, &mut payload);
            assert_eq!(&payload, after, "{codec:?} {before:02x?}");
        }
    }

    proptest! {
        /// However short and wrong: nothing panics, nothing but the descriptor changes, and what
        /// was added can be taken away again.
        #[test]
        fn any_payload_is_changed_and_back(
            payload in prop::collection::vec(any::<u8>(), 0..12),
            (picture, lowest, key) in any::<(u16, u8, u8)>(),
        ) {
            let there = Shift { picture, frame: 0, lowest, key };
            let back = Shift {
                picture: picture.wrapping_neg(),
                frame: 0,
                lowest: lowest.wrapping_neg(),
                key: key.wrapping_neg(),
            };
            for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1] {
                let mut changed = payload.clone();
                there.apply(codec, &mut changed);
                prop_assert_eq!(changed.len(), payload.len());
                prop_assert_eq!(changed.get(6..), payload.get(6..));
                back.apply(codec, &mut changed);
                prop_assert_eq!(&changed, &payload);
            }
        }
    }
}
