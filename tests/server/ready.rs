//! Ready or not: draining on a signal, and a shard that does not turn.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, socket};
use crate::support::{PATIENCE, eventually, free_port, post_sdp, request};
use monoport::limits::MEDIA_USELESS_AFTER;
use str0m::format::Codec;
use str0m::media::Direction;

mod thread;

use thread::Stopped;

/// The server as a process of its own.
pub struct Process {
    child: Child,
    pub http: String,
}

impl Process {
    pub fn start(options: &[&str]) -> Process {
        Process::start_in(options, &[])
    }

    /// As [`Process::start`], with these variables in its environment.
    fn start_in(options: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monoport"));
        command.envs(environment.iter().copied());
        Process::spawn(command, options)
    }

    /// One that may have so many files open.
    pub fn start_with_files(files: usize, options: &[&str]) -> Process {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_monoport")]);
        Process::spawn(shell, options)
    }

    pub fn spawn(mut command: Command, options: &[&str]) -> Process {
        // The banner names no address of HTTP but the page's.
        let http = free_port().to_string();
        let mut child = command
            .args(["--http", &http, "--udp-port", "0", "--announce", "127.0.0.1", "--no-tcp"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("ready"))), "it starts");
        // What it says later goes nowhere, and must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Process { child, http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub fn signal(&self, name: &str) {
        // The shell has a `kill` of its own; the program is not everywhere.
        let kill = format!("kill {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().is_ok_and(|s| s.success()));
    }

    fn ready(&self) -> (u16, String) {
        let response = request("GET", &self.url("/readyz"), &[], "");
        (response.status, response.body)
    }

    /// Waits for its end; whether it ended well.
    pub fn ends_well(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An offer to publish.
fn offer() -> String {
    let offered = Offered::both(Codec::Vp8);
    let (_client, offer, _) = Client::offer(offered, Direction::SendOnly, socket());
    offer.to_sdp_string()
}

/// Sets up a session and returns its URL.
fn session(process: &Process) -> String {
    let made = post_sdp(&process.url("/whip/s"), &offer());
    assert_eq!(made.status, 201, "{}", made.body);
    process.url(made.header("location").expect("a Location"))
}

#[test]
fn a_signal_drains_and_the_last_session_ends_the_server() {
    let options = ["--shards", "1", "--drain-timeout", "600", "--setup-timeout", "300"];
    let mut process = Process::start(&options);
    assert_eq!(process.ready().0, 200);
    let first = session(&process);
    process.signal("-TERM");
    eventually("it is not ready any more", || process.ready().0 == 503);
    assert!(process.ready().1.contains("stopping"), "{}", process.ready().1);
    assert_eq!(request("GET", &process.url("/healthz"), &[], "").status, 200, "it lives");
    assert_eq!(request("GET", &first, &[], "").status, 204, "the session goes on");
    let status = request("GET", &process.url("/api/v1/status"), &[], "").body;
    assert!(status.contains("\"state\":\"draining\""), "{status}");
    assert_eq!(request("DELETE", &first, &[], "").status, 200);
    assert!(process.ends_well(), "the last session has ended, and so does it");
}

#[test]
fn while_it_drains_new_sessions_are_refused_and_a_second_signal_ends_it() {
    let options = ["--shards", "1", "--drain-timeout", "600", "--setup-timeout", "300"];
    let mut process = Process::start(&options);
    let _first = session(&process);
    process.signal("-INT");
    eventually("it is not ready any more", || process.ready().0 == 503);
    let refused = post_sdp(&process.url("/whip/t"), &offer());
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("retry-after").is_some(), "another server may take it");
    assert!(process.child.try_wait().expect("it is our child").is_none(), "it drains");
    // Two at the same moment are one.
    std::thread::sleep(Duration::from_millis(100));
    process.signal("-INT");
    assert!(process.ends_well());
}

#[test]
fn without_a_time_to_drain_a_signal_ends_it_at_once() {
    let mut process = Process::start(&["--shards", "1", "--setup-timeout", "300"]);
    let _first = session(&process);
    process.signal("-TERM");
    assert!(process.ends_well());
}

#[test]
fn a_shard_that_does_not_turn_is_told_of_until_it_turns_again() {
    let process = Process::start(&["--shards", "2"]);
    let Some(stopped) = Stopped::thread_of(process.child.id(), "shard-1") else {
        assert!(std::env::var_os("MONOPORT_REQUIRE_PTRACE").is_none(), "ptrace is required");
        eprintln!("not tested: ptrace(2) is not allowed here");
        return;
    };
    eventually("it is not ready any more", || process.ready().0 == 503);
    let words = process.ready().1;
    assert!(words.contains("shard 1") && !words.contains("shard 0"), "{words}");
    let shards = request("GET", &process.url("/api/v1/shards"), &[], "").body;
    let shards: serde_json::Value = serde_json::from_str(&shards).expect("JSON");
    let stuck = |shard: usize| shards["shards"][shard]["stuck"].as_bool();
    assert_eq!((stuck(0), stuck(1)), (Some(false), Some(true)));
    drop(stopped);
    eventually("it is ready again", || process.ready().0 == 200);
}

#[test]
fn a_service_manager_is_told_when_it_serves_that_it_lives_and_when_it_stops() {
    let folder = std::env::temp_dir().join(format!("monoport-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let manager = UnixDatagram::bind(&folder).expect("a socket in a folder of ours");
    manager.set_read_timeout(Some(PATIENCE)).expect("it takes one");
    let path = folder.to_str().expect("UTF-8");
    let mut process = Process::start_in(
        &["--shards", "1", "--drain-timeout", "600", "--setup-timeout", "300"],
        &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "200000")],
    );
    let heard = || {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).expect("it is told");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let hears = |words: &str| while !heard().starts_with(words) {};
    hears("READY=1");
    assert_eq!(process.ready().0, 200, "not before it serves");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    let first = session(&process);
    process.signal("-TERM");
    hears("STOPPING=1");
    hears("WATCHDOG=1");
    assert_eq!(request("DELETE", &first, &[], "").status, 200);
    assert!(process.ends_well());
    let _ = std::fs::remove_file(&folder);
}

#[test]
fn media_that_waited_while_the_process_was_stopped_is_dropped_and_nobody_is_ended_for_it() {
    let process = Process::start(&["--shards", "1"]);
    let mut load = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", &process.url(""), "--viewers", "3", "--duration", "12s"])
        .args(["--max-p99-ms", "60000", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the load generator runs");
    let number = |metric: &str| {
        let metrics = request("GET", &process.url("/metrics"), &[], "").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(metric));
        let line = line.unwrap_or_else(|| panic!("no {metric} in {metrics}"));
        line.trim().parse::<u64>().expect("a whole number")
    };
    let stale = "monoport_dropped_total{shard=\"0\",reason=\"waited_too_long\",stage=\"media\"}";
    let viewers = "monoport_viewers_ready{shard=\"0\"}";
    let out = "monoport_viewer_packets_total{shard=\"0\"}";
    eventually("three watch", || number(viewers) == 3 && number(out) > 100);
    assert_eq!(number(stale), 0);
    process.signal("-STOP");
    std::thread::sleep(MEDIA_USELESS_AFTER * 3);
    process.signal("-CONT");
    eventually("what waited is dropped", || number(stale) > 0);
    let before = number(out);
    eventually("and what comes is not", || number(out) > before + 100);
    assert_eq!(number(viewers), 3);
    let _ = load.kill();
    let _ = load.wait();
}
