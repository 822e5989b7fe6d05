//! What a layer sends, measured.

use std::time::Instant;

use crate::limits::RATE_PERIOD;

/// Seconds that say what a layer needs, and those that do where its frames are few.
const SECONDS: usize = 5;
const SECONDS_OF_FEW: usize = 4;

/// Frames in a second that are few: one of them more or less is an eighth of what is counted.
const FEW_FRAMES: u32 = 8;

/// Packets and bits a second of one layer, over the last whole [`RATE_PERIOD`], and what is to be
/// expected of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    since: Option<Instant>,
    packets: u32,
    bytes: u64,
    /// Counts frames, by their times.
    frames: u32,
    timestamp: Option<u32>,
    packets_per_s: u32,
    bits_per_s: u64,
    /// The last periods in which anything came, the newest first: bits a second, and frames.
    periods: [(u64, u32); SECONDS],
    measured: u8,
}

impl Rate {
    /// Counts a packet of the frame at `timestamp`, with a payload of so many bytes.
    pub fn count(&mut self, now: Instant, timestamp: u32, bytes: usize) {
        self.settle(now);
        self.packets += 1;
        self.bytes += bytes as u64;
        self.frames += u32::from(self.timestamp.replace(timestamp) != Some(timestamp));
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
        // What is not sent needs as much as before, when it is sent again. Of a slide show, a
        // period lasts until the next slide.
        if self.packets > 0 {
            let frames = (u64::from(self.frames) * 1_000_000 / micros) as u32;
            self.periods.rotate_right(1);
            self.periods[0] = (self.bits_per_s, frames);
            self.measured = self.measured.saturating_add(1);
        }
        (self.packets, self.bytes, self.frames, self.since) = (0, 0, 0, Some(now));
    }

    /// Packets a second; 0 before the first period is over.
    #[must_use]
    pub fn packets_per_s(&self) -> u32 {
        self.packets_per_s
    }

    /// Bits of payload a second; before the first period is over, what came so far.
    #[must_use]
    pub fn bits_per_s(&self) -> u64 {
        if self.measured > 0 { self.bits_per_s } else { self.bytes * 8 }
    }

    /// Bits of payload a second that there must be room for: a twentieth more than the median of
    /// the last periods in which it was sent, since a key frame or a still picture is no measure;
    /// where frames are few, than their mean.
    #[must_use]
    pub fn needed_bits_per_s(&self) -> u64 {
        let measured = usize::from(self.measured).min(SECONDS);
        let mut periods = self.periods;
        let periods = &mut periods[..measured];
        let few = periods.first().is_some_and(|(_, frames)| *frames < FEW_FRAMES);
        let usual = if few {
            let periods = &periods[..measured.min(SECONDS_OF_FEW)];
            periods.iter().map(|(bits, _)| bits / periods.len() as u64).sum()
        } else {
            periods.sort_unstable();
            periods.get(measured / 2).map_or_else(|| self.bits_per_s(), |(bits, _)| *bits)
        };
        usual.saturating_add(usual / 20)
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
            rate.count(start + ms(10 * packet), packet as u32, 1_000);
        }
        assert_eq!((rate.packets_per_s(), rate.bits_per_s()), (0, 800_000), "not over yet");
        rate.settle(start + RATE_PERIOD);
        assert_eq!((rate.packets_per_s(), rate.bits_per_s()), (100, 800_000));
        rate.settle(start + RATE_PERIOD * 3);
        assert_eq!((rate.packets_per_s(), rate.bits_per_s()), (0, 0));
    }

    #[test]
    fn neither_a_key_frame_nor_silence_says_what_a_layer_needs() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut rate = Rate::default();
        // 25 frames a second of 2,500 bytes, and now and then one of 60,000.
        let frame = |rate: &mut Rate, number: u64| {
            let bytes = if number % 100 == 30 { 60_000 } else { 2_500 };
            rate.count(start + ms(40 * number), number as u32, bytes);
        };
        (0..25).for_each(|number| frame(&mut rate, number));
        assert_eq!(rate.needed_bits_per_s(), 525_000, "what came so far, and a twentieth");
        for number in 25..1_000 {
            frame(&mut rate, number);
            let needed = rate.needed_bits_per_s();
            assert!((515_000..545_000).contains(&needed) || number < 80, "{number}: {needed}");
        }
        rate.settle(start + ms(60_000));
        rate.settle(start + ms(62_000));
        assert_eq!(rate.bits_per_s(), 0);
        assert!((515_000..545_000).contains(&rate.needed_bits_per_s()), "when it is back");
    }

    #[test]
    fn of_few_frames_a_second_four_seconds_are_taken_together() {
        let start = Instant::now();
        let mut rate = Rate::default();
        // Three frames in two seconds: the seconds have two, one, two, one.
        for number in 0..60 {
            rate.count(start + Duration::from_millis(667) * number, number, 10_000);
            let needed = rate.needed_bits_per_s();
            assert!((95_000..155_000).contains(&needed) || number < 10, "{number}: {needed}");
        }
    }
}
