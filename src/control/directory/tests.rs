//! The rules of claims, with a clock that the test turns.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::{
    About, Beat, Claim, Claimed, Directory, HttpAt, MediaPorts, MemoryDirectory, MemoryStore,
    Misfit, NodeRecord, Owner, Reply, Terms,
};
use crate::limits::{CLUSTER_CLOCK_SKEW, DIRECTORY_BEAT, DIRECTORY_LEASE, DIRECTORY_NODE_KEPT};

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

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn pass(&self, time: std::time::Duration) {
        self.now.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

/// The answer of a directory that answers at once.
fn at_once<T>(reply: Reply<'_, T>) -> T {
    reply.now_or_never().expect("memory answers at once").expect("it can be reached")
}

fn record(name: &str, terms: Terms) -> NodeRecord {
    let http = HttpAt { tls: false, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 7880)) };
    let (name, about) = (name.into(), About::default());
    NodeRecord { name, http, number: 0, sessions: 0, draining: false, beat_age_ms: 0, terms, about }
}

/// A beat; without the number it is given.
fn beat(world: &World, node: &MemoryDirectory, name: &str) -> Beat {
    match at_once(node.beat(record(name, Terms::default()), world.now())) {
        Beat::Renewed { known, now_ms, displaced, .. } => {
            Beat::Renewed { known, now_ms, number: 0, displaced }
        }
        refused => refused,
    }
}

/// The number that a node is given, or why it is given none.
fn join(world: &World, name: &str, terms: &Terms) -> Result<u16, Misfit> {
    match at_once(world.node(name, 1).beat(record(name, terms.clone()), world.now())) {
        Beat::Renewed { number, .. } => Ok(number),
        Beat::Refused(misfit) => Err(misfit),
    }
}

fn claim(node: &MemoryDirectory, how: Claim, hint: u64) -> Claimed {
    at_once(node.claim(how, vec![("s".into(), hint)])).remove(0)
}

fn owner(node: &MemoryDirectory) -> Option<Owner> {
    at_once(node.resolve(vec!["s".into()], Duration::ZERO)).remove(0)
}

fn renewed(known: bool, displaced: &[&str]) -> Beat {
    let displaced = displaced.iter().map(|&name| name.into()).collect();
    Beat::Renewed { known, now_ms: START, number: 0, displaced }
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
    assert_eq!(beat(&world, &a, "a"), renewed(false, &[]));
    assert_eq!(beat(&world, &b, "b"), renewed(false, &[]));
    assert_eq!(claim(&a, Claim::New, 0), mine(START, None));
    assert_eq!(claim(&b, Claim::New, 0), mine(START + 1, Some("a")));
    assert_eq!(beat(&world, &b, "b"), renewed(true, &[]));
    assert_eq!(beat(&world, &a, "a"), renewed(true, &["s"]), "it hears of it");
    assert_eq!(beat(&world, &a, "a"), renewed(true, &[]), "and once");
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
    beat(&world, &a, "a");
    beat(&world, &b, "b");
    claim(&a, Claim::New, 0);
    claim(&b, Claim::New, 0);
    world.store.forget();
    assert!(matches!(beat(&world, &a, "a"), Beat::Renewed { known: false, .. }));
    assert_eq!(claim(&a, Claim::Keep, START), mine(START, None), "nobody else has said so yet");
    beat(&world, &b, "b");
    assert_eq!(claim(&b, Claim::Keep, START + 1), mine(START + 1, Some("a")));
    assert_eq!(claim(&a, Claim::Keep, START), held("b", START + 1));
}

#[test]
fn a_node_that_is_silent_for_its_lease_is_dead_to_others() {
    let world = World::new();
    let (a, b) = (world.node("a", 1), world.node("b", 1));
    beat(&world, &a, "a");
    claim(&a, Claim::New, 0);
    assert!(owner(&b).is_some_and(|owner| owner.http.is_some()));
    assert_eq!(
        beat(&world, &world.node("a", 2), "a"),
        Beat::Refused(Misfit::NameTaken),
        "the first is alive"
    );
    world.pass(DIRECTORY_LEASE);
    assert!(owner(&b).is_some_and(|owner| owner.http.is_none()));
    beat(&world, &b, "b");
    assert_eq!(at_once(b.peers()).len(), 1);
    assert_eq!(claim(&b, Claim::Keep, START), mine(START, None), "a dead owner is not displaced");
    let now = START + DIRECTORY_LEASE.as_millis() as u64;
    assert_eq!(claim(&b, Claim::IfFree, START), mine(now, None), "what the dead have is free");
    let next = world.node("a", 2);
    assert!(matches!(beat(&world, &next, "a"), Beat::Renewed { known: false, .. }));
    assert!(
        matches!(beat(&world, &a, "a"), Beat::Refused(Misfit::NameTaken)),
        "the frozen one has come back too late"
    );
}

