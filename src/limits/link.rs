//! Bounds of the links that bring streams from other nodes.

use std::time::Duration;

/// Links of one shard, of either direction.
pub const MAX_LINKS_PER_SHARD: usize = 4_096;

/// How long the end that sends media may be silent: what was lost last is known by then.
pub const LINK_ALIVE: Duration = Duration::from_millis(100);

/// How often each end says that it is there whatever it sends, and so learns how far away the
/// other is.
pub const LINK_REPORT: Duration = Duration::from_millis(500);

/// How often the end that takes media says so until it hears the other one.
pub const LINK_FIRST_WORD: Duration = Duration::from_millis(50);

/// The silence after which who takes media holds the other end for lost.
pub const LINK_LOST: Duration = Duration::from_secs(2);

/// The silence after which who sends media does: longer, since a link that is made anew costs more
/// than one that leads nowhere for a while.
pub const LINK_DESERTED: Duration = Duration::from_secs(5);

const _: () = assert!(
    LINK_ALIVE.as_millis() * 4 < LINK_LOST.as_millis()
        && LINK_REPORT.as_millis() * 4 < LINK_DESERTED.as_millis(),
    "a link survives four of these that are lost"
);

/// How long a packet may be overtaken before it is asked for, and how much longer than a round trip
/// its repair may take before it is asked for again.
pub const LINK_REORDERED: Duration = Duration::from_millis(10);

/// How long a round trip is taken for before one was measured.
pub const LINK_ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(50);

/// How often a packet is asked for, before it is given up.
pub const LINK_ASKS: u8 = 10;

/// Packets that may be missing at once; of more the oldest are given up.
pub const MAX_LINK_HOLES: usize = 1_024;

/// Packets asked for in one datagram.
pub const MAX_LINK_ASKED: usize = 64;

/// Packets of a stream that are kept for what its links have lost: five seconds of 200 a second.
/// That is the memory of a stream that other nodes take, however many: 1.2 MB.
pub const LINK_HISTORY_PACKETS: usize = 1_024;

/// Of so many packets of a link one may be sent again.
pub const LINK_REPAIR_SHARE: u32 = 10;

/// Packets that may be sent again beyond that share, after a time without losses.
pub const LINK_REPAIR_BURST: u32 = 256;

/// Key frames that wait to be asked for on one link; a wish beyond that is made again.
pub const MAX_LINK_WISHES: usize = 16;

/// How long a stream is taken from another node after its last viewer here has left.
pub const LINK_LINGER: Duration = Duration::from_secs(15);

/// How often the control side looks at links.
pub const LINK_LOOK: Duration = Duration::from_millis(200);

/// How soon it tries again to take a stream that could not be had.
pub const LINK_AGAIN: Duration = Duration::from_secs(1);

/// Addresses that a node names for a link.
pub const MAX_LINK_ADDRESSES: usize = 8;
