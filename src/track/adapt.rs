//! Each viewer gets the layers that its path carries: what is thought of the path is shared between
//! its tracks, and where a better layer is wanted, whether there is room is found out.
//!
//! It is looked at when a viewer reports: there is no timer, and nothing is done per packet.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::aim::{Aim, Bounds, Offered, Wish, by_layer};
use super::choose::{self, Rung, Steps, Wanted};
use super::stream::{Stream, Viewer};
use super::{StreamShared, Streams, frames_of, layer_of, limit_of};
use crate::drop::DropReason;
use crate::egress::KnownBy;
use crate::egress::estimate::{Estimate, Micros, State};
use crate::id::{StreamKey, TrackKind, Via};
use crate::limits::{
    MAX_LAYERS, MAX_PADDING_PER_TICK, MAX_THINNED, PACE_TICK, PADDING_BYTES, QUIET_ROUND,
    RED_LEAST_BITS_PER_S,
};
use crate::net::Way;
use crate::telemetry::ShardCounters;

/// Lanes of video of most viewers.
const FEW_LANES: usize = 2;

/// What there is to choose from for one lane.
struct Choice {
    lane: usize,
    aim: Aim,
    rungs: SmallVec<[Rung; MAX_LAYERS]>,
    /// Which of the rungs it is at; before a first choice, none.
    at: Option<usize>,
    /// The lowest rung thinned, the least first, and as it is.
    thinned: SmallVec<[Rung; MAX_THINNED + 1]>,
}

impl Choice {
    fn of(lane: usize, aim: Aim, points: &[Offered]) -> Choice {
        let rung =
            |offer: &Offered| Rung { layer: offer.layer, bits_per_s: offer.bits_per_s as f64 };
        let within = aim.allowed(points);
        let flowing = within.iter().filter(|offer| offer.flows);
        let place =
            |layer: u8| points.iter().position(|offer| layer_of(offer.layer) == layer_of(layer));
        // Where the layer it was given is silent, it is at the one below.
        let at = aim.chosen.and_then(place).map(|chosen| {
            let up_to = flowing.clone().filter(|offer| place(offer.layer) <= Some(chosen)).count();
            up_to.saturating_sub(1)
        });
        let rungs: SmallVec<[Rung; MAX_LAYERS]> = flowing.map(rung).collect();
        let lowest = rungs.first().map(|lowest| lowest.layer);
        let of_lowest = points
            .iter()
            .filter(|offer| lowest.is_some_and(|lowest| layer_of(offer.layer) == layer_of(lowest)));
        let up_to = lowest.map_or(u8::MAX, |lowest| limit_of(lowest).unwrap_or(u8::MAX));
        let is_free = !matches!(aim.wish, Wish::Layer(_));
        let thinned =
            of_lowest.filter(|offer| is_free && limit_of(offer.layer).unwrap_or(u8::MAX) <= up_to);
        Choice { lane, aim, at, thinned: thinned.map(rung).collect(), rungs }
    }

    fn rung(&self, at: usize) -> Option<Rung> {
        self.rungs.get(at).copied()
    }

    /// To how much the lowest rung is thinned now, if it is at that and something was chosen.
    fn thinned_at(&self) -> Option<usize> {
        let chosen = self.aim.chosen.filter(|_| self.at == Some(0))?;
        self.thinned.iter().position(|rung| rung.layer == chosen)
    }

    /// What it has now.
    fn cost(&self) -> f64 {
        let thinned = self.thinned_at().and_then(|at| self.thinned.get(at).copied());
        thinned.or(self.rung(self.at.unwrap_or(0))).map_or(0.0, choose::cost)
    }

    /// The next that is better than what it has: all frames of its picture, a larger picture of
    /// the layer, or a larger layer.
    fn better(&self) -> Option<Rung> {
        let above = self.thinned_at().map_or(self.thinned.len(), |at| at + 1);
        let mut pictures = self.thinned.iter().skip(above).copied();
        let picture = pictures.find(|rung| frames_of(rung.layer).is_none());
        picture.or(self.rung(self.at.unwrap_or(0) + 1))
    }

