//! The publisher's side of a session: from str0m's packets to the stream's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use str0m::Rtc;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{KeyframeRequestKind, Mid, SenderFeedback};
use str0m::rtp::{ExtensionValues, RtpPacket};
use str0m::stats::MediaIngressStats;

use super::decryption::Sources;
use super::layers::{Choice, Layers};
use super::uplink::Uplink;
use crate::id::StreamKey;
use crate::media::{
    ClockReport, DependencyDescriptor, HeaderExtensions, MediaPacket, TrackKind, starts_keyframe,
};

/// How many changes of simulcast layer one publisher can make before the numbers of its successor
/// are reached: one a second for eleven days.
const EPOCH_STRIDE_BITS: u32 = 20;

/// What a publisher sends, and under which stream.
#[derive(Debug)]
pub struct Publisher {
    /// The stream it publishes.
    pub stream: StreamKey,
    epoch: u32,
    audio: Option<Track>,
    video: Option<Track>,
    layers: Layers,
    /// SSRCs it has sent from.
    pub(super) sources: Sources,
    /// How its media arrives.
    pub uplink: Uplink,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    mid: Mid,
    codec: Codec,
    payload_type: u8,
}

impl Publisher {
    /// The publisher behind `rtc`, whose sections `mids` were answered with `params`. `epoch`
    /// numbers the publishers of the stream.
    pub(super) fn new(
        stream: StreamKey,
        epoch: u32,
        params: &[PayloadParams],
        rtc: &Rtc,
        mids: &[Mid],
    ) -> Publisher {
        let track = |audio: bool| {
            let mid = *mids.iter().find(|mid| {
                rtc.media(**mid).is_some_and(|media| media.kind().is_audio() == audio)
            })?;
            let params = params.iter().find(|params| params.spec().codec.is_audio() == audio)?;
            Some(Track { mid, codec: params.spec().codec, payload_type: *params.pt() })
        };
        Publisher {
            stream,
            epoch: epoch << EPOCH_STRIDE_BITS,
            audio: track(true),
            video: track(false),
            layers: Layers::default(),
            sources: Sources::default(),
            uplink: Uplink::default(),
        }
    }

    /// Turns a decrypted packet into the stream's, unless it belongs to a layer the stream does not
    /// carry.
    pub(super) fn media(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        packet: RtpPacket,
    ) -> Option<MediaPacket> {
        let kind = self.kind_of(*packet.header.payload_type)?;
        let (epoch, keyframe) = match kind {
            TrackKind::Audio => (self.epoch, true),
            TrackKind::Video => self.video_epoch(rtc, now, &packet)?,
        };
        Some(MediaPacket {
            stream: self.stream,
            kind,
            epoch,
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            keyframe,
            extensions: extensions(&packet.header.ext_vals),
            padding: 0,
            received: now,
            payload: packet.payload,
        })
    }

    /// What a sender report says about the stream's clock. Layers share a wall clock, but each has
    /// RTP times of its own, so only the carried layer's report counts.
    pub(super) fn clock(&self, now: Instant, feedback: &SenderFeedback) -> Option<ClockReport> {
        let is = |track: &Option<Track>| track.is_some_and(|track| track.mid == feedback.mid);
        let info = &feedback.sender_info;
        let (kind, epoch) = if is(&self.audio) {
            (TrackKind::Audio, self.epoch)
        } else if is(&self.video) && self.layers.current() == Some(*info.ssrc) {
            (TrackKind::Video, self.epoch + self.layers.changes())
        } else {
            return None;
        };
        Some(ClockReport {
            stream: self.stream,
            kind,
            epoch,
            ntp: ntp_of(info.ntp_time),
            timestamp: info.rtp_time.numer() as u32,
            received: now,
        })
    }

    /// Takes in what str0m says of one of its tracks or layers.
    pub(super) fn arrives(&mut self, stats: &MediaIngressStats) {
        let is_audio = self.audio.is_some_and(|track| track.mid == stats.mid);
        let kind = if is_audio { TrackKind::Audio } else { TrackKind::Video };
        self.uplink.video |= kind == TrackKind::Video;
        self.uplink.take_in(stats, kind.clock_rate());
    }

    /// Asks for a key frame of the layer that is carried, or is about to be.
    pub(super) fn request_keyframe(&mut self, rtc: &mut Rtc) {
        let Some(video) = self.video else { return };
        let mut direct = rtc.direct_api();
        if let Some(ssrc) = self.layers.wanted() {
            if let Some(stream) = direct.stream_rx(&ssrc.into()) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
        } else if let Some(stream) = direct.stream_rx_by_mid(video.mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    fn kind_of(&self, payload_type: u8) -> Option<TrackKind> {
        let is = |track: &Option<Track>| track.is_some_and(|t| t.payload_type == payload_type);
        if is(&self.audio) {
            Some(TrackKind::Audio)
        } else if is(&self.video) {
            Some(TrackKind::Video)
        } else {
            None
        }
    }

    fn video_epoch(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        packet: &RtpPacket,
    ) -> Option<(u32, bool)> {
        let codec = self.video?.codec;
        let keyframe = starts_keyframe(codec, &packet.payload);
        let waited = self.layers.change_waits();
        let ssrc = *packet.header.ssrc;
        let choice = self.layers.choose(now, ssrc, packet.payload.len(), keyframe);
        if self.layers.change_waits() && !waited {
            self.request_keyframe(rtc);
        }
        match choice {
            Choice::Forward(changes) => Some((self.epoch + changes, keyframe)),
            Choice::Skip => None,
        }
    }
}

fn extensions(values: &ExtensionValues) -> HeaderExtensions {
    HeaderExtensions {
        audio_level: values.audio_level.map(|level| {
            let voice = u8::from(values.voice_activity.unwrap_or(false)) << 7;
            voice | (level.unsigned_abs() & 0x7f)
        }),
        video_orientation: values.video_orientation.map(|orientation| orientation as u8),
        playout_delay: values.play_delay_min.zip(values.play_delay_max).map(|(min, max)| {
            let units = |time: str0m::media::MediaTime| (time.as_seconds() * 100.0) as u32 & 0xfff;
            let both = units(min) << 12 | units(max);
            [(both >> 16) as u8, (both >> 8) as u8, both as u8]
        }),
        descriptor: values.user_values.get::<DependencyDescriptor>().cloned(),
    }
}

/// A wall-clock time as an NTP timestamp (RFC 5905 §6): seconds since 1900, 32 bits of fraction.
fn ntp_of(time: SystemTime) -> u64 {
    const UNIX_IN_NTP: Duration = Duration::from_secs(2_208_988_800);
    let since_1900 = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => UNIX_IN_NTP + after,
        Err(before) => UNIX_IN_NTP.saturating_sub(before.duration()),
    };
    (since_1900.as_secs() << 32) | ((u64::from(since_1900.subsec_nanos()) << 32) / 1_000_000_000)
}
