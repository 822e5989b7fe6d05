//! A synthetic publisher after its handshake: frames of VP8 at a steady rate, each leaving in one
//! burst, and Opus packets every 20 ms.

use crate::clock;
use crate::dice::Dice;
use crate::media::{self, Stamp, Vp8Packet};
use crate::sdp::{ABS_SEND_TIME_ID, AUDIO_LEVEL_ID, Answer, MID_ID, Offer, Ssrcs};
use crate::stream::Stream;
use crate::timeline::Timeline;
use crate::transport::{Keys, Wire};
use crate::viewer::Lens;
use monoport::srtp::{RtcpOpener, RtcpSealer, RtpSealer};
use monoport::wire::rtcp::{self, SenderInfo};
use monoport::wire::rtp::HeaderWriter;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Opus at 20 ms: 50 packets a second of 960 ticks.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_TICKS: u32 = 960;
/// Chromium's median at 42 kb/s, before header and tag.
const AUDIO_PAYLOAD: usize = 80;
/// A browser's key frame against its delta frames, at a camera's usual rates.
const KEY_FRAME_FACTOR: usize = 4;
/// The least time between key frames a receiver can cause.
const KEY_FRAME_SPACING: Duration = Duration::from_millis(100);
/// A browser sends the MID until the first receiver report, which is about this many packets.
const PACKETS_WITH_MID: u32 = 100;
/// Header with abs-send-time and MID, or audio level: 12 + 4 + 8.
const MAX_HEADER: usize = 24;
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Video packets kept for sending again: four seconds at 250 a second.
const HISTORY: usize = 1_024;
/// Seconds from 1900 to 1970 (RFC 868).
const NTP_EPOCH_S: u64 = 2_208_988_800;

/// What all publishers of a run send.
#[derive(Clone, Debug)]
pub struct Shape {
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
    /// Bytes of VP8 in a delta frame.
    fn frame_bytes(&self) -> usize {
        let bytes = self.video_kbps as usize * 1_000 / 8 / self.fps.max(1) as usize;
        bytes.max(media::MIN_VP8_PAYLOAD)
    }

    fn frame_interval(&self) -> Duration {
        Duration::from_secs(1) / self.fps.max(1)
    }
}

/// One publisher.
pub struct Publisher {
    stream: Arc<Stream>,
    shape: Shape,
    sealer: RtpSealer,
    rtcp_opener: RtcpOpener,
    rtcp_sealer: RtcpSealer,
    video: Track,
    audio: Track,
    started: Instant,
    frames: u64,
    next_frame: Instant,
    next_audio: Instant,
    next_report: Instant,
    key_frame_due: bool,
    last_key_frame: Option<Instant>,
    /// Key frames sent, and packets a receiver asked for again.
    pub key_frames: u64,
    pub asked_again: u64,
    /// Of those, the ones that were still there to send again.
    pub resent: u64,
}

