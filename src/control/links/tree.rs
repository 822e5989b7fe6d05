//! The place of this node in the tree of a stream: by whom it has it, and who has it from here.

use std::time::Duration;

use super::KnownLink;
use crate::control::Control;
use crate::control::streams::Stream;
use crate::link::{Lineage, Path};
use crate::telemetry::{Exposition, limited};

/// Where a stream comes from that this node may give to others, and who takes it from here.
#[derive(Clone, Debug)]
pub struct Whence {
    /// What those who take it are told.
    pub lineage: Lineage,
    /// Those who do.
    pub children: Vec<KnownChild>,
    /// Who watches it here.
    pub viewers: usize,
}

/// A node that takes a stream from this one.
#[derive(Clone, Debug)]
pub struct KnownChild {
    /// Its name.
    pub node: Box<str>,
    /// Its number.
    pub number: u16,
    /// Its zone.
    pub zone: Box<str>,
    /// Those who take the stream from there, and those who were sent there since.
    pub below: u32,
    /// How long it has said nothing.
    pub silent: Duration,
}

impl KnownLink {
    /// Whether it brings what it is to bring.
    pub fn is_alive(&self) -> bool {
        !self.is_over() && !self.meter.is_silent()
    }

    /// Whether the other end has ended it.
    pub fn is_over(&self) -> bool {
        self.meter.ended().is_some()
    }

    /// Its shard, and its name there.
    pub fn place(&self) -> (u16, u32) {
        (self.shard, self.id)
    }

    /// The stream does not come by it any more. Returns true, and says so once.
    pub(super) fn is_missed(&mut self, stream: &str) -> bool {
        if !std::mem::replace(&mut self.was_missed, true) {
            let node = &*self.node;
            limited!(INFO, stream, node, "nothing comes from another node: it is looked for");
        }
        true
    }
}

impl Stream {
    /// Whether it is to be had from another node than now, or from one at all.
    fn is_sought(&self) -> bool {
        let moves = self.brought.as_ref().is_some_and(|link| link.meter.moves());
        self.is_awaited() || (moves && self.publisher().is_none())
    }
}

impl Control {
    /// Whether a stream is to be had from another node than now, or from one at all: somebody here
    /// waits for it, who watches it or takes it from here, or the node that gives it goes.
    #[must_use]
    pub fn is_sought(&self, name: &str) -> bool {
        self.lock().streams.get(name).is_some_and(Stream::is_sought)
    }

    /// The path by which the node has a stream that this one takes it from, or took it from last.
    #[must_use]
    pub fn path_above(&self, name: &str) -> Path {
        let registry = self.lock();
        let brought = registry.streams.get(name).and_then(|stream| stream.brought.as_ref());
        brought.map_or_else(Path::default, |link| Path::from_word(link.meter.above.get()))
    }

    /// How many other nodes take a stream from this one.
    #[must_use]
    pub fn children(&self, name: &str) -> u32 {
        self.lock().streams.get(name).map_or(0, |stream| stream.taken.len() as u32)
    }

    /// How many links take streams from here that come from elsewhere themselves.
    #[must_use]
    pub fn passed_on_to(&self) -> usize {
        let registry = self.lock();
        let streams = registry.links.streams.iter().filter_map(|name| registry.streams.get(name));
        let relayed = streams.filter(|stream| stream.publisher().is_none());
        relayed.map(|stream| stream.taken.len()).sum()
    }

    /// Where a stream comes from that somebody here has, and who takes it from here; nothing where
    /// nobody here has it.
    #[must_use]
    pub fn whence(&self, name: &str) -> Option<Whence> {
        let own = self.node_number();
        let registry = self.lock();
        let stream = registry.streams.get(name)?;
        let publication = stream.shared.publication()?;
        // What is published here is to be had from nobody else before its publisher has gone.
        let leaves = registry.stopping && publication.relayed.is_some();
        let path = match publication.relayed {
            None => Path::new([own]),
            Some(word) => Path::from_word(word),
        };
        let (publisher, publication) = (publication.number, publication.name);
        let children = stream.taken.iter().map(|link| KnownChild {
            node: link.node.clone(),
            number: link.number,
            zone: link.zone.clone(),
            below: link.below,
            silent: Duration::from_millis(link.meter.silent_ms.get()),
        });
        let lineage = Lineage { publisher, publication, path, leaves };
        let viewers = stream.viewers.keys().len();
        Some(Whence { lineage, children: children.collect(), viewers })
    }

    /// Adds what there is to say of this node's places in trees.
    pub(super) fn expose_trees(&self, exposition: &mut Exposition) {
        let help = "Links that take streams from here which come from elsewhere themselves";
        exposition.gauge("relay_children", help).count(vec![], self.passed_on_to() as u64);
        let registry = self.lock();
        let streams = registry.links.streams.iter().filter_map(|name| registry.streams.get(name));
        let links = streams.filter_map(|stream| stream.brought.as_ref());
        let depth = links.map(|link| Path::from_word(link.meter.above.get()).len()).max();
        let help = "Links that the stream which comes from furthest away comes over to this node";
        exposition.gauge("relay_depth", help).count(vec![], depth.unwrap_or(0) as u64);
    }

    /// Another node was sent on to `node` for a stream.
    pub fn was_sent_down(&self, name: &str, node: &str) {
        let mut registry = self.lock();
        let links = registry.streams.get_mut(name).map(|stream| &mut stream.taken);
        let link = links.and_then(|links| links.iter_mut().find(|link| &*link.node == node));
        if let Some(link) = link {
            link.below += 1;
        }
    }
}
