//! Streams that this node takes from others, and that others take from it: one link for each stream
//! and node, however many viewers ask for it at once.
//!
//! A link is made by one request and its answer, signed as all of them are; see
//! [`crate::link`] for what follows. Where it can't be made, viewers are served as if there were
//! no links: by the node that has the stream.

use std::net::SocketAddr;

use axum::body::to_bytes;
use serde::{Deserialize, Serialize};

use super::asking::words_of;
use super::tree::{self, Answer, Asker, Child};
use super::{Carried, Heard, Neighbours, Unasked, choose, signed};
use crate::control::{
    ControlError, KnownChild, LinkCodecs, LinkPlace, LinkWay, NodeRecord, OtherEnd, Whence,
};
use crate::limits::{
    LINK_DOUBTED, MAX_FORWARDED_ANSWER_BYTES, MAX_LINK_ADDRESSES, MAX_NODE_NAME_CHARS,
};
use crate::link::{Exchange, Lineage, PUBLIC_BYTES, Path, Peer};

/// Where links are asked for; the stream's name follows.
const LINK: &str = "/link/";

/// Why a node gives streams to nobody that the directory has not taken in.
const NO_NUMBER: &str = "the directory (--cluster) has not taken this node in since it was \
                         started, so it gives streams to no other one yet: `monoport top \
                         --cluster` there says why";

/// What a node that wants a stream says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    /// In hexadecimal.
    public: String,
    shard: u8,
    link: u32,
    addresses: Vec<SocketAddr>,
    /// Its number and zone, and how many take the stream from it.
    number: u16,
    zone: String,
    children: u32,
    /// The number of the node that it has lost, or leaves.
    lost: Option<u16>,
}

/// What the node that is asked answers.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Reply {
    Welcome(Box<Welcome>),
    /// That node is to be asked.
    Ask {
        ask: String,
    },
}

/// What has come of a question.
pub(super) enum Asked {
    /// The stream comes from the node that was asked.
    Taken,
    /// That one is to be asked instead.
    SentDown(Box<str>),
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
    /// Where the stream comes from: see [`Lineage`].
    publisher: u32,
    publication: u64,
    path: Vec<u16>,
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
    /// It may be gone.
    #[error("the node `{0}` has not answered in time, and may be gone")]
    Late(Box<str>),
    /// All that could be asked are asked.
    #[error("no node that could be asked gives the stream")]
    Nobody,
    /// Neither of them has an address of a family that the other one has.
    #[error("no address of the node `{0}` is of a family that this node has (IPv4, IPv6)")]
    NoAddress(Box<str>),
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
        let is_short =
            hello.addresses.len() <= MAX_LINK_ADDRESSES && hello.zone.len() <= MAX_NODE_NAME_CHARS;
        is_short.then_some((hello, public))
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

