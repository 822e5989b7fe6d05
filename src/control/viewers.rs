//! A stream's viewers: joined and left in constant time, however many there are.

use std::collections::HashMap;
use std::hash::Hash;

/// Keys in no order, each once. The last one moves into the place of one that leaves, so that when
/// twenty thousand viewers leave at once, each costs the same whoever is still there.
pub(super) struct Viewers<K> {
    keys: Vec<K>,
    positions: HashMap<K, usize>,
}

impl<K> Default for Viewers<K> {
    fn default() -> Viewers<K> {
        Viewers { keys: Vec::new(), positions: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Viewers<K> {
    /// All of them.
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn join(&mut self, key: K) {
        if self.positions.insert(key, self.keys.len()).is_none() {
            self.keys.push(key);
        }
    }

    pub fn leave(&mut self, key: K) {
        let Some(position) = self.positions.remove(&key) else { return };
        self.keys.swap_remove(position);
        if let Some(moved) = self.keys.get(position) {
            self.positions.insert(*moved, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;

    use super::*;

    thread_local! {
        /// How often a key was compared or hashed.
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    fn step() {
        STEPS.set(STEPS.get() + 1);
    }

    #[derive(Clone, Copy, Debug)]
    struct Counted(u32);

    impl PartialEq for Counted {
        fn eq(&self, other: &Counted) -> bool {
            step();
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            step();
            self.0.hash(state);
        }
    }

    #[test]
    fn twenty_thousand_viewers_leave_in_steps_that_do_not_depend_on_who_is_left() {
        const VIEWERS: u32 = 20_000;
        let mut viewers = Viewers::default();
        (0..VIEWERS).for_each(|number| viewers.join(Counted(number)));
        STEPS.set(0);
        for number in 0..VIEWERS {
            viewers.leave(Counted(number));
            assert_eq!(viewers.keys().len() as u32, VIEWERS - 1 - number);
        }
        let each = STEPS.get() / VIEWERS as usize;
        assert!(each <= 16, "{each} comparisons and hashes for each that left");
        assert!(viewers.is_empty() && viewers.positions.is_empty());
    }

    #[test]
    fn whoever_stays_is_still_found() {
        let mut viewers = Viewers::default();
        [1, 2, 3, 3].into_iter().for_each(|key| viewers.join(key));
        viewers.leave(1);
        viewers.leave(9);
        assert_eq!(viewers.keys(), [3, 2]);
        viewers.leave(3);
        assert_eq!(viewers.keys(), [2]);
    }
}
