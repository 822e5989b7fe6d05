//! What the API reads: sessions, streams, and what became of them.
//!
//! Everything is shown in place, under the registry's lock, and nothing is copied that the visitor
//! does not copy. Visitors are quick and never wait.

use std::ops::Bound;
use std::ops::ControlFlow;

use tokio::sync::broadcast;

use super::ended::{EndedSession, Refusal};
use super::events::SessionEvent;
use super::history::Changes;
use super::registry::Registry;
use super::session::{LiveSession, unix_now};
use super::slots::Slots;
use super::{Control, session};
use crate::id::SessionKey;
use crate::limits::{
    ENDED_SESSIONS_KEPT, MAX_TEMPLATES, SESSION_HISTORY_BYTES, SESSIONS_PER_LOOK, TEMPLATE_BYTES,
};
use crate::telemetry::{Failures, MemoryTerm};
use crate::track::StreamShared;

/// A stream as the control side knows it.
pub struct StreamView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who publishes it, or is expected to, with what is known of that session.
    pub publisher: Option<(SessionKey, Option<&'a LiveSession>)>,
    /// Who watches it, connected or not.
    pub viewers: &'a [SessionKey],
    /// The codec of its audio.
    pub audio: Option<&'static str>,
    /// The codec of its video.
    pub video: Option<&'static str>,
    /// What the shards know of it.
    pub shared: &'a StreamShared,
}

impl Control {
    /// Shows the sessions there are, in the order of their keys, from the one behind `after` on,
    /// until `visit` has seen enough. In steps of [`SESSIONS_PER_LOOK`], so that nobody waits long
    /// for the lock.
    pub fn each_session(
        &self,
        after: Option<SessionKey>,
        mut visit: impl FnMut(SessionKey, &LiveSession) -> ControlFlow<()>,
    ) {
        let mut start = after.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let registry = self.lock();
            let mut seen = 0;
            let behind = registry.live.range((start, Bound::Unbounded));
            for (key, live) in behind.take(SESSIONS_PER_LOOK) {
                if visit(*key, live).is_break() {
                    return;
                }
                seen += 1;
                start = Bound::Excluded(*key);
            }
            if seen < SESSIONS_PER_LOOK {
                return;
            }
        }
    }

    /// Looks at every session's card: who has connected or moved since the last look is told to
    /// listeners, and with `record` each gets a point of its history. In steps of
    /// [`SESSIONS_PER_LOOK`], so that nobody waits long for the lock.
    pub fn look_at_sessions(&self, record: bool) {
        let mut after = Bound::Unbounded;
        loop {
            let mut registry = self.lock();
            let now = unix_now();
            let Registry { live, events, .. } = &mut *registry;
            let mut looked = 0;
            for (key, session) in live.range_mut((after, Bound::Unbounded)).take(SESSIONS_PER_LOOK)
            {
                looked += 1;
                after = Bound::Excluded(*key);
                let Some(card) = self.card(*key) else { continue };
                let Changes { connected, moved } = session.history.look(&card, now);
                for what in [("connected", connected), ("moved", moved)] {
                    if let (what, true) = what {
                        let _ = events.send(SessionEvent::now(*key, session, what, None));
                    }
                }
                if record && card.stage.is_connected() {
                    session.history.record(&card, now);
                }
            }
            if looked < SESSIONS_PER_LOOK {
                return;
            }
        }
    }

    /// Shows one session, if it lives.
    pub fn with_session<T>(
        &self,
        key: SessionKey,
        show: impl FnOnce(&LiveSession) -> T,
    ) -> Option<T> {
        self.lock().live.get(&key).map(show)
    }

    /// Shows one session that has ended not too long ago.
    pub fn with_ended<T>(
        &self,
        key: SessionKey,
        show: impl FnOnce(&EndedSession) -> T,
    ) -> Option<T> {
        self.lock().ended.find(key).map(show)
    }

    /// Shows the sessions that have ended, the latest first, until `visit` has seen enough.
    pub fn each_ended(&self, mut visit: impl FnMut(&EndedSession) -> ControlFlow<()>) {
        let registry = self.lock();
        for session in registry.ended.sessions.iter().rev() {
            if visit(session).is_break() {
                return;
            }
        }
    }

    /// Shows the POSTs that were refused, the latest first, until `visit` has seen enough.
    pub fn each_refusal(&self, mut visit: impl FnMut(&Refusal) -> ControlFlow<()>) {
        let registry = self.lock();
        for refusal in registry.ended.refused.iter().rev() {
            if visit(refusal).is_break() {
                return;
            }
        }
    }

    /// Shows the streams there are by name, from the one behind `after` on, until `visit` has seen
    /// enough.
    pub fn each_stream(
        &self,
        after: Option<&str>,
        mut visit: impl FnMut(StreamView<'_>) -> ControlFlow<()>,
    ) {
        let registry = self.lock();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, stream) in registry.streams.range::<str, _>((start, Bound::Unbounded)) {
            let view = StreamView {
                name,
                publisher: stream.expected().map(|key| (key, registry.live.get(&key))),
                viewers: stream.viewers.keys(),
                audio: stream.codecs.audio.as_ref().map(session::name),
                video: stream.codecs.video.as_ref().map(session::name),
                shared: &stream.shared,
            };
            if visit(view).is_break() {
                return;
            }
        }
    }

    /// What happens to sessions from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<SessionEvent> {
        self.lock().events.subscribe()
    }

    /// Sessions that failed, by reason.
    #[must_use]
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Whether new sessions are refused because the server stops.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Publishers on each shard.
    #[must_use]
    pub fn publishers_by_shard(&self) -> Vec<usize> {
        self.lock().publishers.clone()
    }

    /// Sessions there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.lock().slots.iter().map(Slots::capacity).sum()
    }

    /// The parts of the memory that have a name: those the shards share, and what is kept of
    /// sessions here. A history is counted in full from its session's start.
    #[must_use]
    pub fn memory_terms(&self) -> Vec<MemoryTerm> {
        let mut terms = self.wiring.memory_terms();
        let registry = self.lock();
        let (live, ended) = (registry.live.len(), registry.ended.sessions.len());
        let room: usize = registry.slots.iter().map(Slots::capacity).sum();
        let templates = self.negotiator.template_bytes();
        let budget_bytes = templates.max(MAX_TEMPLATES * TEMPLATE_BYTES);
        terms.push(MemoryTerm { name: "templates", bytes: templates, budget_bytes });
        for (name, now, most) in
            [("session_histories", live, room), ("ended_sessions", ended, ENDED_SESSIONS_KEPT)]
        {
            let bytes =
                |sessions: usize| sessions * (SESSION_HISTORY_BYTES + size_of::<LiveSession>());
            terms.push(MemoryTerm { name, bytes: bytes(now), budget_bytes: bytes(most) });
        }
        terms
    }
}
