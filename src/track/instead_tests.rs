//! Viewers of a publisher that hears no requests for key frames.

use super::switch_tests::{MS, Scene, hold};
use crate::limits::{KEYFRAME_ANSWER, KEYFRAME_TRIES, PUBLISHER_REPAIR};

/// Frames until the viewer has a layer, and how many that were.
fn frames_until(scene: &mut Scene, viewer: usize, layer: u8, most: u32) -> u32 {
    for frames in 0..most {
        if scene.layer(viewer) == Some(layer) {
            return frames;
        }
        scene.frames(1, |_, _| false);
    }
    panic!("it has {:?} after {most} frames", scene.layer(viewer));
}

/// A packet of the layer is lost for good, and the viewer asks for it until it is told so.
fn lose_for_good(scene: &mut Scene, viewer: usize) {
    scene.frames(1, |layer, sequence| layer == 2 && sequence % 9 == 4);
    scene.frames(1, |_, _| false);
    let sent: Vec<u16> = scene.sent().iter().rev().take(30).map(|sent| sent.sequence).collect();
    let newest = sent[0];
    let missing: Vec<u16> = (1..25)
        .map(|behind| newest.wrapping_sub(behind))
        .filter(|number| !sent.contains(number))
        .collect();
    assert_eq!(missing.len(), 1, "{sent:?}");
    scene.frames(PUBLISHER_REPAIR.as_millis() as u64 / 39 + 1, |_, _| false);
    assert!(scene.ask(viewer, missing).is_empty());
}

#[test]
fn who_lost_something_for_good_of_a_deaf_publisher_gets_a_lower_layer_meanwhile() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(3, |_, _| false);
    scene.layers[1].wants_keyframe = true;
    scene.frames(30, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(2), 0));
    lose_for_good(&mut scene, viewer);
    scene.frames(1, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(2), 1), "it may be answered");
    let frames = frames_until(&mut scene, viewer, 1, 60);
    assert!(MS(39) * frames < KEYFRAME_ANSWER + MS(200), "{frames} frames");
    scene.frames(90, |_, _| false);
    assert_eq!(scene.layer(viewer), Some(1), "of its own there is nothing yet");
    assert!(scene.shard.asked > KEYFRAME_TRIES as usize);
    // Now it is known to be deaf. Its key frames come when they come.
    scene.layers[2].wants_keyframe = true;
    assert!(frames_until(&mut scene, viewer, 2, 60) <= 2);
    scene.layers[1].wants_keyframe = true;
    scene.frames(40, |_, _| false);
    lose_for_good(&mut scene, viewer);
    assert!(frames_until(&mut scene, viewer, 1, 60) <= 2, "nobody waits to see");
    let sent = scene.sent();
    hold(&sent, sent[0].sequence).expect("it goes on");
}

#[test]
fn who_lost_something_for_good_keeps_its_layer_where_the_publisher_answers() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(3, |_, _| false);
    scene.layers[1].wants_keyframe = true;
    scene.frames(30, |_, _| false);
    lose_for_good(&mut scene, viewer);
    scene.frames(8, |_, _| false);
    scene.layers[2].wants_keyframe = true;
    scene.frames(100, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(2), 1));
    assert_eq!(scene.shard.counters.layer_switches.get(), 0);
}

#[test]
fn who_comes_when_nothing_is_kept_of_the_best_layer_begins_with_a_lower_one() {
    let mut scene = Scene::new();
    // Longer ago than what is replayed.
    scene.frames(270, |_, _| false);
    scene.layers[0].wants_keyframe = true;
    scene.frames(10, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(1, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(0), 1), "a picture at once");
    scene.frames(30, |_, _| false);
    assert_eq!(scene.layer(viewer), Some(0));
    scene.layers[2].wants_keyframe = true;
    assert!(frames_until(&mut scene, viewer, 2, 60) <= 2);
    let sent = scene.sent();
    hold(&sent, sent[0].sequence).expect("it goes on");
}
