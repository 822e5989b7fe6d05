//! What streams have to say: packets to their viewers, key frame requests to their publishers.

use std::time::Instant;

use super::Mail;
use super::core::{Core, Scratch};
use crate::track::{Ask, NeedKeyframe, Source};

impl Core {
    /// Asks for the key frames that are needed and sends what is due. Returns when the next of
    /// either is.
    pub fn deliver(&mut self, now: Instant) -> Option<Instant> {
        let mut needed = std::mem::take(&mut self.scratch.keyframes_needed);
        self.streams.keyframes_due(now, &mut needed);
        for NeedKeyframe { track, layer, ask, past_will_do, has_gone_deaf } in needed.drain(..) {
            if has_gone_deaf && matches!(ask, Ask::Source(_)) {
                self.post.counters().layers_deaf.add(1);
            }
            match ask {
                Ask::Source(Source::Session(slot)) => {
                    self.take_in_hand(slot);
                    if self.request_keyframe(slot, track.id, layer) {
                        self.post.counters().keyframe_requests_out.add(1);
                    }
                }
                Ask::Source(Source::Relay(relay)) => {
                    if self.links.ask(now, relay, track, layer) {
                        self.post.counters().keyframe_requests_out.add(1);
                    }
                }
                Ask::Shard(shard) => {
                    let newcomers = past_will_do.then_some(self.streams.shard());
                    self.post.note(shard, Mail::Keyframe { track, layer, newcomers });
                }
            }
        }
        self.scratch.keyframes_needed = needed;
        // From here on all viewers of all streams are at hand.
        self.at_hand.slot = None;
        let Core { streams, paths, post, scratch, .. } = self;
        let Scratch { started, departing, .. } = scratch;
        let counters = post.counters();
        let next = streams.deliver(now, &mut paths.ways, counters, started, departing);
        while let Some(slot) = self.scratch.started.pop() {
            self.first_media(now, slot);
        }
        next
    }
}
