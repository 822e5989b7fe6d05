//! What viewers report and are told: repair, key frames, sender reports, moves.

use std::time::Instant;

use super::core::{Core, Scratch};
use super::outputs::Outlets;
use super::sessions::Entry;
use crate::drop::DropReason;
use crate::limits::REPORT_INTERVAL;
use crate::net::{Destination, Way};
use crate::session::CNAME;

impl Core {
    /// Datagrams of the session in `slot` go to `to` from here on: its media follows at once.
    pub fn viewer_moved(&mut self, slot: u32, to: Destination) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let Some(ready) = &entry.viewer else { return };
        let (position, stream) = (ready.position, entry.stream);
        let stream = self.streams.get_mut(stream);
        if let Some(viewer) = stream.and_then(|stream| stream.viewer_mut(position)) {
            viewer.to = to;
        }
    }

    /// Sends the viewer in `slot` its sender reports, if it is time.
    pub fn report(&mut self, now: Instant, slot: u32) {
        let Core { sessions, streams, paths, post, .. } = self;
        let counters = post.counters();
        let Some(entry) = sessions.at(slot) else { return };
        let Some(ready) = entry.viewer.as_mut().filter(|v| v.control.next_report <= now) else {
            return;
        };
        let Some(stream) = streams.get(entry.stream) else { return };
        ready.control.next_report = now + REPORT_INTERVAL;
        let Some(viewer) = stream.viewer(ready.position) else { return };
        for (number, lane) in viewer.egress.lanes().iter().enumerate() {
            let track = stream.track(lane.id());
            let Some(clock) = track.and_then(|track| track.clock_at(now)) else { continue };
            let written = paths.ways.push(viewer.to, |slot| {
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

/// One SRTCP datagram of the viewer whose session `entry` is.
pub(super) fn hear_viewer(
    now: Instant,
    entry: &mut Entry,
    bytes: &[u8],
    scratch: &mut Scratch,
    outlets: Outlets<'_>,
) -> Result<(), DropReason> {
    let Outlets { streams, paths, post } = outlets;
    let Scratch { feedback, opened, .. } = scratch;
    let counters = post.counters();
    let ready = entry.viewer.as_mut().ok_or(DropReason::BeforeKeys)?;
    let key = entry.stream;
    let viewer = streams.get_mut(key).and_then(|stream| stream.viewer_mut(ready.position));
    let viewer = viewer.ok_or(DropReason::StaleFlow)?;
    opened.clear();
    opened.extend_from_slice(bytes);
    feedback.clear();
    ready.control.receive(now, &mut viewer.egress, opened, feedback)?;
    entry.heard = now;
    counters.viewer_reports.add(1);
    if feedback.asks_for_keyframe {
        counters.keyframe_requests_in.add(1);
        entry.watch.keyframe_requests += 1;
    }
    if feedback.asks_for_something() {
        entry.watch.nacked += feedback.lost.len() as u32 + feedback.refused as u32;
        let place = (key, ready.position);
        entry.watch.repaired +=
            streams.answer(now, place, &mut ready.control, feedback, &mut paths.ways, counters);
    }
    Ok(())
}
