//! Links with other nodes: those that bring streams, and those that take them there.
//!
//! What is published here and taken elsewhere is copied once, into the last packets of a [`Feed`],
//! and sealed for each link. A shard without links looks at an empty list once a turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asked::Ask;
use super::core::Core;
use super::feed::Feed;
use super::lineage::destination;
use super::post::Post;
use super::relay::{Brings, Relay};
use super::sending::{catch_up, media};
use super::taking::Taking;
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackKey};
use crate::limits::{LINK_REORDERED, LINK_REPORT, MAX_LINKS_PER_SHARD};
use crate::link::{self, Figures, Got, Incoming, Keys, Outgoing, Peer};
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
    /// This node's number.
    pub node: u16,
    /// What it may carry at most, of one that takes the stream away.
    pub most_bits_per_s: Option<u64>,
    /// What it brings; of one that takes the stream away, nothing. Where a link of this name is
    /// there that brings the stream, this one takes its place.
    pub brings: Option<Brings>,
    /// Where it shows how it fares.
    pub meter: Arc<LinkMeter>,
}

/// A link of this shard.
pub(super) struct Link {
    pub id: u32,
    /// This node's number.
    pub node: u16,
    pub stream: StreamKey,
    pub to: Destination,
    pub meter: Arc<LinkMeter>,
    pub end: End,
}

pub(super) enum End {
    Incoming(Incoming, Box<Relay>),
    Outgoing(Outgoing, Box<Taking>),
}

/// How the other end of a link is reached.
pub(super) struct Reach<'a> {
    pub to: Destination,
    pub ways: &'a mut Ways,
    pub post: &'a Post,
}

/// The links of one shard.
#[derive(Default)]
pub(super) struct Links {
    pub slots: Vec<Option<Box<Link>>>,
    count: usize,
    pub feeds: Vec<Option<Feed>>,
    /// When one of them has something to do, at the latest.
    pub due: Option<Instant>,
    /// Memory that is used anew each turn.
    exports: Vec<(u32, Export)>,
}

const _: () = assert!(MAX_LINKS_PER_SHARD.is_power_of_two(), "a name has its place in low bits");

/// The place of the link with this name.
pub(super) const fn place(id: u32) -> usize {
    id as usize & (MAX_LINKS_PER_SHARD - 1)
}

impl Links {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn at(&mut self, id: u32) -> Option<&mut Link> {
        at(&mut self.slots, id)
    }

