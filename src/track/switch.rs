//! Viewers go from one layer of a track to another: the old one to the end of a picture, then the
//! other from its newest key frame on, be it the one that comes just now or one that has passed,
//! which is replayed ([`super::Replay`]).
//!
//! Who has what it is to get is not looked at. Of the others there is a list, and once a turn each
//! of them is looked at: whether it can begin now.

use std::time::Instant;

use smallvec::SmallVec;

use super::aim::Aim;
use super::layer::Past;
use super::replay::time_to_catch_up;
use super::stream::{Stream, Viewer};
use super::{Recall, Replay, Taken, Track, Wish, layer_of, limit_of};
use crate::egress::{Lane, Start};
use crate::id::{TrackId, TrackKind};
use crate::limits::{
    MAX_LAYERS, PADDING_BEHIND, PICTURE_OVER, SWITCH_CATCH_UP, SWITCH_KEYFRAME, SWITCH_NEW_TICKS,
    THINNED_UP_WAIT,
};
use crate::media::{ALL_FRAMES, MediaPacket, red};

/// What the viewers of this turn can begin with, looked up once for all of them.
#[derive(Default)]
struct Pasts(SmallVec<[(TrackId, u8, Option<Past>); MAX_LAYERS]>);

impl Pasts {
    fn of(&mut self, track: &Track, layer: u8, now: Instant, publisher: u32) -> Option<Past> {
        let known = self.0.iter().find(|(id, number, _)| (*id, *number) == (track.id(), layer));
        if let Some((_, _, past)) = known {
            return *past;
        }
        let past = track.past(layer, now, publisher);
        self.0.push((track.id(), layer, past));
        past
    }
}

impl Viewer {
    /// What it takes of the track of a lane.
    pub(super) fn aimed(&self, lane: usize) -> Taken {
        self.aims.as_ref().and_then(|aims| aims.get(lane)).map_or(Taken::Best, |aim| aim.taken())
    }

    /// The past of the layer `goal` that it begins with now; where there is none, or a new key
    /// frame is better, that is asked for.
    fn begins_with(
        &mut self,
        now: Instant,
        lane: usize,
        (past, track, goal): (Option<Past>, &mut Track, u8),
    ) -> Option<Past> {
        let Some(past) = past else {
            track.keyframes_mut(goal)?.request_past();
            return None;
        };
        if self.rather_waits(now, lane, (&past, track)) {
            track.keyframes_mut(goal)?.request();
            return None;
        }
        Some(past)
    }

    /// Whether a new key frame is better than the past of a layer, as that would take long on the
    /// viewer's path: for a better layer than it has it may wait; one that asks less of the path
    /// is wanted soon.
    fn rather_waits(&mut self, now: Instant, lane: usize, (past, track): (&Past, &Track)) -> bool {
        let pace = self.egress.pace();
        let layers = self.egress.lanes()[lane].layer().zip(pace);
        let layers = layers.and_then(|(has, _)| track.layer(has).zip(track.layer(past.layer)));
        let Some((has, goal)) = layers else { return false };
        // However large it is: the next one will be no smaller.
        let is_new = goal
            .history
            .get(past.first)
            .is_some_and(|first| past.live.wrapping_sub(first.timestamp) <= SWITCH_NEW_TICKS);
        let is_near = time_to_catch_up(past, &goal.rate, pace) <= SWITCH_CATCH_UP;
        if is_near || is_new || self.is_broken(lane) {
            return false;
        }
        let aims = self.aims.as_mut().and_then(|aims| aims.get_mut(lane));
        let Some(aim) = aims else { return false };
        let since = *aim.waits.get_or_insert(now);
        let is_better = goal.rate.bits_per_s() > has.rate.bits_per_s();
        is_better || now.saturating_duration_since(since) < SWITCH_KEYFRAME
    }

    /// What it waits for, if it only waits: it does so no longer.
    fn take_hold(&mut self) -> Option<Box<Replay>> {
        self.replay.take_if(|replay| replay.holds())
    }

    /// It is sent what `replay` says; those that are stand in `replaying`, by place.
    pub(super) fn start(
        &mut self,
        replay: Box<Replay>,
        (place, replaying): (usize, &mut Vec<usize>),
    ) {
        self.replay = Some(replay);
        if !std::mem::replace(&mut self.replays, true) {
            replaying.push(place);
        }
    }

    /// Its lanes of video that have not the layer they are to get, of those there are, or show
    /// nothing of it.
    fn unsettled_lane(&self, tracks: &[Track], from: usize) -> Option<(usize, u8)> {
        let lanes = self.egress.lanes().iter().enumerate().skip(from);
        let mut lanes = lanes.filter(|(_, lane)| lane.id().kind == TrackKind::Video);
        lanes.find_map(|(number, lane)| {
            let track = tracks.iter().find(|track| track.id() == lane.id())?;
            let goal = match self.aimed(number) {
                Taken::Best => track.best_layer(),
                Taken::Layer(layer) => layer,
            };
            let has_it = lane.layer() == Some(goal) && !self.is_broken(number);
            (!has_it).then_some((number, goal))
        })
    }
}

