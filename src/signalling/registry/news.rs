//! What happens to sessions, told to whoever listens.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::roster::{Live, unix_now};
use crate::id::SessionKey;
use crate::limits::NEWS_KEPT;

/// Something happened to a session.
#[derive(Clone, Debug)]
pub struct News {
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

impl News {
    pub(super) fn now(
        key: SessionKey,
        live: &Live,
        what: &'static str,
        reason: Option<&'static str>,
    ) -> News {
        let (stream, publisher) = (live.stream.clone(), live.publisher);
        News { key, stream, publisher, what, reason, at: unix_now() }
    }
}

/// The last [`NEWS_KEPT`] pieces of news. A listener that is slower loses the oldest and is told
/// how many; nobody waits for it.
pub(super) fn channel() -> broadcast::Sender<News> {
    broadcast::Sender::new(NEWS_KEPT)
}
