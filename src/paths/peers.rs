//! The paths of one session, by the session's slot.

use super::{FlowKey, Path};
use crate::id::ConnectionId;
use crate::net::Destination;

/// What is known of the way to one peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Slot of the port its answer named.
    pub port: u32,
    /// The path its datagrams take: the last that proved itself and was chosen.
    pub path: Option<Path>,
    /// Whether its datagrams may leave as trains; not any more once its path has refused one.
    pub trains: bool,
    /// Whether a check for it had a wrong password.
    pub refused: bool,
    /// Flows that are its own, oldest first.
    pub flows: Vec<FlowKey>,
    /// TCP connections that are its own, oldest first.
    pub connections: Vec<ConnectionId>,
}

impl Peer {
    /// Where its datagrams go.
    pub fn destination(&self) -> Option<Destination> {
        self.path.map(|path| path.destination(self.trains))
    }
}

/// Peers by the slot of their session.
#[derive(Default)]
pub(super) struct Peers(Vec<Option<Box<Peer>>>);

impl Peers {
    /// A session without a path yet.
    pub fn insert(&mut self, slot: u32, port: u32) {
        let index = slot as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        let (flows, connections) = (Vec::new(), Vec::new());
        let peer = Peer { port, path: None, trains: true, refused: false, flows, connections };
        self.0[index] = Some(Box::new(peer));
    }

    pub fn remove(&mut self, slot: u32) -> Option<Box<Peer>> {
        self.0.get_mut(slot as usize)?.take()
    }

    pub fn at(&self, slot: u32) -> Option<&Peer> {
        self.0.get(slot as usize)?.as_deref()
    }

    pub fn at_mut(&mut self, slot: u32) -> Option<&mut Peer> {
        self.0.get_mut(slot as usize)?.as_deref_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Peer)> {
        (0..).zip(&self.0).filter_map(|(slot, peer)| Some((slot, peer.as_deref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Peer)> {
        (0..).zip(&mut self.0).filter_map(|(slot, peer)| Some((slot, peer.as_deref_mut()?)))
    }
}
