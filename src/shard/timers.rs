//! A timer wheel for the sessions of one shard: a deadline per slot, in ticks of a millisecond.
//!
//! Publishers move their deadline with every packet, nearly always to later. So the wheel is lazy:
//! a later deadline is only noted, the slot stays where it is in the wheel, and when its old tick
//! comes it is put in again for the new one. Deadlines beyond one turn of the wheel take the same
//! path, once per turn. Each slot has one node in one list, so the memory is that of the sessions
//! whatever is scheduled.

use std::time::{Duration, Instant};

use crate::limits::{MAX_SESSIONS_PER_SHARD, TIMER_WHEEL_TICKS};

/// A point in time: milliseconds since the wheel's start.
type Tick = u64;

const TICK: Duration = Duration::from_millis(1);
const TURN: Tick = TIMER_WHEEL_TICKS as Tick;

/// No tick: the slot has no deadline, or is in no list.
const NEVER: Tick = Tick::MAX;
/// No slot: the end of a list.
const NONE: u32 = u32::MAX;

/// One slot's place in the wheel.
#[derive(Clone, Copy)]
struct Node {
    /// The latest deadline; never before `listed`.
    deadline: Tick,
    /// The tick whose list the slot is in.
    listed: Tick,
    previous: u32,
    next: u32,
}

const UNSCHEDULED: Node = Node { deadline: NEVER, listed: NEVER, previous: NONE, next: NONE };

/// The deadlines of one shard's sessions.
pub struct Wheel {
    start: Instant,
    /// No list of an earlier tick holds anything; all lists are within one turn from here.
    current: Tick,
    /// The first slot of each tick's list, by the tick modulo the turn.
    heads: Box<[u32; TIMER_WHEEL_TICKS]>,
    occupied: Occupied,
    nodes: Vec<Node>,
}

impl Wheel {
    /// An empty wheel; no time before `start` can be told from it.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            current: 0,
            heads: Box::new([NONE; TIMER_WHEEL_TICKS]),
            occupied: Occupied::EMPTY,
            nodes: Vec::new(),
        }
    }

    /// Sets the one deadline of `slot`, which replaces the one before. It expires at the first
    /// whole millisecond that is not before `at`.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`MAX_SESSIONS_PER_SHARD`].
    #[inline]
    pub fn schedule(&mut self, slot: u32, at: Instant) {
        let deadline = self.not_before(at).max(self.current);
        if slot as usize >= self.nodes.len() {
            self.grow(slot);
        }
        let node = &mut self.nodes[slot as usize];
        node.deadline = deadline;
        if node.listed <= deadline {
            return;
        }
        if node.listed != NEVER {
            self.unlink(slot);
        }
        self.link(slot);
    }

    /// Forgets the deadline of `slot`, if it has one.
    pub fn cancel(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(slot as usize) else { return };
        node.deadline = NEVER;
        if node.listed != NEVER {
            self.unlink(slot);
        }
    }

    /// Appends to `expired` each slot whose deadline is not after `now`, once, in no order within a
    /// millisecond. Those slots have no deadline any more.
    pub fn expired(&mut self, now: Instant, expired: &mut Vec<u32>) {
        let now = self.reached(now).max(self.current);
        // Oldest first; after a pause longer than a turn, every list once.
        let mut from = self.current;
        let to = now.min(from + TURN - 1);
        self.current = now;
        while from <= to {
            match self.occupied.next(from) {
                Some(tick) if tick <= to => {
                    self.empty(tick, now, expired);
                    from = tick + 1;
                }
                _ => break,
            }
        }
    }

    /// When [`Self::expired`] should be called next: not later than the earliest deadline expires,
    /// but earlier when it has moved to later or is beyond a turn of the wheel: then nothing will
    /// have expired. `None` when nothing is scheduled.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let tick = self.occupied.next(self.current)?;
        Some((self.start + Duration::from_millis(tick)).max(now))
    }

    /// Takes apart the list of `tick`: what is due expires, the rest is listed again.
    fn empty(&mut self, tick: Tick, now: Tick, expired: &mut Vec<u32>) {
        let bucket = bucket_of(tick);
        let mut slot = std::mem::replace(&mut self.heads[bucket], NONE);
        self.occupied.clear(bucket);
        while slot != NONE {
            let node = &mut self.nodes[slot as usize];
            let next = node.next;
            if node.deadline <= now {
                *node = UNSCHEDULED;
                expired.push(slot);
            } else {
                self.link(slot);
            }
            slot = next;
        }
    }

    /// Puts `slot` in the list of its deadline, or in the farthest list when that is nearer.
    fn link(&mut self, slot: u32) {
        let node = &mut self.nodes[slot as usize];
        node.listed = node.deadline.min(self.current + TURN - 1);
        let bucket = bucket_of(node.listed);
        let next = std::mem::replace(&mut self.heads[bucket], slot);
        node.previous = NONE;
        node.next = next;
        if next == NONE {
            self.occupied.set(bucket);
        } else {
            self.nodes[next as usize].previous = slot;
        }
    }

    /// Takes `slot` out of its list.
    fn unlink(&mut self, slot: u32) {
        let node = &mut self.nodes[slot as usize];
        let bucket = bucket_of(std::mem::replace(&mut node.listed, NEVER));
        let Node { previous, next, .. } = *node;
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
            return;
        }
        self.heads[bucket] = next;
        if next == NONE {
            self.occupied.clear(bucket);
        }
    }

    #[cold]
    fn grow(&mut self, slot: u32) {
        assert!((slot as usize) < MAX_SESSIONS_PER_SHARD, "slot {slot} beyond the session table");
        self.nodes.resize(slot as usize + 1, UNSCHEDULED);
    }

    /// The first tick that is not before `at`.
    fn not_before(&self, at: Instant) -> Tick {
        let since = at.saturating_duration_since(self.start);
        let millis = since.subsec_nanos().div_ceil(TICK.subsec_nanos());
        since.as_secs() * 1_000 + Tick::from(millis)
    }

    /// The last tick that is not after `now`.
    fn reached(&self, now: Instant) -> Tick {
        let since = now.saturating_duration_since(self.start);
        since.as_secs() * 1_000 + Tick::from(since.subsec_millis())
    }
}

