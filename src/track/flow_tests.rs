//! Layers fall silent and come back.

use std::time::Duration;

use super::aim::Aim;
use super::switch_tests::{MS, Scene, hold};
use super::tests::{KEY, Shard, VIDEO};
use super::*;
use crate::limits::{FLOW_BACK_AFTER, FLOW_SILENT_AFTER, FLOW_WANES_AFTER};
use crate::telemetry::LayerReason;

/// Runs until a viewer has a layer: how long that took.
fn until(scene: &mut Scene, viewer: usize, layer: u8) -> Duration {
    let start = scene.now;
    for _ in 0..400 {
        scene.frames(1, |_, _| false);
        if scene.layer(viewer) == Some(layer) {
            return scene.now - start;
        }
    }
    panic!("it has {:?} for ever", scene.layer(viewer));
}

fn flowing(scene: &Scene) -> Vec<(u8, bool)> {
    scene.shared.offered(VIDEO).iter().map(|offer| (offer.layer, offer.flows)).collect()
}

#[test]
fn viewers_of_a_layer_that_falls_silent_go_to_the_next_lower_and_come_back() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let [best, chose, bounded, chosen, low] = [7, 8, 9, 10, 11].map(|slot| scene.watch(slot));
    scene.wish(chose, 2);
    let bounds = Bounds { place: Some(2), ..Bounds::default() };
    scene.shard.streams.wish(scene.now, (KEY, bounded), 0, Wish::Within(bounds));
    let stream = scene.shard.streams.get_mut(KEY).expect("it is there");
    stream.change_aim(chosen, 0, |aim| Aim { chosen: Some(2), ..aim });
    scene.wish(low, 0);
    scene.frames(10, |_, _| false);
    let all = [best, chose, bounded, chosen];
    assert_eq!(all.map(|viewer| scene.layer(viewer)), [Some(2); 4]);
    for encoder in &mut scene.layers {
        encoder.wants_keyframe = true;
    }
    scene.frames(2, |_, _| false);
    scene.layers[2].silent = true;
    let took = until(&mut scene, best, 1);
    assert!(took >= FLOW_SILENT_AFTER && took < MS(800), "{took:?}");
    assert_eq!(all.map(|viewer| scene.layer(viewer)), [Some(1); 4], "the next lower one");
    assert_eq!(scene.layer(low), Some(0), "who has another is not touched");
    assert_eq!(flowing(&scene), [(0, true), (1, true), (2, false)], "for whoever chooses");
    assert_eq!(scene.fallen, 1);
    let got = |scene: &Scene, viewer| {
        let stream = scene.shard.streams.get(KEY).expect("it is there");
        stream.layer_got(stream.viewer(viewer).expect("it watches")).expect("there are three")
    };
    let shown = got(&scene, chose);
    assert_eq!((shown.wanted, shown.got, shown.why), (2, Some(1), LayerReason::Silent));
    let shown = got(&scene, best);
    assert_eq!((shown.wanted, shown.got, shown.why), (1, Some(1), LayerReason::Best));
    let shown = got(&scene, low);
    assert_eq!((shown.got, shown.why, shown.below_largest), (Some(0), LayerReason::Asked, 2));
    // A stutter is no return: it must flow for a while.
    scene.layers[2].silent = false;
    scene.frames(20, |_, _| false);
    scene.layers[2].silent = true;
    scene.frames(20, |_, _| false);
    assert_eq!(all.map(|viewer| scene.layer(viewer)), [Some(1); 4]);
    (scene.layers[2].silent, scene.layers[2].wants_keyframe) = (false, true);
    let start = scene.now;
    scene.frames(60, |_, _| false);
    assert_eq!(all.map(|viewer| scene.layer(viewer)), [Some(1); 4], "not yet");
    scene.layers[2].wants_keyframe = true;
    until(&mut scene, best, 2);
    let took = scene.now - start;
    assert!(took >= FLOW_BACK_AFTER && took < FLOW_BACK_AFTER + MS(300), "{took:?}");
    assert_eq!(all.map(|viewer| scene.layer(viewer)), [Some(2); 4]);
    for ssrc in 7..12 {
        let sent: Vec<_> = scene.sent().into_iter().filter(|sent| sent.ssrc == ssrc).collect();
        hold(&sent, sent[0].sequence).expect("it goes on");
    }
}

#[test]
fn the_key_frame_of_the_neighbour_is_asked_for_before_the_layer_is_given_up() {
    let mut scene = Scene::new();
    // Longer ago than what is replayed.
    scene.frames(260, |_, _| false);
    scene.layers[2].wants_keyframe = true;
    scene.frames(10, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(5, |_, _| false);
    assert_eq!((scene.layer(viewer), scene.shard.asked), (Some(2), 0));
    scene.layers[2].silent = true;
    let start = scene.now;
    while scene.shard.asked == 0 {
        scene.frames(1, |_, _| false);
        assert!(scene.now - start < FLOW_SILENT_AFTER, "it is asked for too late");
    }
    assert!(scene.now - start >= FLOW_WANES_AFTER - MS(40), "not at every stutter");
    scene.layers[1].wants_keyframe = true;
    until(&mut scene, viewer, 1);
    assert!(scene.now - start < MS(800), "{:?}", scene.now - start);
    let other = scene.watch(8);
    scene.frames(1, |_, _| false);
    assert_eq!(scene.layer(other), Some(1));
    assert_eq!(scene.shard.asked, 1);
}

#[test]
fn a_pause_of_the_whole_track_and_few_frames_a_second_are_no_silence() {
    let mut scene = Scene::new();
    scene.frames(40, |_, _| false);
    let viewer = scene.watch(7);
    scene.frames(5, |_, _| false);
    // The picture stands still, or the publisher's network does.
    for pause in [10_000, 700, 300, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 400] {
        scene.turn(MS(pause));
        scene.frames(1, |_, _| false);
        assert_eq!(scene.layer(viewer), Some(2), "after {pause} ms");
        assert!(flowing(&scene).iter().all(|(_, flows)| *flows), "after {pause} ms");
    }
    assert_eq!(scene.shard.counters.layer_switches.get(), 0);
    // At a frame a second four of them are waited for.
    scene.layers[2].silent = true;
    let mut frames = 0;
    while scene.layer(viewer) == Some(2) && frames < 10 {
        scene.turn(MS(1_000));
        scene.layers[1].wants_keyframe = true;
        scene.frames(1, |_, _| false);
        frames += 1;
    }
    assert!((4..=6).contains(&frames), "{frames}");
}

#[test]
fn who_chose_a_layer_on_another_shard_is_told_that_it_has_fallen_silent() {
    let mut scene = Scene::new();
    let mut other = Shard::new(1);
    let viewer = other.watch_at(scene.now, &scene.shared, 7);
    scene.other = Some(other);
    scene.frames(40, |_, _| false);
    let other = scene.other.as_mut().expect("it is there");
    other.streams.wish(scene.now, (KEY, viewer), 0, Wish::Layer(2));
    scene.layers[2].wants_keyframe = true;
    scene.frames(20, |_, _| false);
    let layer = |shard: &Shard| {
        let viewer = shard.streams.get(KEY).and_then(|stream| stream.viewer(viewer))?;
        viewer.egress.lanes()[0].layer()
    };
    assert_eq!(scene.other.as_ref().and_then(layer), Some(2));
    scene.layers[2].silent = true;
    for _ in 0..40 {
        scene.layers[1].wants_keyframe = true;
        scene.frames(1, |_, _| false);
    }
    let other = scene.other.as_ref().and_then(layer);
    assert_eq!(other, Some(1), "no packet of its layer can say so");
}
