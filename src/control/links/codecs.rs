//! What a stream carries, as nodes tell one another.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use str0m::format::{Codec, CodecSpec, FormatParams};

use crate::session::StreamCodecs;

/// The codecs of a stream, as nodes tell one another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkCodecs {
    audio: Option<LinkCodec>,
    video: Option<LinkCodec>,
}

/// One codec, by what `a=rtpmap` and `a=fmtp` would say (RFC 8866 §6.6, §6.15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkCodec {
    name: String,
    clock_rate: NonZeroU32,
    channels: Option<u8>,
    format: String,
}

impl LinkCodecs {
    pub(super) fn of(codecs: &StreamCodecs) -> LinkCodecs {
        let one = |spec: &CodecSpec| LinkCodec {
            name: spec.codec.to_string(),
            clock_rate: spec.clock_rate.into(),
            channels: spec.channels,
            format: spec.format.to_string(),
        };
        LinkCodecs { audio: codecs.audio.as_ref().map(one), video: codecs.video.as_ref().map(one) }
    }

    pub(super) fn codecs(&self) -> StreamCodecs {
        let one = |known: &LinkCodec| CodecSpec {
            codec: Codec::from(&*known.name),
            clock_rate: known.clock_rate.into(),
            channels: known.channels,
            format: FormatParams::parse_line(&known.format),
        };
        StreamCodecs { audio: self.audio.as_ref().map(one), video: self.video.as_ref().map(one) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_told_as_they_are() {
        let spec = |name: &str, rate: u32, channels, format: &str| CodecSpec {
            codec: Codec::from(name),
            clock_rate: NonZeroU32::new(rate).expect("a rate").into(),
            channels,
            format: FormatParams::parse_line(format),
        };
        let audio = spec("opus", 48_000, Some(2), "minptime=10;useinbandfec=1;stereo=1");
        for (name, format) in [
            ("H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            ("VP9", "profile-id=2"),
            ("AV1", "level-idx=5;profile=0;tier=0"),
            ("H265", "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"),
            ("VP8", ""),
        ] {
            let video = spec(name, 90_000, None, format);
            let codecs = StreamCodecs { audio: Some(audio), video: Some(video) };
            let text = serde_json::to_string(&LinkCodecs::of(&codecs)).expect("JSON");
            let read: LinkCodecs = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read.codecs(), codecs, "{text}");
        }
        assert_eq!(LinkCodecs::default().codecs(), StreamCodecs::default());
    }
}
