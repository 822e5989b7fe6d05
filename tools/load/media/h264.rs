//! H.264 in packetization mode 1 (RFC 6184): parameter sets in an aggregate, then the slice of the
//! frame, fragmented where it has more than one packet.

use super::{Packet, STAMP_LEN};

const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// nal_ref_idc of what others refer to.
const REFERENCED: u8 = 0x60;

/// A sequence parameter set (ITU-T H.264 §7.3.2.1.1): Constrained Baseline, level 3.1, 80 × 45
/// macroblocks, which is 1280 × 720.
const SPS: [u8; 9] = [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe4];
/// A picture parameter set (§7.3.2.2): CAVLC, one slice group, everything else at its default.
const PPS: [u8; 4] = [0x68, 0xce, 0x38, 0x80];
/// A message of user data (§D.1.7) has a stamp behind any UUID: header, type 5, its size.
const SEI_HEAD: [u8; 3] = [SEI, 5, (UUID.len() + STAMP_LEN) as u8];
const UUID: [u8; 16] = *b"monoport-load 01";
/// Ends the message: rbsp_stop_one_bit.
const STOP: u8 = 0x80;

/// Bytes of the aggregate before its stamp: its header, and each unit behind its size.
const PARAMETERS_HEAD: usize = 1 + 2 + SPS.len() + 2 + PPS.len() + 2 + SEI_HEAD.len() + UUID.len();
/// Bytes of the payload with the parameter sets.
pub const PARAMETERS_LEN: usize = PARAMETERS_HEAD + STAMP_LEN + 1;

/// Writes what stands before the stamp, and returns its length.
pub fn head(payload: &mut [u8], packet: Packet) -> usize {
    let Packet { key_frame, part, last, .. } = packet;
    if key_frame && part == 0 {
        return parameters(payload);
    }
    let kind = if key_frame { IDR_SLICE } else { SLICE };
    let first = part == usize::from(key_frame);
    if first && last {
        payload[0] = REFERENCED | kind;
        return 1;
    }
    payload[0] = REFERENCED | FU_A;
    payload[1] = u8::from(first) << 7 | u8::from(last) << 6 | kind;
    2
}

/// What a decoder needs before the first slice, in one packet as browsers send it.
fn parameters(payload: &mut [u8]) -> usize {
    payload[0] = REFERENCED | STAP_A;
    let mut at = 1;
    let mut put = |bytes: &[u8]| {
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    for unit in [&SPS[..], &PPS[..]] {
        put(&(unit.len() as u16).to_be_bytes());
        put(unit);
    }
    let message = SEI_HEAD.len() + UUID.len() + STAMP_LEN + 1;
    put(&(message as u16).to_be_bytes());
    put(&SEI_HEAD);
    put(&UUID);
    payload[PARAMETERS_LEN - 1] = STOP;
    PARAMETERS_HEAD
}

/// Bytes before the stamp.
pub fn head_len(payload: &[u8]) -> Option<usize> {
    match payload.first()? & 0x1f {
        SLICE | IDR_SLICE => Some(1),
        STAP_A => Some(PARAMETERS_HEAD),
        FU_A => Some(2),
        _ => None,
    }
}
