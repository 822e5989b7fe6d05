//! What travels between the parts of the server: a media packet, a publisher's clock, what viewers
//! and publishers were promised. Plain data that knows nobody; sessions and ingests make it,
//! streams decide about it, lanes send it.

mod bits;
#[expect(
    clippy::disallowed_types,
    reason = "the viewers of one shard share a payload, and no other thread has it"
)]
mod descriptor;
mod keyframe;
mod layer_name;
mod numbers;
mod packet;
#[expect(
    clippy::disallowed_types,
    reason = "the viewers of one shard share a payload, and no other thread has it"
)]
mod payload;
mod picture;
pub mod red;
mod scalable;
mod sets;
mod structure;
mod terms;
mod wanted;

pub use descriptor::{DEPENDENCY_DESCRIPTOR, DependencyDescriptor};
pub use keyframe::starts_keyframe;
pub use layer_name::LayerName;
pub use numbers::Shift;
pub use packet::{ClockReport, HeaderExtensions, MediaPacket, Origin};
pub use payload::{Bytes, Payload, Shifted};
pub use picture::{PictureSize, PictureSizes, picture_sizes};
pub use scalable::{ALL_FRAMES, Scalable, in_payload as scalable_in_payload};
pub use sets::{ParameterSets, Placed};
pub use structure::FrameStructure;
pub use terms::{
    ExtensionIds, ExtensionKind, KeyframeRequest, OfferedSource, PublishedPayload, PublishedTrack,
    PublisherTerms, ViewerTerms, ViewerTrack,
};
pub use wanted::WantedLayers;

/// The canonical name of everything this server sends (RFC 3550 §6.5.1), in answers and in SDES.
pub const CNAME: &str = "monoport";
