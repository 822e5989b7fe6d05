//! An SDP offer as a type that can't be wrong.

use std::collections::HashSet;

use str0m::IceCreds;
use str0m::change::SdpOffer;
use str0m::format::{CodecSpec, PayloadParams};

use super::CodecMatch;
use super::certificate::Fingerprints;
use super::codecs::{StreamCodecs, describe, is_repeated, is_supported, supported, takes};
use super::sdp::Offered;
use crate::limits::{MAX_OFFER_BYTES, MAX_TRACKS_OF_A_KIND};

/// Why an offer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Longer than any real offer.
    #[error("the offer has {0} bytes; at most {MAX_OFFER_BYTES} are taken")]
    TooLong(usize),
    /// Not SDP, or lines that contradict each other.
    #[error("the offer is not valid SDP: {0}")]
    Malformed(String),
    /// Nothing to send or receive.
    #[error("the offer has no audio and no video section")]
    NoMedia,
    /// More tracks than one of a kind.
    #[error("the offer has {count} {kind} sections; at most one is taken")]
    TooManyTracks {
        /// `audio` or `video`.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A publisher that does not send, or a viewer that does not receive.
    #[error("the {kind} section is {found}; {wanted} is needed")]
    WrongDirection {
        /// `audio` or `video`.
        kind: &'static str,
        /// The direction found.
        found: &'static str,
        /// The direction needed.
        wanted: &'static str,
    },
    /// No codec in common.
    #[error("no {kind} codec in common: the offer has {offered}; {wanted} is needed")]
    NoCommonCodec {
        /// `audio` or `video`.
        kind: &'static str,
        /// The codecs offered.
        offered: String,
        /// What would have been taken.
        wanted: String,
    },
    /// A section that would be answered and then served nothing.
    #[error("the section with a=mid:{mid} can't be served: {reason}")]
    Unserved {
        /// Which.
        mid: String,
        /// Why, and what would do.
        reason: String,
    },
}

impl OfferError {
    /// What the SDP library says, in one line. Where its parser gives up it names the place by its
    /// address in this process's memory, which is nobody's business.
    pub(super) fn malformed(error: &dyn std::fmt::Display) -> OfferError {
        let text = error.to_string();
        let lines = text.lines().map(|line| line.split(" at PointerOffset").next().unwrap_or(""));
        let words: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
        OfferError::Malformed(words.join(", "))
    }
}

/// Which way the media of an offer goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Publish,
    Watch,
    /// Each section as it says, of a session that does both.
    Both,
}

/// One audio or video section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub audio: bool,
    /// What the peer takes or sends, in its order of preference.
    pub payloads: Vec<PayloadParams>,
}

/// A parsed offer with the direction this server will answer to.
#[derive(Debug)]
pub struct Offer {
    pub(super) offered: Offered,
    /// What is served of it, as str0m reads it.
    pub(super) sdp: SdpOffer,
    /// What its peer must show in DTLS.
    pub(super) fingerprints: Fingerprints,
    pub(super) sections: Vec<Section>,
    /// Whether one packet's header extensions may have the one-byte and the next one's the two-byte
    /// form (`a=extmap-allow-mixed`, RFC 8285 §6).
    pub(super) mixes_extension_forms: bool,
}

