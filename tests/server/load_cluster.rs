//! The load generator across nodes that it starts itself: streams are published on one and watched
//! on all, and when it is over nothing of it is left.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::eventually;
use serde_json::Value;

/// `monoport-load cluster` with these options, or nothing where there is no Redis.
fn cluster(arguments: &[&str]) -> Option<Command> {
    let redis = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if let Err(error) = redis {
        let required = std::env::var("MONOPORT_REQUIRE_REDIS").is_ok_and(|value| value == "1");
        assert!(!required, "MONOPORT_REQUIRE_REDIS=1, and no redis-server: {error}");
        eprintln!("clusters are not tested: no redis-server: {error}");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_monoport-load"));
    command.arg("cluster").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

/// What is left of a run: its folder, and processes that were told of it.
fn left(pid: u32) -> Vec<PathBuf> {
    let folder = std::env::temp_dir().join(format!("monoport-cluster-{pid}"));
    let name = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("it is there").flatten();
    let of_run = processes.map(|entry| entry.path().join("cmdline")).filter(|path| {
        std::fs::read(path).is_ok_and(|words| String::from_utf8_lossy(&words).contains(&name))
    });
    let found = of_run.collect::<Vec<_>>();
    folder.exists().then_some(folder).into_iter().chain(found).collect()
}

/// Runs it and returns what it found.
fn run(name: &str, arguments: &[&str]) -> Option<Value> {
    let json = std::env::temp_dir().join(format!("monoport-load-{name}-{}", std::process::id()));
    let path = json.to_str().expect("a temporary folder's name is text");
    // What else is measured is the run's affair, which has tests of its own.
    let load = ["--json", path, "--", "--threads", "1", "--ramp", "100", "--video-kbps", "300"];
    let command = cluster(&[arguments, &load[..]].concat())?.spawn();
    let child = command.expect("the load generator starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(left(pid), Vec::<PathBuf>::new(), "{said}");
    let text = std::fs::read_to_string(&json).expect("it wrote what it found");
    let _ = std::fs::remove_file(&json);
    Some(serde_json::from_str(&text).expect("it is JSON"))
}

/// The subscriptions, each as node, stream and how many at once.
fn subscriptions(found: &Value) -> Vec<(String, String, u64)> {
    let each = found["subscriptions"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of = |one: &Value| {
        (text(&one["node"]), text(&one["stream"]), one["at_once"].as_u64().expect("a number"))
    };
    each.map(of).collect()
}

#[test]
fn viewers_of_all_nodes_lose_nothing_and_each_node_takes_each_stream_once() {
    let load = ["--nodes", "3", "--streams", "2", "--viewers", "2", "--duration", "2s"];
    let Some(found) = run("nodes", &load) else { return };
    let took = |node: &str, stream: &str| (node.to_owned(), stream.to_owned(), 1);
    let once = ["b", "c"].map(|node| ["load-0", "load-1"].map(|stream| took(node, stream)));
    assert_eq!(subscriptions(&found), once.concat(), "{found:#}");
    for node in found["nodes"].as_array().expect("a list") {
        assert_eq!(node["viewers"], 4, "{found:#}");
        assert_eq!(node["packets_received"], node["packets_expected"], "{found:#}");
        assert!(node["packets_received"].as_u64() > Some(100), "{found:#}");
        assert!(node["latency_us"]["p99"].as_u64() > Some(0), "{found:#}");
    }
    assert_eq!(found["total"]["sessions_connected"], 14, "{found:#}");
}

#[test]
fn what_ways_between_nodes_lose_is_repaired_and_a_node_that_is_killed_takes_none_along() {
    let load = ["--nodes", "3", "--streams", "1", "--viewers", "2", "--duration", "8s"];
    let faults = ["--loss", "2%", "--kill", "c@1s"];
    let Some(found) = run("faults", &[&load[..], &faults].concat()) else { return };
    let node = |place: usize| &found["nodes"][place];
    assert!(node(1)["lost_on_purpose"].as_u64() > Some(0), "{found:#}");
    assert_eq!(found["subscriptions"][0]["lost"], 0, "{found:#}");
    assert_eq!((&node(2)["node"], &node(2)["killed"]), (&"c".into(), &true.into()), "{found:#}");
    assert!(node(2)["packets_received"].as_u64() < node(2)["packets_expected"].as_u64());
    assert_eq!(node(1)["packets_received"], node(1)["packets_expected"], "{found:#}");
}

/// Ends it if a test fails before it has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn who_is_interrupted_leaves_nothing() {
    let Some(mut command) = cluster(&["--duration", "10m"]) else { return };
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(quiet.spawn().expect("the load generator starts"));
    let pid = running.0.id();
    // Its folder, and three nodes' processes.
    eventually("all run", || left(pid).len() >= 4);
    std::thread::sleep(Duration::from_millis(300));
    let kill = Command::new("kill").args(["-INT", &pid.to_string()]).status();
    assert!(kill.expect("kill(1) runs").success());
    eventually("it ends", || running.0.try_wait().expect("it is our child").is_some());
    assert_eq!(running.0.wait().expect("it ended").code(), Some(130));
    assert_eq!(left(pid), Vec::<PathBuf>::new());
}

#[test]
fn who_has_no_directory_is_told_what_to_install() {
    let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["cluster", "--redis", "/nonexistent/redis-server"])
        .output()
        .expect("the load generator starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/nonexistent/redis-server: No such file"), "{said}");
    assert!(said.contains("apt-get install redis-server"), "{said}");
}

/// What can't be meant or written is told at once: with this directory nothing could start.
#[test]
fn what_cannot_end_well_does_not_begin() {
    for (options, words) in [
        (&["--json", "/nope/x.json"][..], "--json /nope/x.json: No such file"),
        (&["--zones", "x,,y"], "zone 2 of --zones is empty"),
        (&["--kill", "b@30s", "--duration", "3s"], "that is after the end"),
        (&["--", "--bogus"], "unexpected argument '--bogus'"),
        (&["--", "--url", "http://127.0.0.1:1"], "--url behind `--`"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .args(["cluster", "--redis", "/nonexistent/redis-server"])
            .args(options)
            .output()
            .expect("the load generator starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
