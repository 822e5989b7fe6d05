//! From an offer to an answer and a session, on a control thread.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use str0m::Rtc;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::{CodecSpec, PayloadParams};
use str0m::media::Mid;
use str0m::rtp::Extension;

use super::alike::Alike;
use super::answering::{Answering, LocalIce, Terms, unserved};
use super::certificate::Fingerprints;
use super::codecs::CodecMatch;
use super::descriptors::Descriptors;
use super::handshake::Handshake;
use super::ice::Ice;
use super::renegotiate::{Negotiation, ViewerSection};
use super::sdp::{Redundancies, redundant};
use super::template::{Template, Templates};
use super::{Offer, OfferError, Publisher, Session, StreamCodecs, dtls, sdp};
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::media::{ExtensionIds, ViewerTerms, ViewerTrack};

/// Makes sessions: holds what all of them share.
pub struct Negotiator {
    crypto: Arc<CryptoProvider>,
    certificate: Arc<DtlsCert>,
    say_lite: bool,
    codec_match: CodecMatch,
    pub(super) templates: Templates,
    params: Alike<PayloadParams>,
    payloads: Alike<(u8, CodecSpec)>,
}

/// A session ready to move to its shard, and the answer for its peer.
pub struct Negotiated {
    /// The session.
    pub session: Session,
    /// How its later offers are answered.
    pub negotiation: Negotiation,
    /// What it sends, as far as that is known before its media comes, or takes.
    pub codecs: StreamCodecs,
    /// The payload types a publisher was answered, and what they stand for.
    pub payloads: Arc<[(u8, CodecSpec)]>,
    /// The SDP answer.
    pub answer: String,
    /// What the next answer to such an offer has of this one, for [`Negotiator::keep`] once the
    /// session has connected; where it had nothing of an earlier one.
    pub template: Option<Box<Template>>,
}

impl Negotiator {
    /// Generates the server's DTLS certificate. `say_lite` keeps the `a=ice-lite` line (see
    /// `sdp/answered.rs` for what it costs); `codec_match` says which viewers fit a stream.
    ///
    /// # Panics
    /// When the crypto library cannot make a certificate: nothing would work then.
    #[must_use]
    pub fn new(say_lite: bool, codec_match: CodecMatch) -> Negotiator {
        let certificate = dtls::new_certificate();
        let certificate = certificate.expect("the crypto library makes ECDSA certificates").into();
        let templates = Templates::new();
        let (params, payloads) = (Alike::new(), Alike::new());
        let crypto = dtls::crypto();
        Negotiator { crypto, certificate, say_lite, codec_match, templates, params, payloads }
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
        let params = self.params.of(params);
        let terms = Terms { params, publishes: true, descriptors: true };
        let named = offer.offered.named_sources();
        let redundancies = offer.offered.redundancies();
        let (rtc, mut accepted) = self.accept(now, offer, local, terms)?;
        let publisher = Publisher::new(stream, &rtc, &accepted.mids, &named, &redundancies);
        let params = rtc.codec_config().params().iter();
        let payloads = self.payloads.of(params.map(|p| (*p.pt(), p.spec())).collect());
        accepted.publisher = Some(Box::new(publisher));
        Ok(self.finish(now, accepted, codecs, payloads))
    }