impl Stream {
    /// The viewer at `position` may not have the layers it is to get.
    pub(super) fn unsettle(&mut self, position: usize) {
        if let Some(viewer) = self.viewers.get_mut(position)
            && !std::mem::replace(&mut viewer.unsettled, true)
        {
            self.unsettled.push(position);
        }
    }

    /// What is there of a track has changed: whoever takes it may have to go to another layer.
    pub(super) fn layers_changed(&mut self, id: TrackId) {
        if let Some(track) = self.track_mut(id) {
            track.note_left();
        }
        for position in 0..self.viewers.len() {
            let lanes = self.viewers[position].egress.lanes();
            let lane = lanes.iter().position(|lane| lane.id() == id);
            let Some(lane) = lane else { continue };
            let aim = self.viewers[position].aims.as_ref().and_then(|aims| aims.get(lane).copied());
            if let Some(aim) = aim {
                self.renew(position, lane, aim);
            }
            self.unsettle(position);
        }
    }

    /// The viewer at `position` asks for a layer of the track of one of its lanes.
    pub fn wish(&mut self, position: usize, lane: usize, wish: Wish) {
        self.change_aim(position, lane, |aim| Aim { wish, ..aim });
    }

    pub(super) fn change_aim(
        &mut self,
        position: usize,
        lane: usize,
        change: impl FnOnce(Aim) -> Aim,
    ) {
        let Some(viewer) = self.viewers.get(position) else { return };
        if viewer.egress.lanes().get(lane).is_none_or(|lane| lane.id().kind != TrackKind::Video) {
            return;
        }
        let aim = viewer.aims.as_ref().and_then(|aims| aims.get(lane).copied());
        self.renew(position, lane, change(aim.unwrap_or_default()));
        self.unsettle(position);
    }

    fn renew(&mut self, position: usize, lane: usize, aim: Aim) {
        let Stream { tracks, viewers, shared, shard, .. } = self;
        let viewer = &mut viewers[position];
        let id = viewer.egress.lanes()[lane].id();
        let Some(track) = tracks.iter_mut().find(|track| track.id() == id) else { return };
        let points = shared.points(id);
        let (before, aim) = (viewer.aimed(lane), aim.renewed(&points, track.best_layer()));
        let lanes = viewer.egress.lanes().len();
        let aims = viewer.aims.get_or_insert_with(|| vec![Aim::default(); lanes].into());
        aims[lane] = aim;
        // Whatever it is to get is taken before the rest is left.
        track.takers.add(aim.taken(), shared, (id, *shard));
        track.takers.remove(before, shared, (id, *shard));
        track.note_left();
    }

    /// The viewer at `position` takes what it is to get, and what it has: or no longer.
    pub(super) fn count_taken(&mut self, position: usize, comes: bool) {
        let Stream { tracks, viewers, shared, shard, .. } = self;
        let viewer = &viewers[position];
        for (number, lane) in viewer.egress.lanes().iter().enumerate() {
            let track = tracks.iter_mut().find(|track| track.id() == lane.id());
            let Some(track) = track.filter(|track| track.id().kind == TrackKind::Video) else {
                continue;
            };
            let all = std::iter::once(viewer.aimed(number)).chain(lane.layer().map(Taken::Layer));
            for what in all {
                match comes {
                    true => track.takers.add(what, shared, (lane.id(), *shard)),
                    false => track.takers.remove(what, shared, (lane.id(), *shard)),
                }
            }
            track.note_left();
        }
    }

