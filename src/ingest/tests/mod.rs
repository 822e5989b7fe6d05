//! Against str0m: the same sealed packets into both give the same media and the same reports, and
//! str0m reads our transport-wide feedback.

mod oracle;
mod reasons;
mod script;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::srtp::Profile;
use oracle::Oracle;
use script::{Layers, Script};

/// Runs a script through both and compares what came of it.
fn agree(seed: u64, profile: Profile, script: Script) {
    let mut oracle = Oracle::connect(profile, script.layers == Layers::Three);
    let told = script::run(seed, &script, &mut oracle);
    let context = format!("seed {seed}, {profile:?}, {script:?}");
    assert!(!oracle.ours.is_empty(), "something came: {context}");
    assert_eq!(oracle.ours, oracle.theirs, "media: {context}");
    let (ours, theirs) = oracle.reports();
    // str0m says nothing more of an SSRC that another has replaced.
    let is_current = |ssrc: u32| !script.changes_ssrc || ssrc < 2_000 || ssrc % 10 == 5;
    for (ssrc, theirs) in theirs.into_iter().filter(|(ssrc, _)| is_current(*ssrc)) {
        let ours = ours.get(&ssrc).unwrap_or_else(|| panic!("a report on {ssrc}: {context}"));
        assert_eq!(ours.highest_sequence, theirs.highest_sequence, "{ssrc}: {context}");
        assert_eq!(ours.cumulative_lost, theirs.cumulative_lost, "{ssrc}: {context}");
        if !script.reorders && script.loss_percent == 0 {
            let apart = ours.jitter.abs_diff(theirs.jitter);
            assert!(apart <= 2 + theirs.jitter / 20, "{ours:?} {theirs:?}: {context}");
        }
    }
    // What str0m's parser reads of our feedback: when each packet came, to the tick.
    let read = oracle.arrivals_read();
    let missing: Vec<_> = told.keys().filter(|number| !read.contains_key(number)).collect();
    assert!(missing.is_empty(), "not told of {missing:?}: {context}");
    let first = (told.values().next(), read.values().next());
    let (Some(told_first), Some(read_first)) = first else { panic!("nothing told: {context}") };
    for (number, at) in &told {
        let told_us = at.saturating_duration_since(*told_first).as_micros() as i64;
        let read_us = read[number].saturating_duration_since(*read_first).as_micros() as i64;
        assert!((told_us - read_us).abs() <= 250, "{number}: {told_us} {read_us}: {context}");
    }
    let extra: BTreeMap<_, _> = read.iter().filter(|(n, _)| !told.contains_key(n)).collect();
    assert!(extra.is_empty(), "told of what did not come: {extra:?}: {context}");
}

#[test]
fn media_and_reports_are_str0ms_in_every_profile() {
    for profile in Profile::ALL {
        let script = Script { loss_percent: 5, reorders: true, ..Script::default() };
        agree(1, profile, script);
    }
}

#[test]
fn jitter_is_str0ms_where_nothing_is_lost() {
    agree(2, Profile::AeadAes128Gcm, Script::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_happens_on_the_way_both_say_the_same(
        seed: u64,
        loss_percent in prop::sample::select(vec![0u32, 1, 10, 30]),
        (reorders, simulcast, changes_ssrc, probes) in any::<(bool, bool, bool, bool)>(),
    ) {
        let layers = if simulcast { Layers::Three } else { Layers::One };
        let script = Script { loss_percent, reorders, layers, changes_ssrc, probes };
        agree(seed, Profile::AeadAes128Gcm, script);
    }
}
