//! Conservation: every datagram the kernel delivered was handled, handed over or dropped for
//! exactly one reason, and the counters add up to the last one.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, run_for, run_until};
use crate::support::stun::{Checks, response};
use crate::support::{PATIENCE, Server, eventually, steerings};
use monoport::drop::DropReason;
use monoport::id::SessionKey;
use monoport::wire::ufrag::UfragKey;
use str0m::format::Codec;
use str0m::media::MediaKind;

/// A socket that counts what it sends to the server.
struct Stranger {
    socket: UdpSocket,
    sent: u64,
}

impl Stranger {
    fn new() -> Stranger {
        Stranger { socket: crate::support::client::socket(), sent: 0 }
    }

    fn send(&mut self, server: &Server, datagram: &[u8]) {
        self.socket.send_to(datagram, server.media()).expect("loopback takes it");
        self.sent += 1;
    }
}

/// Everything that sends to one server, so that all of it can be counted.
struct Traffic<'a> {
    server: &'a Server,
    publishers: Vec<Client>,
    viewers: Vec<Client>,
    strangers: Vec<Stranger>,
    number: u32,
}

impl Traffic<'_> {
    fn clients(&mut self) -> Vec<&mut Client> {
        self.publishers.iter_mut().chain(&mut self.viewers).collect()
    }

    /// Sends `count` packets of each publisher and lets everybody react.
    fn play(&mut self, count: u32) {
        for number in self.number..self.number + count {
            for publisher in &mut self.publishers {
                let keyframe = number.is_multiple_of(50);
                publisher.send(MediaKind::Video, keyframe, number, number * 3_000);
                publisher.send(MediaKind::Audio, true, number, number * 960);
            }
            run_for(Duration::from_millis(1), &mut self.clients());
        }
        self.number += count;
    }

    /// Sends `count` packets of video that no viewer gets.
    fn lose(&mut self, count: u32) {
        let sent = self.server.sum(|c| c.viewer_packets.get());
        for number in self.number..self.number + count {
            for publisher in &mut self.publishers {
                publisher.send(MediaKind::Video, false, number, number * 3_000);
                publisher.poll();
            }
        }
        self.number += count;
        let copies = u64::from(count) * self.viewers.len() as u64;
        eventually("they are sent", || {
            self.server.sum(|c| c.viewer_packets.get()) >= sent + copies
        });
        let mut buffer = [0; 2_000];
        for viewer in &mut self.viewers {
            let mut lost = 0;
            eventually("they arrive", || {
                // Media has the marker bit here; what else comes is nobody's loss for long.
                let read = viewer.socket.recv_from(&mut buffer);
                lost += u32::from(read.is_ok_and(|_| !(192..=223).contains(&buffer[1])));
                lost == count
            });
        }
    }

    /// The server's counters once everything sent has arrived: what came equals what became of it
    /// on every shard, and what came in all equals what was sent.
    fn settle(&mut self, what: &str) {
        let sent = |traffic: &Traffic<'_>| {
            let clients = traffic.publishers.iter().chain(&traffic.viewers);
            let by_clients: u64 = clients.map(|client| client.sent).sum();
            by_clients + traffic.strangers.iter().map(|stranger| stranger.sent).sum::<u64>()
        };
        let (server, sent) = (self.server, sent(self));
        let received = || server.sum(|c| c.datagrams_in.get());
        let deadline = Instant::now() + PATIENCE;
        while received() != sent {
            let (lost, now) = (dropped_by_the_kernel(server.media().port()), received());
            assert!(Instant::now() < deadline, "{what}: sent {sent}, {now} came, {lost} dropped");
            std::thread::sleep(Duration::from_millis(5));
        }
        let balance = || server.node().counters().map(|c| c.conservation()).collect::<Vec<_>>();
        eventually(what, || {
            let passed_on = server.sum(|c| c.handed_over.get());
            balance().iter().all(|(come, outcomes)| come == outcomes)
                && server.sum(|c| c.taken_over.get()) == passed_on
        });
        // Equal at a moment may be chance; nothing moves any more, so it must stay.
        let before = balance();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(balance(), before, "{what}: something was counted later");
        for shard in server.node().counters() {
            let (come, outcomes) = shard.media_conservation();
            assert_eq!(come, outcomes, "{what}: media packets");
        }
    }
}

