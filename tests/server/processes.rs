//! One process takes the place of another (`--takeover`), and no session ends for it: real
//! processes, real sockets, and what each client received.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::SecretFile;
use crate::support::client::{Client, socket};
use crate::support::redis::Redis;
use crate::support::tcp::Link;
use crate::support::{PATIENCE, Server, eventually, request, steerings};
use monoport::net::{PacketSocket, uring_available};
use str0m::media::Direction;

mod linked;
mod place;

use place::{Place, Playing, VP8, refused, signal};

/// The number of the user `nobody`, on Debian and elsewhere.
const NOBODY: u32 = 65_534;

/// Processes that are killed while they take over, at moments that lie evenly in what that takes.
const KILLS: u32 = 12;

/// What processes are started with: each way of steering, and of receiving.
fn variants() -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    for steering in steerings() {
        all.push(vec!["--shards", "2", "--steering", steering]);
    }
    if steerings().contains(&"ebpf") {
        all.push(vec!["--shards", "2", "--steering", "ebpf", "--kernel-drop"]);
    }
    if uring_available().is_ok() {
        all.push(vec!["--shards", "2", "--steering", "hash", "--io", "uring"]);
    }
    all
}

#[test]
fn sessions_stay_where_they_are_and_new_ones_go_to_the_process_that_takes_over() {
    for options in variants() {
        let place = Place::new(&options);
        let mut first = place.start(&[]);
        let mut playing = Playing::start(&place, "s", 3);
        playing.send(20);
        let mut second = playing.during(|| place.start(&["--takeover"]));
        playing.send(20);
        assert_eq!(place.sessions().0, 0, "{options:?}: the second has none yet");
        eventually("the first has told what it has", || place.sessions() == (0, Some(4)));
        assert_eq!(place.status()["earlier"]["pid"], first.pid());
        let there = request("GET", &place.url("/earlier/api/v1/status"), &[], "").body;
        assert!(there.contains(&format!("\"pid\":{}", first.pid())), "{there}");

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
            assert_eq!(client.delete().status, 200, "{options:?}");
        }
        assert!(first.ends_well(), "{options:?}: nothing is left in the first");
        other.send(10);
        for client in other.all() {
            assert_eq!(client.delete().status, 200, "{options:?}");
        }
        assert!(second.ends_well(), "{options:?}: nothing is left in the second");
        eventually("the third is alone", || place.sessions() == (2, None));
        fresh.send(10);
        fresh.lost_nothing();
        assert!(third.runs());
    }
}

#[test]
fn a_process_that_took_over_and_is_killed_leaves_the_earlier_one_serving() {
    for options in variants() {
        let place = Place::new(&options);
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
        assert!(first.runs(), "{options:?}");
        drop(third);
    }
}

