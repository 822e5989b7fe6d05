//! Servers that differ in one option deliver the same packets, bit for bit.
//!
//! One script, made from a seed, is published to each of them: frames of many sizes, some packets
//! out of order, some sent twice. What arrives at each of three viewers, sorted by its numbers,
//! must be the script, whatever way the datagrams took.

use std::collections::BTreeSet;
use std::time::Duration;

use monoport::net::uring_available;
use str0m::format::Codec;

use crate::support::Server;
use crate::support::client::{Client, Offered, connect, is_opus, run_for, run_until};
use player::Player;
use script::Script;

mod player;
mod script;

const SEED: u64 = 0x5eed;
const VIEWERS: usize = 3;

/// The base that one option at a time is changed in.
const BASE: Options =
    Options { io: "mmsg", gso: "true", gro: "true", train_us: "5000", shards: "1", range: "" };

#[derive(Clone, Copy)]
struct Options {
    io: &'static str,
    gso: &'static str,
    gro: &'static str,
    train_us: &'static str,
    shards: &'static str,
    /// A port per session out of this; mux ports when empty.
    range: &'static str,
}

/// One packet as a viewer sees it. Numbers and times are relative to the track's first, because
/// each viewer's begin elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    audio: bool,
    number: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// What the server counted while the script ran.
struct Counted {
    datagrams: u64,
    messages: u64,
    handed_over: u64,
}

/// Plays the script to a server with these options, and asserts that it arrives.
fn delivers_the_script(options: Options) -> Counted {
    let Options { io, gso, gro, train_us, shards, range } = options;
    let ports: &[&str] = if range.is_empty() { &[] } else { &["--port-range", range] };
    let server =
        &["--io", io, "--gso", gso, "--gro", gro, "--train-us", train_us, "--shards", shards];
    let server = Server::start(&[&server[..], ports].concat());
    let script = Script::new(SEED);
    let expected = script.packets();
    let offered = Offered::both(Codec::Vp8);
    let mut player = Player::publish(&server, "s", offered);
    connect(&mut [&mut player.client]);
    let mut viewers: Vec<Client> =
        (0..VIEWERS).map(|_| Client::watch(&server, "s", offered)).collect();
    let mut viewers: Vec<&mut Client> = viewers.iter_mut().collect();
    run_until("all viewers are ready", &mut viewers, |viewers| {
        let connected = viewers.iter().all(|viewer| viewer.connected);
        connected && server.sum(|c| c.viewers_ready.get()) == VIEWERS as u64
    });
    for step in &script.steps {
        player.play(step);
        player.client.poll();
        run_for(Duration::from_millis(2), &mut viewers);
    }
    let mut all = viewers;
    all.push(&mut player.client);
    run_until("the whole script", &mut all, |all| {
        all[..VIEWERS].iter().all(|viewer| seen(viewer).len() >= expected.len())
    });
    // What should not come has time to come.
    run_for(Duration::from_millis(100), &mut all);
    for (index, viewer) in all[..VIEWERS].iter().enumerate() {
        compare(index, &seen(viewer), &expected);
    }
    assert!(player.trains() > 0, "the script reaches the server in trains");
    Counted {
        datagrams: server.sum(|c| c.datagrams_out.get()),
        messages: server.sum(|c| c.trains_out.get()),
        handed_over: server.sum(|c| c.media_handed_over.get()),
    }
}

/// What a viewer got, each packet once: some come again because it asked before they came.
fn seen(viewer: &Client) -> BTreeSet<Seen> {
    let of = |audio: bool| {
        let packets = viewer.received.iter().filter(move |packet| is_opus(packet) == audio);
        let first = packets.clone().min_by_key(|packet| *packet.seq_no);
        packets.map(move |packet| {
            let first = first.expect("there is one");
            Seen {
                audio,
                number: *packet.seq_no - *first.seq_no,
                timestamp: packet.header.timestamp.wrapping_sub(first.header.timestamp),
                marker: packet.header.marker,
                payload: packet.payload.to_vec(),
            }
        })
    };
    of(true).chain(of(false)).collect()
}

/// Names the first packet that differs instead of printing a thousand.
fn compare(viewer: usize, seen: &BTreeSet<Seen>, expected: &BTreeSet<Seen>) {
    let brief = |packet: &Seen| {
        let Seen { audio, number, timestamp, marker, payload } = packet;
        format!("audio {audio}, number {number}, at {timestamp}, marker {marker}, {payload:?}")
    };
    if let Some(packet) = expected.difference(seen).next() {
        let same = seen.iter().find(|s| s.number == packet.number && s.audio == packet.audio);
        let instead = same.map_or("nothing".to_owned(), brief);
        panic!("viewer {viewer} lacks {}\nand has {instead}", brief(packet));
    }
    if let Some(packet) = seen.difference(expected).next() {
        panic!("viewer {viewer} has {}, which was not sent", brief(packet));
    }
}

#[test]
fn the_base_delivers_the_script_in_trains() {
    let counted = delivers_the_script(BASE);
    assert!(counted.messages < counted.datagrams, "frames leave as trains");
}

#[test]
fn io_uring_receives_what_recvmmsg_receives() {
    if let Err(reason) = uring_available() {
        println!("left out, because io_uring cannot be used here: {reason}");
        return;
    }
    delivers_the_script(Options { io: "uring", ..BASE });
    // Shards wake one another through their rings then.
    let counted = delivers_the_script(Options { io: "uring", shards: "4", ..BASE });
    assert!(counted.handed_over > 0, "three viewers are on more than one shard");
}

#[test]
fn single_datagrams_carry_what_trains_carry() {
    let counted = delivers_the_script(Options { gso: "false", ..BASE });
    assert_eq!(counted.messages, counted.datagrams, "nothing leaves as a train");
}

#[test]
fn four_shards_deliver_what_one_delivers() {
    let counted = delivers_the_script(Options { shards: "4", ..BASE });
    assert!(counted.handed_over > 0, "three viewers are on more than one shard");
}

#[test]
fn a_port_per_session_delivers_what_one_port_delivers() {
    for shards in ["1", "3"] {
        let counted = delivers_the_script(Options { shards, range: "23100-23199", ..BASE });
        assert!(counted.messages < counted.datagrams, "frames leave as trains");
    }
}

#[test]
fn datagrams_received_singly_are_those_received_joined() {
    delivers_the_script(Options { gro: "false", ..BASE });
}

#[test]
fn packets_that_do_not_wait_for_their_frame_are_the_same() {
    delivers_the_script(Options { train_us: "0", ..BASE });
}
