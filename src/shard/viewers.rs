//! What viewers report and are told: repair, key frames, sender reports, moves.

use std::time::Instant;

use super::core::Core;
use super::sessions::ReadyViewer;
use super::streams::{LocalStream, Viewer};
use super::ways::Ways;
use crate::drop::DropReason;
use crate::egress::Feedback;
use crate::id::{TrackKey, TrackKind};
use crate::limits::REPORT_INTERVAL;
use crate::session::CNAME;
use crate::telemetry::ShardCounters;
use crate::track::Recall;

impl Core {
    /// One SRTCP datagram of the viewer in `slot`.
    pub fn on_viewer_rtcp(
        &mut self,
        now: Instant,
        slot: u32,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let Core { sessions, streams, ways, feedback, opened, wiring, .. } = self;
        let counters = &wiring.counters[usize::from(self.index)];
        let entry = sessions.at(slot).ok_or(DropReason::StaleFlow)?;
        let ready = entry.viewer.as_mut().ok_or(DropReason::BeforeKeys)?;
        let stream = streams.get(entry.stream).ok_or(DropReason::StaleFlow)?;
        let viewer = &mut stream.viewers[ready.position];
        opened.clear();
        opened.extend_from_slice(bytes);
        feedback.clear();
        ready.control.receive(now, &mut viewer.egress, opened, feedback)?;
        entry.heard = now;
        counters.viewer_reports.add(1);
        if feedback.lost.len() as u64 + feedback.refused > 0 {
            entry.watch.nacked += feedback.lost.len() as u32 + feedback.refused as u32;
            entry.watch.repaired += repair(now, ready, stream, feedback, ways, counters);
        }
        if feedback.asks_for_keyframe {
            counters.keyframe_requests_in.add(1);
            entry.watch.keyframe_requests += 1;
        }
        let key = entry.stream;
        let lanes = stream.viewers[ready.position].egress.lanes();
        let wanted =
            feedback.keyframes.iter().map(|lane| (lanes[*lane].id(), lanes[*lane].layer()));
        let mut wanted_now = std::mem::take(&mut self.keyframes_wanted);
        wanted_now.extend(wanted.map(|(id, layer)| (TrackKey { stream: key, id }, layer)));
        for (track, layer) in wanted_now.drain(..) {
            self.want_keyframe(track, layer);
        }
        self.keyframes_wanted = wanted_now;
        Ok(())
    }

    /// The session in `slot` has a new address, or its path a new limit: its media follows at once.
    pub fn viewer_moved(&mut self, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let (Some(address), Some(ready)) = (entry.address, &entry.viewer) else { return };
        let (position, stream) = (ready.position, entry.stream);
        let to = address.destination(entry.trains);
        if let Some(stream) = self.streams.get(stream) {
            let viewer = &mut stream.viewers[position];
            viewer.to = to;
        }
    }

    /// Sends the viewer in `slot` its sender reports, if it is time.
    pub fn report(&mut self, now: Instant, slot: u32) {
        let Core { sessions, streams, ways, wiring, .. } = self;
        let counters = &wiring.counters[usize::from(self.index)];
        let Some(entry) = sessions.at(slot) else { return };
        let Some(ready) = entry.viewer.as_mut().filter(|v| v.control.next_report <= now) else {
            return;
        };
        let Some(stream) = streams.get(entry.stream) else { return };
        ready.control.next_report = now + REPORT_INTERVAL;
        let viewer = &stream.viewers[ready.position];
        for (number, lane) in viewer.egress.lanes().iter().enumerate() {
            let track = stream.find(lane.id());
            let Some(clock) = track.and_then(|track| track.clock_at(now)) else { continue };
            let written = ways.push(viewer.to, |slot| {
                let egress = &viewer.egress;
                let length = ready.control.sender_report(now, egress, number, clock, CNAME, slot);
                length.ok_or(DropReason::NoReport)
            });
            // No report before the track plays is nothing lost.
            if let Err(reason) = written
                && reason != DropReason::NoReport
            {
                counters.dropped(reason);
            }
        }
        self.judge_viewer(now, slot);
    }
}

/// Sends again what the viewer lacks, and returns how many packets that were. Where something it
/// asks for is gone, `feedback` asks for a key frame from here on: nothing else can help, and it
/// would ask nine times a second until one comes. What was lost before it got here may yet come.
fn repair(
    now: Instant,
    ready: &mut ReadyViewer,
    stream: &mut LocalStream,
    feedback: &mut Feedback,
    ways: &mut Ways,
    counters: &ShardCounters,
) -> u32 {
    counters.nacked_packets.add(feedback.lost.len() as u64 + feedback.refused);
    counters.dropped_many(DropReason::RepairLimited, feedback.refused);
    let LocalStream { tracks, viewers, .. } = stream;
    let Viewer { egress, to, .. } = &mut viewers[ready.position];
    let budget = &mut ready.control.repair;
    let carried = tracks.iter().filter_map(|track| track.layer(track.carried_layer()));
    budget.earn(now, carried.map(|layer| layer.rate.packets_per_s()).sum());
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
        let found = sent.map(|(sent, track)| (sent, track.recall(sent.layer, sent.sequence, now)));
        let (sent, packet) = match found {
            Some((sent, Recall::Kept(packet))) => (sent, packet),
            Some((_, Recall::Awaited)) => {
                counters.dropped(DropReason::RepairAwaited);
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
        if !budget.send() {
            counters.dropped(DropReason::RepairLimited);
            continue;
        }
        let resend = |slot: &mut [u8]| egress.resend(number, sent.index, packet, slot);
        match ways.push(*to, resend) {
            Ok(()) => sent_again += 1,
            Err(reason) => counters.dropped(reason),
        }
    }
    counters.repaired_packets.add(u64::from(sent_again));
    sent_again
}
