//! Who dies, and when it comes back.

use std::time::Duration;

use super::world::{ORIGIN, World};

/// What happens to a tree.
#[derive(Clone, Copy)]
pub enum Failure {
    /// One node that others take the stream from.
    Inner,
    /// The one that brings it to a zone.
    Head,
    /// One of so many, all at once.
    Share(usize),
    /// So many, one each second, each back after three seconds.
    Restarts(usize),
    /// So many at any times within ten seconds, each back after some of them.
    Storm(usize),
}

impl Failure {
    pub fn name(self) -> &'static str {
        match self {
            Failure::Inner => "one inner node",
            Failure::Head => "a zone's head",
            Failure::Share(50) => "2 % at once",
            Failure::Share(_) => "20 % at once",
            Failure::Restarts(_) => "restarts, one a second",
            Failure::Storm(_) => "a storm",
        }
    }

    /// Has it happen to a tree that stands, and lets the time pass that it may take.
    pub fn happen(self, world: &mut World) {
        let mut edges: Vec<usize> = (1..world.nodes.len()).collect();
        world.random.shuffle(&mut edges);
        match self {
            Failure::Inner => {
                let inner = edges.into_iter().find(|edge| !world.nodes[*edge].children.is_empty());
                world.die(inner.expect("a tree of this size has inner nodes"));
            }
            Failure::Head => {
                let heads = world.nodes[ORIGIN].children.iter();
                let head = heads.max_by_key(|kid| world.nodes[kid.node].children.len());
                let head = head.expect("somebody takes it").node;
                world.die(head);
            }
            Failure::Share(of) => {
                let count = edges.len() / of;
                edges.into_iter().take(count).for_each(|edge| world.die(edge));
            }
            Failure::Restarts(count) => {
                for edge in edges.into_iter().take(count) {
                    world.die(edge);
                    world.revive_after(edge, Duration::from_secs(3));
                    world.pass(Duration::from_secs(1));
                }
            }
            Failure::Storm(count) => {
                for _ in 0..count {
                    let edge = world.random.usize(1..world.nodes.len());
                    world.die(edge);
                    let away = world.random.u64(10..4_000);
                    world.revive_after(edge, Duration::from_millis(away));
                    let pause = world.random.u64(0..250);
                    world.pass(Duration::from_millis(pause));
                }
            }
        }
        world.pass(Duration::from_secs(20));
    }
}
