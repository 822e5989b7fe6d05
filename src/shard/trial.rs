//! A path that a session's media takes before the peer was seen to receive by it.
//!
//! A check says who made it, and anybody can be written on it as the sender: one forged check would
//! send a stream to whom it names for as long as the session lives. So a new address gets a share,
//! and is asked by a check of our own, which only the peer can answer and only where it receives.
//! What comes from there with the peer's keys says the same. Until then, and once the share is
//! used up, media goes by a path the peer was seen to receive by, or nowhere.

use std::time::Instant;

use super::core::Core;
use super::sessions::{Entry, Ready};
use crate::limits::{
    OWN_CHECK_PAUSE, OWN_CHECKS, UNVERIFIED_BYTES, UNVERIFIED_LOOK, UNVERIFIED_TIME,
};
use crate::paths::{Heard, Moved, Path};
use crate::track::Streams;
use crate::wire::binding::TransactionId;

/// What addresses that were not verified may still get of one session.
#[derive(Debug)]
pub(super) struct Trust {
    /// Bytes left, and since when they are counted.
    left: u32,
    since: Instant,
    trial: Option<Trial>,
}

/// A path that is not verified.
#[derive(Debug)]
struct Trial {
    path: Path,
    /// The check of ours that waits for its answer.
    asked: TransactionId,
    checks: u8,
    next_check: Instant,
    /// Bytes of media the session had been sent at the last look.
    sent: u32,
    next_look: Instant,
    /// The share was used up.
    is_over: bool,
}

impl Trust {
    pub fn new(now: Instant) -> Trust {
        Trust { left: UNVERIFIED_BYTES, since: now, trial: None }
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let trial = self.trial.as_ref()?;
        let check = (trial.checks < OWN_CHECKS).then_some(trial.next_check);
        let look = (!trial.is_over).then_some(trial.next_look);
        check.into_iter().chain(look).min()
    }

    /// Media takes `path` from now on, of which `sent` bytes were sent before. True when there is
    /// nothing left for it.
    fn try_path(&mut self, now: Instant, path: Path, sent: u32) -> bool {
        if now >= self.since + UNVERIFIED_TIME {
            (self.left, self.since) = (UNVERIFIED_BYTES, now);
        }
        let is_over = self.left == 0;
        match &mut self.trial {
            Some(trial) if trial.path == path => {
                (trial.sent, trial.next_look, trial.is_over) = (sent, now, is_over);
                if trial.checks >= OWN_CHECKS && now >= trial.next_check {
                    trial.checks = 0;
                }
            }
            trial => {
                let (asked, checks) = (TransactionId::default(), 0);
                let (next_check, next_look) = (now, now);
                *trial = Some(Trial { path, asked, checks, next_check, sent, next_look, is_over });
            }
        }
        is_over
    }

    /// Takes what was sent since the last look off the share; true when nothing is left of it.
    fn spend(&mut self, now: Instant, sent: u32) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        let since = sent.wrapping_sub(std::mem::replace(&mut trial.sent, sent));
        trial.next_look = now + UNVERIFIED_LOOK;
        self.left = self.left.saturating_sub(since);
        trial.is_over |= self.left == 0;
        trial.is_over
    }
}

impl Core {
    /// A session's datagrams take another path from here on.
    pub fn follow(&mut self, now: Instant, moved: Moved) {
        let Moved { slot, to, had_one } = moved;
        self.moved(now, slot, had_one);
        self.viewer_moved(slot, to);
        self.try_path(now, slot);
    }

