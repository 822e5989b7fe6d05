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

/// By three publishers at once, of small pictures: each codec has its own way to say which frames
/// can be done without.
#[test]
fn a_viewer_gets_half_of_the_frames_and_a_quarter_and_all_again() {
    let Some(stage) = Stage::set_alone(2) else { return };
    let codecs = ["VP8", "VP9", "AV1"];
    let publishers = codecs.map(|codec| {
        let publisher = stage.tab("/publish");
        publisher.eval(&format!(
            "monoport.publish({{ stream: 'thin-{codec}', source: 'camera', codec: '{codec}',
                scalabilityMode: 'L1T3', width: 320, height: 180, maxBitrate: 400000 }})"
        ));
        publisher
    });
    let viewers = codecs.map(|codec| stage.viewer(&format!("thin-{codec}")));
    // A browser has six connections to a server, and each viewer's events take one.
    let other = [stage.viewer("thin-VP8")];
    viewers.iter().for_each(|viewer| stage.assert_plays(viewer));
    // Until it is known what its temporal layers are.
    std::thread::sleep(Duration::from_secs(3));
    let whole = frames_per_s_of(&viewers);
    let (before, asked) = (viewers.each_ref().map(frozen), stage.server.metric(REQUESTS));
    println!("{codecs:?}: {whole:.1?} frames a second");
    for (wish, least, most) in [
        ("temporalLayerId: 1", 0.35, 0.65),
        ("temporalLayerId: 0", 0.15, 0.35),
        ("temporalLayerId: 1", 0.35, 0.65),
        ("temporalLayerId: 0", 0.15, 0.35),
        ("", 0.7, 1.5),
    ] {
        for viewer in &viewers {
            viewer.eval(&format!("monoport.choose({{ {wish} }})"));
        }
        let (took, rates) = settled_each(&viewers, whole.map(|all| (least * all, most * all)));
        println!("{{{wish}}}: {rates:.1?} frames a second after {took:?}");
    }
    println!("the other: {:.1} frames a second", frames_per_s(&other[0]));
    let requests = stage.server.metric(REQUESTS) - asked;
    for (at, codec) in codecs.into_iter().enumerate() {
        let stood = frozen(&viewers[at]) - before[at];
        println!("{codec}: frozen for {stood} s: {:#}", stats(&viewers[at]));
        assert!(stood <= FREEZE_LIMIT_S, "the picture of {codec} stood for {stood} s");
    }
    assert!(requests < 1.0, "{requests} key frames were asked for");
    let all = publishers.iter().chain(&viewers).chain(&other);
    assert_no_complaints(&all.collect::<Vec<_>>());
    choose_in_the_sheet(&stage);
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

/// Whoever looks at the dashboard chooses how many frames a viewer gets of the only picture.
fn choose_in_the_sheet(stage: &Stage) {
    let menu = "document.querySelectorAll('#detail-layer option').length === 4";
    let page = stage.viewers_sheet(7, menu);
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
fn settled(viewer: &Tab<'_>, wanted: (f64, f64)) -> (Duration, f64) {
    let (took, [rate]) = settled_each(std::array::from_ref(viewer), [wanted]);
    (took, rate)
}

/// The same of several viewers: until each of them has had as many as it is to.
fn settled_each<const N: usize>(
    viewers: &[Tab<'_>; N],
    wanted: [(f64, f64); N],
) -> (Duration, [f64; N]) {
    let since = Instant::now();
    let mut settled = [None; N];
    loop {
        let rates = frames_per_s_of(viewers);
        for ((settled, rate), (least, most)) in settled.iter_mut().zip(rates).zip(wanted) {
            *settled = settled.or((least..=most).contains(&rate).then_some(rate));
        }
        if settled.iter().all(Option::is_some) {
            return (since.elapsed(), settled.map(|rate| rate.expect("looked at just now")));
        }
        let shown = viewers.each_ref().map(stats);
        assert!(since.elapsed() < PATIENCE, "{rates:?}, and not {wanted:?}: {shown:#?}");
    }
}

fn frames_per_s(viewer: &Tab<'_>) -> f64 {
    frames_per_s_of(std::array::from_ref(viewer))[0]
}

/// Those of several viewers, in the same two seconds.
fn frames_per_s_of<const N: usize>(viewers: &[Tab<'_>; N]) -> [f64; N] {
    let count = |viewer: &Tab<'_>| {
        (Instant::now(), stats(viewer)["framesDecoded"].as_f64().expect("a count"))
    };
    let before = viewers.each_ref().map(count);
    std::thread::sleep(Duration::from_secs(2));
    let after = viewers.each_ref().map(count);
    std::array::from_fn(|at| {
        let ((since, first), (now, last)) = (before[at], after[at]);
        (last - first) / (now - since).as_secs_f64()
    })
}
