//! AV1: aggregation header (RTP payload format §4.4) and the heads of its units (AV1 §5.3 to 5.9).

use super::Packet;

/// Continues a unit of the packet before; goes on in the next one; starts a coded sequence.
const CONTINUES: u8 = 0x80;
const GOES_ON: u8 = 0x40;
const NEW_SEQUENCE: u8 = 0x08;

/// A sequence header (§5.5) without a size of its own: main profile, no still picture, level 3.1,
/// 11 and 10 bits of width and height, 1280 × 720, no tools, 8 bits of 4:2:0, no film grain.
const SEQUENCE: [u8; 12] = [0x08, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xc0, 0x00, 0x00, 0x80];
/// A frame unit's header (§5.3.2), without a size: type 6.
const FRAME: u8 = 6 << 3;
/// The first bits of a frame header (§5.9.2): shown for the first time; key or inter frame.
const KEY: u8 = 0b0001_0000;
const INTER: u8 = 0b0011_0000;

/// Before the stamp of a frame's first packet.
const HEAD_LEN: usize = 3;
/// The same with the sequence header in front, which has its size before it.
const KEY_FRAME_HEAD_LEN: usize = HEAD_LEN + 1 + SEQUENCE.len();

/// Writes what stands before the stamp, and returns its length.
pub fn head(payload: &mut [u8], packet: Packet) -> usize {
    let goes_on = if packet.last { 0 } else { GOES_ON };
    if packet.part > 0 {
        payload[0] = CONTINUES | goes_on | units(1);
        return 1;
    }
    if !packet.key_frame {
        payload[..HEAD_LEN].copy_from_slice(&[goes_on | units(1), FRAME, INTER]);
        return HEAD_LEN;
    }
    payload[..2].copy_from_slice(&[goes_on | units(2) | NEW_SEQUENCE, SEQUENCE.len() as u8]);
    payload[2..2 + SEQUENCE.len()].copy_from_slice(&SEQUENCE);
    payload[2 + SEQUENCE.len()..KEY_FRAME_HEAD_LEN].copy_from_slice(&[FRAME, KEY]);
    KEY_FRAME_HEAD_LEN
}

/// Bytes before the stamp.
pub fn head_len(payload: &[u8]) -> Option<usize> {
    let header = *payload.first()?;
    Some(match (header & CONTINUES != 0, header & NEW_SEQUENCE != 0) {
        (true, _) => 1,
        (false, true) => KEY_FRAME_HEAD_LEN,
        (false, false) => HEAD_LEN,
    })
}

/// How many units the packet has, of which the last has no size before it.
fn units(count: u8) -> u8 {
    count << 4
}
