//! Viewers of a track with several layers go from one to another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use str0m::format::Codec;

use super::tests::{KEY, Left, Shard, TRACK, VIDEO, shared};
use super::*;
use crate::drop::DropReason;
use crate::egress::{Control, Feedback};
use crate::media::{HeaderExtensions, MediaPacket, Origin};

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;

/// A publisher of three layers, whose frames of one moment come 2 ms apart, and a viewer.
pub(super) struct Scene {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) shared: Arc<StreamShared>,
    pub(super) shard: Shard,
    /// Another shard that takes part.
    pub(super) other: Option<Shard>,
    /// Layers that have fallen silent.
    pub(super) fallen: u8,
    pub(super) number: u32,
    pub(super) layers: [Encoder; 3],
    control: Control,
    /// What has left, and when.
    pub(super) log: Vec<(Instant, Sent)>,
}

/// One layer's encoder.
pub(super) struct Encoder {
    pub(super) sequence: u64,
    picture: u16,
    lowest: u8,
    first_timestamp: u32,
    frames: u32,
    pub(super) packets: u64,
    pub(super) wants_keyframe: bool,
    /// It makes no frames.
    pub(super) silent: bool,
}

impl Scene {
    pub(super) fn new() -> Scene {
        let now = Instant::now();
        let (shared, mut shard) = (shared(), Shard::new(0));
        shard.streams.join(&shared);
        let source = Source::Session(1);
        let number = shard.streams.connected(KEY, source, [VIDEO].into_iter()).expect("the first");
        let layers = [(65_000, 100), (7, 4_000_000_000), (30_000, 77)];
        let mut packets = [1, 3, 9].into_iter();
        let layers = layers.map(|(sequence, first_timestamp)| Encoder {
            sequence,
            picture: sequence as u16,
            lowest: sequence as u8,
            first_timestamp,
            frames: 0,
            packets: packets.next().expect("three"),
            wants_keyframe: true,
            silent: false,
        });
        let (control, log) = (Control::new(now), Vec::new());
        let (start, other, fallen) = (now, None, 0);
        Scene { start, now, shared, shard, other, fallen, number, layers, control, log }
    }

    /// A frame of each layer, at 30 a second, but for packets that `lost` says never come.
    pub(super) fn frames(&mut self, count: u64, mut lost: impl FnMut(u8, u64) -> bool) {
        for _ in 0..count {
            for _ in 0..11 {
                self.turn(MS(3));
            }
            for layer in 0..3 {
                self.frame(layer, &mut lost);
                self.turn(MS(2));
            }
        }
    }

    pub(super) fn turn(&mut self, after: Duration) {
        self.now += after;
        self.shard.turn(self.now);
        self.turn_other();
        let left = std::mem::take(&mut self.shard.sent.1);
        self.log.extend(left.iter().map(|datagram| (self.now, Sent::read(datagram))));
    }

    /// The other shard's turn, which is given what came before it took part.
    fn turn_other(&mut self) {
        let Scene { shard, other: Some(other), now, .. } = self else { return };
        let mut needed = Vec::new();
        other.streams.keyframes_due(*now, &mut needed);
        for NeedKeyframe { track, layer, .. } in needed {
            let past = shard.streams.past(*now, track, layer);
            other.streams.take_past(*now, track, past);
        }
        other.turn(*now);
    }

    fn frame(&mut self, layer: u8, lost: &mut impl FnMut(u8, u64) -> bool) {
        let encoder = &mut self.layers[usize::from(layer)];
        if encoder.silent {
            encoder.frames += 1;
            return;
        }
        let keyframe = std::mem::take(&mut encoder.wants_keyframe);
        encoder.picture = encoder.picture.wrapping_add(1) & 0x7fff;
        encoder.lowest = encoder.lowest.wrapping_add(1);
        encoder.frames += 1;
        for index in 0..encoder.packets {
            encoder.sequence += 1;
            let first = index == 0;
            let inter = u8::from(!keyframe);
            let [high, low] = (encoder.picture | 0x8000).to_be_bytes();
            let mut payload = vec![0x80 | u8::from(first) << 4, 0xc0, high, low, encoder.lowest];
            payload.extend([inter, layer]);
            payload.extend(encoder.sequence.to_be_bytes());
            payload.resize(100 * (1 + usize::from(layer)), 0x55);
            let packet: MediaPacket = MediaPacket {
                track: TRACK,
                codec: Codec::Vp8,
                layer,
                origin: Origin { publisher: self.number, source: 0 },
                sequence: encoder.sequence,
                timestamp: encoder.first_timestamp.wrapping_add(encoder.frames * 3_510),
                marker: index + 1 == encoder.packets,
                keyframe: keyframe && first,
                extensions: HeaderExtensions::default(),
                padding: 0,
                received: self.now,
                payload: payload.into(),
            };
            if !lost(layer, encoder.sequence) {
                let mut copies = Vec::new();
                let copy = |_, packet: &MediaPacket| copies.push(packet.copy_for_other_shard());
                let _ = self.shard.streams.publish(packet, copy);
                while let Some((track, silent)) = self.shard.streams.changed() {
                    self.fallen += silent;
                    let others = self.other.iter_mut();
                    others.for_each(|other| other.streams.layers_changed(self.now, track));
                }
                for packet in copies {
                    let other = self.other.as_mut().expect("there is one shard");
                    let _ = other.streams.receive(packet);
                }
            }
        }
    }

