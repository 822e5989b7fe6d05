//! What happens to streams and sessions, for a listener that is to miss nothing.

use super::session::LiveSession;
use crate::id::SessionKey;
use crate::shard::EndReason;
use crate::telemetry::SessionCard;

/// Hears of all that happens, in its order. It is told under a lock that requests wait for: it
/// takes note and does not wait.
pub trait Listener: Send + Sync {
    /// Takes note of it.
    fn hear(&self, news: &News<'_>);
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody publishes the stream, whom nobody did before, and media has come.
    StreamStarted,
    /// Nobody publishes it any more.
    StreamEnded,
    /// A session is connected.
    SessionJoined,
    /// A session that was connected is no more, as somebody wanted.
    SessionLeft,
    /// A session has failed, connected or not.
    SessionFailed,
}

/// Something has happened to a session, or to the stream that it publishes.
pub struct News<'a> {
    /// What.
    pub what: Happening,
    /// To which session, or by which.
    pub key: SessionKey,
    /// What is known of it.
    pub live: &'a LiveSession,
    /// How it came to its end, if it has.
    pub end: Option<End<'a>>,
    /// When, in Unix seconds.
    pub at: f64,
}

/// The end of a session.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Why.
    pub reason: EndReason,
    /// Why, in words.
    pub words: &'a str,
    /// What it was like at last.
    pub card: Option<&'a SessionCard>,
}
