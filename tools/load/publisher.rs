//! A synthetic publisher after its handshake: frames of video at a steady rate, each leaving in one
//! burst, and Opus packets every 20 ms.

mod track;

use crate::layers;
use crate::lens::Lens;
use crate::media::{self, Format, Packet};
use crate::sdp::{Answer, Offer, Ssrcs};
use crate::stream::Stream;
use crate::transport::{Keys, Wire};
use monoport::srtp::{RtcpOpener, RtcpSealer, RtpSealer};
use monoport::wire::rtcp;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use track::{Content, MAX_HEADER, Sending, Track};

/// Opus at 20 ms: 50 packets a second of 960 ticks.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_TICKS: u32 = 960;
/// Chromium's median at 42 kb/s, before header and tag.
const AUDIO_PAYLOAD: usize = 80;
/// A browser's key frame against its delta frames, at a camera's usual rates.
const KEY_FRAME_FACTOR: usize = 4;
/// The least time between key frames a receiver can cause.
const KEY_FRAME_SPACING: Duration = Duration::from_millis(100);
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// When nothing is due: after any run.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Seconds from 1900 to 1970 (RFC 868).
const NTP_EPOCH_S: u64 = 2_208_988_800;

/// What all publishers of a run send.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `None` where only audio is sent.
    pub video: Option<Format>,
    /// Simulcast layers, 1 for one size alone.
    pub layers: usize,
    /// Of the largest layer.
    pub video_kbps: u32,
    pub fps: u32,
    pub audio: bool,
    /// The largest datagram, header and tag included.
    pub packet_bytes: usize,
    /// Key frames that nobody asked for come this far apart.
    pub key_frame_interval: Duration,
    /// The part of packets that is lost on purpose before it is sent.
    pub drop: f64,
}

impl Shape {
    /// Bytes of video in a delta frame of a layer.
    fn frame_bytes(&self, layer: usize) -> usize {
        let bytes = self.video_kbps as usize * 1_000 / 8 / self.fps.max(1) as usize;
        let bytes = layers::frame_bytes(bytes, layer);
        bytes.max(media::MIN_VIDEO_PAYLOAD)
    }

    fn frame_interval(&self) -> Duration {
        Duration::from_secs(1) / self.fps.max(1)
    }
}

/// One size of a publisher's video.
struct Layer {
    track: Track,
    key_frame_due: bool,
    last_key_frame: Option<Instant>,
}

/// One publisher.
pub struct Publisher {
    stream: Arc<Stream>,
    shape: Shape,
    sealer: RtpSealer,
    rtcp_opener: RtcpOpener,
    rtcp_sealer: RtcpSealer,
    video: Vec<Layer>,
    audio: Track,
    started: Instant,
    frames: u64,
    next_frame: Instant,
    next_audio: Instant,
    next_report: Instant,
    /// The transport-wide number of the next packet.
    transport_sequence: u16,
    /// Reports of what arrived by transport-wide numbers.
    pub transport_feedback: u64,
    /// Key frames sent, and packets a receiver asked for again.
    pub key_frames: u64,
    pub asked_again: u64,
    /// Of those, the ones that were still there to send again.
    pub resent: u64,
}

