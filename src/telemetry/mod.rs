//! What the server counts and how it is read.
//!
//! A leaf: everything may count, and this module knows nobody. Each counter has **one writer**, its
//! shard, so that counting is a plain load and store on a line no other core writes; readers take
//! snapshots whenever they like.
//!
//! ```text
//! counters.rs    numbers of a shard            histogram.rs   distributions, a few instructions each
//! failures.rs    why sessions failed           card.rs        one session, in 128 bytes
//! port.rs        numbers of a mux port
//! meters.rs      all of a shard but counters   cards.rs       … of every slot, readable at any time
//! quality.rs     one connection in one number  prometheus.rs  all of it as text
//! ```

mod card;
mod cards;
mod counters;
mod failures;
mod histogram;
mod meters;
mod port;
mod prometheus;
pub mod quality;

pub use card::{CardRole, PROFILES, SessionCard, Stage};
pub use cards::Cards;
pub use counters::{Counter, ShardCounters};
pub use failures::{FailureReason, Failures};
pub use histogram::{Histogram, Snapshot};
pub use meters::{Meters, ShardHistograms, ThreadClock, Unit};
pub use port::{PortCounters, PortName, PortTable};
pub use prometheus::{exposition, failed_sessions, kernel_dropped};
pub use quality::{Level, Quality};
