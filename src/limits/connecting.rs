//! Bounds of what those cost who have not connected, or POST and POST again.

use std::time::Duration;

/// Sessions that are answered and not connected, unless configured otherwise: those of two seconds
/// of the set-ups that a core can do.
pub const MAX_CONNECTING: usize = 4_096;

/// The same of one source, which may be a proxy: half.
pub const MAX_CONNECTING_PER_SOURCE: usize = MAX_CONNECTING / 2;

/// A session that no right check came for in this time gives way where room is short: browsers
/// send one within a second of the answer, and again and again until they are answered.
pub const UNHEARD_GRACE: Duration = Duration::from_secs(3);

/// Sessions that are looked at for one that gives way: a tenth of a millisecond.
pub const UNHEARD_LOOKS: usize = 1_024;

/// Sessions that give way for one POST, each of which may find that another POST was faster.
pub const ROOM_TRIES: usize = 4;

/// How long a POST waits for the place of one that gives way: its shard takes a turn for that.
pub const ROOM_WAIT: Duration = Duration::from_millis(250);

/// POSTs a second from one source, unless configured otherwise: a core sets up some 1,600.
pub const POSTS_PER_SOURCE: u32 = 1_000;

/// Seconds of its rate that somebody may use up at once.
pub const RATE_BURST_SECONDS: u32 = 4;

/// Sources and tokens whose rate is known, 32 bytes each. Beyond those, all newcomers share one
/// rate until one of them has been quiet.
pub const MAX_RATED: usize = 16_384;

/// How often it is looked for those that have been quiet.
pub const RATED_LOOK: Duration = Duration::from_secs(1);

const _: () = assert!(UNHEARD_LOOKS >= 1, "or nobody ever gives way");
