//! What happens to sessions, told to whoever listens.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::session::{LiveSession, unix_now};
use crate::id::SessionKey;
use crate::limits::EVENTS_KEPT;

/// Something happened to a session.
#[derive(Clone, Debug)]
pub struct SessionEvent {
    /// To which.
    pub key: SessionKey,
    /// The stream it publishes or watches.
    pub stream: Arc<str>,
    /// Whether it publishes it.
    pub publisher: bool,
    /// `created`, `connected`, `moved` or `ended`.
    pub what: &'static str,
    /// Why it ended.
    pub reason: Option<&'static str>,
    /// When, in Unix seconds.
    pub at: f64,
}

impl SessionEvent {
    pub(super) fn now(
        key: SessionKey,
        live: &LiveSession,
        what: &'static str,
        reason: Option<&'static str>,
    ) -> SessionEvent {
        let (stream, publisher) = (live.stream.clone(), live.publisher);
        SessionEvent { key, stream, publisher, what, reason, at: unix_now() }
    }
}

/// The last [`EVENTS_KEPT`] events. A listener that is slower loses the oldest and is told
/// how many; nobody waits for it.
pub(super) fn channel() -> broadcast::Sender<SessionEvent> {
    broadcast::Sender::new(EVENTS_KEPT)
}
