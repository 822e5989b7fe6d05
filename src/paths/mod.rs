//! Whose is a datagram, and which way back: the paths between a shard and its peers.
//!
//! A peer proves a path by a STUN check that authenticates. From then on everything that comes by
//! that path is its session's, and one path of each session, the last that the peer chose, is where
//! its datagrams go. What follows from that for others is answered as values ([`Whose`],
//! [`Proved`], [`Moved`]), which the shard carries out: nothing is known of sessions here but the
//! slots they are in.
//!
//! ```text
//! whose.rs        a datagram's session: by ufrag, by flow, or another shard's
//! admission.rs    which checks are looked at: guard.rs says how many
//! proof.rs        a path is proved, is lost to another, gives way
//! voice.rs        which path a peer speaks by, and which it was seen to receive by
//! leaving.rs      a session ends, and its paths with it
//! peers.rs        the paths of one session
//! ports.rs        UDP ports by slot: mux ports, or one per session
//! ways.rs         what datagrams leave by
//! flows.rs        4-tuple to session, of one shard       directory.rs  4-tuple to shard, of all
//! ownership.rs    whose a flow is, told to other shards and the kernel
//! link_names.rs   which links other shards have
//! connections.rs  TCP connections: frames in (frames.rs), frames out (outbox.rs)
//! ```

mod admission;
mod audit;
mod connections;
pub mod directory;
pub mod flows;
mod frames;
mod guard;
mod leaving;
mod link_names;
mod outbox;
mod ownership;
mod peers;
mod ports;
mod proof;
mod voice;
mod ways;
mod whose;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

pub use admission::Unwelcome;
pub use connections::NewConnection;
pub use directory::Directory;
pub use flows::{FlowKey, Flows};
pub use frames::Reading;
pub use link_names::LinkNames;
pub use ownership::{Ownership, SharedOwnership};
pub use ports::{Ports, Sharing};
pub use proof::{Moved, Proved};
pub use voice::Heard;
pub use ways::Ways;
pub use whose::{Check, Inbound, Whose};

use crate::id::Via;
use crate::net::{Destination, Transmitter, prefetch};
use crate::wire::ufrag::UfragKey;
use connections::Connections;
use peers::Peers;

/// Bytes of one path of a session, its place in the table of flows among them.
const OWN_BYTES: usize = size_of::<voice::Own>() + size_of::<(FlowKey, u32)>();

/// A way between us and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// What carries it.
    pub via: Via,
    /// Our address on it.
    pub local: IpAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

impl Path {
    /// Where to send; `trains` says whether as trains.
    #[must_use]
    pub const fn destination(&self, trains: bool) -> Destination {
        Destination { via: self.via, remote: self.remote, local: self.local, trains }
    }
}

/// The paths of one shard.
pub struct Paths {
    /// The shard's number.
    shard: u16,
    ownership: SharedOwnership,
    ufrag_key: UfragKey,
    /// The keys of processes that were taken over; none where nothing was.
    earlier_keys: Vec<UfragKey>,
    /// Addresses the answers name for TCP.
    tcp_candidates: Vec<SocketAddr>,
    /// Whether datagrams may leave as trains, until a path refuses one.
    trains: bool,
    flows: Flows,
    peers: Peers,
    /// The UDP ports.
    pub ports: Ports,
    /// The ways out.
    pub ways: Ways,
}

/// How the paths of a shard are set up.
#[derive(Clone, Debug)]
pub struct PathsConfig {
    /// The shard's number.
    pub shard: u16,
    /// Addresses in the answers for TCP; none where it is not served.
    pub tcp_candidates: Vec<SocketAddr>,
    /// Whether datagrams may leave as trains.
    pub trains: bool,
    /// The key of ufrags.
    pub ufrag_key: UfragKey,
}

impl Paths {
    /// No path yet, over ports that are shared as `sharing` says.
    ///
    /// # Errors
    ///
    /// `EMFILE`: the kernel keeps a list of TCP connections.
    pub fn new(
        config: PathsConfig,
        ownership: SharedOwnership,
        sharing: Sharing,
        transmitter: Transmitter,
        now: Instant,
    ) -> io::Result<Paths> {
        let PathsConfig { shard, tcp_candidates, trains, ufrag_key } = config;
        Ok(Paths {
            shard,
            ownership,
            ufrag_key,
            earlier_keys: Vec::new(),
            tcp_candidates,
            trains,
            flows: Flows::new(),
            peers: Peers::default(),
            ports: Ports::new(sharing),
            ways: Ways { transmitter, tcp: Connections::new(now)? },
        })
    }