#[test]
fn a_process_that_is_killed_at_whichever_step_of_taking_over_costs_nobody_a_packet() {
    for steering in steerings() {
        let place = Place::new(&["--shards", "2", "--steering", steering]);
        let mut first = place.start(&[]);
        let mut playing = Playing::start(&place, "s", 2);
        playing.send(5);
        let began = Instant::now();
        playing.during(|| place.start(&["--takeover"])).kill();
        let whole = began.elapsed();
        for step in 1..=KILLS {
            let mut command = place.command(&["--takeover"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("the binary runs");
            playing.during(|| std::thread::sleep(whole * step / KILLS));
            child.kill().and_then(|()| child.wait()).expect("it is our child");
            playing.send(2);
        }
        eventually("the first answers again", || place.sessions() == (3, None));
        playing.send(10);
        playing.lost_nothing();
        assert!(first.runs(), "{steering}");
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
    // One that would publish it and never connects changes nothing for those who watch.
    let _silent = place.publish("s");
    playing.join(&place, "s");
    playing.send(5);
    playing.lost_nothing();
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
    first.signal("-USR2");
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

#[test]
fn a_connection_over_tcp_reaches_its_session_in_the_earlier_process() {
    let place = Place::new(&["--shards", "2", "--steering", "hash"]);
    let first = place.start(&[]);
    let mut playing = Playing::start(&place, "s", 1);
    playing.send(5);
    let at = playing.viewers[0].tcp_server();
    let over_tcp = |kind: &str, direction| {
        let (link, path) = (Link::to(at), format!("/{kind}/s"));
        Client::try_post_by(&place.url(""), &path, VP8, direction, link)
            .unwrap_or_else(|refusal| panic!("{} {}", refusal.status, refusal.body))
    };
    playing.viewers.push(over_tcp("whep", Direction::RecvOnly));
    playing.settle();
    let _second = playing.during(|| place.start(&["--takeover"]));
    playing.viewers.push(over_tcp("whep", Direction::RecvOnly));
    playing.settle();
    playing.send(20);
    playing.lost_nothing();
    eventually("all are in the first process", || place.sessions() == (0, Some(4)));
    assert_eq!(place.status()["earlier"]["pid"], first.pid());
}

#[test]
fn a_process_between_two_others_that_is_killed_leaves_the_last_one_serving_alone() {
    let place = Place::new(&["--shards", "1"]);
    let mut first = place.start(&[]);
    let mut cut_off = Playing::start(&place, "s", 1);
    cut_off.send(5);
    let mut second = cut_off.during(|| place.start(&["--takeover"]));
    let _third = cut_off.during(|| place.start(&["--takeover"]));
    let mut playing = Playing::start(&place, "t", 1);
    playing.send(5);
    second.kill();
    assert!(
        first.ends_well(),
        "nobody hands it anything, and it must not read what the third does"
    );
    playing.send(30);
    playing.lost_nothing();
    eventually("the third is alone", || place.sessions() == (2, None));
}

#[test]
fn a_server_that_is_told_to_stop_stops_with_the_process_it_has_taken_over_from() {
    let place = Place::new(&["--shards", "1", "--drain-timeout", "600"]);
    let mut first = place.start(&[]);
    let mut playing = Playing::start(&place, "s", 1);
    playing.send(5);
    let mut second = playing.during(|| place.start(&["--takeover"]));
    second.signal("-TERM");
    assert!(second.ends_well(), "it has no session");
    // The first has its sessions yet, and reads again what they send.
    playing.send(30);
    playing.lost_nothing();
    eventually("it answers", || request("GET", &place.url("/readyz"), &[], "").status == 503);
    for client in playing.all() {
        assert_eq!(client.delete().status, 200);
    }
    assert!(first.ends_well());
}

/// A service manager's socket, and where it is.
fn service_manager(place: &Place) -> (UnixDatagram, PathBuf) {
    let path = place.socket().with_extension("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket in a folder of ours");
    manager.set_read_timeout(Some(PATIENCE)).expect("it takes one");
    (manager, path)
}

/// What it is told next.
fn heard(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let count = manager.recv(&mut bytes).expect("it is told");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn a_service_manager_is_told_which_process_is_the_server_from_here_on() {
    let place = Place::new(&["--shards", "1"]);
    let (manager, path) = service_manager(&place);
    let heard = || heard(&manager);
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))];
    let mut first = place.start_in(&[], &environment);
    assert!(heard().starts_with("READY=1"));
    let mut second = place.start_in(&["--takeover"], &environment);
    assert_eq!(heard(), format!("MAINPID={}", second.pid()));
    assert!(heard().starts_with("READY=1"));
    assert!(first.ends_well(), "it has no session");
    second.signal("-TERM");
    assert!(heard().starts_with("STOPPING=1"), "of the first it was told nothing");
    assert!(second.ends_well());
}

#[test]
fn a_service_manager_is_told_so_again_when_the_process_that_took_over_is_killed() {
    let place = Place::new(&["--shards", "1"]);
    let (manager, path) = service_manager(&place);
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))];
    let first = place.start_in(&[], &environment);
    assert!(heard(&manager).starts_with("READY=1"));
    let mut playing = Playing::start(&place, "s", 1);
    let mut second = playing.during(|| place.start_in(&["--takeover"], &environment));
    assert_eq!(heard(&manager), format!("MAINPID={}", second.pid()));
    assert!(heard(&manager).starts_with("READY=1"));
    second.kill();
    assert_eq!(heard(&manager), format!("MAINPID={}", first.pid()));
}

