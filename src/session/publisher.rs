//! The publisher's side of a session: what it was answered.

use str0m::Rtc;
use str0m::format::PayloadParams;
use str0m::media::Mid;
use str0m::rtp::Extension;

use super::descriptors::Descriptors;
use super::sdp::{Redundancies, redundant};
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{MAX_SOURCES, MAX_TRACKS_OF_A_KIND};
use crate::media::{
    ExtensionKind, KeyframeRequest, OfferedSource, PublishedPayload, PublishedTrack, PublisherTerms,
};

/// What a publisher sends, and under which stream.
#[derive(Debug)]
pub struct Publisher {
    /// The stream it publishes.
    pub stream: StreamKey,
    /// How it sends.
    pub terms: PublisherTerms,
}

/// The id of a section, and the SSRCs that its offer names for it, each with the one it repairs.
pub(super) type NamedSources = (String, Vec<(u32, Option<u32>)>);

impl Publisher {
    /// The publisher whose offer `rtc` has answered, with the sections `mids` and the SSRCs that it
    /// has `named`; `redundancies` are those of its offer.
    pub(super) fn new(
        stream: StreamKey,
        rtc: &Rtc,
        mids: &[Mid],
        named: &[NamedSources],
        redundancies: &Redundancies,
    ) -> Publisher {
        let mut terms = PublisherTerms::default();
        for mid in mids {
            let Some(media) = rtc.media(*mid) else { continue };
            let audio = media.kind().is_audio();
            let kind = if audio { TrackKind::Audio } else { TrackKind::Video };
            let number = terms.tracks.iter().filter(|track| track.id.kind == kind).count();
            let params = rtc.codec_config().params().iter();
            let of_section = params.filter(|params| media.remote_pts().contains(&params.pt()));
            let answered = of_section.map(|params| PublishedPayload {
                red_payload_type: redundant(redundancies, mid, *params.pt()),
                ..published_payload(params)
            });
            let answered: Vec<PublishedPayload> = answered.collect();
            let Some(payload) = answered.first().copied() else { continue };
            if number >= MAX_TRACKS_OF_A_KIND {
                continue;
            }
            read_extensions(rtc, *mid, &mut terms.extensions);
            let id = TrackId { kind, number: number as u8 };
            terms.tracks.push(PublishedTrack { id, mid: mid.to_string(), payload, answered });
        }
        terms.sources = offered_sources(&terms.tracks, named);
        Publisher { stream, terms }
    }
}

/// The SSRCs that an offer names, by the tracks that they are of.
pub(super) fn offered_sources(
    tracks: &[PublishedTrack],
    named: &[NamedSources],
) -> Vec<OfferedSource> {
    let of_tracks = tracks.iter().enumerate().flat_map(|(number, track)| {
        let of_track = named.iter().filter(|(section, _)| *section == track.mid);
        of_track.flat_map(move |(_, sources)| sources.iter().map(move |source| (number, *source)))
    });
    let offered = of_tracks.map(|(track, (ssrc, repairs))| OfferedSource { ssrc, track, repairs });
    offered.take(MAX_SOURCES).collect()
}

fn published_payload(params: &PayloadParams) -> PublishedPayload {
    let heeds_fir_alone = params.fb_fir() && !params.fb_pli();
    PublishedPayload {
        codec: params.spec().codec,
        payload_type: *params.pt(),
        rtx_payload_type: params.resend().map(|pt| *pt),
        red_payload_type: None,
        nack: params.fb_nack(),
        keyframes: if heeds_fir_alone { KeyframeRequest::Fir } else { KeyframeRequest::Pli },
    }
}

/// Adds the ids of a section. Sections share a transport, and with it what an id means (RFC 8843
/// §9.1): the first one that says so counts.
fn read_extensions(rtc: &Rtc, mid: Mid, ids: &mut Vec<(u8, ExtensionKind)>) {
    let Some(media) = rtc.media(mid) else { return };
    let map = media.remote_extmap();
    let kinds = [
        (Extension::RtpMid, ExtensionKind::Mid),
        (Extension::RtpStreamId, ExtensionKind::Rid),
        (Extension::RepairedRtpStreamId, ExtensionKind::RepairedRid),
        (Extension::TransportSequenceNumber, ExtensionKind::TransportSequence),
        (Extension::AudioLevel, ExtensionKind::AudioLevel),
        (Extension::VideoOrientation, ExtensionKind::VideoOrientation),
        (Extension::PlayoutDelay, ExtensionKind::PlayoutDelay),
        (Descriptors::extension(), ExtensionKind::Descriptor),
    ];
    for (extension, kind) in kinds {
        let id = map.id_of(extension).filter(|id| ids.iter().all(|(known, _)| known != id));
        ids.extend(id.map(|id| (id, kind)));
    }
}
