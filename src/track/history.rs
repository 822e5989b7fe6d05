//! The last packets of a layer, kept once for all viewers of a shard: what repair sends again.

use super::stream::Step;
use crate::limits::{HISTORY_MIN_PACKETS, HISTORY_TIME};
use crate::media::{Bytes, MediaPacket, Payload};
use crate::net::prefetch;

/// A ring of packets indexed by the layer's sequence number. It grows with the layer's rate, until
/// it reaches [`HISTORY_TIME`] back.
#[derive(Debug)]
pub struct History {
    ring: Box<[Option<MediaPacket>]>,
    /// It grows no further.
    most: usize,
    /// Bytes of the payloads' memory.
    payloads: usize,
}

impl History {
    /// No room yet, and for `most` packets in time; a power of two.
    #[must_use]
    pub fn new(most: usize) -> History {
        assert!(most.is_power_of_two(), "the ring is indexed by masking");
        History { ring: Box::default(), most, payloads: 0 }
    }

    /// How many packets back it reaches now.
    #[must_use]
    pub fn reach(&self) -> usize {
        self.ring.len()
    }

    /// Keeps `packet`, in place of the one as many packets before as there is room for, and in its
    /// memory; those from `replayed` on are kept for who comes next. Returns the packet as it is
    /// kept.
    pub fn put<P: Bytes>(&mut self, packet: MediaPacket<P>, replayed: Option<u64>) -> MediaPacket {
        if self.ring.is_empty() {
            self.grow();
        }
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
        let spare = self.ring[index].take().map(|gone| gone.payload);
        self.payloads -= spare.as_ref().map_or(0, Payload::room);
        let packet = packet.with_payload(|payload| payload.keep(spare));
        self.payloads += packet.payload.room();
        self.ring[index].insert(packet).clone()
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.ring) + self.payloads
    }

    /// See [`super::Stream::prefetch`].
    pub(super) fn prefetch(&self, sequence: u64, step: Step) {
        let Some(place) = self.ring.get(self.index(sequence)) else { return };
        match (step, place) {
            (Step::Places, _) => prefetch(place),
            (Step::Payloads, Some(gone)) => prefetch(&*gone.payload),
            _ => {}
        }
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
        let place = self.ring.get(self.index(sequence))?;
        place.as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// Notes with how much padding the packet numbered `sequence` is sent, now and ever after.
    pub fn set_padding(&mut self, sequence: u64, padding: u8) {
        let index = self.index(sequence);
        let place = self.ring.get_mut(index).and_then(Option::as_mut);
        if let Some(packet) = place.filter(|packet| packet.sequence == sequence) {
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
        self.payloads = 0;
    }

    fn grow(&mut self) {
        let least = HISTORY_MIN_PACKETS.min(self.most);
        let doubled = empty((self.ring.len() * 2).max(least));
        let packets = std::mem::replace(&mut self.ring, doubled);
        for packet in packets.into_vec().into_iter().flatten() {
            let index = self.index(packet.sequence);
            self.ring[index] = Some(packet);
        }
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & self.ring.len().wrapping_sub(1)
    }
}

fn empty(packets: usize) -> Box<[Option<MediaPacket>]> {
    (0..packets).map(|_| None).collect()
}
