//! The publisher's side of a session: from str0m's packets to the stream's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, Mid, SenderFeedback};
use str0m::rtp::{ExtensionValues, RtpPacket};
use str0m::stats::MediaIngressStats;

use super::decryption::Seen;
use super::sources::{Part, Sources};
use super::uplink::Uplink;
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::{CODEC_SWITCH_PAUSE, MAX_TRACKS_OF_A_KIND};
use crate::media::{
    ClockReport, DependencyDescriptor, HeaderExtensions, MediaPacket, Origin, starts_keyframe,
};

/// What a publisher sends, and under which stream.
#[derive(Debug)]
pub struct Publisher {
    /// The stream it publishes.
    pub stream: StreamKey,
    /// Its number among the publishers of the stream, once it has taken over; see [`Origin`].
    pub number: u32,
    tracks: Vec<Published>,
    sources: Sources,
    /// SSRCs that have authenticated.
    pub(super) seen: Seen,
    /// How its media arrives.
    pub uplink: Uplink,
    /// The payload type that a track went over to, until somebody has been told.
    pub switched_to: Option<u8>,
}

/// One track of a publisher.
#[derive(Clone, Debug)]
struct Published {
    id: TrackId,
    mid: Mid,
    /// What its packets are, by the last that came; before, by what the answer names first.
    codec: Codec,
    payload_type: u8,
    /// All that it was answered.
    answered: Vec<(u8, Codec)>,
    /// When it last went over to another one.
    switched: Option<Instant>,
}

impl Published {
    fn takes(&self, payload_type: u8) -> bool {
        self.answered.iter().any(|(answered, _)| *answered == payload_type)
    }

    /// It goes on with another payload type of its answer. One that comes and goes with each packet
    /// is not followed.
    fn switch_to(&mut self, now: Instant, payload_type: u8) -> Result<(), DropReason> {
        let soon = self.switched.is_some_and(|at| now < at + CODEC_SWITCH_PAUSE);
        let answered = self.answered.iter().find(|(answered, _)| *answered == payload_type);
        let (_, codec) = answered.filter(|_| !soon).ok_or(DropReason::UnknownPayloadType)?;
        (self.payload_type, self.codec, self.switched) = (payload_type, *codec, Some(now));
        Ok(())
    }
}

impl Publisher {
    /// The publisher behind `rtc`, whose sections are `mids`.
    pub(super) fn new(stream: StreamKey, rtc: &Rtc, mids: &[Mid]) -> Publisher {
        let mut tracks: Vec<Published> = Vec::new();
        for mid in mids {
            let Some(media) = rtc.media(*mid) else { continue };
            let audio = media.kind().is_audio();
            let kind = if audio { TrackKind::Audio } else { TrackKind::Video };
            let number = tracks.iter().filter(|track| track.id.kind == kind).count();
            let params = rtc.codec_config().params().iter();
            let answered: Vec<(u8, Codec)> = params
                .filter(|params| media.remote_pts().contains(&params.pt()))
                .map(|params| (*params.pt(), params.spec().codec))
                .collect();
            if let Some(&(payload_type, codec)) = answered.first()
                && number < MAX_TRACKS_OF_A_KIND
            {
                let (id, mid) = (TrackId { kind, number: number as u8 }, *mid);
                let switched = None;
                tracks.push(Published { id, mid, codec, payload_type, answered, switched });
            }
        }
        Publisher {
            stream,
            number: 0,
            tracks,
            sources: Sources::default(),
            seen: Seen::default(),
            uplink: Uplink::default(),
            switched_to: None,
        }
    }

