//! Media over TCP, for networks that let no UDP through: what arrives is what arrives over UDP,
//! whatever strangers and slow readers do.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, run_until};
use crate::support::stun::Checks;
use crate::support::tcp::Link;
use crate::support::{Server, eventually};
use monoport::drop::DropReason;
use monoport::limits::{
    MAX_FIRST_FRAME, MAX_TCP_FRAME_IN, MAX_TCP_FRAMES_UNPROVED, TCP_INTRODUCTION,
};
use monoport::telemetry::TcpRefusal;
use str0m::format::Codec;
use str0m::media::MediaKind;

const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

fn server(shards: usize) -> Server {
    Server::start(&["--shards", &shards.to_string(), "--tcp-port", "0"])
}

/// Sends frames `first..first + count` of one packet with audio beside them.
fn send(publisher: &mut Client, viewers: &mut [&mut Client], first: u32, count: u32) {
    for number in first..first + count {
        publisher.send(MediaKind::Video, number % 50 == 0, number, number * 3_000);
        publisher.send(MediaKind::Audio, false, number, number * 960);
        publisher.poll();
        viewers.iter_mut().for_each(|viewer| viewer.poll());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `ready` viewers have keys.
fn until_ready(server: &Server, all: &mut [&mut Client], ready: u64) {
    run_until("viewers are ready", all, |_| server.sum(|c| c.viewers_ready.get()) == ready);
}

fn has(viewer: &Client, numbers: std::ops::Range<u32>) -> bool {
    let numbers: Vec<u32> = numbers.collect();
    viewer.video_numbers() == numbers && viewer.audio_numbers() == numbers
}

#[test]
fn what_arrives_is_what_arrives_over_udp() {
    for shards in [1, 4] {
        let server = server(shards);
        for publishes_by_tcp in [true, false] {
            let mut publisher = match publishes_by_tcp {
                true => Client::publish_by(&server, "s", BOTH, Link::connect(&server)),
                false => Client::publish(&server, "s", BOTH),
            };
            connect(&mut [&mut publisher]);
            let mut viewers: Vec<Client> = (0..6)
                .map(|number| match number % 2 {
                    0 => Client::watch_by(&server, "s", BOTH, Link::connect(&server)),
                    _ => Client::watch(&server, "s", BOTH),
                })
                .collect();
            let mut all: Vec<&mut Client> = viewers.iter_mut().chain([&mut publisher]).collect();
            connect(&mut all);
            until_ready(&server, &mut all, 6);
            let mut viewers: Vec<&mut Client> = viewers.iter_mut().collect();
            send(&mut publisher, &mut viewers, 0, 150);
            viewers.push(&mut publisher);
            run_until("every packet, by either way", &mut viewers, |all| {
                all[..6].iter().all(|viewer| has(viewer, 0..150))
            });
            let payloads = |viewer: &Client| -> Vec<Vec<u8>> {
                let mut payloads: Vec<Vec<u8>> =
                    viewer.received.iter().map(|packet| packet.payload.to_vec()).collect();
                payloads.sort();
                payloads
            };
            let udp = payloads(viewers[1]);
            assert!(viewers[..6].iter().all(|viewer| payloads(viewer) == udp));
            let connections = 3 + u64::from(publishes_by_tcp);
            assert_eq!(server.sum(|c| c.tcp_connections.get()), connections);
            for viewer in &viewers {
                assert_eq!(viewer.delete().status, 200);
            }
            eventually("their connections are gone with them", || {
                server.sum(|c| c.tcp_connections.get()) == 0 && server.sessions() == 0
            });
        }
        for reason in [DropReason::TcpQueueFull, DropReason::ConnectionLost] {
            assert_eq!(server.drops(reason), 0, "{reason:?}, {shards} shards");
        }
    }
}

#[test]
fn a_client_that_writes_byte_by_byte_is_understood() {
    let server = server(1);
    let link = || {
        let mut link = Link::connect(&server);
        link.by_bytes = true;
        link
    };
    let mut publisher = Client::publish_by(&server, "s", BOTH, link());
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch_by(&server, "s", BOTH, link());
    connect(&mut [&mut publisher, &mut viewer]);
    until_ready(&server, &mut [&mut publisher, &mut viewer], 1);
    send(&mut publisher, &mut [&mut viewer], 0, 40);
    run_until("every packet", &mut [&mut publisher, &mut viewer], |all| has(all[1], 0..40));
}

#[test]
fn who_does_not_begin_with_a_check_of_a_session_is_shown_the_door() {
    let server = server(2);
    let refused = |reason: TcpRefusal, bytes: &[u8]| {
        let before = server.node().tcp_refusals().get(reason);
        let mut link = Link::connect(&server);
        link.send_raw(bytes);
        eventually("the connection is closed", || link.is_closed());
        let counted = || server.node().tcp_refusals().get(reason) == before + 1;
        eventually(&format!("{reason:?} is counted"), counted);
    };
    refused(TcpRefusal::NotACheck, b"GET / HTTP/1.1\r\n\r\n");
    refused(TcpRefusal::NotACheck, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
    refused(TcpRefusal::NotACheck, &[0, 0]);
    refused(TcpRefusal::NotACheck, &[0, 4, 0x80, 96, 0, 1]);
    refused(TcpRefusal::NotACheck, &(MAX_FIRST_FRAME as u16 + 1).to_be_bytes());
    let answer = crate::support::stun::response("192.0.2.1:1".parse().expect("an address"));
    refused(TcpRefusal::NotACheck, &[&[0, answer.len() as u8][..], &answer].concat());
    // A check of another server, or of this one's last run.
    let elsewhere = Server::with_shards(1);
    let mut client = Client::publish(&elsewhere, "s", BOTH);
    let (_, check) = Checks::of(&mut client).request(true);
    refused(TcpRefusal::ForgedUfrag, &[&[0, check.len() as u8][..], &check].concat());

    // Who says nothing is heard out for a while, and who leaves is gone at once.
    let mut silent = Link::connect(&server);
    silent.send_raw(&[0]);
    drop(Link::connect(&server));
    let refusals = server.node().tcp_refusals();
    eventually("the end is noticed", || refusals.get(TcpRefusal::Gone) == 1);
    eventually("silence ends it", || silent.is_closed());
    eventually("it is counted", || refusals.get(TcpRefusal::Silent) == 1);
    assert_eq!(server.sum(|c| c.tcp_connections.get()), 0, "none has reached a shard");
}

#[test]
fn a_connection_that_no_password_proves_is_closed() {
    let server = server(1);
    let mut client = Client::publish(&server, "s", BOTH);
    let forged = Checks::forged(&mut client);
    let begun = Instant::now();
    let mut patient = Link::connect(&server);
    patient.send(&forged.request(true).1);
    let mut hasty = Link::connect(&server);
    for _ in 0..=MAX_TCP_FRAMES_UNPROVED {
        hasty.send(&forged.request(true).1);
    }
    let unproved = || server.sum(|c| c.tcp_connections_unproved.get());
    eventually("too many guesses end it", || hasty.is_closed());
    // Looked at before the time: on a machine that has slept over this it may be over by now.
    let closed = patient.is_closed();
    assert!(!closed || begun.elapsed() >= TCP_INTRODUCTION, "one guess does not");
    eventually("its time is over in the end", || patient.is_closed());
    assert_eq!(unproved(), 2);
    let guesses = MAX_TCP_FRAMES_UNPROVED as u64 + 1;
    assert_eq!(server.drops(DropReason::StunRejected), guesses);
    connect(&mut [&mut client]);
}

#[test]
fn an_overlong_frame_ends_the_connection_and_not_the_session() {
    let server = server(1);
    let mut publisher = Client::publish_by(&server, "s", BOTH, Link::connect(&server));
    connect(&mut [&mut publisher]);
    let link = publisher.tcp.as_mut().expect("it has one");
    link.send_raw(&(MAX_TCP_FRAME_IN as u16 + 1).to_be_bytes());
    eventually("the connection is closed", || link.is_closed());
    assert_eq!(server.sum(|c| c.tcp_connections_malformed.get()), 1);
    assert_eq!(server.sessions(), 1, "it may come back by another way");
}

#[test]
fn who_reads_nothing_is_let_go_and_nobody_else_notices() {
    let server = server(2);
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let narrow = Link::connect_narrow(&server, 4_096);
    let mut deaf = Client::watch_by(&server, "s", BOTH, narrow);
    let mut others = [
        Client::watch_by(&server, "s", BOTH, Link::connect(&server)),
        Client::watch(&server, "s", BOTH),
    ];
    let [tcp, udp] = &mut others;
    connect(&mut [&mut publisher, &mut deaf, tcp, udp]);
    until_ready(&server, &mut [&mut publisher, &mut deaf, tcp, udp], 3);
    deaf.tcp.as_mut().expect("it has one").deaf = true;
    // What the kernel and the outbox hold, and as much again, in bursts that the others bear.
    let mut number = 0;
    let full = || server.drops(DropReason::TcpQueueFull);
    while full() < 100 {
        for _ in 0..20 {
            publisher.send(MediaKind::Video, number % 50 == 0, number, number * 3_000);
            publisher.send(MediaKind::Audio, false, number, number * 960);
            number += 1;
        }
        publisher.poll();
        run_until("the others keep up", &mut [&mut *tcp, &mut *udp], |others| {
            others.iter().all(|viewer| {
                let last =
                    viewer.received.iter().rev().find(|p| crate::support::client::is_opus(p));
                last.is_some_and(|p| crate::support::media::number(&p.payload) == number - 1)
            })
        });
        assert!(number < 20_000, "the outbox has a bound");
    }
    let stalled = || server.sum(|c| c.tcp_connections_stalled.get());
    run_until("it is let go", &mut [&mut publisher, &mut *tcp, &mut *udp], |_| stalled() == 1);
    // It is counted as given up, and then as one that is no more.
    eventually("one is left", || server.sum(|c| c.tcp_connections.get()) == 1);
    eventually("what waited is counted", || server.drops(DropReason::ConnectionLost) > 0);
    let last = number + 100;
    send(&mut publisher, &mut [&mut *tcp, &mut *udp], number, 100);
    run_until("nobody else lacks a packet", &mut [&mut publisher, tcp, udp], |all| {
        all[1..].iter().all(|viewer| has(viewer, 0..last))
    });
    eventually("its connection is closed", || {
        deaf.tcp.as_mut().is_some_and(|link| link.is_closed())
    });
}

#[test]
fn a_session_whose_connection_ends_goes_on_over_udp_with_its_first_check() {
    for nominate in [true, false] {
        let server = server(2);
        let mut publisher = Client::publish(&server, "s", BOTH);
        connect(&mut [&mut publisher]);
        let mut viewer = Client::watch_by(&server, "s", BOTH, Link::connect(&server));
        connect(&mut [&mut publisher, &mut viewer]);
        until_ready(&server, &mut [&mut publisher, &mut viewer], 1);
        let checks = Checks::of(&mut viewer);
        viewer.tcp = None;
        eventually("the end is noticed", || server.sum(|c| c.tcp_connections.get()) == 0);
        send(&mut publisher, &mut [], 0, 10);
        eventually("what goes nowhere is counted", || {
            server.drops(DropReason::ConnectionLost) >= 20
        });
        let socket = crate::support::client::socket();
        checks.exchange(&socket, server.media(), nominate);
        eventually("it has moved", || server.sum(|c| c.flow_moves.get()) == 1);
        assert!(media_arrives(&mut publisher, &socket), "by UDP, nominated: {nominate}");
        assert_eq!(server.sessions(), 2, "it is the same session still");
    }
}

#[test]
fn a_session_with_both_ways_falls_back_to_the_one_that_is_left() {
    let server = server(2);
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch_by(&server, "s", BOTH, Link::connect(&server));
    connect(&mut [&mut publisher, &mut viewer]);
    until_ready(&server, &mut [&mut publisher, &mut viewer], 1);
    let socket = crate::support::client::socket();
    let checks = Checks::of(&mut viewer);
    checks.exchange(&socket, server.media(), false);
    send(&mut publisher, &mut [&mut viewer], 0, 10);
    run_until("media stays where it was", &mut [&mut publisher, &mut viewer], |all| {
        has(all[1], 0..10)
    });
    // No further check comes: the flow that proved itself before is enough.
    viewer.tcp = None;
    eventually("it has moved", || server.sum(|c| c.flow_moves.get()) == 1);
    assert!(media_arrives(&mut publisher, &socket));
    // And a check that chooses a connection moves it there, as one over UDP would.
    let mut link = Link::connect(&server);
    link.send(&checks.request(true).1);
    eventually("it has moved back", || server.sum(|c| c.flow_moves.get()) == 2);
    send(&mut publisher, &mut [], 200, 1);
    eventually("media comes over TCP", || {
        std::iter::from_fn(|| link.receive()).any(|datagram| datagram[0] & 0xc0 == 0x80)
    });
}

#[test]
fn both_families_and_every_announced_address_are_served() {
    let options = ["--shards", "2", "--tcp-port", "0", "--announce", "127.0.0.1,127.0.0.2,::1"];
    let server = Server::start(&options);
    let mut publisher = Client::publish_by(&server, "s", BOTH, Link::connect(&server));
    connect(&mut [&mut publisher]);
    let mut viewers: Vec<Client> = ["127.0.0.1", "127.0.0.2", "::1"]
        .map(|ip| Link::connect_at(&server, ip.parse().expect("an address")))
        .map(|link| Client::watch_by(&server, "s", BOTH, link))
        .into();
    let mut all: Vec<&mut Client> = viewers.iter_mut().chain([&mut publisher]).collect();
    connect(&mut all);
    until_ready(&server, &mut all, 3);
    let publisher = all.pop().expect("it is the last");
    send(publisher, &mut all, 0, 20);
    run_until("every packet", &mut all, |all| all.iter().all(|viewer| has(viewer, 0..20)));
}

#[test]
fn filters_and_a_bound_address_hold_for_tcp_as_for_udp() {
    let loopback = ["--bind", "0.0.0.0", "--no-ipv6", "--ips", "127.0.0.1/32"];
    for options in [&["--bind", "127.0.0.3"][..], &loopback] {
        let server = Server::start(&[&["--shards", "1", "--tcp-port", "0"], options].concat());
        let client = Client::publish(&server, "s", BOTH);
        let addresses = |transport: &str| -> Vec<String> {
            let words = client.answer.lines().filter(|line| line.starts_with("a=candidate:"));
            let words = words.map(|line| line.split(' ').collect::<Vec<_>>());
            words.filter(|words| words[2] == transport).map(|words| words[4].to_owned()).collect()
        };
        assert!(!addresses("tcp").is_empty() && addresses("tcp") == addresses("udp"));
        let port = server.node().tcp_port().expect("it serves TCP");
        let elsewhere = std::net::TcpStream::connect(("127.0.0.4", port)).is_ok();
        assert_eq!(elsewhere, options[1] == "0.0.0.0", "{options:?}");
        // The port is free as soon as the server has stopped, whoever was connected.
        drop(server);
        let port = port.to_string();
        Server::start(&[&["--shards", "1", "--tcp-port", &port], options].concat());
    }
}

#[test]
fn a_flood_over_tcp_costs_nobody_over_udp_a_packet() {
    let server = server(1);
    let mut publisher = Client::publish(&server, "s", BOTH);
    let mut flooder = Client::publish_by(&server, "flood", BOTH, Link::connect(&server));
    connect(&mut [&mut publisher, &mut flooder]);
    let mut viewer = Client::watch(&server, "s", BOTH);
    connect(&mut [&mut publisher, &mut flooder, &mut viewer]);
    until_ready(&server, &mut [&mut publisher, &mut viewer], 1);
    let link = flooder.tcp.as_mut().expect("it has one");
    // The first byte of TURN channels, which nobody speaks here.
    let nonsense = [0x40; 1_000];
    let mut sent = 0;
    for number in 0..100 {
        for _ in 0..100 {
            link.send(&nonsense);
            sent += 1;
        }
        send(&mut publisher, &mut [&mut viewer], number, 1);
    }
    run_until("every packet", &mut [&mut publisher, &mut viewer], |all| has(all[1], 0..100));
    eventually("every frame of the flood is counted, too", || {
        link.receive();
        server.drops(DropReason::UnknownKind) == sent
    });
    assert!(server.sum(|c| c.tcp_frames_in.get()) > sent);
    eventually("every frame has one outcome", || {
        server.node().counters().map(|c| c.conservation()).all(|(come, outcomes)| come == outcomes)
    });
}

#[test]
fn the_same_numbers_over_udp_and_over_tcp_are_two_paths() {
    // Below what the kernel gives out by itself, or another test might have it in between.
    let start = 15_000 + (std::process::id() % 4_000) as u16;
    let is_free = |port: &u16| {
        UdpSocket::bind(("127.0.0.1", *port)).is_ok() && TcpListener::bind(("::", *port)).is_ok()
    };
    let port = (start..20_000).find(is_free).expect("a free port").to_string();
    let server = Server::start(&["--shards", "2", "--udp-port", &port, "--tcp-port", &port]);
    assert_eq!(server.node().tcp_port(), Some(server.media().port()));
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let (link, socket) = loop {
        let link = Link::connect(&server);
        if let Ok(socket) = UdpSocket::bind(link.local) {
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
            break (link, socket);
        }
    };
    let mut by_tcp = Client::watch_by(&server, "s", BOTH, link);
    let mut by_udp = Client::watch_from(&server, "s", BOTH, socket);
    connect(&mut [&mut publisher, &mut by_tcp, &mut by_udp]);
    until_ready(&server, &mut [&mut publisher, &mut by_tcp, &mut by_udp], 2);
    send(&mut publisher, &mut [&mut by_tcp, &mut by_udp], 0, 50);
    run_until("every packet by both", &mut [&mut publisher, &mut by_tcp, &mut by_udp], |all| {
        all[1..].iter().all(|viewer| has(viewer, 0..50))
    });
    assert_eq!(server.sum(|c| c.flow_moves.get()), 0);
}

/// Sends a little, and says whether RTP arrives at `socket`.
fn media_arrives(publisher: &mut Client, socket: &UdpSocket) -> bool {
    send(publisher, &mut [], 100, 5);
    let mut buffer = [0; 2_000];
    let mut found = false;
    eventually("a packet arrives", || {
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            found |= length > 100 && buffer[0] & 0xc0 == 0x80 && buffer[1] & 0x7f < 64
                || length > 100 && buffer[1] & 0x7f >= 96;
        }
        found
    });
    found
}

#[test]
fn two_sessions_of_one_client_have_a_connection_each() {
    let server = server(4);
    let mut publishers: Vec<Client> = ["one", "two"]
        .map(|stream| Client::publish_by(&server, stream, BOTH, Link::connect(&server)))
        .into();
    let mut all: Vec<&mut Client> = publishers.iter_mut().collect();
    connect(&mut all);
    let mut viewers: Vec<Client> = ["one", "two"]
        .map(|stream| Client::watch_by(&server, stream, BOTH, Link::connect(&server)))
        .into();
    all.extend(viewers.iter_mut());
    connect(&mut all);
    until_ready(&server, &mut all, 2);
    assert_eq!(server.sum(|c| c.tcp_connections.get()), 4);
    let get = |path: &str| -> serde_json::Value {
        let body = crate::support::request("GET", &server.url(path), &[], "").body;
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    };
    let sessions = get("/api/v1/sessions")["sessions"].take();
    assert_eq!(sessions.as_array().map(Vec::len), Some(4));
    for session in sessions.as_array().expect("a list") {
        let id = session["id"].as_str().expect("a name");
        assert_eq!(get(&format!("/api/v1/sessions/{id}"))["transport"], "tcp");
    }
    for number in 0..50 {
        for (publisher, base) in [(0, 0), (1, 1_000)] {
            all[publisher].send(MediaKind::Video, number == 0, base + number, number * 3_000);
            all[publisher].send(MediaKind::Audio, false, base + number, number * 960);
        }
        all.iter_mut().for_each(|client| client.poll());
    }
    run_until("each its own", &mut all, |all| has(all[2], 0..50) && has(all[3], 1_000..1_050));
}

#[test]
fn a_check_for_a_session_of_another_shard_does_not_take_the_connection_along() {
    let server = server(2);
    let mut first = Client::publish_by(&server, "one", BOTH, Link::connect(&server));
    let mut second = Client::publish(&server, "two", BOTH);
    connect(&mut [&mut first, &mut second]);
    // The shard with the fewest sessions gets the next: they are on different ones.
    let (_, check) = Checks::of(&mut second).request(true);
    first.tcp.as_mut().expect("it has one").send(&check);
    eventually("it is counted", || server.drops(DropReason::ForeignConnection) == 1);
    assert_eq!(server.sum(|c| c.tcp_connections.get()), 1);
    assert_eq!(server.sum(|c| c.flow_moves.get()), 0);
}

#[test]
fn answers_name_the_tcp_port_behind_and_below_every_udp_candidate() {
    let announce = "198.51.100.7:3478,2001:db8::7,192.0.2.1";
    let options = ["--shards", "1", "--tcp-port", "0", "--announce", announce];
    let server = Server::start(&options);
    let client = Client::publish(&server, "s", BOTH);
    let section = client.answer.split("m=").nth(1).expect("a section");
    let lines = section.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let candidates: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
    let transports: Vec<&str> = candidates.iter().map(|words| words[2]).collect();
    assert_eq!(transports, ["udp", "udp", "udp", "tcp", "tcp", "tcp"]);
    let port = server.node().tcp_port().expect("it serves TCP").to_string();
    let addresses: Vec<[&str; 2]> = candidates[3..].iter().map(|w| [w[4], w[5]]).collect();
    let expected = ["198.51.100.7", "2001:db8::7", "192.0.2.1"].map(|ip| [ip, &port]);
    assert_eq!(addresses, expected, "an announced port is that of UDP");
    let priority = |words: &Vec<&str>| words[3].parse::<u32>().expect("a priority");
    let least_udp = candidates[..3].iter().map(priority).min();
    let most_tcp = candidates[3..].iter().map(priority).max();
    assert!(most_tcp < least_udp, "{most_tcp:?} {least_udp:?}");
    for words in &candidates[3..] {
        assert!(words.join(" ").contains("typ host tcptype passive"), "{words:?}");
    }
    let without = Server::with_shards(1);
    assert_eq!(without.node().tcp_port(), None);
    assert!(!Client::publish(&without, "s", BOTH).answer.contains(" tcp "));
}

#[test]
fn a_tcp_port_in_use_is_an_error_that_names_who_has_it() {
    let listener = std::net::TcpListener::bind("[::]:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--http", "127.0.0.1:0", "--udp-port", "0", "--tcp-port", &port])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let pid = format!("pid {}", std::process::id());
    for words in [&*port, &*pid, "--tcp-port", "--no-tcp"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
