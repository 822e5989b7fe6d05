//! The server's own page in a real Chromium, against the real binary.
//!
//! Needs a Chromium (`/usr/bin/chromium`, or the one named in `MONOPORT_BROWSER`). Without one the
//! tests say so and pass, unless `MONOPORT_REQUIRE_BROWSER=1`. Two of them run at a time, and those
//! that measure alone: each is a browser that encodes and decodes video, and on a small machine two
//! only measure each other.

#![expect(clippy::disallowed_types, reason = "a test may wait for its threads")]

mod access;
#[path = "../support/alone.rs"]
#[expect(dead_code, reason = "here a test is alone in a namespace, or not at all")]
mod alone;
mod axe;
#[path = "../support/coturn.rs"]
mod coturn;
mod dashboard;
mod devtools;
mod floor;
mod layers;
mod loss;
mod narrow;
mod pages;
mod pipe;
mod redundant;
mod relay;
mod spatial;
mod stage;
mod tcp;
mod thinned;
mod turn;
mod verdict;

#[path = "../support/namespace.rs"]
mod namespace;

use devtools::Tab;
use serde_json::Value;
use stage::Stage;
use std::time::{Duration, Instant};

const CODECS: [&str; 4] = ["VP8", "H264", "VP9", "AV1"];
/// How long anything may take that is a matter of a second on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Frames a viewer must decode in five seconds. The publisher makes 20 to 30 a second; a loaded
/// machine encodes fewer.
const FRAMES_IN_FIVE_SECONDS: u64 = 30;
/// A picture for tests of something else than pictures.
const SMALL: &str = "source: 'pattern', width: 640, height: 360";

#[test]
fn one_shard_plays_the_camera() {
    camera_plays(1);
}

#[test]
fn four_shards_play_the_camera() {
    camera_plays(4);
}

fn camera_plays(shards: usize) {
    let Some(stage) = Stage::set(shards) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval("monoport.publish({ stream: 'camera', source: 'camera' })");
    let viewer = stage.viewer("camera");
    stage.assert_plays(&viewer);
    // So long at least, for the freezes.
    std::thread::sleep(Duration::from_secs(4));
    assert_same_size(&publisher, &viewer);
    viewer.wait_for("sound", "monoport.stats().then((s) => s.watch.audioEnergy > 0)", PATIENCE);
    let numbers = stats(&viewer);
    let frozen = numbers["freezeSeconds"].as_f64().expect("seconds of freezes");
    assert!(frozen < 3.0, "the picture stood still for {frozen} s: {numbers:#}");
    stage.assert_udp_ports();
    assert_no_complaints(&[&publisher, &viewer]);
}

#[test]
fn test_pattern_starts_from_the_address_and_plays() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/publish?stream=pattern&source=pattern&start=1");
    page.wait_for(
        "the publisher",
        "monoport.stats().then((s) => s.publish?.framesEncoded > 0)",
        PATIENCE,
    );
    let viewer = stage.tab("/watch/pattern");
    stage.assert_shows(&viewer);
    assert_same_size(&page, &viewer);
    viewer.wait_for("the tone", "monoport.stats().then((s) => s.watch.audioEnergy > 0)", PATIENCE);
    // The numbers on the page are those of the connection.
    viewer.eval("document.querySelector('#numbers').click()");
    let shown = "document.querySelector('#sheet:not([hidden]) [data-row=resolution] dd')";
    let is_size = format!("{shown}?.textContent === '1280×720'");
    viewer.wait_for("the resolution on the page", &is_size, PATIENCE);
    assert_no_complaints(&[&page, &viewer]);
}

#[test]
fn every_codec_of_the_browser_plays() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    let menu = publisher.eval("[...document.querySelector('#codec').options].map((o) => o.value)");
    let offered: Vec<&str> = menu.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(offered.contains(&"VP8"), "a browser that cannot send VP8? It offers {offered:?}");
    for codec in CODECS {
        if !offered.contains(&codec) {
            println!("{codec}: this browser cannot send it, left out");
            continue;
        }
        // Small, so that the slowest encoder keeps up on a small machine.
        publisher.eval(&format!(
            "monoport.publish({{ stream: 'by-{codec}', source: 'pattern', codec: '{codec}', \
             width: 640, height: 360 }})"
        ));
        let viewer = stage.viewer(&format!("by-{codec}"));
        stage.assert_plays(&viewer);
        let numbers = stats(&viewer);
        assert_eq!(numbers["videoCodec"], codec, "{numbers:#}");
        println!("{codec}: {} frames decoded", numbers["framesDecoded"]);
        assert_no_complaints(&[&publisher, &viewer]);
    }
}

