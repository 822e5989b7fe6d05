//! What the other end of a link that takes a stream away asks for.

use std::time::Instant;

use super::core::Core;
use super::links::{End, Links, Reach, at, place};
use super::sending::{begin, repair};
use super::taking::together;
use crate::id::{StreamKey, TrackKey};
use crate::link::Asked;
use crate::track::Streams;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Nothing.
    Done,
    /// The link ends.
    ToEnd,
}

impl Core {
    /// The other end of the link `id`, which takes a stream away, asks for something.
    pub(super) fn asked(&mut self, now: Instant, id: u32, asked: Asked) -> Ask {
        let Core { links, streams, paths, post, .. } = self;
        let Links { slots, feeds, .. } = links;
        let Some(link) = at(slots, id) else { return Ask::Done };
        let End::Outgoing(outgoing, taking) = &mut link.end else { return Ask::Done };
        let stream = link.stream;
        let feed = feeds.get(taking.feed as usize).and_then(Option::as_ref);
        let reach = &mut Reach { to: link.to, ways: &mut paths.ways, post };
        match asked {
            Asked::Nothing => {}
            Asked::Begins(had) => {
                begin(now, (outgoing, taking), had.as_ref(), feed, (streams, reach));
                links.want_together(stream, streams);
            }
            Asked::Keyframe(track, layer) => {
                streams.want_keyframe(TrackKey { stream, id: track }, Some(layer));
            }
            Asked::Again(positions) => repair((outgoing, taking), feed, &positions, reach),
            Asked::Layers => {
                taking.anew = true;
                links.want_together(stream, streams);
            }
            Asked::Ended => return Ask::ToEnd,
        }
        Ask::Done
    }
}

impl Links {
    /// What the nodes that take a stream want together is wanted of who gives it.
    pub(super) fn want_together(&mut self, stream: StreamKey, streams: &mut Streams) {
        let feed = self.feeds.iter().flatten().find(|feed| feed.stream == stream);
        let ids = feed.into_iter().flat_map(|feed| &feed.links);
        let links = ids.filter_map(|id| self.slots.get(place(*id))?.as_deref());
        let outgoing = links.filter_map(|link| match &link.end {
            End::Outgoing(outgoing, _) => Some(outgoing),
            End::Incoming(..) => None,
        });
        streams.want_elsewhere(stream, together(outgoing));
        self.due = None;
    }
}
