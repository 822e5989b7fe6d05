//! From an offer to an answer and a session, on a control thread.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::{CodecConfig, CodecSpec, PayloadParams};
use str0m::media::Mid;
use str0m::net::TcpType;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::codecs::CodecMatch;
use super::descriptors::Descriptors;
use super::ice::Ice;
use super::{Offer, OfferError, Publisher, Session, StreamCodecs, ViewerSection, dtls};
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::media::{ExtensionIds, ViewerTerms, ViewerTrack};

/// Makes sessions: holds what all of them share.
pub struct Negotiator {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
    say_lite: bool,
    codec_match: CodecMatch,
}

/// Our side of a session's ICE: what its answer says of where it is found.
pub struct LocalIce<'a> {
    /// The name and password of its checks.
    pub credentials: IceCreds,
    /// The addresses it can be reached at, in the order clients should try them.
    pub candidates: &'a [SocketAddr],
    /// The same over TCP: what is left where UDP does not get through.
    pub tcp_candidates: &'a [SocketAddr],
}

/// A session ready to move to its shard, and the answer for its peer.
pub struct Negotiated {
    /// The session.
    pub session: Session,
    /// What it sends, as far as that is known before its media comes, or takes.
    pub codecs: StreamCodecs,
    /// The payload types a publisher was answered, and what they stand for.
    pub payloads: Vec<(u8, CodecSpec)>,
    /// The SDP answer.
    pub answer: String,
}

impl Negotiator {
    /// Generates the server's DTLS certificate. `say_lite` keeps the `a=ice-lite` line (see
    /// `sdp/answered.rs` for what it costs); `codec_match` says which viewers fit a stream.
    ///
    /// # Panics
    /// When the crypto library cannot make a certificate: nothing would work then.
    #[must_use]
    pub fn new(say_lite: bool, codec_match: CodecMatch) -> Negotiator {
        let crypto = dtls::crypto();
        let certificate = crypto.dtls_provider.generate_certificate();
        let certificate = certificate.expect("the crypto library makes ECDSA certificates");
        Negotiator { crypto, certificate, say_lite, codec_match }
    }

    /// Answers a publisher with all codecs that are passed through, `codecs` first. `local` says
    /// where the session will be found; its clock begins at `now`.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] for what only str0m finds wrong.
    pub fn publisher(
        &self,
        now: Instant,
        offer: Offer,
        local: LocalIce<'_>,
        codecs: StreamCodecs,
        stream: StreamKey,
    ) -> Result<Negotiated, OfferError> {
        let mut params: Vec<PayloadParams> = Vec::new();
        for section in &offer.sections {
            params.extend(offer.answered(section, &codecs)?);
        }
        let extensions = extension_map(&[
            (1, Extension::AudioLevel),
            (2, Extension::AbsoluteSendTime),
            (3, Extension::TransportSequenceNumber),
            (4, Extension::RtpMid),
            (5, Extension::PlayoutDelay),
            (10, Extension::RtpStreamId),
            (11, Extension::RepairedRtpStreamId),
            (12, Descriptors::extension()),
            (13, Extension::VideoOrientation),
        ]);
        let ice = Ice::new(&local, offer.ice());
        let named = offer.named_sources();
        let (mut rtc, answer, mids) = self.accept(now, offer, local, params, extensions)?;
        let publisher = Publisher::new(stream, &mut rtc, &mids, &named);
        let payloads = rtc.codec_config().params().iter().map(|p| (*p.pt(), p.spec())).collect();
        let publisher = Some(Box::new(publisher));
        let terms = ViewerTerms::default();
        let negotiated = self.finish(now, (rtc, ice), publisher, terms, codecs, answer);
        Ok(Negotiated { payloads, ..negotiated })
    }

    /// Answers a viewer of a stream that carries `codecs`; see [`Negotiator::publisher`].
    ///
    /// # Errors
    /// [`OfferError::NoCommonCodec`] when the viewer does not take the stream's codec;
    /// [`OfferError::Malformed`] for what only str0m finds wrong.
    pub fn viewer(
        &self,
        now: Instant,
        offer: Offer,
        local: LocalIce<'_>,
        codecs: StreamCodecs,
    ) -> Result<Negotiated, OfferError> {
        let mut params = Vec::new();
        let mut taken = StreamCodecs::default();
        for section in &offer.sections {
            let chosen = offer.taken(section, &codecs, self.codec_match)?;
            let wanted = if section.audio { codecs.audio } else { codecs.video };
            let taken = if section.audio { &mut taken.audio } else { &mut taken.video };
            *taken = wanted.or(Some(chosen.spec()));
            params.push(chosen);
        }
        let mut extensions = extension_map(&[
            (1, Extension::AudioLevel),
            (4, Extension::RtpMid),
            (5, Extension::PlayoutDelay),
            (13, Extension::VideoOrientation),
        ]);
        // The first one of a key frame is too long for the one-byte form, and without it the others
        // say nothing.
        if offer.mixes_extension_forms {
            extensions.set(12, Descriptors::extension());
        }
        let ice = Ice::new(&local, offer.ice());
        let (mut rtc, answer, mids) = self.accept(now, offer, local, params, extensions)?;
        let mut takes = ViewerTerms::default();
        let mut sections = Vec::new();
        for mid in mids {
            // What is not said to be served is refused as a whole.
            let served = viewer_track(&mut rtc, mid, &takes.tracks);
            let (track, section) = served.ok_or_else(|| unserved(mid))?;
            takes.tracks.push(track);
            sections.push(section);
        }
        let mut negotiated = self.finish(now, (rtc, ice), None, takes, taken, answer);
        negotiated.session.sections = sections;
        Ok(negotiated)
    }

