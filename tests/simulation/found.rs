//! What the simulation has found, each by itself.

use std::time::Duration;

use monoport::shard::EndReason;

use crate::network::Quality;
use crate::rogue::{self, Reporter};
use crate::scenario::finish;
use crate::server::Setup;
use crate::world::World;

pub const SETUP: Setup =
    Setup { shards: 1, ports: 1, publishers_before: 0, hold: Duration::ZERO, seed: 1 };

/// A publisher of one layer and a viewer of its, on lines where nothing is lost.
pub fn playing(setup: Setup) -> (World, usize, usize) {
    let mut world = World::new(0, setup, 1);
    let publisher = world.publish(0, 1, Quality::PERFECT);
    let viewer = world.watch(0, Quality::PERFECT);
    pass(&mut world, 1_000);
    assert!(video_of(&mut world, viewer) > 0, "it plays");
    (world, publisher, viewer)
}

pub fn pass(world: &mut World, millis: u64) {
    world.run_until(world.now + Duration::from_millis(millis));
}

fn ask_for_a_keyframe(world: &mut World, viewer: usize) {
    let now = world.now;
    world.peers[viewer].client.ask_for_keyframe(now);
    world.empty_outbox(viewer);
}

/// Packets of video a viewer was sent.
fn video_of(world: &mut World, viewer: usize) -> usize {
    world.numbering.viewer(viewer).expect("it watches").video.sent.len()
}

#[test]
fn nobody_spins_when_a_viewer_wants_a_key_frame_and_the_publisher_has_left() {
    for asks_for_what_is_gone in [false, true] {
        let (mut world, publisher, viewer) = playing(SETUP);
        ask_for_a_keyframe(&mut world, viewer);
        pass(&mut world, 300);
        let key = world.peers[publisher].key;
        world.server.end(key, EndReason::Deleted);
        pass(&mut world, 700);
        if asks_for_what_is_gone {
            let client = &mut world.peers[viewer].client;
            let nack = Reporter::of(client).expect("it has keys").nack(40_000);
            world.send(viewer, 0, nack);
        } else {
            ask_for_a_keyframe(&mut world, viewer);
        }
        pass(&mut world, 3_000);
        finish(&mut world);
    }
}

#[test]
fn a_request_for_a_key_frame_that_is_lost_is_repeated() {
    let (mut world, publisher, viewer) = playing(SETUP);
    let keyframes = |world: &mut World| {
        world.numbering.viewer(viewer).expect("it watches").video.keyframes.len()
    };
    let before = keyframes(&mut world);
    world.peers[publisher].leg.down.deaf_until = Some(world.now + Duration::from_millis(1_200));
    ask_for_a_keyframe(&mut world, viewer);
    pass(&mut world, 1_000);
    assert_eq!(keyframes(&mut world), before, "the publisher has heard nothing");
    pass(&mut world, 3_000);
    assert!(keyframes(&mut world) > before);
    finish(&mut world);
}

#[test]
fn who_comes_late_begins_with_the_key_frame_that_has_passed_and_none_is_asked_for() {
    for shards in [1, 2] {
        let mut world = World::new(0, Setup { shards, ..SETUP }, 1);
        let publisher = world.publish(0, 1, Quality::PERFECT);
        pass(&mut world, 500);
        // From here on it would hear of nothing.
        world.peers[publisher].leg.down.deaf_until = Some(world.now + Duration::from_secs(60));
        pass(&mut world, 3_000);
        let viewers = [world.watch(0, Quality::PERFECT), world.watch(0, Quality::PERFECT)];
        pass(&mut world, 1_000);
        for viewer in viewers {
            let video = &world.numbering.viewer(viewer).expect("it watches").video;
            let numbers: Vec<u32> = video.sent.values().map(|tag| tag.number).collect();
            let expected: Vec<u32> = (0..numbers.len() as u32).collect();
            assert_eq!(numbers, expected, "all since the first, which was a key frame");
            assert!(numbers.len() > 50, "{} with {shards} shards", numbers.len());
        }
        finish(&mut world);
    }
}