    /// Passes a wish for a key frame on; false where the link is no more, or where all of the layer
    /// is asked for, which begins with one.
    pub fn ask(&mut self, now: Instant, id: u32, track: TrackKey, layer: u8) -> bool {
        let Some(Link { end: End::Incoming(incoming, relay), .. }) = self.at(id) else {
            return false;
        };
        let is_to_come = relay.is_to_come(now, track, layer);
        if !is_to_come {
            incoming.want_keyframe(track.id, layer);
        }
        self.due = None;
        !is_to_come
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

pub(super) fn at(slots: &mut [Option<Box<Link>>], id: u32) -> Option<&mut Link> {
    slots.get_mut(place(id))?.as_deref_mut().filter(|link| link.id == id)
}

impl Link {
    /// Sends what is due; returns when there is more.
    fn run(
        &mut self,
        now: Instant,
        (streams, feeds): (&mut Streams, &mut [Option<Feed>]),
        ways: &mut Ways,
        post: &Post,
    ) -> Instant {
        let to = self.to;
        self.tell_lineage(now, streams, ways, post);
        let mut more = None;
        match &mut self.end {
            End::Outgoing(outgoing, taking) => {
                let reports = outgoing.is_to_report(now);
                // What the layers are called, again and again: they are few.
                let names = reports.then(|| streams.layer_names(self.stream));
                for (track, layer, name) in names.into_iter().flatten() {
                    let named = ways.push(to, |slot| outgoing.name(track, layer, &name, slot));
                    named.unwrap_or_else(|reason| post.dropped(reason));
                }
                let feed = feeds.get_mut(taking.feed as usize).and_then(Option::as_mut);
                let reach = &mut Reach { to, ways, post };
                taking.renew(now, outgoing, feed, (streams, reports), reach);
                if let Some(feed) = feeds.get(taking.feed as usize).and_then(Option::as_ref) {
                    more = catch_up(now, (outgoing, taking), feed, reach);
                }
            }
            End::Incoming(incoming, relay) => incoming.want_layers(relay.wants(now, streams)),
        }
        loop {
            let (due, said) = match &mut self.end {
                End::Incoming(incoming, _) if incoming.has_to_say(now) => {
                    (now, ways.push(to, |slot| incoming.say(now, slot)))
                }
                End::Outgoing(outgoing, _) if outgoing.deadline().is_some_and(|at| at <= now) => {
                    (now, ways.push(to, |slot| outgoing.say(now, slot)))
                }
                End::Incoming(incoming, _) => (incoming.next(now), Ok(())),
                End::Outgoing(outgoing, _) => {
                    (outgoing.deadline().unwrap_or(now + LINK_REPORT), Ok(()))
                }
            };
            if let Err(reason) = said {
                post.dropped(reason);
                return now + LINK_REORDERED;
            }
            if due > now {
                return more.map_or(due, |more| due.min(more));
            }
        }
    }

    /// Whether nobody is at its other end any more.
    fn is_deserted(&self, now: Instant) -> bool {
        matches!(&self.end, End::Outgoing(outgoing, _) if outgoing.is_deserted(now))
    }

    /// Says how it fares.
    pub fn show(&self, now: Instant) {
        let figures = match &self.end {
            End::Incoming(incoming, _) => incoming.figures(),
            End::Outgoing(outgoing, _) => outgoing.figures(),
        };
        count(&self.meter, figures);
        let layers = match &self.end {
            End::Incoming(_, relay) => relay.layers_shown(),
            End::Outgoing(_, taking) => taking.shown,
        };
        self.meter.layers.iter().zip(layers).for_each(|(shown, word)| shown.set(word));
        match &self.end {
            End::Outgoing(outgoing, _) => {
                self.meter.silent_ms.set(outgoing.silence(now).as_millis() as u64);
            }
            End::Incoming(incoming, relay) => {
                self.meter.set_silent(!incoming.is_alive());
                self.meter.set_moves(relay.is_to_move());
                if !relay.above().is_empty() {
                    self.meter.above.set(relay.above().to_word());
                }
            }
        }
    }
}

/// Shows what an end of a link has counted.
pub(super) fn count(meter: &LinkMeter, figures: Figures) {
    let Figures { packets, repaired, lost, round_trip_us } = figures;
    meter.packets.set(packets);
    meter.repaired.set(repaired);
    meter.lost.set(lost);
    meter.round_trip_us.set(round_trip_us);
}

impl Core {
    /// A link begins. One that had its place before has ended, as the control side knows.
    pub fn open_link(&mut self, now: Instant, setup: LinkSetup) {
        let LinkSetup { id, stream, peer, to, port, keys, node, brings, meter, .. } = setup;
        let to = destination(to, port);
        let brings = match brings {
            Some(brings) if self.links.brings(id) => {
                return self.move_link(now, (id, peer, to, &keys), brings, meter);
            }
            brings => brings,
        };
        if let Some(before) = self.links.slots.get(place(id)).and_then(|slot| slot.as_ref()) {
            self.close_link(now, before.id);
        }
        self.streams.join(&stream);
        let (name, stream) = (id, stream.key);
        let end = match brings {
            Some(brings) => {
                let relay = Relay::new(now, (name, node), stream, brings, &mut self.streams);
                End::Incoming(Incoming::new(now, stream, peer, &keys, None), Box::new(relay))
            }
            None => {
                let index = self.links.feed(now, stream, &self.streams);
                self.streams.export(stream, Some(index));
                if let Some(feed) = self.links.feeds[index as usize].as_mut() {
                    feed.links.push(id);
                }
                let taking = Box::new(Taking::new(index, setup.most_bits_per_s));
                End::Outgoing(Outgoing::new(now, stream, peer, &keys), taking)
            }
        };
        let links = &mut self.links;
        if links.slots.len() <= place(id) {
            links.slots.resize_with(place(id) + 1, || None);
        }
        links.slots[place(id)] = Some(Box::new(Link { id, node, stream, to, meter, end }));
        links.count += 1;
        links.due = None;
        self.post.wiring.ownership.links.enter(self.post.index, id);
    }

    /// A link ends, as this node wants, and the other end is told; one that is unknown has ended.
    pub fn close_link(&mut self, now: Instant, id: u32) {
        let Core { links, paths, .. } = self;
        let Some(link) = links.at(id) else { return };
        let to = link.to;
        // Where it does not arrive the silence says it.
        let _told = paths.ways.push(to, |slot| match &mut link.end {
            End::Incoming(incoming, _) => incoming.end(slot),
            End::Outgoing(outgoing, _) => outgoing.end(slot),
        });
        self.remove_link(now, id, LinkEnd::Closed);
    }

    /// All links end: the server stops.
    pub fn close_links(&mut self, now: Instant) {
        let all: Vec<u32> = self.links.slots.iter().flatten().map(|link| link.id).collect();
        all.into_iter().for_each(|id| self.close_link(now, id));
    }

    fn remove_link(&mut self, now: Instant, id: u32, how: LinkEnd) {
        let Core { links, streams, post, .. } = self;
        post.wiring.ownership.links.leave(post.index, id);
        let Some(slot) = links.slots.get_mut(place(id)) else { return };
        let Some(link) = slot.take_if(|link| link.id == id) else { return };
        links.count -= 1;
        link.show(now);
        match &link.end {
            End::Incoming(_, relay) => relay.leave(streams),
            End::Outgoing(_, taking) => {
                let place = &mut links.feeds[taking.feed as usize];
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
        if let End::Outgoing(..) = link.end {
            links.want_together(link.stream, streams);
        }
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
        let Core { links, streams, post, .. } = self;
        let link = links.at(id).ok_or(DropReason::UnknownLink)?;
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
                    Got::Lineage(lineage) => {
                        relay.says(lineage, streams);
                        link.show(now);
                        // Those who take it from here are told.
                        self.links.due = None;
                    }
                    Got::Layers(said) => relay.layers(&said, streams),
                    Got::Nothing => {}
                    Got::Ended => {
                        relay.has_no_source(streams);
                        link.show(now);
                        link.meter.end(LinkEnd::Closed);
                        self.links.due = None;
                    }
                }
            }
            End::Outgoing(outgoing, _) => {
                let asked = outgoing.receive(datagram.arrived, datagram.bytes)?;
                if self.asked(now, id, asked) == Ask::ToEnd {
                    self.remove_link(now, id, LinkEnd::Closed);
                }
                return Ok(());
            }
        }
        if let Some(Link { end: End::Incoming(incoming, _), .. }) = at(&mut self.links.slots, id) {
            let at = incoming.next(now);
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
            let Links { slots, feeds, .. } = links;
            let Some(link) = slots[index].as_deref_mut() else { continue };
            if link.is_deserted(now) {
                let id = link.id;
                self.remove_link(now, id, LinkEnd::Silent);
                continue;
            }
            if let End::Incoming(incoming, relay) = &mut link.end
                && incoming.falls_silent(now)
            {
                relay.has_no_source(streams);
                // Those before it in the list may take it from here.
                next = now;
            }
            next = next.min(link.run(now, (streams, feeds), &mut paths.ways, post));
            link.show(now);
        }
        self.links.due = Some(next);
        Some(next)
    }

    /// What was published in this turn goes to the nodes that take it.
    pub fn send_exports(&mut self, now: Instant) {
        let Core { links, streams, paths, post, .. } = self;
        let Links { slots, feeds, exports, due, .. } = links;
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
                Export::Layers(_track) => {
                    each(feed, slots, |_outgoing, taking, _to| taking.anew = true);
                    *due = None;
                }
                Export::Clock(report) => each(feed, slots, |outgoing, _taking, to| {
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
    mut visit: impl FnMut(&mut Outgoing, &mut Taking, Destination),
) {
    for id in &feed.links {
        let Some(link) = at(slots, *id) else { continue };
        if let End::Outgoing(outgoing, taking) = &mut link.end
            && outgoing.has_begun()
        {
            visit(outgoing, taking, link.to);
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
    let place = feed.push(packet);
    let Some(packet) = feed.at(place) else { return };
    each(feed, slots, |outgoing, taking, to| {
        if taking.behind.is_none() && taking.takes(packet) {
            media(now, (outgoing, taking), (place, packet), &mut Reach { to, ways, post });
        }
    });
}