    /// Asks the node `name` for `stream`; `lost` is the number of the one that it was taken from.
    pub(super) async fn ask_for(
        &self,
        stream: &str,
        name: &str,
        lost: Option<u16>,
    ) -> Result<Asked, Unlinked> {
        let place = self.control.link_place(stream, LinkWay::Brings).map_err(Unlinked::NoPlace)?;
        let exchange = Exchange::new();
        let hello = Hello {
            public: signed::hex(&exchange.public),
            shard: shard_of(&place),
            link: place.id,
            addresses: place.addresses.iter().copied().take(MAX_LINK_ADDRESSES).collect(),
            number: self.control.node_number(),
            zone: self.control.member().zone.to_string(),
            children: self.control.children(stream),
            lost,
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
            let words = words_of(&body);
            let (node, status) = (name.into(), answered.head.status);
            return Err(Unlinked::Refused { node, status, words });
        }
        let nonsense = || Unlinked::Nonsense(name.into());
        let reply: Reply = serde_json::from_slice(&body).map_err(|_error| nonsense())?;
        let welcome = match reply {
            Reply::Ask { ask } => return Ok(Asked::SentDown(ask.into())),
            Reply::Welcome(welcome) => welcome,
        };
        let theirs = public(&welcome.public).ok_or_else(nonsense)?;
        let own = &*self.control.member().node;
        let edge = (own, hello.shard, hello.link);
        let about = about(stream, edge, (name, welcome.shard, welcome.link));
        let secrets = self.keys.now();
        let secret = secrets.first().ok_or_else(nonsense)?;
        let keys = exchange.incoming(&theirs, secret, &about).ok_or_else(nonsense)?;
        let path = Path::new(welcome.path.iter().copied());
        let Welcome { shard, link, address, codecs, publisher, publication, .. } = *welcome;
        let lineage = Lineage { publisher, publication, path, leaves: false };
        let (node, peer) = (name.into(), Peer { shard, link });
        let (number, zone, children) = (0, "".into(), 0);
        let other = OtherEnd { node, peer, address, keys, codecs, lineage, number, zone, children };
        place.open(other).map_err(Unlinked::NoPlace)?;
        Ok(Asked::Taken)
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
        // Nobody could say by which nodes the stream has come.
        if self.control.node_number() == 0 {
            return Err(ControlError::Conflict(NO_NUMBER.into()));
        }
        let whence =
            self.control.whence(stream).ok_or_else(|| ControlError::NoPublisher(stream.into()))?;
        let reply = |reply: &Reply| serde_json::to_string(reply).map_err(|_error| wrong());
        if let Some(ask) = self.sent_down(stream, &hello, &whence)? {
            return reply(&Reply::Ask { ask });
        }
        let place = self.control.link_place(stream, LinkWay::Takes)?;
        let (address, to) = reachable(&place.addresses, &hello.addresses).ok_or_else(|| {
            let words = "no address of one node is of a family that the other has (IPv4, IPv6)";
            ControlError::Conflict(words.into())
        })?;
        let exchange = Exchange::new();
        let Lineage { publisher, publication, path, .. } = whence.lineage;
        let welcome = Welcome {
            public: signed::hex(&exchange.public),
            shard: shard_of(&place),
            link: place.id,
            address,
            codecs: place.codecs.clone(),
            publisher,
            publication,
            path: path.nodes().collect(),
        };
        let edge = (&*heard.from, hello.shard, hello.link);
        let own = &*self.control.member().node;
        let about = about(stream, edge, (own, welcome.shard, welcome.link));
        let keys = exchange.outgoing(&theirs, &heard.key, &about).ok_or_else(wrong)?;
        let peer = Peer { shard: hello.shard, link: hello.link };
        let (node, codecs) = (heard.from.as_str().into(), LinkCodecs::default());
        let Hello { number, zone, children, .. } = hello;
        let (address, zone, lineage) = (to, zone.into(), whence.lineage);
        let other = OtherEnd { node, peer, address, keys, codecs, lineage, number, zone, children };
        place.open(other)?;
        reply(&Reply::Welcome(Box::new(welcome)))
    }

    /// The node that is to be asked instead of this one; nothing where this one gives the stream.
    fn sent_down(
        &self,
        stream: &str,
        hello: &Hello,
        whence: &Whence,
    ) -> Result<Option<String>, ControlError> {
        let named = nodes(&whence.children);
        let children = named.iter().map(|known| {
            let KnownChild { number: node, below, .. } = **known;
            Child { node, zone: &known.zone, below }
        });
        let asked = tree::Asked {
            zone: &self.control.member().zone,
            path: whence.lineage.path,
            is_leaving: whence.lineage.leaves,
            most: self.most_children,
        };
        let asker = Asker { node: hello.number, zone: &hello.zone, lost: hello.lost };
        match tree::answer(&asked, &asker, &children.collect::<Vec<_>>()) {
            Answer::Take => Ok(None),
            Answer::Ask(place) => {
                let node = &*named[place].node;
                self.control.was_sent_down(stream, node);
                Ok(Some(node.into()))
            }
            Answer::Refuse(why) => Err(ControlError::Conflict(why.to_string())),
        }
    }
}

/// Those of `children` that are not in doubt. A node that has asked twice, because this one stood
/// still meanwhile, is one of them.
fn nodes(children: &[KnownChild]) -> Vec<&KnownChild> {
    let mut nodes: Vec<&KnownChild> = Vec::new();
    for child in children.iter().filter(|child| child.silent < LINK_DOUBTED) {
        if !nodes.iter().any(|other| other.number == child.number) {
            nodes.push(child);
        }
    }
    nodes
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
    fn a_node_is_one_child_however_often_it_has_asked_and_none_once_it_is_in_doubt() {
        let child = |number: u16, silent| KnownChild {
            node: format!("n{number}").into(),
            number,
            zone: "x".into(),
            below: 0,
            silent,
        };
        let heard = std::time::Duration::ZERO;
        let children = [child(1, LINK_DOUBTED), child(2, heard), child(1, heard), child(2, heard)];
        let numbers: Vec<u16> = nodes(&children).iter().map(|child| child.number).collect();
        assert_eq!(numbers, [2, 1]);
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
