//! Attacks beside viewers who are not to notice: each is bounded in count and time, every one of
//! the viewers' packets comes, and who is new is served afterwards. With `--nocapture` each prints
//! what it came to; the manual's page on security has a table of such figures.
//!
//! ```sh
//! MONOPORT_ATTACK_RATE=100000 MONOPORT_ATTACK_SECONDS=10 \
//!     cargo test --release --test server attacks:: -- --nocapture --test-threads=1
//! ```

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, socket};
use crate::support::stun::Checks;
use crate::support::tcp::{Link, server_address};
use crate::support::{Server, eventually, request};
use monoport::drop::DropReason;
use monoport::wire::ufrag::UfragKey;
use socket2::{Domain, Socket, Type};
use str0m::format::Codec;
use str0m::media::Direction;

pub const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// Those who watch.
const VIEWERS: u64 = 20;

/// Datagrams a second of a flood, and how long each attack goes on.
pub fn strength() -> (u64, Duration) {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a whole number"))
    };
    let seconds = number("MONOPORT_ATTACK_SECONDS", 2);
    (number("MONOPORT_ATTACK_RATE", 5_000), Duration::from_secs(seconds))
}

/// A load of one stream of 500 kb/s to [`VIEWERS`], by a process of its own.
struct Victims {
    load: Child,
    report: std::path::PathBuf,
}

impl Victims {
    /// Starts it, and waits until all of them watch.
    fn watch(server: &Server, name: &str, attack: Duration) -> Victims {
        let file = format!("monoport-attack-{name}-{}.json", std::process::id());
        let report = std::env::temp_dir().join(file);
        // Longer than the attack, by the time that it takes to begin.
        let length = format!("{}s", attack.as_secs() + 2);
        let load = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .args(["run", "--url", server.url("/").trim_end_matches('/'), "--threads", "1"])
            .args(["--viewers", &VIEWERS.to_string(), "--video-kbps", "500", "--audio"])
            .args(["--ramp", "200", "--duration", &length, "--max-p99-ms", "60000"])
            .args(["--json".as_ref(), report.as_os_str()])
            .stdout(Stdio::null())
            .spawn()
            .expect("the load generator starts");
        let victims = Victims { load, report };
        eventually("they watch", || server.sum(|c| c.viewers_ready.get()) >= VIEWERS);
        victims
    }

    /// Waits for its end: nobody has lost a packet.
    fn lost_nothing(mut self, what: &str, attempts: u64) {
        assert!(self.load.wait().expect("it is our child").success(), "{what}");
        let text = std::fs::read_to_string(&self.report).expect("it wrote its report");
        let report: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
        let number = |key: &str| report[key].as_u64().expect(key);
        assert_eq!(number("sessions_lost"), 0, "{what}: {report:#}");
        // What its own sockets had no room for is not the server's doing.
        let lost = number("packets_expected") - number("packets_received");
        assert!(lost <= number("client_receive_overflows"), "{what}: {lost} lost, {report:#}");
        let p99 = report["latency_us"]["p99"].as_u64().expect("p99") as f64 / 1_000.0;
        eprintln!(
            "{what}: {attempts} attempts, {lost} of {} lost, p99 {p99:.1} ms",
            number("packets_expected")
        );
    }
}

impl Drop for Victims {
    fn drop(&mut self) {
        // They have ended, or the test has failed.
        let _ = self.load.kill();
        let _ = self.load.wait();
        let _ = std::fs::remove_file(&self.report);
    }
}

/// Runs `attack` beside viewers of `server`; it returns how often it tried.
pub fn nobody_notices(server: &Server, what: &str, attack: impl FnOnce(&Server) -> u64) {
    let name = what.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let victims = Victims::watch(server, &name, strength().1);
    let attempts = attack(server);
    victims.lost_nothing(what, attempts);
    let mut newcomer = Client::publish(server, "newcomer", BOTH);
    connect(&mut [&mut newcomer]);
    eventually("every datagram has one outcome", || {
        server.node().counters().map(|c| c.conservation()).all(|(come, outcomes)| come == outcomes)
    });
}

