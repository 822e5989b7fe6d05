//! Which codec a peer can play: formats compared by their parameters.

use str0m::format::{Codec, CodecConfig, CodecSpec, PayloadParams};

/// How strictly a viewer's H.264 must be the stream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodecMatch {
    /// A viewer that offers any H.264 that may be packed alike is given what there is: decoders
    /// play more than their offers name.
    #[default]
    Lenient,
    /// Profiles must be the same (RFC 6184 §8.2.2).
    Strict,
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
    pub fn fit(&self, carried: &StreamCodecs, how: CodecMatch) -> bool {
        let fits = |taken: Option<CodecSpec>, carried: Option<CodecSpec>| {
            let (Some(taken), Some(carried)) = (taken, carried) else { return true };
            takes(&taken, &carried, how).is_ok()
        };
        fits(self.audio, carried.audio) && fits(self.video, carried.video)
    }
}

/// Codecs that are passed through.
const SUPPORTED: &[Codec] =
    &[Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

/// Whether a codec is passed through in a section for audio, or for video.
pub(super) fn is_supported(spec: &CodecSpec, audio: bool) -> bool {
    SUPPORTED.contains(&spec.codec) && spec.codec.is_audio() == audio
}

/// Those of [`SUPPORTED`] for one kind of track, in words.
pub(super) fn supported(audio: bool) -> String {
    let codecs = SUPPORTED.iter().filter(|codec| codec.is_audio() == audio);
    codecs.map(|codec| format!("{codec:?}")).collect::<Vec<_>>().join(", ")
}

/// How well a peer that takes one format plays the other: the less the better, 0 for the same.
///
/// # Errors
/// The parameter that keeps it from it, in words; nothing where it is another codec altogether.
pub(super) fn takes(
    taken: &CodecSpec,
    carried: &CodecSpec,
    how: CodecMatch,
) -> Result<u8, Option<String>> {
    if taken == carried {
        return Ok(0);
    }
    if taken.codec != carried.codec {
        return Err(None);
    }
    let differs = |name: &str, offered: String, needed: String| {
        Err(Some(format!("{name} {offered} is offered, {needed} is needed")))
    };
    match taken.codec {
        Codec::H264 => takes_h264(taken, carried, how).map_err(Some),
        // AV1 RTP §7.2.3: a stream's profile and tier are at most the receiver's. Its level says
        // how large the picture may be, and is not enforced by any receiver.
        Codec::Av1 => {
            let profile = |spec: &CodecSpec| spec.format.profile.unwrap_or(0);
            let tier = |spec: &CodecSpec| spec.format.tier.unwrap_or(0);
            if profile(taken) < profile(carried) {
                let (offered, needed) = (profile(taken), profile(carried));
                return differs("profile", offered.to_string(), needed.to_string());
            }
            if tier(taken) < tier(carried) {
                return differs("tier", tier(taken).to_string(), tier(carried).to_string());
            }
            Ok(1 + u8::from((profile(taken), tier(taken)) != (profile(carried), tier(carried))))
        }
        Codec::Vp9 if vp9_profile(taken) != vp9_profile(carried) => {
            let (offered, needed) = (vp9_profile(taken), vp9_profile(carried));
            differs("profile-id", offered.to_string(), needed.to_string())
        }
        _ if same_by_rule(taken, carried) => Ok(1),
        _ => differs("another format", parameters(taken), parameters(carried)),
    }
}

fn takes_h264(taken: &CodecSpec, carried: &CodecSpec, how: CodecMatch) -> Result<u8, String> {
    /// RFC 6184 §8.1: without the parameter, Baseline of level 1.
    const UNSAID: u32 = 0x42_00_0a;
    let mode = |spec: &CodecSpec| spec.format.packetization_mode.unwrap_or(0);
    let profile = |spec: &CodecSpec| spec.format.profile_level_id.unwrap_or(UNSAID);
    // What Baseline and its subset have in common is all that is sent of it (RFC 7742 §6.2).
    let class = |spec: &CodecSpec| profile(spec) >> 16;
    if mode(taken) != mode(carried) {
        let unsaid = taken.format.packetization_mode.is_none();
        return match how {
            CodecMatch::Lenient if unsaid => Ok(4),
            _ => Err(format!(
                "packetization-mode {} is offered, {} is needed",
                mode(taken),
                mode(carried)
            )),
        };
    }
    if same_by_rule(taken, carried) {
        return Ok(1);
    }
    match how {
        CodecMatch::Lenient if class(taken) >= class(carried) => Ok(2),
        CodecMatch::Lenient => Ok(3),
        CodecMatch::Strict => Err(format!(
            "profile-level-id {:06x} is offered, {:06x} is needed (--codec-match strict)",
            profile(taken),
            profile(carried)
        )),
    }
}

fn vp9_profile(spec: &CodecSpec) -> u32 {
    spec.format.profile_id.unwrap_or(0)
}

/// Whether the standards take two formats for one: by str0m's rules.
fn same_by_rule(taken: &CodecSpec, carried: &CodecSpec) -> bool {
    let carried = vec![PayloadParams::new(96.into(), None, *carried)];
    let taken = PayloadParams::new(96.into(), None, *taken);
    CodecConfig::new_from_payload_params(carried).match_params(taken).is_some()
}

/// Whether two payload types of one offer stand for one format: str0m tells them apart no better.
pub(super) fn is_repeated(one: &CodecSpec, other: &CodecSpec) -> bool {
    let level = |spec: &CodecSpec| (spec.format.profile_level_id, spec.format.level_idx);
    one == other || (same_by_rule(one, other) && level(one) == level(other))
}

/// A codec in words, with what decides whether two ends of it fit.
pub(super) fn describe(spec: &CodecSpec) -> String {
    let parameters = parameters(spec);
    match parameters.is_empty() {
        true => format!("{:?}", spec.codec),
        false => format!("{:?} ({parameters})", spec.codec),
    }
}

fn parameters(spec: &CodecSpec) -> String {
    let format = &spec.format;
    let mut words = Vec::new();
    if spec.codec == Codec::H264 {
        words.push(format!("packetization-mode {}", format.packetization_mode.unwrap_or(0)));
    }
    if let Some(profile) = format.profile_level_id {
        words.push(format!("profile-level-id {profile:06x}"));
    }
    if spec.codec == Codec::Vp9 {
        words.push(format!("profile-id {}", vp9_profile(spec)));
    }
    if spec.codec == Codec::Av1 {
        words.push(format!("profile {}", format.profile.unwrap_or(0)));
        words.push(format!("tier {}", format.tier.unwrap_or(0)));
    }
    if let Some(ptl) = format.h265_profile_tier_level {
        words.push(format!("profile-id {}, tier-flag {}", ptl.profile_id(), ptl.tier_flag()));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use str0m::format::FormatParams;
    use str0m::media::Frequency;

    use super::*;

    fn spec(codec: Codec, format: FormatParams) -> CodecSpec {
        CodecSpec { codec, clock_rate: Frequency::NINETY_KHZ, channels: None, format }
    }

    fn h264(profile: u32, mode: Option<u8>) -> CodecSpec {
        let format = FormatParams {
            profile_level_id: Some(profile),
            packetization_mode: mode,
            ..FormatParams::default()
        };
        spec(Codec::H264, format)
    }

    fn av1(profile: u8, level_idx: u8, tier: u8) -> CodecSpec {
        let format = FormatParams {
            profile: Some(profile),
            level_idx: Some(level_idx),
            tier: Some(tier),
            ..FormatParams::default()
        };
        spec(Codec::Av1, format)
    }

    #[test]
    fn a_lenient_h264_viewer_takes_the_best_it_offers() {
        let viewer = h264(0x42_e0_1f, Some(1));
        for (stream, rank) in [
            (h264(0x42_e0_1f, Some(1)), 0),
            (h264(0x42_e0_28, Some(1)), 1),
            (h264(0x42_00_0c, Some(1)), 2),
            (h264(0x64_00_28, Some(1)), 3),
        ] {
            assert_eq!(takes(&viewer, &stream, CodecMatch::Lenient), Ok(rank), "{stream:?}");
        }
        let stream = h264(0x42_00_1f, Some(1));
        assert_eq!(takes(&h264(0x64_00_28, Some(1)), &stream, CodecMatch::Lenient), Ok(2));
        assert_eq!(takes(&h264(0x42_00_1f, None), &stream, CodecMatch::Lenient), Ok(4));
        let told = takes(&h264(0x42_00_1f, Some(0)), &stream, CodecMatch::Lenient);
        let told = told.expect_err("its decoder may not unpack it").expect("it is the same codec");
        assert_eq!(told, "packetization-mode 0 is offered, 1 is needed");
    }

    #[test]
    fn a_strict_one_has_the_same_profile_and_any_level() {
        let viewer = h264(0x42_e0_1f, Some(1));
        let strict = |stream: CodecSpec| takes(&viewer, &stream, CodecMatch::Strict);
        assert!(strict(h264(0x42_e0_28, Some(1))).is_ok());
        let told = strict(h264(0x64_00_28, Some(1))).expect_err("it is High").expect("words");
        assert!(told.contains("profile-level-id 42e01f is offered, 640028 is needed"), "{told}");
    }

    #[test]
    fn av1_fits_by_profile_and_tier_whatever_the_level() {
        let lenient = CodecMatch::Lenient;
        assert!(takes(&av1(0, 5, 0), &av1(0, 9, 0), lenient).is_ok());
        assert!(takes(&av1(1, 5, 1), &av1(0, 9, 0), lenient).is_ok(), "more than is needed");
        let told = takes(&av1(0, 5, 0), &av1(1, 5, 0), lenient).expect_err("4:4:4 is more");
        assert_eq!(told.as_deref(), Some("profile 0 is offered, 1 is needed"));
        let told = takes(&av1(0, 5, 0), &av1(0, 5, 1), lenient).expect_err("a higher tier");
        assert_eq!(told.as_deref(), Some("tier 0 is offered, 1 is needed"));
    }
}
