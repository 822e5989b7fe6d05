//! `monoport top` from outside: against a server that answers what a test tells it to, and against
//! the real one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::process::Process;
use crate::support::{eventually, free_port, post_sdp};

/// Answers HTTP requests one by one, for as long as the test runs.
fn fixture(answer: fn(path: &str, token: Option<&str>) -> (u16, &'static str)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("loopback connects"));
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                match stream.read_line(&mut line) {
                    Ok(0) | Err(_) => break,
                    Ok(_) if line == "\r\n" => break,
                    Ok(_) => head.push(line.trim().to_owned()),
                }
            }
            let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { continue };
            let token = head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is = name.eq_ignore_ascii_case("authorization");
                is.then(|| value.trim_start_matches("Bearer "))
            });
            let (status, body) = answer(path, token);
            let answer = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // A client that has gone has failed its test, which says so.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

fn top(url: &str, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["top", "--url", url])
        .args(options)
        .env_remove("MONOPORT_ADMIN_TOKEN")
        .output()
        .expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn small(path: &str, token: Option<&str>) -> (u16, &'static str) {
    if token != Some("secret") {
        return (401, r#"{"detail": "no"}"#);
    }
    match path {
        "/api/v1/status" => (
            200,
            r#"{"version": "9.9", "state": "ready", "uptime_s": 61, "shards": 1,
                "sessions": {"total": 2, "publishers": 1, "viewers": 1},
                "out": {"packets_per_s": 350, "bits_per_s": 3200000},
                "latency_us": {"p50": 829, "p99": 2781},
                "drops": [{"reason": "unknown_flow", "total": 7, "per_s": 0.5}]}"#,
        ),
        "/api/v1/ports" => {
            (200, r#"{"ports": [{"port": 7882, "protocol": "udp", "sessions": 2}]}"#)
        }
        "/api/v1/shards" => (200, r#"{"shards": [{"shard": 0, "cpu_percent": 12.5}]}"#),
        "/api/v1/sessions?limit=10&order=worst" => (
            200,
            r#"{"sessions": [{"id": "0-1-1", "score": 42, "level": "poor", "stream": "demo"}]}"#,
        ),
        _ => (404, ""),
    }
}

#[test]
fn a_snapshot_has_every_view() {
    let url = format!("http://{}/", fixture(small));
    // Its output is a pipe, so it prints one snapshot with and without being told.
    for options in [&["--admin-token", "secret", "--once"][..], &["--admin-token", "secret"]] {
        let output = top(&url, options);
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        for words in [
            "monoport 9.9 ready for 1 min 1 s",
            "2: 1 publishers, 1 viewers",
            "out 350 pkt/s 3.20 Mb/s",
            "p50 829 µs",
            "udp 7882",
            "12.5 %",
            "0-1-1",
            "unknown_flow",
            "no session has failed",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
    }
}

#[test]
fn trouble_is_said_in_words() {
    let closed = free_port();
    let url = |address: SocketAddr| format!("http://{address}");
    let guarded = fixture(small);
    let bare = fixture(|_, _| (404, ""));
    let refusing = fixture(|_, _| (403, r#"{"detail": "reading needs --admin-token"}"#));
    let strange = fixture(|_, _| (200, "<html>"));
    for (url, token, words) in [
        (url(closed), None, "is the server up"),
        (url(guarded), None, "asks for its admin token"),
        (url(guarded), Some("guess"), "does not take this admin token"),
        (url(bare), None, "no monoport, or one from before the API"),
        (url(refusing), None, "403: reading needs --admin-token"),
        (url(strange), None, "but not as the API does"),
    ] {
        let token = token.map_or_else(Vec::new, |token| vec!["--admin-token", token]);
        let output = top(&url, &token);
        assert!(!output.status.success());
        assert!(said(&output).contains(words), "no {words:?} in {}", said(&output));
    }
}

/// One publisher and two viewers for a few seconds; `look` is called while they are there.
fn with_load(server: &Process, look: impl FnOnce()) {
    let mut load = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", &server.url, "--viewers", "2", "--duration", "60s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the load generator starts");
    look();
    load.kill().expect("it is our child");
    load.wait().expect("it ends");
}

#[test]
fn a_real_server_is_shown() {
    let server = Process::start(&["--shards", "2"]);
    with_load(&server, || {
        let mut text = String::new();
        eventually("a publisher and two viewers are there", || {
            let output = top(&server.url, &["--once"]);
            text = said(&output);
            assert!(output.status.success(), "{text}");
            text.contains("sessions  3: 1 publishers, 2 viewers")
        });
        for words in [" ready for ", "2 shards", "udp ", "worst sessions", "publisher", "viewer"] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        let other = post_sdp(&format!("{}/whip/s", server.url), "nonsense");
        assert_eq!(other.status, 400);
        eventually("the refused offer is shown", || {
            said(&top(&server.url, &["--once"])).contains("bad_offer")
        });
    });
}

/// On a terminal it takes the screen, and gives it back when it is told to quit. script(1) makes
/// the terminal; it is an essential package of Debian.
#[test]
fn a_terminal_is_taken_and_given_back() {
    let server = Process::start(&["--shards", "1"]);
    let command = format!("{} top --url {}", env!("CARGO_BIN_EXE_monoport"), server.url);
    let mut terminal = Command::new("script")
        .args(["-qfec", &format!("stty cols 80 rows 24; {command}"), "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) runs");
    let mut keys = terminal.stdin.take().expect("it is piped");
    let mut screen = terminal.stdout.take().expect("it is piped");
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = shown.clone();
    let reader = thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok(length @ 1..) = screen.read(&mut bytes) {
            seen.lock().expect("the test has not failed").extend(&bytes[..length]);
        }
    });
    let text = || {
        let shown = shown.lock().expect("the reader has not failed");
        String::from_utf8_lossy(&shown).into_owned()
    };
    eventually("the overview is drawn", || text().contains("publishers,"));
    assert!(text().contains("\x1b[?1049h"), "the alternate screen is entered");
    keys.write_all(b"4").expect("it listens");
    eventually("sessions are drawn", || text().contains("nobody is here"));
    keys.write_all(b"q").expect("it listens");
    eventually("it ends", || terminal.try_wait().expect("it is our child").is_some());
    reader.join().expect("the reader does not fail");
    assert!(text().contains("\x1b[?1049l"), "the alternate screen is left");
}

/// `monoport top` on a terminal of its own, by script(1); its process id once it draws.
fn on_a_terminal(server: &Process, before: &str) -> (Child, u32) {
    let top = format!("{} top --url {}", env!("CARGO_BIN_EXE_monoport"), server.url);
    // The screen tells where the process is, which is this shell's only child or the shell itself.
    let command =
        format!("stty cols 80 rows 24; {before} sh -c 'echo pid=$$=; exec {top}'; exit 0");
    let mut terminal = Command::new("script")
        .args(["-qfec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) runs");
    let mut screen = terminal.stdout.take().expect("it is piped");
    let (mut shown, mut bytes) = (String::new(), [0; 4_096]);
    while !shown.contains("publishers,") {
        let length = screen.read(&mut bytes).expect("it is a pipe");
        assert!(length > 0, "it ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    // Nobody may wait for this side, as a person looks on.
    thread::spawn(move || while let Ok(1..) = screen.read(&mut bytes) {});
    let pid = shown.split('=').nth(1).expect("the shell says so").parse().expect("a number");
    (terminal, pid)
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that nobody has waited for is as good as gone.
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn it_ends_when_its_terminal_does_also_when_nobody_passes_the_hang_up_on() {
    let server = Process::start(&["--shards", "1"]);
    for before in ["", "trap '' HUP;"] {
        let (mut terminal, pid) = on_a_terminal(&server, before);
        assert!(is_running(pid));
        terminal.kill().expect("it is our child");
        terminal.wait().expect("it ends");
        eventually("it has ended", || !is_running(pid));
    }
}

#[test]
fn it_ends_when_it_is_told_to() {
    let server = Process::start(&["--shards", "1"]);
    for signal in ["-TERM", "-INT"] {
        let (mut terminal, pid) = on_a_terminal(&server, "");
        let told = Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(told.expect("kill(1) runs").success());
        eventually("it has ended", || !is_running(pid));
        eventually("and its terminal", || terminal.try_wait().expect("our child").is_some());
    }
}
