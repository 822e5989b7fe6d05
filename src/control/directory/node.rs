//! What nodes know of one another, and why one does not fit in with the others.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{CLUSTER_CLOCK_SKEW, MAX_NODES};

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its name, unlike that of any other.
    pub name: Box<str>,
    /// Where its HTTP is.
    pub http: HttpAt,
    /// The number that stands for its name where bits are few, from 1 on; 0 before the directory
    /// has given it one.
    pub number: u16,
    /// Its sessions.
    pub sessions: usize,
    /// Whether it takes no more.
    pub draining: bool,
    /// How long ago it told the directory of itself, in milliseconds, when that was asked; 0 in
    /// what it tells.
    pub beat_age_ms: u64,
    /// What nodes have to agree about.
    pub terms: Terms,
    /// What else there is to know.
    pub about: About,
}

/// Where the HTTP of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAt {
    /// Whether it is HTTPS.
    pub tls: bool,
    /// Its address.
    pub address: SocketAddr,
}

/// What nodes have to agree about, to be nodes of one cluster. A node that joins, or changes one of
/// these, is held against all that are alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The version of what nodes say to one another.
    pub protocol: u32,
    /// Fingerprints of its secrets, separated by spaces: the one it signs with, and then the one it
    /// takes as well. Empty where it has none.
    pub secrets: Box<str>,
    /// Ports that it alone may have.
    pub ports: Vec<MediaPorts>,
}

/// Ports of media at an address that clients are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaPorts {
    /// Whether they are TCP's.
    pub tcp: bool,
    /// The address.
    pub ip: IpAddr,
    /// The first port.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// What else there is to know of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Where it stands; empty where nobody has said so.
    pub zone: Box<str>,
    /// The version of its program.
    pub version: Box<str>,
    /// How much of what it can do it does, in thousandths.
    pub load_permille: u32,
    /// All its ports of media, as clients are told of them.
    pub media: Vec<MediaPorts>,
}

/// Why a node is not one of the cluster's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another process that is alive has its name.
    #[error(
        "another process is alive there under this node's name: start this one with another \
         --node, or stop that one"
    )]
    NameTaken,
    /// Its clock is too far from the directory's.
    #[error(
        "this host's clock and the directory's are {} s apart, and may be {} s apart at most: \
         set the one that is wrong (NTP)",
        apart_ms / 1_000,
        CLUSTER_CLOCK_SKEW.as_secs()
    )]
    Clock {
        /// How far, in milliseconds.
        apart_ms: u64,
    },
    /// It speaks otherwise than the others.
    #[error(
        "the node `{node}` is of another version of monoport, and the two do not understand each \
         other: run the same version on both"
    )]
    Protocol {
        /// One of the others.
        node: Box<str>,
    },
    /// It has another secret than the others.
    #[error(
        "the node `{node}` has another secret, or one of the two has none: give both the same file \
         (--cluster-secret-file)"
    )]
    Secret {
        /// One of the others.
        node: Box<str>,
    },
    /// Clients would find another node where they look for this one.
    #[error(
        "the node `{node}` announces {at} as well: give each node a port of its own (--udp-port, \
         --tcp-port, --announce IP:PORT), or an address"
    )]
    Port {
        /// The other.
        node: Box<str>,
        /// Address and port.
        at: Box<str>,
    },
    /// There are as many as there may be.
    #[error("there are {MAX_NODES} nodes already, and that is as many as there may be")]
    Full,
}

impl Misfit {
    /// One word for each, for metrics.
    pub(super) const LABELS: [&'static str; 6] =
        ["name", "clock", "version", "secret", "port", "full"];

    pub(super) const fn index(&self) -> usize {
        match self {
            Misfit::NameTaken => 0,
            Misfit::Clock { .. } => 1,
            Misfit::Protocol { .. } => 2,
            Misfit::Secret { .. } => 3,
            Misfit::Port { .. } => 4,
            Misfit::Full => 5,
        }
    }
}

impl Terms {
    /// Why a node with these terms does not fit in with `node`, which has `theirs`.
    pub(super) fn misfit(&self, node: &str, theirs: &Terms) -> Option<Misfit> {
        if self.protocol != theirs.protocol {
            return Some(Misfit::Protocol { node: node.into() });
        }
        if !takes(&self.secrets, &theirs.secrets) || !takes(&theirs.secrets, &self.secrets) {
            return Some(Misfit::Secret { node: node.into() });
        }
        let shared = self.ports.iter().find_map(|ours| {
            let shared = theirs.ports.iter().find(|theirs| ours.meet(theirs))?;
            Some((ours, ours.first.max(shared.first)))
        });
        let (ports, port) = shared?;
        let at = format!("{}/{}/{port}", ports.letter(), ports.ip).into();
        Some(Misfit::Port { node: node.into(), at })
    }
}

/// Whether what is signed by who has the secrets `theirs` is taken by who has `ours`.
fn takes(ours: &str, theirs: &str) -> bool {
    let signs = theirs.split(' ').next().unwrap_or_default();
    ours.split(' ').any(|one| one == signs)
}

impl MediaPorts {
    fn meet(&self, other: &MediaPorts) -> bool {
        let same = self.tcp == other.tcp && self.ip == other.ip;
        same && self.first <= other.last && other.first <= self.last
    }

    const fn letter(&self) -> &'static str {
        if self.tcp { "tcp" } else { "udp" }
    }
}

/// As in `udp/192.0.2.1/7882-7882`.
impl fmt::Display for MediaPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}-{}", self.letter(), self.ip, self.first, self.last)
    }
}

impl FromStr for MediaPorts {
    type Err = ();

    fn from_str(text: &str) -> Result<MediaPorts, ()> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(());
        let (kind, ip, ports) = (next()?, next()?, next()?);
        let (first, last) = ports.split_once('-').ok_or(())?;
        let port = |text: &str| text.parse().map_err(|_| ());
        Ok(MediaPorts {
            tcp: kind == "tcp",
            ip: ip.parse().map_err(|_| ())?,
            first: port(first)?,
            last: port(last)?,
        })
    }
}

impl fmt::Display for HttpAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

impl FromStr for HttpAt {
    type Err = ();

    fn from_str(text: &str) -> Result<HttpAt, ()> {
        let (scheme, address) = text.split_once("://").ok_or(())?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(()),
        };
        Ok(HttpAt { tls, address: address.parse().map_err(|_| ())? })
    }
}
