//! This node among others (`--cluster`): its name, its way to the directory, and where its HTTP is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::StartError;
use super::announce::Reachable;
use crate::config::Config;
use crate::control::{HttpAt, MediaPorts, Member, MemoryDirectory, RedisDirectory};

/// The name of a node that has no others.
const ALONE: &str = "monoport";

/// This node among others, as `config` says. A process that takes over goes on as the node that the
/// `earlier` one is.
///
/// # Errors
/// [`StartError::Cluster`] and [`StartError::NoNodeName`].
pub(super) fn member(
    config: &Config,
    earlier: Option<u64>,
    reachable: &[Reachable],
) -> Result<Member, StartError> {
    let incarnation = earlier.unwrap_or_else(random_incarnation);
    let Some(url) = &config.cluster.cluster else {
        let directory = Arc::new(MemoryDirectory::alone(ALONE));
        return Ok(Member { has_others: false, ..Member::plain(ALONE, directory, incarnation) });
    };
    let node = match &config.cluster.node {
        Some(name) => name.0.clone(),
        None => host_name().ok_or(StartError::NoNodeName)?,
    };
    let directory = RedisDirectory::new(&url.urls, url.master.as_deref(), &node, incarnation);
    let directory = Arc::new(directory.map_err(StartError::Cluster)?);
    let zone = config.cluster.zone.as_ref().map_or_else(|| "".into(), |zone| zone.0.clone());
    let range = config.udp.range.iter().flat_map(|range| {
        let ports = |one: &Reachable| (one.at(range.first), one.at(range.last));
        reachable.iter().map(ports)
    });
    let range = range.map(|(first, last)| MediaPorts {
        tcp: false,
        ip: first.ip(),
        first: first.port(),
        last: last.port(),
    });
    let secrets = Mutex::new(config.cluster.secrets.fingerprints().into());
    let range = range.collect();
    let member = Member::plain(&node, directory, incarnation);
    let link_bits_per_s = config.cluster.link_mbps.map(|mbps| u64::from(mbps) * 1_000_000);
    Ok(Member { zone, secrets, range, link_bits_per_s, ..member })
}

/// Where others reach this node's HTTP: at what it is bound to, or at the first address that is
/// announced where that is every address.
pub(super) fn http_of(config: &Config, bound: SocketAddr, reachable: &[Reachable]) -> HttpAt {
    let address = match (bound.ip().is_unspecified(), reachable.first()) {
        (true, Some(first)) => SocketAddr::new(first.ip, bound.port()),
        _ => bound,
    };
    HttpAt { tls: config.tls.is_some(), address }
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
