//! What the server chooses for viewers.

use super::switch_tests::Scene;
use super::tests::{KEY, track};
use crate::egress::{Feedback, Reception};
use crate::limits::FEEDBACK_WITHIN;
use crate::media::{ExtensionIds, ViewerTrack};

const SSRC: u32 = 7;
/// An estimate of 300,000 bits a second (REMB).
const NARROW: &[u8] =
    b"\x8f\xce\x00\x05\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x09\x24\xf8\x00\x00\x00\x07";
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
        let track = ViewerTrack { rtx_ssrc, rtx_payload_type, extensions, ..track(SSRC) };
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