    pub(super) fn watch(&mut self, slot: u32) -> usize {
        self.shard.watch_at(self.now, &self.shared, slot)
    }

    pub(super) fn wish(&mut self, viewer: usize, layer: u8) {
        self.shard.streams.wish(self.now, (KEY, viewer), 0, Wish::Layer(layer));
    }

    pub(super) fn layer(&self, viewer: usize) -> Option<u8> {
        let stream = self.shard.streams.get(KEY)?;
        stream.viewer(viewer)?.egress.lanes()[0].layer()
    }

    /// What has left so far.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.log.iter().map(|(_, sent)| sent.clone()).collect()
    }

    /// The viewer asks for all of these at once.
    pub(super) fn ask(&mut self, viewer: usize, lost: Vec<u16>) -> Vec<Sent> {
        self.control = Control::new(self.now);
        self.ask_again(viewer, lost)
    }

    /// And what it was sent again before counts.
    pub(super) fn ask_again(&mut self, viewer: usize, lost: Vec<u16>) -> Vec<Sent> {
        let mut feedback =
            Feedback { lost: lost.into_iter().map(|n| (0, n)).collect(), ..Feedback::default() };
        let mut way = Left::default();
        let Shard { streams, counters, .. } = &mut self.shard;
        let place = (KEY, viewer);
        streams.answer(self.now, place, &mut self.control, &mut feedback, &mut way, counters);
        way.1.iter().map(|datagram| Sent::read(datagram)).collect()
    }
}

/// A datagram to a viewer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    timestamp: u32,
    marker: bool,
    /// In the clear: the layer, its number, the picture, TL0PICIDX. Padding has none.
    pub(super) media: Option<(u8, u64, u16, u8)>,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sent { sequence, timestamp, marker, media, .. } = self;
        write!(f, "{sequence} at {timestamp}, marker {marker}: {media:?}")
    }
}

impl Sent {
    fn read(datagram: &[u8]) -> Sent {
        let payload = super::tests::payload(datagram);
        let media = (!payload.is_empty()).then(|| {
            let sequence = u64::from_be_bytes(payload[7..15].try_into().expect("eight"));
            let picture = u16::from_be_bytes([payload[2] & 0x7f, payload[3]]);
            (payload[6], sequence, picture, payload[4])
        });
        let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().expect("four"));
        Sent {
            ssrc: word(8),
            sequence: word(0) as u16,
            timestamp: word(4),
            marker: datagram[1] & 0x80 != 0,
            media,
            bytes: datagram.to_vec(),
        }
    }

    fn layer(&self) -> u8 {
        self.media.expect("it is media").0
    }
}

/// Everything that must hold of what one viewer was sent, in the order of its numbers.
pub(super) fn hold(sent: &[Sent], start: u16) -> Result<(), String> {
    let mut by_number: BTreeMap<u16, &Sent> = BTreeMap::new();
    for packet in sent {
        let number = packet.sequence.wrapping_sub(start);
        match by_number.insert(number, packet) {
            Some(other) if other.bytes != packet.bytes => {
                return Err(format!("{number} seals two texts: {other:?} and {packet:?}"));
            }
            _ => {}
        }
    }
    let media = by_number.values().filter(|packet| packet.media.is_some());
    let mut before: Option<&Sent> = None;
    for packet in media {
        if let Some(before) = before {
            let (_, _, last, lowest) = before.media.expect("it is media");
            let (_, _, picture, next_lowest) = packet.media.expect("it is media");
            let ahead = packet.timestamp.wrapping_sub(before.timestamp).cast_signed();
            let pictures = picture.wrapping_sub(last) & 0x7fff;
            let fits = match before.layer() == packet.layer() {
                // Of one layer the publisher's own pictures may be missing, several in a row.
                true => pictures <= 8 && (pictures > 0) == (ahead > 0) && ahead >= 0,
                false => pictures == 1 && ahead > 0,
            };
            if !fits || next_lowest.wrapping_sub(lowest) != pictures as u8 {
                return Err(format!("{packet:?} behind {before:?}"));
            }
        }
        before = Some(packet);
    }
    Ok(())
}

