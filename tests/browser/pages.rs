//! The pages that people open: what is live, the page to publish, the player alone and in a frame.

use crate::devtools::Tab;
use crate::stage::Stage;
use crate::{PATIENCE, SMALL, assert_no_complaints, says, stats};
use serde_json::{Value, json};
use std::time::Duration;

/// A desk, a phone upright, a phone on its side.
const SCREENS: [(u32, u32); 3] = [(1280, 720), (360, 640), (640, 360)];

/// One stays, the other says so: today's alternative is that each takes it back from the other.
#[test]
fn of_two_pages_with_one_name_the_first_stops_and_says_so() {
    let Some(stage) = Stage::set(2) else { return };
    let publish = format!("monoport.publish({{ stream: 'one', {SMALL} }})");
    let first = stage.tab("/publish");
    first.eval(&publish);
    let viewer = stage.viewer("one");
    stage.assert_shows(&viewer);
    let second = stage.tab("/publish");
    second.eval(&publish);
    let said = says("#publish", "has taken over “one”");
    first.wait_for("the first page to say that it was replaced", &said, PATIENCE);
    let named = "/publisher \\(session \\d+-\\d+-\\d+\\) has/\
                 .test(document.querySelector('#publish .notice').textContent)";
    assert_eq!(first.eval(named), true, "and by whom");
    // Long enough for a page that tries again to have done so.
    std::thread::sleep(Duration::from_secs(5));
    let state = "document.querySelector('#publish').dataset.state";
    assert_eq!(first.eval(state), "failed");
    assert_eq!(second.eval(state), "live");
    assert_eq!(first.eval("document.querySelector('#start').textContent"), "Publish");
    let sent = "monoport.stats().then((s) => s.publish)";
    assert_eq!(first.eval(sent), Value::Null, "the first has no connection any more");
    stage.assert_shows(&viewer);
    let publishers = "fetch('/api/v1/sessions?role=publisher').then((r) => r.json())
        .then(({ sessions }) => sessions.length)";
    assert_eq!(second.eval(publishers), 1);
    assert_no_complaints(&[&second, &viewer]);
}

#[test]
fn publisher_comes_back_to_its_name_when_nobody_has_taken_it() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'mine', {SMALL} }})"));
    stage.server.restart();
    let lost = "document.querySelector('#publish').dataset.state !== 'live'";
    publisher.wait_for("the loss to be noticed", lost, PATIENCE);
    let back = "document.querySelector('#publish').dataset.state === 'live'";
    publisher.wait_for("the publisher to come back", back, Duration::from_secs(60));
}

#[test]
fn home_lists_what_is_live_and_leads_to_the_player() {
    let Some(stage) = Stage::set(1) else { return };
    let home = stage.tab("/");
    let nobody = "!document.querySelector('#nobody').hidden && monoport.streams().length === 0";
    home.wait_for("words for an empty list", nobody, PATIENCE);
    let publisher = stage.tab("/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'seen', {SMALL} }})"));
    let viewer = stage.viewer("seen");
    stage.assert_shows(&viewer);
    home.show();
    let row = "document.querySelector('#streams li')?.innerText.replace(/\\s+/g, ' ')";
    let told = format!("/^seen 640×360 · 1 viewer · for \\d+ s Copy link$/.test({row})");
    home.wait_for("the stream with its picture and viewers", &told, PATIENCE);
    let link = home.eval("document.querySelector('#streams a').href");
    let address = format!("http://127.0.0.1:{}/watch/seen", stage.server.http_port);
    assert_eq!(link, address.as_str());
    home.eval("document.querySelector('#streams a').click()");
    let player = "location.pathname === '/watch/seen' && Boolean(window.monoport?.stats)";
    home.wait_for("the player", player, PATIENCE);
    stage.assert_shows(&home);
    publisher.eval("monoport.stop()");
    let other = stage.tab("/");
    other.wait_for("the stream to be gone from the list", nobody, PATIENCE);
    assert_no_complaints(&[&home, &publisher, &viewer, &other]);
}

#[test]
fn links_of_earlier_versions_lead_on() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/?stream=old&publish=pattern");
    let on_air = "document.querySelector('#publish')?.dataset.state === 'live'";
    publisher.wait_for("the page to publish", on_air, PATIENCE);
    let viewer = stage.tab("/?stream=old&watch=1");
    let plays = "location.pathname === '/watch/old' && \
                 document.querySelector('#watch')?.dataset.state === 'live'";
    viewer.wait_for("the player", plays, PATIENCE);
}

