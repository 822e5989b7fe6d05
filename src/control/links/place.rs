//! Places for links that are being made.

use std::net::SocketAddr;
use std::sync::Arc;

use str0m::format::CodecSpec;

use super::{KnownLink, LinkCodecs, LinkWay, Sum};
use crate::control::streams::Stream;
use crate::control::{Control, ControlError};
use crate::id::{TrackId, TrackKind};
use crate::link::{Keys, Lineage, Peer};
use crate::session::StreamCodecs;
use crate::shard::{Brings, Command, LinkSetup};
use crate::telemetry::{LinkMeter, limited};
use crate::track::StreamShared;

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
    /// Where it comes from, likewise.
    pub lineage: Lineage,
    /// The other node's number and zone, and how many take the stream from there, where it takes it
    /// from here.
    pub number: u16,
    /// See above.
    pub zone: Box<str>,
    /// See above.
    pub children: u32,
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
    /// Whether it is that of a link which is to be taken the place of.
    is_taken: bool,
}

impl Drop for LinkPlace<'_> {
    fn drop(&mut self) {
        if self.is_held {
            let mut registry = self.control.lock();
            if !self.is_taken {
                registry.links.give_back(self.shard, self.id);
            }
            if let Some(stream) = registry.streams.get_mut(&self.stream) {
                stream.reserved -= 1;
            }
            registry.forget_if_unused(&self.stream.clone());
        }
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
        if way == LinkWay::Brings {
            registry.still_open()?;
        }
        let before = registry.streams.get_mut(name).filter(|_| way == LinkWay::Brings);
        let before = before.and_then(|stream| Some((stream.brought.as_ref()?.place(), stream)));
        let is_taken = before.is_some();
        let (stream, shard, id) = match before {
            Some(((shard, id), stream)) => {
                stream.reserved += 1;
                (name.into(), shard, id)
            }
            None => registry.link_place(name, way)?,
        };
        let known = registry.streams.get(&stream).expect("a reservation keeps the stream");
        let (shared, codecs) = (known.shared.clone(), LinkCodecs::of(&known.codecs));
        drop(registry);
        let control = self;
        let is_held = true;
        Ok(LinkPlace {
            control,
            way,
            stream,
            shared,
            shard,
            id,
            port,
            addresses,
            codecs,
            is_held,
            is_taken,
        })
    }
}

impl LinkPlace<'_> {
    /// The link is made: its shard opens it.
    ///
    /// # Errors
    /// [`ControlError::NoRoom`] where that has too much to do; [`ControlError::Conflict`] where
    /// somebody has come to publish the stream meanwhile, or its publisher is gone.
    pub fn open(mut self, other: OtherEnd) -> Result<(), ControlError> {
        let codecs = other.codecs.codecs();
        let (setup, mut link) = self.made(other, &codecs);
        let mut registry = self.control.lock();
        let known = registry.streams.get_mut(&self.stream).expect("a reservation keeps it");
        if !self.is_right(known) {
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
        let stream = &*self.stream;
        let mut viewers = Vec::new();
        match self.way {
            LinkWay::Brings => {
                limited!(INFO, stream, node = &*link.node, "taken from another node");
                known.codecs = codecs;
                known.moved_on = false;
                viewers = known.viewers.keys().to_vec();
                let before = known.brought.take();
                before.iter().for_each(|before| link.goes_on(before));
                known.brought = Some(link);
                if let Some(before) = before {
                    registry.links.count(&before, LinkWay::Brings);
                }
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

    /// What the shard is told, and what is known of the link here.
    fn made(&self, other: OtherEnd, codecs: &StreamCodecs) -> (LinkSetup, KnownLink) {
        let OtherEnd { node, peer, address: to, keys, lineage, .. } = other;
        let OtherEnd { number, zone, children: below, .. } = other;
        let meter = Arc::<LinkMeter>::default();
        let track = |kind: TrackKind, spec: Option<CodecSpec>| {
            spec.map(|spec| (TrackId::first(kind), spec.codec))
        };
        let tracks = [track(TrackKind::Audio, codecs.audio), track(TrackKind::Video, codecs.video)];
        let tracks = tracks.into_iter().flatten().collect();
        let brings = (self.way == LinkWay::Brings).then_some(Brings { tracks, lineage });
        if brings.is_some() {
            meter.above.set(lineage.path.to_word());
        }
        let (shard, id) = (self.shard, self.id);
        let setup = LinkSetup {
            id,
            stream: self.shared.clone(),
            peer,
            to,
            port: self.port as u32,
            keys,
            node: self.control.node_number(),
            most_bits_per_s: self.control.member().link_bits_per_s,
            brings,
            meter: meter.clone(),
        };
        let link = KnownLink {
            shard,
            id,
            node,
            meter,
            before: None,
            counted: Sum::default(),
            number,
            zone,
            below,
            idle_since: None,
            was_missed: false,
        };
        (setup, link)
    }

    /// Whether all is still as when the place was taken.
    fn is_right(&self, known: &Stream) -> bool {
        match self.way {
            LinkWay::Brings => {
                let before = known.brought.as_ref().map(KnownLink::place);
                let expected = self.is_taken.then_some((self.shard, self.id));
                known.publisher().is_none() && before == expected
            }
            LinkWay::Takes => known.feeding_shard() == Some(self.shard),
        }
    }
}
