//! The dashboard in a real Chromium while five hundred sessions play: its numbers are those of
//! `/metrics` and of the load generator, it can be used by keyboard and on a phone, and it asks for
//! the admin token.

use crate::devtools::Tab;
use crate::stage::{Server, Stage};
use crate::{PATIENCE, assert_no_complaints};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const VIEWERS: u64 = 499;
const SESSIONS: u64 = VIEWERS + 1;
/// How long the load measures once all sessions are up: twice what the looks at the page take.
const LOAD_SECONDS: u64 = 25;
/// Set-up of the sessions, on a machine with other work.
const RAMP_PATIENCE: Duration = Duration::from_secs(90);
/// The time over which packets are compared.
const COMPARED_MS: f64 = 5_000.0;
/// The page knows rates of whole seconds, so at both ends of a window less than one is uncertain.
const UNCERTAIN_SECONDS: f64 = 1.5;
/// Draws of the page, of which many make it slow to use.
const PAINTS_PER_SECOND: f64 = 20.0;

/// For the page: a number by its element, a column of a table by its heading.
const READERS: &str = "window.value = (id) => Number(document.getElementById(id).dataset.value);
    window.column = (table, heading) => {
        const headings = [...document.querySelectorAll(`${table} thead th`)];
        const at = headings.findIndex((th) => th.textContent === heading);
        const rows = [...document.querySelectorAll(`${table} tbody tr`)];
        return rows.map((row) => Number(row.children[at].dataset.value));
    };
    window.sum = (numbers) => numbers.reduce((a, b) => a + b, 0);";

#[test]
fn dashboard_agrees_with_metrics_and_load() {
    let Some(stage) = Stage::set_alone(2) else { return };
    let page = stage.tab("/dashboard");
    page.set_width(1440);
    page.eval(READERS);
    page.wait_for("the live numbers", "monoport.state() === 'live'", PATIENCE);
    let load = Load::start(&stage.server);
    let all_up = format!("value('sessions-connected') === {SESSIONS}");
    page.wait_for("all sessions to be connected", &all_up, RAMP_PATIENCE);

    assert_totals(&page, &stage.server);
    assert_packets(&page, &stage.server);
    assert_keyboard_reaches_a_session(&page);
    assert_quick(&page);
    assert_fits(&page);

    let report = load.end();
    assert_eq!(report["sessions_connected"], SESSIONS, "{report:#}");
    assert_eq!(report["loss_ratio"], 0.0, "{report:#}");
    page.wait_for("the sessions to go", "value('sessions-total') === 0", PATIENCE);
    let elsewhere = "performance.getEntriesByType('resource').map((r) => r.name)\
                     .filter((name) => !name.startsWith(location.origin + '/'))";
    assert_eq!(page.eval(elsewhere), json!([]));
    assert_no_complaints(&[&page]);
}

