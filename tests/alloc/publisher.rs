//! A str0m client that publishes to a [`Session`] in this thread, without sockets, in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use monoport::id::StreamKey;
use monoport::ingest::{Ingest, Opened};
use monoport::media::MediaPacket;
use monoport::session::{
    CheckAnswer, CodecMatch, LocalIce, Negotiator, Offer, Output, Session, StreamCodecs,
};
use monoport::srtp::{RtcpSealer, split_keying_material};
use monoport::wire::kind::{self, Kind};
use monoport::wire::stun;
use str0m::format::{Codec, CodecSpec};
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, IceCreds, Input, Output as ClientOutput, Rtc};

/// Between two packets: 1,200 bytes each make 2.5 Mb/s.
const GAP: Duration = Duration::from_micros(3_800);

/// The two ends, connected.
pub struct Connected {
    client: Rtc,
    session: Session,
    ingest: Option<(Ingest, RtcpSealer)>,
    mid: Mid,
    payload_type: Pt,
    now: Instant,
    session_timeout: Option<Instant>,
    number: u64,
    outputs: Vec<Output>,
    to_client: Vec<Vec<u8>>,
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 5_004))
}

fn host(at: u8) -> Candidate {
    Candidate::host(address(at), "udp").expect("a host candidate")
}

const CLIENT: u8 = 1;
const SERVER: u8 = 2;

impl Connected {
    pub fn new() -> Connected {
        let now = Instant::now();
        let config = Rtc::builder().set_rtp_mode(true).clear_codecs();
        let mut client = config.enable_opus(true, false).enable_vp8(true).build(now);
        client.add_local_candidate(host(CLIENT));
        let mut changes = client.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let mid = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = changes.apply().expect("something is offered");

        let params = client.codec_config().params().to_vec();
        let of = |codec: Codec| params.iter().find(|params| params.spec().codec == codec);
        let spec = |codec| -> Option<CodecSpec> { of(codec).map(|params| params.spec()) };
        let codecs = StreamCodecs { audio: spec(Codec::Opus), video: spec(Codec::Vp8) };
        let payload_type = of(Codec::Vp8).expect("it was enabled").pt();

        let offer = Offer::to_publish(&offer.to_sdp_string()).expect("a valid offer");
        let credentials = IceCreds { ufrag: "session".into(), pass: "p".repeat(24) };
        let place = LocalIce { credentials, candidates: &[address(SERVER)], tcp_candidates: &[] };
        let stream = StreamKey { index: 0, generation: 0 };
        let answered = Negotiator::new(false, CodecMatch::Lenient).publisher(
            Instant::now(),
            offer,
            place,
            codecs,
            stream,
        );
        let answered = answered.expect("a common codec");
        let answer = str0m::change::SdpAnswer::from_sdp_string(&answered.answer);
        let answer = answer.expect("the answer parses");
        client.sdp_api().accept_answer(pending, answer).expect("the answer fits");
        let mut connected = Connected {
            client,
            session: answered.session,
            ingest: None,
            mid,
            payload_type,
            now,
            session_timeout: None,
            number: 0,
            outputs: Vec::new(),
            to_client: Vec::new(),
        };
        connected.handshake(now + Duration::from_secs(10));
        connected
    }

    /// The datagrams of the client's next packet, feedback and checks among them.
    pub fn next_datagrams(&mut self) -> Vec<Vec<u8>> {
        self.now += GAP;
        self.number += 1;
        let mut direct = self.client.direct_api();
        let stream = direct.stream_tx_by_mid(self.mid, None).expect("it was negotiated");
        let mut payload = vec![self.number as u8; 1_200];
        // A VP8 payload descriptor and the head of an interframe.
        payload[..2].copy_from_slice(&[0x10, 0x01]);
        let timestamp = self.number as u32 * 3_000;
        let number = self.number.into();
        let write = RtpWrite::new(self.payload_type, number, timestamp, self.now, payload);
        stream.write_rtp(write.marker(self.number.is_multiple_of(10)).nackable(true));
        self.run_client()
    }

