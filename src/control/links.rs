//! Links with other nodes, as the control side has them: places for those to come, and a look at
//! those there are.
//!
//! A link that **brings** a stream is to it what a publisher is: viewers come to it, and it goes
//! some time after the last of them, or when somebody publishes the stream here. One that **takes**
//! a stream away goes with its publisher, and is on the publisher's shard: when another publisher
//! has come to another shard, the other node asks again.

mod codecs;
mod place;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

pub use codecs::LinkCodecs;
pub use place::{LinkPlace, OtherEnd};
pub use tree::{KnownChild, Whence};

use super::registry::Registry;
use super::slots::Slots;
use super::streams::Stream;
use super::{Control, ControlError};
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{LINK_DESERTED, LINK_LINGER, MAX_LINKS_PER_SHARD};
use crate::link::Coming;
use crate::shard::Command;
use crate::telemetry::{Exposition, LinkEnd, LinkMeter, limited};

/// A link of a stream.
pub(super) struct KnownLink {
    pub shard: u16,
    id: u32,
    node: Box<str>,
    meter: Arc<LinkMeter>,
    /// Of one that has taken the place of another: what that one has shown, and what was counted
    /// before that.
    before: Option<Arc<LinkMeter>>,
    counted: Sum,
    /// Of one that takes the stream away: the other node's number and zone, and how many take it
    /// from there, with those that were sent there since.
    number: u16,
    zone: Box<str>,
    below: u32,
    /// Since when a stream that it brings has had no viewer.
    idle_since: Option<Instant>,
    /// Whether it was said that the stream does not come any more.
    was_missed: bool,
}

/// What all links with one node have counted, in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    packets: u64,
    repaired: u64,
    lost: u64,
}

/// One of the figures of a sum.
type Figure = fn(&Sum) -> u64;

/// The links of all shards.
pub(super) struct LinkTable {
    ids: Vec<Slots>,
    /// Streams that have some.
    streams: Vec<Arc<str>>,
    /// Of links that are over, by node: of those that brought streams, and that took them.
    over: BTreeMap<Box<str>, [Sum; 2]>,
    /// Links that are to end, until their shards have counted all of them, since when.
    ending: Vec<(Box<str>, LinkWay, Arc<LinkMeter>, Instant)>,
}

/// A link as others see it.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// The stream.
    pub stream: Arc<str>,
    /// The other node.
    pub node: Box<str>,
    /// Whether it brings the stream here.
    pub brings: bool,
    /// Media packets sent the first time, or received; of one that brings a stream also those that
    /// came from the nodes it was taken from before.
    pub packets: u64,
    /// Media packets sent again, or received so, likewise.
    pub repaired: u64,
    /// Media packets that came neither way, likewise.
    pub lost: u64,
    /// The last round trip that was measured, in microseconds; 0 before.
    pub round_trip_us: u64,
    /// The layers of its video, the smallest first, as clients call them, and whether they come.
    pub layers: Vec<(String, Coming)>,
}

/// Which way a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkWay {
    /// From another node to this one.
    Brings,
    /// From this node to another one.
    Takes,
}

impl LinkTable {
    pub fn new(shards: usize) -> LinkTable {
        let ids = (0..shards).map(|_| Slots::new(MAX_LINKS_PER_SHARD)).collect();
        LinkTable { ids, streams: Vec::new(), over: BTreeMap::new(), ending: Vec::new() }
    }

    /// A name on `shard` that nobody can guess.
    fn take(&mut self, shard: u16) -> Option<u32> {
        let (slot, _generation) = self.ids.get_mut(usize::from(shard))?.take()?;
        let mut random = [0; 4];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let random = u32::from_ne_bytes(random) & !(MAX_LINKS_PER_SHARD as u32 - 1);
        // None is 0, which stands for no link.
        Some(1 << 31 | random | slot)
    }

