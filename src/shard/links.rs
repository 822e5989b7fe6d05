//! Links with other nodes: those that bring streams, and those that take them there.
//!
//! What is published here and taken elsewhere is copied once, into the last packets of a [`Feed`],
//! and sealed for each link. A shard without links looks at an empty list once a turn.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::core::Core;
use super::feed::Feed;
use super::post::Post;
use super::relay::Relay;
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKey, Via};
use crate::limits::{LINK_REORDERED, LINK_REPORT, MAX_LINKS_PER_SHARD};
use crate::link::{self, Asked, Figures, Got, Incoming, Keys, Outgoing, Peer};
use crate::media::MediaPacket;
use crate::net::{Destination, Way};
use crate::paths::{Inbound, Ways};
use crate::telemetry::{LinkEnd, LinkMeter, limited};
use crate::track::{Export, Source, StreamShared, Streams};

/// A link that is to be opened.
pub struct LinkSetup {
    /// Its name on this shard: below [`MAX_LINKS_PER_SHARD`] in its low bits, and any others.
    pub id: u32,
    /// The stream.
    pub stream: Arc<StreamShared>,
    /// The other end.
    pub peer: Peer,
    /// Where that is.
    pub to: SocketAddr,
    /// The slot of the mux port that is used.
    pub port: u32,
    /// The keys.
    pub keys: Keys,
    /// The tracks that it brings, with their codecs; of one that takes the stream away, nothing.
    pub brings: Option<Vec<(TrackId, Codec)>>,
    /// Where it shows how it fares.
    pub meter: Arc<LinkMeter>,
}

/// A link of this shard.
struct Link {
    id: u32,
    stream: StreamKey,
    to: Destination,
    meter: Arc<LinkMeter>,
    end: End,
}

enum End {
    Incoming(Incoming, Relay),
    /// With the number of its feed.
    Outgoing(Outgoing, u32),
}

/// The links of one shard.
#[derive(Default)]
pub(super) struct Links {
    slots: Vec<Option<Box<Link>>>,
    count: usize,
    feeds: Vec<Option<Feed>>,
    /// When one of them has something to do, at the latest.
    due: Option<Instant>,
    /// Memory that is used anew each turn.
    exports: Vec<(u32, Export)>,
}

const _: () = assert!(MAX_LINKS_PER_SHARD.is_power_of_two(), "a name has its place in low bits");

/// The place of the link with this name.
const fn place(id: u32) -> usize {
    id as usize & (MAX_LINKS_PER_SHARD - 1)
}

impl Links {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    fn at(&mut self, id: u32) -> Option<&mut Link> {
        at(&mut self.slots, id)
    }

    /// Passes a wish for a key frame on; false where the link is no more.
    pub fn ask(&mut self, id: u32, track: TrackKey, layer: u8) -> bool {
        let Some(Link { end: End::Incoming(incoming, _), .. }) = self.at(id) else { return false };
        incoming.want_keyframe(track.id, layer);
        self.due = None;
        true
    }

    /// The shard did not run for so long.
    pub fn forgive(&mut self, paused: Duration) {
        for link in self.slots.iter_mut().flatten() {
            match &mut link.end {
                End::Incoming(incoming, _) => incoming.forgive(paused),
                End::Outgoing(outgoing, _) => outgoing.forgive(paused),
            }
        }
    }

    /// The feed of a stream, made where there is none, with what a viewer would begin with.
    fn feed(&mut self, now: Instant, stream: StreamKey, streams: &Streams) -> u32 {
        let is_of = |feed: &Option<Feed>| feed.as_ref().is_some_and(|feed| feed.stream == stream);
        if let Some(index) = self.feeds.iter().position(is_of) {
            return index as u32;
        }
        let feed = Feed::new(now, stream, streams);
        let index = self.feeds.iter().position(Option::is_none).unwrap_or(self.feeds.len());
        if index == self.feeds.len() {
            self.feeds.push(None);
        }
        self.feeds[index] = Some(feed);
        index as u32
    }
}

fn at(slots: &mut [Option<Box<Link>>], id: u32) -> Option<&mut Link> {
    slots.get_mut(place(id))?.as_deref_mut().filter(|link| link.id == id)
}