    /// Gives the session a datagram of the client, and the time when it is due; returns the media
    /// that came of it.
    pub fn receive<'a>(&mut self, datagram: &'a mut [u8]) -> Option<MediaPacket<&'a [u8]>> {
        let mut media = None;
        match (kind::of(datagram), &mut self.ingest) {
            (Some(Kind::Rtp), Some((ingest, sealer))) => {
                match ingest.rtp(self.now, datagram).expect("it authenticates") {
                    Opened::Media { packet, .. } => media = Some(packet),
                    Opened::Padding => {}
                    Opened::Unplaced(why) => panic!("it is of a track: {why:?}"),
                }
                let mut out = [0; 1_500];
                while ingest.deadline() <= self.now {
                    let Some(length) = ingest.write_due(self.now, &mut out) else { continue };
                    sealer.seal(&mut out, length);
                }
            }
            (Some(Kind::Stun), _) => {
                let id = stun::peek(datagram).expect("it is STUN").transaction_id;
                let answer = self.session.check(address(CLIENT), datagram, id);
                let CheckAnswer::Success(answer) = answer else { panic!("it is {answer:?}") };
                self.to_client.push(answer);
                self.session.begin(self.now);
                self.drain_session();
            }
            (Some(Kind::Dtls), _) => {
                self.session.receive(self.now, datagram).expect("it is taken");
                self.drain_session();
            }
            _ => {}
        }
        if self.session_timeout.is_some_and(|at| at <= self.now) {
            self.session.timeout(self.now);
            self.drain_session();
        }
        media
    }

    fn drain_session(&mut self) {
        self.session_timeout = self.session.drain(&mut self.outputs);
        for output in self.outputs.drain(..) {
            match output {
                Output::Datagram(bytes) => self.to_client.push(bytes),
                Output::Keys(keys) => {
                    let split = split_keying_material(keys.profile, &keys.material);
                    let (client, server) = split.expect("lengths of the profile");
                    let swap = keys.local_is_client;
                    let (local, remote) = if swap { (client, server) } else { (server, client) };
                    let publisher = self.session.publishes.take().expect("it publishes");
                    let (stream, terms) = (publisher.stream, publisher.terms);
                    let ingest = Ingest::new(stream, terms, keys.profile, &remote, self.now);
                    self.ingest = Some((ingest, RtcpSealer::new(keys.profile, &local)));
                }
                Output::Gone(how) => panic!("the client is still there: {how:?}"),
                _ => {}
            }
        }
    }

    fn handshake(&mut self, deadline: Instant) {
        while !self.client.is_connected() {
            assert!(self.now < deadline, "they connect");
            for mut datagram in self.run_client() {
                self.receive(&mut datagram);
            }
            self.session.timeout(self.now);
            self.drain_session();
            self.now += Duration::from_millis(5);
        }
        // The session's last flight is the client's first sight of it: let it settle.
        for _ in 0..10 {
            for mut datagram in self.run_client() {
                self.receive(&mut datagram);
            }
            self.now += Duration::from_millis(5);
        }
    }

    /// Gives the client what was sent to it, and the time; returns what it sends.
    fn run_client(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for datagram in self.to_client.drain(..) {
            let (from, to) = (address(SERVER), address(CLIENT));
            let receive = Receive::new(Protocol::Udp, from, to, &datagram).expect("it parses");
            self.client.handle_input(Input::Receive(self.now, receive)).expect("it is taken");
            drain_client(&mut self.client, &mut datagrams);
        }
        self.client.handle_input(Input::Timeout(self.now)).expect("time passes");
        drain_client(&mut self.client, &mut datagrams);
        datagrams
    }
}

fn drain_client(client: &mut Rtc, datagrams: &mut Vec<Vec<u8>>) {
    loop {
        match client.poll_output().expect("the client lives") {
            ClientOutput::Timeout(_) => return,
            ClientOutput::Transmit(transmit) => datagrams.push(transmit.contents.to_vec()),
            ClientOutput::Event(_) => {}
        }
    }
}
