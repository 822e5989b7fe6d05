//! Packets to viewers: a stream's to all of them, viewer by viewer, so that a viewer's packets of
//! one turn stand side by side and leave as one train; and again to one that has lost some.

use std::ops::Range;
use std::time::Instant;

use smallvec::SmallVec;

use super::stream::{Stream, Viewer};
use super::{Recall, Replay, Track};
use crate::drop::DropReason;
use crate::egress::{Control, Egress, Feedback};
use crate::id::TrackKind;
use crate::limits::{MAX_LAYERS, PACE_TICK};
use crate::media::MediaPacket;
use crate::net::Way;
use crate::telemetry::ShardCounters;

/// Whom a fan-out was for, by their places, or their slots.
pub(super) struct Noted<'a> {
    /// Slots of those that were sent their first packet.
    pub started: &'a mut Vec<u32>,
    /// Those whose packets have transport-wide numbers.
    pub numbered: &'a mut Vec<usize>,
    /// Those who are to be sent the rest later: all at once would be a queue on their paths.
    pub behind: &'a mut Vec<usize>,
    /// Those over TCP for whom other layers may follow from what waits for them.
    pub looked_at: &'a mut Vec<usize>,
}

/// Seals and queues `packets`, which stand track by track and layer by layer, for each viewer in
/// turn.
pub(super) fn fan_out(
    now: Instant,
    (viewers, tracks): (&mut [Viewer], &[Track]),
    packets: &[MediaPacket],
    way: &mut impl Way,
    counters: &ShardCounters,
    noted: Noted<'_>,
) {
    let runs = runs(packets);
    let mut sent = 0;
    for (position, viewer) in viewers.iter_mut().enumerate() {
        if viewer.muted {
            counters.dropped_many(DropReason::Unverified, packets.len() as u64);
            continue;
        }
        let before = sent;
        let is_numbered = viewer.egress.is_numbered();
        let is_paced = is_numbered || viewer.egress.has_outbox();
        if is_paced && viewer.egress.look(now, way.backlog(viewer.to)) {
            noted.looked_at.push(position);
        }
        for run in &runs {
            let run = &packets[run.clone()];
            if let Some(reason) = viewer.egress.takes_none_of(&run[0]) {
                counters.dropped_many(reason, run.len() as u64);
                continue;
            }
            if is_paced {
                sent += send_paced(now, (viewer, tracks), run, way, counters);
                continue;
            }
            let Viewer { egress, to, replay, .. } = viewer;
            for packet in run {
                if replay.as_ref().is_some_and(|replay| replay.holds_back(packet)) {
                    continue;
                }
                let admitted = egress.admit(packet);
                match admitted.and_then(|it| way.push(*to, |slot| it.send(packet, slot))) {
                    Ok(()) => sent += 1,
                    Err(reason) => counters.dropped(reason),
                }
            }
        }
        if is_numbered && sent > before {
            noted.numbered.push(position);
        }
        if is_paced && viewer.replay.is_some() && !std::mem::replace(&mut viewer.replays, true) {
            noted.behind.push(position);
        }
        if !viewer.started && sent > before {
            viewer.started = true;
            noted.started.push(viewer.slot);
        }
    }
    counters.viewer_packets.add(sent);
}

/// Sends `run` to a viewer over TCP, or to one whose packets have transport-wide numbers: as much
/// as may leave at once. Returns how many packets that were.
fn send_paced(
    now: Instant,
    (viewer, tracks): (&mut Viewer, &[Track]),
    run: &[MediaPacket],
    way: &mut impl Way,
    counters: &ShardCounters,
) -> u64 {
    let Viewer { egress, to, replay, .. } = viewer;
    let (id, layer) = (run[0].track.id, run[0].layer);
    let is_sound = id.kind == TrackKind::Audio;
    let is_whole = is_sound || replay.is_some() || {
        let bytes: usize = run.iter().map(|packet| packet.payload.len() + HEADER_BYTES).sum();
        let layer = tracks.iter().find(|track| track.id() == id).and_then(|t| t.layer(layer));
        let rate = layer.map_or(0, |layer| layer.rate.bits_per_s());
        egress.admits_whole(now, bytes as u32, rate)
    };
    let mut sent = 0;
    for packet in run {
        if replay.as_ref().is_some_and(|replay| replay.holds_back(packet)) {
            continue;
        }
        let may_leave = is_sound
            || replay.is_some()
            || (is_whole || egress.has_credit()) && egress.has_room(way.backlog(*to));
        if !may_leave && egress.is_new(packet) {
            *replay = Some(Box::new(Replay::behind(now, id, layer, packet.sequence)));
            continue;
        }
        match way.push(*to, |slot| egress.send_numbered(packet, slot)) {
            Ok(()) => sent += 1,
            Err(reason) => counters.dropped(reason),
        }
    }
    sent
}

/// What the layers send that a viewer has.
fn packets_per_s(egress: &Egress, tracks: &[Track]) -> u32 {
    let layers = egress.lanes().iter().filter_map(|lane| {
        let track = tracks.iter().find(|track| track.id() == lane.id())?;
        track.layer(lane.layer()?)
    });
    layers.map(|layer| layer.rate.packets_per_s()).sum()
}

