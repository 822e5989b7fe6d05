//! What viewers report and are told: repair, key frames, sender reports, moves.

use std::time::Instant;

use super::Mail;
use super::core::Core;
use super::sessions::ReadyViewer;
use super::streams::LocalStream;
use super::ways::Ways;
use crate::drop::DropReason;
use crate::egress::Feedback;
use crate::id::StreamKey;
use crate::limits::REPORT_INTERVAL;
use crate::media::TrackKind;
use crate::session::CNAME;
use crate::stream::Recall;
use crate::telemetry::ShardCounters;

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
        let key = entry.stream;
        let mut keyframe = feedback.keyframe;
        if !feedback.lost.is_empty() {
            entry.watch.nacked += feedback.lost.len() as u32;
            let (sent_again, gone) = repair(now, ready, stream, feedback, ways, counters);
            entry.watch.repaired += sent_again;
            keyframe |= gone;
        }
        if feedback.keyframe {
            counters.keyframe_requests_in.add(1);
            entry.watch.keyframe_requests += 1;
        }
        if keyframe {
            self.want_keyframe(key);
        }
        Ok(())
    }

    /// Somebody here needs a key frame of a stream: notes it where the publisher is.
    pub fn want_keyframe(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        match stream.shared.publisher() {
            Some(shard) if shard != self.index => self.note(shard, Mail::Keyframe(key)),
            _ => {
                stream.keyframes.request();
                self.activate(key);
            }
        }
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
        let LocalStream { tracks, viewers, .. } = stream;
        let viewer = &mut viewers[ready.position];
        for kind in TrackKind::ALL {
            let Some(clock) = tracks[kind as usize].clock_at(now) else { continue };
            let written = ways.push(viewer.to, |slot| {
                let egress = &viewer.egress;
                let length = ready.control.sender_report(now, egress, kind, clock, CNAME, slot);
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

/// Sends again what the viewer lacks. Returns how many packets that were, and whether only a key
/// frame can help: something it asks for is gone, and it would ask for it nine times a second until
/// a key frame comes. What was lost before it got here may yet come.
fn repair(
    now: Instant,
    ready: &mut ReadyViewer,
    stream: &mut LocalStream,
    feedback: &Feedback,
    ways: &mut Ways,
    counters: &ShardCounters,
) -> (u32, bool) {
    let LocalStream { tracks, viewers, .. } = stream;
    let viewer = &mut viewers[ready.position];
    let (mut sent_again, mut gone) = (0, false);
    for (kind, sequence) in &feedback.lost {
        counters.nacked_packets.add(1);
        let track = &tracks[*kind as usize];
        let stream_sequence = track
            .newest_sequence()
            .and_then(|newest| viewer.egress.lane(*kind)?.stream_sequence(*sequence, newest));
        let found = stream_sequence.map_or(Recall::Gone, |number| track.recall(number, now));
        let packet = match found {
            Recall::Kept(packet) => packet,
            Recall::Awaited => {
                counters.dropped(DropReason::RepairAwaited);
                continue;
            }
            Recall::Gone => {
                gone |= *kind == TrackKind::Video;
                counters.dropped(DropReason::RepairTooOld);
                continue;
            }
        };
        if !ready.control.repair.take(now) {
            counters.dropped(DropReason::RepairLimited);
            continue;
        }
        let egress = &mut viewer.egress;
        let resend = |slot: &mut [u8]| egress.resend(packet, slot);
        match ways.push(viewer.to, resend) {
            Ok(()) => sent_again += 1,
            Err(reason) => counters.dropped(reason),
        }
    }
    counters.repaired_packets.add(u64::from(sent_again));
    (sent_again, gone)
}
