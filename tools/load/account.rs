//! What one viewer got of one SSRC: unique packets, copies, packets out of order, and where each
//! stands in the publisher's numbering.

use monoport::srtp::{ReplayWindow, Rollover};

/// Remembers 448 packets, two seconds of video: a copy that comes later still is counted as late.
type Window = ReplayWindow<8>;

/// The receiving side of one SSRC.
#[derive(Debug, Default)]
pub struct Account {
    rollover: Rollover,
    seen: Window,
    /// The server's extended sequence number less the publisher's packet number, from the last
    /// packet that was opened.
    offset: Option<i64>,
    first_number: Option<u32>,
    first_index: Option<u64>,
    /// Whether packets came that say no number: then what was lost is what is missing in the
    /// server's own numbering.
    by_sequence: bool,
    highest_index: Option<u64>,
    pub received: u64,
    pub duplicates: u64,
    pub reordered: u64,
    /// Opened packets whose number did not follow from their sequence number as before.
    pub renumbered: u64,
}

/// What an arriving packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// New; the publisher's packet number where it is known.
    Fresh(Option<u32>),
    Duplicate,
}

impl Account {
    /// The 48-bit index of a sequence number, for the cipher.
    #[must_use]
    pub fn index(&self, seq: u16) -> u64 {
        self.rollover.guess(seq)
    }

    /// Whether the mapping from sequence numbers to packet numbers is still unknown, so that the
    /// next packet must be opened.
    #[must_use]
    pub fn must_open(&self) -> bool {
        self.offset.is_none() && !self.by_sequence
    }

    /// Whether loss is counted by the server's sequence numbers.
    #[must_use]
    pub fn is_by_sequence(&self) -> bool {
        self.by_sequence
    }

