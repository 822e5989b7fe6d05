//! The dashboard's first line: whether the server is well; and what can be done from there.

use crate::devtools::Tab;
use crate::stage::Stage;
use crate::{PATIENCE, assert_no_complaints};
use serde_json::{Value, json};

/// A server of which all is well, and the same some seconds on.
const WELL: &str = "
    window.well = () => ({
        status: {
            state: 'ready', started_at: 1, streams: 1,
            sessions: { total: 3, max: 100, publishers: 1, viewers: 2 },
            drops: [{ reason: 'no_viewers', total: 5, per_s: 0 }],
            failures: [{ reason: 'unheard', total: 3 }, { reason: 'no_room', total: 1 }],
            setup_ms: { count: 10 }, latency_us: { p99: 900 },
            quality: { up: { excellent: 1 }, down: { excellent: 12 } },
            memory: { terms: [{ name: 'counters', bytes: 9, budget_bytes: 9 },
                              { name: 'session_cards', bytes: 1, budget_bytes: 9 }] },
        },
        ports: { ports: [{ receive_drops: 7 }] },
        shards: { shards: [{ shard: 0, cpu_percent: 20, stuck: false }] },
    });
    window.judge = async (change) => {
        const { Verdict } = await import('./dashboard/verdict.js');
        const verdict = new Verdict();
        const [before, after] = [well(), well()];
        change(after);
        verdict.add(before, 0);
        verdict.add(after, 10_000);
        verdict.show('live', after, 10_000);
        verdict.show('live', after, 20_000);
        const words = document.querySelector('#verdict-words').textContent;
        const remedy = document.querySelector('#verdict-remedy').textContent;
        const tiles = [...document.querySelectorAll('.tile[data-level=wait]')].map((t) => t.id);
        return { level: document.querySelector('#verdict').dataset.level, words, remedy, tiles };
    };";

#[test]
fn verdict_names_each_condition_of_the_alerts_and_what_to_do() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/dashboard");
    let well = "document.querySelector('#verdict').dataset.level === 'good'";
    page.wait_for("a verdict on a server that idles", well, PATIENCE);
    let words = "document.querySelector('#verdict').textContent.replace(/\\s+/g, ' ').trim()";
    assert_eq!(page.eval(words), "All is well. Nobody publishes now.");
    // From here on the page is told by the test.
    page.eval("document.querySelector('#pause').click()");
    page.eval(WELL);
    assert_eq!(judge(&page, "")["level"], "good");
    for (change, level, said, tile) in [
        ("shards.shards[0].stuck = true", "bad", "Shard 0 stands still", ""),
        ("ports.ports[0].receive_drops = 50", "wait", "4.3 packets/s are lost", "tile-in"),
        ("status.drops.push({ reason: 'ring_full', total: 1 })", "wait", "mail", "tile-drops"),
        (
            "status.drops.push({ reason: 'send_queue_full', total: 1 })",
            "wait",
            "kernel",
            "tile-out",
        ),
        ("status.failures[0].total = 9", "wait", "100 % of the set-ups fail", "tile-connecting"),
        ("status.failures[1].total = 2", "wait", "1 sessions were refused", "tile-sessions"),
        ("status.sessions.total = 95", "wait", "95 % of the sessions", "tile-sessions"),
        ("status.quality.down.poor = 8", "wait", "to viewers are poor", "tile-out"),
        ("status.latency_us.p99 = 60000", "wait", "takes 60.0 ms or longer", "tile-latency"),
        ("status.latency_us.p99 = 6000000", "wait", "takes > 1 s or longer", "tile-latency"),
        ("shards.shards[0].cpu_percent = 97", "wait", "Shard 0 uses its whole core", ""),
        ("status.memory.terms[1].bytes = 9", "wait", "Memory for sessions", "tile-memory"),
        ("status.state = 'draining'", "wait", "The server is stopping", ""),
    ] {
        let judged = judge(&page, &format!("now.{change}"));
        assert_eq!(judged["level"], level, "{change}: {judged:#}");
        assert!(judged["words"].as_str().is_some_and(|w| w.contains(said)), "{change}: {judged:#}");
        assert_ne!(judged["remedy"], "", "{change}");
        let tiles = if tile.is_empty() { json!([]) } else { json!([tile]) };
        assert_eq!(judged["tiles"], tiles, "{change}");
    }
    assert_eq!(judge(&page, "now.status.drops[0].total = 500")["level"], "good", "nobody watches");
    assert_no_complaints(&[&page]);
}

fn judge(page: &Tab<'_>, change: &str) -> Value {
    page.eval(&format!("judge((now) => {{ {change} }})"))
}

