//! The payloads a synthetic publisher sends: well-formed heads of each codec around bytes that no
//! decoder needs to like, with a stamp in each packet.
//!
//! A server that forwards looks at the heads: where a frame and a key frame begin, how large the
//! picture is. One that packs frames anew moves the stamps away; its packets are counted by their
//! sequence numbers.

mod av1;
mod h264;
mod vp8;
mod vp9;

use str0m::format::Codec;

/// Marks a stamp: an opened payload without it is not ours.
const MAGIC: [u8; 4] = *b"MPLD";
/// Laid over the rest of a stamp, so that small numbers hold no run of zeros: in H.264 that would
/// read as the start of a unit (ITU-T H.264 §7.4.1).
const MASK: u64 = 0xa5a5_a5a5_a5a5_a5a5;
/// Bytes of a stamp: magic, layer and packet number, send time.
pub const STAMP_LEN: usize = 16;
/// The bits of a stamp's number; the two above them are the layer. 1,000 packets a second take
/// twelve days to count over them.
const NUMBER_BITS: u32 = 30;
/// The smallest video payload: room for the longest head and a stamp.
pub const MIN_VIDEO_PAYLOAD: usize = 34;
/// What key frames say of the picture.
const WIDTH: u16 = 1280;
const HEIGHT: u16 = 720;

/// What a packet says about itself inside its sealed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The simulcast layer, 0 for the largest and for what is sent in one size.
    pub layer: u8,
    /// Counts the packets of one SSRC, from zero.
    pub number: u32,
    /// `CLOCK_MONOTONIC` of the sending process, in nanoseconds.
    pub sent_ns: u64,
}

/// What a stream's payloads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 7741.
    Vp8,
    /// RFC 6184, packetization mode 1.
    H264,
    /// RFC 9628.
    Vp9,
    /// RTP Payload Format For AV1, version 1.0.
    Av1,
    /// RFC 7587.
    Opus,
}

/// One packet of a frame of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub picture_id: u16,
    pub key_frame: bool,
    /// Counts the packets of the frame, from zero.
    pub part: usize,
    /// Whether it is the last of them.
    pub last: bool,
    /// The simulcast layer, which says the size of the picture.
    pub layer: usize,
}

impl Stamp {
    fn write(self, at: &mut [u8]) {
        at[..4].copy_from_slice(&MAGIC);
        let layer = u32::from(self.layer) << NUMBER_BITS;
        let number = layer | (self.number % (1 << NUMBER_BITS));
        at[4..8].copy_from_slice(&(number ^ MASK as u32).to_be_bytes());
        at[8..16].copy_from_slice(&(self.sent_ns ^ MASK).to_be_bytes());
    }

    fn read(at: &[u8]) -> Option<Self> {
        let at = at.get(..STAMP_LEN)?;
        if at[..4] != MAGIC {
            return None;
        }
        let number = u32::from_be_bytes(at[4..8].try_into().ok()?) ^ MASK as u32;
        Some(Self {
            layer: (number >> NUMBER_BITS) as u8,
            number: number % (1 << NUMBER_BITS),
            sent_ns: u64::from_be_bytes(at[8..16].try_into().ok()?) ^ MASK,
        })
    }
}

impl Format {
    /// Its name in `a=rtpmap`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Vp8 => "VP8",
            Format::H264 => "H264",
            Format::Vp9 => "VP9",
            Format::Av1 => "AV1",
            Format::Opus => "opus",
        }
    }

    /// The sizes of the payloads of a frame of `frame_len` bytes, none above `max` nor so small
    /// that head and stamp do not fit.
    #[must_use]
    pub fn payload_sizes(self, frame_len: usize, key_frame: bool, max: usize) -> Vec<usize> {
        let parameters = (self == Format::H264 && key_frame).then_some(h264::PARAMETERS_LEN);
        let slices = packetize(frame_len, max.max(MIN_VIDEO_PAYLOAD));
        parameters.into_iter().chain(slices.map(|size| size.max(MIN_VIDEO_PAYLOAD))).collect()
    }

    /// Writes the head and the stamp of a payload of video; the bytes behind them stay as they are.
    ///
    /// # Panics
    /// When `payload` is shorter than [`Format::payload_sizes`] said.
    pub fn write(self, payload: &mut [u8], packet: Packet, frame_len: usize, stamp: Stamp) {
        let head = match self {
            Format::Vp8 => vp8::head(payload, packet, frame_len),
            Format::H264 => h264::head(payload, packet),
            Format::Vp9 => vp9::head(payload, packet),
            Format::Av1 => av1::head(payload, packet),
            Format::Opus => unreachable!("audio is written by write_opus"),
        };
        stamp.write(&mut payload[head..]);
    }

    /// The stamp of a payload; `None` when it has none where it was written.
    #[must_use]
    pub fn stamp(self, payload: &[u8]) -> Option<Stamp> {
        let head = match self {
            Format::Vp8 => vp8::head_len(payload)?,
            Format::H264 => h264::head_len(payload)?,
            Format::Vp9 => vp9::head_len(payload)?,
            Format::Av1 => av1::head_len(payload)?,
            Format::Opus => 1,
        };
        Stamp::read(payload.get(head..)?)
    }

    /// Whether a decoder can start here: at the first packet of a key frame, in audio anywhere.
    #[must_use]
    pub fn starts(self, payload: &[u8]) -> bool {
        monoport::media::starts_keyframe(self.codec(), payload)
    }

    fn codec(self) -> Codec {
        match self {
            Format::Vp8 => Codec::Vp8,
            Format::H264 => Codec::H264,
            Format::Vp9 => Codec::Vp9,
            Format::Av1 => Codec::Av1,
            Format::Opus => Codec::Opus,
        }
    }
}

/// Writes an Opus payload: the TOC byte of one 20 ms full-band frame (RFC 6716 §3.1), then a stamp.
///
/// # Panics
/// When `payload` is too short for both.
pub fn write_opus(payload: &mut [u8], stamp: Stamp) {
    payload[0] = 15 << 3; // hybrid, full band, 20 ms; mono; one frame
    stamp.write(&mut payload[1..]);
}

/// Splits a frame of `frame_len` bytes into the payload sizes of its packets, none above `max`: as
/// even as can be, the smaller ones first, as browsers do it.
fn packetize(frame_len: usize, max: usize) -> impl Iterator<Item = usize> {
    let packets = frame_len.div_ceil(max).max(1);
    let (size, longer) = (frame_len / packets, frame_len % packets);
    (0..packets).map(move |i| size + usize::from(i >= packets - longer))
}

#[cfg(test)]
mod tests;
