//! Who gets what: pure decisions about the packets of one stream.
//!
//! A *stream* is what one publisher sends under a name: at most one audio and one video *track*.
//! Every shard that takes part in a stream keeps its own [`Track`]s, fed with the same packets in
//! the same order as the publisher's shard got them, and numbers them the same way for all of its
//! viewers: a track's numbers go on where they stood when a publisher leaves and another comes.
//! What differs between viewers is a constant offset, so a viewer needs no memory per packet.

mod history;
mod keyframes;
mod shared;
mod track;

pub use history::History;
pub use keyframes::KeyframeThrottle;
pub use shared::StreamShared;
pub use track::{Admission, Carried, Recall, Track};
