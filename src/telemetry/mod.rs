//! What the server counts and how it is read.
//!
//! A leaf: everything may count, and this module knows nobody. Each counter has **one writer**, its
//! shard, so that counting is a plain load and store on a line no other core writes; readers take
//! snapshots whenever they like.

mod counters;
mod prometheus;
mod tcp;

pub use counters::{Counter, ShardCounters};
pub use prometheus::{exposition, kernel_dropped};
pub use tcp::{TcpRefusal, TcpRefusals, tcp_refused};
