//! Who needs a key frame asks for it where the publisher is, until one comes.

use std::time::Instant;

use super::Mail;
use super::core::Core;
use crate::id::{StreamKey, TrackKey};

/// Who is asked for the key frames of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The publisher in this slot.
    Publisher(u32),
    /// The shard that the publisher is on.
    Shard(u16),
}

impl Core {
    /// Somebody here, or on another shard, needs a key frame of a layer; without one, of the layer
    /// that is carried or about to be.
    pub fn want_keyframe(&mut self, key: TrackKey, layer: Option<u8>) {
        let Some(stream) = self.streams.get(key.stream) else { return };
        let Some(track) = stream.track(key.id) else { return };
        let layer = layer.unwrap_or(track.wanted_layer());
        if let Some(layer) = track.layer_mut(layer) {
            layer.keyframes.request();
            self.activate(key.stream);
        }
    }

    /// Who could be asked for a key frame of the stream; `None` while it has no publisher.
    pub fn who_to_ask(&mut self, key: StreamKey) -> Option<Ask> {
        let stream = self.streams.get(key)?;
        match (stream.publisher, stream.shared.publisher()) {
            (Some(publisher), _) => Some(Ask::Publisher(publisher.slot)),
            (None, Some(shard)) if shard != self.index => Some(Ask::Shard(shard)),
            _ => None,
        }
    }

    /// When the next request for a key frame is due.
    pub fn keyframe_deadline(&mut self, key: StreamKey) -> Option<Instant> {
        let stream = self.streams.get(key)?;
        let layers = stream.tracks.iter().flat_map(|track| track.layers());
        layers.filter_map(|layer| layer.keyframes.deadline()).min()
    }

    /// Asks for the key frames that are due.
    pub fn ask_for_keyframes(&mut self, now: Instant, key: StreamKey) {
        let Some(ask) = self.who_to_ask(key) else { return };
        let Some(stream) = self.streams.get(key) else { return };
        let watched = match ask {
            Ask::Publisher(_) => stream.shared.interested().next().is_some(),
            Ask::Shard(_) => stream.has_viewers(),
        };
        let mut due = std::mem::take(&mut self.keyframes_due);
        for track in &mut stream.tracks {
            let id = track.id();
            for layer in 0..track.layers().len() as u8 {
                let Some(known) = track.layer_mut(layer) else { continue };
                if !watched {
                    known.keyframes.satisfied();
                } else if known.keyframes.due(now) {
                    due.push((TrackKey { stream: key, id }, layer));
                }
            }
        }
        for (track, layer) in due.drain(..) {
            match ask {
                Ask::Publisher(slot) => self.ask_publisher(now, slot, track, layer),
                Ask::Shard(shard) => self.note(shard, Mail::Keyframe { track, layer }),
            }
        }
        self.keyframes_due = due;
    }

    fn ask_publisher(&mut self, now: Instant, slot: u32, track: TrackKey, layer: u8) {
        let Some(entry) = self.sessions.at(slot) else { return };
        if entry.session.request_keyframe(track.id, layer) {
            self.counters().keyframe_requests_out.add(1);
            // str0m writes RTCP when time passes.
            self.on_rtc_timeout(now, slot);
        }
    }
}
