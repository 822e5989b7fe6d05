//! What the timer wheel costs a packet, a turn of the loop and a sleeping session.
//!
//! Time is virtual. Noise: compare the lower bounds of runs on the same quiet machine.
//!
//! ```text
//! cargo bench --bench timers
//! ```

#![expect(missing_docs, reason = "criterion's macro writes a function without")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use monoport::shard::timers::Wheel;

/// Sessions of one shard.
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];

const MS: Duration = Duration::from_millis(1);

/// Spreads slots so that neighbours in time are no neighbours in memory.
fn scattered(index: u64, size: u32) -> u32 {
    (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32 % size
}

fn wheel(size: u32, start: Instant) -> Wheel {
    let mut wheel = Wheel::new(start);
    for slot in 0..size {
        wheel.schedule(slot, start + MS * (50 + slot % 1_000));
    }
    wheel
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for size in SIZES {
        let start = Instant::now();
        let mut re_armed = wheel(size, start);
        let mut index = 0;
        group.bench_function(BenchmarkId::new("re-arm to later", size), |bencher| {
            bencher.iter(|| {
                index += 1;
                re_armed.schedule(black_box(scattered(index, size)), black_box(start + MS * 2_000));
            });
        });

        let mut moved = wheel(size, start);
        group.bench_function(BenchmarkId::new("move to earlier and back", size), |bencher| {
            bencher.iter(|| {
                index += 1;
                let slot = scattered(index, size);
                moved.cancel(black_box(slot));
                moved.schedule(slot, black_box(start + MS * (index % 3_000) as u32));
            });
        });

        // Each millisecond a thousandth of the sessions expires and is scheduled again.
        let mut turning = wheel(size, start);
        let mut now = start;
        let mut expired = Vec::new();
        group.bench_function(BenchmarkId::new("millisecond of a second's period", size), |b| {
            b.iter(|| {
                now += MS;
                turning.expired(now, &mut expired);
                for slot in expired.drain(..) {
                    turning.schedule(slot, now + MS * 1_000);
                }
            });
        });

        group.bench_function(BenchmarkId::new("turn with nothing due", size), |bencher| {
            bencher.iter(|| {
                turning.expired(black_box(now), &mut expired);
                turning.next_deadline(black_box(now))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, timers);
criterion_main!(benches);