/// Calls `send` at the rate and for the time of [`strength`].
fn flood(mut send: impl FnMut(u64)) -> u64 {
    let (rate, time) = strength();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        let due = (start.elapsed().as_micros() * u128::from(rate) / 1_000_000) as u64;
        while sent < due {
            send(sent);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// Datagrams of a kind, from one socket of a stranger's.
fn flooded_with(what: &str, datagrams: &[Vec<u8>]) {
    let server = Server::start(&["--shards", "2"]);
    let stranger = socket();
    nobody_notices(&server, what, |server| {
        flood(|number| {
            let datagram = &datagrams[number as usize % datagrams.len()];
            // A full queue of loopback's is the flood's loss.
            let _ = stranger.send_to(datagram, server.media());
        })
    });
}

#[test]
fn a_flood_of_nonsense_costs_nobody_a_packet() {
    let garbage = |first: u8, length: usize| {
        let mut datagram = vec![0x5a; length];
        if let Some(byte) = datagram.first_mut() {
            *byte = first;
        }
        datagram
    };
    let lengths = [0, 1, 20, 200, 1_200, 9_000];
    flooded_with("nonsense", &lengths.map(|length| garbage(0x4f, length)));
}

#[test]
fn a_flood_of_what_looks_like_dtls_rtp_and_rtcp_costs_nobody_a_packet() {
    let mut datagrams = Vec::new();
    for first in [20, 22, 23, 0x80, 0x90] {
        for second in [96, 200, 201, 205, 253] {
            let mut datagram = vec![0x11; 120];
            (datagram[0], datagram[1]) = (first, second);
            datagrams.push(datagram);
        }
    }
    flooded_with("DTLS, RTP, RTCP", &datagrams);
}

#[test]
fn a_flood_of_checks_with_forged_names_costs_nobody_a_packet() {
    let strange = UfragKey::random();
    let datagrams: Vec<_> = (0..500)
        .map(|slot| {
            let key = monoport::id::SessionKey { shard: 0, slot, generation: 0 };
            let name = format!("{}:abcd", strange.encode(key).as_str());
            let padded = name.len().next_multiple_of(4);
            let mut check = vec![0, 1, 0, padded as u8 + 4, 0x21, 0x12, 0xa4, 0x42];
            check.extend([7; 12]);
            check.extend([0, 6, 0, name.len() as u8]);
            check.extend(name.as_bytes());
            check.resize(24 + padded, 0);
            check
        })
        .collect();
    flooded_with("forged names", &datagrams);
}

/// A session that was answered and has proved nothing.
fn waiting(server: &Server, stream: &str) -> Client {
    let path = format!("/whip/{stream}");
    Client::try_post(server, &path, BOTH, Direction::SendOnly, socket()).expect("it is answered")
}

#[test]
fn checks_of_one_session_from_ever_new_addresses_cost_nobody_a_packet() {
    let server = Server::start(&["--shards", "2"]);
    let checks = Checks::of(&mut waiting(&server, "own"));
    nobody_notices(&server, "ever new addresses", |server| {
        let (_, check) = checks.request(true);
        flood(|number| {
            let [.., high, low] = number.to_be_bytes();
            let from = SocketAddr::from((Ipv4Addr::new(127, 255, high, low), 0));
            let other = UdpSocket::bind(from).expect("loopback has all of 127.0.0.0/8");
            let _ = other.send_to(&check, server.media());
        })
    });
    assert!(server.drops(DropReason::TooManyAddresses) > 0);
}

#[test]
fn wrong_passwords_for_ones_own_session_cost_nobody_a_packet() {
    let server = Server::start(&["--shards", "2"]);
    let checks = Checks::forged(&mut waiting(&server, "own"));
    let stranger = socket();
    nobody_notices(&server, "wrong passwords", |server| {
        let (_, check) = checks.request(true);
        flood(|_| {
            let _ = stranger.send_to(&check, server.media());
        })
    });
    assert!(server.drops(DropReason::ChecksLimited) > 0, "refused unread, by the thousand");
}

#[test]
fn dtls_garbage_on_a_proved_path_costs_nobody_else_a_packet() {
    let server = Server::start(&["--shards", "2"]);
    let mut own = Client::publish(&server, "own", BOTH);
    connect(&mut [&mut own]);
    nobody_notices(&server, "DTLS on a proved path", |server| {
        let mut garbage = vec![0x5a; 200];
        garbage[..13].copy_from_slice(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 187]);
        flood(|_| {
            let _ = own.socket.send_to(&garbage, server.media());
        })
    });
}

#[test]
fn sessions_by_the_hundred_that_never_connect_cost_nobody_a_packet() {
    let server = Server::start(&["--shards", "2"]);
    nobody_notices(&server, "POSTs without a check", |server| {
        let end = Instant::now() + strength().1;
        let mut posts = 0;
        while Instant::now() < end && posts < 400 {
            // Answered or refused: it may know that there are too many.
            let _ = Client::try_post(server, "/whep/load-0", BOTH, Direction::RecvOnly, socket());
            posts += 1;
        }
        posts
    });
}

#[test]
fn offers_of_thousands_of_lines_cost_nobody_a_packet() {
    let server = Server::start(&["--shards", "2"]);
    let (_, offer, _) = Client::offer(BOTH, Direction::SendOnly, socket());
    let lines = |make: &dyn Fn(usize) -> String, count| -> String {
        let more: String = (0..count).map(make).collect();
        offer.to_sdp_string() + &more
    };
    let candidate =
        |n| format!("a=candidate:{n} 1 udp 1 10.0.{}.{} 9 typ host\r\n", n / 250, n % 250);
    let offers = [
        lines(&candidate, 900),
        lines(&|n| format!("a=extmap:{} urn:example:{n}\r\n", n % 14 + 1), 1_200),
        lines(&|n| format!("a=rtpmap:{} x/{n}\r\n", 96 + n % 32), 3_000),
        lines(&|n| format!("a=ice-ufrag:{}\r\n", "u".repeat(n)), 300),
    ];
    nobody_notices(&server, "offers of thousands of lines", |server| {
        let end = Instant::now() + strength().1;
        let mut posts = 0;
        while Instant::now() < end {
            let headers = [("Content-Type", "application/sdp")];
            let offer = &offers[posts % offers.len()];
            let path = format!("/whip/big-{}", posts % 8);
            let status = request("POST", &server.url(&path), &headers, offer).status;
            assert_ne!(status / 100, 5, "it is understood or refused: {status}");
            posts += 1;
        }
        posts as u64
    });
}

/// A hundred connections that ask for each of `paths` fifty times, and read nothing.
fn unread(what: &str, paths: &[&str]) {
    let server = Server::start(&["--shards", "2"]);
    nobody_notices(&server, what, |server| {
        let gets: Vec<_> = paths
            .iter()
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(50))
            .collect();
        let mut unread = Vec::new();
        for number in 0..100 {
            let mut stream = TcpStream::connect(server.node().http_address()).expect("it listens");
            stream.set_nonblocking(true).expect("a socket can be non-blocking");
            // As much as fits.
            let _ = stream.write(gets[number % gets.len()].as_bytes());
            unread.push(stream);
        }
        let other = Client::publish(server, "other", BOTH);
        assert!(!other.session_url.is_empty(), "it is answered beside them");
        std::thread::sleep(strength().1);
        50 * unread.len() as u64
    });
}

