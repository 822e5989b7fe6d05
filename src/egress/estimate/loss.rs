//! What losses say: only many of them, or some in a queue that is full, mean too high a rate.
//! Wireless paths lose a few percent at any rate.

use super::Micros;
use crate::limits::{
    ESTIMATE_MOST, LOSS_BUCKET, LOSS_BUCKETS, LOSS_PACKETS, LOSS_PACKETS_LEAST, QUEUE_OF_LOSS,
};

const BUCKET: Micros = LOSS_BUCKET.as_micros() as Micros;

/// A share of losses that means congestion together with a queue, and one that does without.
const WITH_QUEUE: f64 = 0.10;
const ALONE: f64 = 0.25;
/// How often the bound by losses is moved.
const PAUSE: Micros = 300_000;
/// How it grows each time.
const GROWTH: f64 = 1.05;

/// The bound on the rate by losses.
#[derive(Debug)]
pub(super) struct Loss {
    /// Packets that were reported on, and those of them that were lost.
    buckets: [(u16, u16); LOSS_BUCKETS],
    bucket: Micros,
    moved: Micros,
    bound: f64,
    /// The share of losses at the last look.
    shown: Option<f64>,
}

impl Loss {
    pub fn new() -> Loss {
        Loss {
            buckets: [(0, 0); LOSS_BUCKETS],
            bucket: 0,
            moved: 0,
            bound: ESTIMATE_MOST,
            shown: None,
        }
    }

    /// Feedback at `now` was about so many packets.
    pub fn note(&mut self, now: Micros, packets: u16, lost: u16) {
        let bucket = now / BUCKET;
        let passed = bucket.saturating_sub(self.bucket).min(LOSS_BUCKETS as Micros);
        for step in 0..passed {
            self.buckets[place(bucket - step)] = (0, 0);
        }
        self.bucket = self.bucket.max(bucket);
        let (all, of_them) = &mut self.buckets[place(self.bucket)];
        *all = all.saturating_add(packets);
        *of_them = of_them.saturating_add(lost);
    }

    /// A packet that counts as lost has come after all.
    pub fn found(&mut self) {
        let (_, lost) = &mut self.buckets[place(self.bucket)];
        *lost = lost.saturating_sub(1);
    }

    /// The share that was lost of the newest packets, if there are enough.
    pub fn share(&self) -> Option<f64> {
        let (mut packets, mut lost) = (0, 0);
        for step in 0..LOSS_BUCKETS as Micros {
            let at = self.bucket.wrapping_sub(step);
            let (all, of_them) = self.buckets[place(at)];
            (packets, lost) = (packets + u32::from(all), lost + u32::from(of_them));
            if packets >= LOSS_PACKETS && step >= 2 {
                break;
            }
        }
        (packets >= LOSS_PACKETS_LEAST).then(|| f64::from(lost) / f64::from(packets))
    }

    /// The share at the last look.
    pub fn shown(&self) -> Option<f64> {
        self.shown
    }

    /// Moves the bound on a rate, of which `acked` arrives. Whether the losses are congestion.
    pub fn judge(&mut self, now: Micros, rate: f64, acked: f64, queue_ms: f64) -> bool {
        let Some(share) = self.share().filter(|_| now.saturating_sub(self.moved) > PAUSE) else {
            return false;
        };
        (self.moved, self.shown) = (now, Some(share));
        let has_queue = queue_ms > QUEUE_OF_LOSS.as_millis() as f64;
        let is_congested = share > ALONE || (has_queue && share > WITH_QUEUE);
        if is_congested {
            self.bound = (self.bound.min(rate) * (1.0 - share / 2.0)).max(0.85 * acked);
            self.buckets = [(0, 0); LOSS_BUCKETS];
        } else {
            self.bound = (self.bound * GROWTH).max(rate).min(ESTIMATE_MOST);
        }
        is_congested
    }

    /// So much has come through since: what was lost before it is no bound on that.
    pub fn raise(&mut self, bits_per_s: f64) {
        self.bound = self.bound.max(bits_per_s);
    }

    /// The rate is no more than this.
    pub fn bound(&self) -> f64 {
        self.bound
    }
}

fn place(bucket: Micros) -> usize {
    (bucket % LOSS_BUCKETS as Micros) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of feedback with such a share of losses, judged at its end.
    fn judged(lost_of_ten: u16, queue_ms: f64) -> (bool, f64) {
        let mut loss = Loss::new();
        (0..16).for_each(|n| loss.note(1_000_000 + n * 62_000, 10, lost_of_ten));
        (loss.judge(2_000_000, 1e6, 0.5e6, queue_ms), loss.bound())
    }

    #[test]
    fn losses_are_congestion_with_a_queue_or_when_they_are_many() {
        assert_eq!(judged(2, 0.0), (false, ESTIMATE_MOST));
        assert_eq!(judged(2, 15.0), (true, 0.9e6));
        assert_eq!(judged(3, 0.0), (true, 0.85e6));
        assert_eq!(judged(1, 15.0), (false, ESTIMATE_MOST), "a tenth is not more than a tenth");
    }

    #[test]
    fn the_bound_is_not_below_what_arrives_and_rises_again() {
        let mut loss = Loss::new();
        loss.note(0, 100, 90);
        assert!(loss.judge(400_000, 1e6, 0.9e6, 0.0));
        assert_eq!(loss.bound(), 0.85 * 0.9e6);
        loss.note(800_000, 100, 0);
        assert!(!loss.judge(800_000, 0.7e6, 0.7e6, 0.0));
        assert!((loss.bound() - 0.85 * 0.9e6 * GROWTH).abs() < 1.0);
    }

    #[test]
    fn what_has_come_through_since_is_not_bound_by_what_was_lost() {
        let mut loss = Loss::new();
        loss.note(0, 100, 90);
        assert!(loss.judge(400_000, 1e6, 0.2e6, 0.0));
        loss.raise(0.7e6);
        assert_eq!(loss.bound(), 0.7e6);
        loss.raise(0.3e6);
        assert_eq!(loss.bound(), 0.7e6);
    }

    #[test]
    fn few_packets_say_nothing_and_old_ones_are_forgotten() {
        let mut loss = Loss::new();
        loss.note(0, 49, 49);
        assert_eq!(loss.share(), None);
        loss.note(10, 1, 1);
        assert_eq!(loss.share(), Some(1.0));
        loss.found();
        assert_eq!(loss.share(), Some(0.98));
        loss.note(4_100_000, 50, 0);
        assert_eq!(loss.share(), Some(0.0));
        loss.note(4_100_000, 50, 0);
        loss.note(5_000_000, 10, 10);
        assert_eq!(loss.share(), Some(10.0 / 110.0), "back to as many as are needed");
    }
}
