//! The last packets of a layer, kept once for all viewers of a shard: what repair sends again.

use crate::limits::{HISTORY_MIN_PACKETS, HISTORY_TIME};
use crate::media::MediaPacket;

/// A ring of packets indexed by the layer's sequence number. It grows with the layer's rate, until
/// it reaches [`HISTORY_TIME`] back.
#[derive(Debug)]
pub struct History {
    ring: Box<[Option<MediaPacket>]>,
    /// It grows no further.
    most: usize,
}

impl History {
    /// Room for a few packets, and for `most` in time; a power of two.
    #[must_use]
    pub fn new(most: usize) -> History {
        assert!(most.is_power_of_two(), "the ring is indexed by masking");
        History { ring: empty(HISTORY_MIN_PACKETS.min(most)), most }
    }

    /// How many packets back it reaches now.
    #[must_use]
    pub fn reach(&self) -> usize {
        self.ring.len()
    }

    /// Keeps `packet`, in place of the one as many packets before as there is room for; those from
    /// `replayed` on are kept for who comes next.
    pub fn put(&mut self, packet: MediaPacket, replayed: Option<u64>) {
        let index = self.index(packet.sequence);
        if let Some(oldest) = &self.ring[index]
            && packet.sequence > oldest.sequence
            && (packet.received.saturating_duration_since(oldest.received) < HISTORY_TIME
                || replayed.is_some_and(|first| oldest.sequence >= first))
            && self.ring.len() < self.most
        {
            self.grow();
            return self.put(packet, replayed);
        }
        self.ring[index] = Some(packet);
    }

    /// Grows until it reaches `packets` back, and as many again that may have come since.
    pub fn make_room(&mut self, packets: usize) {
        while self.ring.len() < (packets * 2).min(self.most) {
            self.grow();
        }
    }

    /// The packet numbered `sequence`, if it is still here.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<&MediaPacket> {
        self.ring[self.index(sequence)].as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// Notes with how much padding the packet numbered `sequence` is sent, now and ever after.
    pub fn set_padding(&mut self, sequence: u64, padding: u8) {
        let index = self.index(sequence);
        if let Some(packet) = self.ring[index].as_mut().filter(|p| p.sequence == sequence) {
            packet.padding = padding;
        }
    }

    /// The timestamps of all were wrong by so much.
    pub fn put_time_right(&mut self, by: u32) {
        for packet in self.ring.iter_mut().flatten() {
            packet.timestamp = packet.timestamp.wrapping_add(by);
        }
    }

    /// Forgets everything, and gives back the payloads' memory.
    pub fn clear(&mut self) {
        self.ring.fill(None);
    }

    fn grow(&mut self) {
        let doubled = empty(self.ring.len() * 2);
        let packets = std::mem::replace(&mut self.ring, doubled);
        for packet in packets.into_vec().into_iter().flatten() {
            let index = self.index(packet.sequence);
            self.ring[index] = Some(packet);
        }
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & (self.ring.len() - 1)
    }
}

fn empty(packets: usize) -> Box<[Option<MediaPacket>]> {
    (0..packets).map(|_| None).collect()
}
