//! Whether people who do not see the pages, or see them otherwise, can use them: axe-core finds
//! nothing on any page, light and dark, at three sizes.
//!
//! Its file is `target/axe/node_modules/axe-core/axe.min.js`, where `.ci/run` puts it, or the one
//! named in `MONOPORT_AXE`. Without it the test says so and passes, unless
//! `MONOPORT_REQUIRE_AXE=1`.

use crate::PATIENCE;
use crate::stage::Stage;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What it found, each with where and why.
const FOUND: &str = "axe.run(document).then(({ violations }) => violations.map((one) =>
    `${one.id}: ${one.help}: ` + one.nodes.slice(0, 3).map((node) =>
        `${node.target} (${node.any[0]?.message ?? ''})`).join('; ')))";

fn axe() -> Option<String> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe/node_modules/axe-core");
    let beside = PathBuf::from(beside).join("axe.min.js");
    let path = std::env::var_os("MONOPORT_AXE").map_or(beside, PathBuf::from);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        let required = std::env::var("MONOPORT_REQUIRE_AXE").is_ok_and(|v| v == "1");
        assert!(!required, "MONOPORT_REQUIRE_AXE=1, and there is no {}", path.display());
        println!("no axe-core at {}: this test did not run", path.display());
    }
    text
}

#[test]
fn axe_finds_nothing_on_any_page() {
    let Some(axe) = axe() else { return };
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher
        .eval("monoport.publish({ stream: 'seen', source: 'camera', width: 640, height: 360 })");
    let viewer = stage.viewer("seen");
    stage.assert_shows(&viewer);
    let mut found = Vec::new();
    for (path, ready) in [
        ("/", "monoport.streams().length === 1"),
        ("/publish", "document.querySelectorAll('#programs code').length > 0"),
        ("/watch/seen", "document.querySelector('#watch').dataset.state === 'live'"),
        ("/watch/nobody", "!document.querySelector('#watch .notice').hidden"),
        ("/embed/seen?autoplay=0", "!document.querySelector('#play').hidden"),
        ("/dashboard", "document.querySelectorAll('#streams tbody tr').length === 1"),
    ] {
        let page = stage.tab(path);
        page.set_size(1280, 2400);
        page.wait_for(&format!("{path} to be filled"), ready, PATIENCE);
        page.eval(&format!("{axe}; 0"));
        for (width, height) in [(1280, 720), (360, 640), (640, 360)] {
            page.set_size(width, height);
            for scheme in ["light", "dark"] {
                page.set_scheme(scheme);
                let Value::Array(faults) = page.eval(FOUND) else { panic!("{path}: no list") };
                found.extend(faults.iter().map(|f| format!("{path} {width} {scheme}: {f}")));
            }
        }
    }
    assert_eq!(json!(found), json!([]));
}
