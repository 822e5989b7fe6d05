//! Payloads that look like the codecs' own to whoever peeks into them.

use str0m::format::Codec;

/// A payload of `codec`: `keyframe` says whether a decoder could start at it. `number` stands in
/// its last four bytes.
pub fn payload(codec: Codec, keyframe: bool, number: u32) -> Vec<u8> {
    let head: &[u8] = match (codec, keyframe) {
        (Codec::Vp8, true) => &[0x10, 0x00],
        (Codec::Vp8, false) => &[0x10, 0x01],
        (Codec::Vp9, true) => &[0x88, 0x01],
        (Codec::Vp9, false) => &[0xc8, 0x01],
        (Codec::H264, true) => &[0x65, 0x88],
        (Codec::H264, false) => &[0x61, 0x88],
        (Codec::H265, true) => &[0x26, 0x01],
        (Codec::H265, false) => &[0x02, 0x01],
        (Codec::Av1, true) => &[0x18, 0x0a],
        (Codec::Av1, false) => &[0x10, 0x0a],
        _ => &[0xfc, 0xff],
    };
    let mut payload = head.to_vec();
    payload.extend((0..200 + number % 7).map(|index| index as u8));
    payload.extend(number.to_be_bytes());
    payload
}

thread_local! {
    /// Whether clients that are made now offer redundant audio.
    pub static REDUNDANT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A packet with `new`, and `before` once more (RFC 2198 §3).
pub fn redundant(payload_type: u8, before: &[u8], new: &[u8]) -> Vec<u8> {
    let ago = 960_u32 << 10 | before.len() as u32;
    let mut packet = vec![0x80 | payload_type];
    packet.extend(&ago.to_be_bytes()[1..]);
    packet.push(payload_type);
    packet.extend([before, new].concat());
    packet
}

/// The number in a payload.
pub fn number(payload: &[u8]) -> u32 {
    let tail = payload.last_chunk::<4>().expect("a payload of ours");
    u32::from_be_bytes(*tail)
}
