//! The shared directory: which shard owns a flow, for the shards that do not.
//!
//! It is read only when a shard's own table misses, and written only by the shard that owns the
//! session, when a flow is proved and when it ends. There is no lock and no allocation after the
//! start, and no reader can make a writer wait.
//!
//! A flow hashes to two buckets of eight words, a cache line each. A word is the flow's tag (48
//! bits of a keyed hash, never zero) and its shard (16 bits); zero is free. Two flows of equal tag
//! and bucket would be taken for one another: at a million flows that befalls a given flow once in
//! some 10¹³, and the cost is a hand-over that finds nothing.
//!
//! **A flow has at most one word, or it is being claimed right now.** Claiming over a found word is
//! one compare-and-swap. Only two shards that claim the same unknown flow at once can end up with a
//! word each: so whoever has put a word in a free place looks again, and clears all words of the
//! tag but the first in the flow's order of places. The fence between putting and looking makes
//! sure that at least one of the two sees both. Whose claim is cleared has lost to the other as if
//! it had come earlier.
//!
//! The races are explored under loom (`tools/models`), with buckets of two words and a bound on
//! preemptions where the model would run for hours; half a minute in all.

#[cfg(monoport_loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(monoport_loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

use siphasher::sip128::SipHasher13;

use super::flows::FlowKey;
use crate::limits::DIRECTORY_BYTES_PER_FLOW;

/// Words in a bucket: a cache line of them.
#[cfg(not(monoport_loom))]
const WAYS: usize = 8;
#[cfg(monoport_loom)]
const WAYS: usize = 2;

const FREE: u64 = 0;
const SHARD_BITS: u32 = 16;

/// Flow to shard, for all shards.
pub struct Directory {
    hasher: SipHasher13,
    buckets: Box<[Bucket]>,
}

#[repr(align(64))]
struct Bucket([AtomicU64; WAYS]);

/// Where a flow may stand, and the upper bits of its word.
#[derive(Clone, Copy)]
struct Places {
    buckets: [usize; 2],
    tag: u64,
}

impl Directory {
    /// A directory for about `flows` flows, with [`DIRECTORY_BYTES_PER_FLOW`] bytes for each,
    /// rounded up to a power of two of cache lines.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new(flows: usize) -> Self {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        Self::with_key(flows, &key)
    }

    fn with_key(flows: usize, key: &[u8; 16]) -> Self {
        let buckets = (flows * DIRECTORY_BYTES_PER_FLOW).div_ceil(size_of::<Bucket>());
        // Two at least, so that the two buckets of a flow differ.
        let buckets = buckets.next_power_of_two().max(2);
        Self {
            hasher: SipHasher13::new_with_key(key),
            buckets: (0..buckets)
                .map(|_| Bucket(std::array::from_fn(|_| AtomicU64::new(FREE))))
                .collect(),
        }
    }

    /// Bytes of the whole directory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// The shard that owns `flow`. It may have let go of it by the time it is asked.
    #[must_use]
    pub fn find(&self, flow: &FlowKey) -> Option<u16> {
        let places = self.places(flow);
        let word = self.words(places).map(load).find(|&word| word >> SHARD_BITS == places.tag)?;
        Some(word as u16)
    }

    /// Makes `shard` the owner of `flow`, whoever was it before. `false` when both buckets are full
    /// of other flows: then the flow is served all the same wherever the kernel steers it right,
    /// and only hand-overs are lost; the caller counts it.
    pub fn claim(&self, flow: &FlowKey, shard: u16) -> bool {
        let places = self.places(flow);
        let claimed = places.tag << SHARD_BITS | u64::from(shard);
        // A turn is repeated only when another shard has changed a word in between.
        loop {
            let mut words = self.words(places).map(|place| (place, load(place)));
            let found = words.find(|(_, word)| word >> SHARD_BITS == places.tag);
            let (target, expected) = match found {
                Some((_, word)) if word == claimed => return true,
                Some(found) => found,
                None => match self.roomier(places) {
                    Some(free) => (free, FREE),
                    None => return false,
                },
            };
            if swap(target, expected, claimed).is_ok() {
                if expected == FREE {
                    self.settle(places);
                }
                return true;
            }
        }
    }

    /// Forgets `flow` if it is still `shard`'s.
    pub fn release(&self, flow: &FlowKey, shard: u16) {
        let places = self.places(flow);
        let owned = places.tag << SHARD_BITS | u64::from(shard);
        for place in self.words(places) {
            if load(place) == owned {
                // A failure means that another shard has claimed the flow: theirs it is.
                let _ = swap(place, owned, FREE);
            }
        }
    }

    /// Clears all words of a tag but the first, after one was put in a free place.
    fn settle(&self, places: Places) {
        fence(Ordering::SeqCst);
        let mut seen = false;
        for place in self.words(places) {
            let mut word = load(place);
            // A failed swap means that another shard claims over the word at this moment. It has
            // not seen the first one and will not settle: its word must go like the one before it.
            while seen && word >> SHARD_BITS == places.tag {
                word = swap(place, word, FREE).map_or_else(|now| now, |_| FREE);
            }
            seen |= word >> SHARD_BITS == places.tag;
        }
    }

    /// A free place in the emptier of the two buckets, which keeps both from filling up early.
    fn roomier(&self, places: Places) -> Option<&AtomicU64> {
        let free = |bucket: usize| {
            let mut free = self.buckets[bucket].0.iter().filter(|place| load(place) == FREE);
            let first = free.next()?;
            Some((free.count(), first))
        };
        let [first, second] = places.buckets.map(free);
        match (first, second) {
            (Some((some, place)), Some((more, other))) => {
                Some(if more > some { other } else { place })
            }
            (one, other) => one.or(other).map(|(_, place)| place),
        }
    }

    /// The words a flow may have, always in the same order.
    fn words(&self, places: Places) -> impl Iterator<Item = &AtomicU64> + Clone {
        places.buckets.into_iter().flat_map(|bucket| self.buckets[bucket].0.iter())
    }

    fn places(&self, flow: &FlowKey) -> Places {
        let hash = self.hasher.hash(flow.as_bytes());
        let mask = self.buckets.len() - 1;
        let first = hash.h1 as usize & mask;
        let second = (hash.h1 >> 32) as usize & mask;
        let second = if first == second { first ^ 1 } else { second };
        Places { buckets: [first, second], tag: (hash.h2 >> SHARD_BITS).max(1) }
    }
}

