//! Whether the tables of paths agree with one another, for simulations.

use super::{Path, Paths};
use crate::id::Via;
use crate::limits::{MAX_FLOWS_PER_SESSION, MAX_TCP_CONNECTIONS_PER_SESSION};

impl Paths {
    /// Looks at every peer: its flows and connections are in the tables as its own, are no more
    /// than it may have, and no others are there. Returns how many peers there are.
    ///
    /// # Errors
    ///
    /// What does not agree, in words.
    pub fn audit(&self) -> Result<usize, String> {
        let (mut peers, mut flows) = (0, 0);
        for (slot, peer) in self.peers.iter() {
            peers += 1;
            let own = peer.flows().count();
            flows += own;
            if let Some(lost) = peer.flows().find(|flow| self.flows.get(flow) != Some(slot)) {
                return Err(format!("slot {slot} believes to have {lost:?}"));
            }
            let connections = peer.connections().count();
            if own > MAX_FLOWS_PER_SESSION || connections > MAX_TCP_CONNECTIONS_PER_SESSION {
                return Err(format!("slot {slot} has {own} flows, {connections} connections"));
            }
            let by_udp = matches!(peer.path, Some(Path { via: Via::Udp(_), .. }));
            let in_use = self.flow_in_use(slot).filter(|_| by_udp);
            if let Some(flow) = in_use
                && own > 0
                && !peer.has_flow(&flow)
            {
                return Err(format!("slot {slot} is sent to by {flow:?}, and has other flows"));
            }
        }
        if flows != self.flows.len() {
            let all = self.flows.len();
            return Err(format!("{all} flows are in the table, and {flows} have an owner"));
        }
        Ok(peers)
    }
}
