//! Header extensions of a publisher's packets (RFC 8285).

use crate::media::{DependencyDescriptor, ExtensionKind, HeaderExtensions};
use crate::wire::rtp::Header;

/// What the ids mean that a publisher was answered. One transport, one meaning (RFC 8843 §9).
#[derive(Debug)]
pub(super) struct Ids([Option<ExtensionKind>; 16]);

/// What the extensions of one packet say.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub mid: Option<&'a [u8]>,
    pub rid: Option<&'a [u8]>,
    pub repaired_rid: Option<&'a [u8]>,
    /// Its transport-wide number.
    pub transport_sequence: Option<u16>,
    /// What viewers get, too.
    pub carried: HeaderExtensions,
}

impl Ids {
    pub fn new(extensions: &[(u8, ExtensionKind)]) -> Ids {
        let mut ids = [None; 16];
        for (id, kind) in extensions {
            if let Some(place) = ids.get_mut(usize::from(*id)) {
                *place = Some(*kind);
            }
        }
        Ids(ids)
    }

    /// Reads what was negotiated; the rest is left out.
    pub fn read<'a>(&self, header: &Header, packet: &'a [u8]) -> Said<'a> {
        let mut said = Said::default();
        for (id, data) in header.elements(packet) {
            let Some(kind) = self.0.get(usize::from(id)).copied().flatten() else { continue };
            let carried = &mut said.carried;
            match kind {
                ExtensionKind::Mid => said.mid = Some(data),
                ExtensionKind::Rid => said.rid = Some(data),
                ExtensionKind::RepairedRid => said.repaired_rid = Some(data),
                ExtensionKind::TransportSequence => {
                    said.transport_sequence = data.first_chunk().copied().map(u16::from_be_bytes);
                }
                ExtensionKind::AudioLevel => carried.audio_level = data.first().copied(),
                ExtensionKind::VideoOrientation => {
                    carried.video_orientation = data.first().copied();
                }
                ExtensionKind::PlayoutDelay => carried.playout_delay = data.first_chunk().copied(),
                ExtensionKind::Descriptor => carried.descriptor = DependencyDescriptor::new(data),
            }
        }
        said
    }
}
