//! Feedback by the thousand: a viewer that means ill asks for what it likes as often as it likes,
//! and the others have their stream.

use monoport::limits::{
    KEYFRAME_INTERVAL, REPAIR_BURST_PACKETS, REPAIR_PACKETS_PER_SECOND, REPAIR_SHARE,
};
use monoport::telemetry::ShardCounters;

use crate::found::{SETUP, pass, playing};
use crate::network::Quality;
use crate::rogue::Reporter;
use crate::scenario::finish;
use crate::staying::newest;
use crate::world::World;

/// A counter of the one shard.
fn count(world: &World, counter: impl Fn(&ShardCounters) -> u64) -> u64 {
    world.server.wiring.counters.iter().map(|counters| counter(counters)).sum()
}

#[test]
fn key_frames_asked_for_by_the_thousand_are_asked_of_the_publisher_twice_a_second_at_most() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    world.watch(0, Quality::PERFECT);
    pass(&mut world, 2_000);
    let mut reporter = Reporter::of(&mut world.peers[viewer].client).expect("it has keys");
    let asked = |world: &World| count(world, |c| c.keyframe_requests_out.get());
    let (before, heard) = (asked(&world), count(&world, |c| c.keyframe_requests_in.get()));
    let seconds = 5;
    for _ in 0..seconds * 1_000 {
        for _ in 0..5 {
            let pli = reporter.pli();
            world.send(viewer, 0, pli);
        }
        pass(&mut world, 1);
    }
    let heard = count(&world, |c| c.keyframe_requests_in.get()) - heard;
    assert!(heard > seconds * 4_000, "{heard} are heard");
    let most = seconds * 1_000 / KEYFRAME_INTERVAL.as_millis() as u64 + 1;
    let asked = asked(&world) - before;
    assert!((1..=most).contains(&asked), "{asked} of {most} at most");
    finish(&mut world);
}

#[test]
fn packets_asked_for_by_the_million_are_sent_again_at_the_rate_of_one_viewer_and_no_more() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    world.watch(0, Quality::PERFECT);
    pass(&mut world, 5_000);
    let mut reporter = Reporter::of(&mut world.peers[viewer].client).expect("it has keys");
    let again = |world: &World| count(world, |c| c.repaired_packets.get());
    let (before, published) = (again(&world), count(&world, |c| c.viewer_packets.get()));
    for _ in 0..500 {
        for _ in 0..4 {
            // All that was sent lately, and much that was not yet.
            let oldest = newest(&mut world, viewer).wrapping_sub(300);
            let lost: Vec<u16> = (0..5_000).map(|n| oldest.wrapping_add(n)).collect();
            let nacks = reporter.nacks(&lost);
            world.send(viewer, 0, nacks);
        }
        pass(&mut world, 2);
    }
    let published = count(&world, |c| c.viewer_packets.get()) - published;
    let most = u64::from(REPAIR_BURST_PACKETS)
        + u64::from(REPAIR_PACKETS_PER_SECOND).max(published / u64::from(REPAIR_SHARE));
    let again = again(&world) - before;
    assert!((1..=most).contains(&again), "{again} of {most} at most");
    finish(&mut world);
}
