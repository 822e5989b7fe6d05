//! What the server chooses for viewers.

use super::switch_tests::Scene;
use super::tests::{KEY, VIDEO, track};
use std::time::Duration;

use crate::egress::{Feedback, Reception, said};
use crate::limits::{
    FEEDBACK_WITHIN, LAG_MOST, QUIET_AFTER, QUIET_NACKS, QUIET_ROUND, QUIET_ROUNDS_MOST,
    QUIET_SAMPLE, RESENDS_PER_PACKET,
};
use crate::media::{ExtensionIds, ViewerTrack, WantedLayers};

const SSRC: u32 = 7;
/// An estimate of 300,000 bits a second (REMB).
const NARROW: &[u8] =
    b"\x8f\xce\x00\x05\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x09\x24\xf8\x00\x00\x00\x07";
/// One of 100,000.
const TINY: &[u8] =
    b"\x8f\xce\x00\x05\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x08\x61\xa8\x00\x00\x00\x07";
/// Transport-wide feedback on one packet.
const FEEDBACK: &[u8] =
    &[0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0x20, 1, 0, 0];
/// Frames that are sent until nothing more is waited for.
const PATIENCE: u64 = FEEDBACK_WITHIN.as_millis() as u64 / 39 + 10;

impl Scene {
    /// A viewer that takes transport-wide numbers.
    fn watch_counted(&mut self) -> usize {
        let extensions = ExtensionIds { transport_sequence: Some(3), ..ExtensionIds::default() };
        let (rtx_ssrc, rtx_payload_type) = (Some(SSRC + 1), Some(97));
        let red_payload_type = Some(63);
        let track = track(SSRC);
        let track =
            ViewerTrack { rtx_ssrc, rtx_payload_type, red_payload_type, extensions, ..track };
        self.shard.watch_as(self.now, &self.shared, SSRC, track)
    }

    /// Frames, and the end of the turns that they leave in.
    fn frames_that_leave(&mut self, count: u64) {
        for _ in 0..count {
            self.frames(1, |_, _| false);
            self.shard.streams.left(self.now);
        }
    }

    /// The viewer says this, and is given what follows from it.
    fn say(&mut self, viewer: usize, compound: &[u8]) {
        let stream = self.shard.streams.get_mut(KEY).expect("it is there");
        let egress = &mut stream.viewer_mut(viewer).expect("it watches").egress;
        let mut reception = Reception::new(1);
        let read = reception.read(self.now, egress, compound, &mut Feedback::default());
        assert_eq!(read, Ok(()));
        self.shard.streams.adapt(self.now, (KEY, viewer));
    }

    fn is_numbered(&self, viewer: usize) -> bool {
        let stream = self.shard.streams.get(KEY).expect("it is there");
        stream.viewer(viewer).expect("it watches").egress.is_numbered()
    }

    /// Frames for so long, of which the viewer says all the time when they came: `queue` late.
    /// Returns for how many of them its packets had numbers.
    fn answered(&mut self, viewer: usize, time: Duration, queue: Duration) -> u64 {
        let (mut frames, end) = (0, self.now + time);
        while self.now < end {
            self.log.clear();
            self.frames_that_leave(1);
            let numbers: Vec<u16> = self.log.iter().filter_map(|(_, s)| number(&s.bytes)).collect();
            let Some(base) = numbers.first().copied() else { continue };
            frames += 1;
            // What leaves in one turn comes at once.
            let came = self.now.saturating_duration_since(self.start) + queue;
            let tick = (came.as_micros() / 250) as u32;
            self.say(viewer, &said::came(SSRC, base, numbers.iter().map(|_| tick)));
        }
        frames
    }
}

fn number(datagram: &[u8]) -> Option<u16> {
    said::number_of(datagram, 3)
}

const NO_QUEUE: Duration = Duration::from_millis(20);

/// A viewer that has had the best layer for long, without trouble.
fn quiet() -> (Scene, usize) {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    scene.answered(viewer, QUIET_AFTER / 2, NO_QUEUE);
    assert!(scene.is_numbered(viewer), "not at once");
    scene.answered(viewer, QUIET_AFTER, NO_QUEUE);
    assert_eq!(scene.layer(viewer), Some(2));
    (scene, viewer)
}

