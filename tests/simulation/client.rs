//! A WHIP or WHEP client without a socket: time and datagrams are given to it and taken from it.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::{Codec, FormatParams};
use str0m::media::{
    Direction, Frequency, KeyframeRequestKind, MediaKind, Mid, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::dtls::{self, Keys};
use crate::media::Tag;
use crate::outgoing::Ssrcs;

/// Names of simulcast layers, best first.
pub const LAYERS: [&str; 3] = ["h", "m", "l"];

/// What came of media, for whoever checks it.
pub struct Received {
    /// SRTP packet index, as the receiver counts.
    pub index: u64,
    pub ssrc: u32,
    pub tag: Tag,
}

/// One peer.
pub struct Client {
    pub rtc: Rtc,
    pub host: SocketAddr,
    pub audio: Mid,
    pub video: Mid,
    pub layers: usize,
    /// The server's answer.
    pub answer: String,
    pub connected: bool,
    pub closed: bool,
    /// Layers somebody asked a key frame of, since it was last looked at.
    pub asked: Vec<Option<Rid>>,
    pub received: Vec<Received>,
    /// Datagrams that wait to be sent, and where to.
    pub outbox: Vec<(SocketAddr, Vec<u8>)>,
    pub timeout: Instant,
    pub keys: Option<Keys>,
    /// RTCP is not str0m's business: whoever means ill writes it himself.
    pub own_rtcp: bool,
}

/// A client whose offer no server has answered yet.
pub struct Offering {
    client: Client,
    offer: SdpOffer,
    pending: SdpPendingOffer,
}

impl Offering {
    /// Client `number`, which publishes video in `layers` layers, or watches when there are none.
    pub fn new(now: Instant, number: usize, host: SocketAddr, layers: usize) -> Offering {
        Offering::with_codecs(config(number).enable_vp8(true), now, host, layers)
    }

    /// Client `number`, which publishes video in one layer and has no RTX.
    pub fn without_rtx(now: Instant, number: usize, host: SocketAddr) -> Offering {
        let mut config = config(number);
        let (rate, format) = (Frequency::NINETY_KHZ, FormatParams::default());
        config.codec_config().add_config(96.into(), None, Codec::Vp8, rate, None, format);
        Offering::with_codecs(config, now, host, 1)
    }

    fn with_codecs(config: RtcConfig, now: Instant, host: SocketAddr, layers: usize) -> Offering {
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(host, "udp").expect("a host candidate"));
        let direction = if layers > 0 { Direction::SendOnly } else { Direction::RecvOnly };
        let mut changes = rtc.sdp_api();
        let simulcast = (layers > 1).then(|| {
            let mut simulcast = Simulcast::new();
            for name in &LAYERS[..layers] {
                simulcast.add_send_layer(SimulcastLayer::new(name));
            }
            simulcast
        });
        let name = |name: &str| Some(name.to_owned());
        let audio = changes.add_media(MediaKind::Audio, direction, name("s"), name("a"), None);
        let video = changes.add_media(MediaKind::Video, direction, name("s"), name("v"), simulcast);
        let (offer, pending) = changes.apply().expect("something is offered");
        let client = Client {
            rtc,
            host,
            audio,
            video,
            layers,
            answer: String::new(),
            connected: false,
            closed: false,
            asked: Vec::new(),
            received: Vec::new(),
            outbox: Vec::new(),
            timeout: now,
            keys: None,
            own_rtcp: false,
        };
        Offering { client, offer, pending }
    }

    pub fn sdp(&self) -> String {
        self.offer.to_sdp_string()
    }

    pub fn accept(self, answer: String) -> Client {
        let Offering { mut client, pending, .. } = self;
        let parsed = SdpAnswer::from_sdp_string(&answer).expect("the answer parses");
        client.rtc.sdp_api().accept_answer(pending, parsed).expect("the answer fits the offer");
        client.answer = answer;
        client
    }
}

fn config(number: usize) -> RtcConfig {
    let config = Rtc::builder().set_crypto_provider(dtls::crypto());
    let config = config.set_dtls_cert(dtls::certificate(number)).set_rtp_mode(true);
    config.clear_codecs().enable_opus(true, false)
}

impl Client {
    /// What follows `prefix` on the first line of the answer that starts so.
    pub fn answered(&self, prefix: &str) -> &str {
        let found = self.answer.lines().find_map(|line| line.strip_prefix(prefix));
        found.unwrap_or_else(|| panic!("no {prefix} in {}", self.answer))
    }