#[test]
fn viewer_survives_a_republish() {
    let Some(stage) = Stage::set(2) else { return };
    let publisher = stage.tab("/publish");
    let publish = format!("monoport.publish({{ stream: 'again', {SMALL} }})");
    publisher.eval(&publish);
    let viewer = stage.viewer("again");
    stage.assert_shows(&viewer);
    let connection = "monoport.stats().then((s) => s.watch.pair)";
    let before = viewer.eval(connection);
    publisher.eval("monoport.stop()");
    viewer.wait_for("the viewer to say that it waits", &says("#watch", "may be away"), PATIENCE);
    publisher.eval(&publish);
    stage.assert_plays(&viewer);
    assert_eq!(viewer.eval(connection), before, "the viewer had to connect anew");
    assert_no_complaints(&[&publisher, &viewer]);
}

/// Chromium has the dependency descriptor and does not offer it by itself. With it, the receiver
/// finds frames by their numbers alone, so those must go on when another publisher takes over.
#[test]
fn frames_with_dependency_descriptors_play_across_a_republish() {
    const OFFER_DESCRIPTORS: &str = "
        const create = RTCPeerConnection.prototype.createOffer;
        RTCPeerConnection.prototype.createOffer = function (...options) {
            globalThis.connection = this;
            for (const transceiver of this.getTransceivers()) {
                const extensions = transceiver.getHeaderExtensionsToNegotiate();
                for (const extension of extensions) {
                    const wanted = extension.uri.includes('dependency-descriptor');
                    if (wanted) extension.direction = 'sendrecv';
                }
                transceiver.setHeaderExtensionsToNegotiate(extensions);
            }
            return create.apply(this, options);
        };";
    const NEGOTIATED: &str = "connection.getTransceivers().some((t) =>
        t.getNegotiatedHeaderExtensions().some((e) =>
            e.uri.includes('dependency-descriptor') && e.direction !== 'stopped'))";
    let Some(stage) = Stage::set(2) else { return };
    let publisher = stage.tab("/publish");
    let viewer = stage.tab("/watch/described?autoplay=0");
    for tab in [&publisher, &viewer] {
        tab.eval(OFFER_DESCRIPTORS);
    }
    let publish = "monoport.publish({ stream: 'described', source: 'pattern', codec: 'VP9', \
                   width: 640, height: 360 })";
    publisher.eval(publish);
    viewer.eval("monoport.watch()");
    stage.assert_shows(&viewer);
    for tab in [&publisher, &viewer] {
        assert_eq!(tab.eval(NEGOTIATED), true, "the descriptor was taken");
    }
    publisher.eval("monoport.stop()");
    publisher.eval(publish);
    stage.assert_plays(&viewer);
    assert_no_complaints(&[&publisher, &viewer]);
}

