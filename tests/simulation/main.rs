//! A whole server under virtual time, with its clients and the network between them: one seed is
//! one run.
//!
//! Nothing here has a socket, a thread or a clock. Shards are [`monoport::shard::Simulated`],
//! clients are str0m's, and DTLS really runs; the network loses, delays, doubles, reorders, rebinds
//! and cuts. A seed makes up what happens ([`scenario`]); what must hold whatever happens is in
//! [`arrivals`], [`turns`], [`numbering`], [`waiting`] and [`peer`].
//!
//! ```text
//! cargo test --test simulation                                       200 seeds
//! cargo test --test simulation -- --ignored                          5,000 more
//! MONOPORT_SEEDS=17..18 cargo test --test simulation -- --ignored    this one
//! ```
//!
//! A run that breaks a rule says its seed, the rule and all that happened. What DTLS and str0m's
//! hash tables draw for themselves is not seeded: now and then a run takes another turn.

#![expect(clippy::disallowed_types, reason = "str0m counts its crypto, the shards their wiring")]

use std::ops::Range;
use std::panic::catch_unwind;

mod arrivals;
mod client;
mod dtls;
mod estimating;
mod feedback;
mod flight;
mod found;
mod media;
mod network;
mod numbering;
mod outgoing;
mod peer;
mod random;
mod resends;
mod rogue;
mod scenario;
mod server;
mod silent;
mod staying;
mod subscriptions;
mod tree;
mod turns;
mod waiting;
mod world;

fn hold(seeds: Range<u64>) {
    let broken = |seed| catch_unwind(|| scenario::run(seed)).err();
    let stories: Vec<_> = seeds.filter_map(broken).collect();
    let words = stories.iter().map(|story| story.downcast_ref::<String>().map_or("?", |s| s));
    let first_lines: Vec<&str> = words.filter_map(|story| story.lines().next()).collect();
    assert!(first_lines.is_empty(), "{} runs failed:\n{}", stories.len(), first_lines.join("\n"));
}

#[test]
fn the_rules_hold_whatever_happens_in_seeds_0_to_49() {
    hold(0..50);
}

#[test]
fn the_rules_hold_whatever_happens_in_seeds_50_to_99() {
    hold(50..100);
}

#[test]
fn the_rules_hold_whatever_happens_in_seeds_100_to_149() {
    hold(100..150);
}

#[test]
fn the_rules_hold_whatever_happens_in_seeds_150_to_199() {
    hold(150..200);
}

#[test]
#[ignore = "thousands of seeds: minutes"]
fn the_rules_hold_whatever_happens_in_thousands_of_seeds() {
    let seeds = std::env::var("MONOPORT_SEEDS").unwrap_or("200..5200".into());
    let ends = seeds.split_once("..").map(|(from, to)| (from.parse(), to.parse()));
    let Some((Ok(from), Ok(to))) = ends else { panic!("MONOPORT_SEEDS is FROM..TO, not {seeds}") };
    hold(from..to);
}
