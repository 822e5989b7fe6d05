//! What a receiver report says of one source (RFC 3550 appendix A.3 and A.8).

use std::time::Duration;

use super::Micros;
use crate::wire::rtcp::ReportBlock;

/// The reception of one SSRC. Packets have their SRTP indices: no wrap, no probation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reception {
    first: u64,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// In sixteenths of a tick of the RTP clock.
    jitter: u32,
    /// RTP time and arrival of the packet that jitter was measured with last.
    last: Option<(u32, Micros)>,
    /// The middle of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Micros)>,
}

impl Reception {
    /// Takes a packet in that was not received before; true when it is ahead of all others.
    pub fn take_in(&mut self, index: u64) -> bool {
        let is_ahead = self.received == 0 || index > self.highest;
        if self.received == 0 {
            self.first = index;
        }
        // Overtaken by the first: it counts, too.
        self.first = self.first.min(index);
        self.highest = self.highest.max(index);
        self.received += 1;
        is_ahead
    }

    /// Measures the jitter with a packet that is ahead. Of a frame's packets only the first says
    /// anything: they have one RTP time and leave one after the other.
    pub fn time(&mut self, timestamp: u32, arrived: Micros, clock_rate: u32) {
        let Some((last_timestamp, last_arrived)) = self.last else {
            self.last = Some((timestamp, arrived));
            return;
        };
        if timestamp == last_timestamp {
            return;
        }
        self.last = Some((timestamp, arrived));
        let elapsed = arrived.saturating_sub(last_arrived).saturating_mul(u64::from(clock_rate));
        let elapsed = i64::try_from(elapsed / 1_000_000).unwrap_or(i64::MAX);
        let sent = i64::from(timestamp.wrapping_sub(last_timestamp).cast_signed());
        let apart = elapsed.abs_diff(sent).min(1 << 24) as u32;
        // RFC 3550 A.8 in integers; the eight rounds.
        self.jitter = self.jitter.wrapping_add(apart).wrapping_sub((self.jitter + 8) >> 4);
    }

    /// A sender report has come.
    pub fn reported(&mut self, ntp: u64, arrived: Micros) {
        self.last_report = Some(((ntp >> 16) as u32, arrived));
    }

    /// The highest index, once there is one.
    pub fn highest(&self) -> Option<u64> {
        (self.received > 0).then_some(self.highest)
    }

    fn expected(&self) -> u64 {
        if self.received == 0 { 0 } else { self.highest - self.first + 1 }
    }

    /// Packets that have not come so far.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// The interarrival jitter.
    pub fn jitter(&self, clock_rate: u32) -> Duration {
        let ticks = u64::from(self.jitter >> 4);
        Duration::from_micros(ticks * 1_000_000 / u64::from(clock_rate))
    }

    /// The block of the next report, which begins a new interval.
    pub fn block(&mut self, ssrc: u32, now: Micros) -> ReportBlock {
        let expected = self.expected();
        let expected_now = expected - self.expected_prior.min(expected);
        let received_now = self.received - self.received_prior;
        (self.expected_prior, self.received_prior) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let (last_sr, delay) = match self.last_report {
            Some((name, at)) => (name, now.saturating_sub(at) * 65_536 / 1_000_000),
            None => (0, 0),
        };
        let lost = expected as i64 - self.received as i64;
        ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr: u32::try_from(delay).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_that_of_the_interval_and_of_all_time() {
        let mut reception = Reception::default();
        for index in (65_530..65_630).filter(|index| index % 10 != 0) {
            reception.take_in(index);
        }
        // 65,530 itself is one of those that did not come.
        let block = reception.block(7, 0);
        assert_eq!((block.cumulative_lost, block.fraction_lost), (9, (9 * 256 / 99) as u8));
        assert_eq!(block.highest_sequence, 65_629, "with the cycles above sixteen bits");
        for index in 65_630..65_640 {
            reception.take_in(index);
        }
        reception.take_in(65_540);
        let block = reception.block(7, 0);
        assert_eq!((block.cumulative_lost, block.fraction_lost), (8, 0), "more than expected");
        assert_eq!(reception.lost(), 8);
    }

    #[test]
    fn jitter_is_the_smoothed_difference_of_spacing() {
        let mut reception = Reception::default();
        let mut arrived = 0;
        for frame in 0..200u32 {
            // 20 ms apart when sent, alternately 10 and 30 ms when they come.
            arrived += if frame % 2 == 0 { 10_000 } else { 30_000 };
            reception.time(frame * 960, arrived, 48_000);
            reception.time(frame * 960, arrived + 5_000, 48_000);
        }
        let jitter = reception.jitter(48_000);
        assert!(
            jitter.abs_diff(Duration::from_millis(10)) < Duration::from_micros(50),
            "{jitter:?}"
        );
    }

    #[test]
    fn the_delay_since_a_sender_report_is_told_in_its_units() {
        let mut reception = Reception::default();
        assert_eq!(reception.block(1, 9).last_sr, 0);
        reception.reported(0x0001_0002_0003_0004, 1_000_000);
        let block = reception.block(1, 1_500_000);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x0002_0003, 32_768));
    }
}
