//! One media packet on its way from a publisher to viewers.

use std::time::Instant;

use str0m::format::Codec;

use super::{Bytes, DependencyDescriptor, Payload};
use crate::id::TrackKey;

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

/// Whose numbers a packet has. Within one origin a layer's sequence numbers and timestamps go on;
/// where a packet of a newer origin comes, they start anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Which publisher of the stream sent it; a later one has a greater number, which wraps.
    pub publisher: u32,
    /// Which of the layer's sources at that publisher: one that changes its SSRC goes on as the
    /// next. Wraps.
    pub source: u16,
}

impl Origin {
    /// Whether this one has taken the other's place.
    #[must_use]
    pub fn is_newer_than(self, other: Origin) -> bool {
        match self.publisher.wrapping_sub(other.publisher) as i32 {
            0 => (self.source.wrapping_sub(other.source) as i16) > 0,
            ahead => ahead > 0,
        }
    }
}

/// A decrypted RTP packet without its header, numbered by its publisher or, once a track has
/// admitted it, by the layer. Until a track keeps it, its payload may lie where the datagram was
/// received.
#[derive(Clone, Debug)]
pub struct MediaPacket<P = Payload> {
    /// The track it belongs to.
    pub track: TrackKey,
    /// How the payload is coded.
    pub codec: Codec,
    /// The simulcast layer it belongs to; 0 where the track has one.
    pub layer: u8,
    /// Whose numbers it has.
    pub origin: Origin,
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
    pub payload: P,
}

impl<P: Bytes> MediaPacket<P> {
    /// The same packet with what `change` makes of its payload.
    #[inline]
    pub fn with_payload<Q>(self, change: impl FnOnce(P) -> Q) -> MediaPacket<Q> {
        MediaPacket {
            track: self.track,
            codec: self.codec,
            layer: self.layer,
            origin: self.origin,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: self.marker,
            keyframe: self.keyframe,
            extensions: self.extensions,
            padding: self.padding,
            received: self.received,
            payload: change(self.payload),
        }
    }

    /// A copy for another shard: the bytes of payload and descriptor, not references to them.
    #[must_use]
    pub fn copy_for_other_shard(&self) -> MediaPacket
    where
        P: Clone,
    {
        let mut copy = self.clone().with_payload(|payload| Payload::exact(&payload));
        if let Some(descriptor) = &mut copy.extensions.descriptor {
            *descriptor = descriptor.copy_for_other_shard();
        }
        copy
    }
}

/// What a publisher's sender report says: this RTP time was that wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReport {
    /// The track it belongs to.
    pub track: TrackKey,
    /// The layer whose RTP time it is.
    pub layer: u8,
    /// Whose RTP time it is.
    pub origin: Origin,
    /// The publisher's wall clock, as an NTP timestamp: seconds since 1900 in the upper 32 bits.
    pub ntp: u64,
    /// The publisher's RTP time at that moment.
    pub timestamp: u32,
    /// When the report arrived.
    pub received: Instant,
}
