//! How many connections there are, in all and from one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that count, by source.
#[derive(Debug)]
pub(super) struct Connections {
    sources: Mutex<HashMap<u64, usize>>,
    most: usize,
    most_per_source: usize,
}

/// One connection's permit; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    connections: Arc<Connections>,
    source: u64,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as there may be.
    All,
    /// The source has its share.
    Source,
}

impl Connections {
    pub fn new(most: usize, most_per_source: usize) -> Arc<Connections> {
        Arc::new(Connections { sources: Mutex::default(), most, most_per_source })
    }

    pub fn admit(self: &Arc<Connections>, ip: IpAddr) -> Result<Permit, Full> {
        let mut sources = self.lock();
        if sources.values().sum::<usize>() >= self.most {
            return Err(Full::All);
        }
        let source = source(ip);
        let count = sources.entry(source).or_default();
        if *count >= self.most_per_source {
            return Err(Full::Source);
        }
        *count += 1;
        Ok(Permit { connections: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        // Nothing under the lock panics half-way.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut sources = self.connections.lock();
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host may have all of.
pub(super) fn source(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_room_for_others_and_all_together_have_a_bound() {
        const MOST: usize = 16;
        const SHARE: u16 = 4;
        let connections = Connections::new(MOST, usize::from(SHARE));
        let mut permits = Vec::new();
        for host in 0.. {
            // Every host has a /64 of its own, and uses all of it.
            let ip = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, host, 0, 0, 0, low]);
            for low in 0..SHARE {
                permits.push(connections.admit(ip(low)).unwrap());
            }
            if permits.len() == MOST {
                break;
            }
            let one_more = connections.admit(ip(u16::MAX)).expect_err("it has its share");
            assert_eq!(one_more, Full::Source);
        }
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let full = connections.admit(stranger).expect_err("there are too many");
        assert_eq!(full, Full::All);
        permits.pop();
        drop(connections.admit(stranger).expect("one has gone"));
        permits.clear();
        assert!(connections.lock().is_empty(), "nobody is remembered");
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_self() {
        let plain = source(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), plain);
        assert_ne!(source(IpAddr::from([192, 0, 2, 2])), plain);
    }
}
