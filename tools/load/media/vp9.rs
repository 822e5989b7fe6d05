//! VP9: payload descriptor (RFC 9628 §4.2) and uncompressed header (VP9 bitstream §6.2).

use super::{HEIGHT, Packet, WIDTH};

/// I and the 15-bit picture id.
const DESCRIPTOR_LEN: usize = 3;
/// One spatial layer with its size: N_S, Y, G; width and height.
const STRUCTURE_LEN: usize = 5;
/// Of a key frame: marker and flags, sync code, color configuration and size, rounded up.
const KEY_FRAME_HEADER_LEN: usize = 9;
/// Of another frame: marker and flags; what follows is the codec's.
const HEADER_LEN: usize = 1;

const PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const BEGINS: u8 = 0x08;
const ENDS: u8 = 0x04;
const STRUCTURE: u8 = 0x02;

/// Writes what stands before the stamp, and returns its length.
pub fn head(payload: &mut [u8], packet: Packet) -> usize {
    let mut flags = PICTURE_ID;
    flags |= if packet.key_frame { 0 } else { PREDICTED };
    flags |= if packet.part == 0 { BEGINS } else { 0 };
    flags |= if packet.last { ENDS } else { 0 };
    payload[1..3].copy_from_slice(&(0x8000 | packet.picture_id).to_be_bytes());
    let at = DESCRIPTOR_LEN;
    if packet.part > 0 || !packet.key_frame {
        payload[0] = flags;
        if packet.part > 0 {
            return at;
        }
        // Marker 2, profile 0, no repeated frame, inter, shown.
        payload[at] = 0b1000_0110;
        return at + HEADER_LEN;
    }
    payload[0] = flags | STRUCTURE;
    let (width, height) = (WIDTH.to_be_bytes(), HEIGHT.to_be_bytes());
    let structure = [0x10, width[0], width[1], height[0], height[1]];
    payload[at..at + STRUCTURE_LEN].copy_from_slice(&structure);
    // Marker 2, profile 0, no repeated frame, key frame, shown, 24 bits of sync code, color space 2
    // (BT.709) with studio range, width and height less one, the same size when rendered.
    let sides = u64::from(WIDTH - 1) << 16 | u64::from(HEIGHT - 1);
    let bits = 0b1000_0010 << 64 | 0x49_83_42 << 40 | 0b0100 << 36 | u128::from(sides) << 4;
    let header = at + STRUCTURE_LEN;
    payload[header..header + KEY_FRAME_HEADER_LEN].copy_from_slice(&bits.to_be_bytes()[7..]);
    header + KEY_FRAME_HEADER_LEN
}

/// Bytes before the stamp. Layers and references are none of ours.
pub fn head_len(payload: &[u8]) -> Option<usize> {
    let flags = *payload.first()?;
    let mut at = 1;
    if flags & PICTURE_ID != 0 {
        at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if flags & STRUCTURE != 0 {
        at += STRUCTURE_LEN;
    }
    Some(match (flags & BEGINS != 0, flags & PREDICTED != 0) {
        (false, _) => at,
        (true, true) => at + HEADER_LEN,
        (true, false) => at + KEY_FRAME_HEADER_LEN,
    })
}
