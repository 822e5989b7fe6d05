//! The train whose packets come just now: how fast they do says what the path carries, before the
//! next train shows that it waits behind this one.

use crate::limits::QUEUE_OVERUSE;

/// Packets of a train that says something before it has come.
const PACKETS: u16 = 4;
/// It is late when it takes so many times what it should.
const LATE: f64 = 2.0;

/// A train of which at least one packet has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arriving {
    /// Its place among those that left.
    pub place: u8,
    first: i64,
    last: i64,
    /// The longest that one packet came after another.
    gap: i64,
    pub packets: u16,
    pub bytes_behind: u32,
}

impl Arriving {
    /// Its first packet that comes, by the viewer's clock.
    pub fn begin(place: u8, arrived: i64) -> Arriving {
        Arriving { place, first: arrived, last: arrived, gap: 0, packets: 1, bytes_behind: 0 }
    }

    /// Another one, of so many bytes on the path.
    pub fn note(&mut self, arrived: i64, bytes: u32) {
        self.gap = self.gap.max(arrived.saturating_sub(self.last));
        self.last = self.last.max(arrived);
        self.packets = self.packets.saturating_add(1);
        self.bytes_behind += bytes;
    }

    /// In what time it has come, in microseconds.
    pub fn within(&self) -> i64 {
        self.last.saturating_sub(self.first)
    }

    /// What comes of it, in bits a second, where that is far less than the `rate` it was sent at:
    /// its last packets are late because of its first. A path that pauses and delivers what has
    /// waited at once is no slower for it.
    pub fn slow(&self, rate: f64) -> Option<f64> {
        let within = self.within() as f64;
        let bits = f64::from(self.bytes_behind) * 8.0;
        let expected = bits * 1e6 / rate.max(1.0);
        let is_late = within > QUEUE_OVERUSE.as_micros() as f64 + LATE * expected;
        let is_even = self.gap <= self.within() / 2;
        (self.packets >= PACKETS && is_late && is_even).then(|| bits * 1e6 / within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A train of packets of 1,200 bytes that come at these times, in milliseconds.
    fn came(at_ms: &[i64]) -> Arriving {
        let mut train = Arriving::begin(0, at_ms[0] * 1_000);
        at_ms[1..].iter().for_each(|ms| train.note(ms * 1_000, 1_200));
        train
    }

    #[test]
    fn a_train_that_comes_far_slower_than_it_was_sent_says_so_before_it_has_come() {
        let slow = came(&[-40, -10, 20, 50]).slow(2e6);
        assert_eq!(slow, Some(320_000.0));
        assert_eq!(came(&[0, 30, 60]).slow(2e6), None, "three packets say little");
        assert_eq!(came(&[0, 30, 60, 90]).slow(400_000.0), None, "about as it was sent");
        assert_eq!(came(&[0, 5, 10, 15, 20, 25]).slow(2e6), None, "nobody is late");
    }

    #[test]
    fn a_path_that_pauses_is_not_slow() {
        assert_eq!(came(&[0, 1, 2, 120, 121, 122, 123]).slow(2e6), None);
        assert!(came(&[0, 40, 80, 120, 121]).slow(2e6).is_some());
    }

    #[test]
    fn nothing_a_viewer_says_makes_it_other_than_a_number() {
        let mut train = Arriving::begin(0, i64::MAX);
        [i64::MIN, i64::MAX, 0, 7, i64::MIN]
            .into_iter()
            .for_each(|at| train.note(at, u32::MAX / 8));
        assert!(train.slow(0.0).is_none_or(f64::is_finite));
    }
}
