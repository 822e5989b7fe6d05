//! What viewers over TCP are sent, by what waits for their connections.

use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::switch_tests::Scene;
use super::tests::{KEY, track};
use crate::drop::DropReason;
use crate::id::{ConnectionId, TrackId, TrackKey, TrackKind, Via};
use crate::limits::{LAG_MOST, TCP_FREE_FOR, TCP_OUTBOX_BYTES, TCP_UNSENT_BYTES};
use crate::media::{HeaderExtensions, MediaPacket, Origin, ViewerTrack};
use crate::net::Backlog;

/// A TCP connection, as its sender sees it, that gets so many bits a second through.
pub(super) struct Pipe {
    pub bits_per_s: u64,
    /// Bytes in the outbox, and in the kernel.
    waiting: usize,
    unsent: u64,
    taken: u64,
    at: Instant,
    /// What the kernel had no room for, of the most there was.
    pub longest: Duration,
}

impl Pipe {
    fn new(now: Instant, bits_per_s: u64) -> Pipe {
        let longest = Duration::ZERO;
        Pipe { bits_per_s, waiting: 0, unsent: 0, taken: 0, at: now, longest }
    }

    pub fn push(&mut self, bytes: usize) {
        self.waiting += bytes;
        assert!(self.waiting <= TCP_OUTBOX_BYTES, "an outbox has a bound");
    }

    pub fn backlog(&self) -> Backlog {
        let Pipe { waiting, taken, .. } = *self;
        Backlog { waiting, taken, blocked: waiting > 0 }
    }

