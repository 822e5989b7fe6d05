//! WHIP (RFC 9725), WHEP (draft-ietf-wish-whep) and the session resources behind them.
//!
//! HTTP runs on control threads. A POST is answered there as a whole: the offer is parsed, the
//! [`registry`] finds a place, [`crate::session`] negotiates; only the finished session goes to its
//! shard, as one command.

mod auth;
mod auto;
mod http;
mod opener;
mod port_metrics;
mod problem;
mod registry;
mod resource;
mod turn;

pub use auth::Token;
pub use auto::{AutoPorts, Decisions, PortDecision, PortRule};
pub use http::router;
pub use opener::{PortOpener, PortRefused, StartingPorts};
pub use problem::Problem;
pub use registry::{
    Control, EndedSession, Live, News, Placement, Point, PortNow, PortState, PortsNow, RangeNow,
    Refusal, StreamView, unix_now,
};
pub use turn::IceServers;
