//! Viewers of layers with temporal layers get them thinned: what they are sent can be decoded, and
//! nothing of it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use str0m::format::Codec;

use super::tests::{KEY, Left, Shard, TRACK, VIDEO, payload, shared, track};
use super::*;
use crate::egress::{Control, Feedback, Reception};
use crate::media::{ExtensionIds, HeaderExtensions, MediaPacket, Origin, ViewerTrack};

const MS: fn(u64) -> Duration = Duration::from_millis;
const FRAME: Duration = Duration::from_millis(33);

/// Of eight frames, as libvpx makes them of three temporal layers: the layer, whether it is a
/// switching up point (Y), and the frames before it that it needs.
const PATTERN: [(u8, bool, &[u32]); 8] = [
    (0, false, &[4]),
    (2, true, &[1]),
    (1, true, &[2]),
    (2, false, &[1, 2, 3]),
    (0, false, &[4]),
    (2, false, &[1, 2, 3]),
    (1, false, &[2, 4]),
    (2, false, &[1, 2, 3]),
];

/// What one packet says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    layer: u8,
    number: u32,
    place: u32,
    tid: u8,
    picture: u16,
    lowest: u8,
}

/// One layer's encoder.
#[derive(Clone, Copy)]
struct Encoder {
    sequence: u64,
    frames: u32,
    /// The place in the pattern; that of a key frame is 0.
    place: u32,
    picture: u16,
    lowest: u8,
    packets: u32,
    wants_keyframe: bool,
}

struct Camera {
    now: Instant,
    shared: Arc<StreamShared>,
    shard: Shard,
    encoders: [Encoder; 2],
    /// Packets that come late, by when.
    late: Vec<(Instant, MediaPacket)>,
    /// Of each payload.
    bytes: usize,
    sent: Vec<(u16, u32, Option<Frame>)>,
    /// What was sealed under each number of the viewer.
    texts: BTreeMap<u16, Vec<u8>>,
    control: Control,
    asked: usize,
}

impl Camera {
    fn new() -> Camera {
        let now = Instant::now();
        let (shared, mut shard) = (shared(), Shard::new(0));
        shard.streams.join(&shared);
        shard.streams.connected(KEY, Source::Session(1), [VIDEO].into_iter()).expect("the first");
        let encoder = |sequence, packets| Encoder {
            sequence,
            frames: 0,
            place: 0,
            picture: 0x7ff0,
            lowest: 250,
            packets,
            wants_keyframe: true,
        };
        let encoders = [encoder(10, 1), encoder(65_000, 3)];
        let (control, asked) = (Control::new(now), 0);
        let (late, sent, texts) = (Vec::new(), Vec::new(), BTreeMap::new());
        Camera { now, shared, shard, encoders, late, bytes: 100, sent, texts, control, asked }
    }

    /// Frames of both layers; `delay` says of a packet, by its number, how late it comes.
    fn frames(&mut self, count: u32, delay: impl Fn(u64) -> Option<Duration>) {
        for _ in 0..count {
            for layer in 0..2 {
                for packet in self.frame(layer) {
                    match delay(packet.sequence) {
                        None => self.publish(packet),
                        Some(late) => self.late.push((self.now + late, packet)),
                    }
                }
                self.turn(MS(1));
            }
            self.turn(FRAME - MS(2));
        }
    }

    fn publish(&mut self, packet: MediaPacket) {
        let packet = MediaPacket { received: self.now, ..packet };
        let _ = self.shard.streams.publish(packet, |_, _| panic!("there is one shard"));
        while self.shard.streams.changed().is_some() {}
    }

    fn turn(&mut self, after: Duration) {
        self.now += after;
        let now = self.now;
        let (due, late) = self.late.drain(..).partition(|(at, _)| *at <= now);
        self.late = late;
        let due: Vec<(Instant, MediaPacket)> = due;
        due.into_iter().for_each(|(_, packet)| self.publish(packet));
        self.shard.turn(now);
        self.asked = self.shard.asked;
        let left = std::mem::take(&mut self.shard.sent.1);
        let own: Vec<_> = left.iter().filter(|datagram| datagram[11] == 7).collect();
        own.iter().for_each(|datagram| self.note(datagram));
        self.sent.extend(own.iter().map(|datagram| read(datagram)));
    }

