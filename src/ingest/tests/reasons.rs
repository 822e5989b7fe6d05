//! What comes of packets that are of no track, or of one that has changed.

use std::time::{Duration, Instant};

use str0m::format::Codec;

use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::ingest::{Ingest, Opened};
use crate::limits::{MAX_LAYERS, SOURCE_KEPT};
use crate::media::{
    Bytes, ExtensionKind, KeyframeRequest, MediaPacket, OfferedSource, PublishedPayload,
    PublishedTrack, PublisherTerms,
};
use crate::srtp::{MasterKey, Profile, RtpSealer};
use crate::wire::rtcp::{self, Packet};
use crate::wire::rtp::HeaderWriter;

const PROFILE: Profile = Profile::AeadAes128Gcm;
const AUDIO: u8 = 111;
const VIDEO: u8 = 96;
const RTX: u8 = 97;
const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;
/// A VP8 payload descriptor, and the head of an interframe or of a key frame.
const INTERFRAME: &[u8] = &[0x10, 0x01, 0, 0];
const KEYFRAME: &[u8] = &[0x10, 0x00, 0, 0];

struct Bench {
    ingest: Ingest,
    sealer: RtpSealer,
    now: Instant,
    /// The datagram that was received last.
    packet: [u8; 200],
}

/// A packet to be sealed.
#[derive(Clone, Copy)]
struct Sent<'a> {
    ssrc: u32,
    payload_type: u8,
    index: u64,
    timestamp: u32,
    elements: &'a [(u8, &'a [u8])],
    payload: &'a [u8],
    padding: bool,
}

const SENT: Sent<'static> = Sent {
    ssrc: 20,
    payload_type: VIDEO,
    index: 1_000,
    timestamp: 7,
    elements: &[],
    payload: INTERFRAME,
    padding: false,
};

fn track(kind: TrackKind, mid: &str, payload_type: u8) -> PublishedTrack {
    let is_video = kind == TrackKind::Video;
    let payload = PublishedPayload {
        codec: if is_video { Codec::Vp8 } else { Codec::Opus },
        payload_type,
        rtx_payload_type: is_video.then_some(RTX),
        red_payload_type: None,
        nack: is_video,
        keyframes: KeyframeRequest::Fir,
    };
    PublishedTrack { id: TrackId::first(kind), mid: mid.into(), payload, answered: vec![payload] }
}

impl Bench {
    fn new() -> Bench {
        let (key, salt) = (vec![1; PROFILE.key_len()], vec![2; PROFILE.salt_len()]);
        let master = MasterKey::new(PROFILE, &key, &salt).unwrap();
        let offered = |ssrc, repairs| OfferedSource { ssrc, track: 1, repairs };
        let terms = PublisherTerms {
            tracks: vec![track(TrackKind::Audio, "a", AUDIO), track(TrackKind::Video, "v", VIDEO)],
            extensions: vec![
                (MID, ExtensionKind::Mid),
                (RID, ExtensionKind::Rid),
                (REPAIRED_RID, ExtensionKind::RepairedRid),
            ],
            sources: vec![offered(70, None), offered(71, Some(70))],
        };
        let now = Instant::now();
        let stream = StreamKey { index: 0, generation: 0 };
        let ingest = Ingest::new(stream, terms, PROFILE, &master, now);
        Bench { ingest, sealer: RtpSealer::new(PROFILE, &master), now, packet: [0; 200] }
    }