    /// Whoever has not what it is to get begins with it, if that can be now: before `leaving`,
    /// which leaves next. Key frames that somebody waits for are asked for.
    /// Returns how many have gone from one layer to another.
    pub(super) fn settle(&mut self, now: Instant, leaving: &mut [MediaPacket]) -> u64 {
        let mut switched = 0;
        let mut pasts = Pasts::default();
        let mut unsettled = std::mem::take(&mut self.unsettled);
        unsettled.retain(|position| {
            let (mut from, mut waits) = (0, false);
            let mut held = self.viewers.get_mut(*position).and_then(Viewer::take_hold);
            if let Some(viewer) = self.viewers.get_mut(*position).filter(|v| v.broken != 0) {
                viewer.mend(&self.tracks);
            }
            while let Some(viewer) = self.viewers.get(*position)
                && let Some((lane, goal)) = viewer.unsettled_lane(&self.tracks, from)
            {
                let place = (*position, lane);
                let has_it = viewer.egress.lanes()[lane].layer() == Some(goal);
                let go = |goal| self.go_to(now, place, goal, &mut pasts, leaving, &mut held);
                match Some(goal).filter(|_| !has_it).and_then(go) {
                    Some(had_another) => {
                        switched += u64::from(had_another);
                        waits |= !self.has(place, goal);
                    }
                    None => {
                        waits = true;
                        let instead = self.begin_instead(now, place, goal, &mut pasts, leaving);
                        switched += u64::from(instead == Some(true));
                    }
                }
                from = lane + 1;
            }
            if let Some(viewer) = self.viewers.get_mut(*position) {
                viewer.unsettled = waits;
                if let Some(mut held) = held.filter(|_| viewer.replay.is_none()) {
                    held.give_up_waiting(now);
                    viewer.start(held, (*position, &mut self.replaying));
                }
            }
            waits
        });
        // What was added meanwhile stands behind.
        unsettled.append(&mut self.unsettled);
        self.unsettled = unsettled;
        switched
    }

    /// A lane goes to `goal`, a layer, thinned or not: from the same layer where it is, else from a
    /// key frame, which all of the layer may have where it has none thinned. See
    /// `Stream::begin`.
    fn go_to(
        &mut self,
        now: Instant,
        (position, lane): (usize, usize),
        goal: u8,
        pasts: &mut Pasts,
        leaving: &mut [MediaPacket],
        held: &mut Option<Box<Replay>>,
    ) -> Option<bool> {
        let publisher = self.shared.live_publisher();
        let has = {
            let lane = &self.viewers.get(position)?.egress.lanes()[lane];
            let (id, has) = (lane.id(), lane.layer());
            let track = self.tracks.iter_mut().find(|track| track.id() == id);
            if let Some(track) = track.filter(|_| limit_of(goal).is_some()) {
                track.wake(goal, now);
            }
            has
        };
        if let Some(has) = has.filter(|has| layer_of(*has) == layer_of(goal)) {
            let gone = self.go_on(now, (position, lane), goal);
            if gone.is_none() && limit_of(has).is_some() {
                self.may_need_keyframe(now, (position, lane), goal);
            }
            return gone;
        }
        let id = self.viewers[position].egress.lanes()[lane].id();
        let track = self.tracks.iter().find(|track| track.id() == id);
        let has_past = track
            .zip(publisher)
            .is_some_and(|(track, publisher)| pasts.of(track, goal, now, publisher).is_some());
        let goal = if has_past { goal } else { layer_of(goal) };
        self.begin(now, (position, lane), goal, pasts, leaving, held)
    }

    /// Who waits to go up for long does so at a key frame; to a larger picture nothing else leads.
    fn may_need_keyframe(&mut self, now: Instant, (position, lane): (usize, usize), goal: u8) {
        let Stream { tracks, viewers, .. } = self;
        let viewer = &mut viewers[position];
        let id = viewer.egress.lanes()[lane].id();
        let aims = viewer.aims.as_mut();
        let Some(Aim { waits, .. }) = aims.and_then(|aims| aims.get_mut(lane)) else { return };
        let Some(track) = tracks.iter_mut().find(|track| track.id() == id) else { return };
        let top = track.layer(layer_of(goal)).map_or(0, |layer| layer.ranks.top());
        let is_larger = limit_of(goal).unwrap_or(top) > ALL_FRAMES;
        let at_once = is_larger && waits.is_none();
        let since = *waits.get_or_insert(now);
        if at_once || now.saturating_duration_since(since) >= THINNED_UP_WAIT {
            *waits = Some(now);
            if let Some(keyframes) = track.keyframes_mut(goal) {
                keyframes.request();
            }
        }
    }

    /// Whether a lane has what it is to get.
    fn has(&self, (position, lane): (usize, usize), goal: u8) -> bool {
        let viewer = self.viewers.get(position);
        viewer.is_none_or(|viewer| viewer.egress.lanes()[lane].layer() == Some(goal))
    }

    /// A lane that can't go to the layer `goal` yet, and has no picture, goes to one below it that
    /// can be begun with now.
    fn begin_instead(
        &mut self,
        now: Instant,
        (position, lane): (usize, usize),
        goal: u8,
        pasts: &mut Pasts,
        leaving: &mut [MediaPacket],
    ) -> Option<bool> {
        let Stream { tracks, viewers, shared, .. } = &*self;
        let viewer = viewers.get(position)?;
        let publisher = shared.live_publisher()?;
        let track = tracks.iter().find(|track| track.id() == viewer.egress.lanes()[lane].id())?;
        if track.layers().len() < 2 || !viewer.has_no_picture(lane, tracks, shared) {
            return None;
        }
        let mut below = self.instead_of((position, lane), goal).into_iter();
        let instead = below.find(|layer| pasts.of(track, *layer, now, publisher).is_some())?;
        self.begin(now, (position, lane), instead, pasts, leaving, &mut None)
    }

