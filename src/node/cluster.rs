//! This node among others (`--cluster`): its name, its way to the directory, and where its HTTP is.

use std::net::SocketAddr;
use std::sync::Arc;

use super::StartError;
use super::announce::Reachable;
use crate::config::Config;
use crate::control::{Directory, MemoryDirectory, RedisDirectory};

/// The name of a node that has no others.
const ALONE: &str = "monoport";

/// What control is to know of other nodes.
pub(super) struct Cluster {
    pub directory: Arc<dyn Directory>,
    /// Whether there are others.
    pub has_others: bool,
    /// This node's name.
    pub node: Box<str>,
    /// Tells this node from its predecessor of the same name.
    pub incarnation: u64,
}

impl Cluster {
    /// As `config` says. A process that takes over goes on as the node that the `earlier` one is.
    ///
    /// # Errors
    /// [`StartError::Cluster`] and [`StartError::NoNodeName`].
    pub fn new(config: &Config, earlier: Option<u64>) -> Result<Cluster, StartError> {
        let incarnation = earlier.unwrap_or_else(random_incarnation);
        let Some(url) = &config.cluster.cluster else {
            let directory = Arc::new(MemoryDirectory::alone(ALONE));
            return Ok(Cluster { directory, has_others: false, node: ALONE.into(), incarnation });
        };
        let node = match &config.cluster.node {
            Some(name) => name.0.clone(),
            None => host_name().ok_or(StartError::NoNodeName)?,
        };
        let directory = RedisDirectory::new(&url.urls, url.master.as_deref(), &node, incarnation);
        let directory = Arc::new(directory.map_err(StartError::Cluster)?);
        Ok(Cluster { directory, has_others: true, node, incarnation })
    }
}

/// Where others reach this node's HTTP: at what it is bound to, or at the first address that is
/// announced where that is every address.
pub(super) fn http_of(bound: SocketAddr, reachable: &[Reachable]) -> SocketAddr {
    match (bound.ip().is_unspecified(), reachable.first()) {
        (true, Some(first)) => SocketAddr::new(first.ip, bound.port()),
        _ => bound,
    }
}

fn host_name() -> Option<Box<str>> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name: crate::config::NodeName = name.trim().parse().ok()?;
    Some(name.0)
}

/// Within what a script of Redis counts without rounding.
fn random_incarnation() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes) >> 11
}
