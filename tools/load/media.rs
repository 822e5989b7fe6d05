//! The payloads a synthetic publisher sends: well-formed VP8 (RFC 7741) and Opus (RFC 7587) framing
//! around bytes that no decoder needs to like, with a stamp in each.

/// Marks a stamp: an opened payload without it is not ours.
const MAGIC: [u8; 4] = *b"MPLD";
/// Bytes of a stamp: magic, packet number, send time.
pub const STAMP_LEN: usize = 16;

/// VP8 payload descriptor with a 15-bit picture id: X, I, and two bytes of id (RFC 7741 §4.2).
const DESCRIPTOR_LEN: usize = 4;
/// Frame tag of three bytes, then start code and size on key frames (RFC 6386 §9.1).
const FRAME_TAG_LEN: usize = 3;
const KEY_FRAME_HEADER_LEN: usize = 10;

/// The smallest VP8 payload that holds every header and a stamp.
pub const MIN_VP8_PAYLOAD: usize = DESCRIPTOR_LEN + KEY_FRAME_HEADER_LEN + STAMP_LEN;
/// The smallest Opus payload: the TOC byte and a stamp.
const MIN_OPUS_PAYLOAD: usize = 1 + STAMP_LEN;

/// What a packet says about itself inside its sealed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Counts the packets of one SSRC, from zero.
    pub number: u32,
    /// `CLOCK_MONOTONIC` of the sending process, in nanoseconds.
    pub sent_ns: u64,
}

/// Where in its frame a VP8 packet is, and what frame that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Packet {
    pub picture_id: u16,
    pub key_frame: bool,
    /// The first packet of its frame carries the frame's own header.
    pub starts_frame: bool,
}

impl Stamp {
    fn write(self, at: &mut [u8]) {
        at[..4].copy_from_slice(&MAGIC);
        at[4..8].copy_from_slice(&self.number.to_be_bytes());
        at[8..16].copy_from_slice(&self.sent_ns.to_be_bytes());
    }

    fn read(at: &[u8]) -> Option<Self> {
        let at = at.get(..STAMP_LEN)?;
        if at[..4] != MAGIC {
            return None;
        }
        Some(Self {
            number: u32::from_be_bytes(at[4..8].try_into().ok()?),
            sent_ns: u64::from_be_bytes(at[8..16].try_into().ok()?),
        })
    }
}

/// Writes the headers and the stamp of a VP8 payload; the bytes behind them stay as they are.
///
/// # Panics
/// When `payload` is shorter than [`MIN_VP8_PAYLOAD`].
pub fn write_vp8(payload: &mut [u8], packet: Vp8Packet, frame_len: usize, stamp: Stamp) {
    // X, and S with partition 0 at the start of a frame.
    payload[0] = if packet.starts_frame { 0x90 } else { 0x80 };
    payload[1] = 0x80; // I: a picture id follows
    payload[2..4].copy_from_slice(&(0x8000 | packet.picture_id).to_be_bytes());
    let mut at = DESCRIPTOR_LEN;
    if packet.starts_frame {
        // Inverse key-frame flag, version 0, show_frame, size of the first partition (19 bits).
        let first_partition = (frame_len / 4).min((1 << 19) - 1) as u32;
        let tag = u32::from(!packet.key_frame) | 1 << 4 | first_partition << 5;
        payload[at..at + FRAME_TAG_LEN].copy_from_slice(&tag.to_le_bytes()[..3]);
        if packet.key_frame {
            let (width, height) = (1280u16.to_le_bytes(), 720u16.to_le_bytes());
            let header = [0x9d, 0x01, 0x2a, width[0], width[1], height[0], height[1]];
            payload[at + 3..at + KEY_FRAME_HEADER_LEN].copy_from_slice(&header);
            at += KEY_FRAME_HEADER_LEN;
        } else {
            at += FRAME_TAG_LEN;
        }
    }
    stamp.write(&mut payload[at..]);
}

/// Reads what [`write_vp8`] wrote; `None` when the payload is not VP8 or carries no stamp.
///
/// `key_frame` is known on the first packet of a frame only; elsewhere it is `false`.
#[must_use]
pub fn read_vp8(payload: &[u8]) -> Option<(Vp8Packet, Stamp)> {
    let (&first, &extension) = (payload.first()?, payload.get(1)?);
    let mut at = 1;
    let mut picture_id = 0;
    if first & 0x80 != 0 {
        at += 1;
        if extension & 0x80 != 0 {
            let high = *payload.get(at)?;
            picture_id = u16::from(high & 0x7f);
            at += 1;
            if high & 0x80 != 0 {
                picture_id = picture_id << 8 | u16::from(*payload.get(at)?);
                at += 1;
            }
        }
        at += usize::from(extension & 0x40 != 0); // TL0PICIDX
        at += usize::from(extension & 0x30 != 0); // TID, Y, KEYIDX
    }
    // S and partition 0.
    let starts_frame = first & 0x1f == 0x10;
    let mut key_frame = false;
    if starts_frame {
        key_frame = payload.get(at)? & 1 == 0;
        at += if key_frame { KEY_FRAME_HEADER_LEN } else { FRAME_TAG_LEN };
    }
    let stamp = Stamp::read(payload.get(at..)?)?;
    Some((Vp8Packet { picture_id, key_frame, starts_frame }, stamp))
}

