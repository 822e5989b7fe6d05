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

/// The silence after which who sends media does: longer, since a link that is made anew costs more
/// than one that leads nowhere for a while.
pub const LINK_DESERTED: Duration = Duration::from_secs(5);

const _: () = assert!(
    LINK_REPORT.as_millis() * 4 < LINK_DESERTED.as_millis(),
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

/// Fronts of packets in two datagrams that wait for their rest on one link: the two leave one
/// behind the other, so that more than one waits only where the way changes their order.
pub const MAX_LINK_FRONTS: usize = 16;

/// Packets asked for in one datagram.
pub const MAX_LINK_ASKED: usize = 64;

/// Packets of a stream that are kept for what its links have lost: five seconds of 200 a second.
/// That is the memory of a stream that other nodes take, however many: 1.2 MB. Each link
/// remembers which of them it carried: 8 kB.
pub const LINK_HISTORY_PACKETS: usize = 1_024;

/// Of so many packets of a link one may be sent again.
pub const LINK_REPAIR_SHARE: u32 = 10;

/// Packets that may be sent again beyond that share, after a time without losses.
pub const LINK_REPAIR_BURST: u32 = 256;

/// Layers of which a node says how far they have come when it takes a stream from another one than
/// before; of those beyond, what it has missed is lost.
pub const MAX_LINK_LAYERS: usize = 32;

/// Key frames that wait to be asked for on one link; a wish beyond that is made again.
pub const MAX_LINK_WISHES: usize = 16;

/// How long a stream is taken from another node after its last viewer here has left.
pub const LINK_LINGER: Duration = Duration::from_secs(15);

/// How long a layer is taken from another node after the last viewer who took it here: who goes up
/// and down does not end it each time, and it is begun again from its last key frame.
pub const LINK_LAYER_LINGER: Duration = Duration::from_secs(5);

const _: () = assert!(
    LINK_REPORT.as_millis() * 2 < LINK_LAYER_LINGER.as_millis(),
    "what is wanted is said twice in it"
);

/// How often it is looked at how much a link loses, and how long more than [`LINK_LOSS_PERMILLE`]
/// is, before the layer that asks most of it is left out.
pub const LINK_LOOK_AT_LOSS: Duration = Duration::from_secs(1);

/// See [`LINK_LOOK_AT_LOSS`].
pub const LINK_LOSSY_FOR: Duration = Duration::from_secs(5);

/// Packets of a thousand that a link may lose, before they are repaired.
pub const LINK_LOSS_PERMILLE: u64 = 20;

/// How long a layer that was left out is not tried again: twice as long each time that it was
/// tried and loss came back within [`LINK_TRIED`], up to [`LINK_TRY_AGAIN_MOST`].
pub const LINK_TRY_AGAIN: Duration = Duration::from_secs(10);

/// See [`LINK_TRY_AGAIN`].
pub const LINK_TRY_AGAIN_MOST: Duration = Duration::from_secs(300);

/// See [`LINK_TRY_AGAIN`].
pub const LINK_TRIED: Duration = Duration::from_secs(30);

/// What sound takes of a link that is capped.
pub const LINK_AUDIO_BITS: u64 = 50_000;

/// In how long who takes a stream from another node than before is sent what it lacks, and how far
/// apart parts of that leave: all that have lost the same node come at once.
pub const LINK_CATCH_UP: Duration = Duration::from_millis(500);

/// See [`LINK_CATCH_UP`].
pub const LINK_CATCH_UP_TICK: Duration = Duration::from_millis(10);

/// How much longer than viewers publishers have on a node that drains, of its time a quarter at
/// most: viewers that are ended come to other nodes, which take the streams from it.
pub const DRAIN_PUBLISHERS: Duration = Duration::from_secs(5);

/// Over how long its viewers are told to reconnect, of its time half at most: they all come to
/// other nodes.
pub const DRAIN_SPREAD: Duration = Duration::from_secs(30);

/// How often the control side looks at links.
pub const LINK_LOOK: Duration = Duration::from_millis(100);

/// How soon it tries again to take a stream that could not be had.
pub const LINK_AGAIN: Duration = Duration::from_secs(1);

/// Reasons that a search for a stream remembers to have said; beyond that they are said anew.
pub const MAX_LINK_REASONS: usize = 16;

/// Addresses that a node names for a link.
pub const MAX_LINK_ADDRESSES: usize = 8;

/// How many links a stream may take from the node with its publisher to another one.
pub const MAX_TREE_DEPTH: usize = 4;

/// Nodes that take a stream from one node, unless `--link-children` says otherwise. At 1.7 Mb/s and
/// 213 packets a second that is 0.4 Gb/s and 0.1 to 0.2 of a core; a tree two links deep has room
/// for 62,500 nodes.
pub const LINK_CHILDREN: u32 = 250;

/// The most that `--link-children` takes: half of a shard's links, so that those who have lost the
/// node they took it from find room.
pub const MAX_LINK_CHILDREN: u32 = MAX_LINKS_PER_SHARD as u32 / LINK_CHILDREN_OF_OTHERS;

/// So many times as many where they have lost the node they took it from: they are many at once,
/// and each further question is time without media.
pub const LINK_CHILDREN_OF_OTHERS: u32 = 2;

/// The silence after which a node takes a stream from elsewhere: three words that are lost.
pub const LINK_SILENT: Duration = Duration::from_millis(400);

const _: () = assert!(
    LINK_ALIVE.as_millis() * 4 <= LINK_SILENT.as_millis(),
    "a link survives three of these that are lost"
);

/// How long the answer of a node that may be gone is waited for, before the next one is asked: two
/// round trips of the longest way there is, 160 ms each, and the node's own time.
pub const LINK_ALTERNATE: Duration = Duration::from_millis(500);

/// The silence after which a node is named to nobody who looks for a stream: two reports and a
/// moment.
pub const LINK_DOUBTED: Duration = Duration::from_millis(1_200);

const _: () = assert!(LINK_DOUBTED.as_millis() > 2 * LINK_REPORT.as_millis(), "one may be lost");

/// How often a node is sent down to another one, before it begins anew.
pub const MAX_SENT_DOWN: u8 = 6;

/// How long a node that has found nobody waits before it asks the directory again, at random: all
/// that have lost the same one wait at the same time.
pub const LINK_RESOLVE: std::ops::Range<Duration> =
    Duration::from_millis(200)..Duration::from_millis(600);
