//! An SDP offer as a type that can't be wrong.

use std::collections::HashSet;

use str0m::IceCreds;
use str0m::change::SdpOffer;
use str0m::format::{Codec, CodecConfig, CodecSpec, PayloadParams};

use super::sdp;
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
}

/// The codecs a stream carries: what its publisher was answered, and what viewers must take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamCodecs {
    /// Of the audio track, if there is one.
    pub audio: Option<CodecSpec>,
    /// Of the video track, if there is one.
    pub video: Option<CodecSpec>,
}

impl StreamCodecs {
    /// Whether a viewer that takes these can play a stream that carries those. A track that one of
    /// them lacks is in nobody's way.
    #[must_use]
    pub fn fit(&self, carried: &StreamCodecs) -> bool {
        let fits = |taken: Option<CodecSpec>, carried: Option<CodecSpec>| {
            let (Some(taken), Some(carried)) = (taken, carried) else { return true };
            taken == carried || takes(PayloadParams::new(96.into(), None, taken), carried)
        };
        fits(self.audio, carried.audio) && fits(self.video, carried.video)
    }
}

/// Whether a section's payload takes a codec, by the rules of its format: profiles that one decoder
/// plays are one.
pub(super) fn takes(payload: PayloadParams, spec: CodecSpec) -> bool {
    let carried = vec![PayloadParams::new(96.into(), None, spec)];
    CodecConfig::new_from_payload_params(carried).match_params(payload).is_some()
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
    pub(super) sdp: SdpOffer,
    pub(super) sections: Vec<Section>,
    /// Whether one packet's header extensions may have the one-byte and the next one's the two-byte
    /// form (`a=extmap-allow-mixed`, RFC 8285 §6).
    pub(super) mixes_extension_forms: bool,
}

/// Codecs that are passed through.
const SUPPORTED: &[Codec] =
    &[Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

/// Those of [`SUPPORTED`] for one kind of track, in words.
fn supported(audio: bool) -> String {
    let codecs = SUPPORTED.iter().filter(|codec| codec.is_audio() == audio);
    codecs.map(|codec| format!("{codec:?}")).collect::<Vec<_>>().join(", ")
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

    fn parse(text: &str, way: Way) -> Result<Offer, OfferError> {
        Offer::parse_sections(text, way, 1)
    }

    /// Parses an offer with at most `most` sections of a kind.
    fn parse_sections(text: &str, way: Way, most: usize) -> Result<Offer, OfferError> {
        if text.len() > MAX_OFFER_BYTES {
            return Err(OfferError::TooLong(text.len()));
        }
        let text = sdp::with_direction(text, way)?;
        let sdp =
            SdpOffer::from_sdp_string(&text).map_err(|error| OfferError::malformed(&error))?;
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
        let mixes_extension_forms = sdp::mixes_extension_forms(&text);
        Ok(Offer { sdp, sections, mixes_extension_forms })
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

    /// The codecs a publisher is answered: one of each kind, the stream's `current` one where the
    /// offer has it (so that viewers of an earlier publisher keep playing), else the first that is
    /// supported.
    ///
    /// # Errors
    /// [`OfferError::NoCommonCodec`] when a section has none that is supported.
    pub fn choose_codecs(&self, current: StreamCodecs) -> Result<StreamCodecs, OfferError> {
        let mut chosen = StreamCodecs::default();
        for section in &self.sections {
            let current = if section.audio { current.audio } else { current.video };
            let specs: Vec<CodecSpec> = section
                .payloads
                .iter()
                .map(PayloadParams::spec)
                .filter(|spec| SUPPORTED.contains(&spec.codec))
                .filter(|spec| spec.codec.is_audio() == section.audio)
                .collect();
            let spec = specs.iter().find(|spec| Some(**spec) == current).or(specs.first());
            let Some(spec) = spec else {
                return Err(self.no_common_codec(section.audio, supported(section.audio)));
            };
            if section.audio {
                chosen.audio = Some(*spec);
            } else {
                chosen.video = Some(*spec);
            }
        }
        Ok(chosen)
    }

    /// The error for a section without a codec in common.
    pub(super) fn no_common_codec(&self, audio: bool, wanted: String) -> OfferError {
        let section = self.sections.iter().find(|section| section.audio == audio);
        let mut offered: Vec<String> = section
            .map(|section| &section.payloads[..])
            .unwrap_or_default()
            .iter()
            .map(|params| format!("{:?}", params.spec().codec))
            .collect();
        offered.dedup();
        let offered = if offered.is_empty() { "none".into() } else { offered.join(", ") };
        OfferError::NoCommonCodec { kind: if audio { "audio" } else { "video" }, offered, wanted }
    }
}

/// The payload without RFC 2198 redundancy. Answered, a browser sends its audio inside RED, and RED
/// is what viewers would be sent: the stream carries the codec alone, and losses are repaired by
/// retransmission.
fn without_red(params: &PayloadParams) -> PayloadParams {
    let mut plain = PayloadParams::new(params.pt(), params.resend(), params.spec());
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
        assert_eq!(
            told,
            "the offer is not valid SDP: SDP parse: Parse error, Unexpected end of input, \
             Expected `o`, sdp line"
        );
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
