//! The paths of one session, by the session's slot.

use std::time::Instant;

use super::guard::Guard;
use super::voice::Own;
use super::{FlowKey, Path};
use crate::id::{ConnectionId, Via};
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
    /// What checks for it may cost.
    pub guard: Guard,
    /// Paths that are its own, oldest first.
    pub own: Vec<Own>,
}

impl Peer {
    /// What is known of a path, if it is its own.
    pub fn own_mut(&mut self, path: &Path) -> Option<&mut Own> {
        self.own.iter_mut().find(|own| own.path == *path)
    }

    /// Flows that are its own, oldest first.
    pub fn flows(&self) -> impl Iterator<Item = &FlowKey> {
        self.own.iter().filter_map(|own| own.flow.as_ref())
    }

    /// Whether a flow is its own.
    pub fn has_flow(&self, flow: &FlowKey) -> bool {
        self.flows().any(|own| own == flow)
    }

    /// TCP connections that are its own, oldest first.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.own.iter().filter_map(|own| match own.path.via {
            Via::Tcp(id) => Some(id),
            Via::Udp(_) => None,
        })
    }

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
    pub fn insert(&mut self, now: Instant, slot: u32, port: u32) {
        let index = slot as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        let (guard, own) = (Guard::new(now), Vec::new());
        let peer = Peer { port, path: None, trains: true, guard, own };
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
