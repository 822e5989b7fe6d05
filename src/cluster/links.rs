//! Streams that this node takes from others, and that others take from it: one link for each stream
//! and node, however many viewers ask for it at once.
//!
//! A link is made by one request and its answer, signed as all of them are; see
//! [`crate::link`] for what follows. Where it can't be made, viewers are served as if there were
//! no links: by the node that has the stream.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::to_bytes;
use serde::{Deserialize, Serialize};

use super::{Carried, Heard, Neighbours, Unasked, choose, lock, signed};
use crate::control::{Control, ControlError, LinkCodecs, LinkPlace, LinkWay, NodeRecord, OtherEnd};
use crate::limits::{LINK_AGAIN, LINK_LOOK, MAX_FORWARDED_ANSWER_BYTES, MAX_LINK_ADDRESSES};
use crate::link::{Exchange, PUBLIC_BYTES, Peer};
use crate::telemetry::limited;

/// Where links are asked for; the stream's name follows.
const LINK: &str = "/link/";

/// What a node that wants a stream says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    /// In hexadecimal.
    public: String,
    shard: u8,
    link: u32,
    addresses: Vec<SocketAddr>,
}

/// What the node that has it answers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Welcome {
    public: String,
    shard: u8,
    link: u32,
    address: SocketAddr,
    codecs: LinkCodecs,
}

/// Why a stream does not come from another node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlinked {
    /// There is no place for it here, or none is needed.
    #[error("{0}")]
    NoPlace(ControlError),
    /// The other node has not answered.
    #[error(transparent)]
    Unasked(#[from] Unasked),
    /// It has refused.
    #[error("the node `{node}` refuses a link ({status}): {words}")]
    Refused {
        /// Which.
        node: Box<str>,
        /// Its answer's status.
        status: u16,
        /// Its words.
        words: String,
    },
    /// What it has answered can't be used.
    #[error("the node `{0}` has answered with no link that this version of monoport knows")]
    Nonsense(Box<str>),
    /// Neither of them has an address of a family that the other one has.
    #[error("no address of the node `{0}` is of a family that this node has (IPv4, IPv6)")]
    NoAddress(Box<str>),
}

/// Streams that are being asked for.
#[derive(Default)]
pub(super) struct Wanted {
    /// The way to each: whoever comes while another asks waits for that one.
    asking: HashMap<Arc<str>, Arc<tokio::sync::Mutex<LastTry>>>,
    /// Those that are asked for again and again.
    chased: HashSet<Arc<str>>,
}

/// When it was tried last, and why that failed.
#[derive(Default)]
struct LastTry(Option<(Instant, Unlinked)>);

impl LastTry {
    fn is_recent(&self) -> bool {
        self.0.as_ref().is_some_and(|(at, _)| at.elapsed() < LINK_AGAIN)
    }
}

fn public(hex: &str) -> Option<[u8; PUBLIC_BYTES]> {
    signed::bytes(hex)
}

/// Whether a text is what a node says that wants a stream.
#[must_use]
pub fn is_hello(text: &str) -> bool {
    Hello::read(text).is_some()
}

impl Hello {
    /// With its public key.
    fn read(text: &str) -> Option<(Hello, [u8; PUBLIC_BYTES])> {
        let hello: Hello = serde_json::from_str(text).ok()?;
        let public = public(&hello.public)?;
        (hello.addresses.len() <= MAX_LINK_ADDRESSES).then_some((hello, public))
    }
}

/// What both ends know of a link beside their keys.
fn about(stream: &str, edge: (&str, u8, u32), origin: (&str, u8, u32)) -> Vec<u8> {
    format!("{stream}\n{edge:?}\n{origin:?}").into_bytes()
}

/// The first of `theirs` that one of `ours` is of a family with, and that one.
fn reachable(ours: &[SocketAddr], theirs: &[SocketAddr]) -> Option<(SocketAddr, SocketAddr)> {
    let alike = |one: &SocketAddr, other: &SocketAddr| one.is_ipv4() == other.is_ipv4();
    let pair = |own: &SocketAddr| Some((*own, *theirs.iter().find(|other| alike(own, other))?));
    ours.iter().find_map(pair)
}

