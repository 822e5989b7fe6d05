//! What viewers report and are told: repair, key frames, sender reports, moves.

use std::time::Instant;

use super::core::Core;
use super::outputs::Outlets;
use super::sessions::{Entry, Ready, Taking};
use crate::drop::DropReason;
use crate::egress::{Feedback, Lane};
use crate::id::{SessionKey, TrackKind};
use crate::limits::{MAX_DATAGRAM_OUT, REPORT_INTERVAL};
use crate::net::{Destination, Way};
use crate::track::{Viewer, Wish};

/// Why a layer is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWished {
    /// The session has no keys yet.
    #[error("the session has not connected yet: ask when it plays")]
    NotReady,
    /// It takes no video in that section.
    #[error("the session takes no video in that section (mediaId is its a=mid)")]
    NoVideo,
}

impl Core {
    /// The client of a session wants a layer of what comes in the section `mid`, else in its first
    /// of video.
    pub fn wish(
        &mut self,
        now: Instant,
        key: SessionKey,
        mid: Option<&str>,
        wish: Wish,
    ) -> Result<(), NotWished> {
        let Core { sessions, streams, .. } = self;
        let entry = sessions.get(key).ok_or(NotWished::NotReady)?;
        let mut ready = false;
        for Taking { stream, ready: place, .. } in &entry.takes {
            let Some(Ready { position, .. }) = place else { continue };
            let viewer = streams.get(*stream).and_then(|stream| stream.viewer(*position));
            let Some(viewer) = viewer else { continue };
            ready = true;
            let is_it = |lane: &Lane| {
                lane.id().kind == TrackKind::Video && mid.is_none_or(|mid| lane.is_section(mid))
            };
            if let Some(lane) = viewer.egress.lanes().iter().position(is_it) {
                streams.wish(now, (*stream, *position), lane, wish);
                return Ok(());
            }
        }
        Err(if ready { NotWished::NoVideo } else { NotWished::NotReady })
    }

    /// Datagrams of the session in `slot` go to `to` from here on: its media follows at once.
    pub fn viewer_moved(&mut self, slot: u32, to: Destination) {
        let Some(entry) = self.sessions.at(slot) else { return };
        for taking in &entry.takes {
            let Some(Ready { position, .. }) = taking.ready else { continue };
            let stream = self.streams.get_mut(taking.stream);
            if let Some(viewer) = stream.and_then(|stream| stream.viewer_mut(position)) {
                viewer.to = to;
            }
        }
    }

    /// Sends the viewer in `slot` its sender reports, if it is time.
    pub fn report(&mut self, now: Instant, slot: u32) {
        let Core { sessions, streams, paths, post, .. } = self;
        let counters = post.counters();
        let Some(entry) = sessions.at(slot) else { return };
        let due = entry.control.as_mut().filter(|control| control.next_report <= now);
        let (Some(control), Some(keys)) = (due, &mut entry.keys) else { return };
        control.next_report = now + REPORT_INTERVAL;
        let wall = entry.watch.ntp_at(now);
        for Taking { stream: key, ready, .. } in &mut entry.takes {
            let Some(ready) = ready else { continue };
            streams.consider(now, *key, ready.position);
            let Some(stream) = streams.get(*key) else { continue };
            let Some(viewer) = stream.viewer(ready.position) else { continue };
            let Viewer { egress, to, .. } = viewer;
            for (number, lane) in egress.lanes().iter().enumerate() {
                let layer = (lane.id(), lane.layer());
                let Some(clock) = stream.clock_at(layer, now, wall) else { continue };
                let written = paths.ways.push(*to, |slot| {
                    let room = slot.len().min(MAX_DATAGRAM_OUT) - keys.sealer.overhead();
                    let heard = &mut ready.reception;
                    let length = heard.sender_report(now, egress, number, clock, &mut slot[..room]);
                    Ok(keys.sealer.seal(slot, length.ok_or(DropReason::NoReport)?))
                });
                // No report before the track plays is nothing lost.
                if let Err(reason) = written
                    && reason != DropReason::NoReport
                {
                    counters.dropped(reason);
                }
            }
        }
        self.judge_viewer(now, slot);
    }
}

/// What the session `entry` reports, as a compound, of the streams it takes.
pub(super) fn hear_viewer(
    now: Instant,
    entry: &mut Entry,
    compound: &[u8],
    feedback: &mut Feedback,
    outlets: Outlets<'_>,
) -> Result<(), DropReason> {
    let Outlets { streams, paths, post } = outlets;
    let counters = post.counters();
    let control = entry.control.as_mut().ok_or(DropReason::StaleFlow)?;
    let mut taken = Err(DropReason::StaleFlow);
    let mut asks_for_keyframe = false;
    for Taking { stream: key, ready, .. } in &mut entry.takes {
        let Some(Ready { position, reception }) = ready else { continue };
        let viewer = streams.get_mut(*key).and_then(|stream| stream.viewer_mut(*position));
        let Some(viewer) = viewer else { continue };
        feedback.clear();
        taken = reception.read(now, &mut viewer.egress, compound, feedback);
        asks_for_keyframe |= feedback.asks_for_keyframe;
        counters.transport_feedback.add(u64::from(feedback.arrivals));
        if feedback.arrivals > 0 || feedback.tells {
            streams.adapt(now, (*key, *position));
        }
        if feedback.asks_for_something() {
            entry.watch.nacked += feedback.lost.len() as u32 + feedback.refused as u32;
            let (place, ways) = ((*key, *position), &mut paths.ways);
            entry.watch.repaired += streams.answer(now, place, control, feedback, ways, counters);
        }
    }
    taken?;
    entry.heard = now;
    counters.viewer_reports.add(1);
    if asks_for_keyframe {
        counters.keyframe_requests_in.add(1);
        entry.watch.keyframe_requests += 1;
    }
    Ok(())
}