#[test]
fn a_node_that_was_silent_for_its_lease_is_told_so_when_it_speaks_again() {
    let world = World::new();
    let (a, b) = (world.node("a", 1), world.node("b", 1));
    beat(&world, &a, "a");
    beat(&world, &b, "b");
    claim(&a, Claim::New, 0);
    world.pass(DIRECTORY_LEASE);
    assert!(matches!(claim(&b, Claim::New, 0), Claimed::Mine { displaced: None, .. }));
    let spoke = beat(&world, &a, "a");
    let Beat::Renewed { known, ref displaced, .. } = spoke else { panic!("{spoke:?}") };
    assert!(!known && displaced.is_empty(), "what it had may be others': {spoke:?}");
    assert!(matches!(claim(&a, Claim::Keep, START), Claimed::Held { .. }));
    assert!(matches!(beat(&world, &a, "a"), Beat::Renewed { known: true, .. }));
}

#[test]
fn a_node_that_leaves_is_dead_at_once_and_its_number_is_kept_for_a_while() {
    let world = World::new();
    let terms = Terms::default();
    assert_eq!((join(&world, "a", &terms), join(&world, "b", &terms)), (Ok(1), Ok(2)));
    let (a, b) = (world.node("a", 1), world.node("b", 1));
    claim(&a, Claim::New, 0);
    at_once(world.node("a", 2).leave());
    assert!(owner(&b).is_some_and(|owner| owner.http.is_some()), "that was another process");
    at_once(a.leave());
    assert!(owner(&b).is_some_and(|owner| owner.http.is_none()));
    assert_eq!(at_once(b.peers()).len(), 1);
    assert_eq!(join(&world, "c", &terms), Ok(3), "who looks for the first must not find it");
    assert_eq!(join(&world, "a", &terms), Ok(1), "it has come back");
    at_once(a.leave());
    world.pass(DIRECTORY_NODE_KEPT);
    assert_eq!(join(&world, "d", &terms), Ok(1));
}

#[test]
fn who_does_not_fit_in_is_told_why_and_who_does_is_not_disturbed() {
    let world = World::new();
    let at =
        |port: u16| MediaPorts { tcp: false, ip: [192, 0, 2, 1].into(), first: port, last: port };
    let terms = |secrets: &str, port: u16| Terms {
        protocol: 1,
        secrets: secrets.into(),
        ports: vec![MediaPorts { last: port + 1, ..at(port) }],
    };
    let (first, it) = (terms("s", 7_000), || "a".into());
    assert_eq!(join(&world, "a", &first), Ok(1));
    let other = join(&world, "b", &Terms { protocol: 2, ..first.clone() });
    assert_eq!(other, Err(Misfit::Protocol { node: it() }));
    for secrets in ["", "t", "t s"] {
        let other = join(&world, "b", &terms(secrets, 1));
        assert_eq!(other, Err(Misfit::Secret { node: it() }), "{secrets}");
    }
    let taken = Misfit::Port { node: it(), at: "udp/192.0.2.1/7001".into() };
    assert_eq!(join(&world, "b", &terms("s", 7_001)), Err(taken));
    assert!(join(&world, "b", &terms("s t", 1)).is_ok(), "it signs with what the other takes");
    let off = world.now() + CLUSTER_CLOCK_SKEW.as_millis() as u64 + 1;
    let late = at_once(world.node("c", 1).beat(record("c", first.clone()), off));
    let apart_ms = off - world.now();
    assert_eq!(late, Beat::Refused(Misfit::Clock { apart_ms }));
    assert_eq!(join(&world, "a", &first), Ok(1), "it is as it was");
    // Who changes is held against the others as who comes anew.
    let changed = join(&world, "a", &terms("s", 2));
    assert_eq!(changed, Err(Misfit::Port { node: "b".into(), at: "udp/192.0.2.1/2".into() }));
    let words = Misfit::Clock { apart_ms: 3_600_000 }.to_string();
    assert!(words.contains("3600 s apart, and may be 30 s apart at most"), "{words}");
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
            beat(&world, node, names[index]);
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
            beat(&world, node, name);
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