    fn frame(&mut self, layer: u8) -> Vec<MediaPacket> {
        let (now, bytes) = (self.now, self.bytes);
        let encoder = &mut self.encoders[usize::from(layer)];
        let keyframe = std::mem::take(&mut encoder.wants_keyframe);
        encoder.place = if keyframe { 0 } else { encoder.place % 8 };
        let (tid, up, _) = PATTERN[encoder.place as usize];
        encoder.picture = encoder.picture.wrapping_add(1) & 0x7fff;
        encoder.lowest = encoder.lowest.wrapping_add(u8::from(tid == 0));
        encoder.frames += 1;
        let place = if keyframe { 100 } else { encoder.place };
        let packets = (0..encoder.packets).map(|index| {
            encoder.sequence += 1;
            let first = index == 0;
            let [high, low] = (encoder.picture | 0x8000).to_be_bytes();
            let indices = tid << 6 | u8::from(up) << 5;
            let mut payload = vec![0x80 | u8::from(first) << 4, 0xe0, high, low, encoder.lowest];
            payload.extend([indices, u8::from(!keyframe), layer]);
            payload.extend(encoder.frames.to_be_bytes());
            payload.extend(place.to_be_bytes());
            payload.resize(bytes, 0x55);
            MediaPacket {
                track: TRACK,
                codec: Codec::Vp8,
                layer,
                origin: Origin { publisher: 1, source: 0 },
                sequence: encoder.sequence,
                timestamp: encoder.frames * 2_970 + 77,
                marker: index + 1 == encoder.packets,
                keyframe: keyframe && first,
                extensions: HeaderExtensions::default(),
                padding: 0,
                received: now,
                payload: payload.into(),
            }
        });
        let packets = packets.collect();
        encoder.place += 1;
        packets
    }

    fn watch(&mut self) -> usize {
        self.shard.watch_at(self.now, &self.shared, 7)
    }

    fn wish(&mut self, viewer: usize, layer: u8, limit: Option<u8>) {
        let number = limit.map_or(layer, |limit| point(layer, limit).expect("there is one"));
        self.shard.streams.wish(self.now, (KEY, viewer), 0, Wish::Layer(number));
    }

    fn has(&self, viewer: usize) -> Option<u8> {
        self.shard.streams.get(KEY)?.viewer(viewer)?.egress.lanes()[0].layer()
    }

    /// The viewer asks for what it lacks of its last packets: what comes late of a layer that
    /// it has left, it is sent when it asks.
    fn ask_for_missing(&mut self, viewer: usize) {
        let known: BTreeSet<u16> = self.sent.iter().map(|sent| sent.0).collect();
        let (first, newest) = (*known.first().expect("some"), *known.last().expect("some"));
        for number in first.max(newest.saturating_sub(400))..newest {
            if !known.contains(&number) {
                let answer = self.ask(viewer, number);
                self.sent.extend(answer);
            }
        }
    }

    /// The viewer asks for a packet that it lacks.
    fn ask(&mut self, viewer: usize, number: u16) -> Vec<(u16, u32, Option<Frame>)> {
        let mut feedback = Feedback { lost: vec![(0, number)], ..Feedback::default() };
        let mut way = Left::default();
        self.control = Control::new(self.now);
        let Shard { streams, counters, .. } = &mut self.shard;
        let place = (KEY, viewer);
        streams.answer(self.now, place, &mut self.control, &mut feedback, &mut way, counters);
        way.1.iter().for_each(|datagram| self.note(datagram));
        way.1.iter().map(|datagram| read(datagram)).collect()
    }

    /// Two texts under one number would give the key stream away.
    fn note(&mut self, datagram: &[u8]) {
        let number = u16::from_be_bytes([datagram[2], datagram[3]]);
        let before = self.texts.entry(number).or_insert_with(|| datagram.to_vec());
        assert!(before == datagram, "{number} seals two texts");
    }
}

