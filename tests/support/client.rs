//! A WHIP or WHEP client made of str0m and one UDP socket, or one TCP connection.

use std::collections::{HashSet, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

use super::tcp::Link;
use super::{PATIENCE, Response, Server, descriptors, identity, media, post_sdp, request};

/// One peer.
pub struct Client {
    pub rtc: Rtc,
    pub socket: UdpSocket,
    pub address: SocketAddr,
    /// Carries everything in the socket's place, where there is one.
    pub tcp: Option<Link>,
    pub session_url: String,
    /// The server's answer.
    pub answer: String,
    pub connected: bool,
    pub closed: bool,
    pub keyframes_asked: u32,
    /// Media that arrived, in order.
    pub received: Vec<RtpPacket>,
    /// Datagrams it has sent to the server.
    pub sent: u64,
    /// The last of them that were SRTP or SRTCP, newest first.
    pub recent_srtp: VecDeque<Vec<u8>>,
    audio: Option<Mid>,
    video: Option<Mid>,
    codec: Codec,
    sequence: u64,
    timeout: Instant,
    /// Number of the next video frame, when frames carry dependency descriptors.
    pub next_frame: Option<u16>,
    /// How long the payloads are that it sends, at least.
    pub payload_bytes: usize,
    /// How loud it says that its audio is, in decibels relative to full scale.
    pub level: Option<i8>,
    /// Whether its packets of audio begin to speak after a pause (RFC 3551 §4.1).
    pub begins: bool,
    /// Whether each second frame of H.265 is of an upper temporal layer.
    pub temporal: bool,
    /// Whether its packets of audio carry the one before again (RFC 2198).
    pub redundant: bool,
    /// Answers this client's checks in the server's place, when they are to stay away from it.
    decoy: Option<Rtc>,
    decoy_answers: Vec<(SocketAddr, Vec<u8>)>,
    /// Whether DTLS of the server is lost on its way here.
    pub deaf_to_dtls: bool,
}

/// What a client offers.
#[derive(Clone, Copy)]
pub struct Offered {
    pub codec: Codec,
    pub audio: bool,
    pub video: bool,
}

impl Offered {
    pub fn both(codec: Codec) -> Offered {
        Offered { codec, audio: true, video: true }
    }
}

fn rtc(codec: Codec) -> Rtc {
    let config = Rtc::builder().set_rtp_mode(true).clear_codecs();
    let config = config.enable_opus(true, media::REDUNDANT.get());
    let config = match codec {
        Codec::Vp8 => config.enable_vp8(true),
        Codec::Vp9 => config.enable_vp9(true),
        Codec::H264 => config.enable_h264(true),
        Codec::H265 => config.enable_h265(true),
        Codec::Av1 => config.enable_av1(true),
        other => panic!("not a video codec: {other:?}"),
    };
    let config = config.set_extension(12, descriptors::extension());
    identity::configured(config).build(Instant::now())
}

/// A fresh socket on loopback.
pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    socket
}

impl Client {
    /// An offer that no server has seen yet.
    pub fn offer(
        offered: Offered,
        direction: Direction,
        socket: UdpSocket,
    ) -> (Client, SdpOffer, SdpPendingOffer) {
        Client::offer_by(offered, direction, socket, None)
    }

    fn offer_by(
        offered: Offered,
        direction: Direction,
        socket: UdpSocket,
        tcp: Option<Link>,
    ) -> (Client, SdpOffer, SdpPendingOffer) {
        let address = socket.local_addr().expect("it is bound");
        let mut rtc = rtc(offered.codec);
        let candidate = match &tcp {
            None => Candidate::host(address, "udp"),
            Some(link) => {
                Candidate::builder().tcp().host(link.local).tcptype(TcpType::Active).build()
            }
        };
        rtc.add_local_candidate(candidate.expect("a host candidate"));
        let mut changes = rtc.sdp_api();
        let mut add = |wanted, kind| {
            let stream = Some("stream".to_owned());
            let track = Some(format!("{kind:?}"));
            let add = |_| changes.add_media(kind, direction, stream, track, None);
            Some(()).filter(|()| wanted).map(add)
        };
        let audio = add(offered.audio, MediaKind::Audio);
        let video = add(offered.video, MediaKind::Video);
        let (offer, pending) = changes.apply().expect("something is offered");
        let client = Client {
            rtc,
            socket,
            address,
            tcp,
            session_url: String::new(),
            answer: String::new(),
            connected: false,
            closed: false,
            keyframes_asked: 0,
            received: Vec::new(),
            sent: 0,
            recent_srtp: VecDeque::new(),
            audio,
            video,
            codec: offered.codec,
            sequence: 1_000,
            timeout: Instant::now(),
            next_frame: None,
            payload_bytes: 0,
            level: None,
            begins: true,
            temporal: false,
            redundant: false,
            decoy: None,
            decoy_answers: Vec::new(),
            deaf_to_dtls: false,
        };
        (client, offer, pending)
    }

