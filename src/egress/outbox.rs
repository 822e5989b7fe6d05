//! A viewer whose packets leave through a TCP connection: what waits there is all that is known of
//! its path.

use std::time::Instant;

use super::Egress;
use super::estimate::{Drain, Micros};
use super::path::Path;
use crate::limits::{TCP_ROOM_LEAST, TCP_ROOM_MOST, TCP_ROOM_TIME};
use crate::wire::framing::Backlog;

/// Boxed, as only viewers over TCP have it for whom something is decided by it.
#[derive(Debug)]
pub(super) struct Outbox {
    since: Instant,
    pub drain: Drain,
}

impl Outbox {
    pub fn new(now: Instant) -> Outbox {
        Outbox { since: now, drain: Drain::default() }
    }

    pub fn micros(&self, at: Instant) -> Micros {
        at.saturating_duration_since(self.since).as_micros() as Micros
    }

    /// Bytes that may wait: what is sent in a moment. Of what follows the viewer is behind.
    fn room(&self) -> usize {
        let bytes = self.drain.estimate().bits_per_s * TCP_ROOM_TIME.as_secs_f64() / 8.0;
        (bytes as usize).clamp(TCP_ROOM_LEAST, TCP_ROOM_MOST)
    }
}

impl Egress {
    fn outbox(&self) -> Option<&Outbox> {
        if let Path::Outbox(outbox) = &self.path { Some(outbox) } else { None }
    }

    /// Whether something is decided by what waits for its TCP connection.
    #[inline]
    #[must_use]
    pub fn has_outbox(&self) -> bool {
        self.outbox().is_some()
    }

    /// Whether more may wait than waits already.
    #[must_use]
    pub fn has_room(&self, backlog: Option<Backlog>) -> bool {
        let of_outbox = self.outbox().zip(backlog);
        of_outbox.is_none_or(|(outbox, backlog)| backlog.waiting < outbox.room())
    }

    /// So much waits: whether other layers may follow from it.
    pub fn look(&mut self, now: Instant, backlog: Option<Backlog>) -> bool {
        let Path::Outbox(outbox) = &mut self.path else { return false };
        let now = outbox.micros(now);
        backlog.is_some_and(|backlog| outbox.drain.look(now, backlog))
    }
}
