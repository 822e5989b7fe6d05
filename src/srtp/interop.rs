//! Both directions against str0m, an independent implementation: its peer opens what we seal, and
//! we open what its peer seals, in every profile and over a rollover.

use super::{
    MasterKey, Profile, Rollover, RtcpOpener, RtcpSealer, RtpOpener, RtpSealer,
    split_keying_material,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::SdpOffer;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Candidate, Event, Input, Output, Rtc};

thread_local! {
    /// The profile both ends are made to use, whatever they negotiated.
    pub(crate) static FORCED: Cell<Profile> = const { Cell::new(Profile::AeadAes256Gcm) };
    /// What the exporter gave.
    pub(crate) static MATERIAL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// DTLS that keeps a copy of the keying material and replaces the negotiated profile: str0m always
/// prefers AES-256-GCM, whose exporter output begins with enough bytes for the others.
#[derive(Debug)]
struct TappedDtls;

impl DtlsProvider for TappedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = dimpl::Config::builder().use_server_cookie(false).build().unwrap();
        Ok(Box::new(Tap(dimpl::Dtls::new_12(Arc::new(config), cert.clone(), now))))
    }
}

struct Tap(dimpl::Dtls);

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap")
    }
}

impl DtlsInstance for Tap {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.0.poll_output(buf);
        let DtlsOutput::KeyingMaterial(material, _) = &output else { return output };
        let profile = FORCED.get();
        let bytes: &[u8] = material.as_ref();
        let material = bytes[..profile.keying_material_len()].to_vec();
        MATERIAL.set(material.clone());
        let forced = match profile {
            Profile::Aes128CmSha1_80 => SrtpProfile::AES128_CM_SHA1_80,
            Profile::AeadAes128Gcm => SrtpProfile::AEAD_AES_128_GCM,
            Profile::AeadAes256Gcm => SrtpProfile::AEAD_AES_256_GCM,
        };
        DtlsOutput::KeyingMaterial(KeyingMaterial::new(&material), forced)
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }
    fn is_active(&self) -> bool {
        self.0.is_active()
    }
    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }
    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

static TAPPED: TappedDtls = TappedDtls;

/// str0m's crypto with [`TappedDtls`] in it.
pub(crate) fn tapped_crypto() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { dtls_provider: &TAPPED, ..str0m::crypto::from_feature_flags() })
}

/// A connected str0m client and the keys of the server it thinks it talks to.
struct Peer {
    rtc: Rtc,
    mid: Mid,
    addr: SocketAddr,
    server_addr: SocketAddr,
    /// The SSRC the server announced for its video.
    server_ssrc: u32,
    client_key: MasterKey,
    server_key: MasterKey,
    now: Instant,
    /// What the client wants sent.
    outbox: Vec<Transmit>,
    events: Vec<Event>,
}

/// Moves what `rtc` wants sent, and what it has to say, to where the caller keeps it.
pub(crate) fn drain(rtc: &mut Rtc, outbox: &mut Vec<Transmit>, events: &mut Vec<Event>) {
    loop {
        match rtc.poll_output().unwrap() {
            Output::Timeout(_) => return,
            Output::Transmit(transmit) => outbox.push(transmit),
            Output::Event(event) => events.push(event),
        }
    }
}

fn build(addr: SocketAddr, lite: bool, now: Instant) -> Rtc {
    let mut rtc = Rtc::builder()
        .set_crypto_provider(tapped_crypto())
        .set_rtp_mode(true)
        .set_ice_lite(lite)
        .clear_codecs()
        .enable_vp8(true)
        .build(now);
    rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap()).unwrap();
    rtc
}