#[test]
fn who_has_the_best_for_long_has_numbers_now_and_then_and_keeps_it() {
    let (mut scene, viewer) = quiet();
    let frames = |time: Duration| (time.as_millis() / 39) as u64;
    let mut sampled = |rounds: u32| {
        let counted = scene.answered(viewer, rounds * QUIET_ROUND, NO_QUEUE);
        counted as f64 / frames(QUIET_SAMPLE) as f64
    };
    // After one round, two more, four more: each time that all was well half as often.
    let most = u32::from(QUIET_ROUNDS_MOST);
    let (first, later) = (sampled(10), sampled(10 * most));
    assert_eq!(most, 4);
    assert!((2.5..=4.5).contains(&first), "{first} times");
    assert!((9.0..=13.0).contains(&later), "and no seldomer than that: {later} times");
    assert_eq!(scene.layer(viewer), Some(2));
    // The viewer's own addresses, its wish and the layers there are may change meanwhile.
    let before = scene.shard.counters.layer_switches.get();
    scene.shard.streams.consider(scene.now, KEY, viewer);
    scene.answered(viewer, QUIET_ROUND, NO_QUEUE);
    assert_eq!(scene.shard.counters.layer_switches.get(), before);
}

/// Samples of the first ten rounds.
const SAMPLES: u64 = 3;

/// For how many frames of ten rounds packets have numbers, if each second one comes later by this.
fn counted_with_jitter(jitter: Duration) -> (u64, Option<u8>) {
    let (mut scene, viewer) = quiet();
    let (mut counted, end) = (0, scene.now + 10 * QUIET_ROUND);
    while scene.now < end {
        for queue in [NO_QUEUE, NO_QUEUE + jitter] {
            counted += scene.answered(viewer, Duration::from_millis(1), queue);
        }
    }
    (counted, scene.layer(viewer))
}

#[test]
fn jitter_alone_ends_no_quiet_and_lowers_no_layer() {
    let sampled = SAMPLES * QUIET_SAMPLE.as_millis() as u64 / 39;
    for millis in [0, 5, 10, 20, 30] {
        let (counted, layer) = counted_with_jitter(Duration::from_millis(millis));
        println!("{millis} ms: {counted} frames, of {sampled} in samples");
        assert!(counted <= 2 * sampled, "{counted} frames at {millis} ms");
        assert_eq!(layer, Some(2));
    }
}

#[test]
fn a_queue_in_a_sample_ends_the_quiet_and_lowers_the_layer() {
    let (mut scene, viewer) = quiet();
    // What is sent is too much from here on: packets come later and later.
    let mut queue = NO_QUEUE;
    while scene.layer(viewer) == Some(2) {
        assert!(queue < Duration::from_secs(1), "the path has changed, and nobody has seen it");
        queue += Duration::from_millis(10);
        scene.layers[1].wants_keyframe = true;
        scene.answered(viewer, QUIET_ROUND / 20, queue);
    }
    scene.answered(viewer, 2 * QUIET_SAMPLE, NO_QUEUE);
    assert!(scene.is_numbered(viewer), "until all is well for long");
}

#[test]
fn what_was_asked_for_while_packets_waited_is_sent_when_they_do_not() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    scene.answered(viewer, 2 * QUIET_SAMPLE, NO_QUEUE);
    let mut queue = NO_QUEUE;
    let mut lost = 0;
    while scene.layer(viewer) == Some(2) {
        assert!(queue < Duration::from_secs(1), "the path has become narrow");
        queue += Duration::from_millis(10);
        scene.layers[1].wants_keyframe = true;
        lost = scene.log.last().map_or(lost, |(_, sent)| sent.sequence);
        scene.answered(viewer, QUIET_SAMPLE / 5, queue);
    }
    let wait = 3 * Duration::from_millis(39);
    queue += Duration::from_millis(100);
    scene.answered(viewer, wait, queue);
    for _ in 0..2 * RESENDS_PER_PACKET {
        assert!(scene.ask_again(viewer, vec![lost]).is_empty(), "it would wait, and others too");
        scene.answered(viewer, wait, queue);
    }
    scene.answered(viewer, QUIET_SAMPLE, NO_QUEUE);
    assert_eq!(scene.ask_again(viewer, vec![lost]).len(), 1, "the path is free");
}

#[test]
fn who_asks_for_many_packets_again_is_quiet_no_longer() {
    let (mut scene, viewer) = quiet();
    while scene.is_numbered(viewer) {
        scene.answered(viewer, QUIET_SAMPLE / 10, NO_QUEUE);
    }
    let newest = scene.log.last().map(|(_, sent)| sent.sequence).expect("something was sent");
    let asked: Vec<u16> = (1..=QUIET_NACKS as u16).map(|n| newest.wrapping_sub(20 - n)).collect();
    let few = said::lacks(SSRC, &asked);
    scene.say(viewer, &few);
    assert!(!scene.is_numbered(viewer), "a few are lost anywhere");
    scene.say(viewer, &few);
    assert!(scene.is_numbered(viewer));
}

