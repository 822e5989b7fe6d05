//! What the control side knows of a session while it lives.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use str0m::format::{Codec, CodecSpec};

use super::Caller;
use super::audience::Channel;
use super::history::History;
use super::ports::GivenPort;
use crate::session::{Negotiation, StreamCodecs, Template};

/// A session that is on its shard or on its way there.
pub struct LiveSession {
    /// Its URL's last part: a secret, which gives power over the session.
    pub(super) url: String,
    /// Names its ICE session, for ETag.
    pub(super) etag: String,
    /// The client's ICE user name, to tell a restart from more candidates.
    pub(super) remote_ufrag: Option<String>,
    /// Times its ICE was restarted.
    pub(super) restarts: u8,
    /// Whether that is under way.
    pub(super) restarting: bool,
    /// The `a=mid` of its first video section.
    pub(super) video_mid: Option<Box<str>>,
    /// Who asked for it.
    pub(super) caller: Caller,
    /// Its event channels, oldest first.
    pub(super) channels: Vec<Channel>,
    /// The stream it publishes or watches.
    pub stream: Arc<str>,
    /// Whether it publishes it.
    pub publisher: bool,
    /// When it was set up, in Unix seconds.
    pub created_at: f64,
    /// The port its answer named.
    pub port: u16,
    /// The same, as it is to be given back.
    pub(super) given: GivenPort,
    /// How its later offers are answered; not there while one is.
    pub(super) negotiation: Option<Box<Negotiation>>,
    /// Its answer, for offers that are like its own, until it has connected.
    pub(super) template: Option<Box<Template>>,
    /// What it sends, or takes.
    pub(super) codecs: StreamCodecs,
    /// The payload types a publisher was answered, and what they stand for.
    pub(super) payloads: Arc<[(u8, CodecSpec)]>,
    /// The codec of its audio, if it has any.
    pub audio: Option<&'static str>,
    /// The codec of its video, if it has any.
    pub video: Option<&'static str>,
    /// What it was like lately.
    pub history: History,
}

impl LiveSession {
    /// Who asked for it.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// The names of the codecs of audio and video in a session that takes `codecs`; `has` says whether
/// it was offered audio, or video.
pub(super) fn names(
    codecs: &StreamCodecs,
    has: impl Fn(bool) -> bool,
) -> (Option<&'static str>, Option<&'static str>) {
    let named =
        |audio: bool, spec: &Option<CodecSpec>| spec.as_ref().filter(|_| has(audio)).map(name);
    (named(true, &codecs.audio), named(false, &codecs.video))
}

/// The name of a codec.
pub(super) const fn name(spec: &CodecSpec) -> &'static str {
    match spec.codec {
        Codec::Opus => "opus",
        Codec::Vp8 => "vp8",
        Codec::Vp9 => "vp9",
        Codec::H264 => "h264",
        Codec::H265 => "h265",
        Codec::Av1 => "av1",
        _ => "other",
    }
}

/// Seconds since 1970, to the microsecond.
pub fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
