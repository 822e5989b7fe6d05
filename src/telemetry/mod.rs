//! What the server counts and how it is read.
//!
//! A leaf: everything may count, and this module knows nobody. Each counter has **one writer**, its
//! shard, so that counting is a plain load and store on a line no other core writes; readers take
//! snapshots whenever they like.

mod counters;
mod limited;
mod logging;
mod prometheus;

pub use counters::{Counter, ShardCounters};
pub(crate) use limited::limited;
pub use limited::{LogPlace, tell_left_out};
pub use logging::{LogFormat, start_logging};
pub use prometheus::{exposition, kernel_dropped};
