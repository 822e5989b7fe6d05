//! What the screen shows, on a terminal made of memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::draw;
use crate::top::model::{Fetched, Model, View};

/// A server with a little of everything.
fn model() -> Model {
    let status = json!({
        "version": "0.1.0", "uptime_s": 10_921, "state": "draining", "shards": 2, "io": "mmsg",
        "steering": "ebpf", "cipher": "ring", "streams": 3,
        "sessions": {"total": 1_002, "publishers": 2, "viewers": 1_000, "connecting": 1},
        "in": {"packets_per_s": 350.0, "bits_per_s": 3_200_000.0},
        "out": {"packets_per_s": 320_000.0, "bits_per_s": 2.9e9},
        "drops": [
            {"reason": "waiting_for_keyframe", "total": 300, "per_s": 0.0},
            {"reason": "unknown_flow", "total": 100, "per_s": 5.0},
        ],
        "train_length_mean": 7.9, "batch_size_mean": 3.1,
        "latency_us": {"p50": 829, "p90": 1_327, "p99": 2_781, "max": 11_255},
        "quality": {"up": {"excellent": 2}, "down": {"good": 990, "lost": 10}},
        "setup_ms": {"p50": 63.0, "p90": 90.0, "p99": 146.0},
        "failures": [{"reason": "unheard", "total": 7}],
        "memory": {"rss_bytes": 519e6, "terms": [
            {"name": "histories", "bytes": 1.2e6, "budget_bytes": 2.4e6}]},
    });
    let ports = json!({"mode": "mux", "ports": [
        {"port": 7_882, "protocol": "udp", "state": "open", "sessions": 501,
         "packets_out_per_s": 160_000.0, "receive_drops": 4, "send_drops": 0},
        {"port": 7_883, "protocol": "udp", "state": "draining"},
    ], "auto": {"min": 1, "max": 4, "decisions": [
        {"at": 1.0, "action": "add", "port": 7_883, "why": "the socket of 7882 was full"}]}});
    let shards = json!({"shards": [
        {"shard": 0, "core": 0, "cpu_percent": 92.5, "turn_us": {"p99": 350.0}, "stuck": false},
        {"shard": 1, "core": 1, "cpu_percent": 1.0, "stuck": true},
    ]});
    let mut model = Model::new("http://127.0.0.1:7880", View::Overview);
    let base = (read(status), read(ports), read(shards));
    model.update(Fetched { base: Some(base), ..Fetched::default() });
    model
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("it has the form of the API")
}

fn press(model: &mut Model, code: KeyCode) {
    model.press(KeyEvent::new(code, KeyModifiers::NONE));
}

fn screen_of(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory suffices");
    terminal.draw(|frame| draw(frame, model)).expect("memory takes it");
    let buffer = terminal.backend().buffer();
    let line = |row: &[ratatui::buffer::Cell]| {
        row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
    };
    let lines = buffer.content().chunks(usize::from(width)).map(line);
    lines.collect::<Vec<_>>().join("\n")
}

fn screen(model: &Model) -> String {
    screen_of(model, 80, 24)
}

#[track_caller]
fn shows(screen: &str, words: &[&str]) {
    for word in words {
        assert!(screen.contains(word), "no {word:?} on:\n{screen}");
    }
}

#[test]
fn the_overview_fits_80_by_24() {
    let screen = screen(&model());
    shows(
        &screen,
        &[
            "monoport 0.1.0 draining for 3 h 2 min",
            "2 shards, mmsg, ebpf, ring",
            "in 350 pkt/s, 3.20 Mb/s",
            "out 320 k pkt/s, 2.90 Gb/s",
            "latency p50 829 µs, p99 2.78 ms",
            "1.00 k sessions, 1 connecting",
            "2 publishers, 1.00 k viewers, 3 streams",
            "set-up p50 63.0 ms, p99 146 ms",
            "up   2 excellent",
            "down 990 good 10 lost",
            "waiting_for_keyframe         300",
            "unheard",
            "memory 495 MiB",
            "50.0 %",
            "trains of 7.9 datagrams",
            "q quit",
        ],
    );
}

