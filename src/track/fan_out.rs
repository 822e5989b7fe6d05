//! Packets to viewers: a stream's to all of them, viewer by viewer, so that a viewer's packets of
//! one turn stand side by side and leave as one train; and again to one that has lost some.

use std::ops::Range;
use std::time::Instant;

use smallvec::SmallVec;

use super::stream::{Stream, Viewer};
use super::{Recall, Track};
use crate::drop::DropReason;
use crate::egress::{Control, Egress, Feedback};
use crate::id::TrackKind;
use crate::limits::MAX_LAYERS;
use crate::media::MediaPacket;
use crate::net::Way;
use crate::telemetry::ShardCounters;

/// Seals and queues `packets`, which stand track by track and layer by layer, for each viewer in
/// turn. Those that get their first are noted in `started`, by slot; those whose packets have
/// transport-wide numbers in `numbered`, by their places.
pub(super) fn fan_out(
    viewers: &mut [Viewer],
    packets: &[MediaPacket],
    way: &mut impl Way,
    counters: &ShardCounters,
    (started, numbered): (&mut Vec<u32>, &mut Vec<usize>),
) {
    let runs = runs(packets);
    let mut sent = 0;
    for (position, viewer) in viewers.iter_mut().enumerate() {
        let Viewer { egress, to, slot, started: has_started, muted, replay, .. } = viewer;
        if *muted {
            counters.dropped_many(DropReason::Unverified, packets.len() as u64);
            continue;
        }
        let before = sent;
        let is_numbered = egress.is_numbered();
        for run in &runs {
            let run = &packets[run.clone()];
            if let Some(reason) = egress.takes_none_of(&run[0]) {
                counters.dropped_many(reason, run.len() as u64);
                continue;
            }
            for packet in run {
                if replay.as_ref().is_some_and(|replay| replay.holds_back(packet)) {
                    continue;
                }
                let pushed = match is_numbered {
                    true => way.push(*to, |slot| egress.send_numbered(packet, slot)),
                    false => egress
                        .admit(packet)
                        .and_then(|admitted| way.push(*to, |slot| admitted.send(packet, slot))),
                };
                match pushed {
                    Ok(()) => sent += 1,
                    Err(reason) => counters.dropped(reason),
                }
            }
        }
        if is_numbered && sent > before {
            numbered.push(position);
        }
        if !*has_started && sent > before {
            *has_started = true;
            started.push(*slot);
        }
    }
    counters.viewer_packets.add(sent);
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

const TOO_OLD: Result<(), DropReason> = Err(DropReason::RepairTooOld);

/// Layers whose packets leave in one turn: of more the list takes an allocation.
const MAX_RUNS: usize = 2 * MAX_LAYERS;

impl Stream {
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
            let (sent, packet) = match found {
                Some((sent, Recall::Kept(packet))) => (sent, packet),
                Some((_, Recall::Awaited)) => {
                    counters.dropped(DropReason::RepairAwaited);
                    continue;
                }
                Some((gone, Recall::Gone)) if lane.has_left(gone.index) => {
                    // Of a layer it has left nothing comes any more: the number is filled.
                    let layer = track.and_then(|track| track.layer(gone.layer));
                    let is_free = layer.is_some_and(|layer| layer.has_never_had(gone.sequence));
                    let is_new = is_free
                        && resent.admits(now, lane.ssrc(), gone.index, feedback.rtt)
                        && budget.send();
                    let fill = |slot: &mut [u8]| egress.fill(number, gone.index, slot);
                    let filled = if is_new { way.push(*to, fill) } else { TOO_OLD };
                    sent_again += u32::from(filled.is_ok());
                    filled.unwrap_or_else(|reason| counters.dropped(reason));
                    continue;
                }
                Some((_, Recall::Gone)) | None => {
                    if id.kind == TrackKind::Video {
                        feedback.need_keyframe(number);
                    }
                    counters.dropped(DropReason::RepairTooOld);
                    continue;
                }
            };
            // What was sent within a round trip the viewer can't have seen yet.
            let is_new = resent.admits(now, lane.ssrc(), sent.index, feedback.rtt);
            if !is_new || !budget.send() {
                counters.dropped(DropReason::RepairLimited);
                continue;
            }
            let again = way.push(*to, |slot| egress.resend(number, sent.index, packet, slot));
            sent_again += u32::from(again.is_ok());
            again.unwrap_or_else(|reason| counters.dropped(reason));
        }
        counters.repaired_packets.add(u64::from(sent_again));
        sent_again
    }
}