impl Offer {
    /// Parses a publisher's offer.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn to_publish(text: &str) -> Result<Offer, OfferError> {
        Offer::parse(text, Way::Publish)
    }

    /// Parses a viewer's offer.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn to_watch(text: &str) -> Result<Offer, OfferError> {
        Offer::parse(text, Way::Watch)
    }

    /// Parses a later offer of a publisher or of a viewer, which may have as many sections as it
    /// takes tracks.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn to_renegotiate(text: &str, publisher: bool) -> Result<Offer, OfferError> {
        let way = if publisher { Way::Publish } else { Way::Watch };
        Offer::parse_sections(text, way, MAX_TRACKS_OF_A_KIND)
    }

    /// Parses a later offer of a publisher that takes tracks, too: each section goes the way it
    /// says.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub fn to_publish_and_watch(text: &str) -> Result<Offer, OfferError> {
        Offer::parse_sections(text, Way::Both, 2 * MAX_TRACKS_OF_A_KIND)
    }

    fn parse(text: &str, way: Way) -> Result<Offer, OfferError> {
        Offer::parse_sections(text, way, 1)
    }

    /// Parses an offer with at most `most` sections of a kind.
    fn parse_sections(text: &str, way: Way, most: usize) -> Result<Offer, OfferError> {
        if text.len() > MAX_OFFER_BYTES {
            return Err(OfferError::TooLong(text.len()));
        }
        Offer::of(Offered::read(text, way)?, most)
    }

    /// A viewer's or publisher's first offer, of what was read of it line by line.
    ///
    /// # Errors
    /// [`OfferError`] says what is wrong with it.
    pub(super) fn of_single_sections(offered: Offered) -> Result<Offer, OfferError> {
        Offer::of(offered, 1)
    }

    fn of(offered: Offered, most: usize) -> Result<Offer, OfferError> {
        let sdp = SdpOffer::from_sdp_string(&offered.text())
            .map_err(|error| OfferError::malformed(&error))?;
        if let Some(problem) = sdp.media_lines.iter().find_map(|line| line.check_consistent()) {
            return Err(OfferError::Malformed(problem));
        }
        let mut mids = HashSet::new();
        if !sdp.media_lines.iter().all(|line| mids.insert(line.mid())) {
            return Err(OfferError::Malformed("two sections have the same a=mid".into()));
        }
        let sections: Vec<Section> = sdp
            .media_lines
            .iter()
            .filter(|line| line.typ.is_media() && !line.disabled)
            .map(|line| {
                let payloads = line.rtp_params().iter().map(without_red).collect();
                // The type of the line can't be named from here; its text form can.
                Section { audio: format!("{:?}", line.typ) == "Audio", payloads }
            })
            .collect();
        if sections.is_empty() {
            return Err(OfferError::NoMedia);
        }
        for (audio, kind) in [(true, "audio"), (false, "video")] {
            let count = sections.iter().filter(|section| section.audio == audio).count();
            if count > most {
                return Err(OfferError::TooManyTracks { kind, count });
            }
        }
        if sdp.media_lines.len() != offered.served().count() {
            // Whatever it was, it is not said to be served.
            return Err(OfferError::Malformed("a section of it can't be read".into()));
        }
        let mixes_extension_forms = offered.mixes_extension_forms();
        let fingerprints = Fingerprints::of_offer(offered.session())?;
        Ok(Offer { offered, sdp, fingerprints, sections, mixes_extension_forms })
    }

    /// The name and password of the peer's ICE: those of the session, or of its first section.
    pub(super) fn ice(&self) -> Option<IceCreds> {
        let sections = self.sdp.media_lines.iter().find_map(|line| line.ice_creds());
        self.sdp.session.ice_creds().or(sections)
    }

    /// Whether it has a section for audio, or for video.
    #[must_use]
    pub fn has(&self, audio: bool) -> bool {
        self.sections.iter().any(|section| section.audio == audio)
    }

    /// The codecs a publisher is expected to send: those its answer names first. It is answered
    /// every one that is passed through, in the order of its offer, but the stream's `current` ones
    /// come first, so that viewers of an earlier publisher keep playing.
    ///
    /// # Errors
    /// [`OfferError::NoCommonCodec`] when a section has none that is supported.
    pub fn choose_codecs(&self, current: StreamCodecs) -> Result<StreamCodecs, OfferError> {
        let mut chosen = StreamCodecs::default();
        for section in &self.sections {
            let answered = self.answered(section, &current)?;
            let first = answered.first().map(PayloadParams::spec);
            let place = if section.audio { &mut chosen.audio } else { &mut chosen.video };
            *place = place.or(first);
        }
        Ok(chosen)
    }

    /// The payloads of a section that a publisher is answered.
    ///
    /// # Errors
    /// [`OfferError::NoCommonCodec`] when there are none.
    pub(super) fn answered(
        &self,
        section: &Section,
        current: &StreamCodecs,
    ) -> Result<Vec<PayloadParams>, OfferError> {
        let mut answered: Vec<PayloadParams> = Vec::new();
        for payload in &section.payloads {
            let spec = payload.spec();
            let repeated = answered.iter().any(|other| is_repeated(&other.spec(), &spec));
            if is_supported(&spec, section.audio) && !repeated {
                answered.push(as_receiver(payload));
            }
        }
        if answered.is_empty() {
            let wanted = supported(section.audio);
            return Err(self.no_common_codec(section, wanted, None));
        }
        let current = if section.audio { current.audio } else { current.video };
        // The sort is stable: what does not fit at all stays in the offer's order.
        answered.sort_by_key(|payload| {
            let rank = |current| takes(&payload.spec(), &current, CodecMatch::Strict).ok();
            current.map_or(0, |current| rank(current).unwrap_or(u8::MAX))
        });
        Ok(answered)
    }

    /// The payload of a viewer's section that plays the stream's codec best. A section for a track
    /// that the stream lacks gets its own first codec: should a later publisher send that track, it
    /// plays.
    ///
    /// # Errors
    /// [`OfferError::NoCommonCodec`], with the parameter that differs where only that does.
    pub(super) fn taken(
        &self,
        section: &Section,
        carried: &StreamCodecs,
        how: CodecMatch,
    ) -> Result<PayloadParams, OfferError> {
        let carried = if section.audio { carried.audio } else { carried.video };
        let Some(carried) = carried else {
            let first = section.payloads.iter().find(|p| is_supported(&p.spec(), section.audio));
            let none = || self.no_common_codec(section, supported(section.audio), None);
            return first.copied().ok_or_else(none);
        };
        let ranked = section.payloads.iter().filter_map(|payload| {
            takes(&payload.spec(), &carried, how).ok().map(|rank| (rank, payload))
        });
        if let Some((_, payload)) = ranked.min_by_key(|(rank, _)| *rank) {
            return Ok(as_sender(payload, &carried));
        }
        let differs = section
            .payloads
            .iter()
            .find_map(|payload| takes(&payload.spec(), &carried, how).err().flatten());
        Err(self.no_common_codec(section, describe(&carried), differs))
    }

    /// The error for a section without a codec in common.
    fn no_common_codec(
        &self,
        section: &Section,
        wanted: String,
        differs: Option<String>,
    ) -> OfferError {
        let mut offered: Vec<String> = Vec::new();
        for payload in &section.payloads {
            let name = format!("{:?}", payload.spec().codec);
            if !offered.contains(&name) {
                offered.push(name);
            }
        }
        let offered = if offered.is_empty() { "none".into() } else { offered.join(", ") };
        let wanted = wanted + &differs.map_or(String::new(), |differs| format!("; {differs}"));
        let kind = if section.audio { "audio" } else { "video" };
        OfferError::NoCommonCodec { kind, offered, wanted }
    }
}