#[test]
fn each_view_has_its_table() {
    let mut model = model();
    press(&mut model, KeyCode::Char('2'));
    shows(&screen(&model), &["udp 7882", "160 k", "4/0", "draining", "1 to 4 of them"]);
    shows(&screen(&model), &["add 7883: the socket of 7882 was full"]);
    press(&mut model, KeyCode::Char('3'));
    shows(&screen(&model), &["92.5 %", "350 µs", "stuck"]);
    press(&mut model, KeyCode::Char('5'));
    shows(&screen(&model), &["waiting_for_keyframe", "75.0 %", "███████████████"]);
    press(&mut model, KeyCode::Tab);
    shows(&screen(&model), &["unheard", "100 %"]);
    assert!(model.wants().failures, "in words they are asked for when they are looked at");
    let failures = json!({"failures": [{"at": 1.0, "id": null, "stream": "demo",
        "role": "viewer", "words": "no check reached 198.51.100.7:7882"}]});
    model.update(Fetched { failures: Some(read(failures)), ..Fetched::default() });
    shows(&screen(&model), &["ago, viewer of demo: no check reached 198.51.100.7:7882"]);
}

#[test]
fn the_nodes_of_a_cluster_are_listed_and_who_is_alone_says_why() {
    let mut model = Model::new("http://127.0.0.1:7880", View::Nodes);
    assert!(model.wants().nodes && !self::model().wants().nodes, "only when looked at");
    model.update(Fetched { base: Some(Default::default()), ..Fetched::default() });
    shows(&screen(&model), &["7 Nodes", "asking for the nodes"]);
    let cluster = json!({"node": "fra-1", "directory": "answers", "refused": null, "nodes": [
        {"name": "fra-1", "zone": "fra", "version": "0.1.0", "http": "http://192.0.2.1:7880",
         "sessions": 1_200, "load": 0.251, "draining": false},
        {"name": "ams-1", "zone": null, "http": "http://192.0.2.2:7880", "sessions": 3,
         "load": 0.9, "draining": true}]});
    model.update(Fetched { cluster: Some(read(cluster)), ..Fetched::default() });
    shows(&screen(&model), &["fra-1", "alive", "1.20 k", "25.1 %", "http://192.0.2.1:7880"]);
    shows(&screen(&model), &["ams-1", "draining", "90.0 %"]);
    shows(&screen(&model), &["fra-1 is one of 2 nodes with 1.20 k sessions", "directory answers"]);
    shows(&screen(&model), &["no stream comes from another node, or goes to one"]);
    press(&mut model, KeyCode::Down);
    assert_eq!(model.selected, 1);

    let alone = json!({"node": "fra-1", "directory": "silent", "nodes": []});
    model.update(Fetched { cluster: Some(read(alone)), ..Fetched::default() });
    shows(&screen(&model), &["the directory does not answer: fra-1 serves alone"]);
    let refused = json!({"node": "fra-1", "directory": "refuses", "nodes": [],
        "refused": "the clock is 40 s off"});
    model.update(Fetched { cluster: Some(read(refused)), ..Fetched::default() });
    shows(&screen(&model), &["the directory refuses this node: fra-1 serves alone"]);
    shows(&screen(&model), &["not taken by the others: the clock is 40 s off"]);
    let none = json!({"node": "fra-1", "directory": "none", "nodes": []});
    model.update(Fetched { cluster: Some(read(none)), ..Fetched::default() });
    shows(&screen(&model), &["this server is no node of a cluster (--cluster)"]);
}

