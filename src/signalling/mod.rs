//! WHIP (RFC 9725), WHEP (draft-ietf-wish-whep) and the session resources behind them.
//!
//! HTTP runs on control threads. A POST is answered there as a whole: the offer is parsed, the
//! [`registry`] finds a place, [`crate::session`] negotiates; only the finished session goes to its
//! shard, as one command.

mod auth;
mod http;
mod problem;
mod registry;
mod resource;
mod turn;

pub use auth::Token;
pub use http::router;
pub use problem::Problem;
pub use registry::{
    Control, EndedSession, Live, News, Placement, Point, Refusal, StreamView, unix_now,
};
pub use turn::IceServers;
