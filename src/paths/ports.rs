//! What a shard knows of its UDP ports: plain data, by slot. The sockets are [`crate::net`]'s.
//!
//! **Mux ports** are few and come and go while the shard runs. **Ports of sessions**
//! (`--port-range`) are as many as sessions, in the slot of their session.

/// The UDP ports of one shard.
pub struct Ports {
    sharing: Sharing,
    /// The number of each.
    table: Vec<Option<u16>>,
}

/// Who shares a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All sessions that were given it.
    Mux,
    /// Nobody: each session has its own.
    Session,
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

    /// The port `number` is served in `slot`, which is free.
    pub fn insert(&mut self, slot: u32, number: u16) {
        let slot = slot as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.table[slot] = Some(number);
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
        *self.table.get(slot as usize)?
    }

    /// The slot of the mux port with this number.
    #[must_use]
    pub fn slot_of(&self, number: u16) -> Option<u32> {
        let slot = self.table.iter().position(|port| *port == Some(number));
        slot.map(|slot| slot as u32)
    }
}