    fn receive(&mut self, sent: Sent<'_>) -> Result<Opened<'_>, DropReason> {
        let Sent { ssrc, payload_type, index, timestamp, elements, payload, padding } = sent;
        let (marker, sequence) = (false, index as u16);
        let header = HeaderWriter { marker, padding, payload_type, sequence, timestamp, ssrc };
        let packet = &mut self.packet;
        let start = header.write(elements, packet).unwrap();
        let length = start + payload.len();
        packet[start..length].copy_from_slice(payload);
        let sealed = self.sealer.seal(packet, start, length, ssrc, index);
        self.ingest.rtp(self.now, &mut packet[..sealed])
    }

    fn media(&mut self, sent: Sent<'_>) -> (MediaPacket, bool) {
        match self.receive(sent) {
            Ok(Opened::Media { packet, asks, .. }) => (packet.with_payload(|p| p.keep(None)), asks),
            other => panic!("no media: {other:?}"),
        }
    }

    fn unplaced(&mut self, sent: Sent<'_>) -> DropReason {
        match self.receive(sent) {
            Ok(Opened::Unplaced(reason)) => reason,
            other => panic!("not unplaced: {other:?}"),
        }
    }
}

#[test]
fn a_packet_of_no_track_says_so_and_nothing_is_learnt_of_it() {
    let mut bench = Bench::new();
    let nobody = Sent { elements: &[(MID, b"x")], ..SENT };
    assert_eq!(bench.unplaced(nobody), DropReason::UnknownTrack);
    let untyped = Sent { payload_type: 99, ..SENT };
    assert_eq!(bench.unplaced(untyped), DropReason::UnknownTrack, "neither MID nor type");
    let mistyped = Sent { elements: &[(MID, b"v")], payload_type: 99, ..SENT };
    assert_eq!(bench.unplaced(mistyped), DropReason::UnknownPayloadType);
    // The SSRC is the audio's if the first packet that says so does.
    let audio = Sent { elements: &[(MID, b"a")], payload_type: AUDIO, ..SENT };
    assert_eq!(bench.media(audio).0.track.id.kind, TrackKind::Audio);
    let other = Sent { payload_type: VIDEO, index: 1_001, ..SENT };
    assert_eq!(bench.unplaced(other), DropReason::UnknownPayloadType);
}

#[test]
fn forged_seen_and_cut_packets_say_so_whatever_their_ssrc() {
    let mut bench = Bench::new();
    bench.media(SENT);
    assert_eq!(bench.receive(SENT).unwrap_err(), DropReason::SrtpReplay);
    let header = HeaderWriter {
        marker: false,
        padding: false,
        payload_type: VIDEO,
        sequence: 5,
        timestamp: 0,
        ssrc: 999,
    };
    for (ssrc, length, reason) in [
        (20, 60, DropReason::SrtpAuth),
        (999, 60, DropReason::SrtpAuth),
        (20, 13, DropReason::MalformedRtp),
        (20, 3, DropReason::MalformedRtp),
    ] {
        let mut packet = [0; 60];
        let _ = HeaderWriter { ssrc, ..header }.write(&[], &mut packet);
        let received = bench.ingest.rtp(bench.now, &mut packet[..length]);
        assert_eq!(received.unwrap_err(), reason, "{ssrc} {length}");
    }
}

#[test]
fn ssrcs_of_the_offer_and_types_that_one_track_has_need_no_mid() {
    let mut bench = Bench::new();
    let (by_type, _) = bench.media(Sent { ssrc: 30, payload_type: AUDIO, ..SENT });
    assert_eq!(by_type.track.id.kind, TrackKind::Audio);
    let (offered, _) = bench.media(Sent { ssrc: 70, ..SENT });
    assert_eq!(offered.track.id.kind, TrackKind::Video);
    // Its group says what its retransmissions are of.
    let payload = [&999u16.to_be_bytes()[..], INTERFRAME].concat();
    let again = Sent { ssrc: 71, payload_type: RTX, index: 9, payload: &payload, ..SENT };
    let (repaired, _) = bench.media(again);
    assert_eq!((repaired.sequence, &*repaired.payload), (999, INTERFRAME));
    let twice = Sent { index: 10, ..again };
    let opened = bench.receive(twice);
    assert!(matches!(opened, Ok(Opened::Padding)), "it has come already: {opened:?}");
    assert_eq!(
        bench.receive(Sent { index: 999, ssrc: 70, ..SENT }).unwrap_err(),
        DropReason::SrtpReplay
    );
}

#[test]
fn padding_is_neither_media_nor_a_drop() {
    let mut bench = Bench::new();
    let padding = Sent { payload: &[0, 0, 3], padding: true, ..SENT };
    let rtx = Sent { ssrc: 21, payload_type: RTX, ..padding };
    for early in [rtx, Sent { ssrc: 0, ..padding }, Sent { payload_type: 99, ..padding }] {
        assert!(matches!(bench.receive(early), Ok(Opened::Padding)));
    }
    assert!(bench.media(padding).0.payload.is_empty(), "of media it keeps its number");
}

#[test]
fn h264_without_its_parameter_sets_is_given_them() {
    let mut bench = Bench::new();
    bench.ingest.terms.tracks[1].payload.codec = Codec::H264;
    let mut send = |index: u64, timestamp, payload: &[u8]| match bench.receive(Sent {
        index,
        timestamp,
        payload,
        elements: &[(MID, b"v")],
        ..SENT
    }) {
        Ok(Opened::Media { packet, sets, .. }) => (packet.sequence, sets.map(|s| s.to_vec())),
        other => panic!("no media: {other:?}"),
    };
    assert_eq!(send(1, 0, &[0x67, 1]), (1, None));
    assert_eq!(send(2, 0, &[0x68, 2]), (2, None));
    assert_eq!(send(3, 0, &[0x65, 3]), (3, None));
    let sets = vec![0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2];
    assert_eq!(send(5, 3_000, &[0x41, 4]), (5, None));
    assert_eq!(send(6, 6_000, &[0x65, 6]), (7, Some(sets)), "under the number before its own");
    assert_eq!(send(4, 0, &[0x65, 5]), (4, None), "what is late has its own");
    assert_eq!(send(7, 9_000, &[0x41, 7]), (8, None));
}

#[test]
fn a_ninth_layer_is_refused_while_eight_are_sent() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..=MAX_LAYERS).map(|layer| format!("r{layer}")).collect();
    for (ssrc, name) in (100..).zip(&names[..MAX_LAYERS]) {
        let elements: &[(u8, &[u8])] = &[(MID, b"v"), (RID, name.as_bytes())];
        let (packet, _) = bench.media(Sent { ssrc, elements, ..SENT });
        assert_eq!(u32::from(packet.layer), ssrc - 100);
    }
    let elements: &[(u8, &[u8])] = &[(MID, b"v"), (RID, names[MAX_LAYERS].as_bytes())];
    let ninth = Sent { ssrc: 200, elements, ..SENT };
    assert_eq!(bench.unplaced(ninth), DropReason::TooManyLayers);
    bench.now += SOURCE_KEPT;
    let (packet, asks) = bench.media(Sent { index: 1_001, ..ninth });
    assert_eq!((packet.layer, packet.origin.source, asks), (0, 1, true), "in a silent one's place");
}

