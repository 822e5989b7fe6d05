//! A synthetic viewer after its handshake: counts what arrives, opens a sample of it, and reports
//! as a receiver does.

use crate::account::{Account, Arrival};
use crate::clock::Came;
use crate::feedback::Feedback;
use crate::hardship::{Hardship, Silence};
use crate::lens::Lens;
use crate::media::Format;
use crate::screen::{Part, Screen, Seen};
use crate::sdp::{Answer, Section};
use crate::served::Who;
use crate::stream::Stream;
use crate::transport::Keys;
use monoport::srtp::{Rollover, RtcpOpener, RtcpSealer, RtpOpener};
use monoport::wire::rtcp::{self, ReportBlock};
use monoport::wire::rtp;
use std::sync::Arc;
use std::time::Instant;

/// Chromium's sender SSRC on a receive-only connection.
const OWN_SSRC: u32 = 1;
/// Packets missing in a row beyond which a receiver waits for a key frame instead of asking.
const MAX_NACK: usize = 64;
/// What a viewer says it can take, in bits per second: more than any stream here has.
const REMB_BPS: u64 = 50_000_000;

/// One viewer.
pub struct Viewer {
    stream: Arc<Stream>,
    opener: RtpOpener,
    rtcp_opener: RtcpOpener,
    rtcp_sealer: RtcpSealer,
    video: Media,
    audio: Media,
    rtx_pt: Option<u8>,
    /// What it says of transport-wide numbers, where they were negotiated.
    feedback: Option<Feedback>,
    until_open: u32,
    /// What it sees, where pictures are looked at: then every packet is opened.
    screen: Option<Box<Screen>>,
    who: Who,
    repairs: Rollover,
}

/// One of a viewer's two media.
struct Media {
    format: Format,
    section: Option<Section>,
    ssrc: Option<u32>,
    account: Account,
    silence: Silence,
    /// At the last report: packets received and highest sequence number.
    reported: (u64, u32),
    /// The middle of the last sender report's NTP time, and when it came (RFC 3550 §6.4.1).
    last_report: Option<(u32, u64)>,
    lost_by_report: i32,
}

impl Viewer {
    #[must_use]
    pub fn new(
        stream: Arc<Stream>,
        video: Option<Format>,
        answer: &Answer,
        keys: &Keys,
        now_ns: u64,
    ) -> Self {
        let feeds = |section: &Section| section.transport_feedback;
        let sections = || [answer.video, answer.audio].into_iter().flatten();
        let id = sections().filter(feeds).find_map(|section| section.transport_wide);
        Self {
            stream,
            opener: RtpOpener::new(keys.profile, &keys.theirs),
            rtcp_opener: RtcpOpener::new(keys.profile, &keys.theirs),
            rtcp_sealer: RtcpSealer::new(keys.profile, &keys.ours),
            video: Media::new(video.unwrap_or(Format::Vp8), answer.video),
            audio: Media::new(Format::Opus, answer.audio),
            rtx_pt: answer.rtx_pt,
            feedback: id.map(|id| Feedback::new(id, crate::clock::instant(now_ns))),
            until_open: 0,
            screen: None,
            who: Who { since_ns: now_ns, ..Who::default() },
            repairs: Rollover::default(),
        }
    }

    /// The same with a look at its pictures; `linked` when it is behind a link.
    #[must_use]
    pub fn with_screen(self, linked: bool) -> Self {
        Self { screen: Some(Box::default()), who: Who { linked, ..self.who }, ..self }
    }

    /// The same of the server in this place among those of the worker.
    #[must_use]
    pub fn of_server(self, server: usize) -> Self {
        Self { who: Who { server, ..self.who }, ..self }
    }

    /// Begins or ends the measurement of its pictures.
    pub fn measure(&mut self, measuring: bool, now_ns: u64) {
        if let Some(screen) = &mut self.screen {
            screen.measure(measuring, now_ns);
        }
    }