#[test]
fn watcher_of_nothing_waits_in_words_and_then_plays() {
    let Some(stage) = Stage::set(1) else { return };
    let viewer = stage.tab("/watch/nobody");
    let words = says("#watch", "Nobody publishes “nobody” yet");
    viewer.wait_for("words for the wait", &words, PATIENCE);
    let publisher = stage.tab("/publish?stream=nobody&source=pattern&start=1");
    viewer.show();
    stage.assert_shows(&viewer);
    let unexpected: Vec<String> =
        viewer.complaints().into_iter().filter(|c| !c.contains("status of 409")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_no_complaints(&[&publisher]);
}

#[test]
fn joining_is_quick() {
    let Some(stage) = Stage::set_alone(2) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval("monoport.publish({ stream: 'quick', source: 'pattern' })");
    let viewer = stage.tab("/watch/quick?autoplay=0");
    let mut joins_ms: Vec<f64> = (0..5)
        .map(|_| {
            // Joins that follow one another more closely share key frames, and so wait for them.
            std::thread::sleep(Duration::from_secs(1));
            viewer.eval("monoport.watch()");
            let seen = "monoport.stats().then((s) => s.watch.firstFrameMs > 0)";
            viewer.wait_for("the first picture", seen, PATIENCE);
            let numbers = stats(&viewer);
            let took = numbers["firstFrameMs"].as_f64().expect("milliseconds");
            println!(
                "answered {:.0} ms, connected {:.0} ms, first picture {took:.0} ms after the POST",
                numbers["answeredMs"].as_f64().expect("milliseconds"),
                numbers["connectedMs"].as_f64().expect("milliseconds"),
            );
            viewer.eval("monoport.stop()");
            took
        })
        .collect();
    joins_ms.sort_by(f64::total_cmp);
    println!("POST to first picture: median {:.0} ms of {joins_ms:.0?}", joins_ms[2]);
    assert!(joins_ms[2] < 3_000.0, "five joins took {joins_ms:?} ms");
    assert_no_complaints(&[&publisher, &viewer]);
}

#[test]
fn both_roles_come_back_after_a_restart_of_the_server() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'restart', {SMALL} }})"));
    let viewer = stage.viewer("restart");
    stage.assert_shows(&viewer);
    stage.server.restart();
    for (tab, panel) in [(&publisher, "#publish"), (&viewer, "#watch")] {
        let again = format!("document.querySelector('{panel}').dataset.state !== 'live'");
        tab.wait_for("the loss to be noticed", &again, PATIENCE);
    }
    let back = "monoport.stats().then((s) => s.watch?.framesDecoded > 0)";
    viewer.wait_for("the stream to come back", back, Duration::from_secs(60));
    stage.assert_plays(&viewer);
}

#[test]
fn page_of_another_origin_may_begin_and_end_a_session() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab_elsewhere();
    let server = format!("http://127.0.0.1:{}", stage.server.http_port);
    let told = page.eval(&format!(
        "(async () => {{
            const pc = new RTCPeerConnection();
            pc.addTransceiver('video', {{ direction: 'sendonly' }});
            await pc.setLocalDescription();
            const headers = {{ 'Content-Type': 'application/sdp', Authorization: 'Bearer none' }};
            const body = pc.localDescription.sdp;
            const made = await fetch('{server}/whip/cors', {{ method: 'POST', headers, body }});
            await pc.setRemoteDescription({{ type: 'answer', sdp: await made.text() }});
            const [location, etag] = ['Location', 'ETag'].map((name) => made.headers.get(name));
            const session = new URL(location, made.url);
            const goodbye = {{ method: 'DELETE', headers: {{ 'If-Match': etag }} }};
            const ended = await fetch(session, goodbye);
            const gone = await fetch(session);
            pc.close();
            return {{ made: made.status, location, etag,
                     ended: ended.status, gone: gone.status }};
        }})()"
    ));
    assert_eq!(told["made"], 201, "{told:#}");
    assert!(told["location"].as_str().is_some_and(|l| l.starts_with("/session/")), "{told:#}");
    assert!(told["etag"].as_str().is_some_and(|tag| tag.starts_with('"')), "{told:#}");
    assert_eq!((&told["ended"], &told["gone"]), (&200.into(), &404.into()), "{told:#}");
}

fn stats(viewer: &Tab<'_>) -> Value {
    viewer.eval("monoport.stats().then((s) => s.watch)")
}

/// How long its picture has stood so far, in seconds.
fn frozen(viewer: &Tab<'_>) -> f64 {
    stats(viewer)["freezeSeconds"].as_f64().expect("a number")
}

/// An encoder may scale its picture down for a while; viewer and publisher must come to agree.
fn assert_same_size(publisher: &Tab<'_>, viewer: &Tab<'_>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sent = publisher.eval("monoport.stats().then(({ publish: p }) => [p.width, p.height])");
        let seen = viewer.eval("monoport.stats().then(({ watch: w }) => [w.width, w.height])");
        if sent == seen && sent[0].as_u64() > Some(0) {
            return;
        }
        assert!(Instant::now() < deadline, "the publisher sends {sent}, the viewer has {seen}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// An expression that is true once the panel's notice holds these words.
fn says(panel: &str, words: &str) -> String {
    format!("document.querySelector('{panel} .notice').textContent.includes('{words}')")
}

fn assert_no_complaints(tabs: &[&Tab<'_>]) {
    let complaints: Vec<String> = tabs.iter().flat_map(|tab| tab.complaints()).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