fn read(datagram: &[u8]) -> (u16, u32, Option<Frame>) {
    let payload = payload(datagram);
    let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four"));
    let frame = (!payload.is_empty()).then(|| Frame {
        layer: payload[7],
        number: word(8),
        place: word(12),
        tid: payload[5] >> 6,
        picture: u16::from_be_bytes([payload[2] & 0x7f, payload[3]]),
        lowest: payload[4],
    });
    let header = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().expect("four"));
    (header(0) as u16, header(4), frame)
}

/// What was sent, as a decoder takes it: no number is missing, pictures go on one by one, or by as
/// many as may have come late, and each has all that it needs. Returns how many frames that were.
fn decode(sent: &[(u16, u32, Option<Frame>)], most_missing: u16) -> Result<usize, String> {
    let by_number: BTreeMap<u16, _> = sent.iter().map(|s| (s.0, (s.1, s.2))).collect();
    let (first, last) = (by_number.keys().min(), by_number.keys().max());
    let whole = first.zip(last).map_or(0, |(first, last)| usize::from(last - first) + 1);
    if whole != by_number.len() {
        return Err(format!("{} numbers are missing", whole - by_number.len()));
    }
    let (mut decoded, mut frames) = (BTreeSet::new(), 0);
    let mut before: Option<(u32, Frame)> = None;
    for (timestamp, frame) in by_number.values() {
        let Some(frame) = *frame else { continue };
        if let Some((last, before)) = before {
            if before == frame {
                continue;
            }
            let pictures = frame.picture.wrapping_sub(before.picture) & 0x7fff;
            let lowest = frame.lowest.wrapping_sub(before.lowest);
            let ahead = timestamp.wrapping_sub(last).cast_signed();
            let is_next = (1..=1 + most_missing).contains(&pictures) && ahead > 0;
            if !is_next || lowest != u8::from(frame.tid == 0) {
                return Err(format!("{frame:?} behind {before:?}, {ahead} later"));
            }
        }
        before = Some((*timestamp, frame));
        let needs: &[u32] = if frame.place == 100 { &[] } else { PATTERN[frame.place as usize].2 };
        for need in needs {
            // Of the pattern's first frames the key frame is the one before.
            let is_there = decoded.contains(&(frame.layer, frame.number - need));
            if !is_there {
                return Err(format!("{frame:?} needs the frame {need} before it"));
            }
        }
        decoded.insert((frame.layer, frame.number));
        frames += 1;
    }
    Ok(frames)
}

/// Four seconds of both layers, and a viewer that has the larger.
fn scene() -> (Camera, usize) {
    let mut scene = Camera::new();
    scene.frames(120, |_| None);
    let viewer = scene.watch();
    scene.encoders.iter_mut().for_each(|encoder| encoder.wants_keyframe = true);
    scene.frames(8, |_| None);
    assert_eq!(scene.has(viewer), Some(1));
    (scene, viewer)
}

#[test]
fn a_layer_is_thinned_at_once_and_whole_again_without_a_key_frame() {
    let (mut scene, viewer) = scene();
    for (limit, frames) in [(Some(1), 32), (Some(0), 16), (Some(1), 32), (None, 64), (Some(0), 16)]
    {
        scene.wish(viewer, 1, limit);
        scene.frames(16, |_| None);
        let wanted = limit.map_or(1, |limit| point(1, limit).expect("there is one"));
        assert_eq!(scene.has(viewer), Some(wanted));
        let before = scene.sent.len();
        scene.frames(64, |_| None);
        let sent: BTreeSet<_> = scene.sent[before..].iter().filter_map(|sent| sent.2).collect();
        assert!((frames - 1..=frames + 1).contains(&sent.len()), "{limit:?}: {}", sent.len());
    }
    scene.wish(viewer, 1, None);
    scene.frames(16, |_| None);
    assert_eq!(scene.has(viewer), Some(1), "two temporal layers up, one after the other");
    assert_eq!((decode(&scene.sent, 0).is_ok(), scene.asked), (true, 0));
    decode(&scene.sent, 0).expect("it can be decoded");
}

