//! The last packets of a track, kept once for all viewers of a shard: what repair sends again.

use crate::media::MediaPacket;

/// A ring of packets indexed by the stream's sequence number.
#[derive(Debug)]
pub struct History {
    ring: Box<[Option<MediaPacket>]>,
}

impl History {
    /// Room for the last `packets` packets; a power of two.
    #[must_use]
    pub fn new(packets: usize) -> History {
        assert!(packets.is_power_of_two(), "the ring is indexed by masking");
        History { ring: (0..packets).map(|_| None).collect() }
    }

    /// Keeps `packet`, in place of the one that many packets before.
    pub fn put(&mut self, packet: MediaPacket) {
        let index = self.index(packet.sequence);
        self.ring[index] = Some(packet);
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

    /// Forgets everything, and gives back the payloads' memory.
    pub fn clear(&mut self) {
        self.ring.fill(None);
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & (self.ring.len() - 1)
    }
}
