//! The log: a flood of strangers writes few lines, and one search finds all lines of a session.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::client::{Client, Offered, socket};
use crate::support::process::Process;
use crate::support::{post_sdp, request};
use monoport::id::SessionKey;
use monoport::limits::LOG_LINES_PER_SECOND;
use monoport::wire::ufrag::UfragKey;
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::Direction;

const AS_JSON: [&str; 6] = ["--shards", "1", "--log", "monoport=debug", "--log-format", "json"];

/// The lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    let parse = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line:?}"))
    };
    log.lines().map(parse).collect()
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

#[test]
fn a_flood_of_bad_offers_writes_few_lines_and_a_sum() {
    const OFFERS: u64 = 300;
    let server = Process::start(&AS_JSON);
    let started = Instant::now();
    for _ in 0..OFFERS {
        let answer = post_sdp(&format!("{}/whip/s", server.url), "this is no SDP\x1b[31m\nat all");
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    let seconds = started.elapsed().as_secs() + 2;
    let metrics = crate::support::request("GET", &format!("{}/metrics", server.url), &[], "").body;
    let counted = format!("monoport_session_failures_total{{reason=\"bad_offer\"}} {OFFERS}\n");
    assert!(metrics.contains(&counted), "{metrics}");
    let log = server.stop();
    assert!(!log.contains('\x1b'), "what a stranger wrote is escaped: {log}");
    let lines = lines(&log);
    let is_refusal = |line: &&Value| message(line).starts_with("refused to publish `s`");
    let refused: Vec<_> = lines.iter().filter(is_refusal).collect();
    let written = refused.len() as u64;
    assert!(written <= seconds * u64::from(LOG_LINES_PER_SECOND), "{written} in {seconds} s");
    let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert_eq!(written + left_out, OFFERS, "each is written or counted: {log}");
    assert!(left_out > 0, "{log}");
    assert!(refused[0]["why"].is_string(), "{log}");
}

#[test]
fn forged_packets_write_next_to_nothing() {
    let server = Process::start(&AS_JSON);
    let media = media_address(&server);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let forged = UfragKey::random().encode(SessionKey { shard: 0, slot: 0, generation: 0 });
    let username = forged.as_str().as_bytes();
    for number in 0..3_000_u32 {
        let mut datagram = vec![(number % 256) as u8; 60];
        if number % 3 == 0 {
            // A STUN request whose user name this server did not give out.
            datagram = vec![0, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42];
            datagram.extend([7; 12]);
            datagram.extend([0, 6, 0, username.len() as u8]);
            datagram.extend(username);
        }
        stranger.send_to(&datagram, media).expect("loopback takes it");
        if number % 100 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let log = server.stop();
    assert!(lines(&log).len() < 50, "{log}");
}

#[test]
fn dependencies_that_warn_of_each_line_and_each_attribute_write_few_lines() {
    let server = Process::start(&["--shards", "1"]);
    let offered = Offered { codec: Codec::Vp8, audio: true, video: true };
    let (mut client, offer, _) = Client::offer(offered, Direction::SendOnly, socket());
    let strange: String =
        (0..1_200).map(|n| format!("a=extmap:{} urn:example:{n}\r\n", n % 14 + 1)).collect();
    for number in 0..20 {
        let offer = offer.to_sdp_string() + &strange;
        let status = post_sdp(&format!("{}/whip/s-{number}", server.url), &offer).status;
        assert_ne!(status / 100, 5, "it is understood or refused");
    }
    let own = client.rtc.direct_api().local_ice_credentials().ufrag;
    let plain = post_sdp(&format!("{}/whip/plain", server.url), &offer.to_sdp_string());
    assert_eq!(plain.status, 201, "{}", plain.body);
    let ufrag = plain.body.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    let username = format!("{}:{own}", ufrag.expect("an answer has one"));
    // Attributes that nobody knows, in checks that nobody has signed yet.
    let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    check.extend([7; 12]);
    check.extend([0, 6, 0, username.len() as u8]);
    check.extend(username.as_bytes());
    check.resize(check.len().next_multiple_of(4), 0);
    for kind in 0..200u16 {
        check.extend((0xc100 + kind).to_be_bytes());
        check.extend([0, 0]);
    }
    let length = (check.len() - 20) as u16;
    check[2..4].copy_from_slice(&length.to_be_bytes());
    let media = media_address(&server);
    let started = Instant::now();
    for number in 0..3_000 {
        client.socket.send_to(&check, media).expect("loopback takes it");
        if number % 100 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let seconds = started.elapsed().as_secs() as usize + 2;
    let log = server.stop();
    assert!(log.len() < 30_000 + seconds * 20_000, "{} bytes of log", log.len());
}

/// Where the server's media goes: its one UDP socket.
fn media_address(server: &Process) -> SocketAddr {
    let sockets = std::fs::read_to_string(format!("/proc/{}/net/udp", server.id()));
    let sockets = sockets.expect("/proc has the sockets of the namespace");
    let own = own_sockets(server.id());
    let mut ports = sockets.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.split_once(':')?.1, 16).ok()?;
        own.iter().any(|inode| Some(&inode.as_str()) == fields.get(9)).then_some(port)
    });
    SocketAddr::from(([127, 0, 0, 1], ports.next().expect("the server has a UDP socket")))
}

