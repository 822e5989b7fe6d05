//! Links with other nodes, as the control side has them: places for those to come, and a look at
//! those there are.
//!
//! A link that **brings** a stream is to it what a publisher is: viewers come to it, and it goes
//! some time after the last of them, or when somebody publishes the stream here. One that **takes**
//! a stream away goes with its publisher, and is on the publisher's shard: when another publisher
//! has come to another shard, the other node asks again.

mod codecs;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::format::CodecSpec;

pub use codecs::LinkCodecs;

use super::registry::Registry;
use super::slots::Slots;
use super::streams::Stream;
use super::{Control, ControlError};
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{LINK_LINGER, MAX_LINKS_PER_SHARD};
use crate::link::{Keys, Peer};
use crate::shard::{Command, LinkSetup};
use crate::telemetry::{Exposition, LinkMeter, limited};
use crate::track::StreamShared;

/// A link of a stream.
pub(super) struct KnownLink {
    pub shard: u16,
    id: u32,
    node: Box<str>,
    meter: Arc<LinkMeter>,
    /// Since when a stream that it brings has had no viewer.
    idle_since: Option<Instant>,
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
    /// Media packets sent the first time, or received.
    pub packets: u64,
    /// Media packets sent again, or received so.
    pub repaired: u64,
    /// Media packets that came neither way.
    pub lost: u64,
    /// The last round trip that was measured, in microseconds; 0 before.
    pub round_trip_us: u64,
}

/// Which way a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkWay {
    /// From another node to this one.
    Brings,
    /// From this node to another one.
    Takes,
}

/// The other end of a link that is to be opened.
pub struct OtherEnd {
    /// The node.
    pub node: Box<str>,
    /// What the link is called there.
    pub peer: Peer,
    /// Where it is.
    pub address: SocketAddr,
    /// The keys.
    pub keys: Keys,
    /// What the stream carries, where the link brings it.
    pub codecs: LinkCodecs,
}

/// A place that is held while the link for it is made.
pub struct LinkPlace<'a> {
    control: &'a Control,
    way: LinkWay,
    stream: Arc<str>,
    shared: Arc<StreamShared>,
    /// Its shard.
    pub shard: u16,
    /// What it is called there.
    pub id: u32,
    port: usize,
    /// Where datagrams for it are to be sent.
    pub addresses: Arc<[SocketAddr]>,
    /// What the stream carries.
    pub codecs: LinkCodecs,
    is_held: bool,
}

impl Drop for LinkPlace<'_> {
    fn drop(&mut self) {
        if self.is_held {
            let mut registry = self.control.lock();
            registry.links.give_back(self.shard, self.id);
            if let Some(stream) = registry.streams.get_mut(&self.stream) {
                stream.reserved -= 1;
            }
            registry.forget_if_unused(&self.stream.clone());
        }
    }
}

impl LinkTable {
    pub fn new(shards: usize) -> LinkTable {
        let ids = (0..shards).map(|_| Slots::new(MAX_LINKS_PER_SHARD)).collect();
        LinkTable { ids, streams: Vec::new(), over: BTreeMap::new() }
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
        self.over.entry(link.node.clone()).or_default()[way as usize].add(&link.meter);
    }
}

impl Sum {
    fn add(&mut self, meter: &LinkMeter) {
        self.packets += meter.packets.get();
        self.repaired += meter.repaired.get();
        self.lost += meter.lost.get();
    }
}