#[test]
fn a_viewer_goes_to_the_layer_it_asks_for_and_nobody_is_asked_for_a_key_frame() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    scene.shard.turn(scene.now);
    let (viewer, other) = (scene.watch(7), scene.watch(8));
    scene.frames(10, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.layer(other)), (Some(2), Some(2)), "the best");
    let asked = scene.shard.asked;
    for layer in [0, 1, 2, 0] {
        scene.wish(viewer, layer);
        scene.frames(3, |_, _| false);
        assert_eq!(scene.layer(viewer), Some(layer));
    }
    assert_eq!(scene.layer(other), Some(2), "whoever asks for nothing keeps the best");
    assert_eq!(scene.shard.asked, asked, "there is a past to begin with");
    assert_eq!(scene.shard.counters.layer_switches.get(), 4);
    let (sent, others): (Vec<_>, Vec<_>) = scene.sent().into_iter().partition(|s| s.ssrc == 7);
    let start = sent[0].sequence;
    hold(&sent, start).expect("it goes on");
    hold(&others, others[0].sequence).expect("it goes on");
    let numbers: Vec<u16> = sent.iter().map(|s| s.sequence.wrapping_sub(start)).collect();
    assert_eq!(numbers, (0..sent.len() as u16).collect::<Vec<_>>(), "without a hole");
}

#[test]
fn a_key_frame_is_asked_for_of_the_layer_that_has_none_to_begin_with() {
    let mut scene = Scene::new();
    scene.layers[0].wants_keyframe = false;
    scene.frames(40, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(2, |_, _| false);
    assert_eq!(scene.shard.asked, 0, "of the best there is one");
    scene.wish(viewer, 0);
    scene.frames(3, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(2), 1), "until then as before");
    scene.layers[0].wants_keyframe = true;
    scene.frames(2, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(0), 1));
    let sent = scene.sent();
    hold(&sent, sent[0].sequence).expect("it goes on");
}

#[test]
fn what_never_came_of_a_layer_that_was_left_is_answered_with_padding() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(5, |_, _| false);
    let hole = scene.layers[2].sequence + 4;
    scene.frames(1, |layer, sequence| layer == 2 && sequence == hole);
    scene.wish(viewer, 1);
    scene.frames(20, |_, _| false);
    let sent = scene.sent();
    let start = sent[0].sequence;
    let number = |n: &Sent| n.sequence.wrapping_sub(start);
    let missing: Vec<u16> = sent
        .windows(2)
        .filter(|pair| number(&pair[1]) > number(&pair[0]) + 1)
        .map(|pair| pair[0].sequence.wrapping_add(1))
        .collect();
    assert_eq!(missing.len(), 1, "one number was left for it");
    for _ in 0..2 {
        let answer = scene.ask(viewer, missing.clone());
        assert_eq!(answer.len(), 1, "or the viewer would ask again and again");
        assert_eq!((answer[0].media, answer[0].sequence), (None, missing[0]));
        scene.now += MS(500);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever layers a viewer asks for, whatever is lost on the way in and what comes late: one
    /// text per number, time and pictures go on, and every number below the newest is answered.
    #[test]
    fn a_viewer_sees_one_stream_whatever_layers_it_asks_for(
        steps in prop::collection::vec((0u8..4, 1u64..6, 0u64..40), 5..40),
    ) {
        let mut scene = Scene::new();
        scene.frames(35, |_, _| false);
        let viewer = scene.watch(7);
        for (wish, frames, lost) in steps {
            match wish {
                3 => scene.shard.streams.wish(scene.now, (KEY, viewer), 0, Wish::Automatic),
                layer => scene.wish(viewer, layer),
            }
            // Now and then a packet of each layer is lost for good; the encoders are asked.
            scene.frames(frames, |_, sequence| lost < 20 && sequence % 23 == lost);
            for encoder in &mut scene.layers {
                encoder.wants_keyframe = lost % 7 == 0;
            }
        }
        for encoder in &mut scene.layers {
            encoder.wants_keyframe = true;
        }
        scene.frames(12, |_, _| false);
        let sent = scene.sent();
        let start = sent[0].sequence;
        prop_assert_eq!(hold(&sent, start), Ok(()));
        // All of the last second, in lots that are no more than a viewer may ask for.
        let now = scene.now;
        let late = scene.log.iter().filter(|(at, _)| now - *at < MS(1_000));
        let numbers = || late.clone().map(|(_, s)| s.sequence.wrapping_sub(start));
        let (first, newest) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
        let mut all = sent.clone();
        for lot in (first..=newest).collect::<Vec<u16>>().chunks(100) {
            let lot: Vec<u16> = lot.iter().map(|number| number.wrapping_add(start)).collect();
            let answers = scene.ask(viewer, lot.clone());
            let stream = scene.shard.streams.get(KEY).expect("it is there");
            let lane = &stream.viewer(viewer).expect("it watches").egress.lanes()[0];
            let open = lane.newest().map(|newest| newest.layer);
            for number in &lot {
                let answered = answers.iter().any(|answer| answer.sequence == *number);
                // Of the layer it has, what never came may yet come, or a key frame must.
                let Some(found) = lane.find(*number) else { continue };
                let layer = stream.track(VIDEO).and_then(|track| track.layer(found.layer));
                // It was replayed, a long time after it was made.
                if layer.is_none_or(|layer| layer.is_too_old(found.sequence)) {
                    continue;
                }
                prop_assert!(answered || Some(found.layer) == open, "{number}: {found:?}");
            }
            all.extend(answers);
        }
        prop_assert_eq!(hold(&all, start), Ok(()));
        prop_assert_eq!(scene.shard.counters.drops(DropReason::TooLong), 0);
    }
}
