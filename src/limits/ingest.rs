//! Bounds of what a publisher sends, and of what it is told.

use std::time::Duration;

use super::MAX_SOURCES;

/// A layer, or an SSRC, that a publisher has not sent for this long may give way to a new one. Its
/// rollover counter is needed should it return (RFC 3711 §3.3.1), which a paused layer does.
pub const SOURCE_KEPT: Duration = Duration::from_secs(30);

/// Parameter sets (H.264, H.265) of one source that are kept for key frames that come without.
pub const MAX_PARAMETER_SETS: usize = 8;

/// Their bytes: browsers' and cameras' have some 60. All of them are one packet.
pub const PARAMETER_SETS_BYTES: usize = 1_000;

/// Packets of one source that a publisher is asked for at a time. Behind a longer hole only a key
/// frame helps, and viewers ask for that.
pub const MAX_MISSING: usize = 256;

/// A missing packet is asked for after this time, or once [`NACK_REORDERED`] later ones have come:
/// until then it may only have been overtaken.
pub const NACK_DELAY: Duration = Duration::from_millis(10);

/// Later packets after which a missing one counts as lost (RFC 5681 §3.2 counts likewise).
pub const NACK_REORDERED: u64 = 3;

/// The least time between two requests for a packet; a longer round trip counts instead.
pub const NACK_INTERVAL: Duration = Duration::from_millis(33);

/// How often a packet is asked for.
pub const NACK_TRIES: u8 = 5;

/// How often a publisher of video hears which packets came, and when. Its estimate of the way
/// follows at this pace.
pub const FEEDBACK_INTERVAL_VIDEO: Duration = Duration::from_millis(50);

/// How often one of audio alone does, whose rate hardly follows.
pub const FEEDBACK_INTERVAL_AUDIO: Duration = Duration::from_millis(250);

/// Packets whose arrival is remembered until a publisher hears of it: with half of them it hears at
/// once.
pub const FEEDBACK_PACKETS: usize = 512;

/// How often a publisher of video is sent receiver reports.
pub const RECEIVER_REPORT_VIDEO: Duration = Duration::from_secs(1);

/// How often one of audio alone is (RFC 3550 §6.2 has five seconds as the least).
pub const RECEIVER_REPORT_AUDIO: Duration = Duration::from_secs(5);

/// The longest feedback to a publisher, before it is sealed: what any path takes.
pub const MAX_FEEDBACK_BYTES: usize = 1_200;

const _: () = assert!(
    20 + 2 * FEEDBACK_PACKETS + 2 * FEEDBACK_PACKETS.div_ceil(7) + 3 <= MAX_FEEDBACK_BYTES,
    "all that is remembered fits one report, however far apart it came"
);
const _: () = assert!(FEEDBACK_PACKETS.is_power_of_two(), "its index is a mask");
const _: () = assert!(
    12 * MAX_SOURCES + 4 * MAX_SOURCES + 12 + 24 * MAX_SOURCES + 40 <= MAX_FEEDBACK_BYTES,
    "a report on every source fits"
);
