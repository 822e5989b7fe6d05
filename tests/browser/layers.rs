//! A viewer of three layers is told which one it gets, and sees one stream without a break.

use crate::stage::Stage;
use crate::{PATIENCE, Tab, assert_no_complaints, stats};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The longest the picture may stand altogether, on a machine that has other work: a switch that
/// waits for a key frame stands longer than all of these.
const FREEZE_LIMIT_S: f64 = 1.0;
/// Key frames a viewer may ask for, likewise.
const REQUESTS_LIMIT: f64 = 1.0;
const REQUESTS: &str = "monoport_keyframe_requests_in_total";
const SWITCHES: &str = "monoport_layer_switches_total";

/// Low, high and low again, from the page's menu: the size that was asked for comes, no picture
/// stands, and no viewer asks for a key frame.
#[test]
fn a_viewer_goes_from_layer_to_layer_without_a_break() {
    let Some(stage) = Stage::set_alone(2) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(
        "window.pcs = [];
         window.RTCPeerConnection = class extends RTCPeerConnection {
            constructor(...of) { super(...of); window.pcs.push(this); }
         }; 0",
    );
    publisher.eval(
        "monoport.publish({ stream: 'three', source: 'camera', codec: 'VP8', simulcast: true,
            width: 960, height: 540, maxBitrate: 1500000 })",
    );
    let viewer = stage.viewer("three");
    stage.assert_plays(&viewer);
    let options = "document.querySelectorAll('#layer option').length";
    viewer.wait_for("a menu of three layers", &format!("{options} === 4"), PATIENCE);
    // Whoever chooses nothing comes to the best one first.
    settled(&viewer, 960);
    let (before, asked) = (stats(&viewer), stage.server.metric(REQUESTS));
    for (encoding, width) in [("q", 240), ("f", 960), ("q", 240), ("h", 480)] {
        choose(&viewer, encoding);
        let took = settled(&viewer, width);
        println!("{encoding}: {width} pixels after {took:?}");
    }
    let after = stats(&viewer);
    let count = |numbers: &Value, name: &str| numbers[name].as_f64().expect("a number");
    let gained = |name: &str| count(&after, name) - count(&before, name);
    let frozen = gained("freezeSeconds");
    println!("frozen for {frozen} s, {} times; {after:#}", gained("freezeCount"));
    assert!(frozen <= FREEZE_LIMIT_S, "the picture stood for {frozen} s: {after:#}");
    assert!(stage.server.metric(SWITCHES) >= 4.0);
    let requests = stage.server.metric(REQUESTS) - asked;
    println!("{requests} key frames asked for by the viewer");
    assert!(requests <= REQUESTS_LIMIT, "the viewer asked for {requests} key frames");
    stage.assert_shows(&viewer);
    viewer.eval("monoport.choose({ maxHeight: 200 })");
    settled(&viewer, 480);
    viewer.eval("monoport.choose({})");
    settled(&viewer, 960);
    assert_no_complaints(&[&publisher, &viewer]);
    let refused = viewer.eval("monoport.choose({ encodingId: 'x' }).catch((e) => e.message)");
    let refused = refused.as_str().expect("words");
    assert!(refused.contains("q, h, f"), "it says which there are: {refused}");
    the_menu_says_what_does_not_come(&publisher, &viewer);
    choose_in_the_sheet(&stage, &viewer);
}

/// The publisher's browser sends the largest of the layers, or none of it.
fn sends_the_largest(publisher: &Tab<'_>, sends: bool) {
    publisher.eval(&format!(
        "(async () => {{
            const sender = window.pcs.at(-1).getSenders().find((s) => s.track.kind === 'video');
            const parameters = sender.getParameters();
            parameters.encodings.find(({{ rid }}) => rid === 'f').active = {sends};
            await sender.setParameters(parameters);
        }})()"
    ));
}

/// A layer of which nothing comes stays in the menu, with the reason, and can't be chosen.
fn the_menu_says_what_does_not_come(publisher: &Tab<'_>, viewer: &Tab<'_>) {
    let options = "JSON.stringify([...document.querySelectorAll('#layer option')]
        .map(({ text, disabled }) => [text, disabled]))";
    let all = |largest: &str| {
        format!(r#"{options} === '[["Automatic",false],{largest},["270p",false],["135p",false]]'"#)
    };
    sends_the_largest(publisher, false);
    let silent = all(r#"["540p: not sent at present",true]"#);
    viewer.wait_for("the reason in the menu", &silent, PATIENCE);
    settled(viewer, 480);
    sends_the_largest(publisher, true);
    viewer.wait_for("the layer again", &all(r#"["540p",false]"#), PATIENCE);
    settled(viewer, 960);
}

/// Whoever looks at the dashboard chooses for a viewer, and is told what it gets and why.
fn choose_in_the_sheet(stage: &Stage, viewer: &Tab<'_>) {
    let menu = "document.querySelectorAll('#detail-layer option').length === 4 && \
                document.querySelector('#detail-layer').value === '{}'";
    let page = stage.viewers_sheet(2, menu);
    page.eval(
        "(() => { const menu = document.querySelector('#detail-layer');
            menu.value = JSON.stringify({ encodingId: 'q' });
            menu.dispatchEvent(new Event('change')); })()",
    );
    settled(viewer, 240);
    let words = "document.querySelector('#detail-numbers [data-row=layer] dd')?.textContent";
    let told = format!("{words} === 'q. It was asked for by name.'");
    page.wait_for("the layer and why", &told, PATIENCE);
}

/// Chooses in the menu, as somebody would.
pub fn choose(viewer: &Tab<'_>, encoding: &str) {
    viewer.eval(&format!(
        "(() => {{ const menu = document.querySelector('#layer');
            menu.value = JSON.stringify({{ encodingId: '{encoding}' }});
            menu.dispatchEvent(new Event('change')); }})()"
    ));
}

/// How long it takes until frames have this width.
pub fn settled(viewer: &Tab<'_>, width: u32) -> Duration {
    let since = Instant::now();
    let is_so = format!("monoport.stats().then((s) => s.watch.width === {width})");
    viewer.wait_for("frames of another size", &is_so, PATIENCE);
    since.elapsed()
}
