//! What became of sessions that are no more, and of those that never were: kept for a while, with
//! the reason in words, counted, and said once in the log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::session::LiveSession;
use super::{Caller, ControlError};
use crate::id::SessionKey;
use crate::limits::{ENDED_SESSIONS_KEPT, REFUSALS_KEPT};
use crate::shard::EndReason;
use crate::telemetry::{FailureReason, Failures, SessionCard, limited};

/// A session that has ended.
pub struct EndedSession {
    /// Which it was.
    pub key: SessionKey,
    /// What was known of it.
    pub live: LiveSession,
    /// What it was like at last.
    pub card: Option<Box<SessionCard>>,
    /// When it ended, in Unix seconds.
    pub ended_at: f64,
    /// Why.
    pub reason: EndReason,
    /// Why, in words.
    pub words: String,
    /// The publisher that has taken its place, where it was replaced.
    pub successor: Option<SessionKey>,
    /// Whether its certificate may have been of a kind that it was not asked for, and it has not
    /// come again.
    pub lacked_certificate: bool,
}

/// A POST that was refused.
pub struct Refusal {
    /// When, in Unix seconds.
    pub at: f64,
    /// The stream that was asked for.
    pub stream: Box<str>,
    /// Whether it would have published it.
    pub publisher: bool,
    /// Why.
    pub reason: FailureReason,
    /// Why, in words.
    pub words: Box<str>,
}

/// The last sessions that ended and the last POSTs that were refused. The oldest give way.
pub(super) struct EndedSessions {
    pub sessions: VecDeque<EndedSession>,
    pub refused: VecDeque<Refusal>,
    pub failures: Arc<Failures>,
}

impl EndedSessions {
    pub fn new() -> EndedSessions {
        EndedSessions {
            sessions: VecDeque::new(),
            refused: VecDeque::new(),
            failures: Arc::default(),
        }
    }

    /// Takes in a session's end and says it once; that of a viewer only when it failed, since
    /// viewers come and go by the thousand.
    pub fn add(&mut self, session: EndedSession) {
        let EndedSession { key, live, reason, words, .. } = &session;
        let (stream, label) = (&live.stream, reason.label());
        if let Some(reason) = reason.failure() {
            self.failures.count(reason);
        }
        // As fields they are escaped: a stranger's words may stand in them.
        let (why, from) = (words.as_str(), &*live.caller.words());
        if live.publisher {
            limited!(INFO, session = %key, why, from, "publisher of `{stream}` ended ({label})");
        } else if reason.failure().is_some() {
            limited!(INFO, session = %key, why, from, "viewer of `{stream}` failed ({label})");
        } else {
            limited!(DEBUG, session = %key, why, from, "viewer of `{stream}` ended ({label})");
        }
        if self.sessions.len() == ENDED_SESSIONS_KEPT {
            self.sessions.pop_front();
        }
        self.sessions.push_back(session);
    }

    /// Takes in a refused POST and says it.
    pub fn refuse(&mut self, refusal: Refusal) {
        let Refusal { stream, reason, words, publisher, .. } = &refusal;
        self.failures.count(*reason);
        let verb = if *publisher { "publish" } else { "watch" };
        let why: &str = words;
        limited!(INFO, why, "refused to {verb} `{stream}` ({})", reason.label());
        if self.refused.len() == REFUSALS_KEPT {
            self.refused.pop_front();
        }
        self.refused.push_back(refusal);
    }

    /// What to tell the client of a session that is no more, by the last part of its URL: why the
    /// server has ended it, where it decided that, and not too long ago. What the client ended or
    /// what failed is not found any more.
    pub fn gone(&self, url: &str) -> ControlError {
        let ended = self.sessions.iter().rev().find(|session| session.live.url == url);
        let by_itself = [EndReason::Deleted, EndReason::ClosedByPeer];
        let is_decided = |end: &EndReason| end.failure().is_none() && !by_itself.contains(end);
        match ended.filter(|session| is_decided(&session.reason)) {
            None => ControlError::not_found("there is no such session; it may have ended"),
            Some(EndedSession { reason, words, successor, .. }) => ControlError::Gone {
                reason: reason.label(),
                words: format!("the server has ended this session: {words}"),
                successor: *successor,
            },
        }
    }

    /// Whether a handshake for the same stream by the same caller came to nothing, maybe because
    /// its certificate was of a kind that its hello did not speak for. Each such end is told once:
    /// who fails on purpose makes others dearer no more often than that.
    pub fn lacked_certificate(&mut self, stream: &str, caller: &Caller) -> bool {
        let lacked = self.sessions.iter_mut().rev().find(|session| {
            let EndedSession { live, lacked_certificate, .. } = session;
            let same = &live.caller;
            *lacked_certificate
                && *live.stream == *stream
                && (same.ip, &same.agent) == (caller.ip, &caller.agent)
        });
        lacked.is_some_and(|session| std::mem::take(&mut session.lacked_certificate))
    }

    /// The ended session with this key. A key is given out again after 262,144 tenants of its slot:
    /// the newest counts.
    pub fn find(&self, key: SessionKey) -> Option<&EndedSession> {
        self.sessions.iter().rev().find(|session| session.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_and_the_oldest_are_forgotten() {
        let mut kept = EndedSessions::new();
        for number in 0..REFUSALS_KEPT + 3 {
            kept.refuse(Refusal {
                at: number as f64,
                stream: "s".into(),
                publisher: true,
                reason: FailureReason::NoCommonCodec,
                words: "words".into(),
            });
        }
        assert_eq!(kept.refused.len(), REFUSALS_KEPT);
        assert_eq!(kept.refused.front().map(|refusal| refusal.at), Some(3.0));
        let counted = kept.failures.get(FailureReason::NoCommonCodec);
        assert_eq!(counted, REFUSALS_KEPT as u64 + 3);
    }
}
