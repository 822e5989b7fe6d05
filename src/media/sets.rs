//! Parameter sets of H.264 and H.265, without which a decoder can't begin.
//!
//! Some publishers send them once, and key frames without them from then on: who comes later, or
//! from another layer, would see nothing. So the sets are kept, and stand before each key frame
//! that comes without, as a packet of their own. The packets behind it are numbered one on.

use str0m::format::Codec;

use super::Payload;
use crate::limits::{MAX_PARAMETER_SETS, MAX_UNITS_BEFORE_PICTURE, PARAMETER_SETS_BYTES};

/// Places where a packet was added that are remembered: what comes later than the last few key
/// frames is of no use.
const PLACES: usize = 4;

/// Those of one source, and where they were put before its key frames.
#[derive(Debug, Default)]
pub struct ParameterSets {
    /// Units with their two bytes of size in front, as they are aggregated, by kind.
    kept: Vec<(Kind, Vec<u8>)>,
    /// The newest packet.
    newest: Option<(u64, u32)>,
    /// Whether all of its frame has come so far, and whether there were sets in it.
    whole: bool,
    has_sets: bool,
    /// Packets added so far, and the numbers of the first packets behind the last of them.
    added: u64,
    places: [u64; PLACES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// H.265 alone.
    Video,
    Sequence,
    Picture,
}

/// What stands in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit<'a> {
    Set(Kind, &'a [u8]),
    /// The first of a picture that a decoder can begin with.
    KeyPicture,
    Other,
}

/// Where a packet stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub sequence: u64,
    /// The payload of a packet that stands before it, under the number before its own.
    pub sets: Option<Payload>,
}

impl ParameterSets {
    /// Takes note of a packet of a source, numbered `index`. `None` where it is too late to be told
    /// which number it has.
    pub fn place(
        &mut self,
        codec: Codec,
        (index, timestamp): (u64, u32),
        payload: &[u8],
    ) -> Option<Placed> {
        if self.newest.is_some_and(|(newest, _)| index <= newest) {
            // Late: what it tells is of the past.
            return self.number(index).map(|sequence| Placed { sequence, sets: None });
        }
        self.go_on(index, timestamp);
        let mut is_key = false;
        for unit in units(codec, payload) {
            match unit {
                Unit::Set(kind, bytes) => {
                    self.has_sets |= kind == Kind::Sequence;
                    self.keep(kind, bytes);
                }
                Unit::KeyPicture => {
                    is_key = true;
                    break;
                }
                Unit::Other => {}
            }
        }
        let needs_sets = is_key && self.whole && !self.has_sets;
        let sets = if needs_sets { self.aggregated(codec) } else { None };
        if sets.is_some() {
            (self.has_sets, self.added) = (true, self.added + 1);
            self.places.rotate_left(1);
            self.places[PLACES - 1] = index;
        }
        Some(Placed { sequence: self.number(index)?, sets })
    }

    /// The newest packet of all has come.
    fn go_on(&mut self, index: u64, timestamp: u32) {
        let before = self.newest.replace((index, timestamp));
        let is_next = before.is_some_and(|(newest, _)| newest + 1 == index);
        if before.is_none_or(|(_, time)| time != timestamp) {
            (self.whole, self.has_sets) = (is_next, false);
        } else {
            self.whole &= is_next;
        }
    }

    fn number(&self, index: u64) -> Option<u64> {
        let behind = self.places.iter().filter(|place| **place > index).count() as u64;
        let is_known = behind < PLACES as u64 || self.added <= behind;
        is_known.then(|| index + self.added.saturating_sub(behind))
    }

    fn keep(&mut self, kind: Kind, bytes: &[u8]) {
        let Ok(size) = u16::try_from(bytes.len()) else { return };
        let unit = [&size.to_be_bytes()[..], bytes].concat();
        if self.kept.contains(&(kind, unit.clone())) {
            return;
        }
        // Another sequence: pictures are those of it. There may be several for pictures.
        if kind != Kind::Picture {
            self.kept.retain(|(other, _)| *other < kind);
        }
        let bytes: usize = self.kept.iter().map(|(_, unit)| unit.len()).sum();
        if self.kept.len() < MAX_PARAMETER_SETS && bytes + unit.len() <= PARAMETER_SETS_BYTES {
            self.kept.push((kind, unit));
            self.kept.sort_by_key(|(kind, _)| *kind);
        }
    }

