//! This node among others: what it tells of itself, and what it knows of them.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ports::PortTable;
use super::slots::Slots;
use super::{
    About, Control, Directory, HttpAt, MediaPorts, Misfit, NodeRecord, Owner, Terms, Unreachable,
};
use crate::limits::{CLUSTER_PROTOCOL, DIRECTORY_PEERS_AGAIN, DIRECTORY_RESOLVED_FOR};
use crate::telemetry::Exposition;

/// This node among others.
pub struct Member {
    /// Who publishes what, among all nodes.
    pub directory: Arc<dyn Directory>,
    /// Whether there are others.
    pub has_others: bool,
    /// This node's name there.
    pub node: Box<str>,
    /// Tells it from its predecessor of the same name.
    pub incarnation: u64,
    /// Where it stands; empty where nobody has said so.
    pub zone: Box<str>,
    /// Fingerprints of the secrets it shares with the others, as [`Terms::secrets`] has them.
    pub secrets: Mutex<Box<str>>,
    /// What a link may carry to another node.
    pub link_bits_per_s: Option<u64>,
    /// With a port per session, all ports there are.
    pub range: Vec<MediaPorts>,
}

impl Member {
    /// The node `node`, which has a directory and tells nothing of itself.
    #[must_use]
    pub fn plain(node: &str, directory: Arc<dyn Directory>, incarnation: u64) -> Member {
        Member {
            directory,
            has_others: true,
            node: node.into(),
            incarnation,
            zone: "".into(),
            secrets: Mutex::default(),
            link_bits_per_s: None,
            range: Vec::new(),
        }
    }

    /// See [`Member::secrets`].
    pub(super) fn secrets(&self) -> Box<str> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is known of the others, and told of this one, for the time being.
#[derive(Default)]
pub(super) struct Others {
    /// The number the directory has given this node; 0 before.
    number: AtomicU16,
    /// How much of the last second shards ran, on average.
    busy_permille: AtomicU32,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    nodes: Arc<[NodeRecord]>,
    at: Option<Instant>,
}

impl Others {
    pub fn number(&self) -> u16 {
        self.number.load(Ordering::Relaxed)
    }