    /// What has a ufrag of one of these `keys`, or a flow that nobody here knows, is
    /// [`Whose::Earlier`] from here on; nothing is without keys.
    pub fn set_earlier(&mut self, keys: Vec<UfragKey>) {
        self.earlier_keys = keys;
    }

    /// A session has come into `slot`, whose answer named the port in slot `port`.
    pub fn enter(&mut self, now: Instant, slot: u32, port: u32) {
        self.peers.insert(now, slot, port);
    }

    /// The path that the datagrams of the session in `slot` take, once it has proved one.
    #[must_use]
    pub fn path(&self, slot: u32) -> Option<Path> {
        self.peers.at(slot)?.path
    }

    /// Where the datagrams of the session in `slot` go.
    #[must_use]
    pub fn destination(&self, slot: u32) -> Option<Destination> {
        self.peers.at(slot)?.destination()
    }

    /// Our address and port on the path of the session in `slot`, as a client sees them.
    #[must_use]
    pub fn local(&self, slot: u32) -> Option<SocketAddr> {
        let path = self.path(slot)?;
        let port = match path.via {
            Via::Udp(port) => self.ports.number(port)?,
            // Whoever comes over TCP has come to the port that the answers name.
            Via::Tcp(_) => self.tcp_candidates.first().map_or(0, SocketAddr::port),
        };
        Some(SocketAddr::new(path.local, port))
    }

    /// Flows known.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// The session whose flow this is, on this shard.
    #[must_use]
    #[inline]
    pub fn owner(&self, port: u32, local: IpAddr, remote: SocketAddr) -> Option<u32> {
        self.flows.get(&self.flow(port, local, remote)?)
    }

    /// Bytes of memory that the paths of the session in `slot` take.
    #[must_use]
    pub fn bytes(&self, slot: u32) -> usize {
        self.peers.at(slot).map_or(0, |peer| size_of_val(peer) + peer.own.capacity() * OWN_BYTES)
    }

    /// The paths of the session in `slot` will be needed soon.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        if let Some(peer) = self.peers.at(slot) {
            prefetch(peer);
        }
    }

    /// The next session that gets single datagrams from here on, since its path refused a train:
    /// its slot, and where its datagrams go.
    pub fn next_single_file(&mut self) -> Option<(u32, Destination)> {
        while let Some(to) = self.ways.transmitter.next_refused_train() {
            let Via::Udp(port) = to.via else { continue };
            let flow = self.flow(port, to.local, to.remote);
            let Some(slot) = flow.and_then(|flow| self.flows.get(&flow)) else { continue };
            let Some(peer) = self.peers.at_mut(slot) else { continue };
            peer.trains = false;
            if let Some(to) = peer.destination() {
                return Some((slot, to));
            }
        }
        None
    }

    /// The sessions that have nowhere to be reached at without the mux port in slot `port`: those
    /// that were given it, and one that was given another and is reached through this all the same.
    #[must_use]
    pub fn sessions_at(&self, port: u32) -> Vec<u32> {
        let through = |path: Path| path.via == Via::Udp(port);
        let at = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.port == port || peer.path.is_some_and(through));
        at.map(|(slot, _)| slot).collect()
    }

    /// The mux port in slot `port` is served no longer: the flows of others through it are
    /// forgotten.
    pub fn close_port(&mut self, port: u32) {
        let Some(number) = self.ports.number(port) else { return };
        let mut gone = Vec::new();
        for (slot, peer) in self.peers.iter_mut() {
            peer.own.retain(|own| {
                let goes = own.flow.filter(|flow| flow.local().port() == number);
                gone.extend(goes.map(|flow| (slot, flow)));
                goes.is_none()
            });
        }
        for (slot, flow) in gone {
            self.forget(&flow, slot);
        }
        self.ports.remove(port);
    }

    /// The flow between `remote` and our address `local` at the port in slot `port`,
    /// if that is open.
    fn flow(&self, port: u32, local: IpAddr, remote: SocketAddr) -> Option<FlowKey> {
        Some(FlowKey::new(SocketAddr::new(local, self.ports.number(port)?), remote))
    }

    /// Datagrams of the session in `slot` go by `path` from now on.
    fn move_to(&mut self, slot: u32, path: Path) -> Option<Moved> {
        let trains = self.trains;
        let peer = self.peers.at_mut(slot)?;
        let had_one = peer.path.replace(path).is_some();
        // A new path may take what the old one refused.
        peer.trains = trains;
        Some(Moved { slot, to: path.destination(trains), had_one })
    }

    /// `flow` is the session's in `slot` no longer, if it was.
    fn forget(&mut self, flow: &FlowKey, slot: u32) {
        if self.flows.remove(flow, slot) {
            self.ownership.release(flow, self.shard);
        }
    }
}
