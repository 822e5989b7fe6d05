//! The client's half of SDP: an offer as a browser would write it, from a template, and a scan of
//! the answer for the few values a synthetic peer needs.

use crate::layers::RIDS;
use crate::media::Format;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Payload types of the offer, the ones Chromium uses: of the codec and of its retransmissions.
pub const OPUS_PT: u8 = 111;
const VP8_PTS: (u8, u8) = (96, 97);
const VP9_PTS: (u8, u8) = (98, 99);
const H264_PTS: (u8, u8) = (106, 107);
const AV1_PTS: (u8, u8) = (45, 46);

/// Extension ids of the offer.
pub const AUDIO_LEVEL_ID: u8 = 1;
pub const ABS_SEND_TIME_ID: u8 = 2;
const TRANSPORT_WIDE_ID: u8 = 3;
pub const MID_ID: u8 = 4;
const RID_ID: u8 = 5;
/// The name of a layer (RFC 8852 §3.1).
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";

/// Transport-wide numbers (draft-holmer-rmcat-transport-wide-cc-extensions §2).
const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// What one peer puts into its offer.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    pub ufrag: &'a str,
    pub password: &'a str,
    /// Upper-case hexadecimal with colons.
    pub fingerprint: &'a str,
    /// Whether there is an audio section, before that of video.
    pub audio: bool,
    /// The codec of the video section; `None` without one.
    pub video: Option<Format>,
    /// Layers of video that a publisher sends (RFC 8853); 1 for no simulcast.
    pub layers: usize,
    /// The SSRCs this peer sends with; `None` for a viewer.
    pub sends: Option<Ssrcs>,
}

/// The SSRCs of a publisher.
#[derive(Clone, Copy, Debug)]
pub struct Ssrcs {
    pub audio: u32,
    pub video: u32,
    pub rtx: u32,
}

impl Offer<'_> {
    /// The MID of the video section; audio, where there is any, has `"0"`.
    #[must_use]
    pub fn video_mid(audio: bool) -> &'static str {
        if audio { "1" } else { "0" }
    }

    /// The offer as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mids = if self.audio && self.video.is_some() { "0 1" } else { "0" };
        let mut text = String::with_capacity(2_400);
        text.push_str("v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
        let _ = write!(
            text,
            "a=group:BUNDLE {mids}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS load\r\n"
        );
        if self.audio {
            self.section(&mut text, "audio", "0", &OPUS_PT.to_string());
            let _ = write!(
                text,
                "a=extmap:{AUDIO_LEVEL_ID} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
                 a=rtpmap:{OPUS_PT} opus/48000/2\r\na=rtcp-fb:{OPUS_PT} transport-cc\r\n\
                 a=fmtp:{OPUS_PT} minptime=10;useinbandfec=1\r\n"
            );
            if let Some(ssrcs) = self.sends {
                let _ = write!(text, "a=ssrc:{} cname:load\r\n", ssrcs.audio);
            }
        }
        if let Some(format) = self.video {
            self.video_section(&mut text, format);
        }
        text
    }

    fn video_section(&self, text: &mut String, format: Format) {
        let (pt, rtx) = video_pts(format);
        self.section(text, "video", Self::video_mid(self.audio), &format!("{pt} {rtx}"));
        let _ = write!(
            text,
            "a=rtpmap:{pt} {}/90000\r\na=rtcp-fb:{pt} goog-remb\r\n\
             a=rtcp-fb:{pt} transport-cc\r\na=rtcp-fb:{pt} ccm fir\r\n\
             a=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\n",
            format.name()
        );
        // What a browser says of itself; VP8 has no parameters.
        let parameters = match format {
            Format::H264 => {
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
            }
            Format::Vp9 => "profile-id=0",
            Format::Av1 => "level-idx=5;profile=0;tier=0",
            Format::Vp8 | Format::Opus => "",
        };
        if !parameters.is_empty() {
            let _ = write!(text, "a=fmtp:{pt} {parameters}\r\n");
        }
        let _ = write!(text, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
        let Some(Ssrcs { video, rtx, .. }) = self.sends else { return };
        if self.layers > 1 {
            // As browsers: layers are known by their names, and no SSRC is told.
            let _ = write!(text, "a=extmap:{RID_ID} {RID}\r\n");
            let rids = &RIDS[..self.layers];
            for rid in rids {
                let _ = write!(text, "a=rid:{rid} send\r\n");
            }
            let _ = write!(text, "a=simulcast:send {}\r\n", rids.join(";"));
        } else {
            let _ = write!(
                text,
                "a=ssrc-group:FID {video} {rtx}\r\na=ssrc:{video} cname:load\r\n\
                 a=ssrc:{rtx} cname:load\r\n"
            );
        }
    }

    /// The lines that both kinds of section share.
    fn section(&self, text: &mut String, kind: &str, mid: &str, pts: &str) {
        let Self { ufrag, password, fingerprint, .. } = self;
        let direction = if self.sends.is_some() { "sendonly" } else { "recvonly" };
        let _ = write!(
            text,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {pts}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:{mid}\r\n\
             a=extmap:{ABS_SEND_TIME_ID} \
             http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
             a=extmap:{TRANSPORT_WIDE_ID} {TRANSPORT_WIDE}\r\n\
             a=extmap:{MID_ID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        );
        if self.sends.is_some() {
            let _ = write!(text, "a=msid:load load-{kind}\r\n");
        }
    }
}

/// The payload types of the offer for video: of the codec, and of its retransmissions.
fn video_pts(format: Format) -> (u8, u8) {
    match format {
        Format::H264 => H264_PTS,
        Format::Vp9 => VP9_PTS,
        Format::Av1 => AV1_PTS,
        Format::Vp8 | Format::Opus => VP8_PTS,
    }
}

/// What the answer gives of one kind of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    pub payload_type: u8,
    /// The identifier of transport-wide numbers, where both sides have them.
    pub transport_wide: Option<u8>,
    /// The identifier of the names of layers.
    pub rid: Option<u8>,
    /// Whether reports of them are asked for, and estimates of the bandwidth.
    pub transport_feedback: bool,
    pub remb: bool,
}