#[test]
fn nobody_spins_when_a_viewer_leaves_that_is_still_sent_the_past() {
    let mut world = World::new(0, SETUP, 1);
    world.publish(0, 1, Quality::PERFECT);
    pass(&mut world, 5_000);
    let viewer = world.watch(0, Quality::PERFECT);
    // Step by step, to be there when it has begun and has not caught up.
    while world.numbering.viewer(viewer).is_none_or(|viewer| viewer.video.sent.is_empty()) {
        pass(&mut world, 1);
    }
    let key = world.peers[viewer].key;
    world.server.end(key, EndReason::Deleted);
    pass(&mut world, 3_000);
    finish(&mut world);
}

#[test]
fn the_4096th_publisher_of_a_stream_is_heard() {
    let (mut world, _publisher, viewer) = playing(Setup { publishers_before: 4_094, ..SETUP });
    world.publish(0, 1, Quality::PERFECT);
    pass(&mut world, 1_000);
    let video = &world.numbering.viewer(viewer).expect("it watches").video;
    assert!(video.sent.values().any(|tag| tag.source.publisher == 2), "the second of this run");
    finish(&mut world);
}

#[test]
fn other_paths_that_prove_themselves_do_not_evict_the_one_in_use() {
    let (mut world, publisher, viewer) = playing(SETUP);
    for peer in [publisher, viewer] {
        for _ in 0..12 {
            let check = rogue::check(&mut world.peers[peer].client, false, true);
            let from = rogue::somewhere(&mut world.random);
            world.send_from(Some(peer), from, 0, check);
        }
    }
    let before = video_of(&mut world, viewer);
    pass(&mut world, 1_000);
    assert!(video_of(&mut world, viewer) > before, "nothing of the publisher's is lost");
    finish(&mut world);
}

#[test]
fn a_track_whose_numbers_start_anew_goes_on_in_the_viewers_numbers() {
    let (mut world, publisher, viewer) = playing(SETUP);
    for track in 0..2 {
        world.restart_track(publisher, track);
        pass(&mut world, 1_000);
    }
    let entry = world.numbering.viewer(viewer).expect("it watches");
    for line in [&entry.audio, &entry.video] {
        assert!(line.sent.values().any(|tag| tag.source.start == 1), "both are followed");
    }
    finish(&mut world);
}

#[test]
fn who_lost_his_address_to_another_is_reached_by_the_next_that_proves_itself() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    let other = world.watch(0, Quality::PERFECT);
    pass(&mut world, 1_000);
    // Nothing of the viewer's own comes from its new address.
    world.peers[viewer].leg.up.cut_until = Some(world.now + Duration::from_secs(60));
    world.rebind_to(other, viewer);
    let check = rogue::check(&mut world.peers[other].client, true, true);
    let outside = world.peers[other].leg.outside;
    world.send_from(Some(other), outside, 0, check);
    pass(&mut world, 100);
    let check = rogue::check(&mut world.peers[viewer].client, false, true);
    let from = rogue::somewhere(&mut world.random);
    world.send_from(Some(viewer), from, 0, check);
    pass(&mut world, 1_000);
    finish(&mut world);
}

#[test]
fn checks_that_overtake_a_storm_of_set_ups_do_not_make_one_turn_take_them_all() {
    let mut world = World::new(0, SETUP, 1);
    let publisher = world.publish(0, 1, Quality::PERFECT);
    world.peers[publisher].present = false;
    pass(&mut world, 500);
    let viewers: Vec<usize> = (0..40).map(|_| world.watch(0, Quality::PERFECT)).collect();
    for viewer in viewers {
        let check = rogue::check(&mut world.peers[viewer].client, true, true);
        let outside = world.peers[viewer].leg.outside;
        world.send_from(Some(viewer), outside, 0, check);
    }
    pass(&mut world, 1_000);
    finish(&mut world);
}
