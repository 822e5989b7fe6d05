//! Steering in the kernel: the same packets as by hash, without a hand-over, and nobody's packets
//! dropped where they fall.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until};
use crate::support::{Server, eventually, steerings};
use monoport::drop::DropReason;
use str0m::format::Codec;
use str0m::media::MediaKind;

const STREAMS: usize = 4;
const VIEWERS: usize = 4;
const FRAMES: u32 = 200;

/// What every viewer received, in order of payloads, and how many datagrams were handed over while
/// the streams played.
fn play(steering: &str) -> (Vec<Vec<Vec<u8>>>, u64) {
    let server = Server::steered(4, steering);
    let offered = Offered::both(Codec::Vp8);
    let names = (0..STREAMS).map(|stream| format!("s{stream}"));
    let mut clients: Vec<Client> =
        names.clone().map(|name| Client::publish(&server, &name, offered)).collect();
    for name in names {
        clients.extend((0..VIEWERS).map(|_| Client::watch(&server, &name, offered)));
    }
    let mut all: Vec<&mut Client> = clients.iter_mut().collect();
    connect(&mut all);
    let ready = (STREAMS * VIEWERS) as u64;
    run_until("viewers are ready", &mut all, |_| server.sum(|c| c.viewers_ready.get()) == ready);

    let before = server.sum(|c| c.handed_over.get());
    for number in 0..FRAMES {
        for publisher in &mut all[..STREAMS] {
            publisher.send(MediaKind::Video, number == 0, number, number * 3_000);
            publisher.send(MediaKind::Audio, false, number, number * 960);
        }
        // Two seconds in all: time for reports and checks of viewers.
        run_for(Duration::from_millis(10), &mut all);
    }
    run_until("every packet", &mut all, |all| {
        all[STREAMS..].iter().all(|viewer| viewer.received.len() == 2 * FRAMES as usize)
    });
    let handed_over = server.sum(|c| c.handed_over.get()) - before;
    assert_eq!(server.drops(DropReason::UnknownFlow), 0, "{steering}");
    let received = clients[STREAMS..].iter().map(|viewer| {
        let packets = viewer.received.iter().map(|packet| packet.payload.to_vec());
        let mut packets: Vec<Vec<u8>> = packets.collect();
        // Between audio and video there is no order.
        packets.sort();
        packets
    });
    (received.collect(), handed_over)
}

#[test]
fn playing_sessions_need_no_hand_over_and_receive_the_same() {
    let (expected, strays) = play("hash");
    // That all of 20 clients hash to their own shard of four happens once in 10^12.
    assert!(strays > 0, "by hash some packets go astray");
    for steering in steerings().into_iter().filter(|steering| *steering != "hash") {
        let (received, strays) = play(steering);
        assert_eq!(strays, 0, "{steering}");
        assert!(received == expected, "{steering}: other packets than by hash");
    }
}

#[test]
fn the_banner_says_who_steers() {
    let banner = |steering| Server::steered(2, steering).node().banner().to_owned();
    assert!(banner("hash").contains("kernel hash"));
    for steering in steerings() {
        let (name, banner) = (if steering == "hash" { "hash" } else { "eBPF" }, banner(steering));
        let line = banner.lines().find(|line| line.trim().starts_with("steering"));
        assert!(line.is_some_and(|line| line.contains(name)), "{banner}");
    }
    let one = Server::with_shards(1);
    assert!(one.node().banner().contains("there is one shard"), "{}", one.node().banner());
}

#[test]
fn strangers_are_dropped_in_the_kernel_and_sessions_are_not() {
    if !steerings().contains(&"ebpf") {
        return;
    }
    for shards in ["1", "3"] {
        let server = Server::start(&["--shards", shards, "--kernel-drop"]);
        let offered = Offered::both(Codec::Vp8);
        let mut publisher = Client::publish(&server, "s", offered);
        let mut viewer = Client::watch(&server, "s", offered);
        connect(&mut [&mut publisher, &mut viewer]);
        eventually("the viewer is ready", || server.sum(|c| c.viewers_ready.get()) == 1);
        assert_eq!(server.metric("monoport_kernel_dropped_total"), 0);

        let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for _ in 0..50 {
            stranger.send_to(&[0x80, 96, 0, 1], server.media()).expect("loopback takes it");
        }
        let dropped = || server.metric("monoport_kernel_dropped_total") == 50;
        eventually("the strangers are counted", dropped);
        assert_eq!(server.drops(DropReason::UnknownFlow), 0, "no shard has seen them");

        // A NAT gives the viewer another port: nothing but a check gets in, and a check opens it.
        viewer.socket = crate::support::client::socket();
        let moved = |_: &[&mut Client]| server.sum(|c| c.flow_moves.get()) == 1;
        run_until("the move", &mut [&mut publisher, &mut viewer], moved);
        for number in 0..50 {
            publisher.send(MediaKind::Video, number == 0, number, number * 3_000);
            run_for(Duration::from_millis(1), &mut [&mut publisher, &mut viewer]);
        }
        let reports = server.sum(|c| c.viewer_reports.get());
        run_until("packets and reports", &mut [&mut publisher, &mut viewer], |all| {
            let all_there = all[1].video_numbers() == (0..50).collect::<Vec<_>>();
            all_there && server.sum(|c| c.viewer_reports.get()) > reports
        });
        assert_eq!(server.sum(|c| c.handed_over.get()), 0);
    }
}
