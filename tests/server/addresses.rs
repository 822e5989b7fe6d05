//! Addresses that change hands, several of the server's own, both families, firewalls and floods:
//! who a datagram belongs to, and where the answer comes from.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::alone::alone;
use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::log::Log;
use crate::support::namespace::{in_namespace, run};
use crate::support::stun::{Checks, flood, response};
use crate::support::{Server, eventually, steerings};
use monoport::drop::DropReason;
use monoport::id::SessionKey;
use monoport::wire::ufrag::UfragKey;
use str0m::format::Codec;
use str0m::media::MediaKind;

const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// A publisher of `s` and viewers at `sockets`, connected and ready for media.
fn playing(server: &Server, sockets: Vec<UdpSocket>) -> (Client, Vec<Client>) {
    let mut publisher = Client::publish(server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let count = sockets.len() as u64;
    let watch = |socket| Client::watch_from(server, "s", BOTH, socket);
    let mut viewers: Vec<Client> = sockets.into_iter().map(watch).collect();
    let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
    all.push(&mut publisher);
    connect(&mut all);
    run_until("viewers are ready", &mut all, |_| server.sum(|c| c.viewers_ready.get()) == count);
    (publisher, viewers)
}

/// Sends frames `first..first + 50`, and waits until each of `viewers` has all of them.
fn plays(publisher: &mut Client, viewers: &mut [&mut Client], first: u32) {
    let numbers = first..first + 50;
    for number in numbers.clone() {
        publisher.send(MediaKind::Video, number == first, number, number * 3_000);
        publisher.poll();
        for viewer in viewers.iter_mut() {
            viewer.poll();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut all: Vec<&mut Client> = vec![publisher];
    all.extend(viewers.iter_mut().map(|viewer| &mut **viewer));
    run_until(&format!("frames from {first} on"), &mut all, |all| {
        let has = |viewer: &&mut Client| {
            let video = viewer.video_numbers();
            numbers.clone().all(|number| video.contains(&number))
        };
        all[1..].iter().all(has)
    });
}

fn silence(socket: &UdpSocket) {
    let mut buffer = [0; 2_000];
    while socket.recv(&mut buffer).is_ok() {}
}

#[test]
fn a_check_with_another_sessions_credentials_takes_the_address_and_nothing_more() {
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let (mut publisher, mut viewers) = playing(&server, vec![socket(), socket()]);
        let [a, b] = &mut viewers[..] else { panic!("there are two") };
        plays(&mut publisher, &mut [a, b], 0);
        let (checks_of_a, checks_of_b) = (Checks::of(a), Checks::of(b));
        let other = socket();
        checks_of_b.exchange(&other, server.media(), false);
        eventually("a second flow of B", || server.flows() == 4);

        // From here on, what was B's address is A's, and A's media goes there.
        checks_of_a.exchange(&b.socket, server.media(), true);
        // B has kept its other address, and its media goes there, not to A's client.
        eventually("both have moved", || server.sum(|c| c.flow_moves.get()) == 2);
        eventually("no flow is there twice", || server.flows() == 4);
        silence(&b.socket);
        a.socket = std::mem::replace(&mut b.socket, other);
        plays(&mut publisher, &mut [a, b], 100);
        assert_eq!(server.drops(DropReason::SrtpAuth), 0, "nobody's report goes to another");

        // B's end takes nothing of A's along.
        assert_eq!(b.delete().status, 200);
        eventually("B is gone", || server.sessions() == 2);
        plays(&mut publisher, &mut [a], 200);
    }
}

#[test]
fn each_of_several_addresses_answers_for_itself() {
    const OURS: [&str; 3] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    for bind in ["0.0.0.0", "::"] {
        for steering in steerings() {
            let shards = ["--shards", "2", "--steering", steering];
            let announce = ["--bind", bind, "--announce", "127.0.0.2,127.0.0.3,127.0.0.4"];
            let server = Server::start(&[shards, announce].concat());
            let (mut publisher, mut viewers) = playing(&server, vec![socket()]);
            let [viewer] = &mut viewers[..] else { panic!("there is one") };
            let checks = Checks::of(viewer);
            let to = |ip: &str| SocketAddr::new(ip.parse().unwrap(), server.media().port());
            for ip in OURS {
                let answer = checks.exchange(&viewer.socket, to(ip), false);
                assert_eq!((answer.from, answer.mapped), (to(ip), Some(viewer.address)));
            }
            // A pair per address of ours, though the client has one socket.
            let of_viewer = |all: u64| all - 3;
            run_until("the publisher's pairs", &mut [&mut publisher], |_| server.flows() >= 6);
            assert_eq!(of_viewer(server.flows()), 3);
            for (round, ip) in (0u32..).zip(OURS.iter().rev()) {
                checks.exchange(&viewer.socket, to(ip), true);
                silence(&viewer.socket);
                publisher.send(MediaKind::Video, true, round, round * 3_000);
                let mut buffer = [0; 2_000];
                let mut media_from = None;
                eventually("a packet", || {
                    publisher.poll();
                    let received = viewer.socket.recv_from(&mut buffer);
                    // RTP, not RTCP (RFC 5761 section 4).
                    let rtp =
                        |bytes: &[u8]| bytes[0] >> 6 == 2 && !(64..96).contains(&(bytes[1] & 127));
                    media_from = received.ok().filter(|_| rtp(&buffer)).map(|(_, from)| from);
                    media_from.is_some()
                });
                assert_eq!(media_from, Some(to(ip)), "media leaves from the chosen address");
            }
        }
    }
}

#[test]
fn both_families_share_the_port_without_loss() {
    let v6 = || {
        let socket = UdpSocket::bind("[::1]:0")?;
        socket.set_nonblocking(true).map(|()| socket)
    };
    if let Err(error) = v6() {
        eprintln!("not tested: no IPv6 here: {error}");
        return;
    }
    for steering in steerings() {
        let shards = ["--shards", "2", "--steering", steering];
        let announce = ["--bind", "::", "--announce", "127.0.0.1,::1"];
        let server = Server::start(&[shards, announce].concat());
        let sockets = (0..12).map(|index| if index % 2 == 0 { socket() } else { v6().unwrap() });
        let (mut publisher, mut viewers) = playing(&server, sockets.collect());
        for viewer in &mut viewers {
            let server_side = match viewer.address {
                SocketAddr::V4(_) => server.media(),
                SocketAddr::V6(_) => SocketAddr::new("::1".parse().unwrap(), server.media().port()),
            };
            // IPv4 in the clothes of IPv6 would not do: the client compares.
            let answer = Checks::of(viewer).exchange(&viewer.socket, server_side, false);
            assert_eq!((answer.from, answer.mapped), (server_side, Some(viewer.address)));
        }
        let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
        plays(&mut publisher, &mut all, 0);
        for viewer in &viewers {
            let numbers = viewer.video_numbers();
            assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "in order, none twice");
        }
        assert_eq!(server.sum(|c| c.repaired_packets.get()), 0, "none was lost on the way");
        assert_eq!(server.drops(DropReason::UnknownFlow), 0);
    }
}

#[test]
fn responses_nobody_asked_for_are_counted_and_change_nothing() {
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let (mut publisher, mut viewers) = playing(&server, vec![socket()]);
        let [viewer] = &mut viewers[..] else { panic!("there is one") };
        let flows = server.flows();
        let stranger = socket();
        for _ in 0..50 {
            for from in [&viewer.socket, &stranger] {
                from.send_to(&response(viewer.address), server.media()).expect("it is taken");
            }
        }
        eventually("each is counted", || server.drops(DropReason::UnsolicitedStun) == 100);
        assert_eq!(server.flows(), flows);
        plays(&mut publisher, &mut [viewer], 0);
    }
}

