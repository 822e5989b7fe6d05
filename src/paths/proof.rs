//! A path is proved, and what becomes of the others.
//!
//! A session has a bounded number of paths; the oldest gives way, but never the one its datagrams
//! take: a peer that proves eight more without choosing one goes on receiving by the one it chose.

use std::time::Instant;

use super::voice::Own;
use super::{FlowKey, Path, Paths};
use crate::id::{ConnectionId, Via};
use crate::limits::{MAX_FLOWS_PER_SESSION, MAX_TCP_CONNECTIONS_PER_SESSION};
use crate::net::Destination;
use crate::telemetry::ShardCounters;

/// The datagrams of a session take another path from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The session's slot.
    pub slot: u32,
    /// Where they go.
    pub to: Destination,
    /// Whether they went anywhere before.
    pub had_one: bool,
}

/// What follows from a proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proved {
    /// The session itself moved to the path.
    pub moved: Option<Moved>,
    /// The session that had the path before, here, moved to another of its own.
    pub displaced: Option<Moved>,
    /// The shard that had the flow before: the kernel's hash goes on bringing its datagrams there,
    /// and they must not be taken for the former session's.
    pub taken_from: Option<(u16, FlowKey)>,
}

impl Paths {
    /// The session in `slot` has proved that `path` is its own; `chosen` says whether its peer
    /// wants to be reached by it. It is where its datagrams go then, or if there was none.
    pub fn prove(
        &mut self,
        now: Instant,
        slot: u32,
        path: Path,
        chosen: bool,
        counters: &ShardCounters,
    ) -> Proved {
        let mut proved = match path.via {
            Via::Udp(port) => self.prove_flow(now, slot, port, path),
            Via::Tcp(connection) => self.prove_connection(now, slot, connection, path, counters),
        };
        proved.moved = self.heard_check(now, slot, &path);
        let Some(peer) = self.peers.at(slot) else { return proved };
        // Another session may have proved the path in use, and there was no other to fall back to.
        let lost = peer.own.iter().all(|own| Some(own.path) != peer.path);
        if lost || (chosen && peer.path != Some(path)) {
            proved.moved = self.move_to(slot, path);
        }
        proved
    }

    /// Another shard has claimed `flow`; unless it was claimed back since, it is forgotten. Returns
    /// who moved for it.
    pub fn lose(&mut self, flow: &FlowKey) -> Option<Moved> {
        if self.ownership.owner(flow) == Some(self.shard) {
            return None;
        }
        let slot = self.flows.get(flow)?;
        self.flows.remove(flow, slot);
        self.part(slot, flow)
    }

    fn prove_flow(&mut self, now: Instant, slot: u32, port: u32, path: Path) -> Proved {
        let mut proved = Proved::default();
        let Some(flow) = self.flow(port, path.local, path.remote) else { return proved };
        let previous = self.flows.insert(flow, slot);
        if previous == Some(slot) {
            proved.taken_from = self.confirm(flow);
            return proved;
        }
        proved.displaced = previous.and_then(|previous| self.part(previous, &flow));
        proved.taken_from = self.claim(flow);
        let is_flow = |own: &Own| own.flow.is_some();
        let gone = self.add(now, slot, Own::new(now, path, Some(flow)), is_flow);
        if let Some(gone) = gone.and_then(|gone| gone.flow) {
            self.forget(&gone, slot);
        }
        proved
    }

    /// Adds a path to those of the session in `slot`; returns the one that gives way to it, of
    /// those that are of its `kind`.
    fn add(
        &mut self,
        now: Instant,
        slot: u32,
        own: Own,
        kind: impl Fn(&Own) -> bool,
    ) -> Option<Own> {
        let most = match own.path.via {
            Via::Udp(_) => MAX_FLOWS_PER_SESSION,
            Via::Tcp(_) => MAX_TCP_CONNECTIONS_PER_SESSION,
        };
        let peer = self.peers.at_mut(slot)?;
        peer.guard.was_new(now);
        // Most sessions have one path for good, and a list grows to four at once.
        if peer.own.is_empty() {
            peer.own.reserve_exact(1);
        }
        peer.own.push(own);
        if peer.own.iter().filter(|own| kind(own)).count() <= most {
            return None;
        }
        let in_use = peer.path;
        let oldest = peer.own.iter().position(|own| kind(own) && Some(own.path) != in_use)?;
        Some(peer.own.remove(oldest))
    }

