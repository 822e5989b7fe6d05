//! What sealing costs: per profile, library and size; with one hot key, and over as many keys as a
//! shard has viewers, in an order the prefetcher cannot follow.
//!
//! Noise: a busy sibling core adds a half to everything here. Compare only figures of one run, and
//! look at `seal/ring/…/1200/hot` first: it is the run's yardstick.

#![expect(missing_docs, reason = "criterion's macro writes a function without")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use monoport::srtp::{Library, MasterKey, Profile, RtpOpener, RtpSealer};
use std::hint::black_box;
use std::time::Duration;

/// Bytes of header in front of the payload, as the egress lane writes it with one extension.
const HEADER: usize = 20;

fn master(profile: Profile, number: u32) -> MasterKey {
    let mut key = vec![7; profile.key_len()];
    key[..4].copy_from_slice(&number.to_le_bytes());
    MasterKey::new(profile, &key, &vec![9; profile.salt_len()]).expect("lengths of the profile")
}

/// The variants that exist: only AES-GCM has two libraries.
fn variants() -> impl Iterator<Item = (Profile, Library)> {
    Profile::ALL.into_iter().flat_map(|profile| {
        Library::ALL
            .into_iter()
            .filter(move |library| {
                profile != Profile::Aes128CmSha1_80 || *library == Library::AwsLc
            })
            .map(move |library| (profile, library))
    })
}

/// A permutation of `0..n` by a fixed xorshift, the same in every run.
fn shuffled(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..n).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    group.measurement_time(Duration::from_millis(1500)).warm_up_time(Duration::from_millis(300));
    group.sample_size(30);
    for (profile, library) in variants() {
        for size in [160, 1200] {
            group.throughput(Throughput::Elements(1));
            for keys in [1, 1000, 4000] {
                let sealers: Vec<_> = (0..keys as u32)
                    .map(|n| RtpSealer::with_library(profile, &master(profile, n), library))
                    .collect();
                let order = shuffled(keys);
                let payload = vec![3u8; size];
                let mut arena = vec![0u8; 64 * 2048];
                let mut index = 0u64;
                let kind = if keys == 1 { "hot".to_owned() } else { format!("{keys}-keys") };
                let name = format!("{}/{profile:?}/{size}/{kind}", library.name());
                group.bench_function(BenchmarkId::from_parameter(name), |b| {
                    b.iter(|| {
                        index += 1;
                        let sealer = &sealers[order[index as usize % keys]];
                        let slot = &mut arena[(index as usize % 64) * 2048..][..2048];
                        slot[HEADER..HEADER + size].copy_from_slice(&payload);
                        black_box(sealer.seal(slot, HEADER, HEADER + size, 5, index));
                    });
                });
            }
        }
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    group.measurement_time(Duration::from_millis(1500)).warm_up_time(Duration::from_millis(300));
    group.sample_size(30);
    for (profile, library) in variants() {
        let sealer = RtpSealer::with_library(profile, &master(profile, 1), library);
        let opener = RtpOpener::with_library(profile, &master(profile, 1), library);
        let mut sealed = vec![0u8; HEADER + 1200 + sealer.overhead()];
        sealer.seal(&mut sealed, HEADER, HEADER + 1200, 5, 1);
        let mut packet = sealed.clone();
        let name = format!("{}/{profile:?}/1200", library.name());
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                packet.copy_from_slice(&sealed);
                black_box(opener.open(&mut packet, HEADER, 5, 1)).expect("authentic");
            });
        });
    }
    group.finish();
}

/// What a new session pays: derivation of three keys and expansion of what is kept.
fn key_schedule(c: &mut Criterion) {
    let mut group = c.benchmark_group("key-schedule");
    group.measurement_time(Duration::from_millis(1500)).warm_up_time(Duration::from_millis(300));
    group.sample_size(30);
    for (profile, library) in variants() {
        let master = master(profile, 1);
        let name = format!("{}/{profile:?}", library.name());
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(RtpSealer::with_library(profile, black_box(&master), library)));
        });
    }
    group.finish();
}

criterion_group!(benches, seal, open, key_schedule);
criterion_main!(benches);