    /// A lane of the viewer at `position` goes to the layer `goal`: says, when it has begun,
    /// whether it had another.
    fn begin(
        &mut self,
        now: Instant,
        (position, lane): (usize, usize),
        goal: u8,
        pasts: &mut Pasts,
        leaving: &mut [MediaPacket],
        held: &mut Option<Box<Replay>>,
    ) -> Option<bool> {
        let publisher = self.shared.live_publisher();
        let Stream { tracks, viewers, shared, replaying, shard, .. } = self;
        let viewer = &mut viewers[position];
        let id = viewer.egress.lanes()[lane].id();
        let Some(track) = tracks.iter_mut().find(|track| track.id() == id) else {
            return Some(false);
        };
        let past = publisher.and_then(|number| pasts.of(track, goal, now, number));
        let past = viewer.begins_with(now, lane, (past, track, goal))?;
        // What is replayed of another layer of the track is not worth an end.
        if viewer.replay.as_ref().is_some_and(|replay| replay.track() != id) {
            return None;
        }
        track.align(goal, now, leaving);
        let number = lane;
        let lane = &mut viewer.egress.lanes_mut()[lane];
        let before = lane.layer();
        let newest = newest_sent(lane, track, now);
        let in_picture = newest.is_some_and(|sent| !is_over(sent, now));
        // Who has waited begins with the first picture that comes, and not in the middle of a turn.
        let coming = before.is_none().then(|| first_coming(track, goal, leaving)).flatten();
        let past = coming.map_or(past, |first| Past { first: first.min(past.first), ..past });
        let first = track.layer(goal).and_then(|layer| layer.history.get(past.first));
        let first = first.filter(|first| red::without_redundancy(first.codec) == lane.codec())?;
        let live = track.layer(goal).and_then(|layer| layer.history.get(past.last));
        let live = live.map_or(past.live, |live| live.timestamp);
        // What everybody is sent just now is nothing of the past to who has waited for it.
        let last = if coming.is_some() { past.first.wrapping_sub(1) } else { past.last };
        let replay = Replay::new(now, id, past, first.received);
        let start = Start { first, last, live, sent: newest, within: false };
        if in_picture || lane.begin(&start).is_err() {
            let next = lane.newest().map(|newest| newest.sequence + 1);
            let next = next.filter(|_| newest.is_some() && !in_picture);
            let may_wait = viewer.replay.is_none() && now >= viewer.hold_again;
            if let (Some(before), Some(next), true) = (before, next, may_wait) {
                let hold = || Box::new(Replay::hold(now, id, before, next));
                viewer.start(held.take().unwrap_or_else(hold), (position, replaying));
            }
            return None;
        }
        track.takers.add(Taken::Layer(goal), shared, (id, *shard));
        if let Some(before) = before {
            track.takers.remove(Taken::Layer(before), shared, (id, *shard));
            track.note_left();
        }
        if let Some(layer) = track.layer_mut(layer_of(goal)) {
            layer.is_begun();
        }
        viewer.set_broken(number, false);
        if before.is_some() {
            viewer.egress.switches(now);
        }
        viewer.start(Box::new(replay), (position, replaying));
        Some(before.is_some())
    }
}

/// The number of the first packet of the first picture of a layer, among those that everybody is
/// sent next, that a decoder can begin with.
fn first_coming(track: &Track, layer: u8, leaving: &[MediaPacket]) -> Option<u64> {
    let id = track.id();
    let coming = || {
        let all = leaving.iter().chain(track.pending());
        all.filter(move |packet| packet.track.id == id && packet.layer == layer)
    };
    let keyframe = coming().filter(|p| p.keyframe).min_by_key(|packet| packet.sequence)?;
    let picture = coming().filter(|packet| packet.timestamp == keyframe.timestamp);
    picture.map(|packet| packet.sequence).min()
}

/// The newest packet of a picture that a lane was sent, where it is still known: behind it may be
/// padding.
pub(super) fn newest_sent<'a>(
    lane: &Lane,
    track: &'a Track,
    now: Instant,
) -> Option<&'a MediaPacket> {
    let newest = lane.newest()?;
    for back in 0..PADDING_BEHIND {
        match track.recall(newest.layer, newest.sequence.checked_sub(back)?, now) {
            Recall::Kept(packet) if packet.payload.is_empty() => {}
            Recall::Kept(packet) => return Some(packet),
            _ => return None,
        }
    }
    None
}

/// Whether the picture that ends with `sent`, as far as it has come, is over.
pub(super) fn is_over(sent: &MediaPacket, now: Instant) -> bool {
    sent.marker || now.saturating_duration_since(sent.received) >= PICTURE_OVER
}