impl Registry {
    fn link_place(
        &mut self,
        name: &str,
        way: LinkWay,
    ) -> Result<(Arc<str>, u16, u32), ControlError> {
        self.still_open()?;
        let publisher = self.streams.get(name).and_then(Stream::publisher);
        let shard = match (way, publisher) {
            (LinkWay::Takes, None) => return Err(ControlError::no_publisher(name)),
            (LinkWay::Takes, Some(publisher)) => publisher.shard,
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

impl Control {
    /// A place for a link of the stream `name`.
    ///
    /// # Errors
    /// Why there is none: nobody publishes the stream here, or somebody does; there are no mux
    /// ports, or there is no room; the server stops.
    pub fn link_place(&self, name: &str, way: LinkWay) -> Result<LinkPlace<'_>, ControlError> {
        let mut registry = self.lock();
        let (port, addresses) = registry.ports.for_link().ok_or_else(|| {
            ControlError::conflict(
                "links go between mux ports, and none is open here (--port-range gives each \
                 session one of its own)",
            )
        })?;
        let (stream, shard, id) = registry.link_place(name, way)?;
        let known = registry.streams.get(&stream).expect("a reservation keeps the stream");
        let (shared, codecs) = (known.shared.clone(), LinkCodecs::of(&known.codecs));
        drop(registry);
        let control = self;
        let is_held = true;
        Ok(LinkPlace { control, way, stream, shared, shard, id, port, addresses, codecs, is_held })
    }

    /// Whether a link brings the stream `name` here.
    #[must_use]
    pub fn is_brought(&self, name: &str) -> bool {
        self.lock().streams.get(name).is_some_and(|stream| stream.brought.is_some())
    }

    /// Whether somebody here waits for a stream that nobody publishes here, and no link brings.
    #[must_use]
    pub fn is_missed(&self, name: &str) -> bool {
        let registry = self.lock();
        registry.streams.get(name).is_some_and(Stream::is_awaited)
    }

    /// Looks at all links: those that have ended are forgotten, and those that are not needed any
    /// more are closed. Returns the streams that viewers here miss since.
    pub fn look_at_links(&self) -> Vec<Arc<str>> {
        let now = Instant::now();
        let mut registry = self.lock();
        let Registry { links, streams, .. } = &mut *registry;
        let (mut missed, mut unused) = (Vec::new(), Vec::new());
        let names = std::mem::take(&mut links.streams);
        for name in names {
            let Some(stream) = streams.get_mut(&name) else { continue };
            if stream.brought.is_some() && self.look_at_brought(now, &name, stream, links) {
                missed.push(name.clone());
            }
            let home = stream.publisher().filter(|_| !stream.moved_on).map(|key| key.shard);
            stream.taken.retain(|link| {
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
        let is_watched = !stream.viewers.is_empty() || stream.reserved > 0;
        let is_published = stream.publisher().is_some();
        let Some(link) = &mut stream.brought else { return false };
        link.idle_since = if is_watched { None } else { link.idle_since.or(Some(now)) };
        let lingered = |since: Instant| now.saturating_duration_since(since) >= LINK_LINGER;
        let why = match link.meter.ended() {
            Some(end) => end.words(),
            None if is_published => "it is published here",
            None if link.meter.has_other_codec() => "its codecs have changed",
            None if link.idle_since.is_some_and(lingered) => "nobody here watches it",
            None => return false,
        };
        if link.meter.ended().is_none() && !self.close_link(link) {
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
        let registry = self.lock();
        let of = |name: &Arc<str>, link: &KnownLink, brings| LinkView {
            stream: name.clone(),
            node: link.node.clone(),
            brings,
            packets: link.meter.packets.get(),
            repaired: link.meter.repaired.get(),
            lost: link.meter.lost.get(),
            round_trip_us: link.meter.round_trip_us.get(),
        };
        let known = registry.links.streams.iter();
        let streams = known.filter_map(|name| Some((name, registry.streams.get(name)?)));
        let each = streams.flat_map(|(name, stream)| {
            let brought = stream.brought.iter().map(move |link| of(name, link, true));
            brought.chain(stream.taken.iter().map(move |link| of(name, link, false)))
        });
        each.collect()
    }

    /// Adds what links have counted, by node and direction.
    pub fn expose_links(&self, exposition: &mut Exposition) {
        let mut sums = self.lock().links.over.clone();
        let mut now = [0u64; 2];
        for link in self.links() {
            let way = if link.brings { LinkWay::Brings } else { LinkWay::Takes };
            let sum = &mut sums.entry(link.node).or_default()[way as usize];
            sum.packets += link.packets;
            sum.repaired += link.repaired;
            sum.lost += link.lost;
            now[way as usize] += 1;
        }
        let ways = [(LinkWay::Brings, "in"), (LinkWay::Takes, "out")];
        let help = "Streams that links with other nodes bring (in) and take (out)";
        let metric = exposition.gauge("links", help);
        for (way, label) in ways {
            metric.count(vec![("direction", label.into())], now[way as usize]);
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

impl LinkPlace<'_> {
    /// The link is made: its shard opens it.
    ///
    /// # Errors
    /// [`ControlError::NoRoom`] where that has too much to do; [`ControlError::Conflict`] where
    /// somebody has come to publish the stream meanwhile, or its publisher is gone.
    pub fn open(mut self, other: OtherEnd) -> Result<(), ControlError> {
        let OtherEnd { node, peer, address: to, keys, codecs } = other;
        let meter = Arc::<LinkMeter>::default();
        let codecs = codecs.codecs();
        let track = |kind: TrackKind, spec: Option<CodecSpec>| {
            spec.map(|spec| (TrackId::first(kind), spec.codec))
        };
        let tracks = [track(TrackKind::Audio, codecs.audio), track(TrackKind::Video, codecs.video)];
        let brings = (self.way == LinkWay::Brings).then(|| tracks.into_iter().flatten().collect());
        let setup = LinkSetup {
            id: self.id,
            stream: self.shared.clone(),
            peer,
            to,
            port: self.port as u32,
            keys,
            brings,
            meter: meter.clone(),
        };
        let mut registry = self.control.lock();
        let known = registry.streams.get_mut(&self.stream).expect("a reservation keeps it");
        let home = known.publisher().map(|key| key.shard);
        let is_right = match self.way {
            LinkWay::Brings => home.is_none() && known.brought.is_none(),
            LinkWay::Takes => home == Some(self.shard),
        };
        if !is_right {
            drop(registry);
            return Err(ControlError::conflict("its publisher has changed meanwhile"));
        }
        let mailbox = &self.control.wiring.mailboxes[usize::from(self.shard)];
        if mailbox.command(Command::OpenLink(Box::new(setup))).is_err() {
            drop(registry);
            return Err(ControlError::no_room("the shard has too much to do"));
        }
        known.reserved -= 1;
        self.is_held = false;
        let (shard, id) = (self.shard, self.id);
        let link = KnownLink { shard, id, node, meter, idle_since: None };
        let stream = &*self.stream;
        let mut viewers = Vec::new();
        match self.way {
            LinkWay::Brings => {
                limited!(INFO, stream, node = &*link.node, "taken from another node");
                known.codecs = codecs;
                known.moved_on = false;
                viewers = known.viewers.keys().to_vec();
                known.brought = Some(link);
            }
            LinkWay::Takes => {
                limited!(INFO, stream, node = &*link.node, "sent to another node");
                known.taken.push(link);
            }
        }
        registry.links.enter(&self.stream);
        registry.end_misfits(&viewers, &codecs);
        self.control.end_soon(&mut registry);
        Ok(())
    }
}
