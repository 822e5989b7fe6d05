//! The control side between two processes of which the later one has taken over from the earlier
//! one; see `node/takeover`.

use std::sync::{Arc, PoisonError};

use super::streams::Stream;
use super::{Control, ControlError};
use crate::shard::EndReason;

/// The process that this one has taken over from.
pub trait EarlierProcess: Send + Sync {
    /// A publisher of `stream` has gone live here.
    fn went_live(&self, stream: &str);

    /// What it has left.
    fn left(&self) -> EarlierLeft;
}

/// What a process has left that was taken over, with those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierLeft {
    /// Its number.
    pub pid: i32,
    /// Of its program.
    pub version: Box<str>,
    /// Sessions.
    pub sessions: usize,
    /// Streams.
    pub streams: usize,
}

impl Control {
    /// This process has taken over from `earlier`, until that has gone.
    pub fn set_earlier(&self, earlier: Option<Arc<dyn EarlierProcess>>) {
        *self.earlier.lock().unwrap_or_else(PoisonError::into_inner) = earlier;
    }

    /// The process that this one has taken over from, while it is there.
    #[must_use]
    pub fn earlier(&self) -> Option<Arc<dyn EarlierProcess>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another process has taken over: only streams that are published here get viewers from here
    /// on. Or it has gone again, and everything is as before.
    pub fn pass_on(&self, passed_on: bool) {
        self.lock().passed_on = passed_on;
    }

    /// Whether another process has taken over.
    #[must_use]
    pub fn has_passed_on(&self) -> bool {
        self.lock().passed_on
    }

    /// Whether somebody publishes `stream` here, and is not just about to.
    #[must_use]
    pub fn is_live(&self, stream: &str) -> bool {
        self.lock().streams.get(stream).and_then(Stream::publisher).is_some()
    }

    /// `stream` is published by a later process from here on: whoever publishes it here is ended,
    /// and its viewers are told to reconnect.
    pub fn moved_on(&self, stream: &str) {
        let mut registry = self.lock();
        let Some(known) = registry.streams.get_mut(stream) else { return };
        known.moved_on = true;
        let publishers: Vec<_> = known.publisher().into_iter().chain(known.candidates()).collect();
        let replaced = publishers.into_iter().map(|key| (key, EndReason::Replaced));
        registry.ending.extend(replaced);
        self.end_soon(&mut registry);
    }

    /// Ends the viewers that `stream` still has after [`Control::moved_on`].
    pub fn end_left_behind(&self, stream: &str) {
        let mut registry = self.lock();
        let known = registry.streams.get(stream).filter(|known| known.moved_on);
        let viewers = known.map(|known| known.viewers.keys().to_vec()).unwrap_or_default();
        registry.ending.extend(viewers.into_iter().map(|key| (key, EndReason::Stopping)));
        self.end_soon(&mut registry);
    }

    /// Refuses what can't be done while the earlier process has sessions at the mux ports too.
    pub(super) fn ports_are_ours(&self, number: u16) -> Result<(), ControlError> {
        match self.earlier() {
            None => Ok(()),
            Some(earlier) => {
                let EarlierLeft { pid, sessions, .. } = earlier.left();
                Err(ControlError::conflict(format!(
                    "UDP port {number} is also that of process {pid}, which was taken over and has \
                     {sessions} sessions left: drain the port once they have ended"
                )))
            }
        }
    }
}
