//! Ending what others have set up.

use super::{Control, ControlError};
use crate::id::SessionKey;
use crate::shard::EndReason;

impl Control {
    /// Ends a session, by its public name. Its client is told why when it asks.
    ///
    /// # Errors
    /// 404 when there is none; 503 when its shard is too busy to be told.
    pub fn kick_session(&self, key: SessionKey) -> Result<(), ControlError> {
        let registry = self.lock();
        if !registry.live.contains_key(&key) {
            return Err(ControlError::not_found(format!("there is no session {key}")));
        }
        self.end(key, EndReason::Kicked)
    }

    /// Ends everybody who watches, since the server stops. Returns how many they are.
    pub fn end_viewers(&self) -> usize {
        let mut registry = self.lock();
        let streams = registry.streams.values();
        let viewers = streams.flat_map(|stream| stream.viewers.keys().iter().copied());
        let all: Vec<_> = viewers.map(|key| (key, EndReason::Stopping)).collect();
        let count = all.len();
        registry.ending.extend(all);
        self.end_soon(&mut registry);
        count
    }

    /// Ends everybody who publishes or watches the stream `name`, or is about to. Returns how many
    /// they are.
    ///
    /// # Errors
    /// 404 when there is no such stream; 503 when a shard is too busy to be told of those who were
    /// to be ended before.
    pub fn kick_stream(&self, name: &str) -> Result<usize, ControlError> {
        let mut registry = self.lock();
        if !self.end_those_to_be_ended(&mut registry) {
            return Err(ControlError::overloaded("a shard has sessions to end already"));
        }
        let stream = registry.streams.get(name);
        let stream = stream.ok_or_else(|| {
            ControlError::not_found(format!("nobody publishes or watches `{name}`"))
        })?;
        let publishers = stream.publisher().into_iter().chain(stream.candidates());
        let all = publishers.chain(stream.viewers.keys().iter().copied());
        let all: Vec<_> = all.map(|key| (key, EndReason::Kicked)).collect();
        let count = all.len();
        registry.ending.extend(all);
        self.end_soon(&mut registry);
        Ok(count)
    }
}