impl Link {
    /// Sends what is due; returns when there is more.
    fn run(&mut self, now: Instant, streams: &Streams, ways: &mut Ways, post: &Post) -> Instant {
        let to = self.to;
        if let End::Outgoing(outgoing, _) = &mut self.end
            && outgoing.is_to_report(now)
        {
            // What the layers are called, again and again: they are few.
            for (track, layer, name) in streams.layer_names(self.stream) {
                let named = ways.push(to, |slot| outgoing.name(track, layer, &name, slot));
                named.unwrap_or_else(|reason| post.dropped(reason));
            }
        }
        loop {
            let (due, said) = match &mut self.end {
                End::Incoming(incoming, _) if incoming.has_to_say(now) => {
                    (now, ways.push(to, |slot| incoming.say(now, slot)))
                }
                End::Outgoing(outgoing, _) if outgoing.deadline().is_some_and(|at| at <= now) => {
                    (now, ways.push(to, |slot| outgoing.say(now, slot)))
                }
                End::Incoming(incoming, _) => (incoming.deadline(now), Ok(())),
                End::Outgoing(outgoing, _) => {
                    (outgoing.deadline().unwrap_or(now + LINK_REPORT), Ok(()))
                }
            };
            if let Err(reason) = said {
                post.dropped(reason);
                return now + LINK_REORDERED;
            }
            if due > now {
                return due;
            }
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        match &self.end {
            End::Incoming(incoming, _) => incoming.is_lost(now),
            End::Outgoing(outgoing, _) => outgoing.is_deserted(now),
        }
    }

    /// Says how it fares.
    fn show(&self) {
        let Figures { packets, repaired, lost, round_trip_us } = match &self.end {
            End::Incoming(incoming, _) => incoming.figures(),
            End::Outgoing(outgoing, _) => outgoing.figures(),
        };
        self.meter.packets.set(packets);
        self.meter.repaired.set(repaired);
        self.meter.lost.set(lost);
        self.meter.round_trip_us.set(round_trip_us);
    }
}

impl Core {
    /// A link begins. One that had its place before has ended, as the control side knows.
    pub fn open_link(&mut self, now: Instant, setup: LinkSetup) {
        let LinkSetup { id, stream, peer, to, port, keys, brings, meter } = setup;
        if let Some(before) = self.links.slots.get(place(id)).and_then(|slot| slot.as_ref()) {
            self.close_link(before.id);
        }
        self.streams.join(&stream);
        let (name, stream) = (id, stream.key);
        let end = match brings {
            Some(tracks) => {
                let relay = Relay::new(name, stream, tracks, &mut self.streams);
                End::Incoming(Incoming::new(now, stream, peer, &keys), relay)
            }
            None => {
                let index = self.links.feed(now, stream, &self.streams);
                self.streams.export(stream, Some(index));
                if let Some(feed) = self.links.feeds[index as usize].as_mut() {
                    feed.links.push(id);
                }
                End::Outgoing(Outgoing::new(now, stream, peer, &keys), index)
            }
        };
        let local = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let to = Destination { via: Via::Udp(port), ..Destination::new(to, local, false) };
        let links = &mut self.links;
        if links.slots.len() <= place(id) {
            links.slots.resize_with(place(id) + 1, || None);
        }
        links.slots[place(id)] = Some(Box::new(Link { id, stream, to, meter, end }));
        links.count += 1;
        links.due = None;
        self.post.wiring.ownership.links.enter(self.post.index, id);
    }

    /// A link ends, as this node wants, and the other end is told; one that is unknown has ended.
    pub fn close_link(&mut self, id: u32) {
        let Core { links, paths, .. } = self;
        let Some(link) = links.at(id) else { return };
        let to = link.to;
        // Where it does not arrive the silence says it.
        let _told = paths.ways.push(to, |slot| match &mut link.end {
            End::Incoming(incoming, _) => incoming.end(slot),
            End::Outgoing(outgoing, _) => outgoing.end(slot),
        });
        self.remove_link(id, LinkEnd::Closed);
    }

    /// All links end: the server stops.
    pub fn close_links(&mut self) {
        let all: Vec<u32> = self.links.slots.iter().flatten().map(|link| link.id).collect();
        all.into_iter().for_each(|id| self.close_link(id));
    }

    fn remove_link(&mut self, id: u32, how: LinkEnd) {
        let Core { links, streams, post, .. } = self;
        post.wiring.ownership.links.leave(post.index, id);
        let Some(slot) = links.slots.get_mut(place(id)) else { return };
        let Some(link) = slot.take_if(|link| link.id == id) else { return };
        links.count -= 1;
        link.show();
        match &link.end {
            End::Incoming(_, relay) => relay.leave(streams),
            End::Outgoing(_, index) => {
                let place = &mut links.feeds[*index as usize];
                if let Some(feed) = place {
                    feed.links.retain(|other| *other != id);
                    if feed.links.is_empty() {
                        *place = None;
                        streams.export(link.stream, None);
                    }
                }
                streams.leave(link.stream, Source::Relay(id));
            }
        }
        link.meter.end(how);
    }

