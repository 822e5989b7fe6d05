//! Names of things: the key of a session, of a stream, and their bit layouts.

/// Where a session lives: its shard, its slot in that shard's table, and which tenant of the slot
/// it is. A key that outlives its session never names the next one: the generation differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Index of the owning shard, below [`crate::limits::MAX_SHARDS`].
    pub shard: u16,
    /// Index into the shard's session table, below [`crate::limits::MAX_SESSIONS_PER_SHARD`].
    pub slot: u32,
    /// Counts the tenants of the slot; 18 bits, wraps.
    pub generation: u32,
}

/// Bits of [`SessionKey::generation`]: three characters of the ufrag.
pub const GENERATION_BITS: u32 = 18;

impl SessionKey {
    /// The generation that follows `generation`, wrapping within [`GENERATION_BITS`].
    #[must_use]
    pub const fn next_generation(generation: u32) -> u32 {
        (generation + 1) & ((1 << GENERATION_BITS) - 1)
    }
}

impl std::fmt::Display for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.shard, self.slot, self.generation)
    }
}

/// What carries a peer's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Each in a datagram of its own.
    Udp,
    /// Framed in a byte stream (RFC 4571).
    Tcp,
}

/// Names a stream to the shards: an index into their tables and which tenant of the index it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Index into every shard's table of streams.
    pub index: u32,
    /// Counts the tenants of the index.
    pub generation: u32,
}
