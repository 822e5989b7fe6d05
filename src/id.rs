//! Names of things: the key of a session, of a stream, and their bit layouts.

use std::net::IpAddr;

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

/// The session's public name, `SHARD-SLOT-GENERATION`: in logs and in the API. Unlike the URL of
/// the session it gives no power over it.
impl std::fmt::Display for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.generation)
    }
}

/// Where requests come from, as far as shares of something go: an IPv4 address, or the /64 that one
/// IPv6 host may have all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(u64);

impl Source {
    /// The source that `ip` belongs to.
    #[must_use]
    pub fn of(ip: IpAddr) -> Source {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Source(u64::from(ip.to_bits())),
            IpAddr::V6(ip) => Source((ip.to_bits() >> 64) as u64),
        }
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

/// Names a TCP connection of a shard. A name that outlives its connection never means the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Index into the shard's table of connections.
    pub index: u32,
    /// Counts the tenants of the index; wraps.
    pub generation: u32,
}

/// What carries datagrams between a shard and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// The UDP port in this slot: a mux port's is the same on every shard, and one that belongs to
    /// a session has the slot of its session.
    Udp(u32),
    /// A TCP connection.
    Tcp(ConnectionId),
}

impl Via {
    /// Which kind of the two it is.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Via::Udp(_) => Transport::Udp,
            Via::Tcp(_) => Transport::Tcp,
        }
    }
}

impl std::str::FromStr for SessionKey {
    type Err = NotASessionKey;

    fn from_str(name: &str) -> Result<SessionKey, NotASessionKey> {
        let mut parts = name.split('-').map(|part| {
            // `parse` alone would take a sign and zeros in front: a name has one spelling.
            let canonical = part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            part.parse().ok().filter(|_number: &u32| canonical).ok_or(NotASessionKey)
        });
        let mut next = || parts.next().ok_or(NotASessionKey)?;
        let (shard, slot, generation) = (next()?, next()?, next()?);
        let shard = u16::try_from(shard).map_err(|_error| NotASessionKey)?;
        if parts.next().is_some() || generation >> GENERATION_BITS != 0 {
            return Err(NotASessionKey);
        }
        Ok(SessionKey { shard, slot, generation })
    }
}

/// The text is not the public name of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session is named SHARD-SLOT-GENERATION, as in 0-17-3")]
pub struct NotASessionKey;

/// Names a stream to the shards: an index into their tables and which tenant of the index it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Index into every shard's table of streams.
    pub index: u32,
    /// Counts the tenants of the index.
    pub generation: u32,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// Opus, 48 kHz clock.
    Audio,
    /// Any video codec, 90 kHz clock.
    Video,
}

impl TrackKind {
    /// Both, audio first.
    pub const ALL: [TrackKind; 2] = [TrackKind::Audio, TrackKind::Video];

    /// Ticks a second of the RTP timestamp.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            TrackKind::Audio => 48_000,
            TrackKind::Video => 90_000,
        }
    }
}

/// Names a track among those of its stream, whoever publishes it: a viewer of the first video track
/// goes on with that of the next publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId {
    /// What it carries.
    pub kind: TrackKind,
    /// Counts the tracks of that kind, in the order of the publisher's offer.
    pub number: u8,
}

impl TrackId {
    /// The first track of a kind: all there is where WHIP publishes.
    #[must_use]
    pub const fn first(kind: TrackKind) -> TrackId {
        TrackId { kind, number: 0 }
    }
}

/// Names a track to the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackKey {
    /// Its stream.
    pub stream: StreamKey,
    /// Which of the stream's.
    pub id: TrackId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_its_ipv4_self_and_a_64_is_one_source() {
        let source = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.2"), source("192.0.2.1"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }

    #[test]
    fn a_public_name_has_one_spelling() {
        let key = SessionKey { shard: 3, slot: 70_000, generation: 5 };
        assert_eq!(key.to_string(), "3-70000-5");
        assert_eq!("3-70000-5".parse(), Ok(key));
        for wrong in
            ["", "1", "1-2", "1-2-3-4", "a-2-3", "-1-2-3", "+1-2-3", "01-2-3", "65536-2-3", "1-2-"]
        {
            assert_eq!(wrong.parse::<SessionKey>(), Err(NotASessionKey), "{wrong}");
        }
        assert!(format!("1-2-{}", 1 << GENERATION_BITS).parse::<SessionKey>().is_err());
    }
}