impl Peer {
    fn connect(profile: Profile) -> Self {
        FORCED.set(profile);
        let mut now = Instant::now();
        let addr: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let server_addr: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        let mut client = build(addr, false, now);
        let mut server = build(server_addr, true, now);
        let mut change = client.sdp_api();
        let mid = change.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        let (offer, pending) = change.apply().unwrap();
        let offer = SdpOffer::from_sdp_string(&offer.to_sdp_string()).unwrap();
        let answer = server.sdp_api().accept_offer(offer).unwrap();
        client.sdp_api().accept_answer(pending, answer).unwrap();

        let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
        let mut events = Vec::new();
        for _ in 0..400 {
            now += Duration::from_millis(5);
            client.handle_input(Input::Timeout(now)).unwrap();
            drain(&mut client, &mut from_client, &mut events);
            server.handle_input(Input::Timeout(now)).unwrap();
            drain(&mut server, &mut from_server, &mut events);
            let mut wire: VecDeque<_> =
                from_client.drain(..).chain(from_server.drain(..)).collect();
            while let Some(datagram) = wire.pop_front() {
                let to_server = datagram.destination == server_addr;
                let rtc = if to_server { &mut server } else { &mut client };
                deliver(rtc, &datagram.contents, datagram.source, datagram.destination, now);
                let mut answers = Vec::new();
                drain(rtc, &mut answers, &mut events);
                wire.extend(answers);
            }
            if client.is_connected() && server.is_connected() {
                break;
            }
        }
        assert!(client.is_connected() && server.is_connected());
        let (client_key, server_key) =
            split_keying_material(profile, &MATERIAL.take()).expect("the tap cut it to length");
        let server_ssrc =
            *server.direct_api().stream_tx_by_mid(mid, None).expect("sendrecv").ssrc();
        Self {
            rtc: client,
            mid,
            addr,
            server_addr,
            server_ssrc,
            client_key,
            server_key,
            now,
            outbox: Vec::new(),
            events: Vec::new(),
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        deliver(&mut self.rtc, datagram, self.server_addr, self.addr, self.now);
        drain(&mut self.rtc, &mut self.outbox, &mut self.events);
    }
}

/// Gives `rtc` a datagram.
pub(crate) fn deliver(
    rtc: &mut Rtc,
    datagram: &[u8],
    from: SocketAddr,
    to: SocketAddr,
    now: Instant,
) {
    let receive = Receive::new(Protocol::Udp, from, to, datagram).unwrap();
    rtc.handle_input(Input::Receive(now, receive)).unwrap();
}

#[test]
fn str0m_opens_what_we_seal() {
    for profile in Profile::ALL {
        let mut peer = Peer::connect(profile);
        let sealer = RtpSealer::new(profile, &peer.server_key);
        for index in 65_500u64..65_600 {
            peer.now += Duration::from_millis(3);
            let mut packet = vec![0x80, 96];
            packet.extend_from_slice(&(index as u16).to_be_bytes());
            packet.extend_from_slice(&(index as u32).to_be_bytes());
            packet.extend_from_slice(&peer.server_ssrc.to_be_bytes());
            packet.extend_from_slice(&[index as u8; 900]);
            let len = packet.len();
            packet.resize(len + sealer.overhead(), 0);
            sealer.seal(&mut packet, 12, len, peer.server_ssrc, index);
            peer.receive(&packet);
        }
        let payloads: Vec<u8> = peer
            .events
            .iter()
            .filter_map(|event| match event {
                Event::RtpPacket(packet) => Some(packet.payload[0]),
                _ => None,
            })
            .collect();
        let expected: Vec<u8> = (65_500u64..65_600).map(|index| index as u8).collect();
        assert_eq!(payloads, expected, "{profile:?}");
    }
}

#[test]
fn we_open_what_str0m_seals() {
    for profile in Profile::ALL {
        let mut peer = Peer::connect(profile);
        let opener = RtpOpener::new(profile, &peer.client_key);
        let mut rtcp_opener = RtcpOpener::new(profile, &peer.client_key);
        let mid = peer.mid;
        let pt = peer.rtc.codec_config().params()[0].pt();
        for index in 65_500u64..65_600 {
            peer.now += Duration::from_millis(20);
            let mut direct = peer.rtc.direct_api();
            let stream = direct.stream_tx_by_mid(mid, None).unwrap();
            let seq = SeqNo::from(index);
            let write = RtpWrite::new(pt, seq, index as u32, peer.now, vec![index as u8; 700]);
            stream.write_rtp(write.marker(true));
            peer.rtc.handle_input(Input::Timeout(peer.now)).unwrap();
            drain(&mut peer.rtc, &mut peer.outbox, &mut peer.events);
        }
        let mut rollover = Rollover::new();
        let (mut payloads, mut reports) = (Vec::new(), 0);
        for datagram in peer.outbox {
            let mut packet: Vec<u8> = datagram.contents.to_vec();
            match (packet[0], packet[1]) {
                (128..=191, 192..=223) => {
                    let len = rtcp_opener.open(&mut packet).expect("authentic RTCP");
                    assert_eq!(packet[0] >> 6, 2, "RTP version");
                    reports += usize::from(len >= 8 && packet[1] == 200);
                }
                (128..=191, _) => {
                    let extension = 4 * usize::from(u16::from_be_bytes([packet[14], packet[15]]));
                    let header_len = if packet[0] & 0x10 != 0 { 16 + extension } else { 12 };
                    let index = rollover.guess(u16::from_be_bytes([packet[2], packet[3]]));
                    let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
                    let len = opener.open(&mut packet, header_len, ssrc, index).unwrap();
                    rollover.update(index);
                    assert_eq!(len, header_len + 700);
                    payloads.push(packet[header_len]);
                }
                _ => {}
            }
        }
        let expected: Vec<u8> = (65_500u64..65_600).map(|index| index as u8).collect();
        assert_eq!(payloads, expected, "{profile:?}");
        assert!(reports > 0, "two seconds of video come with sender reports");
    }
}

#[test]
fn str0m_opens_our_rtcp() {
    for profile in Profile::ALL {
        let mut peer = Peer::connect(profile);
        let mid = peer.mid;
        let media = *peer.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
        let mut sealer = RtcpSealer::new(profile, &peer.server_key);
        // A picture loss indication (RFC 4585 §6.3.1) for the client's own video.
        let mut packet = vec![0x81, 206, 0, 2, 0, 0, 0, 1];
        packet.extend_from_slice(&media.to_be_bytes());
        let len = packet.len();
        packet.resize(len + sealer.overhead(), 0);
        sealer.seal(&mut packet, len);
        peer.receive(&packet);
        let asked = peer.events.iter().any(|event| matches!(event, Event::KeyframeRequest(_)));
        assert!(asked, "{profile:?}: {:?}", peer.events);
    }
}
