//! Latencies while a run goes on: counts that one thread bumps and another reads at any time, to an
//! eighth of their value. The report at the end comes from a finer histogram.

use crate::tally::bump;
use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps within a factor of two.
const STEPS: usize = 8;
/// Factors of two above the first [`STEPS`] values: up to 2²⁶ µs, a minute.
const OCTAVES: usize = 23;
const BUCKETS: usize = STEPS * (OCTAVES + 1);

/// Counts of latencies. Written by one thread.
pub struct Latencies([AtomicU64; BUCKETS]);

/// Their state at one time, or what came between two.
#[derive(Clone, Debug)]
pub struct Counts([u64; BUCKETS]);

impl Default for Latencies {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Latencies {
    /// Counts one latency in microseconds; what is longer than a minute counts as a minute.
    pub fn count(&self, us: u64) {
        bump(&self.0[bucket(us)], 1);
    }

    /// Adds the counts of now to `sum`.
    pub fn add_to(&self, sum: &mut Counts) {
        for (sum, bucket) in sum.0.iter_mut().zip(&self.0) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }
}

impl Counts {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(array::from_fn(|at| self.0[at].saturating_sub(before.0[at])))
    }

    /// The least value, in microseconds, that `quantile` of the latencies are below; `None` without
    /// any. At most an eighth too large.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let total: u64 = self.0.iter().sum();
        let rank = ((total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        self.0.iter().enumerate().find_map(|(at, count)| {
            seen += count;
            (total > 0 && seen >= rank).then(|| end_us(at))
        })
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let octave = us.ilog2() as usize - STEPS.ilog2() as usize;
    let step = (us >> octave) as usize - STEPS;
    (STEPS * (octave + 1) + step).min(BUCKETS - 1)
}

/// The value a bucket ends before.
fn end_us(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64 + 1;
    }
    let (octave, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) as u64) << octave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_has_a_bucket_that_is_an_eighth_wide_at_most() {
        for us in (0..10_000).chain([65_535, 65_536, 1 << 20, 60_000_000]) {
            let end = end_us(bucket(us));
            assert!(us < end && end <= us + us / 8 + 1, "{us} in a bucket that ends at {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_came_between() {
        let latencies = Latencies::default();
        (0..100).for_each(|_| latencies.count(50_000));
        let mut before = Counts::default();
        latencies.add_to(&mut before);
        (0..99).for_each(|_| latencies.count(100));
        latencies.count(1_000);
        let mut after = Counts::default();
        latencies.add_to(&mut after);
        let between = after.since(&before);
        assert_eq!(between.quantile_us(0.5), Some(104));
        assert_eq!(between.quantile_us(0.99), Some(104));
        assert_eq!(between.quantile_us(1.0), Some(1_024));
        assert_eq!(before.since(&before).quantile_us(0.5), None);
    }
}
