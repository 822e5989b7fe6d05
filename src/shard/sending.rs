//! What goes out by one link: what it begins with, each packet, and again what was lost.

use std::time::Instant;

use super::feed::Feed;
use super::post::Post;
use crate::drop::DropReason;
use crate::link::{self, Had, Outgoing};
use crate::media::MediaPacket;
use crate::net::{Destination, Way};
use crate::paths::Ways;
use crate::track::Streams;

/// The other end of a link is there: it gets what a viewer would begin with,
/// or what it lacks.
pub(super) fn begin(
    now: Instant,
    (outgoing, had): (&mut Outgoing, Option<&Had>),
    feed: Option<&Feed>,
    (to, ways): (Destination, &mut Ways),
    (streams, post): (&Streams, &Post),
) {
    let Some(feed) = feed else { return };
    let same = had.zip(streams.publication(feed.stream));
    let first = match same.filter(|(had, publication)| had.publication == publication.name) {
        Some((had, publication)) => feed.begins_behind(publication.number, had),
        None => feed.begins(streams),
    };
    outgoing.begin(now, first);
    for position in first..feed.next {
        let Some(packet) = feed.at(position) else { continue };
        media(now, (outgoing, position), packet, (to, ways), post);
    }
}

/// Sends a packet.
pub(super) fn media(
    now: Instant,
    (outgoing, position): (&mut Outgoing, u64),
    packet: &MediaPacket,
    (to, ways): (Destination, &mut Ways),
    post: &Post,
) {
    front(outgoing, position, packet, (to, ways), post);
    match ways.push(to, |slot| outgoing.media(now, position, packet, slot)) {
        Ok(()) => post.counters().link_packets_out.add(1),
        Err(reason) => post.dropped(reason),
    }
}

/// Sends what goes ahead of a packet that has no room in one datagram.
fn front(
    outgoing: &mut Outgoing,
    position: u64,
    packet: &MediaPacket,
    (to, ways): (Destination, &mut Ways),
    post: &Post,
) {
    let front = link::front_of(packet);
    if !front.is_empty()
        && let Err(reason) = ways.push(to, |slot| outgoing.front(position, front, slot))
    {
        post.dropped(reason);
    }
}

/// Sends again what was asked for.
pub(super) fn repair(
    outgoing: &mut Outgoing,
    feed: Option<&Feed>,
    positions: &[u64],
    (to, ways): (Destination, &mut Ways),
    post: &Post,
) {
    for position in positions {
        let packet = feed.and_then(|feed| feed.at(*position)).ok_or(DropReason::LinkRepairTooOld);
        let pushed = packet.and_then(|packet| {
            if !outgoing.may_repair() {
                return Err(DropReason::LinkRepairLimited);
            }
            front(outgoing, *position, packet, (to, ways), post);
            ways.push(to, |slot| outgoing.again(*position, packet, slot))
        });
        match pushed {
            Ok(()) => post.counters().link_repairs_out.add(1),
            Err(reason) => post.dropped(reason),
        }
    }
}
