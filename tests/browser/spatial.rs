//! A publisher of one encoding with three spatial layers: viewers get smaller pictures of it, by
//! the menu and because their path carries no more, and all of it again.

use crate::layers::{choose, settled};
use crate::stage::Stage;
use crate::{PATIENCE, Tab, assert_no_complaints, frozen, stats};

/// Sizes of pictures, the smallest first.
type Sizes = [(u32, u32); 3];
const HALVES: Sizes = [(240, 135), (480, 270), (960, 540)];

/// How long the picture may stand altogether, on a machine that encodes and decodes three sizes.
const FREEZE_LIMIT_S: f64 = 2.0;
/// The same where a path becomes narrow: without smaller pictures it stands most of the time.
const NARROW_LIMIT_S: f64 = 15.0;

#[test]
fn a_viewer_gets_smaller_pictures_of_vp9_and_the_largest_again() {
    chooses("VP9", "L3T3_KEY", HALVES);
}

#[test]
fn a_viewer_gets_smaller_pictures_of_av1_and_the_largest_again() {
    chooses("AV1", "L3T3_KEY", HALVES);
}

/// Each picture is two thirds of the next one, as an `h` in the mode says, and all of them need one
/// another.
#[test]
fn smaller_pictures_are_as_large_as_the_publisher_says() {
    chooses("VP9", "L3T3h", [(432, 240), (648, 360), (972, 540)]);
}

/// A path does not carry all of the only encoding: smaller pictures come, and the largest again
/// when it is wide; another viewer notices nothing.
#[test]
fn a_viewer_whose_path_is_too_narrow_for_all_spatial_layers_gets_smaller_pictures() {
    let Some(stage) = Stage::set_with_bottleneck(2) else { return };
    let relay = stage.server.relay.as_ref().expect("it has one");
    let options = "source: 'pattern', codec: 'VP9', scalabilityMode: 'L3T3_KEY', \
                   width: 960, height: 540, maxBitrate: 1500000";
    let [publisher, fast, slow] = stage.publisher_and_viewers(("sizes", options), 6_000_000);
    println!("begins: 960 pixels after {:?}", settled(&slow, 960));
    let (before, fast_before) = (frozen(&slow), frozen(&fast));
    let sends = stage.layers()[0];
    relay.set_speed(sends * 6 / 10 + 100_000);
    println!("6/10 of {sends} b/s: {} pixels", smaller(&slow));
    std::thread::sleep(std::time::Duration::from_secs(3));
    println!("frozen {} s", frozen(&slow) - before);
    relay.set_speed(6_000_000);
    println!("960 again after {:?}, frozen {} s", settled(&slow, 960), frozen(&slow) - before);
    assert!(frozen(&slow) - before <= NARROW_LIMIT_S);
    assert!(frozen(&fast) - fast_before <= FREEZE_LIMIT_S);
    assert_eq!(stats(&fast)["width"], 960, "it keeps the largest");
    assert_no_complaints(&[&publisher, &fast, &slow]);
}

fn chooses(codec: &str, mode: &str, sizes: Sizes) {
    let Some(stage) = Stage::set_alone(2) else { return };
    let publisher = stage.tab("/publish");
    let (width, height) = sizes[2];
    publisher.eval(&format!(
        "monoport.publish({{ stream: 'sizes', source: 'camera', codec: '{codec}',
            scalabilityMode: '{mode}', width: {width}, height: {height}, maxBitrate: 1200000 }})"
    ));
    let (viewer, other) = (stage.viewer("sizes"), stage.viewer("sizes"));
    stage.assert_plays(&viewer);
    let options = "document.querySelectorAll('#layer option').length";
    viewer.wait_for("a menu of three sizes", &format!("{options} === 4"), PATIENCE);
    let [small, middle, large] = sizes.map(|(width, _)| width);
    settled(&viewer, large);
    let names = viewer.eval("[...document.querySelectorAll('#layer option')].map((o) => o.text)");
    let [low, mid, high] = sizes.map(|(_, height)| format!("{height}p"));
    assert_eq!(names, serde_json::json!(["Automatic", high, mid, low]));
    let before = frozen(&viewer);
    for (size, width) in [("S0", small), ("S2", large), ("S1", middle), ("S0", small)] {
        choose(&viewer, size);
        println!("{codec} {size}: {width} pixels after {:?}", settled(&viewer, width));
    }
    stage.assert_shows(&viewer);
    viewer.eval("monoport.choose({ spatialLayerId: 1 })");
    settled(&viewer, middle);
    viewer.eval("monoport.choose({})");
    println!("all again after {:?}", settled(&viewer, large));
    let frozen = frozen(&viewer) - before;
    println!("frozen for {frozen} s: {:#}", stats(&viewer));
    assert!(frozen <= FREEZE_LIMIT_S, "the picture stood for {frozen} s");
    assert_eq!(stats(&other)["width"], large, "the other keeps the largest");
    assert_no_complaints(&[&publisher, &viewer, &other]);
}

/// How wide frames are once they are smaller.
fn smaller(viewer: &Tab<'_>) -> u64 {
    viewer.wait_for(
        "smaller frames",
        "monoport.stats().then((s) => s.watch.width < 960)",
        PATIENCE,
    );
    stats(viewer)["width"].as_u64().expect("a number")
}
