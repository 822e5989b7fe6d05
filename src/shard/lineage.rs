//! Links in the tree of a stream: what they say of where it comes from, and one that takes the
//! place of another.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::links::{End, Link, Links, count};
use super::post::Post;
use super::relay::Brings;
use crate::id::Via;
use crate::link::{Incoming, Keys, Lineage, Path, Peer};
use crate::net::{Destination, Way};
use crate::paths::Ways;
use crate::telemetry::{LinkEnd, LinkMeter};
use crate::track::Streams;

/// The way to another node's `address`, from the mux port in the slot `port`.
pub(super) fn destination(address: SocketAddr, port: u32) -> Destination {
    let local = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Destination { via: Via::Udp(port), ..Destination::new(address, local, false) }
}

impl Links {
    /// Whether the link of this name brings a stream.
    pub(super) fn brings(&mut self, id: u32) -> bool {
        matches!(self.at(id), Some(Link { end: End::Incoming(..), .. }))
    }
}

impl Link {
    /// Says where the stream comes from, where that is news or said again and again.
    pub(super) fn tell_lineage(
        &mut self,
        now: Instant,
        streams: &Streams,
        ways: &mut Ways,
        post: &Post,
    ) {
        let End::Outgoing(outgoing, _) = &mut self.end else { return };
        let Some(publication) = streams.publication(self.stream) else { return };
        let path = match publication.relayed {
            None => Path::new([self.node]),
            Some(word) => Path::from_word(word),
        };
        let (publisher, publication) = (publication.number, publication.name);
        let lineage = Lineage { publisher, publication, path, leaves: self.meter.leaves() };
        if outgoing.is_news(&lineage) || outgoing.is_to_report(now) {
            let told = ways.push(self.to, |slot| outgoing.lineage(&lineage, slot));
            told.unwrap_or_else(|reason| post.dropped(reason));
        }
    }
}

impl Core {
    /// Another node gives the stream of a link from here on. Its viewers go on with what they have,
    /// where it is the same publication.
    pub(super) fn move_link(
        &mut self,
        now: Instant,
        (id, peer, to, keys): (u32, Peer, Destination, &Keys),
        brings: Brings,
        meter: Arc<LinkMeter>,
    ) {
        let Core { links, streams, paths, .. } = self;
        let Some(link) = links.at(id) else { return };
        let End::Incoming(incoming, relay) = &mut link.end else { return };
        // Where it does not arrive the silence says it.
        let _told = paths.ways.push(link.to, |slot| incoming.end(slot));
        let back = incoming.back();
        let had = relay.moves(brings, streams).map(|had| crate::link::Had { back, ..had });
        let moved = Incoming::new(now, link.stream, peer, keys, had);
        let before = std::mem::replace(incoming, moved);
        // All that it has counted is seen before it is over.
        count(&link.meter, before.figures());
        incoming.follows(before);
        link.meter.end(LinkEnd::Closed);
        (link.to, link.meter) = (to, meter);
        link.show(now);
        links.due = None;
    }
}
