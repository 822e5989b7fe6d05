//! What a publisher sends, read as a receiver would.

use super::*;
use crate::account::Account;
use crate::sdp::Section;
use monoport::srtp::{Profile, RtpOpener, split_keying_material};
use monoport::wire::rtp;
use std::collections::BTreeSet;

struct Wires(Vec<Vec<u8>>);

impl Wire for Wires {
    fn datagram(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        let mut slot = vec![0; 1_452];
        let length = fill(&mut slot);
        slot.truncate(length);
        self.0.push(slot);
    }
}

fn keys() -> Keys {
    let profile = Profile::AeadAes256Gcm;
    let material = vec![7; profile.keying_material_len()];
    let (ours, theirs) = split_keying_material(profile, &material).unwrap();
    Keys { profile, ours, theirs }
}

fn answer() -> Answer {
    Answer {
        ufrag: String::new(),
        password: String::new(),
        fingerprint: [0; 32],
        server_is_passive: true,
        candidates: Vec::new(),
        audio: Some(Section { payload_type: 111, ..Section::default() }),
        video: Some(Section { payload_type: 96, ..Section::default() }),
        rtx_pt: Some(97),
        ssrcs: Vec::new(),
    }
}

/// Two seconds of a publisher: its RTP packets, and the stream that knows when they left.
fn two_seconds(shape: Shape, answer: &Answer) -> (Vec<Vec<u8>>, Arc<Stream>) {
    let ssrcs = Ssrcs { audio: 1, video: 65_530, rtx: 3 };
    let stream = Arc::new(Stream::new("s".into()));
    let mut now = Instant::now();
    let end = now + Duration::from_secs(2);
    let mut publisher = Publisher::new(stream.clone(), shape, ssrcs, answer, &keys(), now);
    let mut wires = Wires(Vec::new());
    let mut lens = Lens::new(Arc::default(), 1, false, 0.0);
    while now < end {
        now = now.max(publisher.deadline());
        publisher.on_timer(now, &mut lens, &mut wires);
    }
    wires.0.retain(|packet| !(192..=223).contains(&packet[1]));
    (wires.0, stream)
}

fn shape(video: Option<Format>) -> Shape {
    Shape {
        video,
        layers: 1,
        video_kbps: 2_000,
        fps: 25,
        audio: true,
        packet_bytes: 1_200,
        key_frame_interval: Duration::from_secs(1),
        drop: 0.0,
    }
}

/// Opened again: sizes, rates, flags and numbers are what was asked.
#[test]
fn sends_what_was_asked_for() {
    for format in [Format::Vp8, Format::H264, Format::Vp9, Format::Av1] {
        let (packets, stream) = two_seconds(shape(Some(format)), &answer());
        let opener = RtpOpener::new(Profile::AeadAes256Gcm, &keys().ours);
        let (mut video, mut audio) = (Account::default(), Account::default());
        let (mut frames, mut key_frames) = (BTreeSet::new(), BTreeSet::new());
        let (mut ends, mut bytes) = (0, 0);
        for mut packet in packets {
            assert!(packet.len() <= 1_200);
            let header = rtp::parse(&packet).unwrap();
            let account = if header.ssrc == 1 { &mut audio } else { &mut video };
            let index = account.index(header.sequence);
            let len = opener.open(&mut packet, header.header_len, header.ssrc, index).unwrap();
            let payload = &packet[header.header_len..len];
            if header.ssrc == 1 {
                account.opened(index, Format::Opus.stamp(payload).unwrap().number);
                continue;
            }
            let stamp = format.stamp(payload).unwrap();
            account.opened(index, stamp.number);
            frames.insert(header.timestamp);
            key_frames.extend(format.starts(payload).then_some(header.timestamp));
            ends += usize::from(header.marker);
            bytes += payload.len();
            assert_eq!(stream.video.sent_ns(stamp.number), Some(stamp.sent_ns));
        }
        assert!((49..=51).contains(&frames.len()), "{format:?} {}", frames.len());
        assert_eq!(ends, frames.len(), "{format:?}");
        assert!((2..=3).contains(&key_frames.len()), "{format:?} {}", key_frames.len());
        assert!((98..=101).contains(&audio.received), "{}", audio.received);
        // 2 s of 250 kB, and three more frames' worth for each key frame.
        assert!((500_000..600_000).contains(&bytes), "{format:?} {bytes}");
        assert_eq!(video.received, stream.video.sent());
        assert_eq!(video.renumbered + audio.renumbered, 0);
    }
}

#[test]
fn without_video_only_audio_is_sent() {
    let (packets, stream) = two_seconds(shape(None), &answer());
    assert!((98..=101).contains(&packets.len()), "{}", packets.len());
    assert_eq!((stream.video.sent(), stream.audio.sent()), (0, packets.len() as u64));
}

/// One numbering for all that the transport carries, in the order in which it leaves.
#[test]
fn transport_wide_numbers_count_both_media_where_the_answer_has_them() {
    let number = |packet: &Vec<u8>| {
        let header = rtp::parse(packet).unwrap();
        let found = header.elements(packet).find(|(id, _)| *id == 7);
        found.map(|(_, data)| u16::from_be_bytes(data.try_into().unwrap()))
    };
    let (packets, _) = two_seconds(shape(Some(Format::Vp8)), &answer());
    assert!(packets.iter().all(|packet| number(packet).is_none()));
    let mut answer = answer();
    for section in [&mut answer.audio, &mut answer.video] {
        *section = section.map(|section| Section { transport_wide: Some(7), ..section });
    }
    let (packets, _) = two_seconds(shape(Some(Format::Vp8)), &answer);
    let numbers: Vec<u16> = packets.iter().filter_map(number).collect();
    assert!(numbers.len() > 500, "{}", numbers.len());
    assert_eq!(numbers, (0..packets.len() as u16).collect::<Vec<_>>());
}

#[test]
fn a_late_tick_skips_what_is_past() {
    let start = Instant::now();
    let tick = Duration::from_millis(10);
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(next_tick(start, tick, at(3)), (at(10), 0));
    assert_eq!(next_tick(start, tick, at(10)), (at(10), 0));
    assert_eq!(next_tick(start, tick, at(35)), (at(30), 2));
}
