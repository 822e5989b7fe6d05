//! A str0m receiver and an [`Ingest`] behind the same keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{Extension, RawPacket};
use str0m::{Candidate, Event, Input, Rtc};

use crate::id::{StreamKey, TrackId, TrackKind};
use crate::ingest::{Ingest, Opened};
use crate::media::{
    ExtensionKind, KeyframeRequest, PublishedPayload, PublishedTrack, PublisherTerms,
};
use crate::srtp::interop::{FORCED, MATERIAL, deliver, drain, tapped_crypto};
use crate::srtp::{MasterKey, Profile, RtcpOpener, RtcpSealer, RtpSealer, split_keying_material};
use crate::wire::rtcp::{self, Packet, ReportBlock};

/// A packet as both give it: track, layer by RID, index, RTP time, marker, payload.
pub type Media = (usize, Option<String>, u64, u32, bool, Vec<u8>);

/// What each of a publisher's packets has.
pub struct Track {
    pub mid: Mid,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
}

pub struct Oracle {
    pub now: Instant,
    pub tracks: Vec<Track>,
    /// The id of each extension.
    pub ids: BTreeMap<&'static str, u8>,
    pub sealer: RtpSealer,
    pub ours: BTreeSet<Media>,
    pub theirs: BTreeSet<Media>,
    client: Rtc,
    server: Rtc,
    ingest: Ingest,
    ours_out: RtcpSealer,
    theirs_in: RtcpOpener,
    our_reports: BTreeMap<u32, ReportBlock>,
    their_reports: BTreeMap<u32, ReportBlock>,
    /// Our layers' numbers by RID, as the packets of str0m tell of them.
    rids: Vec<String>,
    arrivals: BTreeMap<u64, Instant>,
    zero: Instant,
}

const CLIENT: &str = "192.0.2.7:4000";
const SERVER: &str = "192.0.2.1:3478";
const RIDS: [&str; 3] = ["a", "b", "c"];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn build(at: &str, lite: bool, now: Instant) -> Rtc {
    let config = Rtc::builder().set_crypto_provider(tapped_crypto()).set_rtp_mode(true);
    let config = config.set_ice_lite(lite).enable_raw_packets(true).clear_codecs();
    let mut rtc = config.enable_opus(true, false).enable_vp8(true).build(now);
    rtc.add_local_candidate(Candidate::host(address(at), "udp").unwrap()).unwrap();
    rtc
}

fn connect(client: &mut Rtc, server: &mut Rtc, now: &mut Instant) {
    let (mut from_client, mut from_server, mut events) = (Vec::new(), Vec::new(), Vec::new());
    while !(client.is_connected() && server.is_connected()) {
        *now += Duration::from_millis(5);
        client.handle_input(Input::Timeout(*now)).unwrap();
        drain(client, &mut from_client, &mut events);
        server.handle_input(Input::Timeout(*now)).unwrap();
        drain(server, &mut from_server, &mut events);
        let mut wire: VecDeque<_> = from_client.drain(..).chain(from_server.drain(..)).collect();
        while let Some(datagram) = wire.pop_front() {
            let to_server = datagram.destination == address(SERVER);
            let rtc = if to_server { &mut *server } else { &mut *client };
            deliver(rtc, &datagram.contents, datagram.source, datagram.destination, *now);
            let mut answers = Vec::new();
            drain(rtc, &mut answers, &mut events);
            wire.extend(answers);
        }
    }
}

