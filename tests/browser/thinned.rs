//! A publisher of one encoding with three temporal layers: viewers get a half or a quarter of its
//! frames, and all of them again, without a break.

use crate::stage::Stage;
use crate::{PATIENCE, Tab, assert_no_complaints, frozen, stats};
use serde_json::Value;
use std::time::{Duration, Instant};

const REQUESTS: &str = "monoport_keyframe_requests_in_total";
/// How long the picture may stand altogether, on a machine that has other work.
const FREEZE_LIMIT_S: f64 = 1.0;
/// The same where a path becomes narrow: without fewer frames it stands most of the time.
const NARROW_LIMIT_S: f64 = 10.0;

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

/// A path does not carry all of the only encoding: fewer frames come, and all of them again when it
/// is wide; another viewer notices nothing.
#[test]
fn a_viewer_whose_path_is_too_narrow_for_the_only_layer_gets_fewer_frames_of_it() {
    let Some(stage) = Stage::set_with_bottleneck(2) else { return };
    let relay = stage.server.relay.as_ref().expect("it has one");
    let options = "source: 'pattern', codec: 'VP8', scalabilityMode: 'L1T3', \
                   width: 640, height: 360, maxBitrate: 1500000";
    let [publisher, fast, slow] = stage.publisher_and_viewers(("thin", options), 5_000_000);
    std::thread::sleep(Duration::from_secs(4));
    let whole = frames_per_s(&fast);
    println!("at first {:.1} of {whole:.1} frames a second", frames_per_s(&slow));
    println!("all of them after {:?}", settled(&slow, (0.85 * whole, 1.5 * whole)).0);
    let (before, fast_before) = (frozen(&slow), frozen(&fast));
    let sends = stage.layers()[0];
    let narrow = sends * 85 / 100 + 100_000;
    relay.set_speed(narrow);
    // Fewer frames come of a full queue as well.
    println!("{narrow} b/s for {sends}: thinned after {:?}", thinned(&stage));
    settled(&slow, (0.15 * whole, 0.65 * whole));
    std::thread::sleep(Duration::from_secs(3));
    println!("{:.1} frames a second, frozen {} s", frames_per_s(&slow), frozen(&slow) - before);
    relay.set_speed(5_000_000);
    println!("all again after {:?}", settled(&slow, (0.85 * whole, 1.5 * whole)).0);
    println!("frozen {} s, {:#}", frozen(&slow) - before, stats(&slow));
    assert!(frozen(&slow) - before <= NARROW_LIMIT_S);
    assert!(frozen(&fast) - fast_before <= FREEZE_LIMIT_S);
    assert_no_complaints(&[&publisher, &fast, &slow]);
}

fn thins(codec: &str) {
    let Some(stage) = Stage::set_alone(2) else { return };
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
        let (took, rate) = settled(&viewer, (least * whole, most * whole));
        println!("{{{wish}}}: {rate:.1} frames a second after {took:?}");
    }
    println!("the other: {:.1} frames a second", frames_per_s(&other));
    let (frozen, requests) = (frozen(&viewer) - before, stage.server.metric(REQUESTS) - asked);
    println!("frozen for {frozen} s, {requests} key frames asked for: {:#}", stats(&viewer));
    assert!(frozen <= FREEZE_LIMIT_S, "the picture stood for {frozen} s");
    assert!(requests < 1.0, "{requests} key frames were asked for");
    assert_no_complaints(&[&publisher, &viewer, &other]);
    if codec == "VP8" {
        choose_in_the_sheet(&stage);
    }
}

/// Whoever looks at the dashboard chooses how many frames a viewer gets of the only picture.
fn choose_in_the_sheet(stage: &Stage) {
    let menu = "document.querySelectorAll('#detail-layer option').length === 4";
    let page = stage.viewers_sheet(3, menu);
    let names =
        page.eval("[...document.querySelectorAll('#detail-layer option')].map((o) => o.text)");
    let names: Vec<&str> = names.as_array().expect("some").iter().flat_map(Value::as_str).collect();
    assert_eq!(names[..2], ["Automatic", "All frames"]);
    assert!(names[2..].iter().all(|name| name.ends_with(" frames a second")), "{names:?}");
    page.eval(
        "(() => { const menu = document.querySelector('#detail-layer');
            menu.value = JSON.stringify({ encodingId: '0', temporalLayerId: 0 });
            menu.dispatchEvent(new Event('change')); })()",
    );
    let words = "document.querySelector('#detail-numbers [data-row=layer] dd')?.textContent";
    let told = "0 up to temporal layer 0. It was asked for by name.";
    page.wait_for("fewer frames, and why", &format!("{words} === '{told}'"), PATIENCE);
    let chosen = "document.querySelector('#detail-layer').selectedIndex === 3";
    page.wait_for("what was chosen in the menu", chosen, PATIENCE);
    assert_no_complaints(&[&page]);
}

/// How long it takes until a viewer has not all temporal layers of what it gets.
fn thinned(stage: &Stage) -> Duration {
    let get = |path: &str| -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/sessions{path}", stage.server.http_port);
        let mut response = ureq::get(&url).call().expect("the sessions");
        let text = response.body_mut().read_to_string().expect("text");
        serde_json::from_str(&text).expect("JSON")
    };
    let since = Instant::now();
    loop {
        let sessions = get("");
        let all = sessions["sessions"].as_array().expect("a list").iter();
        let layers = all.map(|session| {
            let id = session["id"].as_str().expect("its name");
            get(&format!("/{id}"))["layer"].clone()
        });
        let layers: Vec<Value> = layers.collect();
        if layers.iter().any(|layer| layer["got_temporal_layer"].is_u64()) {
            return since.elapsed();
        }
        assert!(since.elapsed() < PATIENCE, "nobody has fewer frames: {layers:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// How long it takes until so many frames a second are decoded, and how many those are.
fn settled(viewer: &Tab<'_>, (least, most): (f64, f64)) -> (Duration, f64) {
    let since = Instant::now();
    loop {
        let rate = frames_per_s(viewer);
        if (least..=most).contains(&rate) {
            return (since.elapsed(), rate);
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