#[test]
fn who_asks_for_another_layer_thinned_begins_with_a_key_frame_of_it() {
    let (mut scene, viewer) = scene();
    scene.wish(viewer, 0, Some(0));
    scene.frames(40, |_| None);
    assert_eq!(scene.has(viewer), point(0, 0));
    scene.wish(viewer, 1, Some(1));
    scene.encoders[1].wants_keyframe = true;
    scene.frames(40, |_| None);
    assert_eq!(scene.has(viewer), point(1, 1));
    decode(&scene.sent, 0).expect("it can be decoded");
}

#[test]
fn what_comes_late_and_is_left_out_takes_the_number_that_was_left_for_it() {
    let (mut scene, viewer) = scene();
    scene.wish(viewer, 1, Some(0));
    scene.frames(16, |_| None);
    let before = scene.sent.len();
    scene.frames(80, |sequence| (sequence % 7 == 0).then_some(MS(120)));
    scene.frames(8, |_| None);
    let sent = &scene.sent[before..];
    assert!(sent.iter().any(|sent| sent.2.is_none()), "some were empty");
    decode(&scene.sent, 8).expect("nothing is missing");
}

#[test]
fn a_layer_is_no_longer_thinned_for_nobody_and_its_numbers_are_not_used_again() {
    let (mut scene, viewer) = scene();
    scene.wish(viewer, 1, Some(0));
    scene.frames(30, |_| None);
    let of = |scene: &Camera| {
        let track = scene.shard.streams.get(KEY).and_then(|stream| stream.track(VIDEO));
        let layer = track.and_then(|track| track.layer(point(1, 0).expect("one"))).expect("there");
        (
            layer.newest().expect("a packet"),
            layer.history.get(layer.newest().expect("one")).is_some(),
        )
    };
    let (newest, _) = of(&scene);
    scene.wish(viewer, 1, None);
    scene.frames(200, |_| None);
    let (asleep, is_kept) = of(&scene);
    assert!(asleep >= newest + 4_096 && !is_kept);
    scene.wish(viewer, 1, Some(0));
    scene.frames(30, |_| None);
    let (again, is_kept) = of(&scene);
    assert!(again > asleep && is_kept);
    assert_eq!(scene.has(viewer), point(1, 0));
    decode(&scene.sent, 0).expect("it can be decoded");
}

/// An estimate of 300,000 bits a second (REMB).
const NARROW: &[u8] =
    b"\x8f\xce\x00\x05\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x09\x24\xf8\x00\x00\x00\x07";