    /// The flow that the datagrams of the session in `slot` take.
    pub(super) fn flow_in_use(&self, slot: u32) -> Option<FlowKey> {
        match self.path(slot)? {
            Path { via: Via::Udp(port), local, remote } => self.flow(port, local, remote),
            Path { via: Via::Tcp(_), .. } => None,
        }
    }

    fn prove_connection(
        &mut self,
        now: Instant,
        slot: u32,
        id: ConnectionId,
        path: Path,
        counters: &ShardCounters,
    ) -> Proved {
        let mut proved = Proved::default();
        let Some(connection) = self.ways.tcp.get(id) else { return proved };
        let previous = connection.session.replace(slot);
        if previous == Some(slot) {
            return proved;
        }
        proved.displaced = previous.and_then(|previous| self.part_with_connection(previous, id));
        let is_connection = |own: &Own| matches!(own.path.via, Via::Tcp(_));
        let gone = self.add(now, slot, Own::new(now, path, None), is_connection);
        if let Some(Via::Tcp(gone)) = gone.map(|gone| gone.path.via) {
            // Nobody moves: it was not in use.
            self.lose_connection(gone, counters);
        }
        proved
    }

    /// `flow` is this shard's from now on. Returns the shard that had it: it is to be told. Should
    /// that not be possible, it takes the flow's strays for its former session's until that ends.
    fn claim(&mut self, flow: FlowKey) -> Option<(u16, FlowKey)> {
        if self.ports.are_of_sessions() {
            // No other shard reads the port.
            return None;
        }
        let before = self.ownership.owner(&flow);
        self.ownership.claim(&flow, self.shard);
        before.filter(|shard| *shard != self.shard).map(|shard| (shard, flow))
    }

    /// A flow that is known has proved itself again. It is claimed again where a session of another
    /// shard had proved it in between, and where the kernel may have forgotten it and drops what it
    /// does not know: nothing but checks would ever come by it again.
    fn confirm(&mut self, flow: FlowKey) -> Option<(u16, FlowKey)> {
        let owner = self.ownership.owner(&flow);
        let lost = owner.is_some_and(|owner| owner != self.shard);
        if lost || self.ownership.kernel_drops_unknown() {
            return self.claim(flow);
        }
        None
    }

    /// `flow` is no longer the one of the session in `slot`. If that was where its datagrams went,
    /// they would reach another's client now.
    pub(super) fn part(&mut self, slot: u32, flow: &FlowKey) -> Option<Moved> {
        let here = self.flow_in_use(slot).as_ref() == Some(flow);
        self.peers.at_mut(slot)?.own.retain(|own| own.flow.as_ref() != Some(flow));
        if here { self.fall_back(slot) } else { None }
    }

    /// The connection is over, or is to be: its session goes on without it. Returns who moved.
    pub(super) fn lose_connection(
        &mut self,
        id: ConnectionId,
        counters: &ShardCounters,
    ) -> Option<Moved> {
        let slot = self.ways.tcp.discard(id, counters)?;
        self.part_with_connection(slot, id)
    }

    /// The connection is no longer one of the session in `slot`.
    fn part_with_connection(&mut self, slot: u32, id: ConnectionId) -> Option<Moved> {
        let peer = self.peers.at_mut(slot)?;
        peer.own.retain(|own| own.path.via != Via::Tcp(id));
        let here = peer.path.is_some_and(|path| path.via == Via::Tcp(id));
        if here { self.fall_back(slot) } else { None }
    }

    /// The path that the datagrams of the session in `slot` took is lost: they take its newest
    /// other flow or, for want of one, its newest connection; where it has neither, they stay until
    /// its next check.
    fn fall_back(&mut self, slot: u32) -> Option<Moved> {
        let own = &self.peers.at(slot)?.own;
        let newest_flow = own.iter().rfind(|own| own.flow.is_some());
        let path = newest_flow.or(own.last())?.path;
        self.move_to(slot, path)
    }
}
