//! Which packets of a link are missing: what is asked for, when, and what is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{LINK_ASKS, LINK_REORDERED, MAX_LINK_ASKED, MAX_LINK_HOLES};

/// A packet that has not come.
#[derive(Clone, Copy, Debug)]
struct Hole {
    position: u64,
    /// When it is asked for next.
    due: Instant,
    asked: u8,
}

/// What a packet is to those that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The next, or one behind it.
    New,
    /// One that was missing.
    Late,
    /// One that has come, or is given up.
    Known,
}

/// The packets that are missing, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The position behind the newest; nothing before the first packet.
    next: Option<u64>,
    missing: VecDeque<Hole>,
    /// When the first of them is due, or earlier.
    due: Option<Instant>,
    /// How many were given up.
    pub lost: u64,
}

impl Holes {
    /// Takes in that the packet at `position` has come.
    pub fn take(&mut self, now: Instant, position: u64) -> Seen {
        let next = *self.next.get_or_insert(position);
        if position >= next {
            self.expect(now, position);
            self.next = Some(position + 1);
            return Seen::New;
        }
        match self.missing.binary_search_by_key(&position, |hole| hole.position) {
            Ok(place) => {
                self.missing.remove(place);
                Seen::Late
            }
            Err(_) => Seen::Known,
        }
    }

    /// All before `next` has been sent.
    pub fn expect(&mut self, now: Instant, next: u64) {
        let from = *self.next.get_or_insert(next);
        if next <= from {
            return;
        }
        self.next = Some(next);
        // What has no place in the list is not even noted.
        let first = next.saturating_sub(MAX_LINK_HOLES as u64).max(from);
        self.lost += first - from;
        let due = now + LINK_REORDERED;
        for position in first..next {
            if self.missing.len() >= MAX_LINK_HOLES {
                self.missing.pop_front();
                self.lost += 1;
            }
            self.missing.push_back(Hole { position, due, asked: 0 });
        }
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// How many positions the oldest that is missing lies before the next one.
    pub fn back(&self) -> u16 {
        let oldest = self.missing.front().map(|hole| hole.position);
        let back = self.next.zip(oldest).map_or(0, |(next, oldest)| next - oldest);
        u16::try_from(back).unwrap_or(u16::MAX)
    }

    /// When something is to be asked for, at the earliest.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.missing.is_empty())
    }

    /// Notes those that are to be asked for at `now` in `asked`, as many as one datagram names,
    /// where a round trip takes as long as `round_trip`. Those that were asked for often enough are
    /// given up.
    pub fn ask(&mut self, now: Instant, round_trip: Duration, asked: &mut Vec<u64>) {
        asked.clear();
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let lost = &mut self.lost;
        self.missing.retain_mut(|hole| {
            if hole.due > now || asked.len() >= MAX_LINK_ASKED {
                return true;
            }
            if hole.asked >= LINK_ASKS {
                *lost += 1;
                return false;
            }
            hole.asked += 1;
            hole.due = now + round_trip + LINK_REORDERED;
            asked.push(hole.position);
            true
        });
        self.due = self.missing.iter().map(|hole| hole.due).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn asked(holes: &mut Holes, now: Instant) -> Vec<u64> {
        let mut asked = Vec::new();
        holes.ask(now, ROUND_TRIP, &mut asked);
        asked
    }

    #[test]
    fn what_is_missing_is_asked_for_a_moment_later_and_each_round_trip_until_it_is_given_up() {
        let start = Instant::now();
        let mut holes = Holes::default();
        assert_eq!(holes.take(start, 100), Seen::New);
        assert_eq!(holes.take(start, 103), Seen::New);
        assert!(asked(&mut holes, start).is_empty(), "it may have been overtaken");
        assert_eq!(holes.take(start, 101), Seen::Late);
        let mut now = start + LINK_REORDERED;
        for _ in 0..LINK_ASKS {
            assert_eq!(holes.due(), Some(now));
            assert_eq!(asked(&mut holes, now), [102]);
            assert!(asked(&mut holes, now).is_empty(), "its repair is on its way");
            now += ROUND_TRIP + LINK_REORDERED;
        }
        assert!(asked(&mut holes, now).is_empty());
        assert_eq!((holes.lost, holes.due()), (1, None));
        assert_eq!(holes.take(now, 102), Seen::Known, "too late");
        assert_eq!(holes.take(now, 103), Seen::Known);
    }

    #[test]
    fn the_last_packets_are_missed_when_the_other_end_says_how_many_there_were() {
        let start = Instant::now();
        let mut holes = Holes::default();
        holes.expect(start, 5);
        assert_eq!(holes.due(), None, "nothing was lost before the link was there");
        holes.expect(start, 7);
        holes.expect(start, 6);
        assert_eq!(asked(&mut holes, start + LINK_REORDERED), [5, 6]);
        assert_eq!(holes.back(), 2);
    }

    #[test]
    fn however_much_is_missing_the_list_has_its_bound_and_all_is_accounted_for() {
        let start = Instant::now();
        let mut holes = Holes::default();
        holes.take(start, 0);
        holes.take(start, 10_000);
        assert_eq!((holes.missing.len(), holes.lost), (MAX_LINK_HOLES, 9_999 - 1_024));
        holes.take(start, 1 << 47);
        assert_eq!(holes.missing.len(), MAX_LINK_HOLES);
        assert_eq!(holes.lost + MAX_LINK_HOLES as u64 + 3, (1 << 47) + 1);
        let first = asked(&mut holes, start + LINK_REORDERED);
        assert_eq!(first.len(), MAX_LINK_ASKED);
        assert_eq!(holes.due(), Some(start + LINK_REORDERED), "the others are due as well");
    }
}