impl Neighbours {
    /// Whether a viewer of a stream that `owner` has, and that has come here, is to be served here.
    #[must_use]
    pub fn is_to_be_served_here(&self, owner: &NodeRecord) -> bool {
        choose::is_viewer_for_here(&self.own(), owner)
    }

    /// What is known of the node of this name, while it is alive.
    pub async fn known(&self, name: &str) -> Option<NodeRecord> {
        self.control.node(name).await
    }

    /// Takes `stream` from the node `name`, unless that is done. Of many who ask at once one does
    /// so, and for a moment after a failure nobody.
    ///
    /// # Errors
    /// Why it can't be had.
    pub async fn bring(&self, stream: &str, name: &str) -> Result<(), Unlinked> {
        let way = lock(&self.wanted).asking.entry(stream.into()).or_default().clone();
        let mut last = way.lock().await;
        if self.control.is_brought(stream) {
            return Ok(());
        }
        let is_recent = last.is_recent();
        if let Some((_, why)) = last.0.as_ref().filter(|_| is_recent) {
            return Err(why.clone());
        }
        let made = self.make(stream, name).await;
        self.links_made[usize::from(made.is_err())].fetch_add(1, Ordering::Relaxed);
        last.0 = made.as_ref().err().map(|why| (Instant::now(), why.clone()));
        if let Err(why) = &made {
            let why = why.to_string();
            limited!(WARN, stream, node = name, why, "a stream can't be taken from another node");
        }
        made
    }

    async fn make(&self, stream: &str, name: &str) -> Result<(), Unlinked> {
        let place = self.control.link_place(stream, LinkWay::Brings).map_err(Unlinked::NoPlace)?;
        let exchange = Exchange::new();
        let hello = Hello {
            public: signed::hex(&exchange.public),
            shard: shard_of(&place),
            link: place.id,
            addresses: place.addresses.iter().copied().take(MAX_LINK_ADDRESSES).collect(),
        };
        let carried = Carried {
            method: "POST".into(),
            path: format!("{LINK}{stream}"),
            body: serde_json::to_string(&hello).unwrap_or_default(),
            ..Carried::default()
        };
        let answered = self.ask(name, carried).await?;
        let body = to_bytes(answered.body, MAX_FORWARDED_ANSWER_BYTES).await.unwrap_or_default();
        if answered.head.status != 200 {
            let said = String::from_utf8_lossy(&body);
            let words = said.chars().filter(|char| !char.is_control()).take(300).collect();
            let (node, status) = (name.into(), answered.head.status);
            return Err(Unlinked::Refused { node, status, words });
        }
        let nonsense = || Unlinked::Nonsense(name.into());
        let welcome: Welcome = serde_json::from_slice(&body).map_err(|_error| nonsense())?;
        let theirs = public(&welcome.public).ok_or_else(nonsense)?;
        let own = &*self.control.member().node;
        let edge = (own, hello.shard, hello.link);
        let about = about(stream, edge, (name, welcome.shard, welcome.link));
        let secrets = self.keys.now();
        let secret = secrets.first().ok_or_else(nonsense)?;
        let keys = exchange.incoming(&theirs, secret, &about).ok_or_else(nonsense)?;
        let Welcome { shard, link, address, codecs, .. } = welcome;
        let (node, peer) = (name.into(), Peer { shard, link });
        place.open(OtherEnd { node, peer, address, keys, codecs }).map_err(Unlinked::NoPlace)
    }

    /// What this node answers itself, and no client could ask, in words or why not: another node
    /// wants a stream of this one.
    #[must_use]
    pub fn welcome(&self, heard: &Heard) -> Option<Result<String, ControlError>> {
        let stream = heard.request.path.strip_prefix(LINK)?;
        (heard.request.method == "POST").then(|| self.open(stream, heard))
    }

