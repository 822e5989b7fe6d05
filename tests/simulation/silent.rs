//! A layer falls silent while others flow: whoever has it goes to another one, and comes back.

use std::time::{Duration, Instant};

use monoport::limits::FLOW_BACK_AFTER;
use monoport::shard::Command;
use monoport::track::Wish;
use tokio::sync::oneshot;

use crate::found::{SETUP, pass};
use crate::network::Quality;
use crate::scenario::finish;
use crate::server::Setup;
use crate::world::World;

const LAYERS: usize = 3;

/// The longest that a viewer is sent nothing: half a second until the layer is silent, and what it
/// takes to begin with another.
const WITHOUT: Duration = Duration::from_millis(1_000);

fn choose(world: &mut World, viewer: usize, layer: u8) {
    let (key, mid) = (world.peers[viewer].key, None);
    let (done, _) = oneshot::channel();
    world.server.command(key.shard, Command::Wish { key, mid, wish: Wish::Layer(layer), done });
}

/// The layer of the last packet of video that a viewer was sent, and when that was.
fn last(world: &mut World, viewer: usize) -> (u8, Instant) {
    let line = &world.numbering.viewer(viewer).expect("it watches").video;
    let (_, tag) = line.sent.last_key_value().expect("it plays");
    (tag.source.layer, line.last.expect("it plays"))
}

/// Runs for so long: the longest that any of these was sent nothing.
fn longest_pause(world: &mut World, viewers: &[usize], millis: u64) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..millis / 20 {
        pass(world, 20);
        for viewer in viewers {
            longest = longest.max(world.now - last(world, *viewer).1);
        }
    }
    longest
}

/// A seed's run: which layer falls silent, where viewers are and what they chose, and whether the
/// publisher hears requests for key frames.
fn run(seed: u64) {
    let setup = Setup { shards: 1 + seed as u16 % 3, seed, ..SETUP };
    let mut world = World::new(seed, setup, 1);
    let publisher = world.publish(0, LAYERS, Quality::PERFECT);
    let viewers: Vec<usize> = (0..6).map(|_| world.watch(0, Quality::PERFECT)).collect();
    pass(&mut world, 2_500);
    let silent = world.random.index(LAYERS) as u8;
    for viewer in &viewers[..3] {
        choose(&mut world, *viewer, silent);
    }
    choose(&mut world, viewers[3], (silent + 1) % LAYERS as u8);
    pass(&mut world, 1_500);
    assert!(viewers[..3].iter().all(|v| last(&mut world, *v).0 == silent), "seed {seed}");
    let deaf = world.random.chance(300);
    let until = world.now + Duration::from_millis(3_000);
    let encoders = world.peers[publisher].encoders.as_mut().expect("it publishes");
    encoders.ignores = if deaf { 1_000 } else { 0 };
    encoders.silence(usize::from(silent), until);
    let pause = longest_pause(&mut world, &viewers, 3_000);
    assert!(pause < WITHOUT, "seed {seed}: {pause:?} without a picture, deaf: {deaf}");
    let back = FLOW_BACK_AFTER.as_millis() as u64 + 1_400;
    let pause = longest_pause(&mut world, &viewers, back);
    assert!(pause < WITHOUT, "seed {seed}: {pause:?} on the way back");
    assert!(viewers[..3].iter().all(|v| last(&mut world, *v).0 == silent), "seed {seed}: back");
    finish(&mut world);
}

#[test]
fn viewers_of_a_layer_that_falls_silent_are_shown_another_whichever_and_wherever_they_are() {
    (0..24).for_each(run);
}
