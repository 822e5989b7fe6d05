//! Who owns a flow, told to those who must know: the other shards, by the directory, and the
//! kernel, where it steers.

use super::Wiring;
use crate::demux::FlowKey;
use crate::net::Steering;
use crate::telemetry::limited;

impl Wiring {
    /// `flow` belongs to `shard` from now on, whoever had it before. One system call where the
    /// kernel steers, so this is for flows that are new or change hands.
    pub(super) fn claim(&self, flow: &FlowKey, shard: u16) {
        if self.mailboxes.len() > 1 && !self.directory.claim(flow, shard) {
            limited!(WARN, "the flow directory is full: strays of one session are dropped");
        }
        self.steer(flow, shard);
    }

    /// `flow` is no longer `shard`'s.
    ///
    /// The kernel's map has no compare-and-delete, and another shard may claim the flow at this
    /// moment. It claims in the directory first; so whoever has deleted looks there again, and puts
    /// back what it may have deleted of the other's. Should the other have let go by then as well,
    /// the map keeps a dead entry, which costs a place until the kernel forgets it.
    pub(super) fn release(&self, flow: &FlowKey, shard: u16) {
        self.directory.release(flow, shard);
        let Some(steering) = &self.steering else { return };
        if self.directory.find(flow).is_some() {
            return;
        }
        steering.release(flow.local(), flow.remote());
        if let Some(owner) = self.directory.find(flow) {
            self.steer(flow, owner);
        }
    }

    /// Datagrams the kernel dropped because their flow is unknown; 0 unless it was told to.
    #[must_use]
    pub fn kernel_dropped(&self) -> u64 {
        self.steering.as_ref().map_or(0, Steering::dropped)
    }

    fn steer(&self, flow: &FlowKey, shard: u16) {
        if let Some(steering) = &self.steering
            && let Err(error) = steering.claim(flow.local(), flow.remote(), shard)
        {
            limited!(WARN, "the kernel does not steer {flow:?}: {error}");
        }
    }
}