#[test]
fn a_viewer_whose_path_is_narrow_gets_a_smaller_layer_and_another_keeps_the_best() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let (narrow, other) = (scene.watch_counted(), scene.watch(8));
    scene.frames_that_leave(10);
    assert_eq!((scene.layer(narrow), scene.layer(other)), (Some(2), Some(2)));
    assert!(scene.is_numbered(narrow) && !scene.is_numbered(other), "it has no RTX");
    for _ in 0..10 {
        scene.say(narrow, NARROW);
        scene.frames_that_leave(4);
    }
    assert_eq!((scene.layer(narrow), scene.layer(other)), (Some(1), Some(2)));
}

#[test]
fn who_has_next_to_nothing_is_sent_nothing_twice() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    let takes_redundancy = |scene: &Scene| {
        let stream = scene.shard.streams.get(KEY).expect("it is there");
        stream.viewer(viewer).expect("it watches").egress.lanes()[0].takes_redundancy()
    };
    for (says, takes) in [(NARROW, true), (TINY, false), (NARROW, false)] {
        for _ in 0..10 {
            scene.say(viewer, says);
            scene.frames_that_leave(4);
        }
        assert_eq!(takes_redundancy(&scene), takes);
    }
}

#[test]
fn who_says_nothing_of_its_numbers_gets_the_best_and_is_not_asked_again() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let silent = scene.watch_counted();
    scene.frames_that_leave(4);
    scene.frames_that_leave(PATIENCE);
    assert!(scene.is_numbered(silent));
    for _ in 0..2 {
        scene.shard.streams.consider(scene.now, KEY, silent);
        assert!(!scene.is_numbered(silent), "nothing was said");
        scene.frames_that_leave(40);
    }
    assert_eq!(scene.layer(silent), Some(2));
}

#[test]
fn who_says_something_of_its_numbers_keeps_them() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    scene.frames_that_leave(4);
    scene.say(viewer, FEEDBACK);
    scene.frames_that_leave(PATIENCE);
    scene.shard.streams.consider(scene.now, KEY, viewer);
    assert!(scene.is_numbered(viewer));
}

#[test]
fn who_reports_losses_alone_gets_a_smaller_layer_and_the_best_back_when_they_end() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch(SSRC);
    scene.frames_that_leave(10);
    assert!(!scene.is_numbered(viewer), "it has no RTX");
    let say = |scene: &mut Scene, eighths: u8| {
        scene.layers.iter_mut().for_each(|layer| layer.wants_keyframe = true);
        scene.say(viewer, &said::loses(SSRC, eighths * 32));
        scene.frames_that_leave(26);
        scene.layer(viewer)
    };
    assert_eq!(say(&mut scene, 0), Some(2));
    let lossy: Vec<_> = (0..5).map(|_| say(&mut scene, 4)).collect();
    assert_eq!(lossy.last(), Some(&Some(1)), "{lossy:?}");
    let well: Vec<_> = (0..30).map(|_| say(&mut scene, 0)).collect();
    assert_eq!(well.last(), Some(&Some(2)), "{well:?}");
}

/// What is counted of who takes what decides what comes from other shards and nodes.
#[test]
fn who_comes_once_layers_are_known_is_counted_once() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    scene.frames_that_leave(10);
    scene.wish(viewer, 0);
    for encoder in &mut scene.layers {
        encoder.wants_keyframe = true;
    }
    scene.frames_that_leave(60);
    let wanted = scene.shared.wanted(VIDEO);
    assert_eq!(wanted, WantedLayers { layers: 0b001, best: false });
    scene.shard.streams.remove_viewer(KEY, viewer);
    assert_eq!(scene.shared.wanted(VIDEO), WantedLayers::default());
}

/// The viewer has the best layer, and what was sent last comes a packet each 30 ms. The smallest
/// layer has had no key frame yet.
fn narrowed() -> (Scene, usize, u16) {
    let mut scene = Scene::new();
    scene.layers[0].wants_keyframe = false;
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    scene.answered(viewer, Duration::from_secs(4), NO_QUEUE);
    scene.log.clear();
    scene.frames_that_leave(1);
    let base = number(&scene.log[0].1.bytes).expect("it has one");
    let came = scene.now.saturating_duration_since(scene.start) + NO_QUEUE;
    let tick = (came.as_micros() / 250) as u32;
    let lost = scene.log[6].1.sequence;
    scene.log.clear();
    scene.say(viewer, &said::came(SSRC, base, (0..5).map(|packet| tick + packet * 120)));
    (scene, viewer, lost)
}

