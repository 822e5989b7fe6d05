//! Who publishes what, among all nodes, and which nodes are alive.
//!
//! Six calls, each answered within half a second or not at all; those about streams are for many at
//! once. A node renews its lease with [`Directory::beat`], and is alive while it does and until it
//! [leaves](Directory::leave). One that does not fit in with the others is told why, and serves
//! alone ([`Misfit`]). It claims a stream
//! when a publisher of it goes live; the later claim has the greater epoch, and the greatest epoch
//! owns the stream. Nothing else passes through a directory, and no session ends because it can't
//! be reached: [`keeper`] tells it what it has missed.

mod keeper;
mod memory;
mod meter;
mod node;
mod redis;
#[cfg(test)]
mod same;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub(super) use keeper::Kept;
pub use memory::{MemoryDirectory, MemoryStore};
pub(super) use meter::DirectoryMeter;
pub use node::{About, HttpAt, MediaPorts, Misfit, NodeRecord, Terms};
pub use redis::RedisDirectory;

/// What a directory answers.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Unreachable>>;

/// The directory does not answer; what was asked may have been done or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// The six calls. Whoever makes them is one node, which the implementation knows.
pub trait Directory: Send + Sync {
    /// Renews the node's lease of [`crate::limits::DIRECTORY_LEASE`], with what is to be known of
    /// it; `clock_ms` is this host's clock, in milliseconds of Unix time.
    fn beat(&self, record: NodeRecord, clock_ms: u64) -> Reply<'_, Beat>;

    /// Gives the lease back: from here on the node is not alive.
    fn leave(&self) -> Reply<'_, ()>;

    /// The nodes that are alive, this one included.
    fn peers(&self) -> Reply<'_, Vec<NodeRecord>>;

    /// Claims streams, each with the greatest epoch the claimer has seen of it. The answers are in
    /// the same order.
    fn claim(&self, claim: Claim, streams: Vec<(Arc<str>, u64)>) -> Reply<'_, Vec<Claimed>>;

    /// Who has these streams, as was found out so long ago at most. The answers are in the same
    /// order.
    fn resolve(&self, streams: Vec<Arc<str>>, age: Duration) -> Reply<'_, Vec<Option<Owner>>>;

    /// Gives streams back; only what is exactly this node's under exactly this epoch.
    fn release(&self, streams: Vec<(Arc<str>, u64)>) -> Reply<'_, ()>;
}

/// What becomes of a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The lease runs anew.
    Renewed {
        /// Whether the directory knew the node, and its lease had not run out; if not, its claims
        /// may be forgotten or others'.
        known: bool,
        /// The directory's clock, in milliseconds of Unix time.
        now_ms: u64,
        /// The number that stands for the node's name.
        number: u16,
        /// Streams of the node that others have claimed since its last beat, some at a time.
        displaced: Vec<Arc<str>>,
    },
    /// The node is none of these.
    Refused(Misfit),
}

/// How streams are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A publisher has gone live: the stream is this node's, whoever had it before.
    New,
    /// The same, unless another node that is alive has it.
    IfFree,
    /// It has been this node's and is to stay so, unless somebody has claimed it since.
    Keep,
}

/// What becomes of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The stream is this node's.
    Mine {
        /// Under this epoch.
        epoch: u64,
        /// The node that had it, if that is another one and alive.
        displaced: Option<Box<str>>,
    },
    /// Another node has it.
    Held {
        /// Which.
        owner: Box<str>,
        /// Under this epoch.
        epoch: u64,
    },
}

/// Who has a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The node's name.
    pub node: Box<str>,
    /// The epoch of its claim.
    pub epoch: u64,
    /// Where its HTTP is, while it is alive.
    pub http: Option<HttpAt>,
}