#[test]
fn dashboard_asks_for_the_admin_token() {
    let Some(stage) = Stage::set_guarded("let-me-look") else { return };
    let page = stage.tab("/dashboard");
    let asks = "!document.querySelector('#token-entry').hidden";
    page.wait_for("the question for the token", asks, PATIENCE);
    let focus = "document.activeElement.id";
    assert_eq!(page.eval(focus), "token");
    assert_eq!(page.eval("document.querySelector('#everything').hidden"), true);
    let enter = |token: &str| {
        page.eval(&format!("document.querySelector('#token').value = '{token}'"));
        page.press("Enter");
    };
    enter("something-else");
    let emptied = format!("{asks} && document.querySelector('#token').value === ''");
    page.wait_for("the question to come again", &emptied, PATIENCE);
    enter("let-me-look");
    let shows = "monoport.state() === 'live' && document.querySelector('#token-entry').hidden && \
                 document.querySelector('#sessions-total').dataset.value === '0'";
    page.wait_for("the numbers", shows, PATIENCE);
    assert_eq!(page.eval("localStorage.length + document.cookie.length"), 0, "kept in the tab");
    let unexpected: Vec<String> =
        page.complaints().into_iter().filter(|c| !c.contains("status of 401")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

/// A server that goes away is said to, and comes back by itself.
#[test]
fn dashboard_says_when_numbers_are_old() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/dashboard");
    page.wait_for("the live numbers", "monoport.state() === 'live'", PATIENCE);
    stage.server.end();
    let says = "['stale', 'unreachable'].includes(monoport.state()) && \
                document.querySelector('#trouble').textContent.includes('the last that came')";
    page.wait_for("words for the silence", says, PATIENCE);
    stage.server.restart();
    let back = "monoport.state() === 'live' && document.querySelector('#trouble').hidden";
    page.wait_for("the numbers to come back", back, Duration::from_secs(60));
}

/// A node of a cluster lists those it knows, itself first of all, and says where it is alone.
#[test]
fn dashboard_lists_the_nodes_and_says_that_one_serves_alone() {
    // Nobody has a directory on the port for what is to be discarded.
    let cluster = ["--cluster=redis://127.0.0.1:9", "--node=fra-1", "--zone=fra"];
    let Some(stage) = Stage::set_with_options(&cluster.map(str::to_owned)) else { return };
    let page = stage.tab("/dashboard");
    let shown = "!document.querySelector('#nodes').hidden && \
                 !document.querySelector('#nodes-notice').hidden";
    page.wait_for("the nodes", shown, PATIENCE);
    let notice = page.eval("document.querySelector('#nodes-notice').textContent");
    assert_eq!(notice, "The directory does not answer: fra-1 serves alone.");
    let said = "document.querySelector('#verdict').textContent.includes('The directory of nodes')";
    page.wait_for("the verdict", said, PATIENCE);
    let text = "((one) => document.querySelector(one).innerText.replace(/\\s+/g, ' ').trim())";
    let none = page.eval(&format!("{text}('#links .empty')"));
    assert_eq!(none, "No stream comes from another node, or goes to one.");
    // What goes from node to node, as a server would tell it.
    let told = r#"{"node":"fra-1","directory":"answers","refused":null,"nodes":[],"links":[
        {"stream":"s","node":"ams-1","direction":"in","packets":12345,"repaired":6,"lost":2,
         "round_trip_ms":12.5,"layers":[{"layer":"q","state":"comes"},
         {"layer":"f","state":"loses"}]}]}"#;
    let shown = page.eval(&format!(
        "import('/dashboard/nodes.js').then(async ({{ Nodes }}) => {{
            await new Nodes({{ get: async () => ({told}) }}).refresh();
            const cells = document.querySelectorAll('#links tbody tr:first-child > *');
            return [...cells].map((cell) => cell.textContent).join(' ');
        }})"
    ));
    let row = "s ams-1 fra-1 12,345 6 2 12.5 ms q, f left out: the way loses too much";
    assert_eq!(shown, row);
    assert_no_complaints(&[&page]);
}

/// The stream of events may be cut anywhere on its way.
#[test]
fn dashboard_reads_events_however_they_are_cut() {
    let Some(stage) = Stage::set(1) else { return };
    let page = stage.tab("/dashboard");
    let read = page.eval(
        "import('/dashboard/sse.js').then(({ EventReader }) => {
            const text = ': alive\\n\\nevent: status\\r\\ndata: {\"a\":\\r\\ndata: 1}\\r\\n\\r\\n'
                + 'id: 7\\nevent:lost\\ndata:{\"count\":2}\\n\\ndata\\n\\n';
            const whole = JSON.stringify(new EventReader().read(text));
            const cut = Array.from({ length: text.length + 1 }, (_, at) => {
                const reader = new EventReader();
                const parts = [text.slice(0, at), text.slice(at)];
                return JSON.stringify(parts.flatMap((part) => reader.read(part)));
            });
            return { whole: JSON.parse(whole), differing: cut.filter((one) => one !== whole) };
        })",
    );
    let events = json!([
        { "name": "status", "data": "{\"a\":\n1}" },
        { "name": "lost", "data": "{\"count\":2}" },
        { "name": "message", "data": "" },
    ]);
    assert_eq!(read, json!({ "whole": events, "differing": [] }));
    let endless = page.try_eval(
        "import('/dashboard/sse.js').then(({ EventReader }) => {
            const reader = new EventReader();
            for (let i = 0; i < 20; i++) reader.read('data: ' + 'x'.repeat(1 << 20));
        })",
    );
    assert!(endless.is_err_and(|why| why.contains("no end")), "an endless event is given up");
    assert_no_complaints(&[&page]);
}

