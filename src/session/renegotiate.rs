//! A session's later offer: more tracks, or other directions, on the connection there is.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::IceCreds;
use str0m::media::{Direction, Mid};
use str0m::rtp::Ssrc;

use super::answering::{Answering, LocalIce, Terms};
use super::negotiate::viewer_track;
use super::{Negotiator, Offer, OfferError};
use crate::media::ViewerTerms;

/// What is remembered of a session's offers and answers: how the next one is answered.
#[derive(Debug)]
pub struct Negotiation {
    pub(super) terms: Terms,
    /// The sections that were answered.
    pub(super) mids: Vec<Mid>,
    /// Of those, the ones that lanes send by.
    pub(super) sections: Vec<ViewerSection>,
    pub(super) local: IceCreds,
    pub(super) remote: Option<IceCreds>,
    pub(super) is_dtls_client: bool,
}

/// A section whose media leaves by a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViewerSection {
    pub mid: Mid,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Option<Ssrc>,
}

/// What came of a later offer.
#[derive(Clone, Debug)]
pub struct Renegotiated {
    /// The SDP answer.
    pub answer: String,
    /// The tracks of the sections that are new, in their order: what a subscription can give the
    /// peer from now on.
    pub added: ViewerTerms,
}

impl Negotiation {
    /// ICE was restarted: these are the credentials of both ends from now on.
    pub fn restarted(&mut self, local: IceCreds, remote: IceCreds) {
        (self.local, self.remote) = (local, Some(remote));
    }

    /// Refuses what a later offer may not ask for.
    fn check(&self, offer: &Offer) -> Result<(), OfferError> {
        let is_new = |mid: &Mid| !self.mids.contains(mid);
        let sent = offer.sdp.media_lines.iter().filter(|line| {
            line.typ.is_media() && !line.disabled && line.direction() != Direction::RecvOnly
        });
        let mut new = sent.map(|line| line.mid()).filter(is_new);
        // What it would take is another matter.
        if self.terms.publishes
            && let Some(new) = new.next()
        {
            let reason = "a publisher's tracks are those of its first offer; POST again with all";
            return Err(OfferError::Unserved { mid: new.to_string(), reason: reason.into() });
        }
        let remote = offer.ice();
        if remote.is_some() && remote != self.remote {
            // The answer would need other credentials, too, and the shard to know them (RFC 8839
            // §4.4.1.1.1): `Session::restart_ice`.
            let words = "a later offer keeps its ICE credentials; PATCH the session to restart ICE";
            return Err(OfferError::Malformed(words.into()));
        }
        Ok(())
    }
}

impl Negotiator {
    /// Answers a later offer of a session that is found at `candidates` and over TCP at
    /// `tcp_candidates`. The tracks it has go on under their SSRCs, and the session under its ICE
    /// credentials.
    ///
    /// # Errors
    /// [`OfferError::Unserved`] for a further track of a publisher; [`OfferError::Malformed`] for
    /// an ICE restart, and for what only str0m finds wrong. The session goes on as it was.
    pub fn renegotiate(
        &self,
        now: Instant,
        negotiation: &mut Negotiation,
        offer: Offer,
        candidates: &[SocketAddr],
        tcp_candidates: &[SocketAddr],
    ) -> Result<Renegotiated, OfferError> {
        negotiation.check(&offer)?;
        let media = offer.sdp.media_lines.iter().filter(|line| line.typ.is_media());
        let mids: Vec<Mid> = media.filter(|line| !line.disabled).map(|line| line.mid()).collect();
        let mut offered = offer.offered;
        let redundancies = offered.redundancies();
        // Who began DTLS is settled (RFC 8842 §5.5).
        offered.set_role(if negotiation.is_dtls_client { "passive" } else { "active" });
        let local = LocalIce { credentials: negotiation.local.clone(), candidates, tcp_candidates };
        let (crypto, certificate) = self.crypto();
        let terms = &negotiation.terms;
        let answering = Answering { crypto, certificate, local, terms };
        let known = &negotiation.sections;
        let (mut rtc, answer) = answering.answer_again(now, &offered.text(), known)?;
        let answer = offered.answer(&answer, false);
        let mut added = ViewerTerms::default();
        let mut sections = Vec::new();
        for mid in &mids {
            // What the peer publishes is none of its lanes.
            let is_sent = rtc.media(*mid).is_some_and(|media| media.direction().is_sending());
            if !is_sent || known.iter().any(|section| section.mid == *mid) {
                continue;
            }
            if let Some((track, section)) =
                viewer_track(&mut rtc, *mid, &added.tracks, &redundancies)
            {
                added.tracks.push(track);
                sections.push(section);
            }
        }
        negotiation.sections.extend(sections);
        for mid in mids {
            if !negotiation.mids.contains(&mid) {
                negotiation.mids.push(mid);
            }
        }
        Ok(Renegotiated { answer, added })
    }
}
