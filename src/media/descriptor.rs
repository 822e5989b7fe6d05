//! The dependency descriptor: which frames a frame needs, told in the RTP header.
//!
//! AV1 RTP specification, appendix A. It is passed on as it stands, but for its frame number.

use std::sync::Arc;

/// The name it is negotiated by.
pub const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Bytes that every descriptor has: two flags, six bits of template, sixteen of frame number.
const MANDATORY_BYTES: usize = 3;

/// Bytes of a descriptor that need no memory of their own: all but the structures on key frames.
const SHORT_BYTES: usize = 22;

/// A dependency descriptor as it stands on the wire: 3 bytes, some more for the frame's own
/// dependencies, and on a key frame's first packet the structure of all that follow.
#[derive(Clone, Debug)]
pub struct DependencyDescriptor(Memory);

#[derive(Clone, Debug)]
enum Memory {
    Short { bytes: [u8; SHORT_BYTES], length: u8 },
    Long(Arc<[u8]>),
}

impl DependencyDescriptor {
    /// The most that any header extension element has (RFC 8285 §4.3).
    pub const MAX_BYTES: usize = u8::MAX as usize;

    /// Takes what stands in a header; `None` when it is too short, or too long for any header
    /// extension element (RFC 8285 §4.3).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<DependencyDescriptor> {
        let fits = (MANDATORY_BYTES..=Self::MAX_BYTES).contains(&bytes.len());
        fits.then(|| DependencyDescriptor(Memory::new(bytes)))
    }

    /// The bytes for the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Short { bytes, length } => &bytes[..usize::from(*length)],
            Memory::Long(bytes) => bytes,
        }
    }

    /// What it says besides what each says: a structure, or of its frame alone.
    pub(super) fn behind_frame_number(&self) -> &[u8] {
        self.bytes().get(MANDATORY_BYTES..).unwrap_or_default()
    }

    /// Counts frames; wraps.
    #[must_use]
    pub fn frame_number(&self) -> u16 {
        let bytes = self.bytes();
        u16::from_be_bytes([bytes[1], bytes[2]])
    }

    /// The same with `offset` added to its frame number. A receiver takes a key frame whose number
    /// is behind the last one's for a straggler and drops it; a stream's second publisher starts
    /// anywhere.
    #[must_use]
    pub fn renumbered(mut self, offset: u16) -> DependencyDescriptor {
        if offset != 0 {
            let number = self.frame_number().wrapping_add(offset).to_be_bytes();
            let bytes = match &mut self.0 {
                Memory::Short { bytes, .. } => &mut bytes[..],
                // Copies where somebody else holds it: the publisher's packet is not changed.
                Memory::Long(bytes) => Arc::make_mut(bytes),
            };
            bytes[1..MANDATORY_BYTES].copy_from_slice(&number);
        }
        self
    }

    /// Its bytes in `room` with `offset` added to the frame number, for one viewer.
    #[must_use]
    pub fn shifted<'a>(&self, offset: u16, room: &'a mut [u8; Self::MAX_BYTES]) -> &'a [u8] {
        let number = self.frame_number().wrapping_add(offset).to_be_bytes();
        let bytes = &mut room[..self.bytes().len()];
        bytes.copy_from_slice(self.bytes());
        bytes[1..MANDATORY_BYTES].copy_from_slice(&number);
        bytes
    }

    /// Whether it tells the structure of the frames that follow: a decoder can start there.
    #[must_use]
    pub fn has_structure(&self) -> bool {
        self.bytes().get(MANDATORY_BYTES).is_some_and(|flags| flags & 0x80 != 0)
    }

    /// A copy for another shard: the bytes, not a reference to them.
    #[must_use]
    pub fn copy_for_other_shard(&self) -> DependencyDescriptor {
        DependencyDescriptor(Memory::new(self.bytes()))
    }
}

impl Memory {
    fn new(from: &[u8]) -> Memory {
        let mut bytes = [0; SHORT_BYTES];
        match bytes.get_mut(..from.len()) {
            Some(room) => {
                room.copy_from_slice(from);
                Memory::Short { bytes, length: from.len() as u8 }
            }
            None => Memory::Long(from.into()),
        }
    }
}

impl PartialEq for DependencyDescriptor {
    fn eq(&self, other: &DependencyDescriptor) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for DependencyDescriptor {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_frame_number_is_shifted_and_nothing_else() {
        for more in [2, SHORT_BYTES - 3, SHORT_BYTES - 2, 200] {
            let of = |head: [u8; 3]| [&head[..], &vec![7; more]].concat();
            let original = DependencyDescriptor::new(&of([0xC3, 0xFF, 0xFE])).expect("it fits");
            let shifted = original.clone().renumbered(3);
            assert_eq!(shifted.bytes(), of([0xC3, 0, 1]));
            assert_eq!(original.frame_number(), 0xFFFE, "the publisher's own is as it was");
            assert_eq!(shifted.copy_for_other_shard(), shifted);
        }
    }

    #[test]
    fn what_no_header_can_hold_is_no_descriptor() {
        assert_eq!(DependencyDescriptor::new(&[0, 1]), None);
        assert_eq!(DependencyDescriptor::new(&[0; 256]), None);
        assert!(DependencyDescriptor::new(&[0; 255]).is_some());
    }
}
