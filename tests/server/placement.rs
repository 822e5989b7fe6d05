//! Where sessions go: viewers to the shard of their publisher, until it is busy.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::stun::Checks;
use crate::support::{PATIENCE, Server, eventually, steerings};
use monoport::net::{Destination, SendBatch, Sender, SocketOptions, UdpSocket};
use monoport::telemetry::ShardCounters;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const VIEWERS: usize = 4;

fn gathering(steering: &str) -> Server {
    Server::start(&["--shards", "4", "--gather", "128", "--steering", steering])
}

/// A counter of each shard.
fn each(server: &Server, counter: fn(&ShardCounters) -> u64) -> Vec<u64> {
    server.node().counters().map(counter).collect()
}

#[test]
fn few_viewers_are_on_the_shard_of_their_publisher() {
    for steering in steerings() {
        let server = gathering(steering);
        let offered = Offered::both(Codec::Vp8);
        let names = ["a", "b"];
        let mut clients: Vec<Client> =
            names.iter().map(|name| Client::publish(&server, name, offered)).collect();
        for name in names {
            clients.extend((0..VIEWERS).map(|_| Client::watch(&server, name, offered)));
        }
        let mut all: Vec<&mut Client> = clients.iter_mut().collect();
        connect(&mut all);
        let ready = (names.len() * VIEWERS) as u64;
        run_until("viewers are ready", &mut all, |_| {
            server.sum(|c| c.viewers_ready.get()) == ready
        });
        let mut by_shard = each(&server, |c| c.viewers_ready.get());
        by_shard.sort_unstable();
        assert_eq!(by_shard, [0, 0, VIEWERS as u64, VIEWERS as u64], "{steering}");

        let handed_over = server.sum(|c| c.handed_over.get());
        for number in 0..50 {
            for publisher in &mut all[..names.len()] {
                publisher.send(MediaKind::Video, number == 0, number, number * 3_000);
            }
            run_for(Duration::from_millis(10), &mut all);
        }
        run_until("every frame", &mut all, |all| {
            all[names.len()..].iter().all(|viewer| viewer.video_numbers().len() == 50)
        });
        assert_eq!(server.sum(|c| c.media_handed_over.get()), 0, "{steering}");
        if steering == "ebpf" {
            assert_eq!(server.sum(|c| c.handed_over.get()), handed_over, "steady state");
        }
    }
}

/// Keeps the shard that `check` names at work, at a rate that leaves this machine to others too.
fn keep_busy(to: SocketAddr, check: &[u8], stop: &AtomicBool) {
    const TRAIN: usize = 40;
    let any = "127.0.0.1:0".parse().expect("an address");
    let socket = UdpSocket::bind(any, &SocketOptions::default()).expect("a free port");
    let mut batch = SendBatch::new(TRAIN, 64 << 10);
    let mut sender = Sender::new(TRAIN);
    let to = Destination::new(to, "127.0.0.1".parse().unwrap(), true);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..TRAIN {
            let Some(slot) = batch.slot() else { break };
            slot[..check.len()].copy_from_slice(check);
            batch.commit(to, check.len());
        }
        sender.flush(&socket, &mut batch, &mut |_, _| {});
        batch.clear();
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn viewers_stay_away_from_a_shard_that_is_busy() {
    let server = gathering("auto");
    let offered = Offered { codec: Codec::Vp8, audio: true, video: false };
    let mut publisher = Client::publish(&server, "s", offered);
    connect(&mut [&mut publisher]);
    let sessions = |server: &Server| each(server, |c| c.sessions.get());
    let home = sessions(&server).iter().position(|count| *count == 1).expect("it is somewhere");
    Client::watch(&server, "s", offered);
    eventually("the first viewer is with it", || sessions(&server)[home] == 2);

    // Checks that cost their shard an HMAC each, and are refused.
    let (_, check) = Checks::forged(&mut publisher).request(false);
    let (stop, media) = (AtomicBool::new(false), server.media());
    std::thread::scope(|scope| {
        scope.spawn(|| keep_busy(media, &check, &stop));
        let deadline = Instant::now() + PATIENCE;
        let elsewhere = || sessions(&server).iter().sum::<u64>() - sessions(&server)[home];
        while elsewhere() == 0 && Instant::now() < deadline {
            let join = Client::try_post(&server, "/whep/s", offered, Direction::RecvOnly, socket());
            assert!(join.is_ok(), "a busy shard is no reason to refuse");
            run_for(Duration::from_millis(200), &mut [&mut publisher]);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(elsewhere() > 0, "all of {:?} with the publisher", sessions(&server));
    });
}
