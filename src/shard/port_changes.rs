//! Mux ports that come and go while the shard runs.
//!
//! Commands only note what is wanted; it is done at the end of the turn, when nothing that was
//! received is being read any more.

use tokio::sync::oneshot;

use super::core::Core;
use super::{BoundPort, EndReason};

/// What a command wants of the ports; see [`super::Command`].
pub(super) enum PortChange {
    Open { slot: usize, port: BoundPort, done: oneshot::Sender<Result<(), String>> },
    Close { slot: usize, done: oneshot::Sender<()> },
}

impl Core {
    /// Ends the sessions of a mux port, forgets the flows of others through it, and serves it no
    /// longer. False when it was not served.
    pub fn vacate_port(&mut self, slot: u32) -> bool {
        if self.paths.ports.number(slot).is_none() {
            return false;
        }
        for session in self.paths.sessions_at(slot) {
            self.close(session, EndReason::PortClosed);
        }
        self.paths.close_port(slot);
        self.port_counters(slot).close();
        true
    }
}