fn bucket_of(tick: Tick) -> usize {
    (tick % TURN) as usize
}

/// Which lists hold anything: a bit per list, and a bit per word of those bits.
struct Occupied {
    words: [u64; 64],
    summary: u64,
}

const _: () = assert!(TIMER_WHEEL_TICKS == 64 * 64, "the wheel's occupancy is a word of words");

impl Occupied {
    const EMPTY: Self = Self { words: [0; 64], summary: 0 };

    fn set(&mut self, bucket: usize) {
        self.words[bucket / 64] |= 1 << (bucket % 64);
        self.summary |= 1 << (bucket / 64);
    }

    fn clear(&mut self, bucket: usize) {
        let word = &mut self.words[bucket / 64];
        *word &= !(1 << (bucket % 64));
        if *word == 0 {
            self.summary &= !(1 << (bucket / 64));
        }
    }

    /// The first tick from `from` on, within a turn, whose list holds anything.
    fn next(&self, from: Tick) -> Option<Tick> {
        let start = bucket_of(from);
        let (word, bit) = (start / 64, start % 64);
        let here = self.words[word] >> bit;
        if here != 0 {
            return Some(from + Tick::from(here.trailing_zeros()));
        }
        if self.summary == 0 {
            return None;
        }
        // The words after this one come first; rotating puts this word, whose earlier bits are a
        // turn away, last.
        let ahead = self.summary.rotate_right(word as u32 + 1).trailing_zeros() as usize + 1;
        let found = (word + ahead) % 64;
        let bucket = found * 64 + self.words[found].trailing_zeros() as usize;
        let distance = (bucket + TIMER_WHEEL_TICKS - start) % TIMER_WHEEL_TICKS;
        Some(from + distance as Tick)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "proptest's macros count")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn expired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut expired = Vec::new();
        wheel.expired(now, &mut expired);
        expired.sort_unstable();
        expired
    }

    #[test]
    fn never_early_and_at_the_next_whole_millisecond() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(3, start + Duration::from_micros(1_001));
        assert_eq!(wheel.next_deadline(start), Some(start + ms(2)));
        assert_eq!(expired(&mut wheel, start + Duration::from_micros(1_999)), [] as [u32; 0]);
        assert_eq!(expired(&mut wheel, start + ms(2)), [3]);
        assert_eq!(wheel.next_deadline(start + ms(2)), None);
    }

    #[test]
    fn a_deadline_of_the_past_expires_at_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let now = start + ms(100);
        assert_eq!(expired(&mut wheel, now), [] as [u32; 0]);
        wheel.schedule(0, start);
        assert_eq!(wheel.next_deadline(now), Some(now));
        assert_eq!(expired(&mut wheel, now), [0]);
    }

    #[test]
    fn the_latest_deadline_counts_whether_later_or_earlier() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(0, start + ms(10));
        wheel.schedule(0, start + ms(20));
        assert_eq!(wheel.next_deadline(start), Some(start + ms(10)), "moved when its tick comes");
        assert_eq!(expired(&mut wheel, start + ms(19)), [] as [u32; 0]);
        assert_eq!(wheel.next_deadline(start + ms(19)), Some(start + ms(20)));
        wheel.schedule(0, start + ms(50));
        wheel.schedule(0, start + ms(19));
        assert_eq!(expired(&mut wheel, start + ms(19)), [0]);
        assert_eq!(expired(&mut wheel, start + ms(60)), [] as [u32; 0]);
    }

    #[test]
    fn deadlines_beyond_a_turn_and_pauses_beyond_a_turn_hold() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(0, start + ms(3 * TURN + 5));
        wheel.schedule(1, start + ms(7));
        let mut seen = Vec::new();
        let mut now = start;
        while let Some(next) = wheel.next_deadline(now) {
            now = next;
            seen.extend(expired(&mut wheel, now).into_iter().map(|slot| (slot, now - start)));
        }
        assert_eq!(seen, [(1, ms(7)), (0, ms(3 * TURN + 5))]);
        wheel.schedule(0, start + ms(5 * TURN));
        wheel.schedule(1, start + ms(4 * TURN));
        assert_eq!(expired(&mut wheel, start + ms(10 * TURN)), [0, 1]);
    }

    #[test]
    #[should_panic(expected = "beyond the session table")]
    fn a_slot_that_cannot_be_is_refused() {
        let start = Instant::now();
        Wheel::new(start).schedule(MAX_SESSIONS_PER_SHARD as u32, start);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule { slot: u32, ahead_us: u64 },
        Cancel { slot: u32 },
        Advance { by_us: u64 },
        Sleep,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let reach = prop_oneof![Just(0u64), 0..5_000u64, 0..200_000u64, 0..12_000_000u64];
        let step = prop_oneof![
            4 => (0..12u32, reach.clone())
                .prop_map(|(slot, ahead_us)| Step::Schedule { slot, ahead_us }),
            1 => (0..14u32).prop_map(|slot| Step::Cancel { slot }),
            2 => reach.prop_map(|by_us| Step::Advance { by_us }),
            2 => Just(Step::Sleep),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(steps in steps()) {
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now_us = 0;
            let at = |us| start + Duration::from_micros(us);
            for step in steps {
                match step {
                    Step::Schedule { slot, ahead_us } => {
                        // From slightly before now to far ahead.
                        let deadline = (now_us + ahead_us).saturating_sub(300);
                        wheel.schedule(slot, at(deadline));
                        model.insert(slot, deadline);
                        continue;
                    }
                    Step::Cancel { slot } => {
                        wheel.cancel(slot);
                        model.remove(&slot);
                        continue;
                    }
                    Step::Advance { by_us } => now_us += by_us,
                    Step::Sleep => {
                        let Some(next) = wheel.next_deadline(at(now_us)) else { continue };
                        now_us = (next - start).as_micros() as u64;
                    }
                }
                let due: Vec<u32> = model
                    .iter()
                    .filter(|(_, deadline)| deadline.div_ceil(1_000) <= now_us / 1_000)
                    .map(|(&slot, _)| slot)
                    .collect();
                model.retain(|slot, _| !due.contains(slot));
                prop_assert_eq!(expired(&mut wheel, at(now_us)), due);
                let next = wheel.next_deadline(at(now_us));
                prop_assert_eq!(next.is_none(), model.is_empty());
                if let (Some(next), Some(earliest)) = (next, model.values().min()) {
                    prop_assert!(next <= at(earliest.next_multiple_of(1_000)).max(at(now_us)));
                }
            }
        }
    }
}