    /// The datagrams of the session in `slot` may go by another path than before, or there may be
    /// media for it now: if the path in use is not verified, its trial begins.
    pub fn try_path(&mut self, now: Instant, slot: u32) {
        let Core { sessions, streams, paths, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        let Some(path) = paths.path(slot) else { return };
        let gets_media = entry.first_ready().is_some();
        if paths.is_verified(slot, &path) {
            // One that is over waits for its verdict.
            entry.trust.trial.take_if(|trial| !trial.is_over);
            self.mute(slot, false);
        } else if gets_media {
            let sent = bytes_sent(entry, streams);
            if entry.trust.try_path(now, path, sent) {
                self.retreat(now, slot);
            }
        }
        if let Some(entry) = self.sessions.at(slot) {
            self.timers.schedule(slot, entry.deadline(self.setup_timeout));
        }
    }

    /// Goes on with the trial of the session in `slot`, if it has one.
    pub fn go_on_trial(&mut self, now: Instant, slot: u32) {
        let Core { sessions, streams, paths, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        if entry.trust.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let sent = bytes_sent(entry, streams);
        let Some(Trial { path, is_over: was_over, .. }) = entry.trust.trial else { return };
        if paths.path(slot) == Some(path) && entry.trust.spend(now, sent) && !was_over {
            self.retreat(now, slot);
        }
        self.ask_path(now, slot);
    }

    /// The share is used up.
    fn retreat(&mut self, now: Instant, slot: u32) {
        match self.paths.retreat(slot) {
            Some(moved) => self.follow(now, moved),
            None => self.mute(slot, true),
        }
    }

    /// Sends the path on trial a check of our own, if it is time.
    fn ask_path(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let Some(trial) = &mut entry.trust.trial else { return };
        if trial.checks >= OWN_CHECKS || now < trial.next_check {
            return;
        }
        trial.next_check = now + OWN_CHECK_PAUSE * (1 << trial.checks);
        trial.checks += 1;
        // The answer must not be foreseen by whoever does not get the question.
        if getrandom::fill(&mut trial.asked).is_err() {
            return;
        }
        let to = trial.path.destination(false);
        if let Some(check) = entry.session.binding_request(trial.asked) {
            self.send(to, &check);
            self.post.counters().stun_requests_out.add(1);
        }
    }

    /// A STUN message that is no request has come by `path` for the session in `slot`. True when it
    /// answers our check there.
    pub fn takes_answer(&mut self, now: Instant, slot: u32, path: &Path, message: &[u8]) -> bool {
        let Some(entry) = self.sessions.at(slot) else { return false };
        let trial = entry.trust.trial.as_ref().filter(|trial| trial.path == *path);
        let Some(asked) = trial.map(|trial| trial.asked) else { return false };
        if entry.session.answered_check(message) != Some(asked) {
            return false;
        }
        self.paths.verify(slot, path);
        self.verified(now, slot, path);
        true
    }

    /// What follows from something that authenticated and has come by `path`.
    pub fn on_heard(&mut self, now: Instant, slot: u32, path: &Path, heard: Heard) {
        if let Some(moved) = heard.moved {
            self.follow(now, moved);
        }
        if heard.verified {
            self.verified(now, slot, path);
        }
    }

    /// The peer of the session in `slot` receives by `path`: media goes on there, or goes there
    /// again where it was chosen and its share was used up.
    pub fn verified(&mut self, now: Instant, slot: u32, path: &Path) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let on_trial = entry.trust.trial.take_if(|trial| trial.path == *path).is_some();
        if on_trial && let Some(moved) = self.paths.take_path(slot, path) {
            self.follow(now, moved);
        }
        self.try_path(now, slot);
    }

    /// Whether the session in `slot` is sent no media for now.
    fn mute(&mut self, slot: u32, muted: bool) {
        let Some(entry) = self.sessions.at(slot) else { return };
        for taking in &entry.takes {
            let Some(Ready { position, .. }) = taking.ready else { continue };
            let stream = self.streams.get_mut(taking.stream);
            if let Some(viewer) = stream.and_then(|stream| stream.viewer_mut(position)) {
                viewer.muted = muted;
            }
        }
    }
}

/// Payload that a session was sent; it wraps.
fn bytes_sent(entry: &Entry, streams: &Streams) -> u32 {
    let ready =
        entry.takes.iter().filter_map(|taking| Some((taking.stream, taking.ready.as_ref()?)));
    let viewers = ready.filter_map(|(stream, ready)| streams.get(stream)?.viewer(ready.position));
    let lanes = viewers.flat_map(|viewer| viewer.egress.lanes());
    lanes.fold(0, |sum, lane| sum.wrapping_add(lane.sent().1))
}

const _: () = assert!(OWN_CHECKS < 16, "the pauses between our checks stay below half an hour");