impl Publisher {
    #[must_use]
    pub fn new(
        stream: Arc<Stream>,
        shape: Shape,
        ssrcs: Ssrcs,
        answer: &Answer,
        keys: &Keys,
        now: Instant,
    ) -> Self {
        let never = now + NEVER;
        let mid = Offer::video_mid(shape.audio);
        let format = shape.video.unwrap_or(Format::Vp8);
        let section = answer.video.filter(|_| shape.video.is_some());
        let layer = |layer| {
            let ssrc = layers::ssrc(ssrcs.video, layer);
            let track = Track::new((format, section), ssrc, mid, shape.drop);
            let track = if shape.layers > 1 { track.of_layer(layer) } else { track };
            Layer { track, key_frame_due: true, last_key_frame: None }
        };
        let video: Vec<Layer> = (0..shape.layers).map(layer).collect();
        let section = answer.audio.filter(|_| shape.audio);
        let audio = Track::new((Format::Opus, section), ssrcs.audio, "0", shape.drop);
        // Each begins anywhere within its interval, or all streams would send at once.
        let started = now + part_of(shape.frame_interval(), ssrcs.video);
        let first_audio = now + part_of(AUDIO_INTERVAL, ssrcs.audio);
        Self {
            stream,
            sealer: RtpSealer::new(keys.profile, &keys.ours),
            rtcp_opener: RtcpOpener::new(keys.profile, &keys.theirs),
            rtcp_sealer: RtcpSealer::new(keys.profile, &keys.ours),
            next_frame: if video[0].track.is_sent() { started } else { never },
            next_audio: if audio.is_sent() { first_audio } else { never },
            video,
            audio,
            shape,
            started,
            frames: 0,
            transport_sequence: 0,
            next_report: now + REPORT_INTERVAL,
            transport_feedback: 0,
            key_frames: 0,
            asked_again: 0,
            resent: 0,
        }
    }

