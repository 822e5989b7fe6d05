//! A viewer's offer to its answer: by template where one like it was answered before, else the long
//! way.

use std::time::Instant;

use super::answering::LocalIce;
use super::filling::{Read, template_of};
use super::negotiate::{Negotiated, Negotiator};
use super::offer::Way;
use super::sdp::Offered;
use super::template::{Asked, Digest};
use super::{Offer, OfferError, StreamCodecs};
use crate::limits::MAX_OFFER_BYTES;

/// A viewer's offer, read as far as it must be.
#[derive(Debug)]
pub struct ViewerOffer {
    digest: Digest,
    read: Read,
}

impl ViewerOffer {
    fn offered(&self) -> &Offered {
        self.read.offered()
    }

    /// Whether it has a section for audio, or for video.
    #[must_use]
    pub fn has(&self, audio: bool) -> bool {
        self.offered().has(audio)
    }
}

impl Negotiator {
    /// Reads a viewer's offer.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn read_viewer(&self, text: &str) -> Result<ViewerOffer, OfferError> {
        if text.len() > MAX_OFFER_BYTES {
            return Err(OfferError::TooLong(text.len()));
        }
        let offered = Offered::read(text, Way::Watch)?;
        let digest = self.templates.digest(&offered);
        let read = match self.templates.know(digest) {
            true => Read::ByLine(offered),
            false => Read::Whole(Box::new(Offer::of_single_sections(offered)?)),
        };
        Ok(ViewerOffer { digest, read })
    }

    /// Answers a viewer of a stream that carries `codecs`; `local` says where the session will be
    /// found, and its clock begins at `now`.
    ///
    /// # Errors
    /// As [`Negotiator::viewer`].
    pub fn watch(
        &self,
        now: Instant,
        offer: ViewerOffer,
        local: LocalIce<'_>,
        codecs: StreamCodecs,
    ) -> Result<Negotiated, OfferError> {
        let digest = offer.digest;
        if let Some(template) = self.templates.find(digest, &local, &codecs)
            && let Some(negotiated) = self.fill(now, &template, offer.offered(), &local, None)
        {
            self.templates.count(true);
            return Ok(negotiated);
        }
        let asked = Asked {
            offer: digest,
            carried: codecs,
            candidates: local.candidates.into(),
            tcp_candidates: local.tcp_candidates.into(),
        };
        let offer = offer.read.whole()?;
        let mut negotiated = self.viewer(now, offer, local, codecs)?;
        self.templates.count(false);
        negotiated.template = template_of(&negotiated, asked).map(Box::new);
        Ok(negotiated)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use str0m::Rtc;
    use str0m::format::Codec;
    use str0m::media::{Direction, MediaKind};

    use str0m::IceCreds;

    use super::*;
    use crate::limits::MAX_TEMPLATES;
    use crate::session::CodecMatch;
    use crate::session::template::{Holes, Template, ssrcs, take_apart};

    /// What a client of one kind offers; `codecs` beside Opus and VP8 make another kind of it.
    fn offer(more: &[Codec]) -> String {
        let config = Rtc::builder().clear_codecs().enable_opus(true, false).enable_vp8(true);
        let config = config.enable_vp9(more.contains(&Codec::Vp9));
        let mut client = config.build(Instant::now());
        let mut changes = client.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let mut text = changes.apply().expect("something is offered").0.to_sdp_string();
        // str0m makes ids up; browsers count.
        let mids = text.lines().filter_map(|line| line.strip_prefix("a=mid:"));
        for (number, mid) in mids.map(str::to_owned).collect::<Vec<_>>().iter().enumerate() {
            text = text.replace(&format!("a=mid:{mid}\r"), &format!("a=mid:{number}\r"));
            text = text.replace(&format!(" {mid}"), &format!(" {number}"));
        }
        text
    }

    fn carried() -> StreamCodecs {
        let published = offer(&[]).replace("a=recvonly", "a=sendonly");
        let published = Offer::to_publish(&published).expect("an offer of str0m's");
        published.choose_codecs(StreamCodecs::default()).expect("both are supported")
    }

    const PORT: [SocketAddr; 1] =
        [SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7_882)];

    fn local(name: &str) -> LocalIce<'static> {
        let credentials = IceCreds { ufrag: name.into(), pass: format!("{name:p<24}") };
        LocalIce { credentials, candidates: &PORT, tcp_candidates: &PORT }
    }

    fn negotiator() -> Negotiator {
        Negotiator::new(false, CodecMatch::Lenient)
    }

    fn watch(negotiator: &Negotiator, offer: &str, name: &str, codecs: StreamCodecs) -> Negotiated {
        let offer = negotiator.read_viewer(offer).expect("it is an offer");
        negotiator.watch(Instant::now(), offer, local(name), codecs).expect("it is answered")
    }

    /// An answer without what is its session's own, and the SSRCs that were in it.
    fn common(negotiated: &Negotiated) -> (Vec<crate::session::template::Piece>, Vec<u32>) {
        let Negotiated { negotiation, answer, .. } = negotiated;
        let ssrcs = ssrcs(&negotiation.sections);
        let (ufrag, password) = (&*negotiation.local.ufrag, &*negotiation.local.pass);
        let holes = Holes { ufrag, password, session_id: 0, ssrcs: &ssrcs };
        (take_apart(answer, &holes).expect("its SSRCs are its own"), ssrcs)
    }

    #[test]
    fn the_next_offer_of_the_kind_is_answered_alike_but_for_its_own_names() {
        let (negotiator, codecs) = (negotiator(), carried());
        let first = watch(&negotiator, &offer(&[]), "first", codecs);
        let unproved = watch(&negotiator, &offer(&[]), "second", codecs);
        assert!(unproved.template.is_some(), "one that has not connected is no model");
        negotiator.keep(*first.template.clone().expect("it is the first of its kind"));

        let text = offer(&[]);
        let second = watch(&negotiator, &text, "second", codecs);
        assert!(second.template.is_none(), "it is answered by template");
        assert_eq!(negotiator.answers(), (1, 2));
        assert!((1_000..10_000).contains(&negotiator.template_bytes()));
        let parsed = Offer::to_watch(&text).expect("it is an offer");
        let long = negotiator.viewer(Instant::now(), parsed, local("second"), codecs);
        let long = long.expect("it is answered");
        let ((pieces, ssrcs), (long_pieces, long_ssrcs)) = (common(&second), common(&long));
        assert_eq!(pieces, long_pieces);
        assert_eq!(ssrcs.len(), 3, "audio, video and its repair");
        assert!(ssrcs.iter().all(|ssrc| !common(&first).1.contains(ssrc)), "none is used again");
        assert!(second.answer.contains("a=ice-ufrag:second\r\n"), "{}", second.answer);

        // What the shard gets is that of the answer.
        let of = |negotiated: &Negotiated| negotiated.session.takes.clone();
        let (mut takes, long_takes) = (of(&second), of(&long));
        let sent: Vec<u32> =
            takes.tracks.iter().flat_map(|t| [Some(t.ssrc), t.rtx_ssrc]).flatten().collect();
        assert_eq!(sent, ssrcs);
        for (track, long_track) in takes.tracks.iter_mut().zip(&long_takes.tracks) {
            (track.ssrc, track.rtx_ssrc) = (long_track.ssrc, long_track.rtx_ssrc);
        }
        assert_eq!(format!("{takes:?}"), format!("{long_takes:?}"));
        assert_eq!(long_ssrcs.len(), 3);
        assert_eq!(second.codecs, long.codecs);
        let ufrag = text.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        assert_eq!(second.negotiation.remote.map(|remote| remote.ufrag).as_deref(), ufrag);
    }

    #[test]
    fn what_is_asked_otherwise_is_answered_the_long_way() {
        let (negotiator, codecs) = (negotiator(), carried());
        let first = watch(&negotiator, &offer(&[]), "first", codecs);
        negotiator.keep(*first.template.expect("it is the first of its kind"));
        let by_template =
            |text: &str, codecs| watch(&negotiator, text, "next", codecs).template.is_none();
        assert!(by_template(&offer(&[]), codecs));
        assert!(!by_template(&offer(&[Codec::Vp9]), codecs), "another payload type");
        assert!(!by_template(&offer(&[]), StreamCodecs::default()), "a stream of nothing yet");
        let other = offer(&[]).replace("a=mid:1", "a=mid:x").replace("BUNDLE 0 1", "BUNDLE 0 x");
        assert!(!by_template(&other, codecs), "another name of a section");
        let session = offer(&[]).replace("a=setup:actpass", "a=setup:passive");
        assert!(!by_template(&session, codecs), "another role");
        let elsewhere = LocalIce { candidates: &[], ..local("next") };
        let read = negotiator.read_viewer(&offer(&[])).expect("it is an offer");
        let answered = negotiator.watch(Instant::now(), read, elsewhere, codecs);
        assert!(answered.expect("it is answered").template.is_some(), "another port");
        let unknown = offer(&[]).replace("a=fingerprint:sha-256", "a=fingerprint:md5");
        let read = negotiator.read_viewer(&unknown).expect("one like it was answered before");
        let refused = negotiator.watch(Instant::now(), read, local("next"), codecs);
        assert!(refused.is_err(), "whom it is of is looked at each time");
    }

    #[test]
    fn as_many_templates_are_kept_as_may_be_and_those_in_use_stay() {
        let (negotiator, codecs) = (negotiator(), carried());
        let text = offer(&[]);
        let first = watch(&negotiator, &text, "first", codecs);
        let model = *first.template.expect("it is the first of its kind");
        negotiator.keep(model.clone());
        for number in 0..2 * MAX_TEMPLATES {
            let candidates = [SocketAddr::new(PORT[0].ip(), number as u16)].into();
            let asked = Asked { candidates, ..model.asked.clone() };
            negotiator.keep(Template { asked, ..model.clone() });
            assert!(watch(&negotiator, &text, "next", codecs).template.is_none(), "{number}");
        }
        assert_eq!(negotiator.templates.len(), MAX_TEMPLATES);
    }
}