/// A page of another origin frames the player, and may use the module; no other page is framed.
#[test]
fn embedded_player_plays_in_a_page_of_another_site() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'framed', {SMALL} }})"));
    let server = format!("http://127.0.0.1:{}", stage.server.http_port);
    let page = stage.tab_elsewhere();
    let frame = |path: &str| {
        format!(
            "(() => {{
                const frame = document.createElement('iframe');
                frame.allow = 'autoplay; fullscreen; picture-in-picture';
                frame.src = '{server}{path}';
                document.body.replaceChildren(frame);
            }})()"
        )
    };
    page.eval(&frame("/embed/framed?controls=0&muted=1"));
    let watched = format!(
        "fetch('{server}/live?name=framed').then((r) => r.json())
            .then(({{ streams }}) => streams[0]?.viewers === 1)"
    );
    page.wait_for("the framed viewer", &watched, PATIENCE);
    let sent = stage.server.metric("monoport_viewer_packets_total");
    std::thread::sleep(Duration::from_secs(3));
    assert!(stage.server.metric("monoport_viewer_packets_total") > sent + 30.0);
    assert_no_complaints(&[&publisher]);
    // The same by the module, without a frame.
    page.eval(&format!(
        "(async () => {{
            const {{ watch }} = await import('{server}/monoport.js');
            const video = document.createElement('video');
            Object.assign(video, {{ muted: true, autoplay: true }});
            document.body.replaceChildren(video);
            window.session = watch({{ stream: 'framed', video }});
        }})()"
    ));
    let plays = "session.state === 'live' && session.firstFrameMs > 0 && \
                 document.querySelector('video').videoWidth === 640";
    page.wait_for("the picture by the module", plays, PATIENCE);
    page.eval("session.stop()");
    let complaints = page.complaints();
    // That page has no icon.
    let unexpected: Vec<&String> = complaints.iter().filter(|c| !c.contains("favicon")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    page.eval(&frame("/watch/framed"));
    std::thread::sleep(Duration::from_secs(1));
    let said = page.complaints().join("\n");
    assert!(said.contains("frame-ancestors"), "only the player for pages is framed: {said}");
}

#[test]
fn frame_ancestors_limit_who_may_show_the_player() {
    let options = ["--frame-ancestors=self,https://example.org".to_owned()];
    let Some(stage) = Stage::set_with_options(&options) else { return };
    let page = stage.tab("/publish");
    let policy = |path: &str| {
        page.eval(&format!("fetch('{path}').then((r) => r.headers.get('Content-Security-Policy'))"))
    };
    let embed = policy("/embed/x");
    let embed = embed.as_str().expect("a policy");
    assert!(embed.ends_with("frame-ancestors 'self' https://example.org"), "{embed}");
    let alone = policy("/watch/x");
    assert!(alone.as_str().is_some_and(|p| p.ends_with("frame-ancestors 'none'")), "{alone}");
    let elsewhere = stage.tab_elsewhere();
    elsewhere.eval(&format!(
        "(() => {{
            const frame = document.createElement('iframe');
            frame.src = 'http://127.0.0.1:{}/embed/x';
            document.body.replaceChildren(frame);
        }})()",
        stage.server.http_port
    ));
    std::thread::sleep(Duration::from_secs(1));
    let said = elsewhere.complaints().join("\n");
    assert!(said.contains("frame-ancestors"), "another site may not: {said}");
}

/// What is asked for when the player's sound may not play by itself is told by a button on it.
#[test]
fn player_has_sound_size_and_stop_at_hand() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'held', {SMALL} }})"));
    let viewer = stage.tab("/watch/held");
    stage.assert_shows(&viewer);
    let label = |id: &str| viewer.eval(&format!("document.querySelector('#{id}').ariaLabel"));
    assert_eq!(label("mute"), "Mute");
    viewer.eval("document.querySelector('#mute').click()");
    assert_eq!(viewer.eval("document.querySelector('video').muted"), true);
    assert_eq!(label("mute"), "Turn sound on");
    viewer.eval(
        "(() => {
            const volume = document.querySelector('#volume');
            volume.value = '30';
            volume.dispatchEvent(new Event('input'));
        })()",
    );
    let heard = "[document.querySelector('video').muted, document.querySelector('video').volume]";
    assert_eq!(viewer.eval(heard), json!([false, 0.3]));
    viewer.eval("document.querySelector('#stop').click()");
    assert_eq!((label("stop"), stats(&viewer)), ("Play".into(), Value::Null));
    viewer.eval("document.querySelector('#play').click()");
    stage.assert_shows(&viewer);
    assert_no_complaints(&[&publisher, &viewer]);
}

#[test]
fn pages_fit_every_screen_with_picture_and_buttons_in_sight() {
    let Some(stage) = Stage::set(1) else { return };
    let publish = stage.tab("/publish");
    let player = stage.tab("/watch/nobody?autoplay=0");
    let home = stage.tab("/");
    for page in [&publish, &player, &home] {
        for width in [320, 390, 800, 1280] {
            page.set_width(width);
            let overflow =
                "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(page.eval(overflow), 0, "the page is wider than a window of {width} px");
        }
        let elsewhere = "performance.getEntriesByType('resource').map((r) => r.name)\
                         .filter((name) => !name.startsWith(location.origin + '/'))";
        assert_eq!(page.eval(elsewhere), json!([]));
        assert_no_complaints(&[page]);
    }
    for (page, wanted) in [(&publish, "video, #start"), (&player, "video, #bar button, #volume")] {
        for (width, height) in SCREENS {
            page.set_size(width, height);
            let outside = page.eval(&format!(
                "[...document.querySelectorAll('{wanted}')].filter((e) => !e.hidden)
                    .map((e) => [e.id || e.tagName, e.getBoundingClientRect()])
                    .filter(([, r]) => r.width < 20 || r.top < 0 || r.left < 0 ||
                        r.bottom > innerHeight + 0.5 || r.right > innerWidth + 0.5)
                    .map(([name, r]) => `${{name}} ${{r.bottom}} ${{r.right}}`)"
            ));
            assert_eq!(outside, json!([]), "at {width}×{height}");
        }
    }
}