#[test]
fn a_path_too_narrow_for_the_smallest_layer_gets_it_thinned_and_others_notice_nothing() {
    let mut scene = Camera::new();
    scene.bytes = 1_200;
    scene.frames(120, |_| None);
    let extensions = ExtensionIds { transport_sequence: Some(3), ..ExtensionIds::default() };
    let (rtx_ssrc, rtx_payload_type) = (Some(8), Some(97));
    let track = ViewerTrack { rtx_ssrc, rtx_payload_type, extensions, ..track(7) };
    let narrow = scene.shard.watch_as(scene.now, &scene.shared, 7, track);
    let other = scene.shard.watch_at(scene.now, &scene.shared, 8);
    for _ in 0..12 {
        let stream = scene.shard.streams.get_mut(KEY).expect("it is there");
        let egress = &mut stream.viewer_mut(narrow).expect("it watches").egress;
        let read = Reception::new(1).read(scene.now, egress, NARROW, &mut Feedback::default());
        assert_eq!(read, Ok(()));
        scene.shard.streams.adapt(scene.now, (KEY, narrow));
        for _ in 0..8 {
            scene.frames(1, |_| None);
            scene.shard.streams.left(scene.now);
        }
        scene.encoders.iter_mut().for_each(|encoder| encoder.wants_keyframe = true);
    }
    // 300 kb/s less audio: half of the frames of 302 kb/s fit.
    assert_eq!((scene.has(narrow), scene.has(other)), (point(0, 1), Some(1)));
    let stream = scene.shard.streams.get(KEY).expect("it is there");
    let got = stream.layer_got(stream.viewer(narrow).expect("it watches")).expect("a choice");
    assert_eq!((Some(got.wanted), got.got, got.below_largest), (point(0, 1), point(0, 1), 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is asked for, and whatever comes late: all frames can be decoded, no number is
    /// missing, and what the viewer says it has lost it is sent again as it was.
    #[test]
    fn whatever_a_viewer_is_given_it_can_decode(
        steps in prop::collection::vec((0u8..2, 0u8..4, 1u32..20, 0u64..30, any::<bool>()), 4..40),
    ) {
        let (mut scene, viewer) = scene();
        for (layer, limit, frames, late, keyframes) in steps {
            if limit < 3 {
                scene.wish(viewer, layer, Some(limit).filter(|limit| *limit < 2));
            }
            for encoder in &mut scene.encoders {
                encoder.wants_keyframe |= keyframes;
            }
            let is_late = |sequence: u64| late < 12 && sequence % 13 == late;
            for _ in 0..frames {
                scene.frames(1, |sequence| is_late(sequence).then_some(MS(40 + 10 * late)));
                scene.ask_for_missing(viewer);
            }
        }
        scene.frames(20, |_| None);
        scene.ask_for_missing(viewer);
        let before_last = scene.sent.len();
        scene.frames(24, |_| None);
        let decoded = decode(&scene.sent, 16);
        prop_assert!(decoded.is_ok(), "{decoded:?}");
        let recent = scene.sent[before_last..].to_vec();
        for sent in recent.iter().rev().take(60) {
            let answer = scene.ask(viewer, sent.0);
            prop_assert_eq!(answer.first(), Some(sent));
        }
    }

    /// Whatever never comes: one text per number, time goes on, and who asks for what never came of
    /// what it has left is answered.
    #[test]
    fn whatever_is_lost_for_good_is_filled_and_nothing_is_sealed_twice(
        steps in prop::collection::vec((0u8..2, 0u8..4, 1u32..20, 0u64..30, any::<bool>()), 4..40),
    ) {
        let (mut scene, viewer) = scene();
        for (layer, limit, frames, lost, keyframes) in steps {
            if limit < 3 {
                scene.wish(viewer, layer, Some(limit).filter(|limit| *limit < 2));
            }
            for encoder in &mut scene.encoders {
                encoder.wants_keyframe |= keyframes;
            }
            for _ in 0..frames {
                let is_lost = |sequence: u64| lost < 12 && sequence % 13 == lost;
                scene.frames(1, |sequence| is_lost(sequence).then_some(MS(3_600_000)));
                scene.ask_for_missing(viewer);
            }
        }
        // To another layer and a while there: what was left is over.
        scene.wish(viewer, 1, Some(0));
        scene.encoders.iter_mut().for_each(|encoder| encoder.wants_keyframe = true);
        for _ in 0..30 {
            scene.frames(1, |_| None);
            scene.ask_for_missing(viewer);
        }
        let by_number: BTreeMap<u16, _> = scene.sent.iter().map(|s| (s.0, (s.1, s.2))).collect();
        let media: Vec<_> = by_number.values().filter(|(_, frame)| frame.is_some()).collect();
        for pair in media.windows(2) {
            let ahead = pair[1].0.wrapping_sub(pair[0].0).cast_signed();
            prop_assert!(ahead > 0 || ahead == 0 && pair[0].1 == pair[1].1, "{:?}", pair);
        }
        let stream = scene.shard.streams.get(KEY).expect("it is there");
        let lane = &stream.viewer(viewer).expect("it watches").egress.lanes()[0];
        let newest = lane.newest().expect("some");
        let track = stream.track(VIDEO).expect("it is there");
        for number in *by_number.keys().min().expect("some")..newest.index as u16 {
            // Of what it has, a key frame must come; what it has had long ago nobody asks for.
            let is_excused = lane.find(number).is_none_or(|found| {
                let layer = track.layer(found.layer);
                found.layer == newest.layer
                    || layer.is_none_or(|layer| layer.is_too_old(found.sequence))
            });
            prop_assert!(by_number.contains_key(&number) || is_excused, "{} is missing", number);
        }
    }
}
