//! Which links there are, for datagrams of theirs that reach the wrong shard: what names none costs
//! a look here, and is handed to nobody.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::{MAX_LINKS_PER_SHARD, MAX_SHARDS};

/// The names of the links of one shard, each at the place that its low bits say; 0 is none.
type Names = Box<[AtomicU32]>;

/// The names of all links. A shard that has had none takes no memory.
pub struct LinkNames([OnceLock<Names>; MAX_SHARDS]);

impl Default for LinkNames {
    fn default() -> LinkNames {
        LinkNames(array::from_fn(|_| OnceLock::new()))
    }
}

impl LinkNames {
    /// `shard` has the link `id` from here on, in the place of one before.
    pub fn enter(&self, shard: u16, id: u32) {
        let Some(names) = self.0.get(usize::from(shard)) else { return };
        let none = || (0..MAX_LINKS_PER_SHARD).map(|_| AtomicU32::new(0)).collect();
        names.get_or_init(none)[place(id)].store(id, Ordering::Relaxed);
    }

    /// It has the link `id` no longer.
    pub fn leave(&self, shard: u16, id: u32) {
        if self.has(shard, id)
            && let Some(names) = self.0.get(usize::from(shard)).and_then(OnceLock::get)
        {
            names[place(id)].store(0, Ordering::Relaxed);
        }
    }

    /// Whether `shard` has the link `id`.
    #[must_use]
    pub fn has(&self, shard: u16, id: u32) -> bool {
        let names = self.0.get(usize::from(shard)).and_then(OnceLock::get);
        id != 0 && names.is_some_and(|names| names[place(id)].load(Ordering::Relaxed) == id)
    }
}

fn place(id: u32) -> usize {
    id as usize % MAX_LINKS_PER_SHARD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_by_its_whole_name_on_its_shard_while_it_is_there() {
        let names = LinkNames::default();
        let (id, same_place) = (7 << 12 | 5, 8 << 12 | 5);
        assert!(!names.has(1, id));
        names.enter(1, id);
        assert!(names.has(1, id) && !names.has(0, id) && !names.has(1, same_place));
        assert!(!names.has(1, 0) && !names.has(u16::MAX, id));
        names.leave(1, same_place);
        assert!(names.has(1, id), "another one's end is nothing to it");
        names.enter(1, same_place);
        names.leave(1, id);
        assert!(names.has(1, same_place) && !names.has(1, id));
        names.leave(1, same_place);
        assert!(!names.has(1, same_place));
    }
}
