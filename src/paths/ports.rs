//! What a shard knows of its UDP ports: plain data, by slot. The sockets are [`crate::net`]'s.
//!
//! **Mux ports** are few and come and go while the shard runs. **Ports of sessions**
//! (`--port-range`) are as many as sessions, in the slot of their session.

use std::net::SocketAddr;

/// The UDP ports of one shard.
pub struct Ports {
    sharing: Sharing,
    table: Vec<Option<Port>>,
}

/// Who shares a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All sessions that were given it.
    Mux,
    /// Nobody: each session has its own.
    Session,
}

/// One port.
struct Port {
    number: u16,
    /// Addresses the answers name; str0m takes datagrams for these only.
    candidates: Vec<SocketAddr>,
}

impl Ports {
    /// None yet.
    #[must_use]
    pub fn new(sharing: Sharing) -> Ports {
        Ports { sharing, table: Vec::new() }
    }

    /// Whether each session has a port of its own.
    #[must_use]
    pub fn are_of_sessions(&self) -> bool {
        self.sharing == Sharing::Session
    }

    /// Where what happens at the port in a slot is counted; of ports of sessions, at one place for
    /// all of them.
    #[must_use]
    pub fn place(&self, slot: u32) -> usize {
        match self.sharing {
            Sharing::Mux => slot as usize,
            Sharing::Session => 0,
        }
    }

    /// The port `number` is served in `slot`, which is free; `candidates` are the addresses that
    /// answers name for it.
    pub fn insert(&mut self, slot: u32, number: u16, candidates: Vec<SocketAddr>) {
        let slot = slot as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.table[slot] = Some(Port { number, candidates });
    }

    /// The port in a slot is served no longer.
    pub fn remove(&mut self, slot: u32) {
        if let Some(place) = self.table.get_mut(slot as usize) {
            *place = None;
        }
    }

    /// The number of the port in a slot.
    #[must_use]
    pub fn number(&self, slot: u32) -> Option<u16> {
        Some(self.at(slot)?.number)
    }

    /// The slot of the mux port with this number.
    #[must_use]
    pub fn slot_of(&self, number: u16) -> Option<u32> {
        let has_it = |port: &Option<Port>| port.as_ref().is_some_and(|port| port.number == number);
        self.table.iter().position(has_it).map(|slot| slot as u32)
    }

    /// Addresses that the answers name for the port in a slot.
    #[must_use]
    pub fn candidates(&self, slot: u32) -> Option<&[SocketAddr]> {
        self.at(slot).map(|port| &*port.candidates)
    }

    fn at(&self, slot: u32) -> Option<&Port> {
        self.table.get(slot as usize)?.as_ref()
    }
}
