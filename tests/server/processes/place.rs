//! Processes that follow one another at one address, and clients that count what they receive.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::media::number;
use crate::support::{Response, eventually, free_port, request};
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

pub const VP8: Offered = Offered { codec: Codec::Vp8, audio: false, video: true };

/// Where processes follow one another: an address of HTTP, and the socket of takeovers.
pub struct Place {
    folder: PathBuf,
    pub http: String,
    options: Vec<String>,
}

/// One process; killed when dropped.
pub struct Generation {
    child: Child,
}

impl Place {
    pub fn new(options: &[&str]) -> Place {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("monoport-takeover-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the socket");
        let http = free_port().to_string();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Place { folder, http, options }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monoport"));
        command
            .args(["--http", &self.http, "--udp-port", "0", "--bind", "127.0.0.1"])
            .args(["--gather", "0", "--tcp-port", "0", "--setup-timeout", "300"])
            .arg("--takeover-socket")
            .arg(self.socket())
            .args(&self.options)
            .args(more);
        command
    }

    pub fn start(&self, more: &[&str]) -> Generation {
        self.start_in(more, &[])
    }

    /// As [`Place::start`], with these variables in its environment.
    pub fn start_in(&self, more: &[&str], environment: &[(&str, &str)]) -> Generation {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let log = self.folder.join(format!("log-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        let mut child = self
            .command(more)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a file for its log"))
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let starts = lines.any(|line| line.is_ok_and(|line| line.starts_with("ready")));
        assert!(starts, "it starts: {}", std::fs::read_to_string(&log).unwrap_or_default());
        // What it says later goes nowhere, and must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Generation { child }
    }

    /// One that does not start: what it says.
    pub fn refused(&self, more: &[&str]) -> String {
        refused(self.command(more))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub fn status(&self) -> Value {
        let body = request("GET", &self.url("/api/v1/status"), &[], "").body;
        serde_json::from_str(&body).expect("JSON")
    }

    /// Sessions of the process that answers, and of those it has taken over from.
    pub fn sessions(&self) -> (u64, Option<u64>) {
        let status = self.status();
        let own = status["sessions"]["total"].as_u64().expect("a number");
        (own, status["earlier"]["sessions"].as_u64())
    }

    pub fn publish(&self, stream: &str) -> Client {
        self.post("whip", stream, Direction::SendOnly)
    }

    pub fn watch(&self, stream: &str) -> Client {
        self.post("whep", stream, Direction::RecvOnly)
    }

    pub fn post(&self, kind: &str, stream: &str, direction: Direction) -> Client {
        self.try_post(kind, stream, direction)
            .unwrap_or_else(|refusal| panic!("{kind}: {} {}", refusal.status, refusal.body))
    }

    pub fn try_post(
        &self,
        kind: &str,
        name: &str,
        direction: Direction,
    ) -> Result<Client, Response> {
        Client::try_post_at(&self.url(""), &format!("/{kind}/{name}"), VP8, direction, socket())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Generation {
    pub fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    pub fn signal(&self, name: &str) {
        signal(name, self.pid());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    pub fn ends_well(&mut self) -> bool {
        let mut ended = None;
        eventually("it ends", || {
            ended = self.child.try_wait().expect("it is our child");
            ended.is_some()
        });
        ended.is_some_and(|status| status.success())
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

/// Runs what must end in an error, and soon: what it says.
pub fn refused(mut command: Command) -> String {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut process = Generation { child: child.expect("the binary runs") };
    assert!(!process.ends_well(), "it must not start");
    let mut words = String::new();
    let mut stderr = process.child.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut words).expect("it is text");
    words
}

/// Sends a process a signal.
pub fn signal(name: &str, pid: u64) {
    let kill = format!("kill {name} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().is_ok_and(|s| s.success()));
}

impl Drop for Generation {
    fn drop(&mut self) {
        // What it has started itself goes with it, where a test fails half-way.
        let runs = matches!(self.child.try_wait(), Ok(None));
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        for task in tasks.into_iter().flatten().flatten().filter(|_| runs) {
            let children = std::fs::read_to_string(task.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let kill = format!("kill -9 {child}");
                let _ = Command::new("sh").args(["-c", &kill]).status();
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A publisher of `s` and viewers of it, and how much was sent.
pub struct Playing {
    pub publisher: Client,
    pub viewers: Vec<Client>,
    sent: u32,
}

impl Playing {
    pub fn start(place: &Place, stream: &str, viewers: usize) -> Playing {
        let mut publisher = place.publish(stream);
        connect(&mut [&mut publisher]);
        let mut playing = Playing { publisher, viewers: Vec::new(), sent: 0 };
        for _ in 0..viewers {
            playing.join(place, stream);
        }
        playing
    }

    /// One more viewer, which is there before the next packet.
    pub fn join(&mut self, place: &Place, stream: &str) {
        self.viewers.push(place.watch(stream));
        connect(&mut self.all());
        let asked = self.publisher.keyframes_asked;
        run_until("a request for a key frame", &mut self.all(), |all| {
            // Or it has begun with a key frame that came before it.
            let begins = all.last().is_some_and(|viewer| !viewer.received.is_empty());
            all[0].keyframes_asked > asked || asked > 0 || begins
        });
        self.send(1);
    }

    /// Waits until everybody is connected, and has something.
    pub fn settle(&mut self) {
        connect(&mut self.all());
        let sent = self.sent;
        for _ in 0..1_000 {
            self.send(1);
            let has = |viewer: &Client| {
                viewer.received.iter().any(|packet| number(&packet.payload) >= sent)
            };
            if self.viewers.iter().all(has) {
                return;
            }
        }
        panic!("not everybody gets something");
    }

    pub fn all(&mut self) -> Vec<&mut Client> {
        let viewers = self.viewers.iter_mut();
        std::iter::once(&mut self.publisher).chain(viewers).collect()
    }

    /// Sends key frames, so that any viewer can begin with any.
    pub fn send(&mut self, count: u32) {
        for number in self.sent..self.sent + count {
            self.publisher.send(MediaKind::Video, true, number, number * 3_000);
            run_for(Duration::from_millis(5), &mut self.all());
        }
        self.sent += count;
    }

    /// Plays on while `what` goes on elsewhere.
    pub fn during<T: Send>(&mut self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let other = scope.spawn(what);
            while !other.is_finished() {
                self.send(1);
            }
            other.join().expect("it went well")
        })
    }

    /// Every viewer has every packet since its first one, without a gap; what was on its way while
    /// a process was killed may come late, since it is asked for again.
    pub fn lost_nothing(&mut self) {
        let last = self.sent - 1;
        run_until("every packet", &mut self.all(), |all| {
            all[1..].iter().all(|viewer| {
                let mut numbers: Vec<u32> =
                    viewer.received.iter().map(|packet| number(&packet.payload)).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let first = numbers.first().copied().unwrap_or(u32::MAX);
                numbers.iter().copied().eq(first..=last)
            })
        });
    }
}