    fn give_back(&mut self, shard: u16, id: u32) {
        self.ids[usize::from(shard)].give_back(id & (MAX_LINKS_PER_SHARD as u32 - 1));
    }

    fn enter(&mut self, stream: &Arc<str>) {
        if !self.streams.contains(stream) {
            self.streams.push(stream.clone());
        }
    }

    /// A link is over.
    fn forget(&mut self, link: &KnownLink, way: LinkWay) {
        self.give_back(link.shard, link.id);
        self.count(link, way);
    }

    /// What a link has counted stays, and what it counts until its shard has ended it.
    fn count(&mut self, link: &KnownLink, way: LinkWay) {
        let (node, meter) = (link.node.clone(), link.meter.clone());
        self.ending.push((node, way, meter, Instant::now()));
    }

    /// Links that have ended are counted for good.
    fn settle(&mut self, now: Instant) {
        let LinkTable { over, ending, .. } = self;
        // A shard that has not heard of it by then has failed.
        let is_late = |since: Instant| now.saturating_duration_since(since) >= LINK_DESERTED;
        ending.retain(|(node, way, meter, since)| {
            let ends = meter.ended().is_some() || is_late(*since);
            if ends {
                over.entry(node.clone()).or_default()[*way as usize].add(meter);
            }
            !ends
        });
    }

    /// What all links with each node have counted, but for those there are.
    fn sums(&self) -> BTreeMap<Box<str>, [Sum; 2]> {
        let mut sums = self.over.clone();
        for (node, way, meter, _since) in &self.ending {
            sums.entry(node.clone()).or_default()[*way as usize].add(meter);
        }
        sums
    }
}

impl KnownLink {
    /// What it has counted, with those whose place it has taken.
    fn sum(&self) -> Sum {
        let mut sum = self.counted;
        self.before.iter().chain([&self.meter]).for_each(|meter| sum.add(meter));
        sum
    }

    /// It takes the place of another one, and counts on.
    fn goes_on(&mut self, before: &KnownLink) {
        let mut counted = before.counted;
        before.before.iter().for_each(|meter| counted.add(meter));
        (self.counted, self.before) = (counted, Some(before.meter.clone()));
    }
}

impl Sum {
    fn add(&mut self, meter: &LinkMeter) {
        self.packets += meter.packets.get();
        self.repaired += meter.repaired.get();
        self.lost += meter.lost.get();
    }
}

/// The layers of a link's video, as clients call them, and whether they come.
fn layers(stream: &Stream, link: &KnownLink) -> Vec<(String, Coming)> {
    let tracks = (0..).zip(&link.meter.layers);
    let all = tracks.flat_map(|(number, word)| {
        let offered = stream.shared.offered(TrackId { kind: TrackKind::Video, number });
        let known = move |layer| Coming::in_word(word.get(), layer);
        offered.into_iter().filter_map(move |offer| Some((offer.called(), known(offer.layer)?)))
    });
    all.collect()
}

impl Registry {
    fn link_place(
        &mut self,
        name: &str,
        way: LinkWay,
    ) -> Result<(Arc<str>, u16, u32), ControlError> {
        let known = self.streams.get(name);
        let publisher = known.and_then(Stream::publisher);
        let shard = match (way, publisher) {
            (LinkWay::Takes, _) => known
                .and_then(Stream::feeding_shard)
                .ok_or_else(|| ControlError::no_publisher(name))?,
            (LinkWay::Brings, Some(_)) => {
                return Err(ControlError::conflict(format!("`{name}` is published here")));
            }
            (LinkWay::Brings, None) => {
                let shard = self.balance.for_publisher(&self.slots);
                let full = || ControlError::no_room("the server has as many sessions as it takes");
                shard.ok_or_else(full)? as u16
            }
        };
        let stream = match self.streams.get_key_value(name) {
            Some((stream, _)) => stream.clone(),
            None => {
                let Some((index, generation)) = self.stream_keys.take() else {
                    return Err(ControlError::no_room(
                        "the server has as many streams as it takes",
                    ));
                };
                let stream: Arc<str> = name.into();
                let key = StreamKey { index, generation };
                self.streams.insert(stream.clone(), Stream::new(key));
                stream
            }
        };
        let Some(id) = self.links.take(shard) else {
            self.forget_if_unused(&stream);
            return Err(ControlError::no_room("the server has as many links as it takes"));
        };
        self.streams.get_mut(&stream).expect("it is there").reserved += 1;
        Ok((stream, shard, id))
    }
}

