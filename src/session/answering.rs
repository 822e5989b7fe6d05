//! One offer's answer, written by an `Rtc` of str0m's that is gone soon after: what it would keep
//! of a session is forty times what the session needs.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::Mid;
use str0m::net::TcpType;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc};

use super::OfferError;
use super::descriptors::Descriptors;
use super::renegotiate::ViewerSection;

/// Our side of a session's ICE: what its answer says of where it is found.
pub struct LocalIce<'a> {
    /// The name and password of its checks.
    pub credentials: IceCreds,
    /// The addresses it can be reached at, in the order clients should try them.
    pub candidates: &'a [SocketAddr],
    /// The same over TCP: what is left where UDP does not get through.
    pub tcp_candidates: &'a [SocketAddr],
}

/// What a session is answered: the same for each of its offers.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub params: Arc<[PayloadParams]>,
    pub publishes: bool,
    /// Whether a viewer may get descriptors.
    pub descriptors: bool,
}

impl Terms {
    fn extensions(&self) -> ExtensionMap {
        let mut map = ExtensionMap::empty();
        for (id, extension) in [
            (1, Extension::AudioLevel),
            (3, Extension::TransportSequenceNumber),
            (4, Extension::RtpMid),
            (5, Extension::PlayoutDelay),
            (13, Extension::VideoOrientation),
        ] {
            map.set(id, extension);
        }
        if self.publishes {
            for (id, extension) in [
                (2, Extension::AbsoluteSendTime),
                (10, Extension::RtpStreamId),
                (11, Extension::RepairedRtpStreamId),
            ] {
                map.set(id, extension);
            }
        }
        if self.publishes || self.descriptors {
            map.set(12, Descriptors::extension());
        }
        map
    }
}

/// What makes an answer, whoever's it is.
pub(super) struct Answering<'a> {
    pub crypto: &'a Arc<CryptoProvider>,
    pub certificate: &'a DtlsCert,
    pub local: LocalIce<'a>,
    pub terms: &'a Terms,
}

impl Answering<'_> {
    /// The `Rtc` that has answered an offer, and its answer. Should str0m panic over some far
    /// corner of SDP, that is this offer's failure and nobody else's.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] for what only str0m finds wrong.
    pub fn answer(&self, now: Instant, offer: SdpOffer) -> Result<(Rtc, String), OfferError> {
        contained(|| {
            let mut rtc = self.build(now)?;
            let answer =
                rtc.sdp_api().accept_offer(offer).map_err(|e| OfferError::malformed(&e))?;
            Ok((rtc, answer.to_sdp_string()))
        })
    }

    /// As [`Answering::answer`], where some sections are `known` from an earlier offer and go on
    /// under their SSRCs.
    ///
    /// # Errors
    /// Likewise.
    pub fn answer_again(
        &self,
        now: Instant,
        offer: &str,
        known: &[ViewerSection],
    ) -> Result<(Rtc, String), OfferError> {
        let malformed = |error: &dyn std::fmt::Display| OfferError::malformed(error);
        let parse = || SdpOffer::from_sdp_string(offer).map_err(|error| malformed(&error));
        let (mut rtc, _) = self.answer(now, parse()?)?;
        contained(|| {
            // It has made up others for what was taken in as new, and keeps those it has.
            for section in known {
                let ViewerSection { mid, ssrc, rtx_ssrc } = *section;
                let mut direct = rtc.direct_api();
                let made_up = direct.stream_tx_by_mid(mid, None).map(|stream| stream.ssrc());
                if let Some(made_up) = made_up {
                    direct.remove_stream_tx(made_up);
                    direct.declare_stream_tx(ssrc, rtx_ssrc, mid, None);
                }
            }
            let answer = rtc.sdp_api().accept_offer(parse()?).map_err(|error| malformed(&error))?;
            Ok((rtc, answer.to_sdp_string()))
        })
    }

    fn build(&self, now: Instant) -> Result<Rtc, OfferError> {
        let malformed = |error: &dyn std::fmt::Display| OfferError::malformed(error);
        let mut config = Rtc::builder()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_local_ice_credentials(self.local.credentials.clone())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_extension_map(self.terms.extensions());
        *config.codec_config() = CodecConfig::new_from_payload_params(self.terms.params.to_vec());
        let mut rtc = config.build(now);
        for address in self.local.candidates {
            let candidate = Candidate::host(*address, "udp").map_err(|error| malformed(&error))?;
            rtc.add_local_candidate(candidate);
        }
        // Behind every UDP one, in order and in priority (RFC 6544 §4.2): ffmpeg takes the first
        // line there is.
        for address in self.local.tcp_candidates {
            let candidate = Candidate::builder().tcp().host(*address);
            let candidate = candidate.tcptype(TcpType::Passive).build();
            rtc.add_local_candidate(candidate.map_err(|error| malformed(&error))?);
        }
        Ok(rtc)
    }
}

fn contained<T>(work: impl FnOnce() -> Result<T, OfferError>) -> Result<T, OfferError> {
    let panicked = |_panic| Err(OfferError::malformed(&"str0m could not make sense of it"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// A section that would be answered and get nothing.
pub(super) fn unserved(mid: Mid) -> OfferError {
    let reason = "none of its payload types is left after negotiation".into();
    OfferError::Unserved { mid: mid.to_string(), reason }
}
