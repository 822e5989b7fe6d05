//! The rate that arrives, by the viewer's clock.

use crate::limits::{ACKED_BUCKET, ACKED_BUCKETS};

const BUCKET: i64 = ACKED_BUCKET.as_micros() as i64;

/// Bytes that came in the last 200 ms.
#[derive(Debug)]
pub(super) struct Acked {
    buckets: [u32; ACKED_BUCKETS],
    /// The newest bucket, since the viewer's clock began.
    newest: Option<i64>,
}

impl Acked {
    pub fn new() -> Acked {
        Acked { buckets: [0; ACKED_BUCKETS], newest: None }
    }

    /// So many bytes came at this time of the viewer's, in microseconds.
    pub fn note(&mut self, arrived: i64, bytes: u32) {
        let bucket = arrived.div_euclid(BUCKET);
        let newest = *self.newest.get_or_insert(bucket);
        let ahead = bucket.saturating_sub(newest);
        if ahead <= -(ACKED_BUCKETS as i64) {
            return;
        }
        for step in 0..ahead.clamp(0, ACKED_BUCKETS as i64) {
            self.buckets[place(bucket - step)] = 0;
        }
        self.newest = Some(newest.max(bucket));
        let count = &mut self.buckets[place(bucket)];
        *count = count.saturating_add(bytes);
    }

    /// Bits a second.
    pub fn rate(&self) -> f64 {
        let bytes: f64 = self.buckets.iter().map(|bytes| f64::from(*bytes)).sum();
        bytes * 8.0e6 / (BUCKET * ACKED_BUCKETS as i64) as f64
    }
}

fn place(bucket: i64) -> usize {
    bucket.rem_euclid(ACKED_BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_fifth_of_a_second() {
        let mut acked = Acked::new();
        (0..100).for_each(|packet| acked.note(-500_000 + packet * 10_000, 1_250));
        assert!((acked.rate() - 1e6).abs() < 50_000.0, "{}", acked.rate());
        acked.note(900_000, 1_250);
        assert!(acked.rate() < 60_000.0, "what was before is over");
        acked.note(-900_000, 1_000_000);
        assert!(acked.rate() < 60_000.0, "and what comes from before does not count");
    }
}