#[test]
fn a_flood_of_checks_by_strangers_is_neither_answered_nor_remembered() {
    const FLOOD: usize = 5_000;
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let (mut publisher, mut viewers) = playing(&server, vec![socket()]);
        let [viewer] = &mut viewers[..] else { panic!("there is one") };
        let tables =
            || (server.sessions(), server.flows(), server.streams(), server.node().counts());
        let (before, answered) = (tables(), server.sum(|c| c.stun_responses_out.get()));

        // No name, as STUN clients send; names of another server; a real name without its password.
        let mut nameless = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        nameless.extend([7; 12]);
        let strange = UfragKey::random();
        let forged = Checks::forged(viewer);
        let kinds = (0..FLOOD).flat_map(|index| {
            let slot = (index % 1_000) as u32;
            let name =
                strange.encode(SessionKey { shard: (index % 2) as u16, slot, generation: 0 });
            let named = named_request(name.as_str());
            [nameless.clone(), named, forged.request(true).1]
        });
        let stranger = flood(&server, kinds);
        let expected = FLOOD as u64;
        for reason in [DropReason::StunWithoutUsername, DropReason::ForgedUfrag] {
            eventually(reason.label(), || server.drops(reason) == expected);
        }
        let wrong = [DropReason::StunRejected, DropReason::ChecksLimited];
        let wrong = || wrong.map(|reason| server.drops(reason)).iter().sum::<u64>();
        eventually("wrong passwords", || wrong() == expected);
        assert!(server.drops(DropReason::ChecksLimited) > 0, "they came by the thousand");
        assert_eq!(tables(), before, "no state for strangers");
        assert_eq!(server.sum(|c| c.stun_responses_out.get()), answered, "no reply to strangers");
        assert!(stranger.recv(&mut [0; 100]).is_err(), "no reply to strangers");
        plays(&mut publisher, &mut [viewer], 0);
    }
}

