//! When the packets of a publisher came, for transport-wide feedback.

use super::Micros;
use crate::limits::{FEEDBACK_INTERVAL_AUDIO, FEEDBACK_INTERVAL_VIDEO, FEEDBACK_PACKETS};
use crate::wire::rtcp::TransportReport;

/// Microseconds of a tick of the report.
const TICK: Micros = 250;

/// Not before it is needed: publishers without the extension have none.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// When each of the last packets came, in ticks that wrap, by its number; 0 where it did not.
    ring: Option<Box<[u32; FEEDBACK_PACKETS]>>,
    /// The highest number so far, extended.
    highest: u64,
    /// The first that the next report is about.
    first: u64,
    /// Whether anything has come since the last report.
    pending: bool,
    /// The number of the next report.
    number: u8,
    /// When the next report is due, if there is something to say.
    next: Micros,
    interval: Micros,
}

impl Arrivals {
    pub fn new(has_video: bool) -> Arrivals {
        let interval = if has_video { FEEDBACK_INTERVAL_VIDEO } else { FEEDBACK_INTERVAL_AUDIO };
        Arrivals {
            ring: None,
            highest: 0,
            first: 0,
            pending: false,
            number: 0,
            next: 0,
            interval: interval.as_micros() as Micros,
        }
    }

    /// The packet with this transport-wide number has come.
    #[inline]
    pub fn note(&mut self, sequence: u16, arrived: Micros) {
        // Zero says that it did not.
        let tick = ((arrived / TICK) as u32).max(1);
        let Some(ring) = &mut self.ring else {
            let mut ring = Box::new([0; FEEDBACK_PACKETS]);
            // Room below for one that it has overtaken.
            self.highest = (1 << 16) + u64::from(sequence);
            ring[place(self.highest)] = tick;
            (self.ring, self.first, self.pending) = (Some(ring), self.highest, true);
            return;
        };
        let ahead = sequence.wrapping_sub(self.highest as u16).cast_signed();
        let Some(number) = self.highest.checked_add_signed(i64::from(ahead)) else { return };
        if number > self.highest {
            for skipped in (self.highest + 1..number).rev().take(FEEDBACK_PACKETS) {
                ring[place(skipped)] = 0;
            }
            self.highest = number;
            self.first = self.first.max((number + 1).saturating_sub(FEEDBACK_PACKETS as u64));
        } else if self.highest - number >= FEEDBACK_PACKETS as u64 || ring[place(number)] != 0 {
            return;
        } else {
            // Reported as lost, it is reported once more.
            self.first = self.first.min(number);
        }
        ring[place(number)] = tick;
        self.pending = true;
    }

    /// Bytes of memory that they take beside themselves.
    pub fn bytes(&self) -> usize {
        self.ring.as_deref().map_or(0, size_of_val)
    }

    /// See [`super::Ingest::touches`].
    pub fn touches(&self, visit: &mut impl FnMut(*const u8, usize)) {
        if let Some(ring) = &self.ring {
            visit((&raw const ring[place(self.highest + 1)]).cast(), size_of::<u32>());
        }
    }

    /// When the next report is due.
    #[inline]
    pub fn due(&self) -> Option<Micros> {
        let is_full = self.highest + 1 - self.first > FEEDBACK_PACKETS as u64 / 2;
        self.pending.then_some(if is_full { 0 } else { self.next })
    }

    /// Writes the report that is due and returns its length.
    pub fn write(&mut self, now: Micros, ssrcs: (u32, u32), out: &mut [u8]) -> Option<usize> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let ring = self.ring.as_deref()?;
        let (sender_ssrc, media_ssrc) = ssrcs;
        let (base, number) = (self.first as u16, self.number);
        let report = TransportReport { sender_ssrc, media_ssrc, base, number };
        let arrival = |number: u64| Some(ring[place(number)]).filter(|tick| *tick != 0);
        let written = report.write((self.first..=self.highest).map(arrival), out);
        let Some((length, count)) = written else {
            // Nothing of it can be said, and it would be tried for ever.
            self.pending = false;
            return None;
        };
        self.number = self.number.wrapping_add(1);
        self.first += count as u64;
        self.pending = self.first <= self.highest;
        if !self.pending {
            self.next = now + self.interval;
        }
        Some(length)
    }
}

fn place(number: u64) -> usize {
    number as usize & (FEEDBACK_PACKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtcp::{Packet, compound};

    /// The statuses of a report: its base, and for each packet whether it came.
    fn report(arrivals: &mut Arrivals, now: Micros) -> Option<(u16, u16)> {
        let mut out = [0; 1_200];
        let length = arrivals.write(now, (1, 2), &mut out)?;
        let mut packets = compound(&out[..length]);
        let Some(Ok(Packet::TransportFeedback { raw, .. })) = packets.next() else {
            panic!("it is one");
        };
        let word = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
        Some((word(0), word(2)))
    }

    #[test]
    fn each_report_goes_on_where_the_last_one_ended() {
        let mut arrivals = Arrivals::new(true);
        assert_eq!(arrivals.due(), None);
        for number in 65_530..65_540u32 {
            arrivals.note(number as u16, u64::from(number));
        }
        assert_eq!(report(&mut arrivals, 70_000), Some((65_530, 10)));
        assert_eq!(arrivals.due(), None);
        arrivals.note(6, 71_000);
        assert_eq!(arrivals.due(), Some(120_000));
        assert_eq!(report(&mut arrivals, 119_999), None);
        assert_eq!(report(&mut arrivals, 120_000), Some((4, 3)), "two were lost");
        arrivals.note(5, 121_000);
        assert_eq!(report(&mut arrivals, 170_000), Some((5, 2)), "one came after all");
        arrivals.note(5, 172_000);
        assert_eq!(arrivals.due(), None, "and once is enough");
    }

    #[test]
    fn a_full_ring_is_told_at_once_and_a_leap_forgets_what_was_before() {
        let mut arrivals = Arrivals::new(false);
        arrivals.note(0, 0);
        report(&mut arrivals, 0);
        for number in 1..=257 {
            arrivals.note(number, 1_000);
        }
        assert_eq!(arrivals.due(), Some(0));
        assert_eq!(report(&mut arrivals, 1_000), Some((1, 257)));
        arrivals.note(20_000, 2_000);
        assert_eq!(report(&mut arrivals, 2_000), Some((20_000 - 511, 512)));
    }

    #[test]
    fn what_comes_too_far_apart_takes_two_reports() {
        let mut arrivals = Arrivals::new(true);
        arrivals.note(1, 0);
        arrivals.note(2, 9_000_000);
        assert_eq!(report(&mut arrivals, 9_000_000), Some((1, 1)));
        assert_eq!(arrivals.due(), Some(0));
        assert_eq!(report(&mut arrivals, 9_000_000), Some((2, 1)));
        assert_eq!(report(&mut arrivals, 9_000_000), None);
    }
}
