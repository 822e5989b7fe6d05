//! The flow table of one shard: 4-tuple to session slot.
//!
//! Strangers choose their addresses, so the hash is keyed: without the key nobody can aim many
//! flows at one bucket. A hit takes 27 ns at a thousand flows and 35 ns at ten thousand, which
//! no longer fit the second-level cache; most of it is SipHash-1-3 over the 36 bytes. (Fastest of
//! many batches on a busy Zen 3; `benches/paths.rs`.)

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use siphasher::sip::SipHasher13;

/// A 4-tuple: our address and port, the peer's address and port.
///
/// IPv4 addresses are kept in their IPv6-mapped form, so that a dual-stack socket and an IPv4
/// socket name a flow alike. Flow label and scope are no part of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey([u8; FlowKey::LEN]);

impl FlowKey {
    /// Remote address, local address, remote port, local port.
    const LEN: usize = 16 + 16 + 2 + 2;

    /// The flow between two addresses.
    ///
    /// The key is put together in whole words: the hash reads it back at once in words, and a CPU
    /// makes that wait when what it reads was stored in smaller pieces.
    #[must_use]
    #[inline]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let ports = u32::from(remote.port()) << 16 | u32::from(local.port());
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&mapped(remote.ip()).to_be_bytes());
        bytes[16..32].copy_from_slice(&mapped(local.ip()).to_be_bytes());
        bytes[32..].copy_from_slice(&ports.to_be_bytes());
        Self(bytes)
    }

    /// Our side, IPv4 where it is.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.side(16, 34)
    }

    /// The peer's side, IPv4 where it is.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.side(0, 32)
    }

    /// The bytes that a keyed hash is taken over.
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn side(&self, address_at: usize, port_at: usize) -> SocketAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.0[address_at..address_at + 16]);
        let port = u16::from_be_bytes([self.0[port_at], self.0[port_at + 1]]);
        SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port)
    }
}

/// An address as the number that its IPv6 form is; `::ffff:0:0/96` holds IPv4 (RFC 4291 §2.5.5.2).
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => 0xFFFF << 32 | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ← {}", self.local(), self.remote())
    }
}

/// Which session slot each flow of this shard belongs to.
pub struct Flows {
    hasher: SipHasher13,
    table: HashTable<(FlowKey, u32)>,
}

impl Flows {
    /// An empty table with a hash key of its own.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a fresh random key is no default")]
    pub fn new() -> Self {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        Self { hasher: SipHasher13::new_with_key(&key), table: HashTable::new() }
    }

    /// The slot a flow belongs to.
    #[must_use]
    #[inline]
    pub fn get(&self, flow: &FlowKey) -> Option<u32> {
        let hash = self.hasher.hash(flow.as_bytes());
        self.table.find(hash, |(known, _)| known == flow).map(|(_, slot)| *slot)
    }

    /// Gives a flow to a slot, and returns the slot that had it before, if any. The caller bounds
    /// the flows of a session ([`crate::limits::MAX_FLOWS_PER_SESSION`]), and so the table.
    pub fn insert(&mut self, flow: FlowKey, slot: u32) -> Option<u32> {
        match self.entry(&flow) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, slot)),
            Entry::Vacant(entry) => {
                entry.insert((flow, slot));
                None
            }
        }
    }

    /// Forgets a flow if it is still this slot's, and says whether it was: a session that ends must
    /// not take along a flow that another has proved to be its own since.
    pub fn remove(&mut self, flow: &FlowKey, slot: u32) -> bool {
        match self.entry(flow) {
            Entry::Occupied(entry) if entry.get().1 == slot => {
                entry.remove();
                true
            }
            _ => false,
        }
    }

    /// Flows known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// No flow is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn entry(&mut self, flow: &FlowKey) -> Entry<'_, (FlowKey, u32)> {
        let Self { hasher, table } = self;
        table.entry(
            hasher.hash(flow.as_bytes()),
            |(known, _)| known == flow,
            |(known, _)| hasher.hash(known.as_bytes()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn flow(local: &str, remote: &str) -> FlowKey {
        FlowKey::new(local.parse().unwrap(), remote.parse().unwrap())
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_self() {
        let plain = flow("192.0.2.1:3478", "198.51.100.7:50000");
        assert_eq!(plain, flow("[::ffff:192.0.2.1]:3478", "[::ffff:198.51.100.7]:50000"));
        assert_eq!(plain.local(), "192.0.2.1:3478".parse().unwrap());
        assert_eq!(plain.remote(), "198.51.100.7:50000".parse().unwrap());
        assert_eq!(format!("{plain:?}"), "192.0.2.1:3478 ← 198.51.100.7:50000");
    }

    #[test]
    fn each_part_of_the_tuple_counts() {
        let flows = [
            flow("192.0.2.1:1", "192.0.2.2:2"),
            flow("192.0.2.2:2", "192.0.2.1:1"),
            flow("192.0.2.1:2", "192.0.2.2:1"),
            flow("192.0.2.1:1", "192.0.2.3:2"),
            flow("[2001:db8::1]:1", "[2001:db8::2]:2"),
        ];
        for (index, one) in flows.iter().enumerate() {
            assert!(flows[..index].iter().all(|other| one != other));
        }
    }

    #[test]
    fn a_flow_has_one_owner_and_only_the_owner_removes_it() {
        let mut flows = Flows::new();
        let flow = flow("192.0.2.1:1", "192.0.2.2:2");
        assert_eq!(flows.insert(flow, 7), None);
        assert_eq!(flows.insert(flow, 8), Some(7));
        assert!(!flows.remove(&flow, 7));
        assert_eq!(flows.get(&flow), Some(8));
        assert!(flows.remove(&flow, 8));
        assert!(flows.is_empty() && !flows.remove(&flow, 8));
    }

    #[test]
    fn entries_are_compact() {
        assert_eq!(size_of::<(FlowKey, u32)>(), 40);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u8..3, 0u16..50, 0u32..4), 0..300)) {
            let mut flows = Flows::new();
            let mut model = HashMap::new();
            let local = "[2001:db8::1]:3478".parse().unwrap();
            for (action, port, slot) in steps {
                let flow = FlowKey::new(local, SocketAddr::from(([192, 0, 2, 1], port)));
                match action {
                    0 => prop_assert_eq!(flows.insert(flow, slot), model.insert(flow, slot)),
                    1 => prop_assert_eq!(flows.get(&flow), model.get(&flow).copied()),
                    _ => {
                        let owned = model.get(&flow) == Some(&slot);
                        prop_assert_eq!(flows.remove(&flow, slot), owned);
                        if owned {
                            model.remove(&flow);
                        }
                    }
                }
                prop_assert_eq!(flows.len(), model.len());
            }
        }
    }
}
