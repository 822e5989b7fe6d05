//! Connectivity checks as clients make them: with less than the standard asks for, and with more.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, socket};
use crate::support::stun::{Checks, hmac_sha1};
use crate::support::tcp::Link;
use crate::support::{PATIENCE, Server, eventually};
use monoport::drop::DropReason;
use str0m::format::Codec;

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// Of the range that may be ignored, and nobody's yet.
const OPTIONAL: u16 = 0xC0DE;
/// Of the range that must be understood.
const REQUIRED: u16 = 0x7777;

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// A nominating check with USERNAME, what is given, MESSAGE-INTEGRITY and FINGERPRINT alone.
fn check(client: &mut Client, password: &str, more: &[(u16, &[u8])]) -> Vec<u8> {
    let own = client.rtc.direct_api().local_ice_credentials().ufrag;
    sealed(&format!("{}:{own}", client.answered("a=ice-ufrag:")), password, more)
}

fn sealed(username: &str, password: &str, more: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend(b"transaction!");
    attribute(&mut message, USERNAME, username.as_bytes());
    for (kind, value) in more {
        attribute(&mut message, *kind, value);
    }
    attribute(&mut message, USE_CANDIDATE, &[]);
    // Each of the seals covers the length as if it were the last.
    let mut covered = message.clone();
    attribute(&mut covered, MESSAGE_INTEGRITY, &[0; 20]);
    message[2..4].copy_from_slice(&covered[2..4]);
    let tag = hmac_sha1(password.as_bytes(), &[&message]);
    attribute(&mut message, MESSAGE_INTEGRITY, &tag);
    attribute(&mut message, FINGERPRINT, &[0; 4]);
    let at = message.len() - 8;
    let crc = crc32(&message[..at]) ^ 0x5354_554e;
    message[at + 4..].copy_from_slice(&crc.to_be_bytes());
    message
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(!0, step)
}

/// What comes back for a check, which is sent again and again as clients do.
fn answer(socket: &UdpSocket, server: &Server, check: &[u8]) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 2_000];
    for round in 0u32.. {
        if round.is_multiple_of(100) {
            socket.send_to(check, server.media()).expect("loopback takes it");
        }
        if let Ok((length, _)) = socket.recv_from(&mut buffer)
            && buffer[8..20] == check[8..20]
        {
            return buffer[..length].to_vec();
        }
        assert!(Instant::now() < deadline, "no answer within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    unreachable!("the deadline comes first")
}

#[test]
fn a_check_without_priority_and_role_is_answered_and_proves_its_address() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    let password = client.answered("a=ice-pwd:").to_owned();
    let check = check(&mut client, &password, &[]);
    let answer = answer(&client.socket, &server, &check);
    assert_eq!(answer[..2], [1, 1], "a success response");
    eventually("its address is a flow of the session", || server.flows() == 1);
}

#[test]
fn an_unknown_attribute_that_may_be_ignored_is_ignored_however_long_it_is() {
    let server = Server::start(&["--shards", "1", "--tcp-port", "0"]);
    let mut client = Client::publish(&server, "s", VP8);
    let password = client.answered("a=ice-pwd:").to_owned();
    for length in [1, 600, 1_100] {
        let check = check(&mut client, &password, &[(OPTIONAL, &vec![0xab; length])]);
        assert_eq!(answer(&client.socket, &server, &check)[..2], [1, 1], "{length} bytes by UDP");
    }
    let mut link = Link::connect(&server);
    let check = check(&mut client, &password, &[(OPTIONAL, &[0xab; 1_100])]);
    link.send(&check);
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        if let Some(answer) = link.receive() {
            break answer;
        }
        assert!(!link.ended && Instant::now() < deadline, "it is the first frame, and answered");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(answer[..2], [1, 1]);
}

