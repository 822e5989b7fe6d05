//! Lists that many sessions have alike, each kept once: clients of one kind are answered with the
//! same codecs, and a publisher's are some kilobytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::MAX_LISTS_ALIKE;

/// Lists there are, the one used last at the end. One that was forgotten lives on with its
/// sessions.
pub(super) struct Alike<T>(Mutex<VecDeque<Arc<[T]>>>);

impl<T: PartialEq> Alike<T> {
    pub fn new() -> Alike<T> {
        Alike(Mutex::default())
    }

    /// This list, or one that was there before and says the same.
    pub fn of(&self, list: Vec<T>) -> Arc<[T]> {
        // Nothing in here is left half done by a panic.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.iter().position(|known| **known == *list);
        let list = place.and_then(|place| known.remove(place)).unwrap_or_else(|| list.into());
        if known.len() == MAX_LISTS_ALIKE {
            known.pop_front();
        }
        known.push_back(list.clone());
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_kept_once_and_few_lists_are_kept() {
        let alike = Alike::new();
        let first = alike.of(vec![1, 2]);
        for number in 0..2 * MAX_LISTS_ALIKE {
            alike.of(vec![number]);
            assert!(Arc::ptr_eq(&first, &alike.of(vec![1, 2])), "it is in use");
        }
        assert_eq!(alike.0.lock().unwrap().len(), MAX_LISTS_ALIKE);
    }
}
