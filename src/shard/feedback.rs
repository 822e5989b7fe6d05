//! What publishers are told: feedback when it is due, key frames that viewers wait for.

use std::time::Instant;

use super::core::{Core, send};
use crate::id::TrackId;
use crate::limits::MAX_DATAGRAM_OUT;

impl Core {
    /// Tells the publisher in `slot` what is due.
    pub fn feed_back(&mut self, now: Instant, slot: u32) {
        let Core { sessions, paths, post, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        let (Some(publishing), Some(keys)) = (&mut entry.publishes, &mut entry.keys) else {
            return;
        };
        let Some(ingest) = publishing.ingest.as_mut().filter(|i| i.deadline() <= now) else {
            return;
        };
        let path = paths.path(slot);
        let mut datagram = [0; MAX_DATAGRAM_OUT];
        while let Some(length) = ingest.write_due(now, &mut datagram) {
            let sealed = keys.sealer.seal(&mut datagram, length);
            if let Some(path) = path {
                send(paths, post, path.destination(false), &datagram[..sealed]);
            }
        }
    }

    /// Asks the publisher in `slot` for a key frame of one layer; false where it can't be asked.
    pub fn request_keyframe(&mut self, slot: u32, track: TrackId, layer: u8) -> bool {
        let Core { sessions, paths, post, .. } = self;
        let Some(entry) = sessions.at(slot) else { return false };
        let ingest = entry.publishes.as_mut().and_then(|publishing| publishing.ingest.as_mut());
        let (Some(ingest), Some(keys)) = (ingest, &mut entry.keys) else { return false };
        let Some(path) = paths.path(slot) else { return false };
        let mut datagram = [0; 128];
        let Some(length) = ingest.write_keyframe_request(track, layer, &mut datagram) else {
            return false;
        };
        let sealed = keys.sealer.seal(&mut datagram, length);
        send(paths, post, path.destination(false), &datagram[..sealed]);
        true
    }
}
