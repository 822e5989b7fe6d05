//! What a viewer was promised in the answer to its offer.

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
}