/// A stream without viewers loses nothing; memory that is set aside at the start is not full.
#[test]
fn what_nobody_watches_is_not_dropped_and_fixed_memory_is_not_full() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher
        .eval("monoport.publish({ stream: 'alone', source: 'camera', width: 640, height: 360 })");
    let page = stage.tab("/dashboard");
    // Lists are asked for once they are in sight.
    page.set_size(1280, 3000);
    let value = |id: &str| format!("Number(document.querySelector('#{id}').dataset.value)");
    let unwatched = format!("{} > 5", value("unwatched-per-s"));
    page.wait_for("packets that nobody watches", &unwatched, PATIENCE);
    assert_eq!(page.eval(&value("drops-per-s")), 0);
    let by_shard = "document.querySelector('#shards tbody tr').lastElementChild.dataset.value";
    assert_eq!(page.eval(by_shard), "0");
    let part = page.eval(&value("memory-part"));
    assert!(part.as_f64().is_some_and(|part| part < 0.1), "{part}");
    let fixed = "[...document.querySelectorAll('#memory tbody tr')]
        .filter((row) => row.textContent.includes('fixed'))
        .map((row) => [row.children[0].textContent, row.querySelector('.bar').hidden])";
    let fixed = page.eval(fixed);
    assert!(fixed.as_array().is_some_and(|rows| rows.len() > 3), "{fixed}");
    assert!(fixed.as_array().unwrap().iter().all(|row| row[1] == true), "{fixed}");
    let link = "document.querySelector('#streams tbody a')?.getAttribute('href')";
    page.wait_for("the link to the player", &format!("{link} === 'watch/alone'"), PATIENCE);
    assert_no_complaints(&[&publisher, &page]);
}

#[test]
fn ports_open_and_drain_from_the_dashboard() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/dashboard");
    let rows = "[...document.querySelectorAll('#ports tbody tr')].map((r) => r.dataset.port)";
    page.wait_for("the ports", &format!("{rows}.length === 1"), PATIENCE);
    let port = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|s| s.local_addr());
    let port = port.expect("a free port").port();
    page.eval(&format!("document.querySelector('#new-port').value = '{port}'"));
    page.eval("document.querySelector('#new-port').focus()");
    page.press("Enter");
    page.wait_for("the new port", &format!("{rows}.includes('{port}')"), PATIENCE);
    page.eval(&format!("document.querySelector('#ports tr[data-port=\"{port}\"] .ends').click()"));
    let asks = format!(
        "document.querySelector('#sure').open && \
         document.querySelector('#sure-words').textContent.includes('Drain port {port}?')"
    );
    page.wait_for("the question", &asks, PATIENCE);
    page.eval("document.querySelector('#sure-yes').click()");
    page.wait_for("the port to be closed", &format!("!{rows}.includes('{port}')"), PATIENCE);
    assert_eq!(page.eval("document.querySelector('#sure').open"), false);
    assert_no_complaints(&[&page]);
}

/// Whoever is ended from the dashboard stays away, and is told why.
#[test]
fn a_stream_and_a_session_are_ended_from_the_dashboard() {
    let Some(stage) = Stage::set(1) else { return };
    let publisher = stage.tab("/publish");
    publisher
        .eval("monoport.publish({ stream: 'show', source: 'camera', width: 640, height: 360 })");
    let viewer = stage.viewer("show");
    stage.assert_shows(&viewer);
    let page = stage.viewers_sheet(2, "!document.querySelector('#detail-end').hidden");
    page.eval("document.querySelector('#detail-end').click()");
    let sure = |words: &str| {
        let asks = format!(
            "document.querySelector('#sure').open && \
             document.querySelector('#sure-words').textContent.startsWith('{words}')"
        );
        page.wait_for("the question", &asks, PATIENCE);
        page.eval("document.querySelector('#sure-yes').click()");
        page.wait_for("the answer", "!document.querySelector('#sure').open", PATIENCE);
    };
    sure("End session ");
    let ended = |panel: &str| {
        format!(
            "document.querySelector('{panel}').dataset.state === 'failed' && \
             document.querySelector('{panel} .notice').textContent.includes('administrator')"
        )
    };
    viewer.wait_for("the viewer to be told", &ended("#watch"), PATIENCE);
    assert_eq!(publisher.eval("document.querySelector('#publish').dataset.state"), "live");
    page.press("Escape");
    page.eval("document.querySelector('#streams tbody .ends').click()");
    sure("End the stream show?");
    publisher.wait_for("the publisher to be told", &ended("#publish"), PATIENCE);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let live = "fetch('/live').then((r) => r.json()).then(({ streams }) => streams)";
    assert_eq!(page.eval(live), json!([]), "nobody comes back by himself");
    assert_no_complaints(&[&page]);
}
