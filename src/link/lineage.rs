//! Where a stream comes from, as one node tells the next, and what that has of it already where it
//! has taken it from another one before.
//!
//! Each node numbers the publishers of a stream as they come to it. A **publication** is one
//! publisher's, and is called the same on every node: who takes a stream from another node than
//! before goes on with it where it was, and its viewers need no key frame.

use super::Path;
use super::frame::{Reader, track_byte, writer};
use crate::drop::DropReason;
use crate::id::TrackId;
use crate::limits::MAX_LINK_LAYERS;

/// The first bytes of the two frames.
pub(super) const LINEAGE: u8 = 16;
pub(super) const HAD: u8 = 17;

/// Bytes that say how far a layer has come.
const LAYER_BYTES: usize = 12;

/// What a node says of a stream that it gives to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Its number for the publisher, as packets have it.
    pub publisher: u32,
    /// What that one's publication is called on every node; 0 where the node does not know yet.
    pub publication: u64,
    /// The nodes by which the stream comes, that one last; none while it has no source.
    pub path: Path,
    /// Whether it is about to go, and the other one does well to take the stream from elsewhere.
    pub leaves: bool,
}

/// How far a layer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HadLayer {
    /// Its track.
    pub track: TrackId,
    /// The layer.
    pub layer: u8,
    /// The publisher's source ([`crate::media::Origin`]).
    pub source: u16,
    /// The greatest sequence number there was.
    pub sequence: u64,
}

/// What a node has of a stream already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// Of which publication.
    pub publication: u64,
    /// So many packets before the last one there are some missing.
    pub back: u16,
    /// How far each layer has come.
    pub layers: Vec<HadLayer>,
}

impl Had {
    /// Whether there was anything of a layer.
    #[must_use]
    pub fn has(&self, track: TrackId, layer: u8) -> bool {
        self.layers.iter().any(|had| (had.track, had.layer) == (track, layer))
    }

    /// Whether a packet with these names is not behind what there was. Layers of which there was
    /// nothing are nobody's loss.
    #[must_use]
    pub fn lacks(&self, track: TrackId, layer: u8, source: u16, sequence: u64) -> bool {
        let of_it = |had: &&HadLayer| (had.track, had.layer) == (track, layer);
        self.layers
            .iter()
            .find(of_it)
            .is_some_and(|had| had.source != source || had.sequence < sequence)
    }
}

/// Writes where a stream comes from.
pub(super) fn write_lineage(slot: &mut [u8], lineage: &Lineage) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[LINEAGE])?;
    out.put(&lineage.publisher.to_be_bytes())?;
    out.put(&lineage.publication.to_be_bytes())?;
    out.put(&[u8::from(lineage.leaves)])?;
    out.put(&lineage.path.to_word().to_be_bytes())?;
    Ok(out.length())
}

/// Writes what there is of it, of [`MAX_LINK_LAYERS`] layers at most.
pub(super) fn write_had(slot: &mut [u8], had: &Had) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[HAD])?;
    out.put(&had.publication.to_be_bytes())?;
    out.put(&had.back.to_be_bytes())?;
    for layer in had.layers.iter().take(MAX_LINK_LAYERS) {
        out.put(&[track_byte(layer.track), layer.layer])?;
        out.put(&layer.source.to_be_bytes())?;
        out.put(&layer.sequence.to_be_bytes())?;
    }
    Ok(out.length())
}

impl Reader<'_> {
    pub(super) fn lineage(&mut self) -> Option<Lineage> {
        let publisher = u32::from_be_bytes(self.take()?);
        let publication = u64::from_be_bytes(self.take()?);
        let leaves = self.byte()? != 0;
        let path = Path::from_word(u64::from_be_bytes(self.take()?));
        Some(Lineage { publisher, publication, path, leaves })
    }

    pub(super) fn had(&mut self) -> Option<Had> {
        let publication = u64::from_be_bytes(self.take()?);
        let back = u16::from_be_bytes(self.take()?);
        let count = self.left() / LAYER_BYTES;
        let layers = (0..count.min(MAX_LINK_LAYERS)).map(|_| {
            let (track, layer) = (self.track()?, self.layer()?);
            let source = u16::from_be_bytes(self.take()?);
            Some(HadLayer { track, layer, source, sequence: u64::from_be_bytes(self.take()?) })
        });
        Some(Had { publication, back, layers: layers.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::id::{StreamKey, TrackKind};
    use crate::link::Frame;

    const HERE: StreamKey = StreamKey { index: 1, generation: 1 };

    #[test]
    fn both_frames_read_as_they_were_written() {
        let mut slot = [0; 1_400];
        let path = Path::new([7, 4_095, 2]);
        let lineage = Lineage { publisher: 5, publication: 1 << 63 | 3, path, leaves: true };
        let length = write_lineage(&mut slot, &lineage).expect("it has room");
        let read = Frame::read(&slot[..length], HERE, Instant::now());
        assert!(matches!(read, Some(Frame::Lineage(read)) if read == lineage), "{read:?}");

        let track = TrackId { kind: TrackKind::Video, number: 1 };
        let layer = HadLayer { track, layer: 2, source: 9, sequence: 1 << 40 };
        let had = |count| Had { publication: 8, back: 300, layers: vec![layer; count] };
        for (count, kept) in [(0, 0), (3, 3), (MAX_LINK_LAYERS + 1, MAX_LINK_LAYERS)] {
            let length = write_had(&mut slot, &had(count)).expect("it has room");
            let read = Frame::read(&slot[..length], HERE, Instant::now());
            assert!(matches!(read, Some(Frame::Had(read)) if read == had(kept)), "{count}");
        }
    }

    #[test]
    fn what_is_behind_is_had_and_what_never_came_is_no_loss() {
        let track = TrackId::first(TrackKind::Video);
        let layers = vec![HadLayer { track, layer: 0, source: 1, sequence: 10 }];
        let had = Had { publication: 1, back: 0, layers };
        assert!(!had.lacks(track, 0, 1, 10) && had.lacks(track, 0, 1, 11));
        assert!(had.lacks(track, 0, 2, 3), "another source counts anew");
        assert!(!had.lacks(track, 1, 1, 11));
    }
}
