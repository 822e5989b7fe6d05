//! What became of sessions that are no more, and of those that never were: kept for a while, with
//! the reason in words, counted, and said once in the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::roster::Live;
use crate::id::SessionKey;
use crate::limits::{ENDED_SESSIONS_KEPT, FAILURE_LINES_PER_SECOND, REFUSALS_KEPT};
use crate::shard::EndReason;
use crate::telemetry::{FailureReason, Failures, SessionCard};

/// A session that has ended.
pub struct EndedSession {
    /// Which it was.
    pub key: SessionKey,
    /// What was known of it.
    pub live: Live,
    /// What it was like at last.
    pub card: Option<Box<SessionCard>>,
    /// When it ended, in Unix seconds.
    pub ended_at: f64,
    /// Why.
    pub reason: EndReason,
    /// Why, in words.
    pub words: String,
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
pub(super) struct Journal {
    pub ended: VecDeque<EndedSession>,
    pub refused: VecDeque<Refusal>,
    pub failures: Arc<Failures>,
    lines: Lines,
}

impl Journal {
    pub fn new() -> Journal {
        Journal {
            ended: VecDeque::new(),
            refused: VecDeque::new(),
            failures: Arc::default(),
            lines: Lines::new(Instant::now()),
        }
    }

    /// Takes in a session's end and says it once. A publisher's end is always said; that of a
    /// viewer only when it failed, since viewers come and go by the thousand, and a few a second.
    pub fn end(&mut self, session: EndedSession) {
        let EndedSession { key, live, reason, words, .. } = &session;
        let (stream, label) = (&live.stream, reason.label());
        if let Some(reason) = reason.failure() {
            self.failures.count(reason);
        }
        if live.publisher {
            tracing::info!(session = %key, "publisher of `{stream}` ended ({label}): {words}");
        } else if reason.failure().is_some() && self.lines.take(Instant::now()) {
            tracing::info!(session = %key, "viewer of `{stream}` failed ({label}): {words}");
        } else {
            tracing::debug!(session = %key, "viewer of `{stream}` ended ({label}): {words}");
        }
        if self.ended.len() == ENDED_SESSIONS_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(session);
    }

    /// Takes in a refused POST and says it, a few times a second.
    pub fn refuse(&mut self, refusal: Refusal) {
        let Refusal { stream, reason, words, publisher, .. } = &refusal;
        self.failures.count(*reason);
        if self.lines.take(Instant::now()) {
            let verb = if *publisher { "publish" } else { "watch" };
            tracing::info!("refused to {verb} `{stream}` ({}): {words}", reason.label());
        }
        if self.refused.len() == REFUSALS_KEPT {
            self.refused.pop_front();
        }
        self.refused.push_back(refusal);
    }

    /// The ended session with this key. A key is given out again after 262,144 tenants of its slot:
    /// the newest counts.
    pub fn find(&self, key: SessionKey) -> Option<&EndedSession> {
        self.ended.iter().rev().find(|session| session.key == key)
    }
}

/// How many more lines about strangers' failures the log takes in this second.
struct Lines {
    since: Instant,
    said: u32,
    left_out: u64,
}

impl Lines {
    fn new(now: Instant) -> Lines {
        Lines { since: now, said: 0, left_out: 0 }
    }

    /// Whether one more may be said. What was left out is said with the next that may.
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            if self.left_out > 0 {
                tracing::info!("{} more sessions failed than were told of here", self.left_out);
            }
            *self = Lines::new(now);
        }
        if self.said == FAILURE_LINES_PER_SECOND {
            self.left_out += 1;
            return false;
        }
        self.said += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_has_as_many_again() {
        let start = Instant::now();
        let mut lines = Lines::new(start);
        let said = (0..100).filter(|_| lines.take(start)).count();
        assert_eq!(said, FAILURE_LINES_PER_SECOND as usize);
        assert_eq!(lines.left_out, 100 - u64::from(FAILURE_LINES_PER_SECOND));
        assert!(lines.take(start + Duration::from_secs(1)));
        assert_eq!(lines.left_out, 0);
    }

    #[test]
    fn refusals_are_counted_and_the_oldest_are_forgotten() {
        let mut journal = Journal::new();
        for number in 0..REFUSALS_KEPT + 3 {
            journal.refuse(Refusal {
                at: number as f64,
                stream: "s".into(),
                publisher: true,
                reason: FailureReason::NoCommonCodec,
                words: "words".into(),
            });
        }
        assert_eq!(journal.refused.len(), REFUSALS_KEPT);
        assert_eq!(journal.refused.front().map(|refusal| refusal.at), Some(3.0));
        let counted = journal.failures.get(FailureReason::NoCommonCodec);
        assert_eq!(counted, REFUSALS_KEPT as u64 + 3);
    }
}
