//! What answers by template have in common, whichever way the media goes.

use std::sync::Arc;
use std::time::Instant;

use str0m::IceCreds;
use str0m::rtp::Ssrc;

use super::answering::LocalIce;
use super::certificate::Fingerprints;
use super::ice::Ice;
use super::negotiate::{Accepted, Negotiated, Negotiator};
use super::publisher::offered_sources;
use super::renegotiate::ViewerSection;
use super::sdp::Offered;
use super::template::{Asked, Holes, Published, Template, put_together, ssrcs, take_apart};
use super::{Offer, OfferError, Publisher};
use crate::id::StreamKey;
use crate::media::PublisherTerms;

/// How far an offer was read.
#[derive(Debug)]
pub(super) enum Read {
    /// One like it was answered before, so it is good.
    ByLine(Offered),
    Whole(Box<Offer>),
}

impl Read {
    pub fn offered(&self) -> &Offered {
        match self {
            Read::ByLine(offered) => offered,
            Read::Whole(offer) => &offer.offered,
        }
    }

    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn whole(self) -> Result<Offer, OfferError> {
        match self {
            Read::Whole(offer) => Ok(*offer),
            Read::ByLine(offered) => Offer::of_single_sections(offered),
        }
    }
}

impl Negotiator {
    /// First offers that were answered by template, and at length.
    #[must_use]
    pub fn answers(&self) -> (u64, u64) {
        self.templates.counts()
    }

    /// Bytes of memory that templates take.
    #[must_use]
    pub fn template_bytes(&self) -> usize {
        self.templates.bytes()
    }

    /// Keeps a template: its session has connected, so it is good.
    pub fn keep(&self, template: Template) {
        self.templates.keep(template);
    }

    /// The answer to an offer that asks what the one of `template` did. A publisher's media will be
    /// of `stream`. `None` where the offer lacks something after all.
    pub(super) fn fill(
        &self,
        now: Instant,
        template: &Template,
        offered: &Offered,
        local: &LocalIce<'_>,
        stream: Option<StreamKey>,
    ) -> Option<Negotiated> {
        let fingerprints = Fingerprints::of_offer(offered.session()).ok()?;
        let of_session = |name: &str| offered.session().find_map(|line| line.strip_prefix(name));
        let (ufrag, pass) = (of_session("ice-ufrag:")?.into(), of_session("ice-pwd:")?.into());
        let fresh = draw(ssrcs(&template.sections).len())?;
        let holes = Holes {
            ufrag: &local.credentials.ufrag,
            password: &local.credentials.pass,
            session_id: u64::from_be_bytes(random()?) >> 1,
            ssrcs: &fresh,
        };
        let answer = put_together(&template.answer, &holes);
        let mut fresh = fresh.iter().copied();
        let (mut sections, mut takes) = (template.sections.clone(), template.takes.clone());
        for ViewerSection { ssrc, rtx_ssrc, .. } in &mut sections {
            *ssrc = Ssrc::from(fresh.next()?);
            if let Some(rtx_ssrc) = rtx_ssrc {
                *rtx_ssrc = Ssrc::from(fresh.next()?);
            }
        }
        for (track, section) in takes.tracks.iter_mut().zip(&sections) {
            track.ssrc = *section.ssrc;
            track.rtx_ssrc = track.rtx_ssrc.and(section.rtx_ssrc.map(|rtx| *rtx));
        }
        let (mut publisher, mut payloads) = (None, Arc::default());
        if let Some(Published { terms, payloads: known }) = &template.publishes {
            let sources = offered_sources(&terms.tracks, &offered.named_sources());
            let terms = PublisherTerms { sources, ..terms.clone() };
            publisher = Some(Box::new(Publisher { stream: stream?, terms }));
            payloads = known.clone();
        }
        let accepted = Accepted {
            answer,
            ice: Ice::new(local.credentials.clone(), Some(IceCreds { ufrag, pass })),
            fingerprints,
            is_dtls_client: template.is_dtls_client,
            terms: template.terms.clone(),
            mids: template.mids.clone(),
            publisher,
            takes,
            sections,
        };
        Some(self.finish(now, accepted, template.taken, payloads))
    }
}

/// What the next answer to such an offer has of this one.
pub(super) fn template_of(negotiated: &Negotiated, asked: Asked) -> Option<Template> {
    let Negotiated { session, negotiation, codecs, payloads, answer, .. } = negotiated;
    let publishes = session.publishes.as_ref().map(|publisher| {
        // Its sources are its own.
        let terms = PublisherTerms { sources: Vec::new(), ..publisher.terms.clone() };
        Published { terms, payloads: payloads.clone() }
    });
    let ssrcs = ssrcs(&negotiation.sections);
    let holes = Holes {
        ufrag: &negotiation.local.ufrag,
        password: &negotiation.local.pass,
        session_id: 0,
        ssrcs: &ssrcs,
    };
    Some(Template {
        asked,
        answer: take_apart(answer, &holes)?,
        takes: session.takes.clone(),
        sections: negotiation.sections.clone(),
        terms: negotiation.terms.clone(),
        mids: negotiation.mids.clone(),
        is_dtls_client: negotiation.is_dtls_client,
        taken: *codecs,
        publishes,
    })
}

/// SSRCs, no two the same (RFC 3550 §8.1). `None` where the operating system has no randomness.
fn draw(count: usize) -> Option<Vec<u32>> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let ssrc = u32::from_be_bytes(random()?);
        if ssrc != 0 && !drawn.contains(&ssrc) {
            drawn.push(ssrc);
        }
    }
    Some(drawn)
}

fn random<const BYTES: usize>() -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
