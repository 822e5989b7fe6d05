//! A viewer that comes starts in the past: it is sent what came since the newest key frame, faster
//! than it was made and with its time squeezed, so that it has a picture at once and nobody need
//! ask the publisher for a key frame. Then it goes on with the others.
//!
//! A viewer's numbers are the layer's and a constant then as ever, so what it misses of the past is
//! sent again as anything else.

use std::time::{Duration, Instant};

use super::stream::{Stream, Viewer};
use super::{Past, Rate, Track};
use crate::id::TrackId;
use crate::limits::{REPLAY_MIN_BITS_PER_S, REPLAY_SPEED, REPLAY_TICK};
use crate::media::MediaPacket;
use crate::net::Way;
use crate::telemetry::ShardCounters;

/// How far a viewer is that has not caught up.
#[derive(Debug)]
pub struct Replay {
    track: TrackId,
    layer: u8,
    /// The number of the packet it is sent next.
    next: u64,
    /// Bytes that it may be sent now; what was sent beyond is paid for first.
    credit: i64,
    /// Up to when it was given credit.
    earned: Instant,
}

impl Replay {
    fn new(now: Instant, track: TrackId, past: Past) -> Replay {
        // A tick's worth at once.
        let earned = now.checked_sub(REPLAY_TICK).unwrap_or(now);
        Replay { track, layer: past.layer, next: past.first, credit: 0, earned }
    }

    /// Whether a packet that is sent to everybody is not for this viewer yet: its turn comes.
    #[must_use]
    pub fn holds_back(&self, packet: &MediaPacket) -> bool {
        packet.track.id == self.track && packet.layer == self.layer && packet.sequence >= self.next
    }

    fn earn(&mut self, now: Instant, rate: &Rate) {
        let pace = (rate.bits_per_s() * REPLAY_SPEED).max(REPLAY_MIN_BITS_PER_S);
        let most = 4 * bytes(REPLAY_TICK, pace);
        let elapsed = now.saturating_duration_since(self.earned);
        self.credit = most.min(self.credit.saturating_add(bytes(elapsed, pace)));
        self.earned = now;
    }

    /// Sends `viewer` what it may have of `track` before the first packet that is sent to everybody
    /// next: one of `leaving` or of those that wait. True while there is more to come.
    fn go_on(
        &mut self,
        now: Instant,
        (viewer, track): (&mut Viewer, &Track),
        leaving: &[MediaPacket],
        way: &mut impl Way,
        counters: &ShardCounters,
    ) -> bool {
        let lane = viewer.egress.lanes().iter().find(|lane| lane.id() == self.track);
        // It may have changed layers meanwhile, at a key frame.
        let stays = lane.and_then(|lane| lane.layer()) == Some(self.layer);
        let Some(layer) = track.layer(self.layer).filter(|_| stays) else { return false };
        let to_come = leaving.iter().chain(track.pending()).filter(|p| self.holds_back(p));
        let end = to_come.map(|packet| packet.sequence).min();
        let end = end.or(layer.newest().map(|newest| newest + 1)).unwrap_or(self.next);
        self.earn(now, &layer.rate);
        let mut sent = 0;
        while self.next < end && self.credit > 0 {
            self.next += 1;
            let Some(packet) = layer.history.get(self.next - 1) else { continue };
            self.credit -= packet.payload.len() as i64;
            let admitted = viewer.egress.admit(packet);
            match admitted.and_then(|it| way.push(viewer.to, |slot| it.send(packet, slot))) {
                Ok(()) => sent += 1,
                Err(reason) => counters.dropped(reason),
            }
        }
        counters.viewer_packets.add(sent);
        counters.replayed_packets.add(sent);
        self.next < end
    }
}

/// Bytes in `time` at so many bits a second.
fn bytes(time: Duration, bits_per_s: u64) -> i64 {
    i64::try_from(time.as_micros() * u128::from(bits_per_s) / 8_000_000).unwrap_or(i64::MAX)
}

impl Stream {
    /// The viewer at `position` starts in the past of the track that its `lane` takes, if there is
    /// one it can start in: true. Nor is there anything to ask for where a key frame is about to be
    /// sent to everybody.
    pub(super) fn start_replay(&mut self, now: Instant, position: usize, lane: usize) -> bool {
        let Some(publisher) = self.shared.live_publisher() else { return false };
        let Stream { tracks, viewers, replaying, .. } = self;
        let Some(viewer) = viewers.get_mut(position).filter(|viewer| viewer.replay.is_none())
        else {
            return false;
        };
        let lane = &mut viewer.egress.lanes_mut()[lane];
        let Some(track) = tracks.iter().find(|track| track.id() == lane.id()) else { return false };
        if track.pending().iter().any(|packet| packet.keyframe && packet.codec == lane.codec()) {
            return true;
        }
        let Some(past) = track.past(now, publisher) else { return false };
        let first = track.layer(past.layer).and_then(|layer| layer.history.get(past.first));
        if !first.is_some_and(|first| lane.start_in_past(first, past.last, past.live)) {
            return false;
        }
        viewer.replay = Some(Box::new(Replay::new(now, track.id(), past)));
        replaying.push(position);
        true
    }

    /// Takes what came to the publisher's shard since the last key frame of a track. Who waits for
    /// one begins with it; where that can't be, one is asked for.
    pub(super) fn take_past(&mut self, now: Instant, id: TrackId, packets: Vec<MediaPacket>) {
        let Some(track) = self.track_mut(id) else { return };
        track.take_past(packets);
        let mut waits = false;
        for position in 0..self.viewers.len() {
            let lanes = self.viewers[position].egress.lanes();
            let lane = lanes.iter().position(|lane| lane.id() == id && !lane.is_playing());
            let Some(lane) = lane else { continue };
            waits |= !self.start_replay(now, position, lane);
        }
        let Some(track) = self.track_mut(id) else { return };
        let wanted = track.wanted_layer();
        match track.layer_mut(wanted) {
            Some(layer) if waits => layer.keyframes.request(),
            Some(layer) if layer.keyframes.past_will_do() => layer.keyframes.satisfied(),
            _ => {}
        }
    }

    /// Sends those that have not caught up what is next for them, before `leaving` is sent to
    /// everybody. Those that are sent their first packet are noted in `started`, by slot.
    pub(super) fn replay(
        &mut self,
        now: Instant,
        leaving: &[MediaPacket],
        way: &mut impl Way,
        counters: &ShardCounters,
        started: &mut Vec<u32>,
    ) {
        let Stream { tracks, viewers, replaying, .. } = self;
        replaying.retain(|position| {
            let Some(viewer) = viewers.get_mut(*position) else { return false };
            let Some(mut replay) = viewer.replay.take() else { return false };
            let track = tracks.iter().find(|track| track.id() == replay.track);
            let goes_on = viewer.muted
                || track.is_some_and(|track| {
                    replay.go_on(now, (&mut *viewer, track), leaving, way, counters)
                });
            let has_first = viewer.egress.lanes().iter().any(|lane| lane.sent().0 > 0);
            if has_first && !std::mem::replace(&mut viewer.started, true) {
                started.push(viewer.slot);
            }
            if goes_on {
                viewer.replay = Some(replay);
            }
            goes_on
        });
        self.replay_due = (!self.replaying.is_empty()).then(|| now + REPLAY_TICK);
    }

    /// The viewer at `position` has gone; the last one has its place now.
    pub(super) fn forget_replay(&mut self, position: usize) {
        let last = self.viewers.len();
        self.replaying.retain(|replaying| *replaying != position);
        for replaying in &mut self.replaying {
            if *replaying == last {
                *replaying = position;
            }
        }
    }
}
