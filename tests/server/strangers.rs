//! Bad input: whatever a stranger sends costs a counter and nothing else.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_until};
use crate::support::{Server, eventually, post_sdp, steerings};
use monoport::drop::DropReason;
use monoport::id::SessionKey;
use monoport::wire::ufrag::UfragKey;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

/// A STUN binding request with this user name and no integrity.
fn binding_request(username: &str) -> Vec<u8> {
    let padded = username.len().next_multiple_of(4);
    let mut request = vec![0x00, 0x01];
    request.extend(((padded + 4) as u16).to_be_bytes());
    request.extend(0x2112_a442_u32.to_be_bytes());
    request.extend(*b"transaction!");
    request.extend([0x00, 0x06]);
    request.extend((username.len() as u16).to_be_bytes());
    request.extend(username.as_bytes());
    request.resize(20 + 4 + padded, 0);
    request
}

/// A publisher and a viewer that must not notice anything.
fn playing(server: &Server) -> (Client, Client) {
    let offered = Offered::both(Codec::Vp8);
    let mut publisher = Client::publish(server, "s", offered);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(server, "s", offered);
    connect(&mut [&mut publisher, &mut viewer]);
    (publisher, viewer)
}

fn still_plays(server: &Server, publisher: &mut Client, viewer: &mut Client) {
    eventually("the viewer is ready", || server.sum(|c| c.viewers_ready.get()) == 1);
    for number in 0..30 {
        publisher.send(MediaKind::Video, number == 0, number, number * 3_000);
        publisher.poll();
        viewer.poll();
        std::thread::sleep(Duration::from_millis(1));
    }
    run_until("the stream plays on", &mut [publisher, viewer], |all| {
        all[1].video_numbers() == (0..30).collect::<Vec<_>>()
    });
}

#[test]
fn garbage_of_any_length_is_counted_and_harms_nobody() {
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let (mut publisher, mut viewer) = playing(&server);
        let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut sent = 0;
        let before = server.sum(|c| c.datagrams_in.get());
        for length in [0, 1, 2, 3, 11, 12, 19, 20, 28, 100, 1_200, 1_500, 9_000, 65_507] {
            for first in (0..=255).step_by(if length > 1_500 { 51 } else { 5 }) {
                let mut bytes: Vec<u8> = (0..length)
                    .map(|_| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        state as u8
                    })
                    .collect();
                if let Some(byte) = bytes.first_mut() {
                    *byte = first as u8;
                }
                stranger.send_to(&bytes, server.media()).expect("loopback takes it");
                sent += 1;
                if sent % 16 == 0 {
                    publisher.poll();
                    viewer.poll();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        let counted = || {
            let reasons = [
                DropReason::Empty,
                DropReason::UnknownKind,
                DropReason::MalformedStun,
                DropReason::UnknownFlow,
            ];
            reasons.into_iter().map(|reason| server.drops(reason)).sum::<u64>()
        };
        eventually("every datagram is counted under its reason", || counted() == sent);
        assert!(server.sum(|c| c.datagrams_in.get()) >= before + sent);
        still_plays(&server, &mut publisher, &mut viewer);
    }
}

#[test]
fn forged_names_and_wrong_passwords_leave_no_trace() {
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let (mut publisher, mut viewer) = playing(&server);
        let flows = server.flows();
        let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        stranger.set_nonblocking(true).expect("a socket can be non-blocking");

        // Made with another key: this server never gave the name out.
        let forged = UfragKey::random().encode(SessionKey { shard: 0, slot: 0, generation: 0 });
        // The real name of the viewer's session, but no password.
        let real = viewer.answered("a=ice-ufrag:").to_owned();
        for _ in 0..50 {
            let request = binding_request(&format!("{}:abcd", forged.as_str()));
            stranger.send_to(&request, server.media()).expect("loopback takes it");
            let request = binding_request(&format!("{real}:abcd"));
            stranger.send_to(&request, server.media()).expect("loopback takes it");
            let request = binding_request("");
            stranger.send_to(&request[..20], server.media()).expect("loopback takes it");
        }
        eventually("the forged ones are counted", || server.drops(DropReason::ForgedUfrag) >= 50);
        eventually("the wrong ones too", || server.drops(DropReason::StunRejected) >= 50);
        assert_eq!(server.flows(), flows, "no state for strangers");
        let mut reply = [0; 100];
        assert!(stranger.recv(&mut reply).is_err(), "no reply to strangers");
        still_plays(&server, &mut publisher, &mut viewer);
    }
}

#[test]
fn offers_that_make_no_sense_are_refused_in_words() {
    let server = Server::with_shards(1);
    let offered = Offered::both(Codec::Vp8);
    let socket = crate::support::client::socket();
    let (_client, offer, _) = Client::offer(offered, Direction::SendOnly, socket);
    let good = offer.to_sdp_string();
    let without = |prefix: &str| {
        let lines = good.lines().filter(|line| !line.starts_with(prefix));
        lines.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let cases = [
        ("empty", String::new(), 400),
        ("truncated", good[..good.len() / 3].to_owned(), 400),
        ("no credentials", without("a=ice-ufrag"), 400),
        ("no password", without("a=ice-pwd"), 400),
        ("no fingerprint", without("a=fingerprint"), 400),
        ("no mid", without("a=mid"), 400),
        ("no sections", without("m="), 400),
        ("one megabyte", format!("{good}a={}\r\n", "x".repeat(1 << 20)), 413),
        ("binary", "\u{0}\u{1}\u{2}".repeat(100), 400),
    ];
    for (name, sdp, status) in cases {
        let response = post_sdp(&server.url("/whip/s"), &sdp);
        assert_eq!(response.status, status, "{name}: {}", response.body);
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{name}");
        let problem: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{name}");
    }
    assert_eq!(server.node().counts(), (0, 0), "nothing is left of them");
    assert_eq!(post_sdp(&server.url("/whip/s"), &good).status, 201, "and the good one is taken");
}

#[test]
fn every_prefix_of_an_offer_gets_an_answer() {
    let server = Server::with_shards(1);
    let (_client, offer, _) = Client::offer(
        Offered::both(Codec::H264),
        Direction::SendOnly,
        crate::support::client::socket(),
    );
    let good = offer.to_sdp_string();
    for end in (0..good.len()).step_by(29) {
        let response = post_sdp(&server.url("/whip/s"), &good[..end]);
        assert!([201, 400, 406].contains(&response.status), "{end}: {}", response.body);
    }
}
