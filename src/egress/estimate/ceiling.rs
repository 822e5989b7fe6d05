//! What the path could carry at most: how far apart the packets of a train come, which left
//! together. It is the capacity, not what is free of it, and wireless hops that deliver in clumps
//! read high: so it only bounds what is tried.

use super::Micros;
use crate::limits::{CEILING_KEPT, CEILING_TRAINS, CEILING_TRAINS_LEAST};

/// Packets of a train that says something.
const PACKETS: u16 = 3;
/// Reported for trains that came within [`AT_ONCE`], in bits a second.
const FAST: f32 = 50e6;
/// The clock of feedback ticks every 250 µs.
const AT_ONCE: i64 = 1_000;

/// The median of the last trains.
#[derive(Debug)]
pub(super) struct Ceiling {
    /// What each said, in bits a second, and when it left, in milliseconds.
    trains: [(f32, u32); CEILING_TRAINS],
    next: u8,
    count: u8,
}

impl Ceiling {
    pub fn new() -> Ceiling {
        Ceiling { trains: [(0.0, 0); CEILING_TRAINS], next: 0, count: 0 }
    }

    /// Of a train that left at `left` so many packets came, with so many bytes behind the first,
    /// within this time in microseconds.
    pub fn note(&mut self, left: Micros, packets: u16, bytes_behind: u32, within: i64) {
        if packets < PACKETS {
            return;
        }
        let rate = if within < AT_ONCE { FAST } else { bytes_behind as f32 * 8e6 / within as f32 };
        self.trains[usize::from(self.next)] = (rate, millis(left));
        self.next = (self.next + 1) % CEILING_TRAINS as u8;
        self.count = (self.count + 1).min(CEILING_TRAINS as u8);
    }

    /// A small layer has no trains of which anything could be told: what was measured long ago is
    /// no bound any more, and what is tried then measures it anew.
    pub fn forget_old(&mut self, now: Micros) {
        let is_old = |(_, left): (f32, u32)| {
            millis(now).wrapping_sub(left) > CEILING_KEPT.as_millis() as u32
        };
        while self.count > 0 && self.back(self.count).is_some_and(is_old) {
            self.count -= 1;
        }
    }

    /// The path has changed.
    pub fn forget(&mut self) {
        self.count = 0;
    }

    /// Whether a train that left after `since` has said something.
    pub fn is_measured(&self, since: Micros) -> bool {
        self.back(1).is_some_and(|(_, left)| left.wrapping_sub(millis(since)).cast_signed() > 0)
    }

    /// What the last train said.
    pub fn last(&self) -> Option<f64> {
        Some(f64::from(self.back(1)?.0))
    }

    /// What the slower of the last two trains said.
    pub fn newest(&self) -> Option<f64> {
        let ((one, _), (other, _)) = self.back(1).zip(self.back(2))?;
        Some(f64::from(one.min(other)))
    }

    /// What the fastest of the last trains said. One that came at once was taken in so by a
    /// receiver that was busy: it says nothing, unless all others do so, too.
    pub fn fastest(&self) -> Option<f64> {
        let measured = self.rates().filter(|rate| *rate < FAST).max_by(f32::total_cmp);
        measured.or(self.rates().next()).map(f64::from)
    }

    /// Bits a second; `None` before enough trains have come.
    pub fn bits_per_s(&self) -> Option<f64> {
        let count = usize::from(self.count);
        let mut sorted = [0.0; CEILING_TRAINS];
        sorted.iter_mut().zip(self.rates()).for_each(|(place, rate)| *place = rate);
        let sorted = &mut sorted[..count];
        sorted.sort_unstable_by(f32::total_cmp);
        let median = sorted.get(count / 2).copied()?;
        (count >= CEILING_TRAINS_LEAST).then_some(f64::from(median))
    }

    fn rates(&self) -> impl Iterator<Item = f32> + '_ {
        (1..=self.count).filter_map(|by| Some(self.back(by)?.0))
    }

    /// The last train, or one before it.
    fn back(&self, by: u8) -> Option<(f32, u32)> {
        let place = (usize::from(self.next) + CEILING_TRAINS - usize::from(by)) % CEILING_TRAINS;
        (by <= self.count).then(|| self.trains[place])
    }
}

fn millis(at: Micros) -> u32 {
    (at / 1_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_the_median_of_how_fast_trains_came() {
        let mut ceiling = Ceiling::new();
        (0..4).for_each(|_| ceiling.note(0, 5, 4_000, 8_000));
        assert_eq!(ceiling.bits_per_s(), None, "too few");
        ceiling.note(0, 2, 1_000, 100);
        assert_eq!(ceiling.bits_per_s(), None, "two packets say nothing");
        ceiling.note(0, 5, 4_000, 0);
        assert_eq!(ceiling.bits_per_s(), Some(4e6), "one that came in a clump");
        (0..8).for_each(|_| ceiling.note(0, 5, 1_000, 8_000));
        assert_eq!(ceiling.bits_per_s(), Some(1e6));
    }

    #[test]
    fn a_few_trains_that_were_taken_in_at_once_are_not_how_fast_a_path_is() {
        let mut ceiling = Ceiling::new();
        (0..3).for_each(|_| ceiling.note(0, 5, 4_000, 0));
        assert_eq!(ceiling.fastest(), Some(f64::from(FAST)), "as all do");
        ceiling.note(0, 5, 4_000, 32_000);
        assert_eq!(ceiling.fastest(), Some(1e6));
    }

    #[test]
    fn what_was_measured_long_ago_is_no_bound() {
        let mut ceiling = Ceiling::new();
        let kept = CEILING_KEPT.as_micros() as Micros;
        (0..5).for_each(|train| ceiling.note(train * 10_000, 5, 1_000, 8_000));
        ceiling.forget_old(kept);
        assert_eq!((ceiling.bits_per_s(), ceiling.fastest()), (Some(1e6), Some(1e6)));
        ceiling.forget_old(kept + 21_000);
        assert_eq!((ceiling.bits_per_s(), ceiling.newest()), (None, Some(1e6)), "two are left");
        ceiling.note(kept + 30_000, 5, 4_000, 8_000);
        ceiling.forget_old(2 * kept);
        assert_eq!((ceiling.fastest(), ceiling.newest()), (Some(4e6), None), "one alone");
    }
}