    /// What it saw, where its pictures are looked at.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.screen.as_ref().map(|screen| screen.seen())
    }

    /// Whether there may be something that who looks at pictures asks for.
    #[must_use]
    pub fn lacks(&self) -> bool {
        self.screen.as_ref().is_some_and(|screen| screen.lacks())
    }

    /// Writes what who looks at pictures asks for: video packets again, or a key frame; returns its
    /// length, 0 when nothing lacks.
    pub fn write_wishes(&mut self, now_ns: u64, out: &mut [u8]) -> usize {
        let Some((screen, ssrc)) = self.screen.as_mut().zip(self.video.ssrc) else { return 0 };
        let lost = screen.missing(now_ns);
        if screen.needs_key_frame(now_ns) {
            let length = rtcp::pli(OWN_SSRC, ssrc, out).unwrap_or(0);
            return if length > 0 { self.rtcp_sealer.seal(out, length) } else { 0 };
        }
        if lost.is_empty() { 0 } else { self.write_nack(&lost, out) }
    }

    /// Video and audio, each with how many packets its publisher has sent.
    #[must_use]
    pub fn accounts(&self) -> ((&Account, u64), (&Account, u64)) {
        let Self { video, audio, stream, .. } = self;
        ((&video.account, stream.video.sent()), (&audio.account, stream.audio.sent()))
    }

    /// What it lacks of video and audio at `now_ns`.
    pub fn hardships(&self, now_ns: u64) -> impl Iterator<Item = Hardship> {
        let (video, audio) = self.accounts();
        let stream = self.stream.name.as_str();
        let of = |media, account, silence| Hardship::of((stream, media), account, silence, now_ns);
        let video = of("video", video, self.video.silence);
        video.into_iter().chain(of("audio", audio, self.audio.silence))
    }

    /// Takes an RTP packet; returns the sequence numbers to ask for again.
    pub fn on_rtp(&mut self, bytes: &[u8], came: Came, lens: &mut Lens) -> Vec<u16> {
        let now_ns = came.now_ns;
        if lens.dice.lose() {
            lens.odd.dropped += 1;
            return Vec::new();
        }
        let Ok(header) = rtp::parse(bytes) else {
            lens.odd.unknown += 1;
            return Vec::new();
        };
        if let Some(feedback) = &mut self.feedback {
            feedback.arrived(header.elements(bytes), came);
        }
        let pt = header.payload_type;
        if Some(pt) == self.rtx_pt {
            self.on_repair(bytes, &header, now_ns, lens);
            return Vec::new();
        }
        let is_video = self.video.has(pt);
        if !is_video && !self.audio.has(pt) {
            lens.odd.unknown += 1;
            return Vec::new();
        }
        let media = if is_video { &mut self.video } else { &mut self.audio };
        media.ssrc = Some(header.ssrc);
        media.silence.broken(now_ns);
        let index = media.account.index(header.sequence);
        let gap = media.account.gap_before(index, MAX_NACK);
        self.until_open = self.until_open.saturating_sub(1);
        let open = self.until_open == 0 || media.account.must_open() || self.screen.is_some();
        if open {
            self.until_open = lens.open_one_in;
            self.open(bytes, &header, index, is_video, now_ns, lens);
        } else {
            let arrival = media.account.arrived(index);
            let timeline = if is_video { &self.stream.video } else { &self.stream.audio };
            if let Arrival::Fresh(Some(number)) = arrival
                && let Some(sent_ns) = timeline.sent_ns(number)
            {
                lens.record(self.who, sent_ns, now_ns);
            }
        }
        if lens.nack && self.screen.is_none() && is_video && self.video.account.has_begun() {
            return gap.map(|index| index as u16).collect();
        }
        Vec::new()
    }

    /// Authenticates and decrypts, and believes the stamp.
    fn open(
        &mut self,
        bytes: &[u8],
        header: &rtp::Header,
        index: u64,
        is_video: bool,
        now_ns: u64,
        lens: &mut Lens,
    ) {
        let Some(packet) = lens.scratch.get_mut(..bytes.len()) else {
            lens.odd.unknown += 1;
            return;
        };
        packet.copy_from_slice(bytes);
        let Ok(length) = self.opener.open(packet, header.header_len, header.ssrc, index) else {
            lens.odd.unauthentic += 1;
            return;
        };
        let payload = header.payload(&packet[..length]).unwrap_or_default();
        let media = if is_video { &mut self.video } else { &mut self.audio };
        if payload.is_empty() {
            lens.odd.padding += 1;
            if let Some(screen) = self.screen.as_mut().filter(|_| is_video) {
                screen.packet(index, Part::Padding, now_ns);
            }
            return;
        }
        let stamp = media.format.stamp(payload);
        if let Some(screen) = self.screen.as_mut().filter(|_| is_video) {
            let starts = media.format.starts(payload);
            let layer = stamp.map(|stamp| stamp.layer);
            screen.packet(index, Part::Media { starts, ends: header.marker, layer }, now_ns);
        }
        lens.odd.unstamped += u64::from(stamp.is_none());
        if !media.account.has_begun() && !media.format.starts(payload) {
            media.account.passed(index);
            return;
        }
        // With layers, numbers are those of several SSRCs.
        let numbered = stamp.filter(|_| self.screen.is_none());
        let Some(stamp) = numbered else {
            let arrival = media.account.opened_without_number(index);
            if let Some((stamp, Arrival::Fresh(_))) = stamp.map(|stamp| (stamp, arrival)) {
                lens.record(self.who, stamp.sent_ns, now_ns);
            }
            return;
        };
        let timeline = if is_video { &self.stream.video } else { &self.stream.audio };
        if timeline.sent_ns(stamp.number).is_some_and(|sent_ns| sent_ns != stamp.sent_ns) {
            lens.odd.disagreeing += 1;
        }
        if let Arrival::Fresh(_) = media.account.opened(index, stamp.number) {
            lens.record(self.who, stamp.sent_ns, now_ns);
        }
    }

    /// Takes a retransmission (RFC 4588): the original sequence number, then the original payload.
    fn on_repair(&mut self, bytes: &[u8], header: &rtp::Header, now_ns: u64, lens: &mut Lens) {
        lens.odd.repairs += 1;
        let Some(packet) = lens.scratch.get_mut(..bytes.len()) else { return };
        packet.copy_from_slice(bytes);
        let index = self.repairs.guess(header.sequence);
        let Ok(length) = self.opener.open(packet, header.header_len, header.ssrc, index) else {
            lens.odd.unauthentic += 1;
            return;
        };
        self.repairs.update(index);
        let payload = header.payload(&packet[..length]).unwrap_or_default();
        let Some((original, payload)) = payload.split_first_chunk::<2>() else { return };
        let stamp = self.video.format.stamp(payload);
        let account = &mut self.video.account;
        let index = account.index(u16::from_be_bytes(*original));
        if payload.is_empty() {
            return;
        }
        if let Some(screen) = &mut self.screen {
            let starts = self.video.format.starts(payload);
            let layer = stamp.map(|stamp| stamp.layer);
            screen.packet(index, Part::Media { starts, ends: header.marker, layer }, now_ns);
        }
        if !account.has_begun() {
            return;
        }
        let Some(stamp) = stamp.filter(|_| self.screen.is_none()) else {
            account.opened_without_number(index);
            return;
        };
        if let Arrival::Fresh(_) = account.opened(index, stamp.number) {
            lens.record(self.who, stamp.sent_ns, now_ns);
        }
    }

    /// Takes an RTCP packet.
    pub fn on_rtcp(&mut self, bytes: &[u8], now_ns: u64, lens: &mut Lens) {
        let Some(packet) = lens.scratch.get_mut(..bytes.len()) else { return };
        packet.copy_from_slice(bytes);
        let Ok(length) = self.rtcp_opener.open(packet) else {
            lens.odd.unauthentic += 1;
            return;
        };
        for part in rtcp::compound(&packet[..length]).flatten() {
            let rtcp::Packet::SenderReport { ssrc, ntp, .. } = part else { continue };
            lens.odd.sender_reports += 1;
            for media in [&mut self.video, &mut self.audio] {
                if media.ssrc == Some(ssrc) {
                    media.last_report = Some(((ntp >> 16) as u32, now_ns));
                }
            }
        }
    }

    /// When transport-wide feedback is due; `None` where nothing came or it was not negotiated.
    #[must_use]
    pub fn feedback_due(&self) -> Option<Instant> {
        self.feedback.as_ref().and_then(Feedback::due)
    }

    /// Writes sealed transport-wide feedback; returns its length, 0 when nothing came since.
    pub fn write_feedback(&mut self, now: Instant, out: &mut [u8]) -> usize {
        let media = self.video.ssrc.or(self.audio.ssrc);
        let Some(feedback) = &mut self.feedback else { return 0 };
        let Some(ssrc) = media else {
            feedback.postpone(now);
            return 0;
        };
        let Some(length) = feedback.write(OWN_SSRC, ssrc, now, out) else { return 0 };
        self.rtcp_sealer.seal(out, length)
    }

    /// Writes a sealed receiver report, with a bandwidth estimate where the server takes one;
    /// returns its length, 0 before media.
    pub fn write_report(&mut self, now_ns: u64, out: &mut [u8]) -> usize {
        let blocks: Vec<ReportBlock> = [&mut self.video, &mut self.audio]
            .into_iter()
            .filter_map(|m| m.report(now_ns))
            .collect();
        if blocks.is_empty() {
            return 0;
        }
        let Some(mut length) = rtcp::receiver_report(OWN_SSRC, &blocks, out) else { return 0 };
        let estimates = self.video.section.is_some_and(|section| section.remb);
        let ssrcs: Vec<u32> = blocks.iter().map(|block| block.ssrc).collect();
        if estimates && let Some(more) = rtcp::remb(OWN_SSRC, REMB_BPS, &ssrcs, &mut out[length..])
        {
            length += more;
        }
        // Media without the start of a key frame shows nothing: ask for one, as a decoder does.
        if let Some(ssrc) = self.video.ssrc.filter(|_| !self.video.account.has_begun())
            && let Some(more) = rtcp::pli(OWN_SSRC, ssrc, &mut out[length..])
        {
            length += more;
        }
        self.rtcp_sealer.seal(out, length)
    }

    /// Writes a sealed request for `lost` video packets.
    pub fn write_nack(&mut self, lost: &[u16], out: &mut [u8]) -> usize {
        let Some(ssrc) = self.video.ssrc else { return 0 };
        let Some(length) = rtcp::nack(OWN_SSRC, ssrc, lost, out) else { return 0 };
        self.rtcp_sealer.seal(out, length)
    }
}