/// What a synthetic peer takes from the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub ufrag: String,
    pub password: String,
    /// SHA-256 of the server's certificate.
    pub fingerprint: [u8; 32],
    /// Whether the server waits for our ClientHello (`a=setup:passive`).
    pub server_is_passive: bool,
    /// The UDP host candidates, in their order.
    pub candidates: Vec<SocketAddr>,
    /// Where it accepted the codec.
    pub audio: Option<Section>,
    pub video: Option<Section>,
    pub rtx_pt: Option<u8>,
    /// SSRCs the server announced, each once, in their order.
    pub ssrcs: Vec<u32>,
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnswerError {
    #[error("the answer has no {0}")]
    Missing(&'static str),
    #[error("the answer takes no {0}: is the codec one the server, or its publisher, has?")]
    Codec(&'static str),
    #[error("the answer's fingerprint is not 32 bytes of sha-256")]
    Fingerprint,
}

impl Answer {
    /// Scans the answer to an offer of `audio` and `video` line by line. With BUNDLE the first
    /// section's transport lines count for all.
    ///
    /// # Errors
    /// When a value without which no session can start is missing, or a codec that was asked for.
    pub fn scan(text: &str, audio: bool, video: Option<Format>) -> Result<Self, AnswerError> {
        let (mut ufrag, mut password, mut fingerprint) = (None, None, None);
        let mut server_is_passive = true;
        let mut candidates = Vec::new();
        let mut ssrcs = Vec::new();
        let mut sections = Sections { video_codec: video, ..Sections::default() };
        for line in text.lines().map(str::trim_end) {
            if let Some(kind) = line.strip_prefix("m=") {
                sections.begin(kind);
            }
            let Some((name, value)) = line.strip_prefix("a=").and_then(split) else { continue };
            match name {
                "ice-ufrag" if ufrag.is_none() => ufrag = Some(value.to_owned()),
                "ice-pwd" if password.is_none() => password = Some(value.to_owned()),
                "fingerprint" if fingerprint.is_none() => fingerprint = sha256(value),
                "setup" => server_is_passive = value != "active",
                "candidate" => candidates.extend(udp_host(value)),
                "ssrc" => {
                    let number = value.split(' ').next().and_then(|n| n.parse().ok());
                    ssrcs.extend(number.filter(|n| !ssrcs.contains(n)));
                }
                _ => sections.line(name, value),
            }
        }
        if candidates.is_empty() {
            return Err(AnswerError::Missing("UDP host candidate"));
        }
        for (asked, section) in
            [(audio.then_some(Format::Opus), sections.audio), (video, sections.video)]
        {
            if let Some(format) = asked.filter(|_| section.is_none()) {
                return Err(AnswerError::Codec(format.name()));
            }
        }
        Ok(Self {
            ufrag: ufrag.ok_or(AnswerError::Missing("ice-ufrag"))?,
            password: password.ok_or(AnswerError::Missing("ice-pwd"))?,
            fingerprint: fingerprint.ok_or(AnswerError::Fingerprint)?,
            server_is_passive,
            candidates,
            audio: sections.audio,
            video: sections.video,
            rtx_pt: sections.rtx_pt,
            ssrcs,
        })
    }
}

/// The answer's media, while it is read.
#[derive(Default)]
struct Sections {
    video_codec: Option<Format>,
    in_video: bool,
    /// Of the section that is being read: it was taken, and what came before its codec was named.
    taken: bool,
    pending: Section,
    audio: Option<Section>,
    video: Option<Section>,
    rtx_pt: Option<u8>,
}

impl Sections {
    /// A section begins, with what follows `m=`; one with port 0 is refused (RFC 8843 §7.3.2).
    fn begin(&mut self, line: &str) {
        let mut words = line.split(' ');
        self.in_video = words.next() == Some("video");
        self.taken = words.next() != Some("0");
        self.pending = Section::default();
    }

    fn line(&mut self, name: &str, value: &str) {
        let known = if self.in_video { &mut self.video } else { &mut self.audio };
        let section = known.as_mut().unwrap_or(&mut self.pending);
        match name {
            "extmap" => {
                let (id, uri) = value.split_once(' ').unwrap_or_default();
                let id = id.split('/').next().and_then(|id| id.parse().ok());
                match uri.split(' ').next() {
                    Some(TRANSPORT_WIDE) => section.transport_wide = id,
                    Some(RID) => section.rid = id,
                    _ => {}
                }
            }
            "rtcp-fb" if value.ends_with(" transport-cc") => section.transport_feedback = true,
            "rtcp-fb" if value.ends_with(" goog-remb") => section.remb = true,
            "rtpmap" if self.taken => {
                let wanted = if self.in_video { self.video_codec } else { Some(Format::Opus) };
                let Some((pt, codec)) = value.split_once(' ') else { return };
                let Ok(payload_type) = pt.parse() else { return };
                let codec = codec.split('/').next().unwrap_or_default();
                let is = |name: &str| codec.eq_ignore_ascii_case(name);
                if wanted.is_some_and(|format| is(format.name())) {
                    known.get_or_insert(Section { payload_type, ..self.pending });
                } else if is("rtx") {
                    self.rtx_pt = self.rtx_pt.or(Some(payload_type));
                }
            }
            _ => {}
        }
    }
}

fn split(attribute: &str) -> Option<(&str, &str)> {
    attribute.split_once(':')
}

/// The 32 bytes of `sha-256 AB:CD:…`; `None` for another hash or another form.
fn sha256(value: &str) -> Option<[u8; 32]> {
    let (hash, digits) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut pairs = digits.trim().split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(pairs.next()?, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

/// The address of a candidate of component 1, UDP and type host: `1 1 udp 2130706431 192.0.2.1 3478
/// typ host`.
fn udp_host(value: &str) -> Option<SocketAddr> {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let (_foundation, component) = (words.next()?, words.next()?);
    let (transport, _priority) = (words.next()?, words.next()?);
    let address: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let host = words.next()? == "typ" && words.next()? == "host";
    (component == "1" && transport.eq_ignore_ascii_case("udp") && host)
        .then_some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
                               10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF";

    fn answer() -> String {
        format!(
            "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\na=group:BUNDLE 0 1\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:secretsecret\r\n\
             a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:passive\r\n\
             a=candidate:1 1 tcp 2130706431 192.0.2.1 3478 typ host tcptype passive\r\n\
             a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host\r\n\
             a=candidate:2 1 UDP 2130706430 2001:db8::1 3478 typ host generation 0\r\n\
             a=candidate:3 1 udp 1 192.0.2.2 3478 typ srflx raddr 0.0.0.0 rport 0\r\n\
             a=rtpmap:111 opus/48000/2\r\na=ssrc:77 cname:x\r\na=ssrc:77 msid:x y\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=ice-ufrag:other\r\n\
             a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=ssrc:88 cname:x\r\n"
        )
    }

    fn scan(text: &str) -> Result<Answer, AnswerError> {
        Answer::scan(text, true, Some(Format::Vp8))
    }

    #[test]
    fn takes_the_first_transport_lines_and_only_udp_hosts() {
        let answer = scan(&answer()).unwrap();
        assert_eq!((answer.ufrag.as_str(), answer.password.as_str()), ("abcd", "secretsecret"));
        assert_eq!(answer.fingerprint[1], 1);
        assert_eq!(answer.fingerprint[31], 0xff);
        assert!(answer.server_is_passive);
        let candidates: Vec<SocketAddr> =
            vec!["192.0.2.1:3478".parse().unwrap(), "[2001:db8::1]:3478".parse().unwrap()];
        assert_eq!(answer.candidates, candidates);
        let payload_type = |section: Option<Section>| section.map(|s| s.payload_type);
        let types = (payload_type(answer.audio), payload_type(answer.video), answer.rtx_pt);
        assert_eq!(types, (Some(111), Some(96), Some(97)));
        assert_eq!(answer.ssrcs, [77, 88]);
    }

    #[test]
    fn says_what_is_missing() {
        let without = |what: &str| {
            let kept = answer();
            let kept: String = kept.lines().filter(|l| !l.starts_with(what)).fold(
                String::new(),
                |mut text, line| {
                    text.push_str(line);
                    text.push_str("\r\n");
                    text
                },
            );
            scan(&kept).unwrap_err()
        };
        assert_eq!(without("a=ice-pwd"), AnswerError::Missing("ice-pwd"));
        assert_eq!(without("a=candidate"), AnswerError::Missing("UDP host candidate"));
        assert_eq!(without("a=fingerprint"), AnswerError::Fingerprint);
        let short = answer().replace(":FF\r\n", "\r\n");
        assert_eq!(scan(&short).unwrap_err(), AnswerError::Fingerprint);
    }

    #[test]
    fn feedback_is_read_for_the_section_it_stands_in() {
        let text = answer()
            .replace("a=rtpmap:111", &format!("a=extmap:7 {TRANSPORT_WIDE}\r\na=rtpmap:111"))
            .replace(
                "a=ssrc:88",
                "a=rtcp-fb:* transport-cc\r\na=rtcp-fb:96 goog-remb\r\na=ssrc:88",
            );
        let answer = scan(&text).unwrap();
        let (audio, video) = (answer.audio.unwrap(), answer.video.unwrap());
        assert_eq!((audio.transport_wide, video.transport_wide), (Some(7), None));
        assert!(!audio.transport_feedback && video.transport_feedback);
        assert!(!audio.remb && video.remb);
    }

    #[test]
    fn a_codec_that_was_not_taken_is_named() {
        let refused = answer().replace("m=video 9", "m=video 0");
        assert_eq!(scan(&refused).unwrap_err(), AnswerError::Codec("VP8"));
        let other = answer().replace("opus/48000", "PCMU/8000");
        assert_eq!(scan(&other).unwrap_err(), AnswerError::Codec("opus"));
        let asked_for_less = Answer::scan(&other, false, Some(Format::Vp8));
        assert!(asked_for_less.is_ok_and(|answer| answer.audio.is_none()));
    }

    /// The offer is one that another implementation accepts, with the media we mean.
    #[test]
    fn str0m_answers_the_offer() {
        let video =
            [Some(Format::Vp8), Some(Format::H264), Some(Format::Vp9), Some(Format::Av1), None];
        for (audio, video) in [true, false].into_iter().flat_map(|a| video.map(|v| (a, v))) {
            for publishes in [true, false].into_iter().filter(|_| audio || video.is_some()) {
                let sends = publishes.then_some(Ssrcs { audio: 5, video: 6, rtx: 7 });
                let offer = Offer {
                    ufrag: "abcd",
                    password: "0123456789abcdefghijkl",
                    fingerprint: FINGERPRINT,
                    audio,
                    video,
                    layers: 1,
                    sends,
                };
                let offer = str0m::change::SdpOffer::from_sdp_string(&offer.to_text()).unwrap();
                let mut rtc = str0m::Rtc::builder().build(std::time::Instant::now());
                let host: SocketAddr = "127.0.0.1:4000".parse().unwrap();
                rtc.add_local_candidate(str0m::Candidate::host(host, "udp").unwrap());
                let text = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
                let answer = Answer::scan(&text, audio, video).unwrap();
                assert_eq!(answer.candidates, [host]);
                assert!(answer.server_is_passive);
                let payload_type = |section: Option<Section>| section.map(|s| s.payload_type);
                assert_eq!(payload_type(answer.video), video.map(|format| video_pts(format).0));
                assert_eq!(payload_type(answer.audio), audio.then_some(OPUS_PT));
                let section = answer.video.or(answer.audio).unwrap();
                assert!(section.transport_wide.is_some() && section.transport_feedback);
            }
        }
    }
}