    /// Time passes; then the kernel takes what it has room for, once half of it is free.
    pub fn flush(&mut self, now: Instant) {
        let micros = now.saturating_duration_since(self.at).as_micros() as u64;
        let sent = micros * self.bits_per_s / 8_000_000;
        if sent > 0 || self.unsent == 0 {
            self.at = now;
        }
        self.unsent = self.unsent.saturating_sub(sent);
        let most = u64::from(TCP_UNSENT_BYTES);
        if self.unsent < most / 2 {
            let count = self.waiting.min((most - self.unsent) as usize);
            self.waiting -= count;
            (self.unsent, self.taken) = (self.unsent + count as u64, self.taken + count as u64);
        }
        let queue = (self.waiting as u64 + self.unsent) * 8_000_000 / self.bits_per_s;
        self.longest = self.longest.max(Duration::from_micros(queue));
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// From one frame to the next.
const FRAME: Duration = Duration::from_millis(39);
/// The best layer sends 0.6 Mb/s on the wire, the middle one 0.15, the smallest 0.03.
const WIDE: u64 = 5_000_000;
const NARROW: u64 = 300_000;
const TINY: u64 = 100_000;
const AUDIO: TrackId = TrackId::first(TrackKind::Audio);
const SOUND: u32 = 99;

impl Scene {
    fn watch_over_tcp(&mut self, slot: u32, bits_per_s: u64) -> usize {
        let by = (slot, Via::Tcp(ConnectionId { index: 0, generation: 0 }));
        self.shard.sent.2 = Some(Pipe::new(self.now, bits_per_s));
        self.shard.watch_by(self.now, &self.shared, by, vec![track(slot)])
    }

    /// A viewer of sound as well.
    fn hear_over_tcp(&mut self, slot: u32, bits_per_s: u64) -> usize {
        let by = (slot, Via::Tcp(ConnectionId { index: 0, generation: 0 }));
        self.shard.sent.2 = Some(Pipe::new(self.now, bits_per_s));
        let sound = ViewerTrack { id: AUDIO, codec: Codec::Opus, ssrc: SOUND, ..track(slot) };
        self.shard.watch_by(self.now, &self.shared, by, vec![track(slot), sound])
    }

    /// The publisher says something: whether it leaves for the viewer at once.
    fn say_something(&mut self, sequence: u64) -> bool {
        let mut payload = vec![0; 80];
        payload[7..15].copy_from_slice(&sequence.to_be_bytes());
        let packet: MediaPacket = MediaPacket {
            track: TrackKey { stream: KEY, id: AUDIO },
            codec: Codec::Opus,
            layer: 0,
            origin: Origin { publisher: self.number, source: 0 },
            sequence,
            timestamp: sequence as u32 * 1_872,
            marker: false,
            keyframe: true,
            extensions: HeaderExtensions::default(),
            padding: 0,
            received: self.now,
            payload: payload.into(),
        };
        let _ = self.shard.streams.publish(packet, |_, _| panic!("there is no other shard"));
        self.log.clear();
        self.turn(Duration::ZERO);
        self.log.iter().any(|(_, sent)| sent.ssrc == SOUND)
    }

    fn pipe(&mut self) -> &mut Pipe {
        self.shard.sent.2.as_mut().expect("somebody watches over TCP")
    }

    /// Frames for so long, with the key frames that are asked for.
    fn seconds(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let asked = self.shard.asked;
            self.frames(1, |_, _| false);
            if self.shard.asked > asked {
                self.layers.iter_mut().for_each(|layer| layer.wants_keyframe = true);
            }
        }
    }

    /// How long it takes until the viewer has a layer.
    fn until(&mut self, viewer: usize, layer: u8, most: Duration) -> Duration {
        let start = self.now;
        while self.layer(viewer) != Some(layer) {
            let waited = self.now.saturating_duration_since(start);
            assert!(waited < most, "it has {:?}, and not {layer}", self.layer(viewer));
            self.seconds(FRAME);
        }
        self.now.saturating_duration_since(start)
    }
}

/// A viewer over TCP that has the best layer, and one over UDP.
fn wide() -> (Scene, usize, usize) {
    let mut scene = Scene::new();
    scene.seconds(2 * SECOND);
    let (tcp, udp) = (scene.watch_over_tcp(7, WIDE), scene.watch(8));
    scene.seconds(10 * SECOND);
    assert_eq!((scene.layer(tcp), scene.layer(udp)), (Some(2), Some(2)));
    (scene, tcp, udp)
}

#[test]
fn a_viewer_over_tcp_gets_the_layer_that_gets_through_and_no_queue_of_seconds() {
    for (rate, layer) in [(NARROW, 1), (TINY, 0)] {
        let (mut scene, tcp, udp) = wide();
        scene.pipe().bits_per_s = rate;
        scene.until(tcp, layer, 4 * SECOND);
        scene.seconds(2 * SECOND);
        scene.pipe().longest = Duration::ZERO;
        let (mut right, mut all) = (0, 0);
        for _ in 0..600 {
            scene.seconds(Duration::from_millis(100));
            right += u32::from(scene.layer(tcp) == Some(layer));
            all += 1;
        }
        println!("{rate}: {right} of {all}, {:?}", scene.pipe().longest);
        assert!(right > all * 3 / 4, "{right} of {all}");
        assert!(scene.pipe().longest < 2 * SECOND, "{:?}", scene.pipe().longest);
        assert_eq!(scene.layer(udp), Some(2));
        assert_eq!(scene.shard.counters.drops(DropReason::TcpQueueFull), 0);
    }
}

#[test]
fn it_comes_back_up_when_its_path_widens() {
    let (mut scene, tcp, _) = wide();
    scene.pipe().bits_per_s = NARROW;
    scene.until(tcp, 1, 4 * SECOND);
    scene.seconds(SECOND);
    scene.pipe().bits_per_s = WIDE;
    println!("{:?}", scene.until(tcp, 2, 2 * TCP_FREE_FOR));
    scene.seconds(10 * SECOND);
    assert_eq!(scene.layer(tcp), Some(2));
}

#[test]
fn it_begins_with_what_gets_through_in_a_moment() {
    let mut scene = Scene::new();
    scene.seconds(2 * SECOND);
    let tcp = scene.watch_over_tcp(7, NARROW);
    println!("{:?}", scene.until(tcp, 1, 4 * SECOND));
}

#[test]
fn who_is_too_far_behind_goes_on_with_the_next_key_frame_and_asks_for_few() {
    let mut scene = Scene::new();
    scene.seconds(2 * SECOND);
    // Less than the smallest layer sends.
    let tcp = scene.watch_over_tcp(7, TINY / 5);
    scene.until(tcp, 0, 8 * SECOND);
    scene.seconds(3 * SECOND);
    scene.pipe().longest = Duration::ZERO;
    let (asked, mut pictures, mut oldest) = (scene.shard.asked, 0, 0);
    for _ in 0..30 * 26 {
        scene.log.clear();
        scene.seconds(FRAME);
        let of_it = scene.log.iter().filter_map(|(_, sent)| sent.media);
        // Of the smallest layer each picture is a packet.
        for (_, number, ..) in of_it.filter(|(layer, ..)| *layer == 0) {
            oldest = oldest.max(scene.layers[0].sequence - number);
            pictures += 1;
        }
    }
    assert!(pictures > 100, "{pictures} pictures in 30 s");
    assert!(FRAME * (oldest as u32) < 3 * LAG_MOST, "{oldest} frames old when it left");
    let asked = scene.shard.asked - asked;
    assert!(asked <= 3 * 16, "{asked} key frames of three layers in 30 s");
}

#[test]
fn who_has_less_than_64_kilobits_still_hears_everything_at_once() {
    let mut scene = Scene::new();
    scene.seconds(2 * SECOND);
    let viewer = scene.hear_over_tcp(7, 60_000);
    scene.until(viewer, 0, 8 * SECOND);
    scene.seconds(3 * SECOND);
    scene.pipe().longest = Duration::ZERO;
    for sequence in 1_000..1_500 {
        assert!(scene.say_something(sequence), "it waits for nothing");
        scene.seconds(FRAME);
    }
    assert!(scene.pipe().longest < 4 * SECOND, "{:?}", scene.pipe().longest);
    assert_eq!(scene.layer(viewer), Some(0), "and sees what there is room for");
    assert_eq!(scene.shard.counters.drops(DropReason::TcpQueueFull), 0);
}