    fn open(&self, stream: &str, heard: &Heard) -> Result<String, ControlError> {
        let wrong = || ControlError::Conflict("it is no link that this version knows".into());
        let (hello, theirs) = Hello::read(&heard.request.body).ok_or_else(wrong)?;
        let place = self.control.link_place(stream, LinkWay::Takes)?;
        let (address, to) = reachable(&place.addresses, &hello.addresses).ok_or_else(|| {
            let words = "no address of one node is of a family that the other has (IPv4, IPv6)";
            ControlError::Conflict(words.into())
        })?;
        let exchange = Exchange::new();
        let welcome = Welcome {
            public: signed::hex(&exchange.public),
            shard: shard_of(&place),
            link: place.id,
            address,
            codecs: place.codecs.clone(),
        };
        let edge = (&*heard.from, hello.shard, hello.link);
        let own = &*self.control.member().node;
        let about = about(stream, edge, (own, welcome.shard, welcome.link));
        let keys = exchange.outgoing(&theirs, &heard.key, &about).ok_or_else(wrong)?;
        let peer = Peer { shard: hello.shard, link: hello.link };
        let (node, codecs) = (heard.from.as_str().into(), LinkCodecs::default());
        place.open(OtherEnd { node, peer, address: to, keys, codecs })?;
        serde_json::to_string(&welcome).map_err(|_error| wrong())
    }

    /// Looks after links until the server stops: those that have ended are forgotten, those that
    /// nobody needs any more are closed, and streams that viewers here miss since are looked for.
    pub async fn tend_links(self: Arc<Neighbours>) {
        loop {
            tokio::time::sleep(LINK_LOOK).await;
            for stream in self.control.look_at_links() {
                self.chase_soon(stream);
            }
            // What nobody asks for now was had, or can be asked for anew.
            lock(&self.wanted).asking.retain(|_, way| {
                Arc::strong_count(way) > 1 || way.try_lock().is_ok_and(|last| last.is_recent())
            });
        }
    }

    /// Begins to chase a stream, unless that is under way.
    pub(super) fn chase_soon(self: &Arc<Neighbours>, stream: Arc<str>) {
        if lock(&self.wanted).chased.insert(stream.clone()) {
            tokio::spawn(self.clone().chase(stream));
        }
    }

    /// Takes a stream that viewers here miss from whichever node has it, as soon as one has.
    async fn chase(self: Arc<Neighbours>, stream: Arc<str>) {
        loop {
            if !is_missed(&self.control, &stream) {
                lock(&self.wanted).chased.remove(&stream);
                // It may have been missed again before that.
                let is_missed = is_missed(&self.control, &stream);
                if !is_missed || !lock(&self.wanted).chased.insert(stream.clone()) {
                    return;
                }
            }
            if let Ok(Some(owner)) = self.control.owner(&stream).await
                && owner.node != self.control.member().node
                && owner.http.is_some()
            {
                // It says itself why not.
                let _unlinked = self.bring(&stream, &owner.node).await;
            }
            tokio::time::sleep(LINK_LOOK).await;
        }
    }
}

fn is_missed(control: &Control, stream: &str) -> bool {
    control.is_missed(stream) && !control.is_stopping()
}

/// A shard's number as a head has it: there are no more than it can say.
fn shard_of(place: &LinkPlace<'_>) -> u8 {
    u8::try_from(place.shard).unwrap_or(u8::MAX)
}

const _: () = assert!(crate::limits::MAX_SHARDS <= 256, "a head names a shard in one byte");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_meet_at_addresses_of_one_family() {
        let at = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let ours = at(&["[2001:db8::1]:1", "192.0.2.1:1"]);
        let theirs = at(&["192.0.2.2:2", "192.0.2.3:2"]);
        let met = reachable(&ours, &theirs);
        assert_eq!(met, Some((ours[1], theirs[0])));
        assert_eq!(reachable(&ours[..1], &theirs), None);
        assert_eq!(reachable(&ours, &[]), None);
    }

    #[test]
    fn no_two_links_have_the_same_said_about_them() {
        let one = about("s", ("a", 0, 1), ("b", 1, 2));
        for other in [
            about("t", ("a", 0, 1), ("b", 1, 2)),
            about("s", ("a", 0, 2), ("b", 1, 2)),
            about("s", ("a", 0, 1), ("c", 1, 2)),
            about("s", ("b", 1, 2), ("a", 0, 1)),
        ] {
            assert_ne!(one, other);
        }
    }
}
