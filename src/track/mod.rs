//! Who gets what: pure decisions about the packets of one stream.
//!
//! A *stream* is what one publisher at a time sends under a name: a list of [`Track`]s, each of one
//! or several simulcast [`Layer`]s. Every shard that takes part in a stream keeps tracks of its
//! own, fed with the same packets in the same order as the publisher's shard got them, and numbers
//! them the same way for all of its viewers: a layer's numbers go on where they stood when a
//! publisher leaves and another comes. A viewer's numbers differ from a layer's by a constant as
//! long as it gets that layer, so a viewer needs no memory per packet.

mod adapt;
mod aim;
pub mod choose;
mod fan_out;
mod flow;
mod history;
mod instead;
mod keyframes;
mod layer;
mod layers;
mod loudness;
mod pending;
mod point;
mod ranks;
mod rate;
mod replay;
mod shared;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod stream;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod streams;
mod switch;
mod takers;
mod told;
mod within;

pub use aim::{Bounds, Offered, Wish, picture_in};
pub use history::History;
pub use keyframes::KeyframeRequests;
pub use layer::{Layer, Past, Recall};
pub use layers::{Admission, Carried, Carry, Track};
pub use loudness::Loudness;
pub use point::{frames_of, layer_of, limit_of, point};
pub use ranks::Thinned;
pub use rate::Rate;
pub use replay::Replay;
pub use shared::{LayerShown, Publication, Standing, StreamShared};
pub use stream::{Ask, Source, Step, Stream, Viewer};
pub use streams::{Export, NeedKeyframe, Published, Streams};
pub use takers::Taken;

#[cfg(test)]
mod adapt_tests;
#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod instead_tests;
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a shard's part is played")]
mod spatial_tests;
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a shard's part is played")]
mod switch_tests;
#[cfg(test)]
mod tcp_tests;
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a shard's part is played")]
mod tests;
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a shard's part is played")]
mod thin_tests;
