//! Mux ports that come and go while the shard runs.
//!
//! Commands only note what is wanted; it is done at the end of the turn, when nothing that was
//! received is being read any more.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::oneshot;

use super::core::Core;
use super::{BoundPort, EndReason};
use crate::id::Via;
use crate::telemetry::PortName;

/// What a command wants of the ports; see [`super::Command`].
pub(super) enum PortChange {
    Open { slot: usize, port: BoundPort, done: oneshot::Sender<Result<(), String>> },
    Close { slot: usize, done: oneshot::Sender<()> },
}

impl Core {
    /// The mux port `number` is served in `slot` from here on.
    pub fn serve_port(&mut self, slot: u32, number: u16, candidates: Vec<SocketAddr>) {
        self.port_counters(slot).open(PortName::Port(number));
        self.ports.insert(slot, number, candidates);
    }

    /// Ends the sessions of a mux port, forgets the flows of others through it, and serves it no
    /// longer. False when it was not served.
    pub fn vacate_port(&mut self, now: Instant, slot: u32) -> bool {
        let Some(number) = self.ports.number(slot) else { return false };
        let occupied: Vec<u32> = self.sessions.occupied().collect();
        for session in occupied {
            let Some(entry) = self.sessions.at(session) else { continue };
            // One that was given another port and is reached through this one all the same has
            // nowhere to be reached at.
            let is_through = entry.address.is_some_and(|address| address.via == Via::Udp(slot));
            if entry.port == slot || is_through {
                self.close(now, session, EndReason::PortClosed);
                continue;
            }
            let through = entry.flows.iter().filter(|flow| flow.local().port() == number);
            for flow in through.copied().collect::<Vec<_>>() {
                entry.flows.retain(|other| *other != flow);
                if self.flows.remove(&flow, session) {
                    self.wiring.release(&flow, self.index);
                }
            }
        }
        self.ports.remove(slot);
        self.port_counters(slot).close();
        true
    }
}
