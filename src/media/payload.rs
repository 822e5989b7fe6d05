//! The bytes of a packet: where they lie while they are on their way, and where they are kept.

use std::ops::Deref;
use std::sync::Arc;

use str0m::format::Codec;

use super::Shift;

/// Memory is taken in steps of a cache line, with the two counts in front of it: a packet that is
/// kept in the place of another nearly always has room there.
const STEP: usize = 64;
const COUNTS: usize = 2 * size_of::<usize>();

/// A payload that is kept. The viewers of one shard share it; no other thread has it.
#[derive(Clone, Debug)]
pub struct Payload {
    memory: Arc<[u8]>,
    length: usize,
}

/// The bytes of a packet, of which a [`Payload`] is made where the packet is kept.
pub trait Bytes: Deref<Target = [u8]> {
    /// Keeps them: in the memory of `spare`, of which nobody has need any more, where there is room
    /// and nobody shares it.
    fn keep(self, spare: Option<Payload>) -> Payload;
}

impl Payload {
    /// A copy of `bytes` in memory of its own, without room for more: nobody will use it again.
    #[must_use]
    pub fn exact(bytes: &[u8]) -> Payload {
        Payload { memory: Arc::from(bytes), length: bytes.len() }
    }

    /// Bytes of the memory it lies in.
    #[must_use]
    pub fn room(&self) -> usize {
        COUNTS + self.memory.len()
    }

    #[cold]
    fn roomy(bytes: &[u8]) -> Payload {
        let room = (COUNTS + bytes.len()).next_multiple_of(STEP) - COUNTS;
        let padded = bytes.iter().copied().chain(std::iter::repeat_n(0, room - bytes.len()));
        Payload { memory: padded.collect(), length: bytes.len() }
    }
}

impl Bytes for Payload {
    fn keep(self, _spare: Option<Payload>) -> Payload {
        self
    }
}

impl Bytes for &[u8] {
    #[inline]
    fn keep(self, spare: Option<Payload>) -> Payload {
        if let Some(Payload { mut memory, .. }) = spare
            && let Some(room) = Arc::get_mut(&mut memory).and_then(|m| m.get_mut(..self.len()))
        {
            room.copy_from_slice(self);
            return Payload { memory, length: self.len() };
        }
        Payload::roomy(self)
    }
}

/// Bytes that are kept with other numbers of pictures in them.
#[derive(Clone, Debug)]
pub struct Shifted<'a> {
    /// As they are.
    pub bytes: &'a [u8],
    /// How they are coded.
    pub codec: Codec,
    /// What is added to the numbers.
    pub shift: Shift,
}

impl Bytes for Shifted<'_> {
    fn keep(self, spare: Option<Payload>) -> Payload {
        let Shifted { bytes, codec, shift } = self;
        let mut payload = bytes.keep(spare);
        if !shift.spares_payload()
            && let Some(kept) = Arc::get_mut(&mut payload.memory)
        {
            shift.apply(codec, &mut kept[..payload.length]);
        }
        payload
    }
}

impl Deref for Shifted<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::exact(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(payload: &Payload) -> *const u8 {
        payload.as_ptr()
    }

    #[test]
    fn a_packet_is_kept_in_the_memory_of_the_one_whose_place_it_takes() {
        let first = (&[1; 150][..]).keep(None);
        let at = address(&first);
        let second = (&[2; 170][..]).keep(Some(first));
        assert_eq!((address(&second), &*second), (at, &[2; 170][..]));
        let shorter = (&[3; 9][..]).keep(Some(second));
        assert_eq!((address(&shorter), &*shorter), (at, &[3; 9][..]));
        let again = (&[4; 176][..]).keep(Some(shorter));
        assert_eq!(address(&again), at, "its room is what it was");
        let longer = (&[5; 177][..]).keep(Some(again));
        assert_eq!(&*longer, [5; 177]);
    }

    #[test]
    fn what_somebody_still_has_is_left_alone() {
        let first = (&[1; 100][..]).keep(None);
        let second = (&[2; 100][..]).keep(Some(first.clone()));
        assert_eq!((&*first, &*second), (&[1; 100][..], &[2; 100][..]));
        let exact = Payload::exact(&[7; 10]);
        let kept = exact.clone().keep(Some(second));
        assert_eq!(address(&kept), address(&exact), "what is kept already is not copied");
    }
}