    /// What it is given of its lowest rung, where so much is left for it: better fewer frames than
    /// none in time.
    fn thin(&self, now: Micros, left: f64, estimate: &Estimate) -> (Option<u8>, Steps) {
        let most = |left: f64| {
            let fitting = self.thinned.iter().rposition(|rung| choose::cost(*rung) <= left);
            fitting.unwrap_or(0)
        };
        let mut steps = self.aim.thinning;
        steps.forgive(estimate.widened);
        let fits = (most(left), most(choose::easily(left)));
        let next = match self.thinned_at() {
            Some(at) => steps.next(now, at, fits, estimate.state == State::Overuse),
            None => fits.0,
        };
        (self.thinned.get(next).map(|rung| rung.layer), steps)
    }
}

/// Which rung each may be at, where so much is usable.
fn shares(choices: &[Choice], usable: f64) -> SmallVec<[usize; FEW_LANES]> {
    let rungs = choices.iter().map(|choice| &choice.rungs[..]);
    let mut tracks: SmallVec<[Wanted<'_>; FEW_LANES]> =
        rungs.map(|rungs| Wanted { priority: 0, rungs, rung: 0 }).collect();
    choose::share(&mut tracks, usable);
    tracks.iter().map(|track| track.rung).collect()
}

/// What all need at their best, audio counted in.
fn needed_for_best(choices: &[Choice]) -> f64 {
    let best = |choice: &Choice| choice.rungs.last().copied().map_or(0.0, choose::cost);
    choose::needed(choices.iter().map(best).sum())
}

/// Whether there is nothing better for any.
fn has_best(choices: &[Choice]) -> bool {
    choices.iter().all(|choice| choice.better().is_none())
}

/// What all would need if the cheapest step up was taken, if there is one.
fn needed_for_more(choices: &[Choice]) -> Option<f64> {
    let all: f64 = choices.iter().map(Choice::cost).sum();
    let step = |choice: &Choice| Some(choose::cost(choice.better()?) - choice.cost());
    Some(all + choices.iter().filter_map(step).min_by(f64::total_cmp)?)
}

impl Aim {
    /// The layers of all there is that it may be given, the smallest first, with no more frames
    /// than it has use for.
    fn allowed(self, points: &[Offered]) -> SmallVec<[Offered; MAX_LAYERS]> {
        let (bounds, up_to) = match self.wish {
            Wish::Layer(layer) => {
                return points.iter().filter(|offer| offer.layer == layer).copied().collect();
            }
            Wish::Within(bounds) => (bounds, points.get(..=bounds.enough(points))),
            Wish::Automatic => (Bounds::default(), Some(points)),
        };
        let layers = by_layer(up_to.unwrap_or_default());
        layers.filter_map(|of_layer| of_layer.get(bounds.best_of(of_layer)).copied()).collect()
    }
}

impl Viewer {
    /// Whether something can be chosen for it: its video comes in several layers, and it has not
    /// asked for one by name.
    fn has_choice(&self, shared: &StreamShared) -> bool {
        let lanes = self.egress.lanes().iter().enumerate();
        let mut video = lanes.filter(|(_, lane)| lane.id().kind == TrackKind::Video);
        video.any(|(number, lane)| {
            let wish = self.aims.as_ref().and_then(|aims| aims.get(number)).map(|aim| aim.wish);
            !matches!(wish, Some(Wish::Layer(_))) && shared.has_choice(lane.id())
        })
    }
}

impl Stream {
    /// Whether there is something to choose for the viewer at `position`: then its packets have
    /// transport-wide numbers where it takes them and answers, and what its path carries is known;
    /// else it is what the viewer says. Over TCP it is what waits for the connection.
    pub(super) fn weigh(&mut self, now: Instant, position: usize, adapts: bool) {
        let Some(viewer) = self.viewers.get_mut(position).filter(|_| adapts) else { return };
        let is_over_udp = matches!(viewer.to.via, Via::Udp(_));
        let was = viewer.egress.has_known_path();
        viewer.gives_no_feedback |= viewer.egress.is_unanswered(now);
        let by = match viewer.has_choice(&self.shared) {
            false => KnownBy::Nothing,
            true if !is_over_udp => KnownBy::Outbox,
            true if viewer.gives_no_feedback => KnownBy::Reports,
            true => KnownBy::Numbers,
        };
        viewer.egress.know_by(now, by);
        if viewer.egress.is_quiet() && !has_best(&choices(viewer, &self.shared)) {
            viewer.egress.wake(now);
        }
        match (was, viewer.egress.has_known_path()) {
            (false, true) => self.choose_layers(now, position),
            (true, false) => {
                for lane in 0..self.viewers[position].egress.lanes().len() {
                    let nothing = |aim: Aim| Aim { wish: aim.wish, ..Aim::default() };
                    self.change_aim(position, lane, nothing);
                }
            }
            _ => {}
        }
    }

    /// The same for all viewers.
    pub(super) fn weigh_all(&mut self, now: Instant, adapts: bool) {
        (0..self.viewers.len()).for_each(|position| self.weigh(now, position, adapts));
    }

    /// Chooses the layers of the viewer at `position` by what is thought of its path.
    pub(super) fn choose_layers(&mut self, now: Instant, position: usize) {
        let Some(viewer) = self.viewers.get_mut(position) else { return };
        let mut choices = choices(viewer, &self.shared);
        viewer.egress.assume(needed_for_best(&choices));
        let Some((micros, estimate)) = viewer.egress.estimate_at(now) else { return };
        if estimate.bits_per_s < RED_LEAST_BITS_PER_S {
            viewer.egress.spare_redundancy();
        }
        let usable = choose::usable(estimate.bits_per_s);
        let fits = shares(&choices, usable);
        let easily = shares(&choices, choose::easily(usable));
        let overuse = estimate.state == State::Overuse;
        let all: f64 = choices.iter().map(Choice::cost).sum();
        for (choice, fits) in choices.iter_mut().zip(fits.into_iter().zip(easily)) {
            let mut steps = choice.aim.steps;
            steps.forgive(estimate.widened);
            let next = match choice.at {
                Some(at) => steps.next(micros, at, fits, overuse),
                None => fits.0,
            };
            let mut chosen = choice.rung(next).map(|rung| rung.layer);
            let mut thinning = choice.aim.thinning;
            if next == 0 && choice.thinned.len() > 1 {
                let left = usable - (all - choice.cost());
                (chosen, thinning) = choice.thin(micros, left, &estimate);
            }
            let is_smaller = choice.at.is_some_and(|at| next < at);
            let (lane, before) = (choice.lane, choice.aim.chosen);
            let chosen = chosen.or(before);
            (choice.at, choice.aim.chosen) = (Some(next), chosen);
            if chosen == before {
                self.note_steps(position, lane, (steps, thinning));
            } else {
                self.change_aim(position, lane, |aim| Aim { chosen, steps, thinning, ..aim });
                // Who has not gone up yet has it already.
                let egress = &mut self.viewers[position].egress;
                let has = egress.lanes()[lane].layer();
                if is_smaller && chosen.map(layer_of) != has.map(layer_of) {
                    egress.awaits_smaller(now);
                }
            }
        }
        let best = has_best(&choices).then(|| needed_for_best(&choices));
        let is_settled = |viewer: &Viewer| !viewer.unsettled && viewer.replay.is_none();
        let viewer = &mut self.viewers[position];
        let best = best.filter(|_| is_settled(viewer));
        if viewer.egress.rests(now, best) {
            self.samples = true;
            return;
        }
        let Some(more) = needed_for_more(&choices) else { return };
        let needed =
            if self.viewers[position].egress.has_outbox() { choose::needed(more) } else { more };
        let probes = self.viewers[position].egress.wants(now, needed);
        if probes && !self.probing.contains(&position) {
            self.probing.push(position);
            self.probe_due.get_or_insert(now);
        }
    }

    /// Those who need not report are to do so for a moment, each once in a round: whoever's turn it
    /// is since it was looked at last.
    pub(super) fn sample(&mut self, now: Instant) {
        let count = self.viewers.len() as u128;
        let since = *self.sampled.get_or_insert(now);
        let (passed, round) = (now.saturating_duration_since(since), QUIET_ROUND.as_micros());
        let due = (passed.as_micros() * count / round).min(count);
        for _ in 0..due {
            self.sample_next = (self.sample_next + 1) % self.viewers.len();
            self.viewers[self.sample_next].egress.sample(now);
        }
        // What is left over of a turn counts for the next.
        let used = Duration::from_micros((due * round).checked_div(count).unwrap_or(0) as u64);
        self.sampled = if due == count { Some(now) } else { Some(since + used) };
    }

    fn note_steps(&mut self, position: usize, lane: usize, steps: (Steps, Steps)) {
        let aims = self.viewers[position].aims.as_mut();
        if let Some(aim) = aims.and_then(|aims| aims.get_mut(lane)) {
            (aim.steps, aim.thinning) = steps;
        }
    }

    /// Sends padding to those whose paths are found out about, at the pace that is tried.
    pub(super) fn probe(&mut self, now: Instant, way: &mut impl Way, counters: &ShardCounters) {
        if self.probe_due.is_none_or(|due| now < due) {
            return;
        }
        let Stream { viewers, probing, numbered, .. } = self;
        probing.retain(|position| {
            let Some(viewer) = viewers.get_mut(*position) else { return false };
            let Viewer { egress, to, muted, .. } = viewer;
            if *muted || !egress.probes(now) {
                return false;
            }
            let each = u32::from(PADDING_BYTES);
            let packets = egress.owed(now).div_ceil(each).min(MAX_PADDING_PER_TICK);
            let (mut sent, mut bytes) = (0, 0);
            for _ in 0..packets {
                match way.push(*to, |slot| egress.pad(slot).inspect(|length| bytes += *length)) {
                    Ok(()) => sent += 1,
                    Err(DropReason::WaitingForKeyframe) => break,
                    Err(reason) => counters.dropped(reason),
                }
            }
            if sent > 0 {
                numbered.push(*position);
                counters.padding_packets.add(sent);
                counters.padding_bytes.add(bytes as u64);
            }
            true
        });
        self.probe_due = (!self.probing.is_empty()).then(|| now + PACE_TICK);
    }
}

fn choices(viewer: &Viewer, shared: &StreamShared) -> SmallVec<[Choice; FEW_LANES]> {
    let lanes = viewer.egress.lanes().iter().enumerate();
    let video = lanes.filter(|(_, lane)| lane.id().kind == TrackKind::Video);
    let choice = |(number, lane): (usize, &crate::egress::Lane)| {
        let aim = viewer.aims.as_ref().and_then(|aims| aims.get(number).copied());
        Choice::of(number, aim.unwrap_or_default(), &shared.points(lane.id()))
    };
    video.map(choice).filter(|choice| !choice.rungs.is_empty()).collect()
}

impl Streams {
    /// Looks whether there is something to choose for the viewer at `position`.
    pub fn consider(&mut self, now: Instant, key: StreamKey, position: usize) {
        let adapts = self.adapts;
        let Some(stream) = self.get_mut(key) else { return };
        stream.weigh(now, position, adapts);
        self.activate(key);
    }

    /// The viewer at `position` has reported what it was sent: it is to get what its path carries.
    pub fn adapt(&mut self, now: Instant, (key, position): (StreamKey, usize)) {
        let Some(stream) = self.get_mut(key) else { return };
        stream.choose_layers(now, position);
        if !stream.unsettled.is_empty() || !stream.probing.is_empty() {
            self.activate(key);
        }
    }
}
