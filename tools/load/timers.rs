//! When each peer wants to be called next: one time for each, in a heap that knows where each
//! stands, so that a time can be changed without leaving the old one to be looked at later.

use crate::clock;
use std::time::Instant;

/// Children of a node: half the levels of two, and they share a cache line.
const CHILDREN: usize = 4;

/// The times of a worker's peers, which are numbered from 0 on.
#[derive(Default)]
pub struct Timers {
    /// A parent is never later than its children.
    heap: Vec<Entry>,
    /// Where each peer stands in the heap, or would next.
    places: Vec<u32>,
}

/// A time on [`clock`], and whose it is.
#[derive(Clone, Copy)]
struct Entry {
    at_ns: u64,
    peer: u32,
}

impl Timers {
    /// Peer `peer` is to be called at `at`, and not when it said before. Peers come in their order.
    ///
    /// # Panics
    /// For a peer that is not the next new one.
    pub fn set(&mut self, peer: usize, at: Instant) {
        let entry = Entry { at_ns: clock::since_epoch_ns(at), peer: peer as u32 };
        if peer == self.places.len() {
            self.places.push(self.heap.len() as u32);
            self.heap.push(entry);
            self.rise(self.heap.len() - 1);
            return;
        }
        let place = self.places[peer] as usize;
        let before_ns = std::mem::replace(&mut self.heap[place], entry).at_ns;
        if entry.at_ns < before_ns {
            self.rise(place);
        } else if entry.at_ns > before_ns {
            self.sink(place);
        }
    }

    /// Who is to be called first, and when.
    #[must_use]
    pub fn first(&self) -> Option<(Instant, usize)> {
        self.heap.first().map(|entry| (clock::instant(entry.at_ns), entry.peer as usize))
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent].at_ns <= entry.at_ns {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(soonest) = children.min_by_key(|child| self.heap[*child].at_ns) else { break };
            if self.heap[soonest].at_ns >= entry.at_ns {
                break;
            }
            self.put(place, self.heap[soonest]);
            place = soonest;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.peer as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use std::time::Duration;

    /// Against a table that is searched.
    #[test]
    fn the_first_is_the_first_however_often_times_change() {
        let begin = Instant::now();
        let _ = clock::since_epoch_ns(begin);
        let mut dice = Dice::new(0.5, 7);
        let mut number =
            |below: u64| (0..16).fold(0, |sum, _| sum << 1 | u64::from(dice.lose())) % below;
        let (mut timers, mut table) = (Timers::default(), Vec::new());
        assert_eq!(timers.first(), None);
        for step in 0..5_000 {
            let at = begin + Duration::from_micros(number(1_000));
            let new = table.len() < 100 && step % 3 == 0;
            let peer = if new { table.len() } else { number(table.len() as u64) as usize };
            if new {
                table.push(at)
            } else {
                table[peer] = at
            }
            timers.set(peer, at);
            let (first, whose) = timers.first().expect("there is one");
            assert_eq!(Some(&first), table.iter().min());
            assert_eq!(table[whose], first);
        }
    }
}
