//! One media packet on its way from a publisher to viewers.

use std::sync::Arc;
use std::time::Instant;

use super::DependencyDescriptor;
use crate::id::StreamKey;

/// Which of a stream's two tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Opus, 48 kHz clock.
    Audio,
    /// Any video codec, 90 kHz clock.
    Video,
}

impl TrackKind {
    /// Both, in the order of arrays indexed by `kind as usize`.
    pub const ALL: [TrackKind; 2] = [TrackKind::Audio, TrackKind::Video];

    /// Ticks a second of the RTP timestamp.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            TrackKind::Audio => 48_000,
            TrackKind::Video => 90_000,
        }
    }
}

/// Header extensions that travel from publisher to viewer, as they stand on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderExtensions {
    /// Voice bit and level in −dBov (RFC 6464).
    pub audio_level: Option<u8>,
    /// Rotation (3GPP TS 26.114 §7.4.5).
    pub video_orientation: Option<u8>,
    /// Least and greatest playout delay, 12 bits each, in units of 10 ms.
    pub playout_delay: Option<[u8; 3]>,
    /// Which frames this one needs.
    pub descriptor: Option<DependencyDescriptor>,
}

/// A decrypted RTP packet without its header, numbered by its publisher or, once a
/// [`crate::stream::Track`] has admitted it, by the stream.
#[derive(Clone, Debug)]
pub struct MediaPacket {
    /// The stream it belongs to.
    pub stream: StreamKey,
    /// The track it belongs to.
    pub kind: TrackKind,
    /// Which publisher of the stream sent it; a later publisher has a greater number.
    pub epoch: u32,
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The marker bit: last packet of a video frame.
    pub marker: bool,
    /// A decoder can start here: first packet of a key frame. Always true for audio.
    pub keyframe: bool,
    /// Extensions to pass on.
    pub extensions: HeaderExtensions,
    /// Bytes of RTP padding (RFC 3550 §5.1) viewers get behind the payload; 0 for none. It makes
    /// the packets of a frame equally long, so that they leave as one train.
    pub padding: u8,
    /// When the datagram was taken from the kernel.
    pub received: Instant,
    /// The payload. Never shared between threads: a packet that crosses to another shard is copied.
    pub payload: Arc<[u8]>,
}

impl MediaPacket {
    /// A copy for another shard: the bytes of payload and descriptor, not references to them.
    #[must_use]
    pub fn copy_for_other_shard(&self) -> MediaPacket {
        let mut copy = self.clone();
        copy.payload = Arc::from(&self.payload[..]);
        if let Some(descriptor) = &mut copy.extensions.descriptor {
            *descriptor = descriptor.copy_for_other_shard();
        }
        copy
    }
}

/// What a publisher's sender report says: this RTP time was that wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReport {
    /// The stream it belongs to.
    pub stream: StreamKey,
    /// The track it belongs to.
    pub kind: TrackKind,
    /// Which publisher of the stream sent it.
    pub epoch: u32,
    /// The publisher's wall clock, as an NTP timestamp: seconds since 1900 in the upper 32 bits.
    pub ntp: u64,
    /// The publisher's RTP time at that moment.
    pub timestamp: u32,
    /// When the report arrived.
    pub received: Instant,
}
