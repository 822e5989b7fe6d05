//! A publisher's first offer to its answer: by template where one like it was answered before, else
//! the long way.

use std::time::Instant;

use super::answering::LocalIce;
use super::filling::{Read, template_of};
use super::negotiate::{Negotiated, Negotiator};
use super::offer::Way;
use super::sdp::Offered;
use super::template::{Asked, Digest};
use super::{Offer, OfferError, StreamCodecs};
use crate::id::StreamKey;
use crate::limits::MAX_OFFER_BYTES;

/// A publisher's offer, read as far as it must be.
#[derive(Debug)]
pub struct PublisherOffer {
    digest: Digest,
    read: Read,
    /// What its stream carried when it was read, and what one like it was taken to send then.
    chosen: Option<(StreamCodecs, StreamCodecs)>,
}

impl PublisherOffer {
    /// Whether it has a section for audio, or for video.
    #[must_use]
    pub fn has(&self, audio: bool) -> bool {
        self.read.offered().has(audio)
    }

    /// See [`Offer::choose_codecs`].
    ///
    /// # Errors
    /// Likewise.
    pub fn choose_codecs(&self, current: StreamCodecs) -> Result<StreamCodecs, OfferError> {
        if let Some((carried, chosen)) = self.chosen
            && carried == current
        {
            return Ok(chosen);
        }
        match &self.read {
            Read::Whole(offer) => offer.choose_codecs(current),
            // Another publisher came in between.
            Read::ByLine(offered) => {
                Offer::of_single_sections(offered.clone())?.choose_codecs(current)
            }
        }
    }
}

