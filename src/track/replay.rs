//! A viewer that comes starts in the past, and so does one that goes to another layer: it is sent
//! what came since the newest key frame, faster than it was made and with its time squeezed, so
//! that it has a picture at once and nobody need ask the publisher for a key frame. Then it goes on
//! with the others.
//!
//! A viewer's numbers are the layer's and a constant then as ever, so what it misses of the past is
//! sent again as anything else.

use std::time::{Duration, Instant};

use super::stream::{Stream, Viewer};
use super::switch::newest_sent;
use super::{Layer, Past, Rate, Track};
use crate::drop::DropReason;
use crate::egress::Start;
use crate::id::TrackId;
use crate::limits::{
    LAG_ASK, LAG_MOST, REPLAY_MIN_BITS_PER_S, REPLAY_PACKETS, REPLAY_SPEED, REPLAY_TICK,
    SWITCH_HOLD, SWITCH_PAUSE,
};
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
    /// How old what it is sent next may be.
    oldest: Duration,
    /// It was older, when all had left that might.
    lags: bool,
    /// Nothing is replayed: it is done with the layer, and waits for a picture of another that is
    /// newer than the last one it was sent, until then at most.
    until: Option<Instant>,
}

impl Replay {
    /// The packet that it begins with was `received` then: it may be as old as it is.
    pub(super) fn new(now: Instant, track: TrackId, past: Past, received: Instant) -> Replay {
        // A tick's worth at once.
        let earned = now.checked_sub(REPLAY_TICK).unwrap_or(now);
        let oldest = now.saturating_duration_since(received) + LAG_MOST;
        let Past { layer, first: next, .. } = past;
        Replay { track, layer, next, credit: 0, earned, oldest, lags: false, until: None }
    }

    /// A viewer is behind: what is numbered `next` and what follows may not leave yet.
    pub(super) fn behind(now: Instant, track: TrackId, layer: u8, next: u64) -> Replay {
        let oldest = LAG_MOST;
        Replay { track, layer, next, credit: 0, earned: now, oldest, lags: false, until: None }
    }

    /// Nothing more of a layer, from the packet numbered `next` on.
    pub(super) fn hold(now: Instant, track: TrackId, layer: u8, next: u64) -> Replay {
        let until = Some(now + SWITCH_HOLD);
        let oldest = LAG_MOST;
        Replay { track, layer, next, credit: 0, earned: now, oldest, lags: false, until }
    }

    /// It waits no longer, and goes on with what it was not sent of the layer it has meanwhile.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        (self.until, self.earned) = (None, now.checked_sub(REPLAY_TICK).unwrap_or(now));
    }

    /// Whether nothing is replayed, and the viewer only waits.
    pub(super) fn holds(&self) -> bool {
        self.until.is_some()
    }

    /// The track it is of.
    pub(super) fn track(&self) -> TrackId {
        self.track
    }

    /// Whether a packet that is sent to everybody is not for this viewer yet: its turn comes.
    #[must_use]
    pub fn holds_back(&self, packet: &MediaPacket) -> bool {
        packet.track.id == self.track && packet.layer == self.layer && packet.sequence >= self.next
    }

    /// Whether what it is sent next is too old: it would be behind for good.
    fn is_too_old(&self, now: Instant, layer: &Layer) -> bool {
        let newest = layer.newest().unwrap_or(self.next);
        let behind = (newest + 1).saturating_sub(self.next);
        let next = (self.next..=newest).find_map(|number| layer.history.get(number));
        let age = next.map_or(Duration::ZERO, |next| now.saturating_duration_since(next.received));
        age > self.oldest || behind > REPLAY_PACKETS
    }

    /// Where the viewer is too far behind, it goes on with the newest key frame of its layer; where
    /// there is no newer one it is sent nothing until there is, be it of another layer. True while
    /// that is so.
    fn waits_behind(
        &mut self,
        now: Instant,
        (viewer, track): (&mut Viewer, &mut Track),
        publisher: Option<u32>,
        counters: &ShardCounters,
    ) -> bool {
        let Some(layer) = track.layer(self.layer).filter(|_| self.until.is_none()) else {
            return false;
        };
        let place = viewer.egress.lanes().iter().position(|lane| lane.id() == self.track);
        let Some(place) = place.filter(|_| self.lags) else { return false };
        let lane = &mut viewer.egress.lanes_mut()[place];
        if lane.layer() != Some(self.layer) {
            return false;
        }
        let past = publisher.and_then(|publisher| track.past(self.layer, now, publisher));
        let past = past.filter(|past| past.first > self.next);
        let first = past.zip(past.and_then(|past| layer.history.get(past.first)));
        if let Some((past, first)) = first {
            let sent = newest_sent(lane, track, now);
            let start = Start { first, last: past.last, live: past.live, sent, within: false };
            if lane.begin(&start).is_ok() {
                let skipped = past.first - self.next;
                counters.dropped_many(DropReason::WaitingForKeyframe, skipped);
                *self = Replay::new(now, self.track, past, first.received);
                viewer.egress.switches(now);
                return false;
            }
        }
        let has_newer = first.is_some();
        let Some(keyframes) = track.keyframes_mut(self.layer) else { return false };
        // What waits for another layer has asked for its key frame.
        if !viewer.unsettled && now >= viewer.asks_again && !has_newer {
            viewer.asks_again = now + LAG_ASK;
            keyframes.request();
        }
        !keyframes.is_deaf()
    }

    /// Time has passed: where the viewer's path is known, at most `pace` bits a second of it are
    /// for the past, but more than the layer sends, or the viewer would never catch up.
    fn earn(&mut self, now: Instant, rate: &Rate, pace: Option<f64>) {
        let pace = pace_of(rate, pace);
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
        if let Some(until) = self.until {
            if now < until {
                return true;
            }
            viewer.hold_again = now + SWITCH_PAUSE;
            self.give_up_waiting(now);
        }
        let lane = viewer.egress.lanes().iter().find(|lane| lane.id() == self.track);
        // It may have changed layers meanwhile, at a key frame.
        let stays = lane.and_then(|lane| lane.layer()) == Some(self.layer);
        let Some(layer) = track.layer(self.layer).filter(|_| stays) else { return false };
        // What is sent to everybody next, which may have come late: others behind it may have been
        // held back already.
        let (id, number_of) = (self.track, self.layer);
        let is_to_come = |number: u64| {
            let mut to_come = leaving.iter().chain(track.pending());
            to_come.any(|p| p.sequence == number && p.layer == number_of && p.track.id == id)
        };
        let mut end = layer.newest().map_or(self.next, |newest| newest + 1);
        while end > self.next && is_to_come(end - 1) {
            end -= 1;
        }
        if viewer.egress.is_paused(now) {
            // What leaves to everybody would go ahead of it.
            self.earned = now;
            return true;
        }
        self.earn(now, &layer.rate, viewer.egress.pace());
        let mut sent = 0;
        while self.next < end && self.credit > 0 && viewer.egress.has_room(way.backlog(viewer.to)) {
            self.next += 1;
            let kept = layer.history.get(self.next - 1).filter(|p| !is_to_come(p.sequence));
            let Some(packet) = kept else { continue };
            self.credit -= packet.payload.len() as i64;
            let Viewer { egress, to, .. } = &mut *viewer;
            let pushed = match egress.is_numbered() {
                true => way.push(*to, |slot| egress.send_numbered(packet, slot)),
                false => {
                    egress.admit(packet).and_then(|it| way.push(*to, |slot| it.send(packet, slot)))
                }
            };
            match pushed {
                Ok(()) => sent += 1,
                Err(reason) => counters.dropped(reason),
            }
        }
        counters.viewer_packets.add(sent);
        counters.replayed_packets.add(sent);
        self.lags = self.next < end && self.is_too_old(now, layer);
        self.next < end
    }
}

