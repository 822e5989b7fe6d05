//! A look ahead over a received batch: whose its datagrams are, and what of memory they will touch.
//!
//! Thousands of small streams have more memory than the near caches hold: the session of each
//! datagram is cold, and each step from it (to its ingest, its stream, its track, its viewer) waits
//! for the one before. Taken a batch at a time the waits lie side by side.

use std::net::{IpAddr, SocketAddr};

use super::core::Core;
use crate::net::{prefetch, prefetch_bytes};
use crate::track::Step;

impl Core {
    /// A batch that came in at the port in slot `port` is about to be handled, in messages of
    /// these `senders`, each with our address that it was sent to. Nothing is decided by this.
    pub fn look_ahead(&mut self, port: u32, senders: impl Iterator<Item = (SocketAddr, IpAddr)>) {
        let mut ahead = std::mem::take(&mut self.scratch.ahead);
        ahead.clear();
        ahead.extend(senders.filter_map(|(remote, local)| self.paths.owner(port, local, remote)));
        ahead.dedup();
        for slot in &ahead {
            self.paths.prefetch(*slot);
            if let Some(entry) = self.sessions.look_at(*slot) {
                prefetch(entry);
            }
        }
        let entries = || ahead.iter().filter_map(|slot| self.sessions.look_at(*slot));
        let publishing = || entries().filter_map(|entry| entry.publishes.as_deref());
        publishing().for_each(prefetch);
        for publishing in publishing() {
            self.streams.prefetch(publishing.stream);
            if let Some(ingest) = &publishing.ingest {
                ingest.touches(prefetch_bytes);
            }
        }
        for step in [Step::Tracks, Step::Layers, Step::Places, Step::Payloads] {
            let streams = publishing().filter_map(|it| self.streams.get(it.stream));
            streams.for_each(|stream| stream.prefetch(step));
        }
        self.scratch.ahead = ahead;
    }
}