#[test]
fn an_unknown_attribute_that_must_be_understood_is_named_in_an_error() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    let password = client.answered("a=ice-pwd:").to_owned();
    let strange = check(&mut client, &password, &[(REQUIRED, &[1, 2, 3])]);
    let told = answer(&client.socket, &server, &strange);
    assert_eq!(told[..2], [1, 0x11], "an error response");
    let holds = |bytes: &[u8]| told.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(&[0, 9, 0, 21, 0, 0, 4, 20]), "ERROR-CODE 420: {told:02x?}");
    assert!(holds(&[0, 10, 0, 2, 0x77, 0x77]), "UNKNOWN-ATTRIBUTES: {told:02x?}");
    assert_eq!(server.flows(), 0, "nothing is proved by it");
    // Whoever has not the password is told nothing.
    let forged = check(&mut client, "nobody gave this one out", &[(REQUIRED, &[1])]);
    let stranger = socket();
    let before = server.drops(DropReason::StunRejected);
    stranger.send_to(&forged, server.media()).expect("loopback takes it");
    eventually("it is counted", || server.drops(DropReason::StunRejected) > before);
    assert!(stranger.recv(&mut [0; 100]).is_err(), "and not answered");
}

/// Ours is a lite agent, and the controlled one whatever its peer thinks.
#[test]
fn a_peer_that_takes_itself_for_controlled_is_told_so_and_proves_nothing() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    let password = client.answered("a=ice-pwd:").to_owned();
    for tie_breaker in [[0; 8], [0xff; 8]] {
        let conflicting = check(&mut client, &password, &[(ICE_CONTROLLED, &tie_breaker)]);
        let told = answer(&client.socket, &server, &conflicting);
        assert_eq!(told[..2], [1, 0x11], "an error response");
        let holds = |bytes: &[u8]| told.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(&[0, 9, 0, 17, 0, 0, 4, 87]), "ERROR-CODE 487: {told:02x?}");
    }
    assert_eq!(server.flows(), 0, "nothing is proved by it");
    let controlling = check(&mut client, &password, &[(ICE_CONTROLLING, &[0; 8])]);
    assert_eq!(answer(&client.socket, &server, &controlling)[..2], [1, 1]);
    eventually("its address is a flow of the session", || server.flows() == 1);
}

/// A check has both names in it: ours, and the one in its sender's offer.
#[test]
fn a_check_under_another_name_than_the_offers_is_not_believed() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    let ours = client.answered("a=ice-ufrag:").to_owned();
    let password = client.answered("a=ice-pwd:").to_owned();
    let before = server.drops(DropReason::StunRejected);
    let named = sealed(&format!("{ours}:somebody"), &password, &[]);
    client.socket.send_to(&named, server.media()).expect("loopback takes it");
    eventually("it is counted", || server.drops(DropReason::StunRejected) > before);
    assert_eq!(server.flows(), 0, "nothing is proved by it");
    let check = check(&mut client, &password, &[]);
    assert_eq!(answer(&client.socket, &server, &check)[..2], [1, 1]);
}

/// A peer that is the server of DTLS waits for our first flight.
#[test]
fn a_dtls_hello_of_ours_follows_the_first_check_at_once() {
    let server = Server::with_shards(1);
    let (mut client, offer, _) = Client::offer(VP8, str0m::media::Direction::SendOnly, socket());
    let offer = offer.to_sdp_string().replace("a=setup:actpass", "a=setup:passive");
    let response = crate::support::post_sdp(&server.url("/whip/s"), &offer);
    assert_eq!(response.status, 201, "{}", response.body);
    assert!(response.body.contains("a=setup:active"), "{}", response.body);
    client.answer = response.body;
    let (_, check) = Checks::of(&mut client).request(true);
    let start = Instant::now();
    client.socket.send_to(&check, server.media()).expect("loopback takes it");
    let mut buffer = [0; 2_000];
    loop {
        if client.socket.recv(&mut buffer).is_ok_and(|_| buffer[0] == 22) {
            break;
        }
        assert!(start.elapsed() < Duration::from_millis(500), "no ClientHello in half a second");
        std::thread::sleep(Duration::from_millis(1));
    }
}
