//! Packets of one source that have not come, and when to ask for them (RFC 4585 §6.2.1).

use super::Micros;
use crate::limits::{
    HISTORY_TIME, MAX_MISSING, NACK_DELAY, NACK_INTERVAL, NACK_REORDERED, NACK_TRIES,
};

/// Ascending by index, and no more than [`MAX_MISSING`].
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    packets: Vec<Packet>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    index: u64,
    since: Micros,
    /// When to ask next.
    next: Micros,
    tries: u8,
}

impl Missing {
    /// Bytes of memory that it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.packets.capacity() * size_of::<Packet>()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The packets from `first` up to and not with `end` were overtaken.
    pub fn overtaken(&mut self, first: u64, end: u64, now: Micros) {
        if end - first > MAX_MISSING as u64 {
            // Nobody waits for what came before such a hole.
            self.packets.clear();
            return;
        }
        let next = now + NACK_DELAY.as_micros() as Micros;
        let over = self.packets.len() + (end - first) as usize;
        self.packets.drain(..over.saturating_sub(MAX_MISSING));
        self.packets.extend((first..end).map(|index| Packet { index, since: now, next, tries: 0 }));
    }

    /// One has come late, or again.
    pub fn came(&mut self, index: u64) {
        if let Ok(place) = self.packets.binary_search_by_key(&index, |packet| packet.index) {
            self.packets.remove(place);
        }
    }

    /// When to ask for any of them, of which the newest to come had the index `highest`.
    pub fn next(&self, highest: u64) -> Option<Micros> {
        let at = |packet: &Packet| if packet.is_behind(highest) { 0 } else { packet.next };
        self.packets.iter().map(at).min()
    }

    /// Moves into `due` the sequence numbers to ask for now; asked for in vain often enough, or of
    /// too long ago, a packet is given up. An answer is not expected before `round_trip`.
    pub fn ask(
        &mut self,
        highest: u64,
        now: Micros,
        round_trip: Option<Micros>,
        due: &mut impl FnMut(u16) -> bool,
    ) {
        let pause = round_trip.unwrap_or(0).max(NACK_INTERVAL.as_micros() as Micros);
        let kept = HISTORY_TIME.as_micros() as Micros;
        self.packets.retain_mut(|packet| {
            if now.saturating_sub(packet.since) > kept {
                return false;
            }
            if packet.next > now && !packet.is_behind(highest) {
                return true;
            }
            if packet.tries == NACK_TRIES {
                return false;
            }
            if due(packet.index as u16) {
                packet.tries += 1;
                packet.next = now + pause;
            }
            true
        });
    }
}

impl Packet {
    /// Whether so many later ones have come that it was lost, and nobody was asked yet.
    fn is_behind(&self, highest: u64) -> bool {
        self.tries == 0 && highest >= self.index + NACK_REORDERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(missing: &mut Missing, highest: u64, now: Micros, rtt: Option<Micros>) -> Vec<u16> {
        let mut asked = Vec::new();
        missing.ask(highest, now, rtt, &mut |sequence| {
            asked.push(sequence);
            true
        });
        asked
    }

    #[test]
    fn it_is_asked_for_after_ten_milliseconds_or_three_later_packets() {
        let mut missing = Missing::default();
        missing.overtaken(10, 12, 1_000);
        assert_eq!(missing.next(12), Some(11_000));
        assert!(asked(&mut missing, 12, 10_999, None).is_empty());
        missing.came(11);
        assert_eq!(asked(&mut missing, 12, 11_000, None), [10]);
        missing.overtaken(13, 14, 11_000);
        assert_eq!(missing.next(16), Some(0), "three later ones");
        assert_eq!(asked(&mut missing, 16, 11_000, None), [13]);
    }

    #[test]
    fn it_is_asked_for_five_times_a_round_trip_apart() {
        for (rtt, pause) in [(None, 33_000), (Some(100_000), 100_000)] {
            let mut missing = Missing::default();
            missing.overtaken(65_536, 65_537, 0);
            let mut times = Vec::new();
            for now in (0..700_000).step_by(1_000) {
                if !asked(&mut missing, 65_537, now, rtt).is_empty() {
                    times.push(now);
                }
            }
            let expected: Vec<_> = (0..5).map(|n| 10_000 + n * pause).collect();
            assert_eq!(times, expected);
            assert!(missing.is_empty());
        }
    }

    #[test]
    fn what_is_missing_is_bounded_and_a_long_hole_forgets_it() {
        let mut missing = Missing::default();
        for start in 0..10 {
            missing.overtaken(start * 1_000, start * 1_000 + 200, 0);
        }
        assert_eq!(missing.packets.len(), MAX_MISSING);
        assert_eq!(missing.packets[0].index, 8_144, "the oldest give way");
        missing.overtaken(20_000, 20_001 + MAX_MISSING as u64, 0);
        assert!(missing.is_empty());
    }
}