/// How fast the past of a layer is sent, in bits a second.
fn pace_of(rate: &Rate, pace: Option<f64>) -> u64 {
    let rate = rate.bits_per_s();
    match pace {
        Some(pace) => (pace as u64).max(rate + rate / 4),
        None => (rate * REPLAY_SPEED).max(REPLAY_MIN_BITS_PER_S),
    }
}

/// How long a viewer takes to catch up, if it is sent the past of a layer at this pace.
pub(super) fn time_to_catch_up(past: &Past, rate: &Rate, pace: Option<f64>) -> Duration {
    let ahead = pace_of(rate, pace).saturating_sub(rate.bits_per_s()).max(1);
    Duration::from_micros(past.bytes as u64 * 8_000_000 / ahead)
}

/// Bytes in `time` at so many bits a second.
fn bytes(time: Duration, bits_per_s: u64) -> i64 {
    i64::try_from(time.as_micros() * u128::from(bits_per_s) / 8_000_000).unwrap_or(i64::MAX)
}

impl Stream {
    /// Takes what came to the publisher's shard since the last key frame of a layer. Who waits for
    /// one begins with it; where that can't be, one is asked for.
    pub(super) fn take_past(&mut self, now: Instant, id: TrackId, packets: Vec<MediaPacket>) {
        let Some(layer) = packets.first().map(|packet| packet.layer) else { return };
        let publisher = self.shared.live_publisher();
        let Some(track) = self.track_mut(id) else { return };
        track.take_past(packets);
        let past = publisher.and_then(|publisher| track.past(layer, now, publisher));
        match track.layer_mut(layer) {
            Some(layer) if past.is_none() => layer.keyframes.request(),
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
        let publisher = self.shared.live_publisher();
        let Stream { tracks, viewers, replaying, numbered, .. } = self;
        replaying.retain(|position| {
            let Some(viewer) = viewers.get_mut(*position) else { return false };
            viewer.replays = viewer.replay.is_some();
            let Some(mut replay) = viewer.replay.take() else { return false };
            if viewer.egress.is_numbered() {
                numbered.push(*position);
            }
            let track = tracks.iter_mut().find(|track| track.id() == replay.track);
            let goes_on = viewer.muted && replay.until.is_none()
                || track.is_some_and(|track| {
                    replay.waits_behind(now, (&mut *viewer, &mut *track), publisher, counters)
                        || replay.go_on(now, (&mut *viewer, track), leaving, way, counters)
                });
            let has_first = viewer.egress.lanes().iter().any(|lane| lane.sent().0 > 0);
            if has_first && !std::mem::replace(&mut viewer.started, true) {
                started.push(viewer.slot);
            }
            viewer.replays = goes_on;
            viewer.replay = Some(replay).filter(|_| goes_on);
            goes_on
        });
        self.replay_due = (!self.replaying.is_empty()).then(|| now + REPLAY_TICK);
    }
}