    /// Its tracks.
    pub fn tracks(&self) -> impl Iterator<Item = TrackId> + '_ {
        self.tracks.iter().map(|track| track.id)
    }

    /// Turns a decrypted packet into the stream's.
    ///
    /// # Errors
    /// Why it belongs to no layer of a track.
    pub(super) fn media(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        packet: RtpPacket,
    ) -> Result<MediaPacket, DropReason> {
        let part = self.part_of(rtc, now, &packet)?;
        let track = &mut self.tracks[part.track];
        let payload_type = *packet.header.payload_type;
        if payload_type != track.payload_type {
            track.switch_to(now, payload_type)?;
            self.switched_to = Some(payload_type);
        }
        let (codec, Part { layer, source, .. }) = (track.codec, part);
        Ok(MediaPacket {
            track: TrackKey { stream: self.stream, id: track.id },
            codec,
            layer,
            origin: Origin { publisher: self.number, source },
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            keyframe: starts_keyframe(codec, &packet.payload),
            extensions: extensions(&packet.header.ext_vals),
            padding: 0,
            received: now,
            payload: packet.payload,
        })
    }

    /// What a packet is a part of: by its SSRC once that is known, before by MID and RID, which
    /// ride along until then, else by its payload type (RFC 9143 §9.2).
    fn part_of(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        packet: &RtpPacket,
    ) -> Result<Part, DropReason> {
        let ssrc = packet.header.ssrc;
        if let Some(part) = self.sources.find(now, *ssrc) {
            return Ok(part);
        }
        let mut direct = rtc.direct_api();
        let known = direct.stream_rx(&ssrc).map(|stream| (stream.mid(), stream.rid()));
        let mid = packet.header.ext_vals.mid.or(known.map(|(mid, _rid)| mid));
        let rid = packet.header.ext_vals.rid.or(known.and_then(|(_mid, rid)| rid));
        let payload_type = *packet.header.payload_type;
        let track = match mid {
            Some(mid) => self.tracks.iter().position(|track| track.mid == mid),
            None => {
                let mut fit = self.tracks.iter().enumerate();
                let mut fit = fit.by_ref().filter(|(_, t)| t.takes(payload_type));
                let first = fit.next().map(|(index, _track)| index);
                // Where two tracks have one payload type, it says nothing.
                first.filter(|_| fit.next().is_none())
            }
        };
        let track = track.ok_or(DropReason::UnknownTrack)?;
        self.sources.add(now, *ssrc, track, rid).ok_or(DropReason::TooManyLayers)
    }

    /// What a sender report says of the clock of one layer. Layers share a wall clock, but each has
    /// RTP times of its own.
    pub(super) fn clock(&mut self, now: Instant, feedback: &SenderFeedback) -> Option<ClockReport> {
        let info = &feedback.sender_info;
        let Part { track, layer, source } = self.sources.find(now, *info.ssrc)?;
        Some(ClockReport {
            track: TrackKey { stream: self.stream, id: self.tracks[track].id },
            layer,
            origin: Origin { publisher: self.number, source },
            ntp: ntp_of(info.ntp_time),
            timestamp: info.rtp_time.numer() as u32,
            received: now,
        })
    }

    /// Takes in what str0m says of one of its tracks or layers.
    pub(super) fn arrives(&mut self, stats: &MediaIngressStats) {
        let track = self.tracks.iter().find(|track| track.mid == stats.mid);
        let kind = track.map_or(TrackKind::Video, |track| track.id.kind);
        self.uplink.video |= kind == TrackKind::Video;
        self.uplink.take_in(stats, kind.clock_rate());
    }

    /// Asks for a key frame of one layer; false where nothing was heard of it that could be asked.
    pub(super) fn request_keyframe(&mut self, rtc: &mut Rtc, track: TrackId, layer: u8) -> bool {
        let Some(index) = self.tracks.iter().position(|known| known.id == track) else {
            return false;
        };
        let mut direct = rtc.direct_api();
        let heard = self.sources.of(index, layer);
        let stream = match heard {
            Some(ssrc) => direct.stream_rx(&ssrc.into()),
            None => direct.stream_rx_by_mid(self.tracks[index].mid, None),
        };
        let Some(stream) = stream else { return false };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        true
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