    /// Answers a viewer of a stream that carries `codecs`, without a template; see
    /// [`Negotiator::publisher`] and [`Negotiator::watch`].
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
        // The first descriptor of a key frame is too long for the one-byte form, and without it the
        // others say nothing.
        let descriptors = offer.mixes_extension_forms;
        let params = self.params.of(params);
        let terms = Terms { params, publishes: false, descriptors };
        let redundancies = offer.offered.redundancies();
        let (mut rtc, mut accepted) = self.accept(now, offer, local, terms)?;
        for mid in &accepted.mids {
            // What is not said to be served is refused as a whole.
            let served = viewer_track(&mut rtc, *mid, &accepted.takes.tracks, &redundancies);
            let (track, section) = served.ok_or_else(|| unserved(*mid))?;
            accepted.takes.tracks.push(track);
            accepted.sections.push(section);
        }
        Ok(self.finish(now, accepted, taken, Arc::default()))
    }

    /// What all answers have in common.
    pub(super) fn crypto(&self) -> (&Arc<CryptoProvider>, &DtlsCert) {
        (&self.crypto, &self.certificate)
    }

    fn accept(
        &self,
        now: Instant,
        offer: Offer,
        local: LocalIce<'_>,
        terms: Terms,
    ) -> Result<(Rtc, Accepted), OfferError> {
        let ice = Ice::new(local.credentials.clone(), offer.ice());
        let Offer { offered, sdp, fingerprints, .. } = offer;
        let media = sdp.media_lines.iter().filter(|line| line.typ.is_media());
        let mids: Vec<Mid> = media.map(|line| line.mid()).collect();
        let (crypto, certificate) = self.crypto();
        let answering = Answering { crypto, certificate, local, terms: &terms };
        let (rtc, answer) = answering.answer(now, sdp)?;
        let is_served = |mid: &Mid| rtc.media(*mid).is_some_and(|m| !m.remote_pts().is_empty());
        if let Some(mid) = mids.iter().find(|mid| !is_served(mid)) {
            return Err(unserved(*mid));
        }
        let answer = offered.answer(&answer, self.say_lite);
        let accepted = Accepted {
            is_dtls_client: sdp::is_dtls_client(&answer),
            answer,
            ice,
            fingerprints,
            terms,
            mids,
            publisher: None,
            takes: ViewerTerms::default(),
            sections: Vec::new(),
        };
        Ok((rtc, accepted))
    }

    /// What is left of an answer once its `Rtc` is gone.
    pub(super) fn finish(
        &self,
        now: Instant,
        accepted: Accepted,
        codecs: StreamCodecs,
        payloads: Arc<[(u8, CodecSpec)]>,
    ) -> Negotiated {
        let Accepted { ice, fingerprints, answer, publisher, takes, terms, mids, .. } = accepted;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (local, remote) = (ice.local.clone(), ice.remote.clone());
        let (sections, is_dtls_client) = (accepted.sections, accepted.is_dtls_client);
        let negotiation = Negotiation { terms, mids, sections, local, remote, is_dtls_client };
        let session = Session {
            ice,
            handshake: Handshake::new(self.certificate.clone(), fingerprints, is_dtls_client),
            publishes: publisher,
            takes,
            answered: now,
            answered_ms: since.as_millis() as u64,
            profile: None,
        };
        let template = None;
        Negotiated { session, negotiation, codecs, payloads, answer, template }
    }
}

/// An offer that was answered.
pub(super) struct Accepted {
    pub answer: String,
    pub ice: Ice,
    pub fingerprints: Fingerprints,
    pub is_dtls_client: bool,
    pub terms: Terms,
    pub mids: Vec<Mid>,
    pub publisher: Option<Box<Publisher>>,
    pub takes: ViewerTerms,
    pub sections: Vec<ViewerSection>,
}

/// Reads what the viewer's track was promised: media and its reports leave by an egress lane. It
/// takes the stream's first track of its kind that none of `others` takes.
pub(super) fn viewer_track(
    rtc: &mut Rtc,
    mid: Mid,
    others: &[ViewerTrack],
    redundancies: &Redundancies,
) -> Option<(ViewerTrack, ViewerSection)> {
    let media = rtc.media(mid)?;
    let kind = if media.kind().is_audio() { TrackKind::Audio } else { TrackKind::Video };
    let map = media.remote_extmap();
    let transport_sequence = map.id_of(Extension::TransportSequenceNumber);
    let extensions = ExtensionIds {
        mid: map.id_of(Extension::RtpMid),
        audio_level: map.id_of(Extension::AudioLevel),
        video_orientation: map.id_of(Extension::VideoOrientation),
        playout_delay: map.id_of(Extension::PlayoutDelay),
        descriptor: map.id_of(Descriptors::extension()),
        transport_sequence: None,
    };
    let accepted = media.remote_pts().to_vec();
    let params = rtc.codec_config().params().iter().find(|p| accepted.contains(&p.pt()))?;
    let (payload_type, rtx_payload_type) = (*params.pt(), params.resend().map(|pt| *pt));
    let (codec, has_feedback) = (params.spec().codec, params.fb_transport_cc());
    let number = others.iter().filter(|other| other.id.kind == kind).count();
    let mut direct = rtc.direct_api();
    let sender = direct.stream_tx_by_mid(mid, None)?;
    let (ssrc, sender_rtx) = (sender.ssrc(), sender.rtx());
    let rtx_ssrc = sender_rtx.map(|ssrc| *ssrc);
    // Without RTX a packet that is sent again is the same to the bit, and so is its number.
    let is_counted = kind == TrackKind::Video && rtx_ssrc.is_some() && has_feedback;
    let transport_sequence = transport_sequence.filter(|_| is_counted);
    let extensions = ExtensionIds { transport_sequence, ..extensions };
    let section = ViewerSection { mid, ssrc, rtx_ssrc: sender_rtx };
    let track = ViewerTrack {
        id: TrackId { kind, number: u8::try_from(number).ok()? },
        codec,
        mid: mid.to_string(),
        ssrc: *ssrc,
        rtx_ssrc: rtx_ssrc.filter(|_| rtx_payload_type.is_some()),
        payload_type,
        rtx_payload_type,
        red_payload_type: redundant(redundancies, &mid, payload_type),
        extensions,
    };
    Some((track, section))
}
