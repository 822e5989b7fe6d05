//! Who owns a flow, told to those who must know: the other shards, by the directory, and the
//! kernel, where it steers.

use super::{Directory, FlowKey, LinkNames};
use crate::net::Steering;
use crate::telemetry::limited;

/// Whose each flow is, for all shards.
pub struct Ownership {
    /// Which flow is whose, for strays; nobody asks where there is one shard.
    pub directory: Directory,
    /// The kernel's copy of it, where the kernel steers.
    pub steering: Option<Steering>,
    /// Which links there are, likewise.
    pub links: LinkNames,
    /// How many shards there are.
    pub shards: usize,
}

/// The one that all shards share.
#[expect(clippy::disallowed_types, reason = "it is counted when a shard starts, and by no packet")]
pub type SharedOwnership = std::sync::Arc<Ownership>;

impl Ownership {
    /// The shard that a stray belongs to.
    #[must_use]
    pub fn owner(&self, flow: &FlowKey) -> Option<u16> {
        self.directory.find(flow)
    }

    /// `flow` belongs to `shard` from now on, whoever had it before. One system call where the
    /// kernel steers, so this is for checks and not for media.
    pub fn claim(&self, flow: &FlowKey, shard: u16) {
        if self.shards > 1 && !self.directory.claim(flow, shard) {
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
    pub fn release(&self, flow: &FlowKey, shard: u16) {
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

    /// Whether the kernel drops datagrams of flows it does not know. Of those it knew it forgets
    /// the ones that were silent longest, once its map is full.
    #[must_use]
    pub fn kernel_drops_unknown(&self) -> bool {
        self.steering.as_ref().is_some_and(Steering::drops_unknown)
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
