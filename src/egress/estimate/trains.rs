//! What was sent, train by train: what the viewer's feedback is compared with.

use super::Micros;
use crate::limits::ESTIMATE_TRAINS;

/// One train on its way: packets with consecutive transport-wide numbers that left together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Train {
    /// When it left, by the lower half of [`Micros`].
    pub at: u32,
    /// Bytes of all its datagrams.
    pub bytes: u32,
    /// The transport-wide number of its first packet.
    pub first: u16,
    /// Bytes of its first packet.
    pub first_bytes: u16,
    /// Its packets.
    pub count: u8,
    /// The probe it is part of; 0 of none.
    pub probe: u8,
}

/// A train as it is kept until it is reported on: of its bytes, what a packet behind the first has.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    at: u32,
    first: u16,
    first_bytes: u16,
    other_bytes: u16,
    count: u8,
    probe: u8,
}

const _: () = assert!(size_of::<Kept>() == 12, "1.5 KB for all of them");

impl From<Train> for Kept {
    fn from(train: Train) -> Kept {
        let Train { at, bytes, first, first_bytes, count, probe } = train;
        let others = u32::from(count).saturating_sub(1);
        let other_bytes = bytes.saturating_sub(u32::from(first_bytes)).checked_div(others);
        let other_bytes = other_bytes.map_or(0, |bytes| bytes.min(u32::from(u16::MAX)) as u16);
        Kept { at, first, first_bytes, other_bytes, count, probe }
    }
}

impl From<Kept> for Train {
    fn from(kept: Kept) -> Train {
        let Kept { at, first, first_bytes, other_bytes, count, probe } = kept;
        let others = u32::from(count).saturating_sub(1) * u32::from(other_bytes);
        Train { at, bytes: u32::from(first_bytes) + others, first, first_bytes, count, probe }
    }
}

impl Train {
    /// Whether the packet with this number is one of it.
    fn has(&self, sequence: u16) -> bool {
        sequence.wrapping_sub(self.first) < u16::from(self.count)
    }

    /// Bytes of the packet with this number. Those behind the first are taken as equally long: in
    /// a train they are, but for the last.
    pub(super) fn bytes_of(&self, sequence: u16) -> u32 {
        match (sequence == self.first, u32::from(self.count).saturating_sub(1)) {
            (true, _) | (false, 0) => u32::from(self.first_bytes),
            (false, others) => self.bytes.saturating_sub(u32::from(self.first_bytes)) / others,
        }
    }

    /// When it left: within 71 minutes before `now`.
    pub(super) fn left(&self, now: Micros) -> Micros {
        now.saturating_sub(Micros::from((now as u32).wrapping_sub(self.at)))
    }
}

/// The last trains, in the order of their numbers. The oldest gives way: what is said of it then is
/// not understood any more.
#[derive(Debug)]
pub(super) struct Trains {
    ring: [Kept; ESTIMATE_TRAINS],
    /// Where the next one goes.
    next: u8,
    /// Where the last one was found.
    found: u8,
    /// The number after the last packet.
    end: u16,
}

impl Trains {
    pub fn new() -> Trains {
        Trains { ring: [Kept::default(); ESTIMATE_TRAINS], next: 0, found: 0, end: 0 }
    }

    pub fn note(&mut self, train: Train) {
        self.end = train.first.wrapping_add(u16::from(train.count));
        self.ring[usize::from(self.next)] = train.into();
        self.next = place(self.next, 1);
    }

    /// The train with this packet, and its place. Feedback goes in the order of numbers, so it is
    /// the last one found or the one after it, nearly always.
    pub fn find(&mut self, sequence: u16) -> Option<(u8, Train)> {
        // The next to give way is the oldest. Before the ring is round its numbers are those of an
        // empty train.
        let oldest = Train::from(self.ring[usize::from(self.next)]);
        let is_round = oldest.count > 0;
        if is_round && self.end.wrapping_sub(sequence) > self.end.wrapping_sub(oldest.first) {
            return None;
        }
        for step in 0..ESTIMATE_TRAINS {
            let at = place(self.found, step as u8);
            let train = Train::from(self.ring[usize::from(at)]);
            if train.has(sequence) {
                self.found = at;
                return Some((at, train));
            }
        }
        None
    }
}

fn place(from: u8, step: u8) -> u8 {
    from.wrapping_add(step) & (ESTIMATE_TRAINS - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_in_its_train_until_the_ring_is_round() {
        let mut trains = Trains::new();
        for number in 0..200u16 {
            let first = 65_000u16.wrapping_add(number * 5);
            let train = Train { first, count: 5, bytes: 4_500, first_bytes: 1_000, ..DEFAULT };
            trains.note(Train { at: u32::from(number), ..train });
        }
        let of = |sequence: u16| 65_000u16.wrapping_add(sequence);
        let found = |trains: &mut Trains, n| trains.find(of(n)).map(|(_, train)| train.at);
        assert_eq!(found(&mut trains, 199 * 5 + 4), Some(199), "over the end of the numbers");
        assert_eq!(found(&mut trains, 72 * 5), Some(72));
        assert_eq!(found(&mut trains, 72 * 5 - 1), None, "given way");
        assert_eq!(found(&mut trains, 200 * 5), None, "never sent");
        let (_, train) = trains.find(of(100 * 5)).expect("it is there");
        assert_eq!([train.bytes_of(of(500)), train.bytes_of(of(501))], [1_000, 875]);
    }

    const DEFAULT: Train = Train { at: 0, bytes: 0, first: 0, first_bytes: 0, count: 0, probe: 0 };

    #[test]
    fn when_a_train_left_is_known_across_the_end_of_the_clocks_lower_half() {
        let now = (3 << 32) + 1_000;
        let train = Train { at: u32::MAX - 999, ..DEFAULT };
        assert_eq!(train.left(now), now - 2_000);
    }
}