    pub fn set_number(&self, number: u16) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// Takes in how much of the last second each shard ran, in thousandths.
    pub fn observe(&self, permille: &[Option<u32>]) {
        let known = || permille.iter().flatten();
        if let Some(mean) = known().sum::<u32>().checked_div(known().count() as u32) {
            self.busy_permille.store(mean, Ordering::Relaxed);
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Nothing under the lock panics half-way.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// This node's name among others.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The number that stands for this node's name; 0 where the directory has given it none.
    #[must_use]
    pub fn node_number(&self) -> u16 {
        self.others.number()
    }

    /// The nodes that were alive when the directory was last asked, this one among them.
    #[must_use]
    pub fn nodes(&self) -> Arc<[NodeRecord]> {
        self.others.seen().nodes.clone()
    }

    /// The node of this name, if it is alive. One that is not known yet is asked for, unless that
    /// was done just now.
    pub async fn node(&self, name: &str) -> Option<NodeRecord> {
        let find = || self.nodes().iter().find(|node| &*node.name == name).cloned();
        if let Some(node) = find() {
            return Some(node);
        }
        let is_due = {
            let mut seen = self.others.seen();
            let is_due = seen.at.is_none_or(|at| at.elapsed() >= DIRECTORY_PEERS_AGAIN);
            // Whoever asks now asks for all.
            seen.at = if is_due { Some(Instant::now()) } else { seen.at };
            is_due
        };
        if is_due {
            let _unreachable = self.look_at_nodes().await;
        }
        find()
    }

    /// Who has `stream`, as the directory says.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn owner(&self, stream: &str) -> Result<Option<Owner>, Unreachable> {
        self.owner_of(stream, DIRECTORY_RESOLVED_FOR).await
    }

    /// The same, asked anew: who looks for a stream that is missed waits for the moment that
    /// somebody has it.
    ///
    /// # Errors
    /// Likewise.
    pub async fn owner_now(&self, stream: &str) -> Result<Option<Owner>, Unreachable> {
        self.owner_of(stream, Duration::ZERO).await
    }

    async fn owner_of(&self, stream: &str, age: Duration) -> Result<Option<Owner>, Unreachable> {
        let owners = self.member.directory.resolve(vec![stream.into()], age).await?;
        Ok(owners.into_iter().next().flatten())
    }

    /// This node as the one that has `stream`, where somebody publishes it here, without asking the
    /// directory; the epoch is 0 where that was never told of it.
    #[must_use]
    pub fn own_claim(&self, stream: &str) -> Option<Owner> {
        let registry = self.lock();
        registry.streams.get(stream)?.publisher()?;
        let epoch = registry.kept.epoch(stream);
        drop(registry);
        let own = &self.member.node;
        let http = self.nodes().iter().find(|node| node.name == *own).map(|node| node.http);
        Some(Owner { node: own.clone(), epoch, http })
    }

    /// Whether the directory knew of this node at its last beat, and why not where it has said so.
    #[must_use]
    pub fn directory_state(&self) -> (bool, Option<Misfit>) {
        self.directory_meter.state()
    }

    /// The secrets are others from here on; the next beat tells it.
    pub fn tell_secrets(&self, fingerprints: &str) {
        let mut told = self.member.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        *told = fingerprints.into();
    }

    /// How long ago the directory was asked who is alive; nothing before that.
    #[must_use]
    pub fn nodes_seen_ago(&self) -> Duration {
        self.others.seen().at.map(|at| at.elapsed()).unwrap_or_default()
    }

    /// Asks the directory who is alive.
    pub(super) async fn look_at_nodes(&self) -> Result<(), Unreachable> {
        let mut nodes = self.member.directory.peers().await?;
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        let mut seen = self.others.seen();
        (seen.nodes, seen.at) = (nodes.into(), Some(Instant::now()));
        Ok(())
    }

    /// What this node tells of itself, whose HTTP is at `http`.
    pub(super) fn record(&self, http: HttpAt) -> NodeRecord {
        let Member { node, zone, .. } = &self.member;
        let media = self.media_ports();
        // An address of a private network may be another host's elsewhere.
        let public = |one: &&MediaPorts| !is_private(one);
        let own = if media.iter().any(|one| public(&one)) {
            media.iter().filter(public).copied().collect()
        } else {
            media.clone()
        };
        let (sessions, _streams) = self.counts();
        NodeRecord {
            name: node.clone(),
            http,
            number: self.others.number(),
            sessions,
            draining: self.is_stopping(),
            beat_age_ms: 0,
            terms: Terms { protocol: CLUSTER_PROTOCOL, secrets: self.member.secrets(), ports: own },
            about: About {
                zone: zone.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                load_permille: self.load_permille(),
                media,
            },
        }
    }

    /// How much of what this node can do it does: of its cores or of its sessions, whichever is
    /// more.
    #[must_use]
    pub fn load_permille(&self) -> u32 {
        let registry = self.lock();
        let room: usize = registry.slots.iter().map(Slots::capacity).sum();
        let taken = (registry.live.len() * 1_000).checked_div(room).unwrap_or(1_000);
        self.others.busy_permille.load(Ordering::Relaxed).max(taken as u32)
    }

    /// Adds how much of what it can do the node does.
    pub fn expose_load(&self, exposition: &mut Exposition) {
        let help = "How much of what it can do the node does, from 0 to 1: of its cores or of its \
                    sessions, whichever is more";
        let load = f64::from(self.load_permille()) / 1_000.0;
        exposition.gauge("node_load", help).float(Vec::new(), load);
    }

    /// The ports of media as clients are told of them.
    fn media_ports(&self) -> Vec<MediaPorts> {
        let at = |tcp: bool, address: &std::net::SocketAddr| {
            let (ip, first) = (address.ip(), address.port());
            MediaPorts { tcp, ip, first, last: first }
        };
        let mut ports = match &self.lock().ports {
            PortTable::Range(_) => self.member.range.clone(),
            PortTable::Mux(slots) => {
                let candidates = slots.iter().flatten().flat_map(|port| port.candidates.iter());
                candidates.map(|address| at(false, address)).collect()
            }
        };
        ports.extend(self.tcp_candidates().iter().map(|address| at(true, address)));
        ports
    }
}

fn is_private(ports: &MediaPorts) -> bool {
    match ports.ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => {
            ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()
        }
    }
}
