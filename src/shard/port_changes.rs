//! Mux ports that come and go while the shard runs.
//!
//! Commands only note what is wanted; it is done between commands and timers, when nothing that was
//! received is being read any more.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::oneshot;

use super::core::Core;
use super::turn::Shard;
use super::{BoundPort, EndReason};
use crate::id::Via;
use crate::telemetry::PortName;

/// What a command wants of the ports; see [`super::Command`].
pub(super) enum PortChange {
    Open { slot: usize, port: BoundPort, done: oneshot::Sender<Result<(), String>> },
    Close { slot: usize, done: oneshot::Sender<()> },
}

impl Shard {
    /// Opens and closes the mux ports that commands have asked for.
    pub fn change_ports(&mut self, now: Instant) {
        while !self.core.port_changes.is_empty() {
            // In the order of the commands.
            match self.core.port_changes.remove(0) {
                PortChange::Open { slot, port, done } => {
                    let opened = self.open_port(slot as u32, port);
                    // Whoever asked may have given up waiting, and takes it back by a command.
                    let _ = done.send(opened.map_err(|error| error.to_string()));
                }
                PortChange::Close { slot, done } => {
                    self.close_port(now, slot as u32);
                    let _ = done.send(());
                }
            }
        }
    }

    fn open_port(&mut self, slot: u32, port: BoundPort) -> io::Result<()> {
        let BoundPort { socket, candidates } = port;
        let number = socket.port();
        self.core.ways.transmitter.open(slot, socket, &mut self.receiver)?;
        self.core.serve_port(slot, number, candidates);
        Ok(())
    }

    /// Ends the sessions of a mux port, forgets the flows of others through it, and closes it.
    fn close_port(&mut self, now: Instant, slot: u32) {
        let core = &mut self.core;
        let Some(number) = core.ports.number(slot) else { return };
        let occupied: Vec<u32> = core.sessions.occupied().collect();
        for session in occupied {
            let Some(entry) = core.sessions.at(session) else { continue };
            // One that was given another port and is reached through this one all the same has
            // nowhere to be reached at.
            let is_through = entry.address.is_some_and(|address| address.via == Via::Udp(slot));
            if entry.port == slot || is_through {
                core.close(now, session, EndReason::PortClosed);
                continue;
            }
            let through = entry.flows.iter().filter(|flow| flow.local().port() == number);
            for flow in through.copied().collect::<Vec<_>>() {
                entry.flows.retain(|other| *other != flow);
                if core.flows.remove(&flow, session) {
                    core.wiring.release(&flow, core.index);
                }
            }
        }
        core.ways.transmitter.close(slot, &mut self.receiver);
        core.ports.remove(slot);
        core.port_counters(slot).close();
    }
}

impl Core {
    /// The mux port `number` is served in `slot` from here on.
    pub fn serve_port(&mut self, slot: u32, number: u16, candidates: Vec<SocketAddr>) {
        self.port_counters(slot).open(PortName::Port(number));
        self.ports.insert(slot, number, candidates);
    }
}
