//! One process takes the place of another (`--takeover`), and no session ends for it: real
//! processes, real sockets, and what each client received.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::media::number;
use crate::support::{PATIENCE, Response, eventually, request, steerings};
use monoport::net::PacketSocket;
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const VP8: Offered = Offered { codec: Codec::Vp8, audio: false, video: true };

/// Where processes follow one another: an address of HTTP, and the socket of takeovers.
struct Place {
    folder: PathBuf,
    http: String,
    options: Vec<String>,
}

/// One process; killed when dropped.
struct Generation {
    child: Child,
}

impl Place {
    fn new(options: &[&str]) -> Place {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("monoport-takeover-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the socket");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let http = free.local_addr().expect("it is bound").to_string();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Place { folder, http, options }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn command(&self, more: &[&str]) -> Command {
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

    fn start(&self, more: &[&str]) -> Generation {
        let mut child = self
            .command(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("ready"))), "it starts");
        // What it says later goes nowhere, and must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Generation { child }
    }

    /// One that does not start: what it says.
    fn refused(&self, more: &[&str]) -> String {
        let output = self.command(more).output().expect("the binary runs");
        assert!(!output.status.success(), "it must not start");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    fn status(&self) -> Value {
        let body = request("GET", &self.url("/api/v1/status"), &[], "").body;
        serde_json::from_str(&body).expect("JSON")
    }

    /// Sessions of the process that answers, and of those it has taken over from.
    fn sessions(&self) -> (u64, Option<u64>) {
        let status = self.status();
        let own = status["sessions"]["total"].as_u64().expect("a number");
        (own, status["earlier"]["sessions"].as_u64())
    }

    fn publish(&self, stream: &str) -> Client {
        self.post("whip", stream, Direction::SendOnly)
    }

    fn watch(&self, stream: &str) -> Client {
        self.post("whep", stream, Direction::RecvOnly)
    }

    fn post(&self, kind: &str, stream: &str, direction: Direction) -> Client {
        self.try_post(kind, stream, direction)
            .unwrap_or_else(|refusal| panic!("{kind}: {} {}", refusal.status, refusal.body))
    }

    fn try_post(&self, kind: &str, name: &str, direction: Direction) -> Result<Client, Response> {
        Client::try_post_at(&self.url(""), &format!("/{kind}/{name}"), VP8, direction, socket())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Generation {
    fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    fn ends_well(&mut self) -> bool {
        let mut ended = None;
        eventually("it ends", || {
            ended = self.child.try_wait().expect("it is our child");
            ended.is_some()
        });
        ended.is_some_and(|status| status.success())
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A publisher of `s` and viewers of it, and how much was sent.
struct Playing {
    publisher: Client,
    viewers: Vec<Client>,
    sent: u32,
}

impl Playing {
    fn start(place: &Place, stream: &str, viewers: usize) -> Playing {
        let mut publisher = place.publish(stream);
        connect(&mut [&mut publisher]);
        let mut playing = Playing { publisher, viewers: Vec::new(), sent: 0 };
        for _ in 0..viewers {
            playing.join(place, stream);
        }
        playing
    }

    /// One more viewer, which is there before the next packet.
    fn join(&mut self, place: &Place, stream: &str) {
        self.viewers.push(place.watch(stream));
        connect(&mut self.all());
        let asked = self.publisher.keyframes_asked;
        run_until("a request for a key frame", &mut self.all(), |all| {
            all[0].keyframes_asked > asked || asked > 0
        });
        self.send(1);
    }

    fn all(&mut self) -> Vec<&mut Client> {
        let viewers = self.viewers.iter_mut();
        std::iter::once(&mut self.publisher).chain(viewers).collect()
    }

    /// Sends key frames, so that any viewer can begin with any.
    fn send(&mut self, count: u32) {
        for number in self.sent..self.sent + count {
            self.publisher.send(MediaKind::Video, true, number, number * 3_000);
            run_for(Duration::from_millis(5), &mut self.all());
        }
        self.sent += count;
    }

    /// Plays on while `what` goes on elsewhere.
    fn during<T: Send>(&mut self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let other = scope.spawn(what);
            while !other.is_finished() {
                self.send(1);
            }
            other.join().expect("it went well")
        })
    }

    /// Every viewer has every packet since its first one, without a gap.
    fn lost_nothing(&mut self) {
        let last = self.sent - 1;
        run_until("the last packet", &mut self.all(), |all| {
            let has_last = |viewer: &&mut Client| {
                viewer.received.iter().any(|packet| number(&packet.payload) == last)
            };
            all[1..].iter().all(has_last)
        });
        for viewer in &self.viewers {
            let mut numbers: Vec<u32> =
                viewer.received.iter().map(|packet| number(&packet.payload)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let first = numbers.first().copied().expect("something has come");
            assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
        }
    }
}

#[test]
fn sessions_stay_where_they_are_and_new_ones_go_to_the_process_that_takes_over() {
    for steering in steerings() {
        let place = Place::new(&["--shards", "2", "--steering", steering]);
        let mut first = place.start(&[]);
        let mut playing = Playing::start(&place, "s", 3);
        playing.send(20);
        let mut second = playing.during(|| place.start(&["--takeover"]));
        playing.send(20);
        assert_eq!(place.sessions().0, 0, "{steering}: the second has none yet");
        eventually("the first has told what it has", || place.sessions() == (0, Some(4)));
        assert_eq!(place.status()["earlier"]["pid"], first.pid());

        // A viewer of a stream that is in the first process is served there; a new stream is not.
        playing.join(&place, "s");
        let mut other = Playing::start(&place, "t", 2);
        eventually("each has its own", || place.sessions() == (3, Some(5)));
        other.send(20);

        let mut third = playing.during(|| place.start(&["--takeover"]));
        let mut fresh = Playing::start(&place, "u", 1);
        for _ in 0..20 {
            other.send(1);
            fresh.send(1);
            playing.send(1);
        }
        eventually("all are known", || place.sessions() == (2, Some(8)));
        [&mut playing, &mut other, &mut fresh].into_iter().for_each(Playing::lost_nothing);

        // Sessions end by their URLs, wherever they are, and a process with its last one.
        for client in playing.all() {
            assert_eq!(client.delete().status, 200, "{steering}");
        }
        assert!(first.ends_well(), "{steering}: nothing is left in the first");
        other.send(10);
        for client in other.all() {
            assert_eq!(client.delete().status, 200, "{steering}");
        }
        assert!(second.ends_well(), "{steering}: nothing is left in the second");
        eventually("the third is alone", || place.sessions() == (2, None));
        fresh.send(10);
        fresh.lost_nothing();
        assert!(third.runs());
    }
}

#[test]
fn a_process_that_took_over_and_is_killed_leaves_the_earlier_one_serving() {
    for steering in steerings() {
        let place = Place::new(&["--shards", "2", "--steering", steering]);
        let mut first = place.start(&[]);
        let mut playing = Playing::start(&place, "s", 2);
        playing.send(20);
        let mut second = playing.during(|| place.start(&["--takeover"]));
        playing.send(20);
        second.kill();
        playing.send(50);
        playing.lost_nothing();
        eventually("the first answers again", || place.sessions() == (3, None));
        let mut other = Playing::start(&place, "t", 1);
        other.send(20);
        other.lost_nothing();
        // And it can be taken over again.
        let third = playing.during(|| place.start(&["--takeover"]));
        playing.send(20);
        other.send(20);
        playing.lost_nothing();
        other.lost_nothing();
        eventually("all are the first's", || place.sessions() == (0, Some(5)));
        assert!(first.runs(), "{steering}");
        drop(third);
    }
}

#[test]
fn a_process_that_was_taken_over_and_is_killed_takes_its_sessions_alone_with_it() {
    let place = Place::new(&["--shards", "2", "--steering", "hash"]);
    let mut first = place.start(&[]);
    let mut lost = Playing::start(&place, "s", 1);
    lost.send(5);
    let _second = place.start(&["--takeover"]);
    let mut playing = Playing::start(&place, "t", 2);
    playing.send(10);
    first.kill();
    playing.send(50);
    playing.lost_nothing();
    eventually("the second is alone", || place.sessions() == (3, None));
    assert_eq!(request("GET", &lost.viewers[0].session_url, &[], "").status, 404);
    // The stream is free, and may be watched again.
    let mut again = Playing::start(&place, "s", 1);
    again.send(5);
    again.lost_nothing();
}

#[test]
fn a_stream_that_is_published_anew_moves_and_its_viewers_are_told_to_reconnect() {
    let place = Place::new(&["--shards", "2", "--steering", "hash"]);
    let mut first = place.start(&[]);
    let mut playing = Playing::start(&place, "s", 1);
    playing.send(10);
    let viewer = playing.viewers[0].session_url.clone();
    let _second = playing.during(|| place.start(&["--takeover"]));
    let json = [("Content-Type", "application/json")];
    let made = request("POST", &format!("{viewer}/events"), &json, "[\"reconnect\"]");
    assert_eq!(made.status, 201, "{}", made.body);
    let channel = made.header("location").expect("a Location").to_owned();
    let mut events = TcpStream::connect(&place.http).expect("HTTP listens");
    events.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    write!(events, "GET {channel} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it takes a request");

    let mut again = Playing::start(&place, "s", 0);
    again.send(5);
    let mut told = String::new();
    let mut buffer = [0; 1_024];
    while !told.contains("event: reconnect") {
        let count = events.read(&mut buffer).expect("it is told in time");
        assert!(count > 0, "{told}");
        told += &String::from_utf8_lossy(&buffer[..count]);
    }
    again.join(&place, "s");
    again.send(5);
    again.lost_nothing();
    eventually("who stays is ended", || request("GET", &viewer, &[], "").status != 204);
    assert!(first.ends_well(), "its publisher was replaced, its viewer has been told");
}

#[test]
fn a_publisher_that_is_heard_in_the_earlier_process_keeps_others_out_where_that_is_asked_for() {
    let place = Place::new(&["--shards", "1", "--on-conflict", "refuse"]);
    let _first = place.start(&[]);
    let mut playing = Playing::start(&place, "s", 1);
    playing.send(10);
    let _second = playing.during(|| place.start(&["--takeover"]));
    let refused = || match place.try_post("whip", "s", Direction::SendOnly) {
        Err(refusal) => refusal.status == 409,
        Ok(_) => false,
    };
    assert!(playing.during(refused));
    assert_eq!(playing.publisher.delete().status, 200);
    eventually("it is free", || place.try_post("whip", "s", Direction::SendOnly).is_ok());
}

#[test]
fn a_takeover_that_can_not_be_is_refused_in_words_and_changes_nothing() {
    let place = Place::new(&["--shards", "2", "--steering", "hash"]);
    let nobody = place.refused(&["--takeover"]);
    assert!(nobody.contains("no server to take over"), "{nobody}");
    let mut first = place.start(&[]);
    let mut playing = Playing::start(&place, "s", 1);
    playing.send(5);
    let words = place.refused(&["--takeover", "--no-tcp"]);
    assert!(words.contains("--tcp-port") && words.contains("running server has"), "{words}");
    let words =
        speak(&place.socket(), br#"{"is":"hello","oldest":7,"newest":9,"version":"9.0.0"}"#);
    assert!(words.contains("versions 7 to 9") && words.contains("upgrade by way"), "{words}");
    let words = speak(&place.socket(), b"HTTP, anybody?");
    assert!(words.contains("refused"), "{words}");
    playing.send(20);
    playing.lost_nothing();
    assert_eq!(place.sessions(), (2, None));
    assert!(first.runs());
}

/// What the server at `path` answers to one letter.
fn speak(path: &Path, letter: &[u8]) -> String {
    let socket = PacketSocket::connect(path).expect("it listens");
    socket.set_patience(Some(PATIENCE)).expect("a time limit");
    socket.send(letter, &[]).expect("it takes a letter");
    let mut buffer = [0; 4_096];
    let (length, _none) = socket.receive(&mut buffer).expect("it answers");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_signal_has_a_server_start_the_one_that_takes_over() {
    let place = Place::new(&["--shards", "1"]);
    let mut first = place.start(&[]);
    let mut playing = Playing::start(&place, "s", 1);
    playing.send(5);
    let signal = |name: &str, pid: u64| {
        let kill = format!("kill {name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().is_ok_and(|s| s.success()));
    };
    signal("-USR2", first.pid());
    let mut second = first.pid();
    playing.during(|| {
        eventually("another process answers", || {
            second = place.status()["pid"].as_u64().expect("a number");
            second != first.pid()
        });
    });
    playing.send(20);
    playing.lost_nothing();
    for client in playing.all() {
        assert_eq!(client.delete().status, 200);
    }
    assert!(first.ends_well());
    eventually("the second is alone", || place.sessions() == (0, None));
    signal("-TERM", second);
    eventually("it ends", || TcpStream::connect(&place.http).is_err());
}
