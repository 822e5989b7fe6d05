//! Packets that have no room in one datagram come in two: the front of the payload, and the packet
//! with the rest of it.

use std::collections::VecDeque;

use crate::limits::MAX_LINK_FRONTS;

/// Fronts whose rest has not come, and the last payload that was put together.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    /// By position, the oldest first.
    waiting: VecDeque<(u64, Vec<u8>)>,
    whole: Vec<u8>,
    /// Memory for the next ones.
    free: Vec<Vec<u8>>,
}

impl Fronts {
    /// Keeps the front of the packet at `position`. Of more than there is room for the oldest goes:
    /// its packet is asked for again.
    pub fn keep(&mut self, position: u64, front: &[u8]) {
        let known = self.waiting.iter().position(|(other, _)| *other == position);
        let oldest = (self.waiting.len() >= MAX_LINK_FRONTS).then_some(0);
        let left = known.or(oldest).and_then(|place| self.waiting.remove(place));
        let mut bytes = left.map(|(_, bytes)| bytes).or(self.free.pop()).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(front);
        self.waiting.push_back((position, bytes));
    }

    /// The payload of the packet at `position` with this `rest`; `None` where its front has not
    /// come.
    pub fn join(&mut self, position: u64, rest: &[u8]) -> Option<&[u8]> {
        let place = self.waiting.iter().position(|(other, _)| *other == position)?;
        let (_, mut bytes) = self.waiting.remove(place)?;
        bytes.extend_from_slice(rest);
        self.free.push(std::mem::replace(&mut self.whole, bytes));
        Some(&self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_two_is_put_together_and_what_never_comes_has_its_bound() {
        let mut fronts = Fronts::default();
        assert_eq!(fronts.join(1, b"rest"), None);
        fronts.keep(1, b"lost, and sent ");
        fronts.keep(2, b"a ");
        fronts.keep(1, b"again: the ");
        assert_eq!(fronts.join(2, b"packet"), Some(&b"a packet"[..]));
        assert_eq!(fronts.join(1, b"rest"), Some(&b"again: the rest"[..]));
        assert_eq!(fronts.join(1, b"rest"), None, "once");
        for position in 0..1_000 {
            fronts.keep(position, b"x");
        }
        assert_eq!(fronts.waiting.len(), MAX_LINK_FRONTS);
        assert!(fronts.join(0, b"").is_none() && fronts.join(999, b"").is_some());
        for position in 0..1_000 {
            fronts.keep(position, b"x");
            assert!(fronts.join(position, b"y").is_some());
        }
        assert!(fronts.free.len() <= MAX_LINK_FRONTS + 1, "memory is used anew");
    }
}
