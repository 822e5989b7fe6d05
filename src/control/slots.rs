//! Small numbers that are given out and taken back.

use crate::id::SessionKey;

/// Gives out small numbers with a generation.
pub(super) struct Slots {
    capacity: u32,
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Slots {
    pub fn new(capacity: usize) -> Slots {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        Slots { capacity, generations: Vec::new(), free: Vec::new() }
    }

    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    pub fn used(&self) -> usize {
        self.generations.len() - self.free.len()
    }

    pub fn is_full(&self) -> bool {
        self.used() >= self.capacity as usize
    }

    pub fn take(&mut self) -> Option<(u32, u32)> {
        let slot = self.free.pop().or_else(|| {
            let next = self.generations.len() as u32;
            (next < self.capacity).then(|| {
                self.generations.push(0);
                next
            })
        })?;
        Some((slot, self.generations[slot as usize]))
    }

    pub fn give_back(&mut self, slot: u32) {
        let generation = &mut self.generations[slot as usize];
        *generation = SessionKey::next_generation(*generation);
        self.free.push(slot);
    }
}
