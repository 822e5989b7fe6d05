//! Sessions that were answered and have not connected: so many in all and of one source, and who
//! gives way where room is short.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use crate::id::{SessionKey, Source};
use crate::limits::UNHEARD_GRACE;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectingLimits {
    /// In all.
    pub most: usize,
    /// Of one source.
    pub most_per_source: usize,
}

/// What there are too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Source,
}

/// Those there are.
pub(super) struct Connecting {
    limits: ConnectingLimits,
    /// The oldest first, by a number that grows.
    order: BTreeMap<u64, (SessionKey, Instant)>,
    known: HashMap<SessionKey, (u64, Option<Source>)>,
    sources: HashMap<Source, usize>,
    next: u64,
}

impl Connecting {
    pub fn new(limits: ConnectingLimits) -> Connecting {
        Connecting {
            limits,
            order: BTreeMap::new(),
            known: HashMap::new(),
            sources: HashMap::new(),
            next: 0,
        }
    }

    pub fn limits(&self) -> ConnectingLimits {
        self.limits
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there may be one more, from `ip`.
    pub fn admit(&self, ip: Option<IpAddr>) -> Result<(), Full> {
        let of_source = ip.and_then(|ip| self.sources.get(&Source::of(ip)));
        if of_source.is_some_and(|count| *count >= self.limits.most_per_source) {
            return Err(Full::Source);
        }
        if self.len() >= self.limits.most { Err(Full::All) } else { Ok(()) }
    }

    pub fn enter(&mut self, key: SessionKey, ip: Option<IpAddr>, now: Instant) {
        let source = ip.map(Source::of);
        if let Some(source) = source {
            *self.sources.entry(source).or_default() += 1;
        }
        self.order.insert(self.next, (key, now));
        self.known.insert(key, (self.next, source));
        self.next += 1;
    }

    /// It is connected, has ended, or is to end.
    pub fn leave(&mut self, key: SessionKey) {
        let Some((number, source)) = self.known.remove(&key) else { return };
        self.order.remove(&number);
        let Some(source) = source else { return };
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Those that have had time to be heard, the oldest first.
    pub fn late(&self, now: Instant) -> impl Iterator<Item = SessionKey> + '_ {
        let is_late = move |since: Instant| now.saturating_duration_since(since) >= UNHEARD_GRACE;
        self.order.values().take_while(move |(_, since)| is_late(*since)).map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey { shard: 0, slot, generation: 0 }
    }

    #[test]
    fn one_source_has_its_share_and_all_have_theirs_and_the_oldest_gives_way() {
        let limits = ConnectingLimits { most: 4, most_per_source: 2 };
        let mut connecting = Connecting::new(limits);
        let start = Instant::now();
        let ip = |text: &str| Some(text.parse().expect("an address"));
        connecting.enter(key(0), ip("2001:db8::1"), start);
        connecting.enter(key(1), ip("2001:db8::2"), start + Duration::from_secs(1));
        assert_eq!(connecting.admit(ip("2001:db8::3")), Err(Full::Source), "of one /64");
        assert_eq!(connecting.admit(ip("2001:db8:0:1::1")), Ok(()));
        connecting.enter(key(2), ip("192.0.2.1"), start);
        connecting.enter(key(3), None, start);
        assert_eq!(connecting.admit(ip("192.0.2.9")), Err(Full::All));
        assert_eq!(connecting.late(start).count(), 0, "each has time to be heard");
        assert_eq!(connecting.late(start + UNHEARD_GRACE).next(), Some(key(0)));
        connecting.leave(key(0));
        connecting.leave(key(0));
        assert_eq!(connecting.admit(ip("2001:db8::3")), Ok(()));
        for slot in 1..4 {
            connecting.leave(key(slot));
        }
        assert!(connecting.sources.is_empty() && connecting.known.is_empty());
        assert_eq!(connecting.len(), 0, "nobody is remembered");
    }
}
