//! The UDP ports of the server: who is given which, and how they come and go.
//!
//! ```text
//! table.rs   which port a new session is given
//! plan.rs    mux ports are opened, drained and closed while the server runs
//! opener.rs  where new sockets come from: the node binds them
//! auto.rs    `--ports-auto`: they come and go with the load, by rule.rs
//! ```

mod auto;
mod opener;
mod plan;
mod rule;
mod table;

pub use auto::{AutoPorts, Decisions, PortDecision};
pub use opener::{PortOpener, PortRefused, StartingPorts};
pub use plan::{PortNow, PortsNow, RangeNow};
pub use rule::PortRule;
pub use table::PortState;
pub(super) use table::{GivenPort, PortTable};
