//! A stream on its way from one node to another, sans-IO: time is an argument, datagrams are byte
//! slices.
//!
//! A link carries one stream from the node that has its publisher, at its [`Outgoing`] end, to one
//! whose viewers take it, at its [`Incoming`] end. It is to the former one more taker of the
//! stream, and to the latter what a publisher is. Packets keep the publisher's numbers.
//!
//! ```text
//! handshake.rs  two messages over signed HTTP, and the keys that come of them
//! seal.rs       datagrams under those keys, none of which is taken twice
//! frame.rs      what is in them
//! channel.rs    what both ends have in common: whether the other is there, and how far away
//! outgoing.rs   media out, what was lost sent again
//! incoming.rs   media in, key frames asked for; holes.rs, what is missing; fronts.rs, what
//!               comes in two datagrams
//! layers.rs     which layers come: what is wanted of those there are
//! places.rs     what of the stream each link carries, without holes
//! room.rs       what a link has no room for
//! path.rs       by which nodes a stream comes; lineage.rs, and of which publisher
//! ```
//!
//! A link has keys of its own, made anew each time, so that what was recorded of one opens nothing
//! ever after; media is numbered by *position*, whichever tracks and layers it is of, so that what
//! the way between the nodes has lost can be told from what was lost before. No time of day passes
//! between nodes: what has waited says for how long.

mod channel;
mod frame;
mod fronts;
mod handshake;
mod holes;
mod incoming;
mod layers;
mod lineage;
mod outgoing;
mod path;
mod places;
mod room;
mod seal;
#[cfg(test)]
mod tests;

pub use channel::Peer;
pub use frame::{Alive, Frame, Media, fits, front_of};
pub use handshake::{Exchange, Keys, PUBLIC_BYTES};
pub use incoming::{Got, Incoming};
pub use layers::{Coming, Rung, Said, SaidLayers, Wants, taken};
pub use lineage::{Had, HadLayer, Lineage};
pub use outgoing::{Asked, Outgoing};
pub use path::{MAX_PATH, NoWay, Path};
pub use places::Places;
pub use room::{Load, Room};

/// What a link has counted at one of its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Media packets sent the first time, or received.
    pub packets: u64,
    /// Media packets sent again, or received so.
    pub repaired: u64,
    /// Media packets that are given up: they came neither way.
    pub lost: u64,
    /// The last round trip that was measured, in microseconds; 0 before.
    pub round_trip_us: u64,
}
