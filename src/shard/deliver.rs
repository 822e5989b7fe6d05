//! A stream's packets go to its viewers, viewer by viewer, so that a viewer's packets of one turn
//! stand side by side and leave as one train.

use std::time::Instant;

use super::core::Core;
use super::streams::{LocalStream, Viewer};
use super::ways::Ways;
use crate::id::StreamKey;
use crate::media::MediaPacket;
use crate::telemetry::ShardCounters;

impl Core {
    /// Puts a stream on the list of those with something to do this turn or at a deadline.
    pub fn activate(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.active {
            stream.active = true;
            self.active.push(key);
        }
    }

    /// Sends what is due and asks for the key frames that are needed. Returns when the next of
    /// either is due.
    pub fn deliver(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut index = 0;
        while index < self.active.len() {
            let key = self.active[index];
            self.ask_for_keyframes(now, key);
            match self.deliver_stream(now, key) {
                Some(deadline) => {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                    index += 1;
                }
                None => {
                    self.active.swap_remove(index);
                }
            }
        }
        next
    }

    /// Sends one stream's due packets. Returns when it must be looked at again; `None` takes it off
    /// the list.
    fn deliver_stream(&mut self, now: Instant, key: StreamKey) -> Option<Instant> {
        let stream = self.streams.get(key)?;
        let mut pending = std::mem::take(&mut self.pending);
        stream.take_pending(now, &mut pending);
        if !pending.is_empty() {
            let counters = &self.wiring.counters[usize::from(self.index)];
            fan_out(stream, &pending, &mut self.ways, counters, &mut self.started);
            self.departing.extend(pending.iter().map(|packet| packet.received));
        }
        let keyframes_at = self.who_to_ask(key).and_then(|_ask| self.keyframe_deadline(key));
        let stream = self.streams.get(key)?;
        let next = [stream.pending_deadline(), keyframes_at].into_iter().flatten().min();
        stream.active = next.is_some();
        pending.clear();
        self.pending = pending;
        while let Some(slot) = self.started.pop() {
            self.first_media(now, slot);
        }
        next
    }
}

/// Seals and queues `packets` for each viewer in turn. Those that get their first are noted in
/// `started`, by slot.
fn fan_out(
    stream: &mut LocalStream,
    packets: &[MediaPacket],
    ways: &mut Ways,
    counters: &ShardCounters,
    started: &mut Vec<u32>,
) {
    let mut sent = 0;
    for Viewer { egress, to, slot, started: has_started } in &mut stream.viewers {
        let before = sent;
        for packet in packets {
            let pushed = egress
                .admit(packet)
                .and_then(|admitted| ways.push(*to, |slot| egress.send(admitted, packet, slot)));
            match pushed {
                Ok(()) => sent += 1,
                Err(reason) => counters.dropped(reason),
            }
        }
        if !*has_started && sent > before {
            *has_started = true;
            started.push(*slot);
        }
    }
    counters.viewer_packets.add(sent);
}
