//! What a viewer's path carries is estimated where there is something to choose for it, and nothing
//! is asked of the others.

use monoport::telemetry::PathShown;

use crate::found::{SETUP, pass};
use crate::network::Quality;
use crate::scenario::finish;
use crate::world::World;

/// A publisher of so many layers and a viewer, after some seconds.
fn playing(layers: usize) -> (World, usize) {
    let mut world = World::new(0, SETUP, 1);
    world.publish(0, layers, Quality::PERFECT);
    let viewer = world.watch(0, Quality::PERFECT);
    pass(&mut world, 9_000);
    (world, viewer)
}

fn path(world: &World, viewer: usize) -> Option<PathShown> {
    let key = world.peers[viewer].key;
    let cards = &world.server.wiring.meters[usize::from(key.shard)].cards;
    cards.read(key.slot).expect("it lives").1.path
}

fn feedback(world: &World) -> u64 {
    world.server.wiring.counters.iter().map(|c| c.transport_feedback.get()).sum()
}

#[test]
fn the_path_of_a_viewer_with_layers_to_choose_from_is_estimated_by_what_it_reports() {
    let (mut world, viewer) = playing(2);
    assert!(feedback(&world) > 20, "{}", feedback(&world));
    let shown = path(&world, viewer).expect("it is estimated");
    assert!(shown.bits_per_s >= 1_000_000, "{shown:?}");
    assert!(shown.queue_ms <= 2, "nothing is in the way: {shown:?}");
    finish(&mut world);
}

#[test]
fn nothing_is_asked_of_a_viewer_for_whom_there_is_nothing_to_choose() {
    let (mut world, viewer) = playing(1);
    assert_eq!((feedback(&world), path(&world, viewer)), (0, None));
    finish(&mut world);
}
