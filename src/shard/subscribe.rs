//! What a session takes: streams it is subscribed to, from the first to the last.

use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::sessions::{Ready, Taking};
use crate::egress::{Control, Egress, Reception};
use crate::id::{SessionKey, StreamKey};
use crate::limits::MAX_STREAMS_TAKEN;
use crate::media::ViewerTerms;
use crate::telemetry::limited;
use crate::track::{Source, StreamShared};

/// Why a session is not subscribed to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSubscribed {
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// It publishes the stream itself, or takes it already.
    #[error("the session has the stream already")]
    HasIt,
    /// It takes as many streams as a session may.
    #[error("the session takes {MAX_STREAMS_TAKEN} streams, and may take no more")]
    TooMany,
}

impl Core {
    /// Subscribes a session to one more stream, of which it gets the tracks in `terms`.
    pub fn subscribe(
        &mut self,
        now: Instant,
        key: SessionKey,
        stream: &Arc<StreamShared>,
        terms: ViewerTerms,
    ) -> Result<(), NotSubscribed> {
        let entry = self.sessions.get(key).ok_or(NotSubscribed::Ended)?;
        let published = entry.publishes.as_ref().map(|publishing| publishing.stream);
        let mut had = entry.takes.iter().map(|taking| taking.stream).chain(published);
        if had.any(|had| had == stream.key) {
            return Err(NotSubscribed::HasIt);
        }
        if entry.takes.len() >= MAX_STREAMS_TAKEN {
            return Err(NotSubscribed::TooMany);
        }
        entry.takes.reserve_exact(1);
        entry.takes.push(Taking { stream: stream.key, terms, ready: None });
        self.streams.join(stream);
        self.start_taking(now, key.slot);
        Ok(())
    }

    /// Ends a subscription; one that is none is ended already.
    pub fn unsubscribe(&mut self, key: SessionKey, stream: StreamKey) {
        let Some(entry) = self.sessions.get(key) else { return };
        let Some(index) = entry.takes.iter().position(|taking| taking.stream == stream) else {
            return;
        };
        let taking = entry.takes.swap_remove(index);
        self.stop_taking(key.slot, &taking);
    }

    /// Once its keys are there, the session in `slot` gets what it takes.
    pub fn start_taking(&mut self, now: Instant, slot: u32) {
        let Core { sessions, streams, paths, post, random, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        let Some(keys) = entry.keys.as_deref().filter(|_| !entry.takes.is_empty()) else { return };
        let Some(to) = paths.destination(slot) else {
            limited!(WARN, session = %entry.key, "it has keys and no address");
            return;
        };
        entry.control.get_or_insert_with(|| Box::new(Control::new(now)));
        for taking in entry.takes.iter_mut().filter(|taking| taking.ready.is_none()) {
            // Lanes have what they need of the terms.
            let terms = std::mem::take(&mut taking.terms);
            let egress = Egress::new(&terms, keys.profile, &keys.local, random.next());
            let reception = Reception::new(terms.tracks.len());
            let position = streams.add_viewer(now, taking.stream, slot, egress, to);
            taking.ready = position.map(|position| Ready { position, reception });
            let ready = &post.counters().viewers_ready;
            ready.set(ready.get() + u64::from(position.is_some()));
        }
        self.try_path(now, slot);
    }

    /// The session in `slot` takes a stream no longer. The last in the stream's order of fan-out
    /// moves into its place.
    pub fn stop_taking(&mut self, slot: u32, taking: &Taking) {
        if let Some(Ready { position, .. }) = taking.ready {
            let moved = self.streams.remove_viewer(taking.stream, position);
            let ready = &self.post.counters().viewers_ready;
            ready.set(ready.get() - 1);
            if let Some(entry) = moved.and_then(|slot| self.sessions.at(slot)) {
                let of_stream = |other: &&mut Taking| other.stream == taking.stream;
                let moved = entry.takes.iter_mut().find(of_stream);
                if let Some(ready) = moved.and_then(|moved| moved.ready.as_mut()) {
                    ready.position = position;
                }
            }
        }
        self.streams.leave(taking.stream, Source::Session(slot));
    }
}
