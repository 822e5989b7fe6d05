//! Bounds of what nodes tell the directory of streams.

use std::time::Duration;

/// How long a node counts as alive after it has told the directory so.
pub const DIRECTORY_LEASE: Duration = Duration::from_secs(10);

/// How often it does, and hears which of its streams others have claimed: two publishers of one
/// name on two nodes are two for no longer.
pub const DIRECTORY_BEAT: Duration = Duration::from_secs(1);

const _: () = assert!(
    DIRECTORY_BEAT.as_millis() * 4 < DIRECTORY_LEASE.as_millis(),
    "a lease survives three beats that are lost"
);

/// How long a node that is no longer alive is remembered.
pub const DIRECTORY_NODE_KEPT: Duration = Duration::from_secs(60);

/// How long a claim on a stream lasts that nobody renews.
pub const DIRECTORY_CLAIM_KEPT: Duration = Duration::from_secs(3_600);

/// How often claims are renewed.
pub const DIRECTORY_REASSERT: Duration = Duration::from_secs(600);

/// Streams in one call to the directory.
pub const DIRECTORY_BATCH: usize = 1_000;

/// How long a call may take. Requests wait for one at most, and then go on without an answer.
pub const DIRECTORY_CALL: Duration = Duration::from_millis(500);

/// How long it is known who has a stream, or that nobody does, without asking again.
pub const DIRECTORY_RESOLVED_FOR: Duration = Duration::from_secs(1);

/// Streams of which that is known; players ask again and again for what nobody publishes.
pub const MAX_DIRECTORY_RESOLVED: usize = 4_096;

/// Characters of a node's name.
pub const MAX_NODE_NAME_CHARS: usize = 64;

/// Servers of one directory, for Sentinels.
pub const MAX_DIRECTORY_SERVERS: usize = 16;

/// Nodes of a cluster, as far as twelve bits count that have none for 0.
pub const MAX_NODES: u16 = 4_095;

/// How far the clocks of nodes and of their directory may be apart: what they sign is good for as
/// long.
pub const CLUSTER_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// How often a node looks who the others are.
pub const DIRECTORY_PEERS: Duration = Duration::from_secs(2);

/// The shortest secret of a cluster: as long as the hash of what is signed with it.
pub const MIN_CLUSTER_SECRET_BYTES: usize = 32;

/// How soon it looks again for a node that somebody asks for and that it does not know.
pub const DIRECTORY_PEERS_AGAIN: Duration = Duration::from_millis(500);

/// The version of what nodes say to one another.
pub const CLUSTER_PROTOCOL: u32 = 3;

/// From how much load on a node sends new publishers elsewhere, in thousandths.
pub const NODE_BUSY_PERMILLE: u32 = 700;

/// How often the directory is asked for the streams that viewers wait for.
pub const AWAITED_LOOK: Duration = Duration::from_secs(1);

/// Streams looked at under one hold of the registry's lock, and asked for at once: 20 µs, and a
/// question of some 10 KB.
pub const AWAITED_PER_LOOK: usize = 256;

/// Requests that wait for one other node. What is more is refused at once: one that does not answer
/// must not tie up this one.
pub const FORWARDED_UNDER_WAY: usize = 256;

/// Nodes that one question for a stream's tree looks at, some of them at once, and how long it goes
/// on: a stream with a million viewers has a hundred. What is left out is said to be.
pub const WALK_NODES: usize = 512;
/// See [`WALK_NODES`].
pub const WALK_ASKED_AT_ONCE: usize = 16;
/// See [`WALK_NODES`].
pub const WALK_TIME: Duration = Duration::from_secs(4);

/// How long another node may take to be connected to.
pub const FORWARD_CONNECT: Duration = Duration::from_secs(1);

/// How long it may take to answer.
pub const FORWARD_ANSWER: Duration = Duration::from_secs(5);

/// The longest request between nodes: an offer of which every byte is escaped in JSON, and a head.
pub const MAX_FORWARDED_BYTES: usize = 6 * super::MAX_OFFER_BYTES + 16 * 1024;

/// The longest answer between nodes, but for streams of events: several times that to an offer.
pub const MAX_FORWARDED_ANSWER_BYTES: usize = 1024 * 1024;

/// Requests of other nodes that are remembered, so that none is heard twice: 8,700 a second for
/// the minute that they are good for.
pub const MAX_FORWARD_NONCES: usize = 1 << 19;
