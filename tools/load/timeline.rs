//! When each packet of a stream was sent, for viewers that do not open every packet.
//!
//! The publisher writes, any number of viewers read, all in one process: an array of atomics
//! indexed by the packet's number. A viewer learns from the packets it opens how the server's
//! sequence numbers map to the publisher's packet numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Packets remembered: a minute of 250 packets a second.
const PACKETS: usize = 1 << 14;
/// The low bits of an entry hold the time, 78 hours of it; the rest is the number's low 16 bits, so
/// that a packet which is long overwritten is not taken for its successor.
const TIME_BITS: u32 = 48;

/// The send times of one SSRC.
pub struct Timeline {
    entries: Box<[AtomicU64]>,
    /// How many packets were sent.
    sent: AtomicU64,
}

impl Default for Timeline {
    fn default() -> Self {
        let entries = (0..PACKETS).map(|_| AtomicU64::new(0)).collect();
        Self { entries, sent: AtomicU64::new(0) }
    }
}

impl Timeline {
    /// Records that the next packet was sent at `sent_ns` after the process's clock began.
    pub fn record(&self, number: u32, sent_ns: u64) {
        let tag = u64::from(number & 0xffff) << TIME_BITS;
        let entry = tag | (sent_ns & ((1 << TIME_BITS) - 1));
        // The entry is one word and complete in itself, so no order with anything else is needed.
        self.entries[number as usize % PACKETS].store(entry, Ordering::Relaxed);
        self.sent.store(u64::from(number) + 1, Ordering::Relaxed);
    }

    /// When packet `number` was sent; `None` when it is not remembered.
    #[must_use]
    pub fn sent_ns(&self, number: u32) -> Option<u64> {
        let entry = self.entries[number as usize % PACKETS].load(Ordering::Relaxed);
        let known = entry != 0 && entry >> TIME_BITS == u64::from(number & 0xffff);
        known.then_some(entry & ((1 << TIME_BITS) - 1))
    }

    /// How many packets were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_packets_and_no_others() {
        let timeline = Timeline::default();
        assert_eq!(timeline.sent_ns(0), None);
        for number in 0..PACKETS as u32 + 10 {
            timeline.record(number, 1_000 + u64::from(number));
        }
        assert_eq!(timeline.sent(), PACKETS as u64 + 10);
        assert_eq!(timeline.sent_ns(9), None, "overwritten");
        assert_eq!(timeline.sent_ns(10), Some(1_010));
        assert_eq!(timeline.sent_ns(PACKETS as u32 + 9), Some(1_009 + PACKETS as u64));
        assert_eq!(timeline.sent_ns(PACKETS as u32 + 10), None, "not sent yet");
    }
}
