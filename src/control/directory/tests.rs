//! The rules of claims, with a clock that the test turns.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::{
    Beat, Claim, Claimed, Directory, MemoryDirectory, MemoryStore, NodeRecord, Owner, Reply,
};
use crate::limits::{DIRECTORY_BEAT, DIRECTORY_LEASE};

const START: u64 = 1_000_000;

struct World {
    now: Arc<AtomicU64>,
    store: Arc<MemoryStore>,
}

impl World {
    fn new() -> World {
        let now = Arc::new(AtomicU64::new(START));
        let clock = now.clone();
        World { now, store: MemoryStore::new(move || clock.load(Ordering::Relaxed)) }
    }

    fn node(&self, name: &str, incarnation: u64) -> MemoryDirectory {
        MemoryDirectory::new(self.store.clone(), name, incarnation)
    }

    fn pass(&self, time: std::time::Duration) {
        self.now.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

/// The answer of a directory that answers at once.
fn at_once<T>(reply: Reply<'_, T>) -> T {
    reply.now_or_never().expect("memory answers at once").expect("it can be reached")
}

fn beat(node: &MemoryDirectory, name: &str) -> Beat {
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 7880));
    at_once(node.beat(NodeRecord { name: name.into(), http, sessions: 0, draining: false }))
}

fn claim(node: &MemoryDirectory, how: Claim, hint: u64) -> Claimed {
    at_once(node.claim(how, vec![("s".into(), hint)])).remove(0)
}

fn owner(node: &MemoryDirectory) -> Option<Owner> {
    at_once(node.resolve(vec!["s".into()])).remove(0)
}

fn renewed(known: bool, displaced: &[&str]) -> Beat {
    let displaced = displaced.iter().map(|&name| name.into()).collect();
    Beat::Renewed { known, now_ms: START, displaced }
}

fn held(owner: &str, epoch: u64) -> Claimed {
    Claimed::Held { owner: owner.into(), epoch }
}

fn mine(epoch: u64, displaced: Option<&str>) -> Claimed {
    Claimed::Mine { epoch, displaced: displaced.map(Into::into) }
}

#[test]
fn the_later_claim_owns_the_stream_and_the_earlier_owner_can_not_keep_it() {
    let world = World::new();
    let (a, b) = (world.node("a", 1), world.node("b", 1));
    assert_eq!(beat(&a, "a"), renewed(false, &[]));
    assert_eq!(beat(&b, "b"), renewed(false, &[]));
    assert_eq!(claim(&a, Claim::New, 0), mine(START, None));
    assert_eq!(claim(&b, Claim::New, 0), mine(START + 1, Some("a")));
    assert_eq!(beat(&b, "b"), renewed(true, &[]));
    assert_eq!(beat(&a, "a"), renewed(true, &["s"]), "it hears of it");
    assert_eq!(beat(&a, "a"), renewed(true, &[]), "and once");
    assert_eq!(claim(&a, Claim::Keep, START), held("b", START + 1));
    assert_eq!(claim(&a, Claim::IfFree, START), held("b", START + 1));
    assert_eq!(owner(&a).map(|owner| (owner.node, owner.epoch)), Some(("b".into(), START + 1)));
    at_once(a.release(vec![("s".into(), START)]));
    assert!(owner(&a).is_some(), "it is not a's to release");
    at_once(b.release(vec![("s".into(), START + 1)]));
    assert_eq!(owner(&a), None);
}

#[test]
fn what_was_forgotten_is_asserted_again_and_the_greater_epoch_stays() {
    let world = World::new();
    let (a, b) = (world.node("a", 1), world.node("b", 1));
    beat(&a, "a");
    beat(&b, "b");
    claim(&a, Claim::New, 0);
    claim(&b, Claim::New, 0);
    world.store.forget();
    assert!(matches!(beat(&a, "a"), Beat::Renewed { known: false, .. }));
    assert_eq!(claim(&a, Claim::Keep, START), mine(START, None), "nobody else has said so yet");
    beat(&b, "b");
    assert_eq!(claim(&b, Claim::Keep, START + 1), mine(START + 1, Some("a")));
    assert_eq!(claim(&a, Claim::Keep, START), held("b", START + 1));
}

#[test]
fn a_node_that_is_silent_for_its_lease_is_dead_to_others() {
    let world = World::new();
    let (a, b) = (world.node("a", 1), world.node("b", 1));
    beat(&a, "a");
    claim(&a, Claim::New, 0);
    assert!(owner(&b).is_some_and(|owner| owner.http.is_some()));
    assert_eq!(beat(&world.node("a", 2), "a"), Beat::NameTaken, "the first is alive");
    world.pass(DIRECTORY_LEASE);
    assert!(owner(&b).is_some_and(|owner| owner.http.is_none()));
    beat(&b, "b");
    assert_eq!(at_once(b.peers()).len(), 1);
    assert_eq!(claim(&b, Claim::Keep, START), mine(START, None), "a dead owner is not displaced");
    let now = START + DIRECTORY_LEASE.as_millis() as u64;
    assert_eq!(claim(&b, Claim::IfFree, START), mine(now, None), "what the dead have is free");
    let next = world.node("a", 2);
    assert!(matches!(beat(&next, "a"), Beat::Renewed { known: false, .. }));
    assert!(matches!(beat(&a, "a"), Beat::NameTaken), "the frozen one has come back too late");
}

proptest! {
    /// Whatever nodes do, and however often the store forgets: epochs given out for a stream grow,
    /// and at the end one node keeps it.
    #[test]
    fn epochs_grow_and_one_node_keeps_a_stream(
        steps in prop::collection::vec((0..3usize, 0..4u8, 0..3_000u64), 1..60)
    ) {
        let world = World::new();
        let names = ["a", "b", "c"];
        let nodes = names.map(|name| world.node(name, 1));
        let mut seen = [0u64; 3];
        let mut given = Vec::new();
        for (index, action, wait) in steps {
            world.pass(std::time::Duration::from_millis(wait));
            let node = &nodes[index];
            beat(node, names[index]);
            match action {
                0 => if let Claimed::Mine { epoch, .. } = claim(node, Claim::New, seen[index]) {
                    prop_assert!(epoch > seen[index]);
                    given.push((epoch, index));
                    seen[index] = epoch;
                },
                1 if seen[index] > 0 => {
                    let kept = claim(node, Claim::Keep, seen[index]);
                    if matches!(kept, Claimed::Held { .. }) { seen[index] = 0; }
                }
                2 => world.store.forget(),
                _ => world.pass(DIRECTORY_BEAT),
            }
        }
        for (node, name) in nodes.iter().zip(names) {
            beat(node, name);
        }
        let mut keepers = Vec::new();
        for round in 0..2 {
            for (index, node) in nodes.iter().enumerate().filter(|(index, _)| seen[*index] > 0) {
                if let Claimed::Mine { epoch, .. } = claim(node, Claim::Keep, seen[index])
                    && round == 1
                {
                    prop_assert_eq!(epoch, seen[index]);
                    keepers.push(index);
                }
            }
        }
        prop_assert!(keepers.len() <= 1, "{keepers:?} all keep it: {given:?}");
        prop_assert_eq!(keepers.len(), usize::from(seen.iter().any(|epoch| *epoch > 0)));
    }
}