fn start<'a>(server: &'a Server, streams: &[&str]) -> Traffic<'a> {
    let offered = Offered::both(Codec::Vp8);
    let mut traffic = Traffic {
        server,
        publishers: streams.iter().map(|name| Client::publish(server, name, offered)).collect(),
        viewers: Vec::new(),
        strangers: Vec::new(),
        number: 0,
    };
    connect(&mut traffic.clients());
    for name in streams.iter().cycle().take(streams.len() * 3) {
        traffic.viewers.push(Client::watch(server, name, offered));
    }
    connect(&mut traffic.clients());
    let viewers = traffic.viewers.len() as u64;
    eventually("the viewers are ready", || server.sum(|c| c.viewers_ready.get()) == viewers);
    traffic
}

/// Runs `case` on one shard and on four, with each steering there is.
fn everywhere(case: impl Fn(&Server)) {
    case(&Server::with_shards(1));
    for steering in steerings() {
        case(&Server::steered(4, steering));
    }
}

#[test]
fn media_and_its_repair_add_up() {
    everywhere(|server| {
        let mut traffic = start(server, &["a", "b"]);
        traffic.play(40);
        // What is lost may be something else than media, on a machine where much waits to be read.
        let repaired = || server.sum(|c| c.repaired_packets.get());
        for _ in 0..50 {
            traffic.lose(3);
            traffic.play(20);
            if repaired() > 0 {
                break;
            }
        }
        assert!(repaired() > 0, "viewers that miss packets ask for them and get them");
        // Media that comes while its viewers leave, and afterwards.
        for viewer in traffic.viewers.iter().skip(1) {
            assert_eq!(viewer.delete().status, 200);
        }
        traffic.play(20);
        assert_eq!(traffic.viewers[0].delete().status, 200);
        eventually("they are gone", || server.sum(|c| c.viewers_ready.get()) == 0);
        traffic.play(20);
        traffic.settle("media and repair");
        assert!(server.drops(DropReason::NoViewers) > 0);
        assert!(server.drops(DropReason::UnknownFlow) > 0, "what viewers sent after their end");
    });
}

#[test]
fn forged_replayed_and_corrupted_packets_add_up() {
    everywhere(|server| {
        let mut traffic = start(server, &["a"]);
        traffic.play(30);
        traffic.settle("before");
        let publisher = &mut traffic.publishers[0];
        let kept: Vec<Vec<u8>> = publisher.recent_srtp.iter().cloned().collect();
        let is_rtcp = |datagram: &[u8]| (192..=223).contains(&datagram[1]);
        let media: Vec<&Vec<u8>> = kept.iter().filter(|datagram| !is_rtcp(datagram)).collect();
        let authenticated = server.sum(|c| c.rtp_in.get());
        let mut raw = Stranger { socket: publisher.socket.try_clone().expect("a handle"), sent: 0 };
        for datagram in media.iter().take(10) {
            raw.send(server, datagram);
            let mut forged = datagram.to_vec();
            // A sequence number that is to come, under a tag that cannot be right.
            forged[2] ^= 0x10;
            raw.send(server, &forged);
            let mut foreign = datagram.to_vec();
            foreign[8] ^= 0xff;
            // Without extensions nothing says which section the SSRC is of.
            foreign[0] &= !0x10;
            raw.send(server, &foreign);
            raw.send(server, &datagram[..12]);
        }
        for datagram in kept.iter().filter(|datagram| is_rtcp(datagram)) {
            let mut forged = datagram.clone();
            *forged.last_mut().expect("not empty") ^= 1;
            let last = forged.len() - 6;
            forged[last] ^= 1;
            raw.send(server, &forged);
        }
        traffic.strangers.push(raw);
        traffic.settle("publisher's SRTP");
        assert_eq!(server.sum(|c| c.rtp_in.get()), authenticated, "none of it was taken");
        assert_eq!(server.drops(DropReason::SrtpReplay), 10);
        assert!(server.drops(DropReason::SrtpAuth) >= 20, "forged, and of an SSRC of nobody's");
        assert_eq!(server.drops(DropReason::MalformedRtp), 10);

        let viewer = &mut traffic.viewers[0];
        let reports: Vec<Vec<u8>> = viewer.recent_srtp.iter().cloned().collect();
        let mut raw = Stranger { socket: viewer.socket.try_clone().expect("a handle"), sent: 0 };
        let replays = server.drops(DropReason::SrtpReplay);
        for report in reports.iter().filter(|datagram| is_rtcp(datagram)).take(5) {
            raw.send(server, report);
            let mut forged = report.clone();
            forged[9] ^= 1;
            raw.send(server, &forged);
        }
        let reports = raw.sent / 2;
        raw.send(server, media[0]);
        raw.send(server, &[0x16, 0xfe, 0xfd, 0, 0]);
        traffic.strangers.push(raw);
        traffic.play(10);
        traffic.settle("viewer's SRTCP");
        assert_eq!(server.drops(DropReason::SrtpReplay), replays + reports);
        assert_eq!(server.drops(DropReason::ViewerRtp), 1);
    });
}