    /// A datagram for the link `id`.
    ///
    /// # Errors
    /// Why it is of no use.
    pub fn on_link(
        &mut self,
        now: Instant,
        id: u32,
        datagram: Inbound<'_>,
    ) -> Result<(), DropReason> {
        let Core { links, streams, paths, post, .. } = self;
        let Links { slots, feeds, .. } = links;
        let link = at(slots, id).ok_or(DropReason::UnknownLink)?;
        match &mut link.end {
            End::Incoming(incoming, relay) => {
                match incoming.receive(datagram.arrived, datagram.bytes)? {
                    Got::Media(packet) => {
                        if !relay.is_as_said(&packet) {
                            link.meter.note_other_codec();
                        }
                        relay.media(now, packet, streams, post);
                    }
                    Got::Clock(report) => relay.clock(report, streams, post),
                    Got::Name(track, layer, name) => relay.name(track, layer, name, streams),
                    Got::Nothing => {}
                    Got::Ended => self.remove_link(id, LinkEnd::Closed),
                }
            }
            End::Outgoing(outgoing, index) => {
                match outgoing.receive(datagram.arrived, datagram.bytes)? {
                    Asked::Nothing => {}
                    Asked::Begins => {
                        let feed = feeds.get(*index as usize).and_then(Option::as_ref);
                        begin(now, outgoing, feed, (link.to, &mut paths.ways), (streams, post));
                        self.links.due = None;
                    }
                    Asked::Keyframe(track, layer) => {
                        let track = TrackKey { stream: link.stream, id: track };
                        streams.want_keyframe(track, Some(layer));
                    }
                    Asked::Again(positions) => {
                        let feed = feeds.get(*index as usize).and_then(Option::as_ref);
                        repair(outgoing, feed, &positions, (link.to, &mut paths.ways), post);
                    }
                    Asked::Ended => self.remove_link(id, LinkEnd::Closed),
                }
                return Ok(());
            }
        }
        if let Some(Link { end: End::Incoming(incoming, _), .. }) = at(&mut self.links.slots, id) {
            let at = incoming.deadline(now);
            self.links.due = self.links.due.map(|due| due.min(at));
        }
        Ok(())
    }

    /// Does what is due for links; returns when there is more.
    pub fn run_links(&mut self, now: Instant) -> Option<Instant> {
        if self.links.count == 0 {
            return None;
        }
        if let Some(due) = self.links.due.filter(|due| *due > now) {
            return Some(due);
        }
        let mut next = now + LINK_REPORT;
        for index in 0..self.links.slots.len() {
            let Core { links, streams, paths, post, .. } = self;
            let Some(link) = links.slots[index].as_deref_mut() else { continue };
            if link.is_silent(now) {
                let id = link.id;
                self.remove_link(id, LinkEnd::Silent);
                continue;
            }
            next = next.min(link.run(now, streams, &mut paths.ways, post));
            link.show();
        }
        self.links.due = Some(next);
        Some(next)
    }

    /// What was published in this turn goes to the nodes that take it.
    pub fn send_exports(&mut self, now: Instant) {
        let Core { links, streams, paths, post, .. } = self;
        let Links { slots, feeds, exports, .. } = links;
        streams.take_exports(exports);
        for (index, export) in exports.drain(..) {
            let Some(feed) = feeds.get_mut(index as usize).and_then(Option::as_mut) else {
                continue;
            };
            match export {
                Export::Media(packet) => match link::fits(&packet) {
                    Ok(()) => send(now, feed, packet, slots, (&mut paths.ways, post)),
                    Err(reason) => {
                        let bytes = packet.payload.len();
                        limited!(WARN, "packets with {bytes} bytes of payload go to no other node");
                        post.dropped(reason);
                    }
                },
                Export::Clock(report) => each(feed, slots, |outgoing, to| {
                    if let Err(reason) =
                        paths.ways.push(to, |slot| outgoing.clock(now, &report, slot))
                    {
                        post.dropped(reason);
                    }
                }),
            }
        }
    }
}

/// Visits the links of a feed.
fn each(
    feed: &Feed,
    slots: &mut [Option<Box<Link>>],
    mut visit: impl FnMut(&mut Outgoing, Destination),
) {
    for id in &feed.links {
        let Some(link) = at(slots, *id) else { continue };
        if let End::Outgoing(outgoing, _) = &mut link.end
            && outgoing.has_begun()
        {
            visit(outgoing, link.to);
        }
    }
}

/// The other end of a link is there: it gets what a viewer would begin with.
fn begin(
    now: Instant,
    outgoing: &mut Outgoing,
    feed: Option<&Feed>,
    (to, ways): (Destination, &mut Ways),
    (streams, post): (&Streams, &Post),
) {
    let Some(feed) = feed else { return };
    let first = feed.begins(streams);
    outgoing.begin(now, first);
    for position in first..feed.next {
        let Some(packet) = feed.at(position) else { continue };
        front(outgoing, position, packet, (to, ways), post);
        match ways.push(to, |slot| outgoing.media(now, position, packet, slot)) {
            Ok(()) => post.counters().link_packets_out.add(1),
            Err(reason) => post.dropped(reason),
        }
    }
}

/// Sends a packet to all nodes that take it.
fn send(
    now: Instant,
    feed: &mut Feed,
    packet: MediaPacket,
    slots: &mut [Option<Box<Link>>],
    (ways, post): (&mut Ways, &Post),
) {
    let position = feed.push(packet);
    let Some(packet) = feed.at(position) else { return };
    each(feed, slots, |outgoing, to| {
        front(outgoing, position, packet, (to, ways), post);
        match ways.push(to, |slot| outgoing.media(now, position, packet, slot)) {
            Ok(()) => post.counters().link_packets_out.add(1),
            Err(reason) => post.dropped(reason),
        }
    });
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
fn repair(
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
