//! Who publishes and watches what, and where: the control side of the server.
//!
//! Protocols call its verbs ([`Control::publish`], [`Control::subscribe`], [`Control::leave`], and
//! those of the ports); it finds a place, has [`crate::session`] negotiate, and sends the finished
//! session to its shard as one command. Nothing in here is on the path of a packet.
//!
//! ```text
//! setup.rs      publish, subscribe: from an offer to a session and its answer
//! registry.rs   streams, sessions, and the slots in use; session.rs, slots.rs
//! placement.rs  which shard a session goes to
//! ports/        which UDP port it gets, and how ports come and go
//! read.rs       what the API reads; history.rs, ended.rs, events.rs
//! ```
//!
//! Slots of shards and indexes of streams are given out here and taken back when the shard has
//! reported the end, so a name in use is never given out twice.

mod ended;
mod error;
mod events;
mod history;
mod placement;
mod ports;
mod read;
mod registry;
mod session;
mod setup;
mod slots;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::id::SessionKey;
use crate::session::Negotiator;
pub use crate::session::{OfferError, ice_ufrag};
use crate::shard::{Command, EndReason, Wiring};
use crate::telemetry::Failures;
pub use ended::{EndedSession, Refusal};
pub use error::ControlError;
pub use events::SessionEvent;
pub use history::Point;
use ports::PortTable;
pub use ports::{
    AutoPorts, Decisions, PortDecision, PortNow, PortOpener, PortRefused, PortRule, PortState,
    PortsNow, RangeNow, StartingPorts,
};
pub use read::StreamView;
use registry::Registry;
pub use session::{LiveSession, unix_now};
pub use setup::Placement;

/// Everything a request needs.
pub struct Control {
    /// Makes sessions.
    pub negotiator: Negotiator,
    /// The way to the shards.
    pub wiring: Arc<Wiring>,
    /// Addresses for answers over TCP; none where it is not served.
    tcp_candidates: Vec<SocketAddr>,
    opener: Arc<dyn PortOpener>,
    /// What `--ports-auto` has decided; empty without it.
    decisions: OnceLock<Decisions>,
    registry: Mutex<Registry>,
    failures: Arc<Failures>,
}

impl Control {
    /// A server with nobody on it. `sessions_per_shard` is the room each shard has, `gather` how
    /// many more sessions than the emptiest shard one may have, so that viewers are where their
    /// publisher is.
    #[must_use]
    pub fn new(
        negotiator: Negotiator,
        wiring: Arc<Wiring>,
        starting: StartingPorts,
        tcp_candidates: Vec<SocketAddr>,
        opener: Arc<dyn PortOpener>,
        sessions_per_shard: usize,
        gather: usize,
    ) -> Arc<Control> {
        let shards = wiring.mailboxes.len();
        let ports = PortTable::new(starting);
        let registry = Registry::new(shards, sessions_per_shard, ports, gather);
        let failures = registry.ended.failures.clone();
        Arc::new(Control {
            negotiator,
            wiring,
            tcp_candidates,
            opener,
            decisions: OnceLock::new(),
            registry: Mutex::new(registry),
            failures,
        })
    }

    /// Ends the session with this id.
    ///
    /// # Errors
    /// 404 when there is none; 503 when its shard is too busy to be told.
    pub fn leave(&self, id: &str) -> Result<(), ControlError> {
        let mut registry = self.lock();
        let key = *registry.sessions.get(id).ok_or_else(no_session)?;
        self.end(key, EndReason::Deleted)?;
        // The URL is dead from here on; the slot is taken back when the shard is done with it.
        registry.sessions.remove(id);
        Ok(())
    }

    /// The ETag and the client's ICE user name of the session with this id.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn ice_session(&self, id: &str) -> Result<(String, Option<String>), ControlError> {
        let registry = self.lock();
        let session = registry.sessions.get(id).and_then(|key| registry.live.get(key));
        let session = session.ok_or_else(no_session)?;
        Ok((session.etag.clone(), session.remote_ufrag.clone()))
    }

    /// Takes in what shards have reported as ended. Runs until the server stops.
    pub async fn watch_ended(self: Arc<Control>) {
        loop {
            self.take_ended();
            self.wiring.ended_bell.notified().await;
        }
    }

    /// Sessions and streams there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let registry = self.lock();
        (registry.live.len(), registry.streams.len())
    }

    /// What `--ports-auto` has decided; `None` without it.
    #[must_use]
    pub fn decisions(&self) -> Option<&Decisions> {
        self.decisions.get()
    }

    /// Takes in how much of the last second each shard ran, in thousandths, for the placement of
    /// the sessions to come; `None` where that is not known.
    pub fn observe_load(&self, permille: &[Option<u32>]) {
        self.lock().balance.observe(permille);
    }

    /// Takes no more sessions.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    fn take_ended(&self) {
        let mut registry = self.lock();
        for queue in &self.wiring.ended {
            while let Some(ended) = queue.pop() {
                registry.ended(ended);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock left at worst one session half registered.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, key: SessionKey, reason: EndReason) -> Result<(), ControlError> {
        let mailbox = &self.wiring.mailboxes[usize::from(key.shard)];
        mailbox
            .command(Command::End(key, reason))
            .map_err(|_command| ControlError::overloaded("the session's shard has too much to do"))
    }
}

fn no_session() -> ControlError {
    ControlError::not_found("there is no such session; it may have ended")
}