    /// POSTs the offer of a client and takes the answer in.
    pub fn try_post(
        server: &Server,
        path: &str,
        offered: Offered,
        direction: Direction,
        socket: UdpSocket,
    ) -> Result<Client, Response> {
        Client::try_post_at(&server.url(""), path, offered, direction, socket)
    }

    /// The same with a server whose HTTP is at `base`, wherever it runs.
    pub fn try_post_at(
        base: &str,
        path: &str,
        offered: Offered,
        direction: Direction,
        socket: UdpSocket,
    ) -> Result<Client, Response> {
        Client::try_post_offer(base, path, Client::offer(offered, direction, socket))
    }

    fn try_post_offer(
        base: &str,
        path: &str,
        (mut client, offer, pending): (Client, SdpOffer, SdpPendingOffer),
    ) -> Result<Client, Response> {
        let offer = identity::offered(offer.to_sdp_string());
        let response = post_sdp(&format!("{base}{path}"), &offer);
        if response.status != 201 {
            return Err(response);
        }
        let location = response.header("Location").expect("a 201 names the session");
        client.session_url = format!("{base}{location}");
        let answer = SdpAnswer::from_sdp_string(&response.body).expect("the answer parses");
        client.rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits the offer");
        client.answer = response.body;
        Ok(client)
    }

    pub fn publish(server: &Server, stream: &str, offered: Offered) -> Client {
        let path = format!("/whip/{stream}");
        Client::try_post(server, &path, offered, Direction::SendOnly, socket())
            .unwrap_or_else(|refusal| panic!("WHIP: {} {}", refusal.status, refusal.body))
    }

    pub fn watch(server: &Server, stream: &str, offered: Offered) -> Client {
        Client::watch_from(server, stream, offered, socket())
    }

    pub fn watch_from(
        server: &Server,
        stream: &str,
        offered: Offered,
        socket: UdpSocket,
    ) -> Client {
        let path = format!("/whep/{stream}");
        Client::try_post(server, &path, offered, Direction::RecvOnly, socket)
            .unwrap_or_else(|refusal| panic!("WHEP: {} {}", refusal.status, refusal.body))
    }

    /// As [`Client::publish`], over a TCP connection and nothing else.
    pub fn publish_by(server: &Server, stream: &str, offered: Offered, link: Link) -> Client {
        let offer = Client::offer_by(offered, Direction::SendOnly, socket(), Some(link));
        Client::try_post_offer(&server.url(""), &format!("/whip/{stream}"), offer)
            .unwrap_or_else(|refusal| panic!("WHIP: {} {}", refusal.status, refusal.body))
    }

    /// As [`Client::watch`], over a TCP connection and nothing else.
    pub fn watch_by(server: &Server, stream: &str, offered: Offered, link: Link) -> Client {
        let offer = Client::offer_by(offered, Direction::RecvOnly, socket(), Some(link));
        Client::try_post_offer(&server.url(""), &format!("/whep/{stream}"), offer)
            .unwrap_or_else(|refusal| panic!("WHEP: {} {}", refusal.status, refusal.body))
    }

    /// What follows `prefix` on the first line of the answer that starts so.
    pub fn answered(&self, prefix: &str) -> &str {
        let found = self.answer.lines().find_map(|line| line.strip_prefix(prefix));
        found.unwrap_or_else(|| panic!("no {prefix} in {}", self.answer))
    }

    /// Where the answer says the server is: its first candidate.
    pub fn server(&self) -> SocketAddr {
        let candidate: Vec<&str> = self.answered("a=candidate:").split(' ').collect();
        let ip = candidate[4].parse().expect("an IP address");
        SocketAddr::new(ip, candidate[5].parse().expect("a port"))
    }