    /// Takes in a datagram of the server.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Ok(received) = Receive::new(Protocol::Udp, from, self.host, datagram) else { return };
        // A datagram that was on its way when this end closed is nobody's.
        if self.rtc.handle_input(Input::Receive(now, received)).is_ok() {
            self.drain();
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Instant) {
        if self.rtc.handle_input(Input::Timeout(now)).is_ok() {
            self.drain();
        }
    }

    /// Sends one packet of a track.
    pub fn send(&mut self, now: Instant, packet: &Outgoing) {
        let (mid, codec) = match packet.layer {
            None => (self.audio, Codec::Opus),
            Some(_) => (self.video, Codec::Vp8),
        };
        let params = self.rtc.codec_config().params().iter();
        let accepted = self.rtc.media(mid).expect("the section exists").remote_pts().to_vec();
        let payload_type = params
            .filter(|params| params.spec().codec == codec)
            .map(|params| params.pt())
            .find(|payload_type| accepted.contains(payload_type))
            .expect("the server took the codec");
        let rid = self.rid(packet.layer);
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(mid, rid) else { return };
        let payload = packet.payload.clone();
        let (sequence, time) = (packet.sequence, packet.timestamp);
        let write = RtpWrite::new(payload_type, sequence.into(), time, now, payload);
        stream.write_rtp(write.marker(packet.marker).nackable(packet.layer.is_some()));
        self.advance(now);
    }

    /// The name of a layer, where there are several.
    fn rid(&self, layer: Option<usize>) -> Option<Rid> {
        layer.filter(|_| self.layers > 1).map(|layer| LAYERS[layer].into())
    }

    /// Goes on under another SSRC, as a browser does whose encoder was made anew.
    pub fn change_ssrc(&mut self, layer: Option<usize>) {
        let (mid, rid) = (if layer.is_some() { self.video } else { self.audio }, self.rid(layer));
        let mut direct = self.rtc.direct_api();
        let (media, repair) = (direct.new_ssrc(), direct.new_ssrc());
        let has_repair =
            direct.stream_tx_by_mid(mid, rid).is_some_and(|stream| stream.rtx().is_some());
        direct.reset_stream_tx(mid, rid, media, has_repair.then_some(repair));
    }

    /// The SSRC of the media sent in a layer, or of audio.
    pub fn sending_ssrc(&mut self, layer: Option<usize>) -> Option<u32> {
        let (mid, rid) = (if layer.is_some() { self.video } else { self.audio }, self.rid(layer));
        self.rtc.direct_api().stream_tx_by_mid(mid, rid).map(|stream| *stream.ssrc())
    }

    /// The SSRCs the server announced.
    pub fn watched_ssrcs(&mut self) -> Ssrcs {
        let (audio, video) = (self.audio, self.video);
        let mut direct = self.rtc.direct_api();
        let audio = direct.stream_rx_by_mid(audio, None).expect("the answer names it");
        let audio = *audio.ssrc();
        let video = direct.stream_rx_by_mid(video, None).expect("the answer names it");
        Ssrcs { audio, video: *video.ssrc(), repair: video.rtx().map(|ssrc| *ssrc) }
    }

    /// Asks for a key frame.
    pub fn ask_for_keyframe(&mut self, now: Instant) {
        let video = self.video;
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(video, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.advance(now);
    }

    /// Closes DTLS, as a browser does whose page goes away.
    pub fn say_goodbye(&mut self) {
        if self.rtc.close().is_ok() {
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.outbox.push((transmit.destination, transmit.contents.to_vec()));
                }
                Ok(Output::Event(event)) => self.on_event(event),
                Err(_gone) => {
                    self.closed = true;
                    break;
                }
            }
        }
        if let Some(keys) = dtls::take_keys() {
            self.keys = Some(keys);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::Closed => self.closed = true,
            Event::KeyframeRequest(request) => self.asked.push(request.rid),
            Event::RtpPacket(packet) => self.on_media(&packet),
            _ => {}
        }
    }

    fn on_media(&mut self, packet: &RtpPacket) {
        let Some(tag) = Tag::read(&packet.payload) else { return };
        let (index, ssrc) = (*packet.seq_no, *packet.header.ssrc);
        self.received.push(Received { index, ssrc, tag });
    }
}

/// A packet that a publisher sends.
pub struct Outgoing {
    /// Of video; none is audio.
    pub layer: Option<usize>,
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
}