fn load(place: &AtomicU64) -> u64 {
    place.load(Ordering::Acquire)
}

fn swap(place: &AtomicU64, from: u64, to: u64) -> Result<u64, u64> {
    place.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
}

#[cfg(test)]
fn flow(port: u16) -> FlowKey {
    let local = std::net::SocketAddr::from(([192, 0, 2, 1], 3478));
    FlowKey::new(local, std::net::SocketAddr::from(([198, 51, 100, 7], port)))
}

#[cfg(all(test, not(monoport_loom)))]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
        assert_eq!(Directory::new(1 << 10).bytes(), DIRECTORY_BYTES_PER_FLOW << 10);
    }

    #[test]
    fn a_claim_takes_over_and_only_the_owner_releases() {
        let directory = Directory::new(16);
        assert_eq!(directory.find(&flow(1)), None);
        assert!(directory.claim(&flow(1), 0));
        assert_eq!(directory.find(&flow(1)), Some(0));
        assert!(directory.claim(&flow(1), u16::MAX));
        directory.release(&flow(1), 0);
        assert_eq!(directory.find(&flow(1)), Some(u16::MAX));
        directory.release(&flow(1), u16::MAX);
        assert_eq!(directory.find(&flow(1)), None);
    }

    #[test]
    fn the_promised_load_fits() {
        let directory = Directory::new(20_000);
        for port in 0..20_000 {
            assert!(directory.claim(&flow(port), port % 7), "flow {port}");
        }
        for port in 0..20_000 {
            assert_eq!(directory.find(&flow(port)), Some(port % 7));
        }
    }

    #[test]
    fn a_full_directory_refuses_strangers_and_serves_those_it_knows() {
        let directory = Directory::new(1);
        let words = 2 * WAYS as u16;
        assert!((0..words).all(|port| directory.claim(&flow(port), 1)));
        assert!(!directory.claim(&flow(words), 1));
        assert!(directory.claim(&flow(0), 2), "a known flow changes hands even when full");
        directory.release(&flow(1), 1);
        assert!(directory.claim(&flow(words), 1));
    }

    #[test]
    fn shards_on_threads_do_not_disturb_each_other() {
        let directory = Directory::new(4_096);
        std::thread::scope(|scope| {
            for shard in 0..4u16 {
                let directory = &directory;
                scope.spawn(move || {
                    let own = || (0..512).map(|index| flow(index * 4 + shard));
                    for _ in 0..if cfg!(miri) { 1 } else { 20 } {
                        own().for_each(|flow| assert!(directory.claim(&flow, shard)));
                        own().for_each(|flow| assert_eq!(directory.find(&flow), Some(shard)));
                        own().for_each(|flow| directory.release(&flow, shard));
                        own().for_each(|flow| assert_eq!(directory.find(&flow), None));
                    }
                });
            }
        });
        assert!(directory.buckets.iter().all(|bucket| bucket.0.iter().all(|w| load(w) == FREE)));
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            key: [u8; 16],
            steps in prop::collection::vec((0u8..3, 0u16..40, 0u16..3), 0..300),
        ) {
            let directory = Directory::with_key(40, &key);
            let mut model = HashMap::new();
            for (action, port, shard) in steps {
                let flow = flow(port);
                match action {
                    0 => if directory.claim(&flow, shard) {
                        model.insert(flow, shard);
                    } else {
                        prop_assert!(!model.contains_key(&flow) && model.len() >= 2 * WAYS);
                    },
                    1 => prop_assert_eq!(directory.find(&flow), model.get(&flow).copied()),
                    _ => {
                        directory.release(&flow, shard);
                        if model.get(&flow) == Some(&shard) {
                            model.remove(&flow);
                        }
                    }
                }
            }
            for port in 0..40 {
                prop_assert_eq!(directory.find(&flow(port)), model.get(&flow(port)).copied());
            }
        }
    }
}