impl Oracle {
    pub fn connect(profile: Profile, simulcast: bool) -> Oracle {
        FORCED.set(profile);
        let mut now = Instant::now();
        let (mut client, mut server) = (build(CLIENT, false, now), build(SERVER, true, now));
        let layers = simulcast.then(|| {
            let mut layers = Simulcast::new();
            RIDS.iter().for_each(|rid| layers.add_send_layer(SimulcastLayer::new(rid)));
            layers
        });
        let mut change = client.sdp_api();
        let audio = change.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let video = change.add_media(MediaKind::Video, Direction::SendOnly, None, None, layers);
        let (offer, pending) = change.apply().unwrap();
        // Without the client's own SSRCs: those of the test are to be learnt.
        let offer = offer.to_sdp_string();
        let lines = offer.lines().filter(|line| !line.starts_with("a=ssrc"));
        let offer = lines.fold(String::new(), |text, line| text + line + "\r\n");
        let offer = SdpOffer::from_sdp_string(&offer).unwrap();
        let answer = server.sdp_api().accept_offer(offer).unwrap();
        client.sdp_api().accept_answer(pending, answer).unwrap();
        connect(&mut client, &mut server, &mut now);

        let (client_key, server_key) = split_keying_material(profile, &MATERIAL.take()).unwrap();
        let tracks = vec![track(&server, audio, Codec::Opus), track(&server, video, Codec::Vp8)];
        let ids = ids(&server, &[audio, video]);
        let ingest = ingest(&tracks, &ids, profile, &client_key, now);
        Oracle {
            now,
            tracks,
            ids,
            sealer: RtpSealer::new(profile, &client_key),
            ours: BTreeSet::new(),
            theirs: BTreeSet::new(),
            client,
            server,
            ingest,
            ours_out: RtcpSealer::new(profile, &server_key),
            theirs_in: RtcpOpener::new(profile, &server_key),
            our_reports: BTreeMap::new(),
            their_reports: BTreeMap::new(),
            rids: Vec::new(),
            arrivals: BTreeMap::new(),
            zero: now,
        }
    }

    /// Gives both a sealed datagram, whose layer has the name `rid`.
    pub fn receive(&mut self, datagram: &[u8], rid: Option<&str>) {
        deliver(&mut self.server, datagram, address(CLIENT), address(SERVER), self.now);
        let mut bytes = datagram.to_vec();
        if let Ok(Opened::Media { packet, .. }) = self.ingest.rtp(self.now, &mut bytes) {
            let video = packet.track.id.kind == TrackKind::Video;
            let named = rid.filter(|_| video);
            if let Some(rid) = named {
                let known = self.rids.iter().position(|known| known == rid);
                let number = known.unwrap_or_else(|| {
                    self.rids.push(rid.to_owned());
                    self.rids.len() - 1
                });
                assert_eq!(usize::from(packet.layer), number, "layers in order of sight");
            }
            let (track, payload) = (usize::from(video), packet.payload.to_vec());
            self.ours.insert((
                track,
                named.map(str::to_owned),
                packet.sequence,
                packet.timestamp,
                packet.marker,
                payload,
            ));
        }
        self.drain();
    }

