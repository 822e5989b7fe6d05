//! What the server counts and how it is read.
//!
//! A leaf: everything may count, and this module knows nobody. Each counter has **one writer**, its
//! shard, so that counting is a plain load and store on a line no other core writes; readers take
//! snapshots whenever they like.
//!
//! ```text
//! counters.rs    numbers of a shard           histogram.rs   distributions, for a few instructions
//! port.rs        numbers of a mux port        card.rs        one session, in 128 bytes
//! failures.rs    why sessions failed          cards.rs       of every slot, to read at any time
//! meters.rs      the rest of a shard          quality.rs     one connection in one number
//! process.rs     of the process itself      link.rs        one link with another node
//! prometheus.rs  which metrics there are      exposition.rs  how they are written
//! limited.rs     lines of strangers           logging.rs     where log lines go, how they look
//!                                             log_writer.rs  nobody waits for standard error
//! ```

mod card;
mod cards;
mod counters;
mod exposition;
mod failures;
mod got;
mod histogram;
mod limited;
mod link;
mod log_writer;
mod logging;
mod meters;
mod path;
mod port;
mod process;
mod prometheus;
pub mod quality;
mod tcp;

pub use card::{CardRole, PROFILES, SessionCard, Stage};
pub use cards::Cards;
pub use counters::{Counter, ShardCounters};
pub use exposition::{Exposition, Format};
pub use failures::{FailureReason, Failures};
pub use got::{LayerGot, LayerReason};
pub use histogram::{Histogram, Snapshot};
pub(crate) use limited::limited;
pub use limited::{LogPlace, tell_left_out};
pub use link::{LinkEnd, LinkMeter};
pub use log_writer::flush_log;
pub use logging::{LogFormat, start_logging};
pub use meters::{Described, DtlsStop, Meters, ShardHistograms, ShardMemory, ThreadClock, Unit};
pub use path::{PathShown, PathState, RateReason};
pub use port::{PortCounters, PortName, PortTable};
pub use process::{EndsAll, process};
pub use prometheus::{
    MemoryTerm, Shown, answers, exposition, failed_sessions, kernel_dropped, memory,
    resident_bytes, room,
};
pub use quality::{Level, Quality};
pub use tcp::{TcpRefusal, TcpRefusals, tcp_refused};
