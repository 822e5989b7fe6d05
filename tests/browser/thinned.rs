//! A publisher of one encoding with three temporal layers: viewers get a half or a quarter of its
//! frames, and all of them again, without a break.

use crate::stage::Stage;
use crate::{PATIENCE, Tab, assert_no_complaints, stats};
use std::time::{Duration, Instant};

const REQUESTS: &str = "monoport_keyframe_requests_in_total";
/// How long the picture may stand altogether, on a machine that has other work.
const FREEZE_LIMIT_S: f64 = 1.0;

#[test]
fn a_viewer_gets_half_of_the_frames_of_vp8_and_a_quarter_and_all_again() {
    thins("VP8");
}

#[test]
fn a_viewer_gets_half_of_the_frames_of_vp9_and_a_quarter_and_all_again() {
    thins("VP9");
}

#[test]
fn a_viewer_gets_half_of_the_frames_of_av1_and_a_quarter_and_all_again() {
    thins("AV1");
}

fn thins(codec: &str) {
    let Some(stage) = Stage::set(2) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(&format!(
        "monoport.publish({{ stream: 'thin', source: 'camera', codec: '{codec}',
            scalabilityMode: 'L1T3', width: 320, height: 180, maxBitrate: 400000 }})"
    ));
    let (viewer, other) = (stage.viewer("thin"), stage.viewer("thin"));
    stage.assert_plays(&viewer);
    // Until it is known what its temporal layers are.
    std::thread::sleep(Duration::from_secs(3));
    let whole = frames_per_s(&viewer);
    let (before, asked) = (frozen(&viewer), stage.server.metric(REQUESTS));
    println!("{codec}: {whole:.1} frames a second");
    for (wish, least, most) in [
        ("temporalLayerId: 1", 0.35, 0.65),
        ("temporalLayerId: 0", 0.15, 0.35),
        ("temporalLayerId: 1", 0.35, 0.65),
        ("temporalLayerId: 0", 0.15, 0.35),
        ("", 0.7, 1.5),
    ] {
        viewer.eval(&format!("monoport.choose({{ {wish} }})"));
        let took = settled(&viewer, (least * whole, most * whole));
        println!("{{{wish}}}: {:.1} frames a second after {took:?}", frames_per_s(&viewer));
    }
    println!("the other: {:.1} frames a second", frames_per_s(&other));
    let (frozen, requests) = (frozen(&viewer) - before, stage.server.metric(REQUESTS) - asked);
    println!("frozen for {frozen} s, {requests} key frames asked for: {:#}", stats(&viewer));
    assert!(frozen <= FREEZE_LIMIT_S, "the picture stood for {frozen} s");
    assert!(requests < 1.0, "{requests} key frames were asked for");
    assert_no_complaints(&[&publisher, &viewer, &other]);
}

/// How long it takes until so many frames a second are decoded.
fn settled(viewer: &Tab<'_>, (least, most): (f64, f64)) -> Duration {
    let since = Instant::now();
    loop {
        let rate = frames_per_s(viewer);
        if (least..=most).contains(&rate) {
            return since.elapsed();
        }
        let shown = stats(viewer);
        assert!(since.elapsed() < PATIENCE, "{rate}, and not {least} to {most}: {shown:#}");
    }
}

fn frames_per_s(viewer: &Tab<'_>) -> f64 {
    let count = || stats(viewer)["framesDecoded"].as_f64().expect("a count");
    let (since, before) = (Instant::now(), count());
    std::thread::sleep(Duration::from_secs(2));
    (count() - before) / since.elapsed().as_secs_f64()
}

fn frozen(viewer: &Tab<'_>) -> f64 {
    stats(viewer)["freezeSeconds"].as_f64().expect("a number")
}
