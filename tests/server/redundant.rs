//! Audio that carries earlier packets again (RED, RFC 2198): as it came to who takes such, and
//! without to who does not.

use std::time::Duration;

use crate::links::{b_knows, far_apart};
use crate::nodes::Nodes;
use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::{Server, eventually, media};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const AUDIO: Offered = Offered { codec: Codec::Vp8, audio: true, video: false };

/// The payload types of Opus and of RED in an answer.
fn types(client: &Client) -> (u8, u8) {
    let find = |encoding: &str| {
        let maps = client.answer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
        let map = maps.filter_map(|map| map.split_once(' ')).find(|(_, name)| *name == encoding);
        map.and_then(|(payload_type, _)| payload_type.parse().ok()).unwrap_or_default()
    };
    (find("opus/48000/2"), find("red/48000/2"))
}

/// What `make` makes offers redundant audio.
fn redundant<T>(make: impl FnOnce() -> T) -> T {
    media::REDUNDANT.set(true);
    let made = make();
    media::REDUNDANT.set(false);
    made
}

/// Sends packets with these numbers, three of four with the one before, as whoever sends redundant
/// audio may leave it out, and waits until the viewers have the last.
fn play(publisher: &mut Client, viewers: &mut [&mut Client], numbers: std::ops::Range<u32>) {
    let last = numbers.end - 1;
    for number in numbers {
        publisher.redundant = number % 4 != 3;
        publisher.send(MediaKind::Audio, true, number, number * 960);
        let mut all: Vec<&mut Client> = vec![&mut *publisher];
        all.extend(viewers.iter_mut().map(|viewer| &mut **viewer));
        run_for(Duration::from_millis(5), &mut all);
    }
    let mut all: Vec<&mut Client> = vec![publisher];
    all.extend(viewers.iter_mut().map(|viewer| &mut **viewer));
    run_until("all have the last", &mut all, |all| {
        let has = |viewer: &&mut Client| {
            let newest = viewer.received.last();
            newest.is_some_and(|packet| media::number(&packet.payload) == last)
        };
        all[1..].iter().all(has)
    });
}

/// What a viewer has got from the first packet it has on: with redundancy where it takes that.
fn check(viewer: &Client, takes: bool) {
    let (opus, red) = types(viewer);
    assert_eq!(red != 0, takes, "{}", viewer.answer);
    assert!(viewer.received.len() > 10, "{}", viewer.received.len());
    for packet in &viewer.received {
        let number = media::number(&packet.payload);
        let plain = media::payload(Codec::Opus, false, number);
        let before = media::payload(Codec::Opus, false, number.wrapping_sub(1));
        let is_red = *packet.header.payload_type == red;
        let wanted = if is_red { media::redundant(opus, &before, &plain) } else { plain };
        assert_eq!(packet.payload[..], wanted[..], "{number}");
        assert_eq!(is_red, takes && number % 4 != 3, "{number}");
    }
}

#[test]
fn who_takes_redundant_audio_gets_it_and_others_what_is_new() {
    let server = Server::with_shards(2);
    let mut publisher = redundant(|| Client::publish(&server, "s", AUDIO));
    connect(&mut [&mut publisher]);
    let mut takes = redundant(|| Client::watch(&server, "s", AUDIO));
    let mut plain = Client::watch(&server, "s", AUDIO);
    connect(&mut [&mut publisher, &mut takes, &mut plain]);
    play(&mut publisher, &mut [&mut takes, &mut plain], 0..60);
    check(&takes, true);
    check(&plain, false);
    assert!(!takes.closed && !plain.closed, "it is a stream of Opus all the time");
}

#[test]
fn redundant_audio_goes_to_other_nodes() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = far_apart(&nodes);
    let mut publisher = redundant(|| Client::publish(&a, "s", AUDIO));
    connect(&mut [&mut publisher]);
    play(&mut publisher, &mut [], 0..20);
    b_knows(&b);
    let watch = || {
        let mut viewer = None;
        eventually("it is served", || {
            let post = Client::try_post(&b, "/whep/s", AUDIO, Direction::RecvOnly, socket());
            viewer = post.ok();
            viewer.is_some()
        });
        viewer.expect("it is served")
    };
    let (mut takes, mut plain) = (redundant(watch), watch());
    connect(&mut [&mut publisher, &mut takes, &mut plain]);
    play(&mut publisher, &mut [&mut takes, &mut plain], 20..80);
    check(&takes, true);
    check(&plain, false);
}