#[cfg(all(test, monoport_loom))]
mod model {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// All four words of a directory of two buckets, without zeros.
    fn words(directory: &Directory) -> Vec<u64> {
        let words = directory.buckets.iter().flat_map(|bucket| bucket.0.iter());
        words.map(load).filter(|&word| word != FREE).collect()
    }

    fn directory() -> Arc<Directory> {
        Arc::new(Directory::with_key(1, &[3; 16]))
    }

    /// Two shards claim an unknown flow while a third's release frees an earlier place, which is
    /// the one way to two words of a tag. Three preemptions reach it; without a bound the model
    /// runs for hours.
    #[test]
    fn claims_of_one_flow_leave_one_word() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let directory = directory();
            assert!(directory.claim(&flow(1), 9));
            let (releasing, claiming) = (directory.clone(), directory.clone());
            let third = thread::spawn(move || releasing.release(&flow(1), 9));
            let other = thread::spawn(move || assert!(claiming.claim(&flow(2), 4)));
            assert!(directory.claim(&flow(2), 5));
            third.join().unwrap();
            other.join().unwrap();
            let owner = directory.find(&flow(2));
            assert!(owner == Some(4) || owner == Some(5), "{owner:?}");
            assert_eq!(words(&directory).len(), 1);
        });
    }

    /// A third shard claims over a word that another is about to clear: the clearing must go on.
    #[test]
    fn a_claim_over_a_word_that_goes_leaves_one_word() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let directory = directory();
            assert!(directory.claim(&flow(1), 9));
            let (releasing, one, two) = (directory.clone(), directory.clone(), directory.clone());
            let racers = [
                thread::spawn(move || releasing.release(&flow(1), 9)),
                thread::spawn(move || assert!(one.claim(&flow(2), 4))),
                thread::spawn(move || assert!(two.claim(&flow(2), 6))),
            ];
            assert!(directory.claim(&flow(2), 5));
            racers.into_iter().for_each(|racer| racer.join().unwrap());
            assert!(directory.find(&flow(2)).is_some());
            assert_eq!(words(&directory).len(), 1);
        });
    }

    /// The old owner's late release must not take the new owner's claim away.
    #[test]
    fn a_late_release_spares_the_new_owner() {
        loom::model(|| {
            let directory = directory();
            assert!(directory.claim(&flow(1), 4));
            let releasing = directory.clone();
            let old = thread::spawn(move || releasing.release(&flow(1), 4));
            assert!(directory.claim(&flow(1), 5));
            old.join().unwrap();
            assert_eq!(directory.find(&flow(1)), Some(5));
            assert_eq!(words(&directory).len(), 1);
        });
    }

    /// A reader sees an owner of now or of before, never a word in between.
    #[test]
    fn a_reader_sees_an_owner_or_nobody() {
        loom::model(|| {
            let directory = directory();
            assert!(directory.claim(&flow(1), 4));
            let reading = directory.clone();
            let reader = thread::spawn(move || reading.find(&flow(1)));
            assert!(directory.claim(&flow(1), 5));
            let seen = reader.join().unwrap();
            assert!(seen == Some(4) || seen == Some(5), "{seen:?}");
        });
    }
}