/// What is answered to who sends this: stereo where its sender makes it (RFC 7587 §7.1), and
/// nothing of what we would send.
fn as_receiver(payload: &PayloadParams) -> PayloadParams {
    let mut spec = payload.spec();
    if spec.format.sprop_stereo == Some(true) {
        spec.format.stereo = Some(true);
    }
    spec.format.sprop_stereo = None;
    with_spec(payload, spec)
}

/// What is answered to a viewer that takes `payload` of a stream that carries `carried`: its own
/// parameters, but that of Opus which tells what is sent (RFC 7587 §7.1).
fn as_sender(payload: &PayloadParams, carried: &CodecSpec) -> PayloadParams {
    let mut spec = payload.spec();
    spec.format.sprop_stereo = carried.format.stereo.filter(|stereo| *stereo);
    let mut answered = with_spec(payload, spec);
    // Audio has no layers to choose from; and without RTX packets can't have such numbers.
    let is_counted = !spec.codec.is_audio() && payload.resend().is_some();
    answered.set_fb_transport_cc(is_counted && payload.fb_transport_cc());
    answered
}

/// The payload without RFC 2198 redundancy, which is answered beside it
/// ([`super::sdp::Redundancies`]).
fn without_red(params: &PayloadParams) -> PayloadParams {
    with_spec(params, params.spec())
}

/// The payload with another format, and without redundancy.
fn with_spec(params: &PayloadParams, spec: CodecSpec) -> PayloadParams {
    let mut plain = PayloadParams::new(params.pt(), params.resend(), spec);
    plain.set_fb_transport_cc(params.fb_transport_cc());
    plain.set_fb_nack(params.fb_nack());
    plain.set_fb_pli(params.fb_pli());
    plain.set_fb_fir(params.fb_fir());
    plain.set_fb_remb(params.fb_remb());
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_offer_is_refused_in_words() {
        let told = Offer::to_publish("v=0\r\n").expect_err("not an offer").to_string();
        assert_eq!(told, "the offer is not valid SDP: it has no o= line");
        for text in ["", "hello", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"] {
            let error = Offer::to_publish(text).expect_err("not an offer");
            assert!(
                matches!(error, OfferError::Malformed(_) | OfferError::NoMedia),
                "{text:?}: {error}"
            );
            assert!(!error.to_string().contains("0x"), "{text:?}: {error}");
        }
        let long = "a".repeat(MAX_OFFER_BYTES + 1);
        assert!(matches!(Offer::to_watch(&long), Err(OfferError::TooLong(_))));
    }
}
