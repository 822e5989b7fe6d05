//! A viewer whose path becomes narrow, and wide again, gets what it carries; another one on a fast
//! path notices nothing.

use crate::layers::settled;
use crate::stage::Stage;
use crate::{assert_no_complaints, stats};
use serde_json::Value;

const SWITCHES: &str = "monoport_layer_switches_total";
/// How long pictures may stand in all, on a machine that encodes three layers, decodes two and has
/// other work: without another layer they stand for as long as the path is narrow, most of a
/// minute. The manual has what is measured.
const FREEZE_LIMIT_S: f64 = 15.0;

#[test]
fn a_viewer_gets_the_layer_that_its_path_carries_and_another_notices_nothing() {
    let Some(stage) = Stage::set_with_bottleneck(2) else { return };
    let relay = stage.server.relay.as_ref().expect("it has one");
    let publisher = stage.tab("/publish");
    publisher.eval(
        "monoport.publish({ stream: 'narrow', source: 'pattern', codec: 'VP8', simulcast: true,
            width: 960, height: 540, maxBitrate: 2500000 })",
    );
    let fast = stage.viewer("narrow");
    stage.assert_plays(&fast);
    settled(&fast, 960);
    relay.narrow_newcomers(5_000_000);
    let slow = stage.viewer("narrow");
    println!("begins: 960 pixels after {:?}", settled(&slow, 960));
    stage.assert_plays(&slow);
    let layers = stage.layers();
    println!("layers: {layers:?}");
    let [q, h, f] = layers[..] else { panic!("three layers, and not {layers:?}") };
    // Between what two layers need: audio, and what is not to be had of a path, counted in.
    let between = |lower: u64, upper: u64| (lower * 13 / 10 + 100_000).max((lower + upper) / 2);
    let (tiny, narrow) = (between(q, h), between(h, f));
    let (before, fast_before) = (stats(&slow), stats(&fast));
    for (speed, width) in
        [(narrow, 480), (4_000_000, 960), (tiny, 240), (narrow, 480), (5_000_000, 960)]
    {
        relay.set_speed(speed);
        println!("{speed} b/s: {width} pixels after {:?}", settled(&slow, width));
        std::thread::sleep(std::time::Duration::from_secs(3));
        let now = stats(&slow);
        println!("  frozen {} s so far, {} times", now["freezeSeconds"], now["freezeCount"]);
    }
    let frozen = |before: &Value, after: &Value| {
        let of = |numbers: &Value| numbers["freezeSeconds"].as_f64().expect("a number");
        of(after) - of(before)
    };
    let (after, fast_after) = (stats(&slow), stats(&fast));
    println!("frozen: {} s, {after:#}", frozen(&before, &after));
    println!("the other: {} s, {fast_after:#}", frozen(&fast_before, &fast_after));
    println!("{} changes", stage.server.metric(SWITCHES));
    assert!(frozen(&before, &after) <= FREEZE_LIMIT_S, "{after:#}");
    assert!(frozen(&fast_before, &fast_after) <= FREEZE_LIMIT_S / 3.0, "{fast_after:#}");
    assert_eq!(fast_after["width"], 960, "it keeps the best");
    assert_no_complaints(&[&publisher, &fast, &slow]);
}