/// A binding request with USERNAME `ufrag:abcd` and no integrity.
fn named_request(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:abcd");
    let padded = username.len().next_multiple_of(4);
    let mut request = vec![0, 1];
    request.extend((padded as u16 + 4).to_be_bytes());
    request.extend([0x21, 0x12, 0xa4, 0x42]);
    request.extend([7; 12]);
    request.extend([0, 6]);
    request.extend((username.len() as u16).to_be_bytes());
    request.extend(username.as_bytes());
    request.resize(24 + padded, 0);
    request
}

#[test]
fn a_session_nobody_comes_for_is_ended_and_the_log_says_why() {
    alone("addresses::a_session_nobody_comes_for_is_ended_and_the_log_says_why", nobody_comes);
}

fn nobody_comes() {
    let log = Log::listen();
    let server = Server::start(&["--shards", "1", "--setup-timeout", "2"]);
    let silent = Client::publish(&server, "silent", BOTH);
    let mut forger = Client::publish(&server, "forger", BOTH);
    let mut half = Client::publish(&server, "half", BOTH);
    let (_, check) = Checks::forged(&mut forger).request(true);
    eventually("the forged check is refused", || {
        forger.socket.send_to(&check, server.media()).expect("loopback takes it");
        server.drops(DropReason::StunRejected) > 0
    });
    // This one proves its address, and then says nothing of DTLS.
    Checks::of(&mut half).exchange(&half.socket, server.media(), true);
    eventually("all are ended", || server.node().counts() == (0, 0));
    eventually("and every table is empty", || server.sessions() == 0 && server.flows() == 0);
    let reason = |name: &str| {
        let mut line = None;
        eventually("a line in the log", || {
            line = log.lines_with(&format!("publisher of `{name}` ended")).pop();
            line.is_some()
        });
        line.unwrap_or_default()
    };
    let (none, bad, late) = (reason("silent"), reason("forger"), reason("half"));
    assert!(none.contains("no STUN") && none.contains(&server.media().to_string()), "{none}");
    assert!(bad.contains("bad credentials"), "{bad}");
    assert!(late.contains("DTLS did not finish"), "{late}");
    assert_eq!(silent.delete().status, 404, "its URL is gone");
}

#[test]
fn a_firewall_in_front_of_one_viewer_costs_the_others_nothing() {
    let name = "addresses::a_firewall_in_front_of_one_viewer_costs_the_others_nothing";
    let firewall = [
        "ip link set lo up",
        "nft add table inet t",
        "nft add chain inet t o { type filter hook output priority 0 ; }",
    ];
    in_namespace(name, &firewall, || {
        let server = Server::with_shards(1);
        let (mut publisher, mut viewers) = playing(&server, vec![socket(), socket()]);
        let [walled, free] = &mut viewers[..] else { panic!("there are two") };
        plays(&mut publisher, &mut [walled, free], 0);

        let port = walled.address.port();
        assert!(run(&format!("nft add rule inet t o udp dport {port} drop")), "a rule");
        let refused = || server.drops(DropReason::SendRefused);
        let calls = || server.sum(|c| c.send_calls.get());
        let useful = || {
            server.sum(|c| c.trains_out.get() + c.trains_refused.get() + c.send_would_block.get())
                + refused()
        };
        let (calls_before, useful_before) = (calls(), useful());
        plays(&mut publisher, &mut [free], 100);
        eventually("what the firewall refused is counted", || refused() >= 50);
        // Each call to the kernel gets something off the queue: it never tries the same again.
        run_for(Duration::from_millis(200), &mut [&mut publisher, free]);
        let (called, got) = (calls() - calls_before, useful() - useful_before);
        assert!(called <= got + 1, "{called} calls for {got} messages");

        assert!(run("nft flush chain inet t o"), "the rule goes");
        plays(&mut publisher, &mut [walled, free], 200);
    });
}
