//! Where the packets of one link stand in what is kept of its stream: a link carries some layers of
//! it, and numbers what it carries by positions without holes, or its other end would ask for what
//! it does not want.

use crate::limits::LINK_HISTORY_PACKETS;

/// Set in the place of a packet that was asked for again.
const ASKED: u64 = 1 << 63;

/// The last packets of a link, by position.
#[derive(Debug)]
pub struct Places {
    ring: Box<[u64]>,
    next: u64,
}

const _: () = assert!(LINK_HISTORY_PACKETS.is_power_of_two(), "the ring is indexed by masking");

impl Default for Places {
    fn default() -> Places {
        Places { ring: vec![0; LINK_HISTORY_PACKETS].into(), next: 0 }
    }
}

impl Places {
    /// The position of the next packet.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The next packet is the one that is kept at `place`.
    pub fn push(&mut self, place: u64) {
        self.ring[index(self.next)] = place;
        self.next += 1;
    }

    /// Where the packet at `position` is kept, while that is known, and whether it is asked for
    /// again for the first time.
    pub fn ask(&mut self, position: u64) -> Option<(u64, bool)> {
        let is_known = position < self.next && self.next - position <= self.ring.len() as u64;
        let place = is_known.then(|| &mut self.ring[index(position)])?;
        let is_first = *place & ASKED == 0;
        *place |= ASKED;
        Some((*place & !ASKED, is_first))
    }
}

fn index(position: u64) -> usize {
    position as usize & (LINK_HISTORY_PACKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_no_holes_whatever_is_left_out_and_are_asked_for_once_for_the_first_time() {
        let mut places = Places::default();
        for place in [3, 7, 8, 1_000_000] {
            places.push(place);
        }
        assert_eq!(places.next(), 4);
        assert_eq!(places.ask(1), Some((7, true)));
        assert_eq!(places.ask(1), Some((7, false)));
        assert_eq!(places.ask(3), Some((1_000_000, true)));
        assert_eq!(places.ask(4), None, "it was never sent");
        for place in 0..LINK_HISTORY_PACKETS as u64 {
            places.push(place);
        }
        assert_eq!(places.ask(3), None, "long ago");
        assert_eq!(places.ask(4), Some((0, true)));
    }
}
