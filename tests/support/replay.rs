//! A recorded offer posted again, by a client that does what the one that wrote it would do.
//!
//! Its sections, payload types and order are those of the recording; its ICE name, its password and
//! its certificate are its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use aws_lc_rs::digest;
use monoport::session::{host_candidates, ice_password, ice_ufrag};
use str0m::config::DtlsCert;
use str0m::crypto::Fingerprint;
use str0m::format::{Codec, CodecSpec, PayloadParams};
use str0m::media::{MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionMap, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

use super::{Response, Server, media, post_sdp};

/// A track that a replayed publisher sends.
#[derive(Clone, Copy)]
pub struct Sent {
    pub mid: &'static str,
    pub codec: Codec,
    pub payload_type: u8,
    pub ssrc: u32,
}

pub struct Replay {
    pub rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    timeout: Instant,
    pub answer: String,
    pub session_url: String,
    pub connected: bool,
    pub received: Vec<RtpPacket>,
}

/// Audio or video.
fn kind(codec: Codec) -> MediaKind {
    if codec == Codec::Opus { MediaKind::Audio } else { MediaKind::Video }
}

impl Replay {
    /// POSTs a recorded offer, and begins to connect as its answer asks for.
    pub fn post(
        server: &Server,
        path: &str,
        recorded: &str,
        sent: &[Sent],
    ) -> Result<Replay, Response> {
        let socket = super::client::socket();
        let address = socket.local_addr().expect("it is bound");
        let provider = str0m::crypto::from_feature_flags().dtls_provider;
        let certificate = provider.generate_certificate().expect("it makes them");
        let mut rtc = rtc(sent, certificate.clone());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a host candidate"));
        let own = rtc.direct_api().local_ice_credentials();
        let sha256 = rtc.direct_api().local_dtls_fingerprint().to_string();
        let digest = |hash| {
            let digest = digest::digest(hash, &certificate.certificate);
            let bytes = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
            bytes.collect::<Vec<_>>().join(":")
        };
        let offer: String = recorded
            .lines()
            .map(|line| match line.split(':').next() {
                Some("a=ice-ufrag") => format!("a=ice-ufrag:{}\r\n", own.ufrag),
                Some("a=ice-pwd") => format!("a=ice-pwd:{}\r\n", own.pass),
                _ if line.starts_with("a=fingerprint:sha-256 ") => {
                    format!("a=fingerprint:{sha256}\r\n")
                }
                _ if line == "a=fingerprint:sha-384 own" => {
                    format!("a=fingerprint:sha-384 {}\r\n", digest(&digest::SHA384))
                }
                _ if line == "a=fingerprint:sha-512 own" => {
                    format!("a=fingerprint:sha-512 {}\r\n", digest(&digest::SHA512))
                }
                _ => format!("{line}\r\n"),
            })
            .collect();
        let response = post_sdp(&server.url(path), &offer);
        if response.status != 201 {
            return Err(response);
        }
        let location = response.header("location").expect("a Location").to_owned();
        let mut replay = Replay {
            rtc,
            socket,
            address,
            timeout: Instant::now(),
            answer: response.body,
            session_url: server.url(&location),
            connected: false,
            received: Vec::new(),
        };
        replay.begin(sent);
        Ok(replay)
    }

    fn begin(&mut self, sent: &[Sent]) {
        let answer = self.answer.clone();
        let (_, to) = host_candidates(&answer, 1)[0];
        let credentials = IceCreds {
            ufrag: ice_ufrag(&answer).expect("a name").to_owned(),
            pass: ice_password(&answer).expect("a password").to_owned(),
        };
        let line = answer.lines().find_map(|line| line.strip_prefix("a=fingerprint:"));
        let theirs: Fingerprint = line.expect("a fingerprint").parse().expect("it parses");
        let active = answer.contains("a=setup:passive");
        let mut direct = self.rtc.direct_api();
        direct.set_ice_controlling(true);
        direct.set_remote_ice_credentials(credentials);
        direct.set_remote_fingerprint(theirs);
        for Sent { mid, codec, ssrc, .. } in sent {
            let mid: Mid = (*mid).into();
            direct.declare_media(mid, kind(*codec));
            direct.declare_stream_tx(Ssrc::from(*ssrc), None, mid, None);
        }
        direct.start_dtls(active).expect("it has not started");
        self.rtc.add_remote_candidate(Candidate::host(to, "udp").expect("a host candidate"));
        self.drain();
    }

    /// Sends one packet of a track.
    pub fn send(&mut self, sent: Sent, keyframe: bool, number: u32) {
        let payload = media::payload(sent.codec, keyframe, number);
        let now = Instant::now();
        let sequence = u64::from(number) + 1_000;
        let write =
            RtpWrite::new(sent.payload_type.into(), sequence.into(), number * 3_000, now, payload);
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx(&Ssrc::from(sent.ssrc)).expect("it was declared");
        stream.write_rtp(write.marker(true));
        self.rtc.handle_input(Input::Timeout(now)).expect("time passes");
        self.drain();
    }

    /// Handles what has arrived and what is due; returns without waiting.
    pub fn poll(&mut self) {
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let received = Receive::new(Protocol::Udp, from, self.address, &buffer[..length]);
            if let Ok(received) = received {
                let input = Input::Receive(Instant::now(), received);
                self.rtc.handle_input(input).expect("a datagram is taken");
                self.drain();
            }
        }
        if self.timeout <= Instant::now() {
            self.rtc.handle_input(Input::Timeout(Instant::now())).expect("time passes");
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(packet)) => self.received.push(packet),
                Output::Event(_) => {}
            }
        }
    }
}

fn rtc(sent: &[Sent], certificate: DtlsCert) -> Rtc {
    // str0m's own ids of header extensions mean others in the recorded offer.
    let none = ExtensionMap::empty();
    let mut config = Rtc::builder().set_rtp_mode(true).clear_codecs().set_dtls_cert(certificate);
    config = config.set_extension_map(none);
    let all = Rtc::builder().codec_config().params().to_vec();
    let spec = |codec: Codec| -> CodecSpec {
        all.iter().map(PayloadParams::spec).find(|spec| spec.codec == codec).expect("it is known")
    };
    for Sent { codec, payload_type, .. } in sent {
        let CodecSpec { clock_rate, channels, format, .. } = spec(*codec);
        let payload_type = (*payload_type).into();
        config.codec_config().add_config(payload_type, None, *codec, clock_rate, channels, format);
    }
    config.build(Instant::now())
}
