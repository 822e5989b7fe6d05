//! A session's later offer: more tracks, or other directions, on the connection there is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use str0m::change::SdpOffer;
use str0m::media::{Direction, Mid};

use super::negotiate::viewer_track;
use super::publisher::forget_sources;
use super::{Offer, OfferError, Session};
use crate::media::ViewerTerms;

/// What came of a later offer.
#[derive(Clone, Debug)]
pub struct Renegotiated {
    /// The SDP answer.
    pub answer: String,
    /// The tracks of the sections that are new, in their order: what a subscription can give the
    /// peer from now on.
    pub added: ViewerTerms,
}

impl Session {
    /// Answers a later offer. The tracks it has go on under their SSRCs, and the session under its
    /// ICE credentials.
    ///
    /// # Errors
    /// [`OfferError::Unserved`] for a further track of a publisher; [`OfferError::Malformed`] for
    /// an ICE restart, and for what only str0m finds wrong. The session goes on as it was, but for
    /// what str0m may have taken in of it.
    pub fn renegotiate(&mut self, offer: Offer) -> Result<Renegotiated, OfferError> {
        let malformed = OfferError::malformed;
        let mids: Vec<Mid> = offer
            .sdp
            .media_lines
            .iter()
            .filter(|line| line.typ.is_media() && !line.disabled)
            .map(|line| line.mid())
            .collect();
        // What it would take is another matter.
        let is_new = |mid: &Mid| self.rtc.media(*mid).is_none();
        let mut sent = offer.sdp.media_lines.iter().filter(|line| {
            line.typ.is_media() && !line.disabled && line.direction() != Direction::RecvOnly
        });
        if self.publishes.is_some()
            && let Some(new) = sent.find(|line| is_new(&line.mid())).map(|line| line.mid())
        {
            let reason = "a publisher's tracks are those of its first offer; POST again with all";
            return Err(OfferError::Unserved { mid: new.to_string(), reason: reason.into() });
        }
        if self.ice.is_restart(&offer.ice()) {
            // The answer would need other credentials, too, and control to know them (RFC 8839
            // §4.4.1.1.1): `Session::restart_ice`.
            let words = "a later offer keeps its ICE credentials; PATCH the session to restart ICE";
            return Err(OfferError::Malformed(words.into()));
        }
        let named = offer.named_sources();
        let Offer { offered, sdp: mut served, .. } = offer;
        let known = |mid: &str| self.rtc.media(mid.into()).is_some();
        if offered.sections.iter().any(|section| section.refused && known(&section.mid)) {
            // What the peer has stopped since: str0m has to hear of it, and answers it.
            served = SdpOffer::from_sdp_string(&offered.text(known)).map_err(|e| malformed(&e))?;
        }
        let (rtc, known) = (&mut self.rtc, &self.sections);
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let mut direct = rtc.direct_api();
            // str0m has forgotten the tracks' senders, since media leaves by lanes, and would make
            // new ones with other SSRCs.
            for section in known {
                direct.declare_stream_tx(section.ssrc, section.rtx_ssrc, section.mid, None);
            }
            let answer = rtc.sdp_api().accept_offer(served).map_err(|e| malformed(&e));
            let mut direct = rtc.direct_api();
            for section in known {
                direct.remove_stream_tx(section.ssrc);
            }
            Ok(answer?.to_sdp_string())
        }));
        let failed = |_panic| Err(malformed(&"str0m could not make sense of it"));
        let answer = answered.unwrap_or_else(failed)?;
        forget_sources(&mut self.rtc, &named);
        let answer = offered.answer(&answer, false);
        let mut added = ViewerTerms::default();
        for mid in mids {
            // What the peer publishes is none of its lanes.
            let is_sent = self.rtc.media(mid).is_some_and(|media| media.direction().is_sending());
            if !is_sent || self.sections.iter().any(|section| section.mid == mid) {
                continue;
            }
            if let Some((track, section)) = viewer_track(&mut self.rtc, mid, &added.tracks) {
                added.tracks.push(track);
                self.sections.push(section);
            }
        }
        Ok(Renegotiated { answer, added })
    }
}