    /// Whether counting has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.first_index.is_some()
    }

    /// Counts a packet whose header alone was read.
    pub fn arrived(&mut self, index: u64) -> Arrival {
        if !self.count(index) {
            return Arrival::Duplicate;
        }
        let offset = self.offset.filter(|_| !self.by_sequence);
        let number = offset.map(|offset| (index as i64).wrapping_sub(offset) as u32);
        Arrival::Fresh(number)
    }

    /// Counts a packet that was opened and said its number; the first one begins the count.
    pub fn opened(&mut self, index: u64, number: u32) -> Arrival {
        let offset = (index as i64).wrapping_sub(i64::from(number));
        if !self.by_sequence && self.offset.is_some_and(|known| known != offset) {
            self.renumbered += 1;
        }
        self.offset = Some(offset);
        self.first_number.get_or_insert(number);
        self.first_index.get_or_insert(index);
        if self.count(index) { Arrival::Fresh(Some(number)) } else { Arrival::Duplicate }
    }

    /// Counts a packet that was opened and says no number, as of a server that packs frames anew;
    /// the first one begins the count, and from then on sequence numbers are what counts.
    pub fn opened_without_number(&mut self, index: u64) -> Arrival {
        self.by_sequence = true;
        self.first_index.get_or_insert(index);
        if self.count(index) { Arrival::Fresh(None) } else { Arrival::Duplicate }
    }

    /// Follows the sequence number of an authentic packet from before the count begins.
    pub fn passed(&mut self, index: u64) {
        self.rollover.update(index);
    }

    /// Packets that should have come when the publisher has sent `sent` in all; by sequence
    /// numbers, those up to the newest, since what the server sent behind it nobody knows.
    #[must_use]
    pub fn expected(&self, sent: u64) -> u64 {
        if self.by_sequence {
            return self.spanned();
        }
        self.first_number.map_or(0, |first| sent.saturating_sub(u64::from(first)))
    }

    /// Packets from the first that was counted to the newest, whether they came or not.
    #[must_use]
    pub fn spanned(&self) -> u64 {
        if self.by_sequence {
            let indices = self.highest_index.zip(self.first_index);
            return indices.map_or(0, |(newest, first)| (newest + 1).saturating_sub(first));
        }
        let newest = self.highest_index.zip(self.offset);
        let newest = newest.map(|(index, offset)| (index as i64).wrapping_sub(offset) as u64);
        newest
            .zip(self.first_number)
            .map_or(0, |(newest, first)| (newest + 1).saturating_sub(u64::from(first)))
    }

    /// The sequence numbers that are missing just below `index`, at most `limit` of them, if
    /// `index` is the newest: what a receiver would ask for again.
    pub fn gap_before(&self, index: u64, limit: usize) -> std::ops::Range<u64> {
        match self.highest_index {
            Some(highest) if index > highest + 1 && index - highest <= limit as u64 => {
                highest + 1..index
            }
            _ => index..index,
        }
    }

    /// Highest sequence number with the count of its turns, as a receiver report has it.
    #[must_use]
    pub fn extended_highest(&self) -> u32 {
        self.highest_index.unwrap_or(0) as u32
    }

    fn count(&mut self, index: u64) -> bool {
        if !self.seen.check(index) {
            self.duplicates += 1;
            return false;
        }
        self.seen.accept(index);
        self.rollover.update(index);
        self.received += 1;
        match self.highest_index {
            Some(highest) if index < highest => self.reordered += 1,
            _ => self.highest_index = Some(index),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_loss_from_the_first_opened_packet() {
        let mut account = Account::default();
        assert_eq!(account.expected(1_000), 0, "nothing expected before the first packet");
        assert_eq!(account.opened(500, 100), Arrival::Fresh(Some(100)));
        for index in (501..600).filter(|index| index % 10 != 0) {
            assert_eq!(account.arrived(index), Arrival::Fresh(Some(index as u32 - 400)));
        }
        assert_eq!(account.received, 91);
        assert_eq!(account.spanned(), 100, "numbers 100 to 199, the last of which came");
        assert_eq!(account.expected(200), 100, "numbers 100 to 199");
    }

    #[test]
    fn copies_and_late_packets_are_told_apart() {
        let mut account = Account::default();
        account.opened(10, 0);
        account.arrived(12);
        assert_eq!(account.arrived(11), Arrival::Fresh(Some(1)));
        assert_eq!(account.arrived(11), Arrival::Duplicate);
        assert_eq!((account.received, account.duplicates, account.reordered), (3, 1, 1));
    }

    #[test]
    fn follows_the_sequence_number_over_its_wrap() {
        let mut account = Account::default();
        account.opened(65_534, 0);
        for (seq, number) in [(65_535u16, 1), (0, 2), (1, 3)] {
            let index = account.index(seq);
            assert_eq!(account.arrived(index), Arrival::Fresh(Some(number)));
        }
        assert_eq!(account.extended_highest(), 65_537);
        assert_eq!(account.expected(4), account.received);
    }

    #[test]
    fn a_new_mapping_is_noticed() {
        let mut account = Account::default();
        account.opened(10, 0);
        account.opened(11, 5);
        assert_eq!(account.renumbered, 1);
        assert_eq!(account.arrived(12), Arrival::Fresh(Some(6)));
        assert_eq!(account.expected(7) - account.received, 4, "numbers 1 to 4 never came");
    }

    #[test]
    fn without_numbers_of_the_publisher_the_servers_own_count() {
        let mut account = Account::default();
        assert_eq!(account.opened_without_number(65_530), Arrival::Fresh(None));
        assert!(account.has_begun() && !account.must_open() && account.is_by_sequence());
        for index in (65_531..65_630).filter(|index| index % 10 != 0) {
            let index = account.index(index as u16);
            assert_eq!(account.arrived(index), Arrival::Fresh(None));
        }
        assert_eq!((account.spanned(), account.received), (100, 91));
        assert_eq!(account.expected(7), 100, "however many the publisher sent");
        // A stamp that was moved along whole says nothing of the packets around it.
        assert_eq!(account.opened(65_630, 3), Arrival::Fresh(Some(3)));
        assert_eq!((account.expected(7), account.renumbered), (101, 0));
    }

    #[test]
    fn names_the_gap_below_the_newest_packet() {
        let mut account = Account::default();
        account.opened(10, 0);
        assert_eq!(account.gap_before(14, 100), 11..14);
        assert!(account.gap_before(11, 100).is_empty());
        assert!(account.gap_before(9, 100).is_empty());
        assert!(account.gap_before(5_000, 100).is_empty(), "a jump is not a gap to repair");
    }
}
