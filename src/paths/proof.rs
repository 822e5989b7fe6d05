//! A path is proved, and what becomes of the others.
//!
//! A session has a bounded number of paths; the oldest gives way, but never the one its datagrams
//! take: a peer that proves eight more without choosing one goes on receiving by the one it chose.

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
        slot: u32,
        path: Path,
        chosen: bool,
        counters: &ShardCounters,
    ) -> Proved {
        let mut proved = match path.via {
            Via::Udp(port) => self.prove_flow(slot, port, &path),
            Via::Tcp(connection) => self.prove_connection(slot, connection, counters),
        };
        let Some(peer) = self.peers.at(slot) else { return proved };
        let lost = match peer.path.map(|path| path.via) {
            Some(Via::Tcp(connection)) => !self.ways.tcp.has(connection),
            // Another session has proved it, and there was no other to fall back to.
            Some(Via::Udp(_)) => {
                !self.flow_in_use(slot).is_some_and(|flow| peer.flows.contains(&flow))
            }
            None => true,
        };
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

    fn prove_flow(&mut self, slot: u32, port: u32, path: &Path) -> Proved {
        let mut proved = Proved::default();
        let Some(flow) = self.flow(port, path.local, path.remote) else { return proved };
        let previous = self.flows.insert(flow, slot);
        if previous == Some(slot) {
            proved.taken_from = self.confirm(flow);
            return proved;
        }
        proved.displaced = previous.and_then(|previous| self.part(previous, &flow));
        proved.taken_from = self.claim(flow);
        if let Some(gone) = self.add_flow(slot, flow) {
            self.forget(&gone, slot);
        }
        proved
    }

    /// Adds a flow to those of the session in `slot`; returns the one that gives way to it.
    fn add_flow(&mut self, slot: u32, flow: FlowKey) -> Option<FlowKey> {
        let in_use = self.flow_in_use(slot);
        let peer = self.peers.at_mut(slot)?;
        peer.flows.push(flow);
        if peer.flows.len() <= MAX_FLOWS_PER_SESSION {
            return None;
        }
        let oldest = peer.flows.iter().position(|flow| Some(*flow) != in_use)?;
        Some(peer.flows.remove(oldest))
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
        slot: u32,
        id: ConnectionId,
        counters: &ShardCounters,
    ) -> Proved {
        let mut proved = Proved::default();
        let Some(connection) = self.ways.tcp.get(id) else { return proved };
        let previous = connection.session.replace(slot);
        if previous == Some(slot) {
            return proved;
        }
        proved.displaced = previous.and_then(|previous| self.part_with_connection(previous, id));
        let Some(peer) = self.peers.at_mut(slot) else { return proved };
        peer.connections.push(id);
        if peer.connections.len() > MAX_TCP_CONNECTIONS_PER_SESSION {
            let in_use = peer.path.map(|path| path.via);
            let gives_way = |id: &&ConnectionId| in_use != Some(Via::Tcp(**id));
            if let Some(oldest) = peer.connections.iter().find(gives_way).copied() {
                // Nobody moves: it was not in use.
                self.lose_connection(oldest, counters);
            }
        }
        proved
    }

    /// Datagrams of the session in `slot` go by `path` from now on.
    fn move_to(&mut self, slot: u32, path: Path) -> Option<Moved> {
        let trains = self.trains;
        let peer = self.peers.at_mut(slot)?;
        let had_one = peer.path.replace(path).is_some();
        // A new path may take what the old one refused.
        peer.trains = trains;
        Some(Moved { slot, to: path.destination(trains), had_one })
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
    fn part(&mut self, slot: u32, flow: &FlowKey) -> Option<Moved> {
        let here = self.flow_in_use(slot).as_ref() == Some(flow);
        self.peers.at_mut(slot)?.flows.retain(|other| other != flow);
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
        peer.connections.retain(|other| *other != id);
        let here = peer.path.is_some_and(|path| path.via == Via::Tcp(id));
        if here { self.fall_back(slot) } else { None }
    }

    /// The path that the datagrams of the session in `slot` took is lost: they take its newest
    /// other flow or, for want of one, its newest connection; where it has neither, they stay until
    /// its next check.
    fn fall_back(&mut self, slot: u32) -> Option<Moved> {
        let peer = self.peers.at(slot)?;
        let path = match (peer.flows.last(), peer.connections.last()) {
            (Some(flow), _) => {
                let (local, remote) = (flow.local(), flow.remote());
                let own = self.ports.are_of_sessions().then_some(peer.port);
                let port = own.or_else(|| self.ports.slot_of(local.port()))?;
                Path { via: Via::Udp(port), local: local.ip(), remote }
            }
            (None, Some(id)) => self.ways.tcp.path(*id)?,
            (None, None) => return None,
        };
        self.move_to(slot, path)
    }
}
