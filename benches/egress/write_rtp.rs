//! The baseline: viewers that are whole str0m sessions, and `write_rtp` for each of them.
//!
//! Their time is virtual and passes slowly: nobody sends checks, so that str0m would give the
//! sessions up after 15 s of it.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::config::DtlsCert;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Input, Output, Rtc, RtcConfig};

/// Sessions that are connected to clients which are gone.
pub struct Baseline {
    sessions: Vec<Session>,
    now: Instant,
    sequence: u64,
}

struct Session {
    rtc: Rtc,
    mid: Mid,
    payload_type: Pt,
}

/// Datagrams of media: neither STUN nor DTLS (RFC 7983), and longer than any report here.
const SHORTEST_MEDIA: usize = 150;

/// A run has 190,000 turns, most of them of a single session: 10 s.
const TURN: Duration = Duration::from_micros(50);

impl Baseline {
    /// Connects `count` sessions.
    pub fn new(count: usize) -> Baseline {
        let dtls = str0m::crypto::from_feature_flags().dtls_provider;
        let certificate = dtls.generate_certificate().expect("the crypto library makes them");
        let start = Instant::now();
        let mut now = start;
        let mut session = |number| connected(number, &certificate, start, &mut now);
        let sessions = (0..count).map(&mut session).collect();
        Baseline { sessions, now, sequence: 0 }
    }

    /// One packet per payload to each of the first `viewers` sessions.
    pub fn turn(&mut self, viewers: usize, payloads: &[Arc<[u8]>]) {
        self.now += TURN;
        for session in &mut self.sessions[..viewers] {
            let sent = session.send(self.now, self.sequence, payloads);
            assert!(sent >= payloads.len(), "str0m sends what it is given");
        }
        self.sequence += payloads.len() as u64;
    }
}

impl Session {
    fn send(&mut self, now: Instant, sequence: u64, payloads: &[Arc<[u8]>]) -> usize {
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(self.mid, None).expect("it was negotiated");
        for (payload, number) in payloads.iter().zip(sequence + 1..) {
            let timestamp = number as u32 * 3_000;
            let write =
                RtpWrite::new(self.payload_type, number.into(), timestamp, now, payload.clone());
            stream.write_rtp(write.marker(true).nackable(true));
        }
        self.rtc.handle_input(Input::Timeout(now)).expect("time passes");
        let mut sent = 0;
        loop {
            match self.rtc.poll_output().expect("the session lives") {
                Output::Timeout(_) => return sent,
                Output::Transmit(transmit) => {
                    sent += usize::from(black_box(transmit).contents.len() > SHORTEST_MEDIA);
                }
                Output::Event(_) => {}
            }
        }
    }
}

fn server_address() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], 7_882))
}

/// As the server builds its sessions, with the history of a viewer that is not kept for a long
/// time: str0m's default of 1,000 packets each makes it slower still.
fn config(certificate: &DtlsCert) -> RtcConfig {
    Rtc::builder()
        .set_dtls_cert(certificate.clone())
        .set_rtp_mode(true)
        .set_send_buffer_video(128)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
}

/// Lets a client and a session do SDP, ICE and DTLS with one another, and keeps the session.
fn connected(
    number: usize,
    certificate: &DtlsCert,
    start: Instant,
    latest: &mut Instant,
) -> Session {
    let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number as u32), 5_004));
    let host = |address| Candidate::host(address, "udp").expect("a host candidate");
    let mut client = config(certificate).build(start);
    client.add_local_candidate(host(address));
    let mut changes = client.sdp_api();
    changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    let mid = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = changes.apply().expect("something is offered");
    let mut rtc = config(certificate).set_ice_lite(true).build(start);
    rtc.add_local_candidate(host(server_address()));
    let answer = rtc.sdp_api().accept_offer(offer).expect("str0m takes its own offers");
    client.sdp_api().accept_answer(pending, answer).expect("and its own answers");

    let mut now = start;
    while !(client.is_connected() && rtc.is_connected()) {
        assert!(now < start + Duration::from_secs(10), "they connect");
        exchange(now, &mut client, &mut rtc);
        now += Duration::from_millis(5);
    }
    *latest = now.max(*latest);
    let params = rtc.codec_config().params().iter();
    let vp8 = params.filter(|params| params.spec().codec == Codec::Vp8).map(|params| params.pt());
    let payload_type = vp8.clone().next().expect("it was enabled");
    Session { rtc, mid, payload_type }
}

/// Lets both know the time and carries datagrams until neither has any.
fn exchange(now: Instant, client: &mut Rtc, server: &mut Rtc) {
    let mut waiting = VecDeque::new();
    for rtc in [&mut *client, &mut *server] {
        rtc.handle_input(Input::Timeout(now)).expect("time passes");
        drain(rtc, &mut waiting);
    }
    while let Some(transmit) = waiting.pop_front() {
        let to_server = transmit.destination == server_address();
        let rtc = if to_server { &mut *server } else { &mut *client };
        let (from, to) = (transmit.source, transmit.destination);
        let receive = Receive::new(Protocol::Udp, from, to, &transmit.contents);
        let input = Input::Receive(now, receive.expect("str0m reads what it wrote"));
        rtc.handle_input(input).expect("and takes it");
        drain(rtc, &mut waiting);
    }
}

fn drain(rtc: &mut Rtc, waiting: &mut VecDeque<Transmit>) {
    loop {
        match rtc.poll_output().expect("the session lives") {
            Output::Timeout(_) => return,
            Output::Transmit(transmit) => waiting.push_back(transmit),
            Output::Event(_) => {}
        }
    }
}