/// The folder's mode keeps others from the socket. Where somebody has changed that, they still do
/// not get what the server has.
#[test]
fn a_process_of_another_user_takes_nothing_over() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("left out: only root can start a process of another user");
        return;
    }
    let place = Place::new(&["--shards", "1"]);
    let mut first = place.start(&[]);
    let anybody = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(place.socket(), anybody(0o666)).expect("it is ours");
    // Where the tests are built, others may not look.
    let binary = place.socket().with_extension("binary");
    std::fs::copy(env!("CARGO_BIN_EXE_monoport"), &binary).expect("there is room for a copy");
    std::fs::set_permissions(&binary, anybody(0o755)).expect("it is ours");
    let mut command = Command::new(&binary);
    command.args(place.command(&["--takeover"]).get_args()).current_dir("/").uid(NOBODY);
    let words = refused(command);
    assert!(words.contains(&format!("is of user {NOBODY}, not of 0")), "{words}");
    assert!(first.runs() && place.sessions() == (0, None));
}

/// The promise of the manual's page, as it was measured: `cargo test --test server -- --ignored`.
#[test]
#[ignore = "takes a minute of both cores for each steering"]
fn two_hundred_viewers_lose_nothing_in_two_takeovers_within_a_minute() {
    for steering in steerings() {
        let place = Place::new(&["--shards", "2", "--steering", steering]);
        let _first = place.start(&[]);
        let load = |prefix: &str, viewers: &str, seconds: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_monoport-load"));
            command.args(["run", "--url", &place.url(""), "--prefix", prefix, "--streams", "4"]);
            command.args(["--viewers", viewers, "--duration", seconds, "--video-kbps", "300"]);
            command.args(["--max-loss", "0", "--max-p99-ms", "1000"]);
            command.stdout(Stdio::null()).spawn().expect("the load generator starts")
        };
        let pause = || std::thread::sleep(Duration::from_secs(12));
        let mut there = load("there", "50", "60s");
        pause();
        let _second = place.start(&["--takeover"]);
        pause();
        let mut fresh = load("fresh", "5", "30s");
        pause();
        assert_eq!(place.sessions().0, 24, "new ones are in the process that has taken over");
        let mut third = place.start(&["--takeover"]);
        pause();
        assert_eq!(place.sessions().0, 0);
        third.kill();
        assert!(there.wait().is_ok_and(|status| status.success()), "{steering}: of 200 viewers");
        assert!(fresh.wait().is_ok_and(|status| status.success()), "{steering}: of 20 viewers");
    }
}

#[test]
fn a_process_that_takes_over_is_the_same_node_to_others_and_what_the_first_has_stays_its_own() {
    let Some(redis) = Redis::start() else { return };
    let url = redis.url();
    let secret = SecretFile::new(&"s".repeat(40));
    let shared = ["--cluster", &url, "--cluster-secret-file", secret.path(), "--shards", "1"];
    let place = Place::new(&[&shared[..], &["--node", "a"]].concat());
    let first = place.start(&[]);
    let other = Server::start(&[&shared[..], &["--node", "b"]].concat());
    let mut playing = Playing::start(&place, "s", 1);
    // A viewer that comes to the other node is served by this one, and ended by way of the other.
    let is_of_a = |other: &Server| {
        let viewer = Client::try_post(other, "/whep/s", VP8, Direction::RecvOnly, socket());
        viewer.is_ok_and(|viewer| {
            assert_eq!(viewer.delete().status, 200);
            viewer.session_url.contains("/session/a-")
        })
    };
    eventually("b knows whose it is", || is_of_a(&other));
    let incarnation = || redis.ask::<String>(&["HGET", "{monoport}:n:a", "incarnation"]);
    let number = || redis.ask::<String>(&["HGET", "{monoport}:n:a", "number"]);
    let before = (incarnation(), number());
    let _second = playing.during(|| place.start(&["--takeover"]));
    eventually("the first has told what it has", || place.sessions() == (0, Some(2)));
    playing.send(20);
    assert!(is_of_a(&other));
    eventually("the second is known there", || {
        let metrics = request("GET", &place.url("/metrics"), &[], "").body;
        metrics.lines().any(|line| line == "monoport_directory_up 1")
    });
    assert_eq!((incarnation(), number()), before);

    // What was forgotten the first process says again, though the second one keeps the lease.
    // It may be about to speak for both one last time.
    for _ in 0..3 {
        let _ok: String = redis.ask(&["FLUSHALL"]);
        eventually("it is claimed again", || redis.ask::<bool>(&["EXISTS", "{monoport}:s:s"]));
    }
    eventually("b knows again", || is_of_a(&other));
    assert_eq!((incarnation(), number()), before);
    playing.send(20);
    drop((playing, first));
}