/// Datagrams the kernel says it dropped at the sockets of `port`, by `/proc/net/udp` (proc_net(5)):
/// local address in hexadecimal in the second column, drops in the last.
fn dropped_by_the_kernel(port: u16) -> u64 {
    let end = format!(":{port:04X}");
    // A socket for both families stands in the second file, which a kernel without IPv6 lacks.
    let files = ["/proc/net/udp", "/proc/net/udp6"].map(std::fs::read_to_string);
    let text = files.into_iter().flatten().collect::<String>();
    let sockets = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = sockets.filter(|columns| columns.get(1).is_some_and(|local| local.ends_with(&end)));
    ours.filter_map(|columns| columns.last()?.parse::<u64>().ok()).sum()
}

#[test]
fn what_the_kernel_drops_is_counted_where_it_happened() {
    let server = Server::start(&["--shards", "1", "--receive-buffer", "4096"]);
    let mut stranger = Stranger::new();
    let port = server.media().port();
    let dropped = || {
        let ports = server.node().meters().flat_map(|meters| meters.ports.open());
        ports.map(|(_, port)| port.receive_drops.get()).sum::<u64>()
    };
    // Faster than a shard reads, into a queue that is next to nothing.
    eventually("the queue overflows", || {
        (0..2_000).for_each(|_| stranger.send(&server, &[0x5a; 1_000]));
        dropped_by_the_kernel(port) > 0
    });
    // The kernel tells of a drop with the next datagram it delivers.
    eventually("received and dropped are all that was sent", || {
        std::thread::sleep(Duration::from_millis(5));
        stranger.send(&server, &[0x5a; 10]);
        std::thread::sleep(Duration::from_millis(5));
        let received = server.sum(|c| c.datagrams_in.get());
        dropped() == dropped_by_the_kernel(port) && received + dropped() == stranger.sent
    });
    assert!(server.node().counters().all(|c| c.conservation().0 == c.conservation().1));
}

#[test]
fn strangers_and_moves_add_up() {
    everywhere(|server| {
        let mut traffic = start(server, &["a"]);
        traffic.play(10);
        let mut stranger = Stranger::new();
        for length in [0usize, 1, 2, 12, 20, 100, 1_400] {
            for first in (0..=255u8).step_by(15) {
                let mut garbage = vec![0x5a; length];
                if let Some(byte) = garbage.first_mut() {
                    *byte = first;
                }
                stranger.send(server, &garbage);
            }
            traffic.play(1);
        }
        let forged = Checks::forged(&mut traffic.viewers[0]);
        let elsewhere = UfragKey::random();
        for _ in 0..20 {
            stranger.send(server, &forged.request(true).1);
            stranger.send(server, &response(server.media()));
            let name = SessionKey { shard: 0, slot: 0, generation: 0 };
            let name = elsewhere.encode(name);
            let mut foreign = forged.request(true).1;
            foreign[24..24 + name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
            stranger.send(server, &foreign);
        }
        traffic.strangers.push(stranger);
        traffic.settle("strangers");
        assert!(server.drops(DropReason::StunRejected) >= 20);
        assert!(server.drops(DropReason::ForgedUfrag) >= 20);
        assert!(server.drops(DropReason::UnsolicitedStun) >= 20);

        run_until("everybody reports", &mut traffic.clients(), |clients| {
            clients.iter().all(|client| !client.recent_srtp.is_empty())
        });
        // Sessions that move: checks from new addresses, and what the old one still sends.
        for index in 0..traffic.viewers.len() {
            let mut moved = Stranger::new();
            let checks = Checks::of(&mut traffic.viewers[index]);
            for _ in 0..3 {
                moved.send(server, &checks.request(true).1);
            }
            let report = traffic.viewers[index].recent_srtp[0].clone();
            moved.send(server, &report);
            traffic.strangers.push(moved);
            traffic.play(3);
        }
        traffic.settle("moves");
        assert!(server.sum(|c| c.flow_moves.get()) >= traffic.viewers.len() as u64);
    });
}
