//! Redundant audio (RFC 2198): a packet that carries earlier ones again. It is passed on as it came
//! to who takes such, and as the one that is new in it, which stands last, to who does not.

use str0m::format::Codec;

use crate::limits::MAX_RED_BLOCKS;

/// Set in a block's header where another one follows.
const FOLLOWS: u8 = 0x80;
/// Bytes of a header that another one follows; the last has one.
const HEADER_BYTES: usize = 4;

/// How the audio in a packet is coded.
#[must_use]
pub const fn without_redundancy(codec: Codec) -> Codec {
    match codec {
        Codec::Red => Codec::Opus,
        plain => plain,
    }
}

/// The headers of the earlier ones, and where the last header is. `None` where they do not end, or
/// are too many.
fn headers(payload: &[u8]) -> Option<(&[[u8; HEADER_BYTES]], usize)> {
    let (headers, _) = payload.as_chunks::<HEADER_BYTES>();
    let most = headers.len().min(MAX_RED_BLOCKS);
    let count = headers[..most].iter().take_while(|header| header[0] & FOLLOWS != 0).count();
    let last = count * HEADER_BYTES;
    payload.get(last).filter(|last| **last & FOLLOWS == 0)?;
    Some((&headers[..count], last))
}

/// The payload that is new in a packet with earlier ones. `None` where it is none such.
#[must_use]
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let (headers, last) = headers(payload)?;
    let length =
        |header: &[u8; HEADER_BYTES]| usize::from(header[2] & 3) << 8 | usize::from(header[3]);
    let earlier: usize = headers.iter().map(length).sum();
    payload.get(last + 1 + earlier..).filter(|new| !new.is_empty())
}

/// Gives all payloads in a packet another payload type.
pub fn name_payloads(payload: &mut [u8], payload_type: u8) {
    let Some((headers, last)) = headers(payload) else { return };
    for header in (0..headers.len()).map(|number| number * HEADER_BYTES) {
        payload[header] = FOLLOWS | payload_type;
    }
    payload[last] = payload_type;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packet with payloads of type 111, the newest last.
    pub(crate) fn packet(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (new, earlier) = payloads.split_last().expect("there is one");
        for payload in earlier {
            let length = payload.len() as u16;
            bytes.extend([FOLLOWS | 111, 960_u16.to_be_bytes()[0] << 2]);
            bytes.extend(length.to_be_bytes());
        }
        bytes.push(111);
        earlier.iter().chain([new]).for_each(|payload| bytes.extend(*payload));
        bytes
    }

    #[test]
    fn what_is_new_stands_last() {
        let long = [7; 700];
        for earlier in [&[][..], &[&[1, 2][..]], &[&long, &[]], &[&[1], &[2], &[3]]] {
            let payloads: Vec<&[u8]> = earlier.iter().copied().chain([&[8, 9][..]]).collect();
            assert_eq!(primary(&packet(&payloads)), Some(&[8, 9][..]), "{earlier:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_does_not_end_is_none() {
        let whole = packet(&[&[1, 2, 3], &[4, 5], &[6]]);
        for length in 0..whole.len() {
            assert_eq!(primary(&whole[..length]), None, "{length}");
        }
        assert_eq!(primary(&[0x80 | 111; 100]), None);
        let many: Vec<&[u8]> = vec![&[1]; MAX_RED_BLOCKS + 1];
        assert!(primary(&packet(&many)).is_some());
        let more: Vec<&[u8]> = vec![&[1]; MAX_RED_BLOCKS + 2];
        assert_eq!(primary(&packet(&more)), None);
    }

    #[test]
    fn all_in_it_are_named_and_nothing_else_is_changed() {
        let mut bytes = packet(&[&[111, 0xff], &[], &[111]]);
        name_payloads(&mut bytes, 96);
        let named = |at: usize| bytes[at] & 0x7f;
        assert_eq!([named(0), named(4), named(8)], [96; 3]);
        assert_eq!((primary(&bytes), &bytes[9..]), (Some(&[111][..]), &[111, 0xff, 111][..]));
        let mut nothing = [0xff; 3];
        name_payloads(&mut nothing, 96);
        assert_eq!(nothing, [0xff; 3]);
    }
}