    /// As [`Client::try_post_at`], over a TCP connection and nothing else.
    pub fn try_post_by(
        base: &str,
        path: &str,
        offered: Offered,
        direction: Direction,
        link: Link,
    ) -> Result<Client, Response> {
        let offer = Client::offer_by(offered, direction, socket(), Some(link));
        Client::try_post_offer(base, path, offer)
    }

    /// Where the answer says the server is over TCP.
    pub fn tcp_server(&self) -> SocketAddr {
        let mut candidates = self.answer.lines().filter(|line| line.starts_with("a=candidate:"));
        let tcp = candidates.find(|line| line.contains(" tcptype ")).expect("a TCP candidate");
        let fields: Vec<&str> = tcp.split(' ').collect();
        let ip = fields[4].parse().expect("an IP address");
        SocketAddr::new(ip, fields[5].parse().expect("a port"))
    }

    /// Ends the session over HTTP.
    pub fn delete(&self) -> Response {
        request("DELETE", &self.session_url, &[], "")
    }

    /// Sends one packet of audio or video.
    pub fn send(&mut self, kind: MediaKind, keyframe: bool, number: u32, timestamp: u32) {
        let (mid, codec) = match kind {
            MediaKind::Audio => (self.audio, Codec::Opus),
            MediaKind::Video => (self.video, self.codec),
        };
        let mid = mid.expect("the track was offered");
        let mut params = self.rtc.codec_config().params().iter();
        let accepted = self.rtc.media(mid).expect("the section exists").remote_pts().to_vec();
        let params = params
            .find(|params| params.spec().codec == codec && accepted.contains(&params.pt()))
            .expect("the server took the codec");
        let (mut pt, red) = (params.pt(), params.red());
        self.sequence += 1;
        let mut payload = media::payload(codec, keyframe, number);
        if self.temporal && codec == Codec::H265 {
            payload[1] += (number % 2) as u8;
        }
        let last = payload.split_off(payload.len() - 4);
        payload.resize(payload.len().max(self.payload_bytes.saturating_sub(4)), 0);
        payload.extend(last);
        if let Some(red) = red.filter(|_| self.redundant && kind == MediaKind::Audio) {
            let before = media::payload(codec, false, number.wrapping_sub(1));
            payload = media::redundant(*pt, &before, &payload);
            pt = red;
        }
        let now = Instant::now();
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None).expect("a sending stream");
        let sequence = u64::from(number) + 1_000;
        let mut write = RtpWrite::new(pt, sequence.into(), timestamp, now, payload);
        write = write.marker(kind == MediaKind::Video || self.begins);
        if let Some(frame) = self.next_frame.as_mut().filter(|_| kind == MediaKind::Video) {
            let mut values = ExtensionValues::default();
            values.user_values.set(descriptors::descriptor(keyframe, *frame));
            write = write.ext_vals(values);
            *frame = frame.wrapping_add(1);
        }
        if let Some(level) = self.level.filter(|_| kind == MediaKind::Audio) {
            let mut values = ExtensionValues::default();
            (values.audio_level, values.voice_activity) = (Some(level), Some(true));
            write = write.ext_vals(values);
        }
        stream.write_rtp(write.nackable(kind == MediaKind::Video));
        self.rtc.handle_input(Input::Timeout(now)).expect("time passes");
        self.drain();
    }

    /// Goes on with another SSRC, as an encoder that is started anew does, unannounced.
    pub fn change_ssrc(&mut self, kind: MediaKind, ssrc: u32) {
        let mid = match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        };
        let mid = mid.expect("the track was offered");
        let mut direct = self.rtc.direct_api();
        let changed = direct.reset_stream_tx(mid, None, ssrc.into(), Some((ssrc + 1).into()));
        changed.expect("it had another one");
    }

    /// From here on no check of this client reaches the server, and the client does not notice: as
    /// ffmpeg's publisher, which sends none once it is connected.
    pub fn keep_checks_from_the_server(&mut self, server: SocketAddr) {
        let credentials = IceCreds {
            ufrag: self.answered("a=ice-ufrag:").to_owned(),
            pass: self.answered("a=ice-pwd:").to_owned(),
        };
        let config = Rtc::builder().set_ice_lite(true).set_local_ice_credentials(credentials);
        let mut decoy = config.build(Instant::now());
        decoy.add_local_candidate(Candidate::host(server, "udp").expect("a host candidate"));
        let own = self.rtc.direct_api().local_ice_credentials();
        decoy.direct_api().set_remote_ice_credentials(own);
        self.decoy = Some(decoy);
    }

    /// The decoy's answer to a check, kept for the next poll.
    fn answer_check(&mut self, server: SocketAddr, check: &[u8]) {
        let Some(decoy) = &mut self.decoy else { return };
        let received = Receive::new(Protocol::Udp, self.address, server, check).expect("STUN");
        decoy.handle_input(Input::Receive(Instant::now(), received)).expect("it is taken");
        loop {
            match decoy.poll_output().expect("the decoy goes on") {
                Output::Timeout(_) => return,
                Output::Transmit(answer) => {
                    self.decoy_answers.push((server, answer.contents.to_vec()));
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Handles what has arrived and what is due; returns without waiting.
    pub fn poll(&mut self) {
        for (from, answer) in std::mem::take(&mut self.decoy_answers) {
            let received = Receive::new(Protocol::Udp, from, self.address, &answer);
            let input = Input::Receive(Instant::now(), received.expect("an answer parses"));
            self.rtc.handle_input(input).expect("an answer is taken");
            self.drain();
        }
        while let Some(link) = &mut self.tcp
            && let Some(datagram) = link.receive()
        {
            let received = Receive::new(Protocol::Tcp, link.server, link.local, &datagram);
            if let Ok(received) = received {
                let input = Input::Receive(Instant::now(), received);
                self.rtc.handle_input(input).expect("a datagram is taken");
                self.drain();
            }
        }
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            if self.deaf_to_dtls && (20..64).contains(&buffer[0]) {
                continue;
            }
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

    /// Closes DTLS, as a browser does whose page goes away.
    pub fn say_goodbye(&mut self) {
        self.rtc.close().expect("it can be closed");
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(transmit)
                    if self.decoy.is_some() && transmit.contents.first() < Some(&4) =>
                {
                    self.answer_check(transmit.destination, &transmit.contents);
                }
                Output::Transmit(transmit) if transmit.proto == Protocol::Tcp => {
                    let link = self.tcp.as_mut().expect("only then has it a TCP candidate");
                    link.send(&transmit.contents);
                }
                Output::Transmit(transmit) => {
                    self.transmit(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(Event::KeyframeRequest(_)) => self.keyframes_asked += 1,
                Output::Event(Event::RtpPacket(packet)) => self.received.push(packet),
                Output::Event(_) => {}
            }
        }
    }

    fn transmit(&mut self, datagram: &[u8], to: SocketAddr) {
        self.sent += u64::from(self.socket.send_to(datagram, to).is_ok());
        if datagram.first() >= Some(&128) {
            self.recent_srtp.truncate(63);
            self.recent_srtp.push_front(datagram.to_vec());
        }
    }

    /// Numbers of the video packets that arrived, in order.
    pub fn video_numbers(&self) -> Vec<u32> {
        self.numbers(|packet| packet.header.marker && !is_opus(packet))
    }

    /// Numbers of the audio packets that arrived, in order.
    pub fn audio_numbers(&self) -> Vec<u32> {
        self.numbers(is_opus)
    }

    /// Each packet counts once: who asked for one that was only late gets it twice.
    fn numbers(&self, of: impl Fn(&RtpPacket) -> bool) -> Vec<u32> {
        let mut seen = HashSet::new();
        let packets = self.received.iter().filter(|packet| of(packet));
        let new = packets.filter(|packet| seen.insert((packet.header.ssrc, packet.seq_no)));
        new.map(|packet| media::number(&packet.payload)).collect()
    }
}

/// Whether a packet is one of [`media::payload`]'s audio packets.
pub fn is_opus(packet: &RtpPacket) -> bool {
    packet.payload[..2] == [0xfc, 0xff]
}

/// Runs `clients` until `done`; panics with `what` when that does not come within the time allowed.
pub fn run_until(
    what: &str,
    clients: &mut [&mut Client],
    mut done: impl FnMut(&[&mut Client]) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        clients.iter_mut().for_each(|client| client.poll());
        if done(clients) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Runs `clients` for a while.
pub fn run_for(duration: Duration, clients: &mut [&mut Client]) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        clients.iter_mut().for_each(|client| client.poll());
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Runs `clients` until all of them are connected.
pub fn connect(clients: &mut [&mut Client]) {
    run_until("connect", clients, |clients| clients.iter().all(|client| client.connected));
}
