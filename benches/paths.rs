//! What it costs to find the session of a datagram.
//!
//! A matrix of table sizes over the real types. Flows are looked up in a shuffled order, so that
//! the larger tables pay their cache misses as they would behind a network. Noise: the fastest of
//! Criterion's samples is what the code costs, the spread is the machine's; compare runs by the
//! lower bound, and only runs made on the same quiet machine.
//!
//! ```text
//! cargo bench --bench paths
//! ```

#![expect(missing_docs, reason = "criterion's macro writes a function without")]

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use monoport::id::SessionKey;
use monoport::paths::directory::Directory;
use monoport::paths::flows::{FlowKey, Flows};
use monoport::wire::ufrag::UfragKey;
use monoport::wire::{kind, rtcp, rtp, stun};

/// Flows of one shard; a hundred thousand is more than one core serves.
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];

/// The `index`th peer, in no order of addresses.
fn remote(index: u32) -> SocketAddr {
    let scattered = index.wrapping_mul(0x9E37_79B1);
    SocketAddr::from((scattered.to_be_bytes(), 1_024 + (index % 60_000) as u16))
}

fn local() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 3_478))
}

/// Every peer below `size` once, in an order the prefetcher cannot guess.
fn shuffled(size: u32) -> Vec<SocketAddr> {
    let mut peers: Vec<SocketAddr> = (0..size).map(remote).collect();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for index in (1..peers.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        peers.swap(index, (state % (index as u64 + 1)) as usize);
    }
    peers
}

fn flows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flows");
    for size in SIZES {
        let mut flows = Flows::new();
        for index in 0..size {
            flows.insert(FlowKey::new(local(), remote(index)), index);
        }
        let peers = shuffled(size);
        let mut known = peers.iter().cycle();
        group.bench_function(BenchmarkId::new("hit", size), |bencher| {
            bencher.iter(|| {
                let remote = *known.next().expect("endless");
                flows.get(&FlowKey::new(black_box(local()), remote)).expect("known")
            });
        });
        let strangers: Vec<SocketAddr> = (size..2 * size).map(remote).collect();
        let mut strangers = strangers.iter().cycle();
        group.bench_function(BenchmarkId::new("miss", size), |bencher| {
            bencher.iter(|| {
                let remote = *strangers.next().expect("endless");
                flows.get(&FlowKey::new(black_box(local()), remote))
            });
        });
    }
    group.finish();
}

fn directory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("directory");
    for size in SIZES {
        let directory = Directory::new(size as usize);
        for index in 0..size {
            assert!(directory.claim(&FlowKey::new(local(), remote(index)), index as u16));
        }
        let peers = shuffled(size);
        let mut known = peers.iter().cycle();
        group.bench_function(BenchmarkId::new("find", size), |bencher| {
            bencher.iter(|| {
                let remote = *known.next().expect("endless");
                directory.find(&FlowKey::new(black_box(local()), remote)).expect("known")
            });
        });
        let flow = FlowKey::new(local(), remote(size));
        group.bench_function(BenchmarkId::new("claim and release", size), |bencher| {
            bencher.iter(|| {
                assert!(directory.claim(black_box(&flow), 1));
                directory.release(black_box(&flow), 1);
            });
        });
    }
    group.finish();
}

/// A check as Chromium sends it, with USE-CANDIDATE; integrity and fingerprint are not looked at.
fn chromium_check(ufrag: &[u8]) -> Vec<u8> {
    let mut username = ufrag.to_vec();
    username.extend(b":Ab3d");
    let attributes: [(u16, &[u8]); 7] = [
        (0x0006, &username),
        (0xC057, &[0; 4]),
        (0x802A, &[0; 8]),
        (0x0025, &[]),
        (0x0024, &[0; 4]),
        (0x0008, &[0; 20]),
        (0x8028, &[0; 4]),
    ];
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut bytes = vec![0, 1];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(0x2112_A442_u32.to_be_bytes());
    bytes.extend([7; 12]);
    bytes.extend(body);
    bytes
}

fn first_contact(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first contact");
    let key = UfragKey::random();
    let ufrag = key.encode(SessionKey { shard: 3, slot: 4_711, generation: 2 });
    let forged = UfragKey::random().encode(SessionKey { shard: 3, slot: 4_711, generation: 2 });
    let check = chromium_check(ufrag.as_bytes());
    group.bench_function("STUN peek", |bencher| {
        bencher.iter(|| stun::peek(black_box(&check)).expect("well formed"));
    });
    group.bench_function("ufrag, genuine", |bencher| {
        bencher.iter(|| key.decode(black_box(ufrag.as_bytes())).expect("genuine"));
    });
    group.bench_function("ufrag, forged", |bencher| {
        bencher.iter(|| assert!(key.decode(black_box(forged.as_bytes())).is_none()));
    });
    let forged_check = chromium_check(forged.as_bytes());
    group.bench_function("forged check: kind, peek, ufrag", |bencher| {
        bencher.iter(|| {
            let bytes = black_box(forged_check.as_slice());
            assert_eq!(kind::of(bytes), Some(kind::Kind::Stun));
            let peek = stun::peek(bytes).expect("well formed");
            assert!(key.decode(peek.local_ufrag.expect("named")).is_none());
        });
    });
    group.finish();
}

fn parsers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parsers");
    let mut packet = vec![0; 1_208];
    let writer = rtp::HeaderWriter {
        marker: false,
        padding: false,
        payload_type: 96,
        sequence: 1,
        timestamp: 2,
        ssrc: 3,
    };
    let elements: [(u8, &[u8]); 2] = [(2, &[1, 2, 3]), (3, &[4, 5])];
    writer.write(&elements, &mut packet).expect("fits");
    group.bench_function("RTP header", |bencher| {
        bencher.iter(|| rtp::parse(black_box(&packet)).expect("well formed"));
    });
    group.bench_function("RTP header and elements", |bencher| {
        bencher.iter(|| {
            let packet = black_box(packet.as_slice());
            let header = rtp::parse(packet).expect("well formed");
            header.elements(packet).map(|(id, data)| usize::from(id) + data.len()).sum::<usize>()
        });
    });
    let mut report = [0; 128];
    let blocks = [rtcp::ReportBlock::default(); 2];
    let mut len = rtcp::receiver_report(1, &blocks, &mut report).expect("fits");
    len += rtcp::nack(1, 2, &[100, 103, 130], &mut report[len..]).expect("fits");
    group.bench_function("RTCP report and NACK", |bencher| {
        bencher.iter(|| {
            rtcp::compound(black_box(&report[..len]))
                .map(|packet| match packet.expect("well formed") {
                    rtcp::Packet::ReceiverReport { reports, .. } => reports.count(),
                    rtcp::Packet::Nack { lost, .. } => lost.count(),
                    other => unreachable!("{other:?}"),
                })
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, flows, directory, first_contact, parsers);
criterion_main!(benches);
