//! What is written is found again, and is what others look for.

use super::*;
use monoport::media::{PictureSize, picture_sizes, starts_keyframe};

const STAMP: Stamp = Stamp { layer: 2, number: 0x1ead_beef, sent_ns: 0x0102_0304_0506_0708 };
const VIDEO: [Format; 4] = [Format::Vp8, Format::H264, Format::Vp9, Format::Av1];

/// A frame's payloads.
fn frame(format: Format, frame_len: usize, key_frame: bool) -> Vec<Vec<u8>> {
    let sizes = format.payload_sizes(frame_len, key_frame, 1_160);
    let last = sizes.len() - 1;
    let write = |(part, size): (usize, &usize)| {
        let mut payload = vec![0x55; *size];
        let packet = Packet { picture_id: 0x1234, key_frame, part, last: part == last, layer: 0 };
        format.write(&mut payload, packet, frame_len, STAMP);
        payload
    };
    sizes.iter().enumerate().map(write).collect()
}

#[test]
fn every_packet_of_every_codec_has_its_stamp() {
    for format in VIDEO {
        for (len, key_frame) in [(1, true), (1, false), (5_000, true), (5_000, false)] {
            for payload in frame(format, len, key_frame) {
                assert_eq!(format.stamp(&payload), Some(STAMP), "{format:?} {len} {key_frame}");
            }
        }
    }
}

/// What the server under test would say of the same bytes.
#[test]
fn a_key_frame_begins_where_it_should_and_says_its_size() {
    for format in VIDEO {
        let starts = |payload: &Vec<u8>| starts_keyframe(format.codec(), payload);
        let key_frame = frame(format, 5_000, true);
        assert!(starts(&key_frame[0]), "{format:?}");
        // H.264 can also start with the slice, when the parameter sets are known.
        let slices = &key_frame[1 + usize::from(format == Format::H264)..];
        assert!(!slices.is_empty() && !slices.iter().any(starts), "{format:?}");
        assert!(!frame(format, 5_000, false).iter().any(starts), "{format:?}");
        let size = picture_sizes(format.codec(), &key_frame[0], true).and_then(|sizes| sizes.of(0));
        let wanted = (format != Format::Av1).then_some(PictureSize { width: 1280, height: 720 });
        assert_eq!(size, wanted, "{format:?}");
    }
}

/// The bytes a depacketiser looks at, spelled out.
#[test]
fn a_vp8_key_frame_has_the_start_code_and_its_size() {
    let payload = &frame(Format::Vp8, 4_000, true)[0];
    assert_eq!(payload[..4], [0x90, 0x80, 0x92, 0x34], "X S, I, picture id 0x1234");
    assert_eq!(payload[4] & 1, 0, "P = 0 on a key frame");
    assert_eq!(payload[4] & 0x10, 0x10, "shown");
    assert_eq!(payload[7..10], [0x9d, 0x01, 0x2a]);
    assert_eq!(payload[10..14], [0x00, 0x05, 0xd0, 0x02], "1280 × 720, little-endian");
}

/// RFC 6184 §5.8: the first and the last fragment say so, and no fragment is both.
#[test]
fn an_h264_slice_is_whole_or_has_a_first_and_a_last_fragment() {
    let fragments = frame(Format::H264, 3_000, false);
    let heads: Vec<[u8; 2]> = fragments.iter().map(|payload| [payload[0], payload[1]]).collect();
    assert_eq!(heads, [[0x7c, 0x81], [0x7c, 0x01], [0x7c, 0x41]]);
    let whole = frame(Format::H264, 100, true);
    assert_eq!((whole[0][0], whole[1][0], whole.len()), (0x78, 0x65, 2));
    // The aggregate is what its units' sizes say, to the byte.
    let mut rest = &whole[0][1..];
    let mut kinds = Vec::new();
    while let Some((size, unit)) = rest.split_first_chunk() {
        kinds.push(unit[0] & 0x1f);
        rest = &unit[usize::from(u16::from_be_bytes(*size))..];
    }
    assert_eq!(kinds, [7, 8, 6]);
}

/// RTP payload format for AV1 §4.4: Z and Y say where a unit is cut, N where a sequence starts.
#[test]
fn an_av1_frame_says_where_it_is_cut() {
    let heads = |frame: Vec<Vec<u8>>| frame.iter().map(|payload| payload[0]).collect::<Vec<_>>();
    assert_eq!(heads(frame(Format::Av1, 3_000, true)), [0x68, 0xd0, 0x90]);
    assert_eq!(heads(frame(Format::Av1, 3_000, false)), [0x50, 0xd0, 0x90]);
    assert_eq!(heads(frame(Format::Av1, 100, false)), [0x10]);
}

/// RFC 9628 §4.2: I, P, B, E and V.
#[test]
fn a_vp9_frame_says_where_it_begins_and_ends() {
    let heads = |frame: Vec<Vec<u8>>| frame.iter().map(|payload| payload[0]).collect::<Vec<_>>();
    assert_eq!(heads(frame(Format::Vp9, 3_000, true)), [0x8a, 0x80, 0x84]);
    assert_eq!(heads(frame(Format::Vp9, 3_000, false)), [0xc8, 0xc0, 0xc4]);
}

/// A server may rewrite the picture id to one byte or none: the stamp moves with the descriptor.
#[test]
fn finds_the_stamp_behind_any_vp8_descriptor() {
    let mut behind = vec![0x11, 0, 0]; // frame tag of a delta frame
    behind.extend_from_slice(&[0; STAMP_LEN]);
    STAMP.write(&mut behind[3..]);
    let descriptors: [&[u8]; 5] = [
        &[0x10],
        &[0x90, 0x80, 0x05],
        &[0x90, 0x80, 0x80, 0x05],
        &[0x90, 0xc0, 0x80, 0x05, 9],
        &[0x90, 0xf0, 0x80, 0x05, 9, 0x20],
    ];
    for descriptor in descriptors {
        let payload = [descriptor, &behind].concat();
        assert_eq!(Format::Vp8.stamp(&payload), Some(STAMP), "{descriptor:?}");
        assert!(!Format::Vp8.starts(&payload), "{descriptor:?}");
    }
}

#[test]
fn opus_round_trips() {
    let mut payload = vec![0; 1 + STAMP_LEN];
    write_opus(&mut payload, STAMP);
    assert_eq!(payload[0], 0x78);
    assert_eq!(Format::Opus.stamp(&payload), Some(STAMP));
    payload[2] ^= 1;
    assert_eq!(Format::Opus.stamp(&payload), None, "no magic, no stamp");
}

#[test]
fn truncated_payloads_have_no_stamp() {
    for format in VIDEO {
        for payload in frame(format, 5_000, true).iter().chain(&frame(format, 1, false)) {
            let whole = (0..payload.len()).find(|len| format.stamp(&payload[..*len]).is_some());
            assert!(whole.is_some_and(|len| len > STAMP_LEN), "{format:?} {whole:?}");
        }
    }
    assert_eq!(Format::Opus.stamp(&[]), None);
}

#[test]
fn packets_of_a_frame_differ_by_a_byte_at_most() {
    for (frame, max) in [(1, 1160), (1160, 1160), (1161, 1160), (10_417, 1160), (99, 10)] {
        let sizes: Vec<usize> = packetize(frame, max).collect();
        assert_eq!(sizes.iter().sum::<usize>(), frame);
        assert!(sizes.iter().all(|size| *size <= max));
        assert!(sizes.last().unwrap() - sizes[0] <= 1, "{sizes:?}");
        assert!(sizes.is_sorted());
    }
}
