//! Standard error that takes nothing: full, closed or unread, it costs log lines and nothing else.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{eventually, post_sdp, request};

/// A server whose standard error is what the test gives it.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(stderr: Stdio) -> Process {
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_monoport")).stderr(stderr))
    }

    /// Starts `command`, which becomes the server.
    fn spawn(command: &mut Command) -> Process {
        let mut child = command
            .args(["--bind", "127.0.0.1", "--udp-port", "0", "--http", "127.0.0.1:0"])
            .args(["--no-tcp", "--shards", "1", "--log", "monoport=debug"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut url = None;
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
            let line = line.expect("its banner is text");
            if let Some(page) = line.trim().strip_prefix("page") {
                url = Some(page.trim().trim_end_matches('/').to_owned());
            }
            if line.starts_with("ready") {
                break;
            }
        }
        Process { child, url: url.expect("the banner names the page") }
    }

    /// Refuses offers, and sets sessions up that get their media.
    fn serves(&self) {
        for _ in 0..30 {
            assert_eq!(post_sdp(&format!("{}/whip/s", self.url), "no SDP").status, 400);
        }
        let status = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .args(["run", "--url", &self.url, "--viewers", "2", "--duration", "1s"])
            .args(["--max-p99-ms", "60000", "--threads", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("the load generator runs").success(), "media goes on");
        assert_eq!(request("GET", &format!("{}/readyz", self.url), &[], "").status, 200);
        let sessions = || request("GET", &format!("{}/metrics", self.url), &[], "").body;
        eventually("sessions that have ended are taken in", || {
            sessions().contains("monoport_sessions{shard=\"0\"} 0\n")
        });
    }

    fn lost(&self) -> u64 {
        let metrics = request("GET", &format!("{}/metrics", self.url), &[], "").body;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("monoport_log_lines_lost_total "));
        line.expect("there is such a metric").parse().expect("a number")
    }

    fn ends(mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().is_ok_and(|s| s.success()));
        eventually("it ends", || self.child.try_wait().expect("it is our child").is_some());
        let status = self.child.wait().expect("it has ended");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn standard_error_that_is_full_holds_up_nothing() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let server = Process::start(full.into());
    server.serves();
    assert!(server.lost() > 0);
    server.ends();
}

#[test]
fn standard_error_that_nobody_reads_holds_up_nothing() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // As much as a pipe takes (pipe(7)).
    writer.write_all(&vec![b'.'; 65_536]).expect("it takes that much");
    let server = Process::start(writer.into());
    server.serves();
    server.ends();
    drop(reader);
}

#[test]
fn standard_error_whose_reader_has_gone_or_that_is_closed_holds_up_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let server = Process::start(writer.into());
    server.serves();
    assert!(server.lost() > 0);
    server.ends();
    let program = env!("CARGO_BIN_EXE_monoport");
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" 2>&-", program]);
    let server = Process::spawn(&mut closed);
    server.serves();
    server.ends();
}

#[test]
fn a_disk_that_was_full_takes_lines_again_and_says_how_many_are_missing() {
    let program = env!("CARGO_BIN_EXE_monoport");
    let script = "mount -t tmpfs -o size=64k none /mnt && exec \"$0\" \"$@\" 2>>/mnt/log";
    let mut unshare = Command::new("unshare");
    if !unshare.args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        return eprintln!("not tested: no namespace with a disk of its own here");
    }
    let mut on_disk = Command::new("unshare");
    on_disk.args(["-rm", "sh", "-c", script, program]);
    let server = Process::spawn(&mut on_disk);
    let disk = PathBuf::from(format!("/proc/{}/root/mnt", server.child.id()));
    server.serves();
    assert_eq!(server.lost(), 0);
    let filler = disk.join("filler");
    let mut filling = fs::File::create(&filler).expect("there is room");
    while filling.write_all(&[b'.'; 512]).is_ok() {}
    while filling.write_all(b".").is_ok() {}
    server.serves();
    assert!(server.lost() > 0, "the disk is full");
    fs::remove_file(&filler).expect("it is there");
    drop(filling);
    server.serves();
    let log = || fs::read_to_string(disk.join("log")).expect("the log is text");
    eventually("it is said how many lines are missing", || log().contains("log lines were lost"));
    server.ends();
}
