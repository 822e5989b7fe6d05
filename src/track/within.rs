//! Viewers go from a layer to the same layer thinned, and back, without a key frame: down at the
//! end of any frame, up where the codec says that nothing is needed that was left out.

use std::time::Instant;

use super::layer::Past;
use super::stream::Stream;
use super::switch::{is_over, newest_sent};
use super::{Replay, Taken, Track, frames_of, layer_of, limit_of, point};
use crate::egress::Start;
use crate::limits::REPLAY_PACKETS;
use crate::media::{ALL_FRAMES, MediaPacket};

/// What comes before `goal` for who goes up from `has`: one more temporal layer.
fn next_above(has: u8, goal: u8) -> Option<u8> {
    let next = frames_of(has)? + 1;
    let is_between = limit_of(goal).is_none_or(|limit| limit > next);
    point(layer_of(has), next).filter(|_| is_between && next < ALL_FRAMES)
}

impl Stream {
    /// A lane goes on with the layer it has, thinned or not, as `goal` has it, or one step towards
    /// that: says, when it does, that it had no other layer.
    pub(super) fn go_on(
        &mut self,
        now: Instant,
        (position, number): (usize, usize),
        goal: u8,
    ) -> Option<bool> {
        let Stream { tracks, viewers, shared, replaying, shard, .. } = self;
        let viewer = viewers.get_mut(position)?;
        let lane = &mut viewer.egress.lanes_mut()[number];
        let id = lane.id();
        let track = tracks.iter_mut().find(|track| track.id() == id)?;
        if viewer.replay.as_ref().is_some_and(|replay| replay.track() != id) {
            return None;
        }
        let has = lane.layer()?;
        let next = next_above(has, goal);
        if let Some(next) = next {
            track.wake(next, now);
        }
        let sent = newest_sent(lane, track, now)?;
        if sent.layer != has || !is_over(sent, now) {
            return None;
        }
        let mut steps = std::iter::once(goal).chain(next);
        let (goal, number_of_first) =
            steps.find_map(|step| Some(step).zip(track.goes_on(sent, step)))?;
        let first = track.layer(goal)?.history.get(number_of_first)?;
        let (last, live) = (number_of_first.wrapping_sub(1), first.timestamp);
        let received = first.received;
        lane.begin(&Start { first, last, live, sent: Some(sent), within: true }).ok()?;
        track.takers.add(Taken::Layer(goal), shared, (id, *shard));
        track.takers.remove(Taken::Layer(has), shared, (id, *shard));
        track.note_left();
        if let Some(aim) = viewer.aims.as_mut().and_then(|aims| aims.get_mut(number)) {
            aim.waits = None;
        }
        // What of it has left already, for others.
        let past = Past { layer: goal, first: number_of_first, last, live, bytes: 0 };
        viewer.start(Box::new(Replay::new(now, id, past, received)), (position, replaying));
        Some(false)
    }
}

impl Track {
    /// Where who was sent `sent` of a layer, thinned or not, can go on with the same layer as
    /// `goal` has it: the number of the first packet. `None` where that has not come, or some of
    /// what is between has not.
    fn goes_on(&self, sent: &MediaPacket, goal: u8) -> Option<u64> {
        let (whole, to) = (self.layer(layer_of(goal))?, self.layer(goal)?);
        let is_later = |p: &MediaPacket| p.timestamp.wrapping_sub(sent.timestamp).cast_signed() > 0;
        let newest = to.newest()?;
        let mut first = newest + 1;
        while newest.wrapping_sub(first).wrapping_add(1) < REPLAY_PACKETS && first > 0 {
            match to.history.get(first - 1) {
                Some(packet) if is_later(packet) => first -= 1,
                Some(_) => break,
                None if self.begins_there(goal, first, is_later) => break,
                None => return None,
            }
        }
        // What takes the place of a frame that came late is none.
        while to.history.get(first).is_some_and(|packet| packet.payload.is_empty()) {
            first += 1;
        }
        if first > newest {
            return None;
        }
        let top = whole.ranks.top();
        let (from, limit) = (limit_of(sent.layer).unwrap_or(top), limit_of(goal).unwrap_or(top));
        if limit <= from {
            return Some(first);
        }
        let mut frame = (first, to.history.get(first)?.timestamp);
        for number in first..=newest {
            let packet = to.history.get(number)?;
            if packet.payload.is_empty() {
                continue;
            }
            let is_first = number == first || packet.timestamp != frame.1;
            if is_first {
                frame = (number, packet.timestamp);
            }
            let scalable = whole.scalable(packet);
            if packet.keyframe || is_first && scalable.opens(from, limit) {
                return Some(frame.0);
            }
            // It is to be sent that first.
            if is_first && scalable.rank() <= from {
                return None;
            }
        }
        None
    }

    /// Whether what is kept of a layer thinned begins with `first`, and nothing that came before it
    /// is missing to somebody: `is_later` says what would be.
    fn begins_there(
        &self,
        number: u8,
        first: u64,
        is_later: impl Fn(&MediaPacket) -> bool,
    ) -> bool {
        let Some((full, own)) = self.thinned_from(number) else { return false };
        let layer = self.layer(layer_of(number));
        let before = layer.and_then(|layer| layer.history.get(full.checked_sub(1)?));
        own == first && before.is_some_and(|before| !is_later(before))
    }
}