/// Writes an Opus payload: the TOC byte of one 20 ms full-band frame (RFC 6716 §3.1), then a stamp.
///
/// # Panics
/// When `payload` is shorter than [`MIN_OPUS_PAYLOAD`].
pub fn write_opus(payload: &mut [u8], stamp: Stamp) {
    assert!(payload.len() >= MIN_OPUS_PAYLOAD, "{} bytes hold no stamp", payload.len());
    payload[0] = 15 << 3; // hybrid, full band, 20 ms; mono; one frame
    stamp.write(&mut payload[1..]);
}

/// Reads what [`write_opus`] wrote.
#[must_use]
pub fn read_opus(payload: &[u8]) -> Option<Stamp> {
    Stamp::read(payload.get(1..)?)
}

/// Splits a frame of `frame_len` bytes into the payload sizes of its packets, none above `max`: as
/// even as can be, the smaller ones first, as browsers do it.
pub fn packetize(frame_len: usize, max: usize) -> impl Iterator<Item = usize> {
    let packets = frame_len.div_ceil(max).max(1);
    let (size, longer) = (frame_len / packets, frame_len % packets);
    (0..packets).map(move |i| size + usize::from(i >= packets - longer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { number: 0xdead_beef, sent_ns: 0x0102_0304_0506_0708 };

    #[test]
    fn vp8_round_trips_with_its_flags() {
        for key_frame in [true, false] {
            for starts_frame in [true, false] {
                let packet = Vp8Packet { picture_id: 0x1234, key_frame, starts_frame };
                let mut payload = vec![0x55; MIN_VP8_PAYLOAD];
                write_vp8(&mut payload, packet, 10_000, STAMP);
                let (read, stamp) = read_vp8(&payload).unwrap();
                assert_eq!(stamp, STAMP);
                assert_eq!(read.key_frame, key_frame && starts_frame);
                assert_eq!((read.picture_id, read.starts_frame), (0x1234, starts_frame));
            }
        }
    }

    /// The bytes a depacketiser looks at, spelled out.
    #[test]
    fn a_key_frame_has_the_start_code_and_its_size() {
        let packet = Vp8Packet { picture_id: 7, key_frame: true, starts_frame: true };
        let mut payload = vec![0; 64];
        write_vp8(&mut payload, packet, 4_000, STAMP);
        assert_eq!(payload[..4], [0x90, 0x80, 0x80, 0x07], "X S, I, picture id 7");
        assert_eq!(payload[4] & 1, 0, "P = 0 on a key frame");
        assert_eq!(payload[4] & 0x10, 0x10, "shown");
        assert_eq!(payload[7..10], [0x9d, 0x01, 0x2a]);
        assert_eq!(payload[10..14], [0x00, 0x05, 0xd0, 0x02], "1280 × 720, little-endian");
    }

    /// A server may rewrite the picture id to one byte or none: the stamp moves with the
    /// descriptor.
    #[test]
    fn finds_the_stamp_behind_any_descriptor() {
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
            let (packet, stamp) = read_vp8(&payload).unwrap();
            assert!(packet.starts_frame && !packet.key_frame, "{descriptor:?}");
            assert_eq!(stamp, STAMP, "{descriptor:?}");
        }
    }

    #[test]
    fn opus_round_trips() {
        let mut payload = vec![0; MIN_OPUS_PAYLOAD];
        write_opus(&mut payload, STAMP);
        assert_eq!(payload[0], 0x78);
        assert_eq!(read_opus(&payload), Some(STAMP));
        payload[2] ^= 1;
        assert_eq!(read_opus(&payload), None, "no magic, no stamp");
    }

    #[test]
    fn truncated_payloads_are_none() {
        let packet = Vp8Packet { picture_id: 7, key_frame: true, starts_frame: true };
        let mut payload = vec![0; MIN_VP8_PAYLOAD];
        write_vp8(&mut payload, packet, 4_000, STAMP);
        for len in 0..MIN_VP8_PAYLOAD {
            assert_eq!(read_vp8(&payload[..len]), None, "{len}");
        }
        assert_eq!(read_opus(&[]), None);
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
}
