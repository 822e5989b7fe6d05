//! Histograms of one shard: single writer, many readers, a few instructions per value.
//!
//! Buckets are log-linear: exact up to 16, then sixteen to the octave, so a value is known to 6 %.
//! Every power of two is the upper end of a bucket, and so is every multiple of 4 up to 128: the
//! bounds a Prometheus histogram is cut at must be among them, or its counts would be guesses.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets to the octave, as a power of two.
const RESOLUTION_BITS: u32 = 4;
const RESOLUTION: usize = 1 << RESOLUTION_BITS;

/// The largest value told apart: 2^36, which in microseconds is 19 hours.
const MAX_BITS: u32 = 36;

/// Buckets of a [`Histogram`]: sixteen exact ones, and sixteen for each octave above.
pub const BUCKETS: usize = RESOLUTION * (MAX_BITS - RESOLUTION_BITS + 1) as usize;

/// How often which value occurred. One thread writes, any thread reads.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS];
        Histogram { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one `value`. Only the owning thread may call this.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts `value` `times` over. Only the owning thread may call this.
    #[inline]
    pub fn record_many(&self, value: u64, times: u64) {
        grow(&self.buckets[bucket_of(value)], times);
        grow(&self.sum, value.wrapping_mul(times));
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// What was counted so far. Values counted meanwhile may be in or out.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let buckets: Box<[u64]> = self.buckets.iter().map(load).collect();
        Snapshot { buckets, sum: load(&self.sum), max: load(&self.max) }
    }
}

/// A load and a store: the one writer needs no atomic addition.
#[inline]
fn grow(word: &AtomicU64, by: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The bucket of a value: the one whose upper end is the first that is not below it.
#[inline]
fn bucket_of(value: u64) -> usize {
    // Ends are inclusive, so that "at most 1,024" is a bucket's end and not inside one.
    let value = value.saturating_sub(1);
    let octave = (value | (RESOLUTION as u64 - 1)).ilog2() - (RESOLUTION_BITS - 1);
    let within = (value >> octave.saturating_sub(1)) as usize;
    // In the octaves above the first, `within` already has its leading bit: sixteen too many.
    let index = octave as usize * RESOLUTION + within - RESOLUTION * usize::from(octave > 0);
    index.min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn upper_end(bucket: usize) -> u64 {
    let (octave, within) = (bucket / RESOLUTION, (bucket % RESOLUTION) as u64);
    match octave {
        0 => within + 1,
        octave => (RESOLUTION as u64 + within + 1) << (octave - 1),
    }
}

/// A copy of a [`Histogram`], to add up over shards and to subtract an earlier one from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    buckets: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot { buckets: vec![0; BUCKETS].into_boxed_slice(), sum: 0, max: 0 }
    }
}

impl Snapshot {
    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Snapshot) {
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// What was counted after `earlier`, an older snapshot of the same histogram. The greatest
    /// value of a span is known to the bucket only.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        let buckets: Box<[u64]> = pairs.map(|(now, then)| now.saturating_sub(*then)).collect();
        let last = buckets.iter().rposition(|count| *count > 0);
        let max = last.map_or(0, upper_end).min(self.max);
        Snapshot { buckets, sum: self.sum.wrapping_sub(earlier.sum), max }
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The greatest of them; 0 when there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Their mean; `None` when there is none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// How many values were at most `bound`, which should be the end of a bucket (see the module's
    /// words): of a bucket that `bound` cuts through, none is counted.
    #[must_use]
    pub fn at_most(&self, bound: u64) -> u64 {
        let within = self.buckets.iter().enumerate();
        within.take_while(|(bucket, _)| upper_end(*bucket) <= bound).map(|(_, count)| count).sum()
    }

    /// For quantiles: `hdr().value_at_quantile(0.99)`. A value stands for the end of its bucket.
    #[must_use]
    pub fn hdr(&self) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_max(1 << MAX_BITS, 2)
            .expect("two digits up to 2^36 is what the library is for");
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            // The last bucket takes what is beyond all bounds, and its end is the greatest value.
            let _ = hdr.record_n(upper_end(bucket).min(self.max.max(1)), *count);
        }
        hdr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_ascend_and_every_value_lies_below_the_end_of_its_bucket() {
        for bucket in 1..BUCKETS {
            let (below, end) = (upper_end(bucket - 1), upper_end(bucket));
            assert!(below < end);
            assert_eq!(bucket_of(end), bucket, "the end {end} belongs to it");
            assert_eq!(bucket_of(below + 1), bucket, "and so does {}", below + 1);
        }
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(2)), (0, 0, 1));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(upper_end(BUCKETS - 1), 1 << MAX_BITS);
    }

    #[test]
    fn powers_of_two_and_small_multiples_of_four_are_ends() {
        let is_end = |value: u64| upper_end(bucket_of(value)) == value;
        assert!((0..=MAX_BITS).all(|bit| is_end(1 << bit)));
        assert!((1..=32).all(|quarter| is_end(quarter * 4)));
        assert!((1..=16).all(is_end), "exact up to 16");
    }

    #[test]
    fn quantiles_bounds_and_sums_agree_with_what_was_recorded() {
        let histogram = Histogram::default();
        (1..=1_000).for_each(|value| histogram.record(value));
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.sum(), snapshot.max()), (1_000, 500_500, 1_000));
        assert_eq!(snapshot.at_most(64), 64);
        assert_eq!(snapshot.at_most(u64::MAX), 1_000);
        let p90 = snapshot.hdr().value_at_quantile(0.9);
        assert!((900..=960).contains(&p90), "{p90}");
        assert_eq!(snapshot.hdr().len(), 1_000);
    }

    #[test]
    fn snapshots_add_and_subtract() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record_many(5, 3);
        let before = one.snapshot();
        one.record(100);
        other.record(7);
        let span = one.snapshot().since(&before);
        assert_eq!((span.count(), span.sum(), span.max()), (1, 100, 100));
        let mut both = one.snapshot();
        both.add(&other.snapshot());
        assert_eq!((both.count(), both.sum()), (5, 122));
        assert_eq!(Snapshot::default().mean(), None);
        assert_eq!(Snapshot::default().hdr().value_at_quantile(0.5), 0);
    }
}