/// Sessions and streams equal those of the metrics, and parts add up to their whole.
fn assert_totals(page: &Tab<'_>, server: &Server) {
    // Ports count a session when its shard has taken it in.
    let settled = format!("sum(column('#ports', 'Sessions')) === {SESSIONS}");
    page.wait_for("the ports' sessions", &settled, PATIENCE);
    let said = page.eval(
        "({ total: value('sessions-total'), publishers: value('sessions-publishers'),
            viewers: value('sessions-viewers'), connecting: value('sessions-connecting'),
            streams: value('streams-total'), shards: sum(column('#shards', 'Sessions')),
            ports: sum(column('#ports', 'Sessions')),
            rows: column('#shards', 'Sessions').length })",
    );
    let metric = server.metric("monoport_sessions");
    assert_eq!(said["total"].as_f64(), Some(metric), "{said:#}");
    let expected = json!({ "total": SESSIONS, "publishers": 1, "viewers": VIEWERS, "connecting": 0,
        "streams": 1, "shards": SESSIONS, "ports": SESSIONS, "rows": 2 });
    assert_eq!(said, expected);
    // One look at the page is one moment: the shards' packets are the server's.
    let packets = page.eval(
        "[value('out-packets'), sum(column('#shards', 'Out /s')),
          value('in-packets'), sum(column('#shards', 'In /s'))]",
    );
    for (whole, parts) in [(0, 1), (2, 3)] {
        let of = |at: usize| packets[at].as_f64().expect("a rate");
        assert!((of(whole) - of(parts)).abs() <= 1.0 + of(whole) * 0.01, "{packets}");
    }
    page.wait_for(
        "every viewer's quality",
        &format!(
            "sum(['excellent', 'good', 'poor', 'lost'].map((l) => value(`quality-down-${{l}}`))) \
             === {VIEWERS}"
        ),
        PATIENCE,
    );
}

/// Packets of some seconds: by the page's rates, by the server's counters, and by the load.
fn assert_packets(page: &Tab<'_>, server: &Server) {
    let now = || page.eval("performance.now()").as_f64().expect("milliseconds");
    let counters = || {
        [
            server.metric("monoport_datagrams_out_total"),
            server.metric("monoport_datagrams_in_total"),
            server.metric("monoport_viewer_packets_total"),
        ]
    };
    let (from, before) = (now(), counters());
    page.wait_for(
        "some seconds of numbers",
        &format!("monoport.samples().at(-1).at > {}", from + COMPARED_MS),
        PATIENCE,
    );
    let (to, after) = (now(), counters());
    let seconds = (to - from) / 1_000.0;
    // A sample's rate holds from the sample before to its own moment.
    let seen = page.eval(&format!(
        "(() => {{
            const sums = {{ out: 0, in: 0, most: 0 }};
            monoport.samples().forEach((one, i, all) => {{
                const before = Math.max(all[i - 1]?.at ?? one.at, {from});
                const span = Math.max(0, Math.min(one.at, {to}) - before) / 1000;
                sums.out += one.outPackets * span;
                sums.in += one.inPackets * span;
                if (span > 0) sums.most = Math.max(sums.most, one.outPackets);
            }});
            return sums;
        }})()"
    ));
    let seen_of = |name: &str| seen[name].as_f64().expect("a number");
    let counted: Vec<f64> =
        after.iter().zip(before).map(|(after, before)| after - before).collect();
    for (name, counted) in [("out", counted[0]), ("in", counted[1])] {
        let most = if name == "out" { seen_of("most") } else { counted / seconds };
        let uncertain = most * UNCERTAIN_SECONDS + 20.0;
        let apart = (seen_of(name) - counted).abs();
        assert!(apart <= uncertain, "{name}: {counted} in {seconds} s, on the page {seen:#}");
    }
    // The load sends each viewer 5 frames a second, of one packet each.
    let media = VIEWERS as f64 * 5.0 * seconds;
    let apart = (counted[2] - media).abs();
    assert!(apart <= media / seconds * UNCERTAIN_SECONDS, "{} of {media} packets", counted[2]);
}

