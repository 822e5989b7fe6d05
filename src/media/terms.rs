//! What viewers and publishers were promised in the answers to their offers.

use str0m::format::Codec;

use crate::id::TrackId;

/// What a viewer was promised: where its media goes and how it is labelled.
#[derive(Clone, Debug, Default)]
pub struct ViewerTerms {
    /// One each, in the order of the viewer's offer.
    pub tracks: Vec<ViewerTrack>,
}

/// One track on its way to a viewer.
#[derive(Clone, Debug)]
pub struct ViewerTrack {
    /// Which of the stream's tracks it gets.
    pub id: TrackId,
    /// The codec it was promised.
    pub codec: Codec,
    /// The section's id, for the MID header extension.
    pub mid: String,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions, where RTX was negotiated.
    pub rtx_ssrc: Option<u32>,
    /// Payload type of the media.
    pub payload_type: u8,
    /// Payload type of retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// Payload type of packets that carry earlier ones again ([`super::red`]).
    pub red_payload_type: Option<u8>,
    /// Ids of the header extensions the viewer takes.
    pub extensions: ExtensionIds,
}

/// Ids of header extensions (RFC 8285) a viewer negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`
    pub audio_level: Option<u8>,
    /// `urn:3gpp:video-orientation`
    pub video_orientation: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    pub playout_delay: Option<u8>,
    /// [`super::DEPENDENCY_DESCRIPTOR`]
    pub descriptor: Option<u8>,
    /// The number that transport-wide feedback is about, of video that has RTX
    /// (draft-holmer-rmcat-transport-wide-cc-extensions §2).
    pub transport_sequence: Option<u8>,
}

/// What a publisher was answered: how its packets are told apart and what they carry.
#[derive(Clone, Debug, Default)]
pub struct PublisherTerms {
    /// One each, in the order of its offer.
    pub tracks: Vec<PublishedTrack>,
    /// Header extensions that were negotiated, by their ids.
    pub extensions: Vec<(u8, ExtensionKind)>,
    /// SSRCs that its offer named.
    pub sources: Vec<OfferedSource>,
}

/// One track on its way from a publisher.
#[derive(Clone, Debug)]
pub struct PublishedTrack {
    /// Which of the stream's tracks it is.
    pub id: TrackId,
    /// The section's id, as the MID header extension has it.
    pub mid: String,
    /// What its packets are, by the last that came; before, by what the answer names first.
    pub payload: PublishedPayload,
    /// All that it was answered.
    pub answered: Vec<PublishedPayload>,
}

impl PublishedTrack {
    /// The payload with this type, or with this one of what carries it again, of those it was
    /// answered.
    #[must_use]
    pub fn answered(&self, payload_type: u8) -> Option<&PublishedPayload> {
        self.answered.iter().find(|payload| {
            payload.payload_type == payload_type || payload.red_payload_type == Some(payload_type)
        })
    }

    /// Whether packets of this type are retransmissions.
    #[must_use]
    pub fn is_rtx(&self, payload_type: u8) -> bool {
        self.answered.iter().any(|payload| payload.rtx_payload_type == Some(payload_type))
    }
}

/// One payload type of a publisher's track.
#[derive(Clone, Copy, Debug)]
pub struct PublishedPayload {
    /// What it carries.
    pub codec: Codec,
    /// Its number.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), where they have one.
    pub rtx_payload_type: Option<u8>,
    /// Payload type of packets that carry earlier ones again ([`super::red`]), likewise.
    pub red_payload_type: Option<u8>,
    /// Whether the publisher sends again what is asked for (RFC 4585 §6.2.1).
    pub nack: bool,
    /// How it is asked for a key frame.
    pub keyframes: KeyframeRequest,
}

/// How a publisher is asked for a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyframeRequest {
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli,
    /// Full intra request (RFC 5104 §4.3.1).
    Fir,
}

/// An SSRC that a publisher's offer named (RFC 5576).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedSource {
    /// The SSRC.
    pub ssrc: u32,
    /// Its track, by its place in [`PublisherTerms::tracks`].
    pub track: usize,
    /// The SSRC whose packets it sends again (`a=ssrc-group:FID`).
    pub repairs: Option<u32>,
}

/// A header extension (RFC 8285) that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionKind {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    Rid,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    RepairedRid,
    /// The number that transport-wide feedback is about
    /// (draft-holmer-rmcat-transport-wide-cc-extensions §2).
    TransportSequence,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`
    AudioLevel,
    /// `urn:3gpp:video-orientation`
    VideoOrientation,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    PlayoutDelay,
    /// [`super::DEPENDENCY_DESCRIPTOR`]
    Descriptor,
}