fn own_sockets(pid: u32) -> Vec<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs");
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |target: std::path::PathBuf| {
        Some(target.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
    };
    targets.filter_map(inode).collect()
}

#[test]
fn every_line_about_a_session_names_it() {
    let server = Process::start(&AS_JSON);
    let status = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", &server.url, "--viewers", "1", "--duration", "1s"])
        .args(["--max-p99-ms", "60000", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("the load generator runs").success());
    let log = server.stop();
    let lines = lines(&log);
    for role in ["publisher", "viewer"] {
        let begins = format!("{role} set up");
        let is_first = |line: &&Value| message(line) == begins && line["stream"] == "load-0";
        let first = lines.iter().find(is_first);
        let session = first.unwrap_or_else(|| panic!("no {begins:?}: {log}"))["session"].clone();
        let name = session.as_str().expect("a session's name is text");
        assert_eq!(name.split('-').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{name}");
        let of_session: Vec<_> = lines.iter().filter(|line| line["session"] == session).collect();
        for what in ["connected after", "ended"] {
            assert!(of_session.iter().any(|line| message(line).contains(what)), "{what}: {log}");
        }
    }
}

#[test]
fn a_filter_that_is_none_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--log", "monoport=loud"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--log") && said.contains("loud"), "{said}");
}

#[test]
fn set_up_and_end_say_who_it_was_unless_that_is_private() {
    let offer = || {
        let offered = Offered::both(Codec::Vp8);
        Client::offer(offered, Direction::SendOnly, socket()).1.to_sdp_string()
    };
    for (options, is_named) in [(&[][..], true), (&["--log-addresses", "off"], false)] {
        let server = Process::start(&[&AS_JSON[..], options].concat());
        let headers = [("Content-Type", "application/sdp"), ("User-Agent", "Camera/1")];
        let url = format!("{}/whip/s?token=hidden", server.url);
        let made = request("POST", &url, &headers, &offer());
        assert_eq!(made.status, 201, "{}", made.body);
        let location = made.header("location").expect("a Location");
        assert_eq!(request("DELETE", &format!("{}{location}", server.url), &[], "").status, 200);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let log = server.stop();
        for words in ["publisher set up", "publisher of `s` ended"] {
            let all = lines(&log);
            let line = all.iter().find(|line| message(line).contains(words)).expect(words);
            let named = line["from"] == "127.0.0.1, Camera/1";
            assert_eq!(named, is_named, "{line}");
        }
        assert_eq!(log.contains("127.0.0.1, "), is_named);
        assert!(!log.contains("hidden"), "no token, however it came");
    }
}
