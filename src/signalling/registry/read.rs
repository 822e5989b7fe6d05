//! What the API reads: sessions, streams, and what became of them.
//!
//! Everything is shown in place, under the registry's lock, and nothing is copied that the visitor
//! does not copy. Visitors are quick and never wait.

use std::ops::Bound;
use std::ops::ControlFlow;

use tokio::sync::broadcast;

use super::journal::{EndedSession, Refusal};
use super::news::News;
use super::roster::Live;
use super::{Control, roster};
use crate::id::SessionKey;
use crate::telemetry::Failures;

/// A stream as the control side knows it.
pub struct StreamView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who publishes it.
    pub publisher: Option<SessionKey>,
    /// Who watches it, connected or not.
    pub viewers: &'a [SessionKey],
    /// The codec of its audio.
    pub audio: Option<&'static str>,
    /// The codec of its video.
    pub video: Option<&'static str>,
}

impl Control {
    /// Shows the sessions there are, in the order of their keys, from the one behind `after` on,
    /// until `visit` has seen enough.
    pub fn each_session(
        &self,
        after: Option<SessionKey>,
        mut visit: impl FnMut(SessionKey, &Live) -> ControlFlow<()>,
    ) {
        let registry = self.lock();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, live) in registry.live.range((start, Bound::Unbounded)) {
            if visit(*key, live).is_break() {
                return;
            }
        }
    }

    /// Shows one session, if it lives.
    pub fn with_session<T>(&self, key: SessionKey, show: impl FnOnce(&Live) -> T) -> Option<T> {
        self.lock().live.get(&key).map(show)
    }

    /// Shows one session that has ended not too long ago.
    pub fn with_ended<T>(
        &self,
        key: SessionKey,
        show: impl FnOnce(&EndedSession) -> T,
    ) -> Option<T> {
        self.lock().journal.find(key).map(show)
    }

    /// Shows the sessions that have ended, the latest first, until `visit` has seen enough.
    pub fn each_ended(&self, mut visit: impl FnMut(&EndedSession) -> ControlFlow<()>) {
        let registry = self.lock();
        for session in registry.journal.ended.iter().rev() {
            if visit(session).is_break() {
                return;
            }
        }
    }

    /// Shows the POSTs that were refused, the latest first, until `visit` has seen enough.
    pub fn each_refusal(&self, mut visit: impl FnMut(&Refusal) -> ControlFlow<()>) {
        let registry = self.lock();
        for refusal in registry.journal.refused.iter().rev() {
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
                publisher: stream.publisher,
                viewers: &stream.viewers,
                audio: stream.codecs.audio.as_ref().map(roster::name),
                video: stream.codecs.video.as_ref().map(roster::name),
            };
            if visit(view).is_break() {
                return;
            }
        }
    }

    /// What happens to sessions from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.lock().news.subscribe()
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

    /// Sessions by mux port.
    #[must_use]
    pub fn sessions_by_port(&self) -> Vec<usize> {
        self.lock().port_sessions.clone()
    }
}