    fn finish(
        &self,
        now: Instant,
        (rtc, ice): (Rtc, Ice),
        publishes: Option<Box<Publisher>>,
        takes: ViewerTerms,
        codecs: StreamCodecs,
        answer: String,
    ) -> Negotiated {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let answered = (now, since.as_millis() as u64);
        let session = Session::new(rtc, ice, publishes, takes, answered);
        Negotiated { session, codecs, payloads: Vec::new(), answer }
    }

    /// Builds the `Rtc` and lets it answer. Should str0m panic over some far corner of SDP, that is
    /// this offer's failure and nobody else's.
    fn accept(
        &self,
        now: Instant,
        offer: Offer,
        local: LocalIce<'_>,
        params: Vec<PayloadParams>,
        extensions: ExtensionMap,
    ) -> Result<(Rtc, String, Vec<Mid>), OfferError> {
        let malformed = OfferError::malformed;
        let Offer { offered, sdp, fingerprint, .. } = offer;
        let mids: Vec<Mid> = sdp
            .media_lines
            .iter()
            .filter(|line| line.typ.is_media())
            .map(|line| line.mid())
            .collect();
        catch_unwind(AssertUnwindSafe(|| {
            let mut config = Rtc::builder()
                .set_crypto_provider(self.crypto.clone())
                .set_dtls_cert(self.certificate.clone())
                .set_local_ice_credentials(local.credentials)
                .set_ice_lite(true)
                .set_rtp_mode(true)
                .set_fingerprint_verification(fingerprint.is_none())
                .set_extension_map(extensions);
            set_codecs(&mut config, params);
            let mut rtc = dtls::expecting(fingerprint, || config.build(now));
            for address in local.candidates {
                let candidate = Candidate::host(*address, "udp").map_err(|e| malformed(&e))?;
                rtc.add_local_candidate(candidate);
            }
            // Behind every UDP one, in order and in priority (RFC 6544 §4.2): ffmpeg takes the
            // first line there is.
            for address in local.tcp_candidates {
                let candidate = Candidate::builder().tcp().host(*address);
                let candidate = candidate.tcptype(TcpType::Passive).build();
                rtc.add_local_candidate(candidate.map_err(|e| malformed(&e))?);
            }
            let answer = rtc.sdp_api().accept_offer(sdp).map_err(|e| malformed(&e))?;
            let is_served = |mid: &Mid| rtc.media(*mid).is_some_and(|m| !m.remote_pts().is_empty());
            if let Some(mid) = mids.iter().find(|mid| !is_served(mid)) {
                return Err(unserved(*mid));
            }
            let answer = offered.answer(&answer.to_sdp_string(), self.say_lite);
            Ok((rtc, answer, mids))
        }))
        .unwrap_or_else(|_panic| Err(malformed(&"str0m could not make sense of it")))
    }
}

fn set_codecs(config: &mut RtcConfig, params: Vec<PayloadParams>) {
    *config.codec_config() = CodecConfig::new_from_payload_params(params);
}

fn extension_map(extensions: &[(u8, Extension)]) -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    for (id, extension) in extensions {
        map.set(*id, extension.clone());
    }
    map
}

/// A section that would be answered and get nothing.
fn unserved(mid: Mid) -> OfferError {
    let reason = "none of its payload types is left after negotiation".into();
    OfferError::Unserved { mid: mid.to_string(), reason }
}

/// Reads what the viewer's track was promised, and takes the track's sender out of str0m: media and
/// its reports leave by the egress lane. It takes the stream's first track of its kind that none of
/// `others` takes.
pub(super) fn viewer_track(
    rtc: &mut Rtc,
    mid: Mid,
    others: &[ViewerTrack],
) -> Option<(ViewerTrack, ViewerSection)> {
    let media = rtc.media(mid)?;
    let kind = if media.kind().is_audio() { TrackKind::Audio } else { TrackKind::Video };
    let map = media.remote_extmap();
    let extensions = ExtensionIds {
        mid: map.id_of(Extension::RtpMid),
        audio_level: map.id_of(Extension::AudioLevel),
        video_orientation: map.id_of(Extension::VideoOrientation),
        playout_delay: map.id_of(Extension::PlayoutDelay),
        descriptor: map.id_of(Descriptors::extension()),
    };
    let accepted = media.remote_pts().to_vec();
    let params = rtc.codec_config().params().iter().find(|p| accepted.contains(&p.pt()))?;
    let (payload_type, rtx_payload_type) = (*params.pt(), params.resend().map(|pt| *pt));
    let codec = params.spec().codec;
    let number = others.iter().filter(|other| other.id.kind == kind).count();
    let mut direct = rtc.direct_api();
    let sender = direct.stream_tx_by_mid(mid, None)?;
    let (ssrc, sender_rtx) = (sender.ssrc(), sender.rtx());
    let rtx_ssrc = sender_rtx.map(|ssrc| *ssrc);
    direct.remove_stream_tx(ssrc);
    let section = ViewerSection { mid, ssrc, rtx_ssrc: sender_rtx };
    let track = ViewerTrack {
        id: TrackId { kind, number: u8::try_from(number).ok()? },
        codec,
        mid: mid.to_string(),
        ssrc: *ssrc,
        rtx_ssrc: rtx_ssrc.filter(|_| rtx_payload_type.is_some()),
        payload_type,
        rtx_payload_type,
        extensions,
    };
    Some((track, section))
}