impl Registry {
    /// All links there are; one that has ended and waits for another is none.
    fn links_shown(&self) -> Vec<LinkView> {
        let of = |name: &Arc<str>, stream: &Stream, link: &KnownLink, brings| {
            let Sum { packets, repaired, lost } = link.sum();
            let (node, stream_name) = (link.node.clone(), name.clone());
            let round_trip_us = link.meter.round_trip_us.get();
            let layers = layers(stream, link);
            let stream = stream_name;
            LinkView { stream, node, brings, packets, repaired, lost, round_trip_us, layers }
        };
        let known = self.links.streams.iter();
        let streams = known.filter_map(|name| Some((name, self.streams.get(name)?)));
        let each = streams.flat_map(|(name, stream)| {
            let brought = stream.brought.iter().filter(|link| !link.is_over());
            let brought = brought.map(move |link| of(name, stream, link, true));
            brought.chain(stream.taken.iter().map(move |link| of(name, stream, link, false)))
        });
        each.collect()
    }

    /// What all links with each node have counted, those that are over and those there are.
    fn links_counted(&self) -> BTreeMap<Box<str>, [Sum; 2]> {
        let mut sums = self.links.sums();
        for stream in self.links.streams.iter().filter_map(|name| self.streams.get(name)) {
            let brought = stream.brought.iter().map(|link| (link, LinkWay::Brings));
            let taken = stream.taken.iter().map(|link| (link, LinkWay::Takes));
            for (link, way) in brought.chain(taken) {
                sums.entry(link.node.clone()).or_default()[way as usize].add(&link.meter);
            }
        }
        sums
    }
}

impl Control {
    /// Whether a link brings the stream `name` here.
    #[must_use]
    pub fn is_brought(&self, name: &str) -> bool {
        let registry = self.lock();
        let brought = registry.streams.get(name).and_then(|stream| stream.brought.as_ref());
        brought.is_some_and(KnownLink::is_alive)
    }

    /// Looks at all links: those that have ended are forgotten, and those that are not needed any
    /// more are closed. Returns the streams that viewers here miss since.
    pub fn look_at_links(&self) -> Vec<Arc<str>> {
        let now = Instant::now();
        let mut registry = self.lock();
        let is_leaving = registry.stopping;
        registry.links.settle(now);
        let Registry { links, streams, .. } = &mut *registry;
        let (mut missed, mut unused) = (Vec::new(), Vec::new());
        let names = std::mem::take(&mut links.streams);
        for name in names {
            let Some(stream) = streams.get_mut(&name) else { continue };
            if stream.brought.is_some() && self.look_at_brought(now, &name, stream, links) {
                missed.push(name.clone());
            }
            let home = stream.feeding_shard();
            let leaves = is_leaving && stream.publisher().is_none();
            stream.taken.retain(|link| {
                if leaves {
                    link.meter.set_leaves();
                }
                let has_ended = link.meter.ended().is_some();
                let stays = home == Some(link.shard) && !has_ended;
                let goes = !stays && (has_ended || self.close_link(link));
                if goes {
                    let why = link.meter.ended().map_or("its publisher is gone", |end| end.words());
                    let node = &*link.node;
                    limited!(INFO, stream = &*name, node, why, "no longer sent to another node");
                    links.forget(link, LinkWay::Takes);
                }
                !goes
            });
            if stream.brought.is_some() || !stream.taken.is_empty() {
                links.streams.push(name);
            } else {
                unused.push(name);
            }
        }
        unused.iter().for_each(|name| registry.forget_if_unused(name));
        missed
    }