    /// All of them in one payload: H.264's STAP-A (RFC 6184 §5.7.1), H.265's AP (RFC 7798 §4.4.2).
    fn aggregated(&self, codec: Codec) -> Option<Payload> {
        let has = |kind| self.kept.iter().any(|(known, _)| *known == kind);
        let (header, is_all): (&[u8], bool) = match codec {
            Codec::H264 => (&[0x78], true),
            _ => (&[48 << 1, 1], has(Kind::Video)),
        };
        if !is_all || !has(Kind::Sequence) || !has(Kind::Picture) {
            return None;
        }
        let units = self.kept.iter().flat_map(|(_, unit)| unit);
        let payload: Vec<u8> = header.iter().chain(units).copied().collect();
        Some(Payload::exact(&payload))
    }

    /// Bytes of memory that it takes at most.
    pub const MOST_BYTES: usize = size_of::<ParameterSets>()
        + 2 * MAX_PARAMETER_SETS * size_of::<(Kind, Vec<u8>)>()
        + PARAMETER_SETS_BYTES;
}

/// The units that begin in a payload, as far as they are of interest.
fn units(codec: Codec, payload: &[u8]) -> impl Iterator<Item = Unit<'_>> {
    let kind_of = move |unit: &[u8]| match codec {
        Codec::H264 => unit.first().map_or(0, |header| header & 0x1f),
        _ => unit.first().map_or(0, |header| header >> 1 & 0x3f),
    };
    let (aggregate, header, fragment) = match codec {
        Codec::H264 => (24, 1, 28),
        _ => (48, 2, 49),
    };
    let kind = kind_of(payload);
    let (single, mut rest) = match kind {
        _ if kind == aggregate => (None, payload.get(header..).unwrap_or_default()),
        _ if kind == fragment => (Some(fragment_of(codec, payload.get(header))), &[][..]),
        _ => (Some(unit_of(codec, kind, payload)), &[][..]),
    };
    let aggregated = std::iter::from_fn(move || {
        let (size, after) = rest.split_first_chunk::<2>()?;
        let unit = after.get(..usize::from(u16::from_be_bytes(*size)))?;
        rest = &after[unit.len()..];
        Some(unit_of(codec, kind_of(unit), unit))
    });
    single.into_iter().chain(aggregated.take(MAX_UNITS_BEFORE_PICTURE))
}

fn unit_of(codec: Codec, kind: u8, unit: &[u8]) -> Unit<'_> {
    match (codec, kind) {
        (Codec::H264, 7) | (Codec::H265, 33) => Unit::Set(Kind::Sequence, unit),
        (Codec::H264, 8) | (Codec::H265, 34) => Unit::Set(Kind::Picture, unit),
        (Codec::H265, 32) => Unit::Set(Kind::Video, unit),
        (Codec::H264, 5) | (Codec::H265, 16..=23) => Unit::KeyPicture,
        _ => Unit::Other,
    }
}