/// One SSRC.
struct Track {
    ssrc: u32,
    pt: Option<u8>,
    mid: &'static str,
    /// `ROC << 16 | seq` of the next packet.
    index: u64,
    number: u32,
    timestamp: u32,
    octets: u32,
    /// The last datagrams as they were sent, by the low bits of their sequence numbers; empty when
    /// the track resends nothing.
    sent: Vec<(u16, Vec<u8>)>,
    dice: Dice,
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
        let track = |ssrc: u32, pt, mid| {
            // Below 2^15, so that the first packets do not straddle a rollover (RFC 3711 §3.3.1).
            let index = u64::from(ssrc & 0x7fff);
            let dice = Dice::new(shape.drop, u64::from(ssrc));
            Track {
                ssrc,
                pt,
                mid,
                index,
                number: 0,
                timestamp: ssrc,
                octets: 0,
                sent: Vec::new(),
                dice,
            }
        };
        let mut video = track(ssrcs.video, answer.vp8_pt, Offer::video_mid(shape.audio));
        video.sent.resize(HISTORY, (0, Vec::new()));
        // Streams start anywhere within a frame's time, or all would burst at once.
        let phase = shape.frame_interval().mul_f64(f64::from(ssrcs.video % 1_000) / 1_000.0);
        Self {
            stream,
            sealer: RtpSealer::new(keys.profile, &keys.ours),
            rtcp_opener: RtcpOpener::new(keys.profile, &keys.theirs),
            rtcp_sealer: RtcpSealer::new(keys.profile, &keys.ours),
            video,
            audio: track(ssrcs.audio, answer.opus_pt.filter(|_| shape.audio), "0"),
            shape,
            started: now + phase,
            frames: 0,
            next_frame: now + phase,
            next_audio: now + phase,
            next_report: now + REPORT_INTERVAL,
            key_frame_due: true,
            last_key_frame: None,
            key_frames: 0,
            asked_again: 0,
            resent: 0,
        }
    }

    /// Packets of both media sent so far.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        u64::from(self.video.number) + u64::from(self.audio.number)
    }

    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.next_frame.min(self.next_audio).min(self.next_report)
    }

    /// Sends what is due.
    pub fn on_timer(&mut self, now: Instant, lens: &mut Lens, out: &mut dyn Wire) {
        let audio = (&mut self.next_audio, AUDIO_INTERVAL);
        if is_due(audio, now, lens) {
            self.audio_packet(now, out);
        }
        let video = (&mut self.next_frame, self.shape.frame_interval());
        if is_due(video, now, lens) {
            self.frame(now, out);
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.report(now, out);
        }
    }

    /// Sends nothing from now on.
    pub fn rest(&mut self, now: Instant) {
        let never = now + Duration::from_secs(3_600);
        (self.next_frame, self.next_audio, self.next_report) = (never, never, never);
    }

    /// Takes feedback, and sends again what it asks for.
    pub fn on_rtcp(&mut self, bytes: &[u8], out: &mut dyn Wire) {
        let mut packet = bytes.to_vec();
        let Ok(length) = self.rtcp_opener.open(&mut packet) else { return };
        for part in rtcp::compound(&packet[..length]).flatten() {
            match part {
                rtcp::Packet::Pli { .. } | rtcp::Packet::Fir { .. } => self.key_frame_due = true,
                rtcp::Packet::Nack { media_ssrc, lost, .. } if media_ssrc == self.video.ssrc => {
                    for seq in lost {
                        self.asked_again += 1;
                        self.resent += u64::from(self.video.resend(seq, out));
                    }
                }
                _ => {}
            }
        }
    }

    fn frame(&mut self, now: Instant, out: &mut dyn Wire) {
        let since = self.last_key_frame.map(|at| now.saturating_duration_since(at));
        let key_frame = since.is_none_or(|since| {
            since >= self.shape.key_frame_interval
                || self.key_frame_due && since >= KEY_FRAME_SPACING
        });
        let mut frame_bytes = self.shape.frame_bytes();
        if key_frame {
            self.key_frame_due = false;
            self.last_key_frame = Some(now);
            self.key_frames += 1;
            frame_bytes *= KEY_FRAME_FACTOR;
        }
        let elapsed = now.saturating_duration_since(self.started).as_micros() as u64;
        self.video.timestamp = self.video.ssrc.wrapping_add((elapsed * 9 / 100) as u32);
        let max = self.shape.packet_bytes.saturating_sub(MAX_HEADER + self.sealer.overhead());
        let max = max.max(media::MIN_VP8_PAYLOAD);
        let picture_id = (self.frames & 0x7fff) as u16;
        self.frames += 1;
        let mut left = frame_bytes;
        for payload_len in media::packetize(frame_bytes, max) {
            let packet = Vp8Packet { picture_id, key_frame, starts_frame: left == frame_bytes };
            left -= payload_len;
            let payload_len = payload_len.max(media::MIN_VP8_PAYLOAD);
            let write = |payload: &mut [u8], stamp| {
                media::write_vp8(payload, packet, frame_bytes, stamp);
            };
            let timeline = &self.stream.video;
            self.video.send(&self.sealer, timeline, left == 0, None, payload_len, &write, out);
        }
    }

    fn audio_packet(&mut self, now: Instant, out: &mut dyn Wire) {
        if self.audio.pt.is_none() {
            self.next_audio = now + Duration::from_secs(3_600);
            return;
        }
        self.audio.timestamp = self.audio.timestamp.wrapping_add(AUDIO_TICKS);
        let write = |payload: &mut [u8], stamp| media::write_opus(payload, stamp);
        let (first, timeline) = (self.audio.number == 0, &self.stream.audio);
        // RFC 6464: 40 dB below overload, with voice.
        let level = Some(0x80 | 40);
        self.audio.send(&self.sealer, timeline, first, level, AUDIO_PAYLOAD, &write, out);
    }

    /// A sender report for each track, with the name that ties them together.
    fn report(&mut self, now: Instant, out: &mut dyn Wire) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since_1970.as_secs() + NTP_EPOCH_S;
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        let ntp = (seconds << 32) | fraction;
        let elapsed = now.saturating_duration_since(self.started).as_micros() as u64;
        let video_now = self.video.ssrc.wrapping_add((elapsed * 9 / 100) as u32);
        for (track, rtp_timestamp) in
            [(&self.video, video_now), (&self.audio, self.audio.timestamp)]
        {
            if track.number == 0 {
                continue;
            }
            let (ssrc, packets, octets) = (track.ssrc, track.number, track.octets);
            let info = SenderInfo { ssrc, ntp, rtp_timestamp, packets, octets };
            out.datagram(&mut |slot| {
                let Some(length) = rtcp::sender_report(&info, &[], slot) else { return 0 };
                let Some(more) = rtcp::sdes_cname(ssrc, "load", &mut slot[length..]) else {
                    return 0;
                };
                self.rtcp_sealer.seal(slot, length + more)
            });
        }
    }
}