#[test]
fn metrics_that_nobody_reads_hold_up_no_other_client() {
    unread("unread metrics", &["/metrics"]);
}

#[test]
fn answers_of_the_api_that_nobody_reads_hold_up_no_other_client() {
    unread(
        "unread answers",
        &[
            "/api/v1/status",
            "/api/v1/sessions?limit=500",
            "/api/v1/sessions?order=worst",
            "/api/v1/streams",
            "/api/v1/shards",
            "/api/v1/events",
            "/api/v1/openapi.json",
            "/dashboard",
            "/live",
        ],
    );
}

/// A TCP connection from an address of loopback's.
fn from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 254, 0, last), 0)).into())?;
    socket.connect(&to.into())?;
    Ok(TcpStream::from(socket))
}

#[test]
fn tcp_connections_that_say_nothing_leave_room_for_those_that_do() {
    let server = Server::start(&["--shards", "2", "--tcp-port", "0"]);
    nobody_notices(&server, "silent TCP connections", |server| {
        let to = server_address(server);
        // As many as there may be from each of so many addresses that there is room for no more.
        let silent: Vec<TcpStream> =
            (0..1_100u16).filter_map(|number| from((number / 60) as u8, to).ok()).collect();
        let mut other = Client::publish_by(server, "other", BOTH, Link::connect(server));
        connect(&mut [&mut other]);
        silent.len() as u64
    });
}
