//! WHIP (RFC 9725), WHEP (draft-ietf-wish-whep) and the session resources behind them: HTTP, turned
//! into the verbs of [`crate::control`].

mod admission;
mod cors;
mod elsewhere;
mod events;
pub mod fragment;
mod http;
mod ice_servers;
mod layer;
mod live;
mod metrics;
mod port_metrics;
mod posts;
mod prefix;
mod problem;
mod resource;

pub use admission::Admission;
pub use elsewhere::{Vouched, with_neighbours};
pub use events::wanted as wanted_events;
pub use http::{Whip, router};
pub use ice_servers::IceServers;
pub use layer::read as wanted_layer;
pub use posts::PostRates;
pub use prefix::under;
pub use problem::Problem;