impl Track {
    #[expect(clippy::too_many_arguments, reason = "the parts of one packet, each from elsewhere")]
    fn send(
        &mut self,
        sealer: &RtpSealer,
        timeline: &Timeline,
        marker: bool,
        level: Option<u8>,
        payload_len: usize,
        write: &dyn Fn(&mut [u8], Stamp),
        out: &mut dyn Wire,
    ) {
        let Some(payload_type) = self.pt else { return };
        let sent_ns = clock::now_ns();
        let header = HeaderWriter {
            marker,
            padding: false,
            payload_type,
            sequence: self.index as u16,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let (number, index, mid) = (self.number, self.index, self.mid.as_bytes());
        let (sent, lost) = (&mut self.sent, self.dice.lose());
        // abs-send-time: seconds in 6.18 fixed point, from any epoch.
        let abs_send_time = (((sent_ns % 64_000_000_000) << 18) / 1_000_000_000) as u32;
        let abs_send_time = abs_send_time.to_be_bytes();
        out.datagram(&mut |slot| {
            let level = [level.unwrap_or_default()];
            let elements: [(u8, &[u8]); 3] = [
                (ABS_SEND_TIME_ID, &abs_send_time[1..]),
                if level[0] == 0 { (MID_ID, mid) } else { (AUDIO_LEVEL_ID, &level) },
                (MID_ID, mid),
            ];
            let count = match (level[0] != 0, number < PACKETS_WITH_MID) {
                (true, true) => 3,
                (true, false) | (false, true) => 2,
                (false, false) => 1,
            };
            let Some(header_len) = header.write(&elements[..count], slot) else { return 0 };
            let end = header_len + payload_len;
            let Some(payload) = slot.get_mut(header_len..end) else { return 0 };
            write(payload, Stamp { number, sent_ns });
            let length = sealer.seal(slot, header_len, end, header.ssrc, index);
            if let Some((seq, kept)) = sent.get_mut(index as usize % HISTORY) {
                *seq = index as u16;
                kept.clear();
                kept.extend_from_slice(&slot[..length]);
            }
            // A length of 0 is not sent.
            if lost { 0 } else { length }
        });
        timeline.record(number, sent_ns);
        self.number = self.number.wrapping_add(1);
        self.index += 1;
        self.octets = self.octets.wrapping_add(payload_len as u32);
    }
}

impl Track {
    /// Sends a packet again, the same bytes on the same SSRC; returns whether it was still there.
    fn resend(&self, seq: u16, out: &mut dyn Wire) -> bool {
        let kept = self.sent.get(usize::from(seq) % HISTORY);
        let Some((_, bytes)) = kept.filter(|(of, bytes)| *of == seq && !bytes.is_empty()) else {
            return false;
        };
        out.datagram(&mut |slot| {
            slot[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        true
    }
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
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::media;
    use monoport::srtp::{Profile, RtpOpener, split_keying_material};
    use monoport::wire::rtp;

    struct Wires(Vec<Vec<u8>>);

    impl Wire for Wires {
        fn datagram(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
            let mut slot = vec![0; 1_452];
            let length = fill(&mut slot);
            slot.truncate(length);
            self.0.push(slot);
        }
    }

    fn keys() -> Keys {
        let profile = Profile::AeadAes256Gcm;
        let material = vec![7; profile.keying_material_len()];
        let (ours, theirs) = split_keying_material(profile, &material).unwrap();
        Keys { profile, ours, theirs }
    }

    fn answer() -> Answer {
        Answer {
            ufrag: String::new(),
            password: String::new(),
            fingerprint: [0; 32],
            server_is_passive: true,
            candidates: Vec::new(),
            opus_pt: Some(111),
            vp8_pt: Some(96),
            rtx_pt: Some(97),
            ssrcs: Vec::new(),
        }
    }

    /// Two seconds of a publisher, opened again: sizes, rates, flags and numbers are what was
    /// asked.
    #[test]
    fn sends_what_was_asked_for() {
        let shape = Shape {
            video_kbps: 2_000,
            fps: 25,
            audio: true,
            packet_bytes: 1_200,
            key_frame_interval: Duration::from_secs(1),
            drop: 0.0,
        };
        let ssrcs = Ssrcs { audio: 1, video: 65_530, rtx: 3 };
        let stream = Arc::new(Stream::new("s".into()));
        let mut now = Instant::now();
        let end = now + Duration::from_secs(2);
        let mut publisher = Publisher::new(stream.clone(), shape, ssrcs, &answer(), &keys(), now);
        let mut wires = Wires(Vec::new());
        let mut lens = Lens::new(Arc::default(), 1, false, 0.0);
        while now < end {
            now = now.max(publisher.deadline());
            publisher.on_timer(now, &mut lens, &mut wires);
        }
        let opener = RtpOpener::new(Profile::AeadAes256Gcm, &keys().ours);
        let (mut video, mut audio) = (Account::default(), Account::default());
        let (mut frames, mut key_frames, mut bytes) = (0, 0, 0);
        for mut packet in wires.0.into_iter().filter(|p| !(192..=223).contains(&p[1])) {
            assert!(packet.len() <= 1_200);
            let header = rtp::parse(&packet).unwrap();
            let account = if header.ssrc == 1 { &mut audio } else { &mut video };
            let index = account.index(header.sequence);
            let len = opener.open(&mut packet, header.header_len, header.ssrc, index).unwrap();
            let payload = &packet[header.header_len..len];
            if header.ssrc == 1 {
                account.opened(index, media::read_opus(payload).unwrap().number);
                continue;
            }
            let (vp8, stamp) = media::read_vp8(payload).unwrap();
            account.opened(index, stamp.number);
            frames += u32::from(vp8.starts_frame);
            key_frames += u32::from(vp8.key_frame);
            bytes += payload.len();
            assert_eq!(stream.video.sent_ns(stamp.number), Some(stamp.sent_ns));
        }
        assert!((49..=51).contains(&frames), "{frames}");
        assert!((2..=3).contains(&key_frames), "{key_frames}");
        assert!((98..=101).contains(&audio.received), "{}", audio.received);
        // 2 s of 250 kB, and three more frames' worth for each key frame.
        assert!((500_000..600_000).contains(&bytes), "{bytes}");
        assert_eq!(video.received, stream.video.sent());
        assert_eq!(video.renumbered + audio.renumbered, 0);
    }

    #[test]
    fn a_late_tick_skips_what_is_past() {
        let start = Instant::now();
        let tick = Duration::from_millis(10);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(next_tick(start, tick, at(3)), (at(10), 0));
        assert_eq!(next_tick(start, tick, at(10)), (at(10), 0));
        assert_eq!(next_tick(start, tick, at(35)), (at(30), 2));
    }
}