    /// Lets time pass for both.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        self.server.handle_input(Input::Timeout(self.now)).unwrap();
        self.drain();
        let mut out = [0; 1_500];
        while self.ingest.deadline() <= self.now {
            let Some(length) = self.ingest.write_due(self.now, &mut out) else { continue };
            note_reports(&out[..length], &mut self.our_reports);
            let sealed = self.ours_out.seal(&mut out, length);
            deliver(&mut self.client, &out[..sealed], address(SERVER), address(CLIENT), self.now);
            self.read_feedback();
        }
    }

    fn drain(&mut self) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        drain(&mut self.server, &mut sent, &mut events);
        for datagram in sent {
            let mut bytes = datagram.contents.to_vec();
            // STUN and DTLS begin otherwise.
            if (128..192).contains(&bytes[0])
                && let Ok(length) = self.theirs_in.open(&mut bytes)
            {
                note_reports(&bytes[..length], &mut self.their_reports);
            }
        }
        for event in events {
            let Event::RtpPacket(packet) = event else { continue };
            let pt = *packet.header.payload_type;
            let track = self.tracks.iter().position(|track| track.payload_type == pt).unwrap();
            let mut direct = self.server.direct_api();
            let stream = direct.stream_rx(&packet.header.ssrc).unwrap();
            let rid = stream.rid().map(|rid| rid.to_string());
            self.theirs.insert((
                track,
                rid,
                *packet.seq_no,
                packet.header.timestamp,
                packet.header.marker,
                packet.payload.to_vec(),
            ));
        }
    }

    fn read_feedback(&mut self) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        drain(&mut self.client, &mut sent, &mut events);
        for event in events {
            let Event::RawPacket(packet) = event else { continue };
            let RawPacket::RtcpRx(Rtcp::Twcc(report)) = *packet else { continue };
            for (number, _status, at) in report.into_iter(self.zero, (1 << 17).into()) {
                if let Some(at) = at {
                    self.arrivals.insert(*number % (1 << 16), at);
                }
            }
        }
    }

    /// When packets came, by their transport-wide number, as str0m reads our feedback.
    pub fn arrivals_read(&self) -> &BTreeMap<u64, Instant> {
        &self.arrivals
    }

    /// The last blocks of our reports and of str0m's, by SSRC.
    pub fn reports(&self) -> (&BTreeMap<u32, ReportBlock>, BTreeMap<u32, ReportBlock>) {
        (&self.our_reports, self.their_reports.clone())
    }
}

fn note_reports(compound: &[u8], into: &mut BTreeMap<u32, ReportBlock>) {
    for packet in rtcp::compound(compound).map_while(Result::ok) {
        if let Packet::ReceiverReport { reports, .. } = packet {
            into.extend(reports.map(|block| (block.ssrc, block)));
        }
    }
}

fn track(server: &Rtc, mid: Mid, codec: Codec) -> Track {
    let params = server.codec_config().params();
    let params = params.iter().find(|params| params.spec().codec == codec).unwrap();
    let rtx_payload_type = params.resend().map(|pt| *pt);
    Track { mid, payload_type: *params.pt(), rtx_payload_type }
}

fn ids(server: &Rtc, mids: &[Mid]) -> BTreeMap<&'static str, u8> {
    let named = [
        ("mid", Extension::RtpMid),
        ("rid", Extension::RtpStreamId),
        ("rrid", Extension::RepairedRtpStreamId),
        ("twcc", Extension::TransportSequenceNumber),
    ];
    let maps = mids.iter().filter_map(|mid| server.media(*mid));
    let found = maps.flat_map(|media| {
        let map = media.remote_extmap();
        named.iter().filter_map(|(name, kind)| Some((*name, map.id_of(kind.clone())?)))
    });
    found.collect()
}

fn ingest(
    tracks: &[Track],
    ids: &BTreeMap<&'static str, u8>,
    profile: Profile,
    remote: &MasterKey,
    now: Instant,
) -> Ingest {
    let kinds = [(TrackKind::Audio, Codec::Opus), (TrackKind::Video, Codec::Vp8)];
    let tracks = tracks.iter().zip(kinds).map(|(track, (kind, codec))| {
        let payload = PublishedPayload {
            codec,
            payload_type: track.payload_type,
            rtx_payload_type: track.rtx_payload_type,
            red_payload_type: None,
            nack: kind == TrackKind::Video,
            keyframes: KeyframeRequest::Pli,
        };
        let (id, mid) = (TrackId::first(kind), track.mid.to_string());
        PublishedTrack { id, mid, payload, answered: vec![payload] }
    });
    let kind_of = |name: &str| match name {
        "mid" => ExtensionKind::Mid,
        "rid" => ExtensionKind::Rid,
        "rrid" => ExtensionKind::RepairedRid,
        _ => ExtensionKind::TransportSequence,
    };
    let extensions = ids.iter().map(|(name, id)| (*id, kind_of(name))).collect();
    let terms = PublisherTerms { tracks: tracks.collect(), extensions, sources: Vec::new() };
    Ingest::new(StreamKey { index: 0, generation: 0 }, terms, profile, remote, now)
}
