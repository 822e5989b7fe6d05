//! The client's half of SDP: an offer as a browser would write it, from a template, and a scan of
//! the answer for the few values a synthetic peer needs.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Payload types of the offer, the ones Chromium uses.
pub const OPUS_PT: u8 = 111;
pub const VP8_PT: u8 = 96;
pub const RTX_PT: u8 = 97;

/// Extension ids of the offer.
pub const AUDIO_LEVEL_ID: u8 = 1;
pub const ABS_SEND_TIME_ID: u8 = 2;
pub const MID_ID: u8 = 4;

/// What one peer puts into its offer.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    pub ufrag: &'a str,
    pub password: &'a str,
    /// Upper-case hexadecimal with colons.
    pub fingerprint: &'a str,
    /// Whether an audio section comes before the video section.
    pub audio: bool,
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
        let mids = if self.audio { "0 1" } else { "0" };
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
        let pts = format!("{VP8_PT} {RTX_PT}");
        self.section(&mut text, "video", Self::video_mid(self.audio), &pts);
        let _ = write!(
            text,
            "a=rtpmap:{VP8_PT} VP8/90000\r\na=rtcp-fb:{VP8_PT} goog-remb\r\n\
             a=rtcp-fb:{VP8_PT} transport-cc\r\na=rtcp-fb:{VP8_PT} ccm fir\r\n\
             a=rtcp-fb:{VP8_PT} nack\r\na=rtcp-fb:{VP8_PT} nack pli\r\n\
             a=rtpmap:{RTX_PT} rtx/90000\r\na=fmtp:{RTX_PT} apt={VP8_PT}\r\n"
        );
        if let Some(Ssrcs { video, rtx, .. }) = self.sends {
            let _ = write!(
                text,
                "a=ssrc-group:FID {video} {rtx}\r\na=ssrc:{video} cname:load\r\n\
                 a=ssrc:{rtx} cname:load\r\n"
            );
        }
        text
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
             a=extmap:{MID_ID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        );
        if self.sends.is_some() {
            let _ = write!(text, "a=msid:load load-{kind}\r\n");
        }
    }
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
    /// The payload types the answer gives, where it accepted the codec.
    pub opus_pt: Option<u8>,
    pub vp8_pt: Option<u8>,
    pub rtx_pt: Option<u8>,
    /// SSRCs the server announced, each once, in their order.
    pub ssrcs: Vec<u32>,
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnswerError {
    #[error("the answer has no {0}")]
    Missing(&'static str),
    #[error("the answer's fingerprint is not 32 bytes of sha-256")]
    Fingerprint,
}

impl Answer {
    /// Scans an answer line by line. With BUNDLE the first section's transport lines count for all.
    ///
    /// # Errors
    /// When a value without which no session can start is missing.
    pub fn scan(text: &str) -> Result<Self, AnswerError> {
        let (mut ufrag, mut password, mut fingerprint) = (None, None, None);
        let mut server_is_passive = true;
        let mut candidates = Vec::new();
        let (mut opus_pt, mut vp8_pt, mut rtx_pt) = (None, None, None);
        let mut ssrcs = Vec::new();
        for line in text.lines() {
            let Some((name, value)) = line.trim_end().strip_prefix("a=").and_then(split) else {
                continue;
            };
            match name {
                "ice-ufrag" if ufrag.is_none() => ufrag = Some(value.to_owned()),
                "ice-pwd" if password.is_none() => password = Some(value.to_owned()),
                "fingerprint" if fingerprint.is_none() => fingerprint = sha256(value),
                "setup" => server_is_passive = value != "active",
                "candidate" => candidates.extend(udp_host(value)),
                "rtpmap" => {
                    let Some((pt, codec)) = value.split_once(' ') else { continue };
                    let pt = pt.parse::<u8>().ok();
                    let codec = codec.to_ascii_lowercase();
                    if codec.starts_with("opus/") {
                        opus_pt = opus_pt.or(pt);
                    } else if codec.starts_with("vp8/") {
                        vp8_pt = vp8_pt.or(pt);
                    } else if codec.starts_with("rtx/") {
                        rtx_pt = rtx_pt.or(pt);
                    }
                }
                "ssrc" => {
                    let number = value.split(' ').next().and_then(|n| n.parse().ok());
                    ssrcs.extend(number.filter(|n| !ssrcs.contains(n)));
                }
                _ => {}
            }
        }
        if candidates.is_empty() {
            return Err(AnswerError::Missing("UDP host candidate"));
        }
        Ok(Self {
            ufrag: ufrag.ok_or(AnswerError::Missing("ice-ufrag"))?,
            password: password.ok_or(AnswerError::Missing("ice-pwd"))?,
            fingerprint: fingerprint.ok_or(AnswerError::Fingerprint)?,
            server_is_passive,
            candidates,
            opus_pt,
            vp8_pt,
            rtx_pt,
            ssrcs,
        })
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

    #[test]
    fn takes_the_first_transport_lines_and_only_udp_hosts() {
        let answer = Answer::scan(&answer()).unwrap();
        assert_eq!((answer.ufrag.as_str(), answer.password.as_str()), ("abcd", "secretsecret"));
        assert_eq!(answer.fingerprint[1], 1);
        assert_eq!(answer.fingerprint[31], 0xff);
        assert!(answer.server_is_passive);
        let candidates: Vec<SocketAddr> =
            vec!["192.0.2.1:3478".parse().unwrap(), "[2001:db8::1]:3478".parse().unwrap()];
        assert_eq!(answer.candidates, candidates);
        assert_eq!((answer.opus_pt, answer.vp8_pt, answer.rtx_pt), (Some(111), Some(96), Some(97)));
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
            Answer::scan(&kept).unwrap_err()
        };
        assert_eq!(without("a=ice-pwd"), AnswerError::Missing("ice-pwd"));
        assert_eq!(without("a=candidate"), AnswerError::Missing("UDP host candidate"));
        assert_eq!(without("a=fingerprint"), AnswerError::Fingerprint);
        let short = answer().replace(":FF\r\n", "\r\n");
        assert_eq!(Answer::scan(&short).unwrap_err(), AnswerError::Fingerprint);
    }

    /// The offer is one that another implementation accepts, with the media we mean.
    #[test]
    fn str0m_answers_the_offer() {
        for (audio, publishes) in [(true, true), (true, false), (false, true), (false, false)] {
            let sends = publishes.then_some(Ssrcs { audio: 5, video: 6, rtx: 7 });
            let offer = Offer {
                ufrag: "abcd",
                password: "0123456789abcdefghijkl",
                fingerprint: FINGERPRINT,
                audio,
                sends,
            };
            let offer = str0m::change::SdpOffer::from_sdp_string(&offer.to_text()).unwrap();
            let mut rtc = str0m::Rtc::builder().build(std::time::Instant::now());
            let host: SocketAddr = "127.0.0.1:4000".parse().unwrap();
            rtc.add_local_candidate(str0m::Candidate::host(host, "udp").unwrap());
            let text = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
            let answer = Answer::scan(&text).unwrap();
            assert_eq!(answer.candidates, [host]);
            assert!(answer.server_is_passive);
            assert_eq!(answer.vp8_pt, Some(VP8_PT));
            assert_eq!(answer.opus_pt, audio.then_some(OPUS_PT));
        }
    }
}