/// What a fragment says of the unit it is of, by the byte behind the header: its first bit is that
/// of the first fragment.
fn fragment_of(codec: Codec, header: Option<&u8>) -> Unit<'static> {
    let Some(header) = header.filter(|header| **header & 0x80 != 0) else { return Unit::Other };
    let kind = if codec == Codec::H264 { header & 0x1f } else { header & 0x3f };
    match unit_of(codec, kind, &[]) {
        Unit::KeyPicture => Unit::KeyPicture,
        // Sets in fragments are none that would fit.
        _ => Unit::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xe0];
    const PPS: &[u8] = &[0x68, 0xce];
    const IDR: &[u8] = &[0x7c, 0x85, 1, 2];
    const SLICE: &[u8] = &[0x41, 9];

    /// Packets by number, time and payload: their numbers, those that were added with their text.
    fn placed(sets: &mut ParameterSets, codec: Codec, all: &[(u64, u32, &[u8])]) -> Vec<String> {
        let mut told = Vec::new();
        for (index, timestamp, payload) in all {
            match sets.place(codec, (*index, *timestamp), payload) {
                Some(Placed { sequence, sets }) => {
                    told.extend(sets.map(|sets| format!("{}: {:02x?}", sequence - 1, &sets[..])));
                    told.push(sequence.to_string());
                }
                None => told.push("too late".into()),
            }
        }
        told
    }

    #[test]
    fn a_key_frame_that_comes_without_its_sets_is_given_those_of_before() {
        let mut sets = ParameterSets::default();
        let first = [(10, 0, SPS), (11, 0, PPS), (12, 0, IDR), (13, 9, SLICE)];
        assert_eq!(placed(&mut sets, Codec::H264, &first), ["10", "11", "12", "13"]);
        let delimiter: &[u8] = &[0x09, 0x10];
        let second = [(14, 18, delimiter), (15, 18, IDR), (16, 18, IDR), (17, 27, SLICE)];
        let stap = "15: [78, 00, 03, 67, 42, e0, 00, 02, 68, ce]";
        let told = placed(&mut sets, Codec::H264, &second);
        assert_eq!(told, ["14", stap, "16", "17", "18"], "once a picture");
        // What comes late keeps the number it would have had.
        assert_eq!(placed(&mut sets, Codec::H264, &[(13, 9, SLICE)]), ["13"]);
        // New ones replace the old ones.
        let sps: &[u8] = &[0x67, 0x64];
        let third = [(18, 36, sps), (19, 36, PPS), (20, 36, IDR), (21, 45, IDR)];
        let told = placed(&mut sets, Codec::H264, &third);
        let stap = "22: [78, 00, 02, 67, 64, 00, 02, 68, ce]";
        assert_eq!(told, ["19", "20", "21", stap, "23"]);
    }

    #[test]
    fn what_may_have_had_sets_and_what_has_none_to_be_given_stays_as_it_is() {
        let mut sets = ParameterSets::default();
        let none = [(1, 0, SLICE), (2, 9, IDR), (3, 18, SPS), (4, 18, IDR)];
        assert_eq!(placed(&mut sets, Codec::H264, &none), ["1", "2", "3", "4"]);
        // What was lost before it may have been sets.
        let hole = [(5, 27, PPS), (7, 36, IDR), (8, 45, SLICE)];
        assert_eq!(placed(&mut sets, Codec::H264, &hole), ["5", "7", "8"]);
        let whole = [(9, 54, IDR)];
        assert_eq!(placed(&mut sets, Codec::H264, &whole).len(), 2);
    }

    #[test]
    fn h265_has_three_kinds_and_they_stand_in_order() {
        let of = |kind: u8| vec![kind << 1, 1, kind];
        let [vps, sps, pps] = [32, 33, 34].map(of);
        let idr: &[u8] = &[49 << 1, 1, 0x80 | 19, 7];
        let mut sets = ParameterSets::default();
        let all = [(1, 0, &pps[..]), (2, 0, &vps[..]), (3, 0, &sps[..]), (4, 0, &pps[..])];
        placed(&mut sets, Codec::H265, &all);
        placed(&mut sets, Codec::H265, &[(5, 0, idr)]);
        let told = placed(&mut sets, Codec::H265, &[(6, 9, idr)]);
        let ap = [&[96, 1][..], &[0, 3], &vps, &[0, 3], &sps, &[0, 3], &pps].concat();
        assert_eq!(told, [format!("6: {ap:02x?}"), "7".into()]);
    }

    proptest! {
        /// Whatever comes, late and twice: no two packets have one number, and later ones higher.
        #[test]
        fn numbers_are_of_one_packet_each(
            kinds in prop::collection::vec(0usize..5, 1..60),
            late in prop::collection::vec((0usize..60, 0usize..20), 0..20),
        ) {
            let texts: [&[u8]; 5] = [SPS, PPS, IDR, SLICE, &[0x78, 0, 1, 0x65]];
            let mut order: Vec<usize> = (0..kinds.len()).collect();
            for (from, by) in late {
                let from = from % kinds.len();
                let packet = order.remove(from);
                order.insert((from + by).min(order.len()), packet);
            }
            let mut sets = ParameterSets::default();
            let mut numbers = std::collections::BTreeMap::new();
            for packet in order {
                let at = (packet as u64 + 7, packet as u32 / 2);
                let placed = sets.place(Codec::H264, at, texts[kinds[packet]]);
                let Some(Placed { sequence, sets: added }) = placed else { continue };
                if let Some(added) = added {
                    prop_assert!(added.len() <= PARAMETER_SETS_BYTES + 2);
                    prop_assert_eq!(numbers.insert(sequence - 1, usize::MAX), None);
                }
                prop_assert_eq!(numbers.insert(sequence, packet), None);
            }
            let packets: Vec<usize> = numbers.into_values().filter(|p| *p != usize::MAX).collect();
            prop_assert!(packets.is_sorted(), "{packets:?}");
        }

        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..40)) {
            for codec in [Codec::H264, Codec::H265] {
                let mut sets = ParameterSets::default();
                let _ = sets.place(codec, (0, 0), &payload);
                let _ = sets.place(codec, (1, 1), &payload);
            }
        }
    }
}
