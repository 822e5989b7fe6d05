//! What a stream from another node costs, the kernel left out.
//!
//! `cargo test --release --lib shard::cost::link -- --ignored --nocapture` prints nanoseconds of
//! CPU a packet of 1,200 bytes: taken in from a link and from a publisher of this node, sent to one
//! node more, and sent to one viewer more of either stream. What is compared takes turns.
//!
//! Tests have the allocator of libc, which gives memory back to the kernel as soon as it may:
//! `MALLOC_TOP_PAD_=268435456 MALLOC_TRIM_THRESHOLD_=268435456` before the command keeps that out.

use super::*;
use crate::link::{Exchange, Lineage, Peer};
use crate::net::Sent;
use crate::shard::links::LinkSetup;
use crate::shard::relay::Brings;
use crate::wire::link::FIRST_BYTE;
use ring::hmac;

const STREAM: StreamKey = StreamKey { index: 0, generation: 0 };
const VIEWERS: u32 = 100;
const CHILDREN: u32 = 11;
/// Between two turns: five frames of eight packets at 30 a second.
const TURN: Duration = Duration::from_millis(167);

/// A node with the publisher, and those that take its stream.
struct Cluster {
    origin: Bench,
    edges: Vec<Core>,
}

fn setups(name: u32) -> [LinkSetup; 2] {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"the secret");
    let (edge, origin) = (Exchange::new(), Exchange::new());
    let (to_origin, to_edge) = (edge.public, origin.public);
    let sends = origin.outgoing(&to_origin, &secret, b"s").expect("a key");
    let takes = edge.incoming(&to_edge, &secret, b"s").expect("a key");
    let of = |keys, brings, host| LinkSetup {
        most_bits_per_s: None,
        id: 1 << 31 | name,
        stream: Arc::new(StreamShared::new(STREAM)),
        peer: Peer { shard: 0, link: 1 << 31 | name },
        to: SocketAddr::from(([10, 1, host, name as u8], 7_882)),
        port: 0,
        keys,
        node: u16::from(host),
        brings,
        meter: Arc::default(),
    };
    let track = (TrackId::first(TrackKind::Video), str0m::format::Codec::Vp8);
    let brings = Brings { tracks: vec![track], lineage: Lineage::default() };
    [of(sends, None, 1), of(takes, Some(brings), 2)]
}

/// Gives a shard datagrams of another node, all of which are there at once.
fn give(core: &mut Core, now: Instant, datagrams: &mut [Box<[u8]>]) {
    for bytes in datagrams {
        let remote = SocketAddr::from(([10, 1, 1, 1], 7_882));
        let (via, bytes) = (Via::Udp(0), &mut bytes[..]);
        let datagram =
            Inbound { via, local: LOCAL, remote, bytes, arrived: now, handed_over: false };
        core.on_datagram(now, datagram);
    }
    core.turn(now, false);
}

fn sent(core: &mut Core) -> Vec<Sent> {
    core.paths.ways.transmitter.take_sent()
}

impl Cluster {
    fn new(profile: Profile, viewers: u32, children: u32) -> Cluster {
        let media = Media { kind: TrackKind::Video, payload: 1_200, profile };
        let mut origin = Bench::empty(media, 1 + viewers);
        origin.publisher(0);
        let now = origin.now;
        let mut edges = Vec::new();
        for name in 0..children {
            let [takes, brings] = setups(name);
            origin.core.open_link(now, takes);
            let mut edge = core_of(now, viewers as usize + 1);
            edge.open_link(now, brings);
            edges.push(edge);
        }
        for slot in 1..=viewers {
            origin.viewer(STREAM, slot);
            for edge in &mut edges {
                std::mem::swap(edge, &mut origin.core);
                origin.viewer(STREAM, slot);
                std::mem::swap(edge, &mut origin.core);
            }
        }
        Cluster { origin, edges }
    }

    /// Sends frames as many as a turn takes, and returns what a packet took at the origin and at
    /// the first of the others, in nanoseconds.
    fn round(&mut self) -> [f64; 2] {
        let now = self.origin.now + TURN;
        let mut packets: Vec<_> = (0..BATCH).flat_map(|_| self.origin.packets()).collect();
        self.origin.now = now;
        let count = packets.len() as f64;
        let began = cpu();
        for (remote, bytes) in &mut packets {
            let (via, local, remote) = (Via::Udp(0), LOCAL, *remote);
            let datagram = Inbound { via, local, remote, bytes, arrived: now, handed_over: false };
            self.origin.core.on_datagram(now, datagram);
        }
        self.origin.core.turn(now, false);
        let at_origin = cpu() - began;
        let mut to: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.edges.len()];
        for Sent { to: destination, bytes } in sent(&mut self.origin.core) {
            if bytes.first() == Some(&FIRST_BYTE) {
                let SocketAddr::V4(address) = destination.remote else { continue };
                to[usize::from(address.ip().octets()[3])].push(bytes);
            }
        }
        let mut at_edge = Duration::ZERO;
        for (place, edge) in self.edges.iter_mut().enumerate() {
            let began = cpu();
            give(edge, now, &mut to[place]);
            if place == 0 {
                at_edge = cpu() - began;
            }
            let back = sent(edge).into_iter().map(|sent| sent.bytes);
            let back = back.filter(|bytes| bytes.first() == Some(&FIRST_BYTE));
            give(&mut self.origin.core, now, &mut back.collect::<Vec<_>>());
        }
        [at_origin.as_nanos() as f64 / count, at_edge.as_nanos() as f64 / count]
    }

    fn figures(&self) -> u64 {
        self.edges[0].post.counters().publisher_packets.get()
    }
}

#[test]
#[ignore = "it measures"]
fn a_stream_of_another_node_is_cheaper_to_take_in() {
    for profile in [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm] {
        // Nobody watches; viewers at both; children of the origin.
        let mut all = [(0, 1), (VIEWERS, 1), (0, CHILDREN), (0, 0)].map(|(viewers, children)| {
            let mut cluster = Cluster::new(profile, viewers, children);
            (0..100).for_each(|_| {
                cluster.round();
            });
            (cluster, [Vec::new(), Vec::new()])
        });
        for _ in 0..60 {
            for (cluster, took) in &mut all {
                let round = cluster.round();
                took.iter_mut().zip(round).for_each(|(took, now)| took.push(now));
            }
        }
        assert!(all[0].0.figures() > 160 * BATCH as u64 * 9 / 10, "the link brings it");
        let [bare, watched, parent, alone] = all.map(|(_, took)| took.map(median));
        let fan_out = |of: usize| (watched[of] - bare[of]) / f64::from(VIEWERS);
        println!("{profile:?}: a packet of a publisher here {:.0} ns", alone[0]);
        println!("  of a link {:.0} ns, {:.2} x", bare[1], bare[1] / alone[0]);
        println!("  to one node more {:.0} ns", (parent[0] - bare[0]) / f64::from(CHILDREN - 1));
        println!("  to a viewer here {:.0} ns, of a link {:.0} ns", fan_out(0), fan_out(1));
    }
}