#[test]
fn a_new_ssrc_goes_on_at_once_and_a_key_frame_is_asked_for_unless_it_is_one() {
    let mut bench = Bench::new();
    let (first, asks) = bench.media(SENT);
    assert_eq!((first.origin.source, asks), (0, false));
    let (second, asks) = bench.media(Sent { ssrc: 21, index: 5, ..SENT });
    assert_eq!((second.origin.source, second.sequence, asks), (1, 5, true));
    let (_, asks) = bench.media(Sent { ssrc: 21, index: 6, ..SENT });
    assert!(!asks, "once");
    let (third, asks) = bench.media(Sent { ssrc: 22, index: 9, payload: KEYFRAME, ..SENT });
    assert!(third.keyframe && !asks);
    let (late, _) = bench.media(Sent { index: 1_001, ..SENT });
    assert_eq!(late.origin.source, 0, "the former's, and late");
}

#[test]
fn key_frames_are_asked_for_as_was_agreed_of_who_sends_now() {
    let mut bench = Bench::new();
    let mut out = [0; 100];
    let mut ask = |bench: &mut Bench, kind| {
        let length = bench.ingest.write_keyframe_request(TrackId::first(kind), 0, &mut out)?;
        match rtcp::compound(&out[..length]).next() {
            Some(Ok(Packet::Fir { entries })) => entries.into_iter().next(),
            other => panic!("no request: {other:?}"),
        }
    };
    assert_eq!(ask(&mut bench, TrackKind::Video), Some((70, 1)), "the offer's");
    bench.media(SENT);
    assert_eq!(ask(&mut bench, TrackKind::Video), Some((20, 2)));
    assert_eq!(ask(&mut bench, TrackKind::Audio), None, "of audio nothing was heard");
}

#[test]
fn the_round_trip_is_what_has_passed_since_our_time_was_heard() {
    let mut bench = Bench::new();
    bench.media(SENT);
    let mut out = [0; 1_200];
    bench.now += Duration::from_secs(1);
    let length = bench.ingest.write_due(bench.now, &mut out).expect("a report is due");
    // RFC 3611 §4.4: after header, SSRC and the block's head stands the time.
    let time: [u8; 8] = out[length - 8..length].try_into().unwrap();
    let heard = (u64::from_be_bytes(time) >> 16) as u32;
    bench.now += Duration::from_millis(130);
    let answer = |named: u32, ssrc: u32| {
        // 50 ms in 1/65,536 s.
        let words = [0x80cf_0005, 20, 0x0500_0003, ssrc, named, 3_277];
        words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect::<Vec<u8>>()
    };
    for (named, ssrc) in [(heard + 1, 1), (heard, 9)] {
        bench.ingest.rtcp(bench.now, &answer(named, ssrc), |_| {}).unwrap();
        assert_eq!(bench.ingest.uplink().rtt, None, "it answers nothing of ours");
    }
    bench.ingest.rtcp(bench.now, &answer(heard, 1), |_| {}).unwrap();
    let rtt = bench.ingest.uplink().rtt.expect("it is known");
    assert!(rtt.abs_diff(Duration::from_millis(80)) < Duration::from_millis(1), "{rtt:?}");
}

#[test]
fn a_malformed_tail_of_its_reports_leaves_the_head_standing() {
    let mut bench = Bench::new();
    bench.media(SENT);
    let mut report = [0; 100];
    let info = rtcp::SenderInfo { ssrc: 20, ntp: 5 << 32, rtp_timestamp: 7, packets: 1, octets: 1 };
    let length = rtcp::sender_report(&info, &[], &mut report).unwrap();
    let tail = [0x81, 206, 0xff, 0xff];
    let mut clocks = Vec::new();
    let cut = [&report[..length], &tail].concat();
    assert_eq!(bench.ingest.rtcp(bench.now, &cut, |clock| clocks.push(clock)), Ok(()));
    assert_eq!((clocks.len(), clocks[0].timestamp, clocks[0].ntp), (1, 7, 5 << 32));
    let refused = bench.ingest.rtcp(bench.now, &tail, |_| {});
    assert_eq!(refused, Err(DropReason::MalformedRtcp));
}
