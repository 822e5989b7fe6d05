//! VP8: payload descriptor (RFC 7741 §4.2) and frame header (RFC 6386 §9.1).

use super::Packet;
use crate::layers;

/// Descriptor with a 15-bit picture id: X, I, and two bytes of id.
const DESCRIPTOR_LEN: usize = 4;
/// Frame tag of three bytes, then start code and size on key frames.
const FRAME_TAG_LEN: usize = 3;
const KEY_FRAME_HEADER_LEN: usize = 10;

/// Writes what stands before the stamp, and returns its length.
pub fn head(payload: &mut [u8], packet: Packet, frame_len: usize) -> usize {
    // X, and S with partition 0 at the start of a frame.
    payload[0] = if packet.part == 0 { 0x90 } else { 0x80 };
    payload[1] = 0x80; // I: a picture id follows
    payload[2..4].copy_from_slice(&(0x8000 | packet.picture_id).to_be_bytes());
    let at = DESCRIPTOR_LEN;
    if packet.part > 0 {
        return at;
    }
    // Inverse key-frame flag, version 0, show_frame, size of the first partition (19 bits).
    let first_partition = (frame_len / 4).min((1 << 19) - 1) as u32;
    let tag = u32::from(!packet.key_frame) | 1 << 4 | first_partition << 5;
    payload[at..at + FRAME_TAG_LEN].copy_from_slice(&tag.to_le_bytes()[..3]);
    if !packet.key_frame {
        return at + FRAME_TAG_LEN;
    }
    let (width, height) = layers::size(packet.layer);
    let (width, height) = (width.to_le_bytes(), height.to_le_bytes());
    let header = [0x9d, 0x01, 0x2a, width[0], width[1], height[0], height[1]];
    payload[at + 3..at + KEY_FRAME_HEADER_LEN].copy_from_slice(&header);
    at + KEY_FRAME_HEADER_LEN
}

/// Bytes before the stamp, behind a descriptor of any form: a server may shorten the picture id.
pub fn head_len(payload: &[u8]) -> Option<usize> {
    let (&first, &extension) = (payload.first()?, payload.get(1)?);
    let mut at = 1;
    if first & 0x80 != 0 {
        at += 1;
        if extension & 0x80 != 0 {
            at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0); // TL0PICIDX
        at += usize::from(extension & 0x30 != 0); // TID, Y, KEYIDX
    }
    // S and partition 0.
    if first & 0x1f == 0x10 {
        let key_frame = payload.get(at)? & 1 == 0;
        at += if key_frame { KEY_FRAME_HEADER_LEN } else { FRAME_TAG_LEN };
    }
    Some(at)
}
