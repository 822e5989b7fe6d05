//! The dependency descriptor: which frames a frame needs, told in the RTP header.
//!
//! AV1 RTP specification, appendix A. It is passed on as it stands, but for its frame number.

use std::sync::Arc;

/// The name it is negotiated by.
pub const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Bytes that every descriptor has: two flags, six bits of template, sixteen of frame number.
const MANDATORY_BYTES: usize = 3;

/// A dependency descriptor as it stands on the wire: 3 bytes, some more for the frame's own
/// dependencies, and on a key frame's first packet the structure of all that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyDescriptor(Arc<[u8]>);

impl DependencyDescriptor {
    /// The most that any header extension element has (RFC 8285 §4.3).
    pub const MAX_BYTES: usize = u8::MAX as usize;

    /// Takes what stands in a header; `None` when it is too short, or too long for any header
    /// extension element (RFC 8285 §4.3).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<DependencyDescriptor> {
        let fits = (MANDATORY_BYTES..=Self::MAX_BYTES).contains(&bytes.len());
        fits.then(|| DependencyDescriptor(bytes.into()))
    }

    /// The bytes for the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Counts frames; wraps.
    #[must_use]
    pub fn frame_number(&self) -> u16 {
        u16::from_be_bytes([self.0[1], self.0[2]])
    }

    /// The same with `offset` added to its frame number. A receiver takes a key frame whose number
    /// is behind the last one's for a straggler and drops it; a stream's second publisher starts
    /// anywhere.
    #[must_use]
    pub fn renumbered(mut self, offset: u16) -> DependencyDescriptor {
        if offset != 0 {
            let number = self.frame_number().wrapping_add(offset).to_be_bytes();
            // Copies where somebody else holds it: the publisher's packet is not changed.
            Arc::make_mut(&mut self.0)[1..MANDATORY_BYTES].copy_from_slice(&number);
        }
        self
    }

    /// Its bytes in `room` with `offset` added to the frame number, for one viewer.
    #[must_use]
    pub fn shifted<'a>(&self, offset: u16, room: &'a mut [u8; Self::MAX_BYTES]) -> &'a [u8] {
        let number = self.frame_number().wrapping_add(offset).to_be_bytes();
        let bytes = &mut room[..self.0.len()];
        bytes.copy_from_slice(&self.0);
        bytes[1..MANDATORY_BYTES].copy_from_slice(&number);
        bytes
    }

    /// Whether it tells the structure of the frames that follow: a decoder can start there.
    #[must_use]
    pub fn has_structure(&self) -> bool {
        self.0.get(MANDATORY_BYTES).is_some_and(|flags| flags & 0x80 != 0)
    }

    /// A copy for another shard: the bytes, not a reference to them.
    #[must_use]
    pub fn copy_for_other_shard(&self) -> DependencyDescriptor {
        DependencyDescriptor(Arc::from(&self.0[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_frame_number_is_shifted_and_nothing_else() {
        let original = DependencyDescriptor::new(&[0xC3, 0xFF, 0xFE, 1, 2]).expect("long enough");
        let shifted = original.clone().renumbered(3);
        assert_eq!(shifted.bytes(), [0xC3, 0, 1, 1, 2]);
        assert_eq!(original.frame_number(), 0xFFFE, "the publisher's own is as it was");
        assert_eq!(shifted.copy_for_other_shard(), shifted);
    }

    #[test]
    fn what_no_header_can_hold_is_no_descriptor() {
        assert_eq!(DependencyDescriptor::new(&[0, 1]), None);
        assert_eq!(DependencyDescriptor::new(&[0; 256]), None);
        assert!(DependencyDescriptor::new(&[0; 255]).is_some());
    }
}