impl Media {
    fn new(format: Format, section: Option<Section>) -> Self {
        Self {
            format,
            section,
            ssrc: None,
            account: Account::default(),
            silence: Silence::default(),
            reported: (0, 0),
            last_report: None,
            lost_by_report: 0,
        }
    }

    /// Whether a payload type is that of this media.
    fn has(&self, payload_type: u8) -> bool {
        self.section.is_some_and(|section| section.payload_type == payload_type)
    }

    /// The report block since the last one (RFC 3550 appendix A.3).
    fn report(&mut self, now_ns: u64) -> Option<ReportBlock> {
        let ssrc = self.ssrc?;
        let (before, highest_before) = self.reported;
        let (received, highest) = (self.account.received, self.account.extended_highest());
        self.reported = (received, highest);
        let expected =
            if before == 0 { 0 } else { u64::from(highest.wrapping_sub(highest_before)) };
        let lost = expected.saturating_sub(received - before);
        self.lost_by_report = self.lost_by_report.saturating_add(lost as i32);
        let (last_sr, since_ns) = self.last_report.map_or((0, 0), |(sr, at)| (sr, now_ns - at));
        Some(ReportBlock {
            ssrc,
            fraction_lost: (lost * 256 / expected.max(1)).min(255) as u8,
            cumulative_lost: self.lost_by_report,
            highest_sequence: highest,
            jitter: 0,
            last_sr,
            // In units of 1/65,536 s.
            delay_since_last_sr: if last_sr == 0 {
                0
            } else {
                (since_ns * 65_536 / 1_000_000_000) as u32
            },
        })
    }
}

#[cfg(test)]
mod tests;
