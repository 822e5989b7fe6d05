//! A session ends, and its paths with it.

use super::Paths;
use crate::telemetry::ShardCounters;

impl Paths {
    /// The session in `slot` has ended: its flows are nobody's, its connections are closed after
    /// what it said last, and so is its port, where it has one of its own.
    pub fn leave(&mut self, slot: u32, counters: &ShardCounters) {
        let Some(peer) = self.peers.remove(slot) else { return };
        for flow in peer.flows() {
            self.forget(flow, slot);
        }
        for id in peer.connections() {
            self.finish(id, counters);
        }
        if self.ports.are_of_sessions() {
            self.ways.transmitter.close_for_session(slot);
            self.ports.remove(slot);
        }
    }
}
