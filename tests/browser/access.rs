//! What the pages say of tokens and of cameras that are not there.

use crate::devtools::Tab;
use crate::stage::Stage;
use crate::{PATIENCE, assert_no_complaints, says};
use serde_json::{Value, json};

/// A machine without the devices that `getUserMedia` is asked for.
const NO_CAMERA: &str = "navigator.mediaDevices.getUserMedia = async () => {
    throw new DOMException('Requested device not found', 'NotFoundError');
}";

/// The least choice of the page: what is looked at is no picture.
const SMALLER: &str = "document.querySelector('#size').value = '640x360'";

#[test]
fn wrong_token_is_called_wrong() {
    let Some(stage) = Stage::set_with_options(&["--token=right".to_owned()]) else { return };
    let page = stage.tab("/publish?source=pattern");
    page.eval(SMALLER);
    page.eval("monoport.publish().catch(() => {})");
    page.wait_for("the question", &says("#publish", "asks for a token"), PATIENCE);
    assert_eq!(page.eval("document.activeElement.id"), "token");
    enter(&page, "wrong");
    page.wait_for("the verdict", &says("#publish", "The token is wrong"), PATIENCE);
    enter(&page, "right");
    let live = "document.querySelector('#publish').dataset.state === 'live'";
    page.wait_for("the stream to go on air", live, PATIENCE);

    let viewer = stage.tab("/watch/demo#token=wrong");
    viewer.wait_for("the verdict", &says("#watch", "The token is wrong"), PATIENCE);
    assert_eq!(viewer.eval("location.hash"), "", "it is taken out of sight");
    enter(&viewer, "right");
    stage.assert_shows(&viewer);
    let home = stage.tab("/");
    let asks = "!document.querySelector('#token-form').hidden && monoport.streams().length === 0";
    home.wait_for("the question on the home page", asks, PATIENCE);
    enter(&home, "right");
    home.wait_for("the list", "monoport.streams()[0]?.name === 'demo'", PATIENCE);
    for tab in [&page, &viewer, &home] {
        assert_eq!(tab.eval("localStorage.length + document.cookie.length"), 0, "kept in the tab");
        let complaints = tab.complaints();
        let unexpected: Vec<&String> =
            complaints.iter().filter(|c| !c.contains("status of 401")).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }
}

fn enter(page: &Tab<'_>, token: &str) {
    page.eval(&format!(
        "(() => {{
            const input = document.querySelector('#token');
            input.value = '{token}';
            input.dispatchEvent(new Event('input'));
            input.focus();
        }})()"
    ));
    page.press("Enter");
}

/// Nothing goes out in place of the camera until somebody says so.
#[test]
fn missing_camera_is_said_and_what_to_send_instead_is_asked() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/publish");
    page.eval(NO_CAMERA);
    page.eval("document.querySelector('#start').click()");
    page.wait_for("the words", &says("#publish", "No camera was found"), PATIENCE);
    let sent = "monoport.stats().then((s) => s.publish)";
    assert_eq!(page.eval(sent), Value::Null);
    let live = "fetch('/live').then((r) => r.json()).then(({ streams }) => streams)";
    assert_eq!(page.eval(live), json!([]), "nothing is published in its place");
    let answers = "[...document.querySelectorAll('#instead button')].map((b) => b.textContent)";
    let offered = json!(["Try again", "Share the screen", "Sound alone", "Test pattern"]);
    assert_eq!(page.eval(answers), offered);
    page.eval("[...document.querySelectorAll('#instead button')].at(-1).click()");
    let on_air = "document.querySelector('#publish').dataset.state === 'live'";
    page.wait_for("the pattern that was chosen", on_air, PATIENCE);
    assert_eq!(page.eval("document.querySelector('input[name=source]:checked').value"), "pattern");
    assert_no_complaints(&[&page]);
}

/// A microphone that is not there is said, too, and the picture goes out.
#[test]
fn missing_microphone_is_said_and_the_picture_goes_out() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/publish");
    page.eval(
        "(() => {
            const devices = navigator.mediaDevices;
            const open = devices.getUserMedia.bind(devices);
            devices.getUserMedia = async (wanted) => {
                if (wanted.audio) throw new DOMException('not found', 'NotFoundError');
                return open(wanted);
            };
        })()",
    );
    page.eval("monoport.publish({ stream: 'mute', width: 640, height: 360 })");
    page.wait_for("the words", &says("#publish", "No microphone was found"), PATIENCE);
    assert_eq!(page.eval("document.querySelector('#publish').dataset.state"), "live");
    let viewer = stage.viewer("mute");
    stage.assert_shows(&viewer);
    assert_no_complaints(&[&page, &viewer]);
}

/// Three layers are sent where simulcast is asked for, and the viewer plays one of them.
#[test]
fn simulcast_from_the_page_plays() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/publish");
    page.eval(
        "monoport.publish({ stream: 'three', source: 'camera', width: 640, height: 360,
            simulcast: true, maxBitrate: 1000000 })",
    );
    let viewer = stage.viewer("three");
    stage.assert_shows(&viewer);
    let layers = "fetch('/api/v1/streams').then((r) => r.json()).then(({ streams }) =>
        streams[0].layers.filter(({ kind }) => kind === 'video').length > 1)";
    page.wait_for("more than one layer", layers, PATIENCE);
    assert_no_complaints(&[&page, &viewer]);
}

/// A token to watch does not publish, and the page says that it is this token's fault.
#[test]
fn token_without_the_right_is_said_to_lack_it() {
    let options = ["--publish-token=send".to_owned(), "--watch-token=see".to_owned()];
    let Some(stage) = Stage::set_with_options(&options) else { return };
    let page = stage.tab("/publish?source=pattern#token=see");
    page.eval(SMALLER);
    page.eval("monoport.publish().catch(() => {})");
    page.wait_for("the words", &says("#publish", "This token may not publish “demo”"), PATIENCE);
    enter(&page, "send");
    let live = "document.querySelector('#publish').dataset.state === 'live'";
    page.wait_for("the stream to go on air", live, PATIENCE);
    let viewer = stage.tab("/watch/demo#token=send");
    viewer.wait_for("the words", &says("#watch", "This token may not watch “demo”"), PATIENCE);
    enter(&viewer, "see");
    stage.assert_shows(&viewer);
}
