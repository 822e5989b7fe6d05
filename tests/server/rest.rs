//! How often a shard looks at its sockets.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::support::{Server, eventually};

/// Sends datagrams of no use one after the other; returns how long that took.
fn send_spread(server: &Server, datagrams: u64) -> Duration {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let began = Instant::now();
    for _ in 0..datagrams {
        socket.send_to(b"\x80 nobody's", server.media()).expect("it leaves");
        std::thread::sleep(Duration::from_millis(1));
    }
    eventually("all have come", || server.sum(|c| c.datagrams_in.get()) >= datagrams);
    began.elapsed()
}

#[test]
fn a_shard_that_rests_handles_several_datagrams_in_a_turn() {
    let server = Server::start(&["--shards", "1", "--wake-us", "10000"]);
    let before = server.sum(|c| c.turns.get());
    let took = send_spread(&server, 300);
    let turns = server.sum(|c| c.turns.get()) - before;
    // One each 10 ms, and one that finds nothing and goes to sleep.
    let most = 2 * took.as_millis() as u64 / 10 + 20;
    assert!(turns <= most, "{turns} turns in {took:?}");
    assert_eq!(server.sum(|c| c.turn_gap_microseconds.get()), 10_000);
    assert!(server.sum(|c| c.turn_gaps.get()) > 0);
}

#[test]
fn a_shard_with_little_to_do_wakes_at_once() {
    for options in [&["--shards", "1"][..], &["--shards", "1", "--wake-us", "0"]] {
        let server = Server::start(options);
        send_spread(&server, 50);
        assert_eq!(server.sum(|c| c.turn_gaps.get()), 0, "{options:?}");
    }
}