    /// Packets of both media sent so far.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        let video: u64 = self.video.iter().map(|layer| u64::from(layer.track.number)).sum();
        video + u64::from(self.audio.number)
    }

    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.next_frame.min(self.next_audio).min(self.next_report)
    }

    /// Sends what is due.
    pub fn on_timer(&mut self, now: Instant, lens: &mut Lens, out: &mut dyn Wire) {
        let audio = (&mut self.next_audio, AUDIO_INTERVAL);
        if is_due(audio, now, lens) {
            self.audio_packet(out);
        }
        let video = (&mut self.next_frame, self.shape.frame_interval());
        if is_due(video, now, lens) {
            for layer in 0..self.video.len() {
                self.frame(layer, now, out);
            }
            self.frames += 1;
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.report(now, out);
        }
    }

    /// Sends nothing from now on.
    pub fn rest(&mut self, now: Instant) {
        let never = now + NEVER;
        (self.next_frame, self.next_audio, self.next_report) = (never, never, never);
    }

    /// Takes feedback, and sends again what it asks for.
    pub fn on_rtcp(&mut self, bytes: &[u8], out: &mut dyn Wire) {
        let mut packet = bytes.to_vec();
        let Ok(length) = self.rtcp_opener.open(&mut packet) else { return };
        for part in rtcp::compound(&packet[..length]).flatten() {
            match part {
                rtcp::Packet::Pli { media_ssrc, .. } => {
                    if let Some(layer) = self.layer(media_ssrc) {
                        layer.key_frame_due = true;
                    }
                }
                rtcp::Packet::Fir { entries } => {
                    for (ssrc, _) in entries {
                        if let Some(layer) = self.layer(ssrc) {
                            layer.key_frame_due = true;
                        }
                    }
                }
                rtcp::Packet::Nack { media_ssrc, lost, .. } => {
                    let Some(layer) = self.layer(media_ssrc) else { continue };
                    let asked: Vec<u16> = lost.into_iter().collect();
                    let resend = |seq: &&u16| layer.track.resend(**seq, out);
                    let resent = asked.iter().filter(resend).count();
                    self.asked_again += asked.len() as u64;
                    self.resent += resent as u64;
                }
                rtcp::Packet::TransportFeedback { .. } => self.transport_feedback += 1,
                _ => {}
            }
        }
    }

    fn layer(&mut self, ssrc: u32) -> Option<&mut Layer> {
        self.video.iter_mut().find(|layer| layer.track.ssrc() == ssrc)
    }

    fn frame(&mut self, number: usize, now: Instant, out: &mut dyn Wire) {
        let timestamp = self.video_time(number, now);
        let Some(layer) = self.video.get_mut(number) else { return };
        let since = layer.last_key_frame.map(|at| now.saturating_duration_since(at));
        let key_frame = since.is_none_or(|since| {
            since >= self.shape.key_frame_interval
                || layer.key_frame_due && since >= KEY_FRAME_SPACING
        });
        let mut frame_bytes = self.shape.frame_bytes(number);
        if key_frame {
            layer.key_frame_due = false;
            layer.last_key_frame = Some(now);
            self.key_frames += 1;
            frame_bytes *= KEY_FRAME_FACTOR;
        }
        layer.track.timestamp = timestamp;
        let max = self.shape.packet_bytes.saturating_sub(MAX_HEADER + self.sealer.overhead());
        let format = layer.track.format();
        let picture_id = (self.frames & 0x7fff) as u16;
        let sizes = format.payload_sizes(frame_bytes, key_frame, max);
        let transport_sequence = &mut self.transport_sequence;
        let mut with = Sending { sealer: &self.sealer, transport_sequence, out };
        for (part, &length) in sizes.iter().enumerate() {
            let last = part + 1 == sizes.len();
            let packet = Packet { picture_id, key_frame, part, last, layer: number };
            let write =
                |payload: &mut [u8], stamp| format.write(payload, packet, frame_bytes, stamp);
            let content = Content { marker: last, length, write: &write };
            // What viewers are told is of one SSRC.
            let timeline = (number == 0).then_some(&self.stream.video);
            layer.track.send(&content, timeline, &mut with);
        }
    }

    /// The instant in the clock of video.
    fn video_time(&self, layer: usize, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.started).as_micros() as u64;
        self.video[layer].track.ssrc().wrapping_add((elapsed * 9 / 100) as u32)
    }

    fn audio_packet(&mut self, out: &mut dyn Wire) {
        self.audio.timestamp = self.audio.timestamp.wrapping_add(AUDIO_TICKS);
        // RFC 3551 §4.1: the first packet after silence is marked.
        let marker = self.audio.number == 0;
        let content = Content { marker, length: AUDIO_PAYLOAD, write: &media::write_opus };
        let transport_sequence = &mut self.transport_sequence;
        let mut with = Sending { sealer: &self.sealer, transport_sequence, out };
        self.audio.send(&content, Some(&self.stream.audio), &mut with);
    }

    /// A sender report for each track, with the name that ties them together.
    fn report(&mut self, now: Instant, out: &mut dyn Wire) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since_1970.as_secs() + NTP_EPOCH_S;
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        let ntp = (seconds << 32) | fraction;
        let of = |layer: usize| self.video[layer].track.report(ntp, self.video_time(layer, now));
        let mut reports: Vec<_> = (0..self.video.len()).filter_map(of).collect();
        reports.extend(self.audio.report(ntp, self.audio.timestamp));
        for info in reports {
            out.datagram(&mut |slot| {
                let Some(length) = rtcp::sender_report(&info, &[], slot) else { return 0 };
                let Some(more) = rtcp::sdes_cname(info.ssrc, "load", &mut slot[length..]) else {
                    return 0;
                };
                self.rtcp_sealer.seal(slot, length + more)
            });
        }
    }
}

/// A part of an interval that differs from SSRC to SSRC.
fn part_of(interval: Duration, ssrc: u32) -> Duration {
    interval.mul_f64(f64::from(ssrc % 1_009) / 1_009.0)
}

/// Whether a tick has come; then the next one is set, and how late this one was is counted.
fn is_due((tick, interval): (&mut Instant, Duration), now: Instant, lens: &mut Lens) -> bool {
    if now < *tick {
        return false;
    }
    let late = now - *tick;
    let (next, skipped) = next_tick(*tick, interval, now);
    *tick = next;
    lens.punctuality.left(late, skipped, lens.measuring);
    true
}

/// The tick after `due` that is not past yet, and how many were left out on the way.
fn next_tick(due: Instant, interval: Duration, now: Instant) -> (Instant, u64) {
    let next = due + interval;
    let late = now.saturating_duration_since(next);
    let skipped = (late.as_nanos() / interval.as_nanos()) as u32;
    (next + interval * skipped, u64::from(skipped))
}

#[cfg(test)]
mod tests;