#[test]
fn a_path_that_becomes_far_narrower_is_sent_nothing_before_the_smaller_layer() {
    let (mut scene, viewer, lost) = narrowed();
    scene.layers[0].wants_keyframe = true;
    scene.frames_that_leave(3);
    assert_eq!(scene.log.len(), 0, "it would only wait, or be lost");
    assert!(scene.ask_again(viewer, vec![lost]).is_empty());
    scene.frames_that_leave(4);
    assert_eq!(scene.layer(viewer), Some(0));
    let layers: Vec<_> = scene.sent().iter().filter_map(|sent| Some(sent.media?.0)).collect();
    assert!(layers.len() > 5 && layers.iter().all(|layer| *layer == 0), "{layers:?}");
    assert!(scene.ask_again(viewer, vec![lost]).is_empty(), "a layer that it has left");
    let newest = scene.log.last().map(|(_, sent)| sent.sequence).expect("something was sent");
    assert_eq!(scene.ask_again(viewer, vec![newest]).len(), 1, "and of the one it has it is");
}

#[test]
fn where_no_key_frame_of_the_smaller_layer_comes_the_present_one_goes_on() {
    let (mut scene, viewer, _) = narrowed();
    scene.frames_that_leave(9);
    assert_eq!(scene.sent(), [], "it is waited for");
    scene.frames_that_leave(20);
    assert!(scene.sent().iter().any(|sent| sent.media.is_some_and(|media| media.0 == 2)));
    assert_eq!(scene.layer(viewer), Some(2));
}

#[test]
fn who_falls_back_to_the_layer_that_it_has_yet_is_sent_nothing_for_a_moment_only() {
    let mut scene = Scene::new();
    // It could have the best, of which no key frame comes.
    scene.layers[1..].iter_mut().for_each(|layer| layer.wants_keyframe = false);
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    scene.answered(viewer, Duration::from_secs(2), NO_QUEUE);
    assert_eq!(scene.layer(viewer), Some(0));
    let (mut queue, mut without, mut most) = (NO_QUEUE, 0, 0);
    for _ in 0..60 {
        queue += Duration::from_millis(20);
        without = if scene.answered(viewer, Duration::from_millis(1), queue) > 0 {
            0
        } else {
            without + 1
        };
        most = most.max(without);
    }
    assert!((2..=4).contains(&most), "{most} frames are not sent at once");
}

/// The smallest layer sends several times what there is of it for a viewer, who would be behind for
/// good: it is sent nothing that is so old, and goes on with the key frame that is asked for.
#[test]
fn who_is_too_far_behind_over_udp_goes_on_with_the_newest_key_frame() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch_counted();
    let frame = Duration::from_millis(39);
    for _ in 0..80 {
        scene.say(viewer, TINY);
        scene.layers[0].wants_keyframe |= scene.layer(viewer) != Some(0);
        scene.answered(viewer, frame, NO_QUEUE);
    }
    assert_eq!(scene.layer(viewer), Some(0));
    let (before, packets) = (scene.layers[0].sequence, 30);
    scene.layers[0].packets = packets;
    // How many frames ago what leaves was made.
    let ages = |scene: &mut Scene| {
        scene.say(viewer, TINY);
        scene.answered(viewer, frame, NO_QUEUE);
        let newest = scene.layers[0].sequence;
        let numbers = scene.log.iter().filter_map(|(_, sent)| Some(sent.media?.1));
        let later = numbers.filter(|number| *number > before);
        later.map(|number| (newest - number) / packets).collect::<Vec<u64>>()
    };
    let behind: Vec<Vec<u64>> = (0..40).map(|_| ages(&mut scene)).collect();
    let oldest = behind.iter().flatten().max().copied().expect("something leaves");
    let most = (LAG_MOST.as_millis() / frame.as_millis()) as u64 + 1;
    assert!((most - 3..=most).contains(&oldest), "{oldest} frames old when it left");
    assert!(behind[most as usize + 20..].iter().all(Vec::is_empty), "{behind:?}");
    // The key frame that it asks for.
    let asked = scene.shard.asked;
    while scene.shard.asked == asked {
        assert!(ages(&mut scene).is_empty(), "it is sent nothing old meanwhile");
    }
    scene.layers[0].wants_keyframe = true;
    let key = scene.layers[0].sequence + 1;
    scene.log.clear();
    scene.frames_that_leave(1);
    let numbers: Vec<u64> = scene.log.iter().filter_map(|(_, sent)| Some(sent.media?.1)).collect();
    assert_eq!(numbers.first(), Some(&key), "{numbers:?}");
}