#[test]
fn links_of_a_node_are_listed_with_what_comes_by_them() {
    let mut model = Model::new("http://127.0.0.1:7880", View::Nodes);
    let node = |n: usize| json!({"name": format!("node-{n}"), "sessions": n});
    let link = |stream: &str, direction: &str| {
        json!({"stream": stream, "node": "ams-1", "direction": direction, "packets": 12_345,
               "repaired": 67, "lost": 8, "round_trip_ms": 12.5, "layers": [
                   {"layer": "q", "state": "comes"}, {"layer": "h", "state": "loses"}]})
    };
    let cluster = |nodes: usize| {
        json!({"node": "fra-1", "directory": "answers",
               "nodes": (0..nodes).map(node).collect::<Vec<_>>(),
               "links": [link("demo", "in"), link("other", "out")]})
    };
    let base = Some(Default::default());
    model.update(Fetched { base, cluster: Some(read(cluster(2))), ..Fetched::default() });
    let row = "demo           from ams-1          12.3 k      67       8  12.5 ms q, h loses";
    shows(&screen(&model), &["node-1", "from or to", row, "other          to ams-1"]);
    for _ in 0..9 {
        press(&mut model, KeyCode::Down);
    }
    assert_eq!(model.selected, 3, "the bar goes over both tables");
    let many = Fetched { cluster: Some(read(cluster(100))), ..Fetched::default() };
    model.update(many);
    shows(&screen(&model), &["node-0", "demo  ", "other  ", "one of 100 nodes"]);
}

#[test]
fn sessions_are_paged_and_opened() {
    let mut model = model();
    press(&mut model, KeyCode::Char('4'));
    shows(&screen(&model), &["asking for the sessions"]);
    let page = json!({"next": "c", "sessions": [
        {"id": "0-17-3", "stream": "demo", "role": "viewer", "state": "connected", "score": 12,
         "level": "lost", "loss_ratio": 0.31, "rtt_ms": 80.5, "bits_per_s": 2.5e6},
        {"id": "1-4-1", "stream": "demo", "role": "viewer", "state": "connecting"}]});
    let of = model.wants().page.expect("it is looked at");
    model.update(Fetched { page: Some((of, read(page))), ..Fetched::default() });
    let words =
        ["worst first, page 1, more behind it", "0-17-3", "31.0 %", "80.5 ms", "connecting"];
    shows(&screen(&model), &words);
    shows(&screen(&model), &["Enter open"]);

    press(&mut model, KeyCode::Enter);
    shows(&screen(&model), &["asking for session 0-17-3"]);
    let session = json!({"id": "0-17-3", "stream": "demo", "role": "viewer", "state": "ended",
        "created_at": 100.0, "remote": null, "codecs": {"audio": "opus", "video": null},
        "phases_ms": {"first_stun": 12.0, "dtls": 40.0, "first_media": null},
        "timeline": [{"at": 100.0, "what": "created"}, {"at": 100.25, "what": "connected"}],
        "history": [{"at": 105.0, "score": 90}, {"at": 110.0, "score": 12}],
        "ended": {"at": 111.0, "reason": "vanished", "words": "nothing came for 30 s"}});
    model.update(Fetched { session: Some(read(session)), ..Fetched::default() });
    let screen = screen(&model);
    shows(&screen, &["session 0-17-3", "opus –", "DTLS done", "40.0 ms", "+250 ms", "connected"]);
    shows(&screen, &["vanished: nothing came for 30 s", "Esc back"]);
}

#[test]
fn trouble_is_said_and_the_last_figures_stay() {
    let mut model = model();
    let trouble = Some("no answer from http://127.0.0.1:7880".to_owned());
    model.update(Fetched { trouble, ..Fetched::default() });
    shows(&screen(&model), &["no answer from http://127.0.0.1:7880", "320 k pkt/s", "q quit"]);
    let mut model = Model::new("http://127.0.0.1:7880", View::Overview);
    shows(&screen(&model), &["asking http://127.0.0.1:7880"]);
    model.update(Fetched { trouble: Some("refused".into()), ..Fetched::default() });
    for view in '1'..='7' {
        press(&mut model, KeyCode::Char(view));
        shows(&screen(&model), &["refused", "q quit"]);
    }
}

/// A terminal may be any size, and change while it is drawn on.
#[test]
fn no_size_is_too_small() {
    let mut model = model();
    model.trouble = Some("some words about what is wrong".into());
    for view in '1'..='7' {
        press(&mut model, KeyCode::Char(view));
        for (width, height) in [(1, 1), (2, 3), (5, 24), (80, 2), (20, 10), (300, 100)] {
            screen_of(&model, width, height);
        }
    }
}