    /// Looks at the link that brings a stream. Returns whether viewers miss it since.
    fn look_at_brought(
        &self,
        now: Instant,
        name: &str,
        stream: &mut Stream,
        links: &mut LinkTable,
    ) -> bool {
        let is_watched =
            !stream.viewers.is_empty() || !stream.taken.is_empty() || stream.reserved > 0;
        let is_published = stream.publisher().is_some();
        let Some(link) = &mut stream.brought else { return false };
        link.idle_since = if is_watched { None } else { link.idle_since.or(Some(now)) };
        let lingered = |since: Instant| now.saturating_duration_since(since) >= LINK_LINGER;
        let lost = match link.meter.ended() {
            None if link.meter.is_silent() => Some(LinkEnd::Silent.words()),
            ended => ended.map(LinkEnd::words),
        };
        let why = match lost {
            _ if is_published => "it is published here",
            _ if link.meter.has_other_codec() => "its codecs have changed",
            _ if link.idle_since.is_some_and(lingered) => "nobody here watches it",
            Some(words) if !is_watched => words,
            // It stays, so that its viewers go on with it where they were.
            Some(_) => return link.is_missed(name),
            None => return link.meter.moves(),
        };
        if !self.close_link(link) {
            // Its shard has too much to do.
            return false;
        }
        let node = &*link.node;
        limited!(INFO, stream = name, node, why, "no longer taken from another node");
        links.forget(link, LinkWay::Brings);
        stream.brought = None;
        is_watched && !is_published
    }

    /// Whether its shard has been told.
    fn close_link(&self, link: &KnownLink) -> bool {
        let mailbox = &self.wiring.mailboxes[usize::from(link.shard)];
        mailbox.command(Command::CloseLink(link.id)).is_ok()
    }

    /// Shows all links there are.
    #[must_use]
    pub fn links(&self) -> Vec<LinkView> {
        self.lock().links_shown()
    }

    /// Adds what links have counted, by node and direction.
    pub fn expose_links(&self, exposition: &mut Exposition) {
        let (sums, views) = {
            let registry = self.lock();
            (registry.links_counted(), registry.links_shown())
        };
        let (mut now, mut withheld) = ([0u64; 2], [0u64; Coming::ALL.len()]);
        for link in views {
            let way = if link.brings { LinkWay::Brings } else { LinkWay::Takes };
            now[way as usize] += 1;
            link.layers.iter().for_each(|(_, why)| withheld[*why as usize] += 1);
        }
        self.expose_trees(exposition);
        let ways = [(LinkWay::Brings, "in"), (LinkWay::Takes, "out")];
        let help = "Streams that links with other nodes bring (in) and take (out)";
        let metric = exposition.gauge("links", help);
        for (way, label) in ways {
            metric.count(vec![("direction", label.into())], now[way as usize]);
        }
        let help = "Layers that links leave out: the way loses too much (loses), or --link-mbps";
        let metric = exposition.gauge("link_layers_withheld", help);
        for why in [Coming::Loses, Coming::Capped] {
            metric.count(vec![("reason", why.label().into())], withheld[why as usize]);
        }
        let kinds: [(_, _, Figure); 3] = [
            ("link_packets", "Media packets of links, without those sent again", |sum| sum.packets),
            ("link_repaired", "Media packets of links that were sent again", |sum| sum.repaired),
            ("link_lost", "Media packets of links that came neither way", |sum| sum.lost),
        ];
        for (name, help, of) in kinds {
            let metric = exposition.counter(name, help);
            for (node, sum) in &sums {
                for (way, label) in ways {
                    let labels =
                        vec![("node", node.to_string().into()), ("direction", label.into())];
                    metric.count(labels, of(&sum[way as usize]));
                }
            }
        }
    }
}
