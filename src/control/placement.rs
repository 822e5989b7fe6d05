//! Which shard a new session goes to.
//!
//! A stream costs every shard that has viewers of it a copy of each packet and a wake-up, whether
//! it has one viewer or a thousand. So viewers **gather** on their publisher's shard, and only
//! spread when that shard
//!
//! - is **busy**: it ran for [`BUSY_PERMILLE`] of the last second, and not yet for less than
//!   [`CALM_PERMILLE`] since; or
//! - is **ahead**: it has `--gather` sessions more than the emptiest shard. Beyond that many
//!   viewers the copy is a small part of what a packet costs, and a stream whose rate grows later
//!   must not find all of its viewers on one core. It also bounds what a join storm does between
//!   two measurements; or
//! - is full.
//!
//! Then the same is asked of the shards that have the stream already, and at last the session goes
//! where the fewest are. A publisher goes there at once. Sessions never move.

use super::slots::Slots;
use crate::limits::{BUSY_PERMILLE, CALM_PERMILLE};

/// What is known of the shards' load, and how far one may be ahead of the others.
pub(super) struct Balance {
    /// Sessions a shard may have more than the emptiest one, for the sake of gathering.
    gather: usize,
    busy: Vec<bool>,
}

impl Balance {
    /// Nobody is busy until it is measured.
    pub fn new(shards: usize, gather: usize) -> Balance {
        Balance { gather, busy: vec![false; shards] }
    }

    /// Takes in how much of the last second each shard ran, in thousandths. `None` says nothing
    /// new: the shard counts as before.
    pub fn observe(&mut self, permille: &[Option<u32>]) {
        for (busy, permille) in self.busy.iter_mut().zip(permille) {
            *busy = match permille {
                Some(permille) if *busy => *permille >= CALM_PERMILLE,
                Some(permille) => *permille >= BUSY_PERMILLE,
                None => *busy,
            };
        }
    }

    /// The shard for a publisher; `None` when all are full.
    pub fn for_publisher(&self, slots: &[Slots]) -> Option<usize> {
        self.emptiest(slots, 0..slots.len())
    }

    /// The shard for a viewer of a stream that is published on shard `home`, and that the shards
    /// in `having` have viewers of; `None` when all are full.
    pub fn for_viewer(
        &self,
        slots: &[Slots],
        home: Option<u16>,
        having: impl Iterator<Item = u16>,
    ) -> Option<usize> {
        let least = slots.iter().map(Slots::used).min()?;
        let fit = |shard: &usize| {
            let slots = &slots[*shard];
            !slots.is_full() && !self.busy[*shard] && slots.used() < least + self.gather
        };
        home.map(usize::from)
            .filter(fit)
            .or_else(|| self.emptiest(slots, having.map(usize::from).filter(fit)))
            .or_else(|| self.emptiest(slots, 0..slots.len()))
    }

    /// Of those with room, the one that is not busy and has the fewest sessions.
    fn emptiest(&self, slots: &[Slots], among: impl Iterator<Item = usize>) -> Option<usize> {
        let with_room = among.filter(|shard| !slots[*shard].is_full());
        with_room.min_by_key(|shard| (self.busy[*shard], slots[*shard].used()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATHER: usize = 10;

    /// Four shards with room for a hundred each, of which `used` are taken.
    fn shards(used: [usize; 4]) -> Vec<Slots> {
        let slots = |used| {
            let mut slots = Slots::new(100);
            (0..used).for_each(|_| assert!(slots.take().is_some()));
            slots
        };
        used.map(slots).into()
    }

    fn balance() -> Balance {
        Balance::new(4, GATHER)
    }

    /// Places `count` viewers of a stream at home on shard 2, and says where they went.
    fn join(balance: &Balance, slots: &mut [Slots], count: usize) -> [usize; 4] {
        let mut placed = [0; 4];
        for _ in 0..count {
            let having = (0..4u16).filter(|shard| placed[usize::from(*shard)] > 0);
            let shard = balance.for_viewer(slots, Some(2), having).expect("there is room");
            slots[shard].take().expect("it was chosen for its room");
            placed[shard] += 1;
        }
        placed
    }

    #[test]
    fn a_publisher_goes_where_the_fewest_are() {
        assert_eq!(balance().for_publisher(&shards([3, 2, 1, 2])), Some(2));
        let mut balance = balance();
        balance.observe(&[None, None, Some(900), None]);
        assert_eq!(balance.for_publisher(&shards([3, 2, 1, 2])), Some(1), "the other is busy");
        assert_eq!(
            balance.for_publisher(&shards([100, 100, 1, 100])),
            Some(2),
            "there is no other"
        );
        assert_eq!(balance.for_publisher(&shards([100; 4])), None);
    }

    #[test]
    fn few_viewers_gather_where_the_stream_is_published() {
        assert_eq!(join(&balance(), &mut shards([0, 0, 1, 0]), GATHER - 1), [0, 0, 9, 0]);
    }

    #[test]
    fn a_storm_spreads_shard_by_shard_and_ends_even() {
        let mut slots = shards([0, 0, 1, 0]);
        assert_eq!(join(&balance(), &mut slots, 12), [3, 0, 9, 0], "a second shard, not all");
        let placed = join(&balance(), &mut slots, 188);
        let used: Vec<usize> = slots.iter().map(Slots::used).collect();
        assert_eq!(used.iter().sum::<usize>(), 201, "{placed:?}");
        let (most, least) = (used.iter().max(), used.iter().min());
        assert!(most <= least.map(|least| least + GATHER).as_ref(), "{used:?}");
    }

    #[test]
    fn viewers_leave_a_busy_home_alone_until_it_is_calm() {
        let mut balance = balance();
        let loads = |home| [Some(0), Some(0), Some(home), Some(0)];
        balance.observe(&loads(BUSY_PERMILLE));
        assert_eq!(join(&balance, &mut shards([0, 0, 1, 0]), 4), [4, 0, 0, 0]);
        balance.observe(&loads(CALM_PERMILLE));
        assert_eq!(join(&balance, &mut shards([0, 0, 1, 0]), 4), [4, 0, 0, 0], "not calm yet");
        balance.observe(&[None; 4]);
        assert_eq!(join(&balance, &mut shards([0, 0, 1, 0]), 4), [4, 0, 0, 0], "nothing new");
        balance.observe(&loads(CALM_PERMILLE - 1));
        assert_eq!(join(&balance, &mut shards([0, 0, 1, 0]), 4), [0, 0, 4, 0]);
        balance.observe(&loads(BUSY_PERMILLE - 1));
        assert_eq!(join(&balance, &mut shards([0, 0, 1, 0]), 4), [0, 0, 4, 0], "not busy yet");
    }

    #[test]
    fn where_everybody_is_busy_the_emptiest_shard_takes_the_viewer() {
        let mut balance = balance();
        balance.observe(&[Some(1_000); 4]);
        assert_eq!(join(&balance, &mut shards([3, 1, 1, 2]), 3), [0, 2, 1, 0]);
    }

    #[test]
    fn a_full_home_is_no_reason_to_refuse() {
        let mut slots = shards([98, 100, 100, 97]);
        assert_eq!(join(&balance(), &mut slots, 5), [2, 0, 0, 3]);
        assert_eq!(balance().for_viewer(&slots, Some(2), [0, 3].into_iter()), None);
    }

    #[test]
    fn without_gathering_everybody_goes_where_the_fewest_are() {
        let balance = Balance::new(4, 0);
        assert_eq!(join(&balance, &mut shards([0, 0, 1, 0]), 7), [2, 2, 1, 2]);
    }
}