impl Negotiator {
    /// Reads a publisher's offer for a stream that carries `current` so far.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn read_publisher(
        &self,
        text: &str,
        current: StreamCodecs,
    ) -> Result<PublisherOffer, OfferError> {
        if text.len() > MAX_OFFER_BYTES {
            return Err(OfferError::TooLong(text.len()));
        }
        let offered = Offered::read(text, Way::Publish)?;
        let digest = self.templates.digest(&offered);
        let taken = self.templates.taken(digest, &current);
        let chosen = taken.map(|taken| (current, taken));
        let read = match chosen {
            Some(_) => Read::ByLine(offered),
            None => Read::Whole(Box::new(Offer::of_single_sections(offered)?)),
        };
        Ok(PublisherOffer { digest, read, chosen })
    }

    /// Answers a publisher of `stream`, which carried `current` before and `codecs` from now on;
    /// `local` says where the session will be found, and its clock begins at `now`.
    ///
    /// # Errors
    /// As [`Negotiator::publisher`].
    pub fn publish(
        &self,
        now: Instant,
        offer: PublisherOffer,
        local: LocalIce<'_>,
        (current, codecs): (StreamCodecs, StreamCodecs),
        stream: StreamKey,
    ) -> Result<Negotiated, OfferError> {
        let PublisherOffer { digest, read, .. } = offer;
        if let Some(template) = self.templates.find(digest, &local, &current)
            && let Some(negotiated) =
                self.fill(now, &template, read.offered(), &local, Some(stream))
        {
            self.templates.count(true);
            return Ok(negotiated);
        }
        let asked = Asked {
            offer: digest,
            carried: current,
            candidates: local.candidates.into(),
            tcp_candidates: local.tcp_candidates.into(),
        };
        let mut negotiated = self.publisher(now, read.whole()?, local, codecs, stream)?;
        self.templates.count(false);
        negotiated.template = template_of(&negotiated, asked).map(Box::new);
        Ok(negotiated)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use str0m::IceCreds;

    use super::*;
    use crate::session::CodecMatch;
    use crate::session::template::Piece;

    const PORT: [SocketAddr; 1] = [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7_882)];

    fn local(name: &str) -> LocalIce<'static> {
        let credentials = IceCreds { ufrag: name.into(), pass: format!("{name:p<24}") };
        LocalIce { credentials, candidates: &PORT, tcp_candidates: &PORT }
    }

    fn key(index: u32) -> StreamKey {
        StreamKey { index, generation: 0 }
    }

    fn publish(
        negotiator: &Negotiator,
        text: &str,
        name: &str,
        current: StreamCodecs,
        stream: u32,
    ) -> Result<Negotiated, OfferError> {
        let offer = negotiator.read_publisher(text, current)?;
        let codecs = (current, offer.choose_codecs(current)?);
        negotiator.publish(Instant::now(), offer, local(name), codecs, key(stream))
    }

    /// What clients offered, each as it was written.
    fn recorded() -> Vec<(String, String)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/offers");
        let files = std::fs::read_dir(folder).expect("offers were recorded");
        let paths = files.map(|file| file.expect("a file").path());
        let publishers = paths.filter(|path| path.to_string_lossy().ends_with("publish.sdp"));
        let read = |path: &std::path::PathBuf| {
            (path.display().to_string(), std::fs::read_to_string(path).expect("text"))
        };
        publishers.map(|path| read(&path)).collect()
    }

    /// The offer of another session of the same client.
    fn another(text: &str) -> String {
        let own = |line: &str| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => "a=ice-ufrag:elsewhere".to_owned(),
            Some(("a=ice-pwd", _)) => "a=ice-pwd:0123456789012345678901".to_owned(),
            Some(("a=ssrc", rest)) => {
                let (ssrc, rest) = rest.split_once(' ').expect("an attribute");
                let ssrc: u32 = ssrc.parse().expect("an SSRC");
                format!("a=ssrc:{} {rest}", ssrc ^ 1)
            }
            Some(("a=ssrc-group", rest)) => {
                let words = rest.split(' ').map(|word| match word.parse::<u32>() {
                    Ok(ssrc) => (ssrc ^ 1).to_string(),
                    Err(_) => word.to_owned(),
                });
                format!("a=ssrc-group:{}", words.collect::<Vec<_>>().join(" "))
            }
            _ => line.to_owned(),
        };
        text.lines().map(|line| own(line) + "\r\n").collect()
    }

    fn shape(negotiated: &Negotiated) -> Vec<Piece> {
        let asked = Asked {
            offer: Digest::of_nothing(),
            carried: StreamCodecs::default(),
            candidates: [].into(),
            tcp_candidates: [].into(),
        };
        template_of(negotiated, asked).expect("its SSRCs are its own").answer
    }

    #[test]
    fn the_next_publisher_of_a_kind_is_answered_alike_but_for_its_own_names() {
        let recorded = recorded();
        assert!(recorded.len() > 5);
        for (path, text) in recorded {
            let negotiator = Negotiator::new(false, CodecMatch::Lenient);
            let nothing = StreamCodecs::default();
            let first = publish(&negotiator, &text, "first", nothing, 1).expect(&path);
            negotiator.keep(*first.template.expect(&path));
            assert!(negotiator.template_bytes() > 500, "{path}: it is kept");

            let next = another(&text);
            let second = publish(&negotiator, &next, "second", nothing, 2).expect(&path);
            assert!(second.template.is_none(), "{path}: it is answered by template");
            let long = Offer::to_publish(&next).expect(&path);
            let codecs = long.choose_codecs(nothing).expect(&path);
            let long = negotiator.publisher(Instant::now(), long, local("second"), codecs, key(2));
            let long = long.expect(&path);
            assert_eq!(shape(&second), shape(&long), "{path}");
            assert!(second.answer.contains("a=ice-ufrag:second\r\n"), "{path}");
            let of = |negotiated: &Negotiated| {
                let Negotiated { session, codecs, payloads, negotiation, .. } = negotiated;
                let own = (&negotiation.remote, &negotiation.mids, negotiation.is_dtls_client);
                format!("{:?} {codecs:?} {payloads:?} {own:?}", session.publishes)
            };
            assert_eq!(of(&second), of(&long), "{path}: what its shard gets is its own");
        }
    }

    #[test]
    fn a_stream_that_carries_something_else_is_answered_the_long_way() {
        let (_, text) = recorded().into_iter().find(|(path, _)| path.contains("firefox")).unwrap();
        let negotiator = Negotiator::new(false, CodecMatch::Lenient);
        let nothing = StreamCodecs::default();
        let first = publish(&negotiator, &text, "first", nothing, 1).expect("it is answered");
        let carried = first.codecs;
        negotiator.keep(*first.template.expect("it is the first of its kind"));
        let mut audio = carried;
        audio.video = None;
        let other = publish(&negotiator, &text, "other", audio, 2).expect("it is answered");
        assert!(other.template.is_some(), "another order of codecs may be answered");
        // Another publisher comes between reading the offer and choosing.
        let read = negotiator.read_publisher(&text, nothing).expect("it is an offer");
        let chosen = read.choose_codecs(audio).expect("there are some");
        assert_eq!(chosen, other.codecs);
        let late = negotiator.publish(Instant::now(), read, local("late"), (audio, chosen), key(3));
        assert_eq!(shape(&late.expect("it is answered")), shape(&other));
        assert_eq!(negotiator.answers(), (0, 3));
    }

    #[test]
    fn an_answer_too_long_to_keep_is_given_and_not_kept() {
        let (_, text) = recorded().into_iter().find(|(path, _)| path.contains("obs")).unwrap();
        // What is refused is repeated as it was offered.
        let more = format!("m=text 0 RTP/AVP {}\r\nc=IN IP4 0.0.0.0\r\n", "x".repeat(20_000));
        let negotiator = Negotiator::new(false, CodecMatch::Lenient);
        let long = text.clone() + &more;
        let mut kept = Vec::new();
        for text in [&text, &long] {
            let answered = publish(&negotiator, text, "first", StreamCodecs::default(), 1);
            let template = *answered.expect("it is answered").template.expect("it is no repeat");
            let is_long = template.answer.iter().any(|piece| match piece {
                Piece::Text(text) => text.len() > crate::limits::TEMPLATE_BYTES,
                _ => false,
            });
            let before = negotiator.templates.len();
            negotiator.keep(template);
            assert_eq!(negotiator.templates.len() == before, is_long);
            kept.push(!is_long);
        }
        assert_eq!(kept, [true, false]);
    }
}
