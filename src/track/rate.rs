//! What a layer sends, measured.

use std::time::Instant;

use crate::limits::RATE_PERIOD;

/// Packets and bits a second of one layer, over the last whole [`RATE_PERIOD`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    since: Option<Instant>,
    packets: u32,
    bytes: u64,
    packets_per_s: u32,
    bits_per_s: u64,
    measured: bool,
}

impl Rate {
    /// Counts a packet with a payload of so many bytes.
    pub fn count(&mut self, now: Instant, bytes: usize) {
        self.settle(now);
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Ends the period if its time is over.
    pub fn settle(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < RATE_PERIOD {
            return;
        }
        let micros = elapsed.as_micros() as u64;
        self.packets_per_s = (u64::from(self.packets) * 1_000_000 / micros) as u32;
        self.bits_per_s = self.bytes.saturating_mul(8_000_000) / micros;
        (self.packets, self.bytes, self.since, self.measured) = (0, 0, Some(now), true);
    }

    /// Packets a second; 0 before the first period is over.
    #[must_use]
    pub fn packets_per_s(&self) -> u32 {
        self.packets_per_s
    }

    /// Bits of payload a second; before the first period is over, what came so far.
    #[must_use]
    pub fn bits_per_s(&self) -> u64 {
        if self.measured { self.bits_per_s } else { self.bytes * 8 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_whole_period_and_falls_to_nothing() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut rate = Rate::default();
        for packet in 0..100 {
            rate.count(start + ms(10 * packet), 1_000);
        }
        assert_eq!((rate.packets_per_s(), rate.bits_per_s()), (0, 800_000), "not over yet");
        rate.settle(start + RATE_PERIOD);
        assert_eq!((rate.packets_per_s(), rate.bits_per_s()), (100, 800_000));
        rate.settle(start + RATE_PERIOD * 3);
        assert_eq!((rate.packets_per_s(), rate.bits_per_s()), (0, 0));
    }
}