/// The stretches of `packets` that are of one layer of one track each.
fn runs(packets: &[MediaPacket]) -> SmallVec<[Range<usize>; MAX_RUNS]> {
    let mut runs: SmallVec<[Range<usize>; MAX_RUNS]> = SmallVec::new();
    for (place, packet) in packets.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if is_of_layer(&packets[run.start], packet) => run.end = place + 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

fn is_of_layer(one: &MediaPacket, other: &MediaPacket) -> bool {
    one.track.id == other.track.id && one.layer == other.layer
}

/// Bytes of a packet beside its payload: header, extensions and tag.
const HEADER_BYTES: usize = 36;

/// Layers whose packets leave in one turn: of more the list takes an allocation.
const MAX_RUNS: usize = 2 * MAX_LAYERS;

impl Stream {
    /// Sends `packets` to all viewers. Those that are sent their first packet are noted in
    /// `started`, by slot.
    pub(super) fn fan_out(
        &mut self,
        now: Instant,
        packets: &[MediaPacket],
        way: &mut impl Way,
        counters: &ShardCounters,
        started: &mut Vec<u32>,
    ) {
        let Stream { viewers, tracks, numbered, replaying, looked_at, .. } = self;
        let before = replaying.len();
        let noted = Noted { started, numbered, behind: replaying, looked_at };
        fan_out(now, (viewers, tracks), packets, way, counters, noted);
        if replaying.len() > before {
            self.replay_due.get_or_insert(now + PACE_TICK);
        }
        while let Some(position) = self.looked_at.pop() {
            self.choose_layers(now, position);
        }
    }

    /// Sends the viewer at `position` again what it lacks, and returns how many packets that were.
    /// Where something it asks for is gone, `feedback` asks for a key frame from here on: nothing
    /// else can help, and it would ask nine times a second until one comes. What was lost before it
    /// got here may yet come.
    pub(super) fn repair(
        &mut self,
        now: Instant,
        position: usize,
        control: &mut Control,
        feedback: &mut Feedback,
        way: &mut impl Way,
        counters: &ShardCounters,
    ) -> u32 {
        counters.nacked_packets.add(feedback.lost.len() as u64 + feedback.refused);
        counters.dropped_many(DropReason::RepairLimited, feedback.refused);
        let Stream { tracks, viewers, numbered, .. } = self;
        let Some(Viewer { egress, to, .. }) = viewers.get_mut(position) else { return 0 };
        if egress.is_numbered() {
            numbered.push(position);
        }
        let Control { repair: budget, resent, .. } = control;
        budget.earn(now, packets_per_s(egress, tracks));
        let round_trip = egress.round_trip(feedback.rtt);
        let mut sent_again = 0;
        for index in 0..feedback.lost.len() {
            let (number, sequence) = feedback.lost[index];
            if !budget.look_up() {
                counters.dropped(DropReason::RepairLimited);
                continue;
            }
            let lane = &egress.lanes()[number];
            let id = lane.id();
            let track = tracks.iter().find(|track| track.id() == id);
            let sent = lane.find(sequence).zip(track);
            let found = sent.map(|(sent, t)| (sent, t.recall(sent.layer, sent.sequence, now)));
            let again = match found {
                // What was sent within a round trip the viewer can't have seen yet.
                Some((sent, Recall::Kept(packet))) => {
                    let may = resent.admits(now, lane.ssrc(), sent.index, round_trip)
                        && egress.may_repair(now, number, sent.index, packet)
                        && budget.send();
                    let resend = |slot: &mut [u8]| egress.resend(number, sent.index, packet, slot);
                    if may { way.push(*to, resend) } else { Err(DropReason::RepairLimited) }
                }
                Some((_, Recall::Awaited)) => Err(DropReason::RepairAwaited),
                // Of a layer it has left nothing comes any more: the number is filled.
                Some((gone, Recall::Gone)) if lane.has_left(gone.index) => {
                    let layer = track.and_then(|track| track.layer(gone.layer));
                    let may = layer.is_some_and(|layer| layer.has_never_had(gone.sequence))
                        && resent.admits(now, lane.ssrc(), gone.index, round_trip)
                        && budget.send();
                    let fill = |slot: &mut [u8]| egress.fill(number, gone.index, slot);
                    if may { way.push(*to, fill) } else { Err(DropReason::RepairTooOld) }
                }
                Some((_, Recall::Gone)) | None => {
                    if id.kind == TrackKind::Video {
                        feedback.need_keyframe(number);
                    }
                    Err(DropReason::RepairTooOld)
                }
            };
            match (again, sent) {
                (Ok(()), Some((sent, _))) => {
                    resent.note(now, egress.lanes()[number].ssrc(), sent.index);
                    sent_again += 1;
                }
                (again, _) => again.unwrap_or_else(|reason| counters.dropped(reason)),
            }
        }
        counters.repaired_packets.add(u64::from(sent_again));
        sent_again
    }
}