/// From the top of the page by Tab and Enter alone to a session's sheet, and back by Escape.
fn assert_keyboard_reaches_a_session(page: &Tab<'_>) {
    page.eval("document.activeElement.blur()");
    page.press("Tab");
    assert_eq!(page.eval("document.activeElement.className"), "skip");
    page.press("Enter");
    let rows = "document.querySelectorAll('#sessions tbody tr').length === 20";
    page.wait_for("a page of the sessions", rows, PATIENCE);
    let focused = "document.activeElement.closest('#sessions tbody a')?.textContent ?? null";
    let mut id = Value::Null;
    for _ in 0..10 {
        page.press("Tab");
        id = page.eval(focused);
        if id.is_string() {
            break;
        }
    }
    let id = id.as_str().expect("Tab reaches the first session of the list").to_owned();
    page.press("Enter");
    let text = |selector: &str| format!("document.querySelector('{selector}')?.textContent");
    let shown = format!(
        "document.querySelector('#detail').open && \
         {} === 'Session {id}' && Number.parseInt({}) > 0 && {}.includes('SRTP') && \
         document.querySelectorAll('#detail-timeline li').length > 0",
        text("#detail-title"),
        text("#detail-numbers [data-row=packets] dd"),
        text("#detail-numbers [data-row=security] dd"),
    );
    page.wait_for("the session's sheet", &shown, PATIENCE);
    let inside = "document.querySelector('#detail').contains(document.activeElement)";
    assert_eq!(page.eval(inside), true, "the focus goes to the sheet");
    page.press("Escape");
    page.wait_for("the sheet to close", "!document.querySelector('#detail').open", PATIENCE);
    assert_eq!(page.eval(focused), id.as_str(), "the focus is back where it was");
    let nameless = "[...document.querySelectorAll('input, select, button')]\
                    .filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel || \
                                     e.ariaHidden)).map((e) => e.id)";
    assert_eq!(page.eval(nameless), json!([]));
}

/// The page is not drawn more often than anyone can read, and filters reach the server.
fn assert_quick(page: &Tab<'_>) {
    let painted = page.eval(
        "(async () => {
            const [paints, at] = [monoport.paints, performance.now()];
            await new Promise((resolve) => setTimeout(resolve, 2000));
            return (monoport.paints - paints) / (performance.now() - at) * 1000;
        })()",
    );
    let painted = painted.as_f64().expect("a rate");
    assert!(painted > 0.0 && painted <= PAINTS_PER_SECOND, "{painted} draws a second");
    page.eval("document.activeElement.blur(); document.querySelector('#worst-up').click()");
    let filtered = "document.querySelectorAll('#sessions tbody tr').length === 1 && \
                    document.querySelector('#sessions tbody tr').innerText.includes('Publisher')";
    page.wait_for("the one publisher", filtered, PATIENCE);
}

fn assert_fits(page: &Tab<'_>) {
    for width in [320, 360, 390, 800, 1280, 1440] {
        page.set_width(width);
        let overflow =
            "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(page.eval(overflow), 0, "the page is wider than a window of {width} px");
    }
}

/// A run of the load generator; ended when dropped.
struct Load {
    child: Child,
    json: PathBuf,
}

impl Load {
    fn start(server: &Server) -> Load {
        let json = format!("monoport-dashboard-{}-{}", std::process::id(), server.http_port);
        let json = std::env::temp_dir().join(json);
        let child = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .env_remove("MONOPORT_TOKEN")
            .args(["run", "--url", &format!("http://127.0.0.1:{}", server.http_port)])
            .args(["--streams", "1", "--viewers", &VIEWERS.to_string()])
            .args(["--video-kbps", "20", "--fps", "5", "--ramp", "100", "--threads", "1"])
            .args(["--authenticate", "1/64", "--max-p99-ms", "60000"])
            .args(["--duration", &format!("{LOAD_SECONDS}s")])
            .args(["--json".as_ref(), json.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the load generator starts");
        Load { child, json }
    }

    /// Its report.
    fn end(mut self) -> Value {
        self.child.wait().expect("the load generator ends");
        let text = std::fs::read_to_string(&self.json).expect("it wrote its report");
        serde_json::from_str(&text).expect("the report is JSON")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.json);
    }
}
