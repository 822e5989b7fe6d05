//! What is kept of a layer for repair, and for who comes next.

use std::time::Duration;

/// How far back repair reaches: what was lost before that is no picture any more, and a player has
/// asked for it nine times. The history of a layer grows with its rate until it reaches so far.
pub const HISTORY_TIME: Duration = Duration::from_secs(2);

/// Packets the history of a layer has room for once it has one: a layer that sends little takes
/// little.
pub const HISTORY_MIN_PACKETS: usize = 16;

/// Packets in a row that may be lost and come after all: there is room for them however young the
/// history is.
pub const HISTORY_HOLE_PACKETS: usize = 64;

/// Packets of video kept for repair at most, per layer and shard: [`HISTORY_TIME`] at 18 Mb/s.
/// Memory: a payload each, so at most 5 MB a layer.
pub const HISTORY_VIDEO_PACKETS: usize = 4_096;

/// Packets of audio kept for repair at most, per track and shard: [`HISTORY_TIME`] of 10 ms
/// packets, and some.
pub const HISTORY_AUDIO_PACKETS: usize = 256;

const _: () = assert!(
    super::MAX_PENDING_PACKETS < HISTORY_AUDIO_PACKETS
        && HISTORY_AUDIO_PACKETS < HISTORY_VIDEO_PACKETS,
    "what is sent must still be in the history when it is asked for again"
);