/// Lines to copy name the stream, and the flags that programs need.
#[test]
fn lines_for_other_programs_follow_the_name() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/publish");
    type_name(&page, "my-show");
    let lines = page.eval("[...document.querySelectorAll('code')].map((e) => e.textContent)");
    let lines: Vec<&str> = lines.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let whip = format!("http://127.0.0.1:{}/whip/my-show", stage.server.http_port);
    assert!(lines.contains(&whip.as_str()), "OBS: {lines:#?}");
    let ffmpeg = lines.iter().find(|line| line.starts_with("ffmpeg ")).expect("its line");
    assert!(ffmpeg.contains(" -pix_fmt yuv420p ") && ffmpeg.ends_with(&whip), "{ffmpeg}");
    assert!(!ffmpeg.contains("-whip_flags"), "8.0 does not know it: {ffmpeg}");
    let gstreamer = |line: &&str| line.starts_with("gst-launch-1.0 ") && line.contains(&whip);
    assert!(lines.iter().any(gstreamer), "{lines:#?}");
    page.eval(
        "Object.defineProperty(navigator, 'clipboard',
            { value: { writeText: async (text) => { window.copied = text; } } });
         document.querySelector('#programs button').click()",
    );
    page.wait_for("the copy", &format!("window.copied === '{whip}'"), PATIENCE);
    assert_no_complaints(&[&page]);
}

fn type_name(page: &Tab<'_>, name: &str) {
    page.eval(&format!(
        "(() => {{
            const input = document.querySelector('#stream');
            input.value = '{name}';
            input.dispatchEvent(new Event('input'));
            input.focus();
        }})()"
    ));
}

#[test]
fn enter_starts_publishing() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/publish?source=pattern");
    type_name(&page, "by-key");
    page.press("Enter");
    let live = "document.querySelector('#publish').dataset.state === 'live'";
    page.wait_for("the stream to go on air", live, PATIENCE);
    let home = stage.tab("/");
    home.eval("document.querySelector('#stream').value = 'by-key'");
    home.eval("document.querySelector('#stream').focus()");
    home.press("Enter");
    home.wait_for("the player", "location.pathname === '/watch/by-key'", PATIENCE);
}

/// Both ends ask for both channels; what the browser makes of it is in its own description.
#[test]
fn both_pages_ask_for_stereo() {
    const KEEP: &str = "window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...options) { super(...options); window.connection = this; }
    }";
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(KEEP);
    publisher.eval(&format!("monoport.publish({{ stream: 'wide', {SMALL} }})"));
    let viewer = stage.tab("/watch/wide?autoplay=0");
    viewer.eval(KEEP);
    viewer.eval("monoport.watch()");
    stage.assert_shows(&viewer);
    let opus =
        "connection.localDescription.sdp.match(/a=rtpmap:(\\d+) opus[^]*?a=fmtp:\\1 (.*)/)[2]";
    for (tab, wanted) in [(&publisher, "sprop-stereo=1"), (&viewer, "stereo=1")] {
        let said = tab.eval(opus);
        assert!(said.as_str().is_some_and(|s| s.split(';').any(|p| p == wanted)), "{said}");
    }
    assert_no_complaints(&[&publisher, &viewer]);
}

/// Every page, its files and what it asks for are found under a path.
#[test]
fn pages_work_under_a_base_path() {
    let options = ["--base-path=/tv/live".to_owned()];
    let Some(stage) = Stage::set_with_options(&options) else { return };
    let publisher = stage.tab("/tv/live/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'based', {SMALL} }})"));
    let on_air = "document.querySelector('#publish')?.dataset.state === 'live'";
    publisher.wait_for("the stream to go on air", on_air, PATIENCE);
    // Without the slash it leads to where relative names hold.
    let home = stage.tab("/tv/live");
    home.wait_for("the list", "monoport.streams()[0]?.name === 'based'", PATIENCE);
    assert_eq!(home.eval("location.pathname"), "/tv/live/");
    let dashboard = stage.tab("/tv/live/dashboard");
    dashboard.wait_for("the live numbers", "monoport.state() === 'live'", PATIENCE);
    home.eval("document.querySelector('#streams a').click()");
    let player = "location.pathname === '/tv/live/watch/based' && Boolean(window.monoport?.stats)";
    home.wait_for("the player", player, PATIENCE);
    stage.assert_shows(&home);
    for page in [&publisher, &home, &dashboard] {
        let outside = "performance.getEntriesByType('resource').map((r) => r.name)
            .filter((name) => !name.startsWith(`${location.origin}/tv/live/`))";
        assert_eq!(page.eval(outside), json!([]), "asked for outside the path");
    }
    assert_no_complaints(&[&publisher, &home, &dashboard]);
}
