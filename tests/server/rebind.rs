//! A NAT forgets some viewers within a second: each plays on at its new address, and nobody else
//! notices. The big one is `monoport-load run --viewers 1000 --rebind 200`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A server that is killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server with `steering`; `None`, with the reason printed, where that is not to be had.
fn start(steering: &str) -> Option<(Server, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--no-auth", "--bind", "127.0.0.1", "--udp-port", "0", "--http", "127.0.0.1:0"])
        .args(["--shards", "2", "--gather", "0", "--no-tcp", "--steering", steering])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut url = None;
    for line in stdout.lines().map_while(Result::ok) {
        if let Some(page) = line.trim().strip_prefix("page") {
            url = Some(page.trim().to_owned());
        }
        if line.starts_with("ready") {
            break;
        }
    }
    match url {
        Some(url) => Some((Server(child), url)),
        None => {
            let said = child.wait_with_output().expect("it has ended").stderr;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains("CAP_BPF"), "with the privilege it starts: {said}");
            eprintln!("{steering} steering is not tested: {said}");
            None
        }
    }
}

/// The load tool's report of 100 viewers of whom 20 move.
fn report(url: &str, steering: &str) -> serde_json::Value {
    let file = format!("monoport-rebind-{steering}-{}", std::process::id());
    let json = std::env::temp_dir().join(file);
    Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", url, "--viewers", "100", "--rebind", "20", "--rebind-at", "500ms"])
        .args(["--video-kbps", "100", "--fps", "10", "--ramp", "50", "--duration", "8s"])
        .args(["--threads", "1", "--max-p99-ms", "60000"])
        .args(["--json".as_ref(), json.as_os_str()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the load tool starts");
    let text = std::fs::read_to_string(&json).expect("it wrote its report");
    let _ = std::fs::remove_file(&json);
    serde_json::from_str(&text).expect("the report is JSON")
}

fn each_plays_on(steering: &str) {
    let Some((_server, url)) = start(steering) else { return };
    let report = report(&url, steering);
    assert_eq!(report["sessions_connected"], 101, "{report:#}");
    let moved = &report["rebind"];
    assert_eq!((&moved["viewers"], &moved["playing_on"]), (&20.into(), &20.into()), "{report:#}");
    assert!(report["late_for_a_move"].as_u64() > Some(0), "the old addresses were in use");
    // The other eighty.
    assert_eq!(report["packets_received"], report["packets_expected"], "{report:#}");
    assert!(report["packets_received"].as_u64() > Some(80 * 50), "{report:#}");
    println!("{steering}: gaps in ms {}", moved["gap_ms"]);
}

#[test]
fn viewers_whose_address_changes_play_on_by_hash() {
    each_plays_on("hash");
}

#[test]
fn viewers_whose_address_changes_play_on_by_ebpf() {
    each_plays_on("ebpf");
}
