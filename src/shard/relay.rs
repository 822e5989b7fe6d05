//! A stream whose publisher is on another node: what a link brings goes the way of any other
//! publisher's packets, and keeps that publisher's numbers.

use std::time::Instant;

use smallvec::SmallVec;
use str0m::format::Codec;

use super::post::Post;
use super::publish::{publish, publish_clock, waited_too_long};
use super::wishes::{Wanted, Wishes, shown};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::{MAX_LAYERS, MAX_LINK_LAYERS, MAX_TRACKS_OF_A_KIND};
use crate::link::{Had, HadLayer, Lineage, NoWay, Path, SaidLayers};
use crate::media::{ClockReport, LayerName, MediaPacket, red};
use crate::track::{Publication, Source, Streams};

/// What a link brings, as the node at its other end says.
pub struct Brings {
    /// The tracks, with their codecs.
    pub tracks: Vec<(TrackId, Codec)>,
    /// Where the stream comes from.
    pub lineage: Lineage,
}

/// What a publisher's session is to a stream, for one that a link brings.
pub(super) struct Relay {
    /// The link's name on this shard, and this node's number.
    name: u32,
    node: u16,
    stream: StreamKey,
    /// Its number among the publishers of the stream here; 0 where it is none.
    number: u32,
    /// The publisher's number where it is.
    theirs: Option<u32>,
    /// Whether the next packet is of another publication than those before.
    is_another: bool,
    /// What the other end says of the stream.
    said: Lineage,
    /// The tracks it was said to bring, with their codecs.
    tracks: Vec<(TrackId, Codec)>,
    /// How far each layer has come.
    had: Vec<HadLayer>,
    /// Which layers are wanted.
    wishes: Wishes,
    /// When something came last; and, where another node gives the same publication since, until
    /// when that came from the node before.
    came: Option<Instant>,
    left: Option<Instant>,
}

impl Relay {
    /// The link `name` brings `stream`, which has been joined, to `node`. Where somebody publishes
    /// it here, that one stays.
    pub fn new(
        now: Instant,
        (name, node): (u32, u16),
        stream: StreamKey,
        Brings { tracks, lineage }: Brings,
        streams: &mut Streams,
    ) -> Relay {
        let ids = tracks.iter().map(|(id, _)| *id);
        let number = streams.connected(stream, Source::Relay(name), ids).unwrap_or(0);
        let theirs = (lineage.publication != 0).then_some(lineage.publisher);
        let (said, is_another, had) = (lineage, false, Vec::new());
        let relay = Relay {
            name,
            node,
            stream,
            number,
            theirs,
            is_another,
            said,
            tracks,
            had,
            wishes: Wishes::new(now),
            came: None,
            left: None,
        };
        relay.show(streams);
        relay
    }

    /// Another link brings the stream from here on. Returns what there is of it, where it is the
    /// same publication.
    pub fn moves(
        &mut self,
        Brings { tracks, lineage }: Brings,
        streams: &mut Streams,
    ) -> Option<Had> {
        streams.layers_unsaid(self.stream);
        self.wishes.are_untold();
        let publication = self.publication();
        let is_same = publication != 0 && publication == lineage.publication;
        (self.tracks, self.said) = (tracks, lineage);
        (self.theirs, self.is_another) = (is_same.then_some(lineage.publisher), !is_same);
        self.left = self.came.filter(|_| is_same);
        self.show(streams);
        is_same.then(|| Had { publication, back: 0, layers: self.had.clone() })
    }

    /// The stream is without this publisher.
    pub fn leave(&self, streams: &mut Streams) {
        streams.leave(self.stream, Source::Relay(self.name));
    }

    /// The other end says where the stream comes from.
    pub fn says(&mut self, lineage: Lineage, streams: &Streams) {
        self.said = lineage;
        self.show(streams);
    }

    /// The stream does not come any more, for the time being.
    pub fn has_no_source(&mut self, streams: &Streams) {
        self.said.path = Path::default();
        self.show(streams);
    }

    /// Whether it had better come from elsewhere: the other end says so, or its path leads on to
    /// nobody.
    pub fn is_to_move(&self) -> bool {
        let way = self.said.path.to(self.node);
        self.said.leaves || matches!(way, Err(NoWay::Loop | NoWay::TooDeep))
    }

    /// The path by which the other end has the stream.
    pub fn above(&self) -> Path {
        self.said.path
    }

    /// What the publication is called on every node; 0 where that is not known.
    fn publication(&self) -> u64 {
        if self.theirs == Some(self.said.publisher) { self.said.publication } else { 0 }
    }

    /// Other nodes are told so.
    fn show(&self, streams: &Streams) {
        let way = self.said.path.to(self.node).unwrap_or_default();
        let (number, name, relayed) = (self.number, self.publication(), Some(way.to_word()));
        streams.relays(self.stream, Publication { number, name, relayed });
    }

    /// Whether a packet is of the codec that its track was said to have.
    pub fn is_as_said<P>(&self, packet: &MediaPacket<P>) -> bool {
        let said = |kind: TrackKind| self.tracks.iter().find(|(id, _)| id.kind == kind);
        said(packet.track.id.kind)
            .is_none_or(|(_, codec)| *codec == red::without_redundancy(packet.codec))
    }

    /// A packet that the link has brought.
    pub fn media(
        &mut self,
        now: Instant,
        mut packet: MediaPacket<&[u8]>,
        streams: &mut Streams,
        post: &mut Post,
    ) {
        let number = self.number_of(packet.origin.publisher, streams);
        let useless = waited_too_long(now, packet.received).then_some(DropReason::WaitedTooLong);
        if number.is_some() {
            self.note(&packet);
            self.came = Some(now);
            if let Some(left) = self.left.take() {
                let gap = now.saturating_duration_since(left);
                post.meters().histograms.relay_gap.record(gap.as_micros() as u64);
            }
        }
        match useless.or(number.is_none().then_some(DropReason::StaleMedia)) {
            Some(reason) => {
                post.counters().publisher_packets.add(1);
                post.dropped(reason);
            }
            None => {
                packet.origin.publisher = number.unwrap_or(0);
                publish(packet, streams, post);
            }
        }
    }

    /// Notes how far a layer has come.
    fn note<P>(&mut self, packet: &MediaPacket<P>) {
        let (track, layer) = (packet.track.id, packet.layer);
        let (source, sequence) = (packet.origin.source, packet.sequence);
        let of_it = |had: &&mut HadLayer| (had.track, had.layer) == (track, layer);
        if let Some(had) = self.had.iter_mut().find(of_it) {
            let before = if had.source == source { had.sequence } else { 0 };
            (had.source, had.sequence) = (source, before.max(sequence));
        } else if self.had.len() < MAX_LINK_LAYERS {
            self.had.push(HadLayer { track, layer, source, sequence });
        }
    }

    /// What time it is in a layer, as the link says.
    pub fn clock(&mut self, mut report: ClockReport, streams: &mut Streams, post: &mut Post) {
        if self.theirs == Some(report.origin.publisher) {
            report.origin.publisher = self.number;
            publish_clock(report, streams, post);
        }
    }

    /// What the publisher calls a layer.
    pub fn name(&self, track: TrackId, layer: u8, name: LayerName, streams: &Streams) {
        if self.theirs.is_some() {
            streams.name_layers(self.stream, self.number, vec![(track, layer, name)]);
        }
    }

    /// Which layers of the video tracks are wanted at `now`.
    pub fn wants(&mut self, now: Instant, streams: &Streams) -> Wanted {
        self.wishes.at(now, self.stream, streams)
    }

    /// Somebody waits for a layer's key frame. True where all of it is to be asked for, since it
    /// does not come.
    pub fn is_to_come(&mut self, now: Instant, track: TrackKey, layer: u8) -> bool {
        self.wishes.is_to_come(now, track.id, layer)
    }

    /// Which layers of each video track come, in words for others.
    pub fn layers_shown(&self) -> [u64; MAX_TRACKS_OF_A_KIND] {
        self.wishes.shown
    }

    /// Which layers of a track there are, as the link says.
    pub fn layers(&mut self, said: &SaidLayers, streams: &mut Streams) {
        if self.theirs.is_some() {
            let key = TrackKey { stream: self.stream, id: said.track };
            self.wishes.are_told(said);
            let layers: SmallVec<[_; MAX_LAYERS]> = said.layers.iter().map(shown).collect();
            streams.layers_said((key, self.number), said.best, &layers);
        }
    }

    /// The number here of the publisher that is `theirs` there. One that has come there since takes
    /// over here as well, unless somebody else has done so.
    fn number_of(&mut self, theirs: u32, streams: &mut Streams) -> Option<u32> {
        let ahead = self.theirs.map(|known| theirs.wrapping_sub(known) as i32);
        match ahead {
            _ if self.number == 0 => None,
            Some(0) => Some(self.number),
            Some(ahead) if ahead < 0 => None,
            None if !self.is_another => {
                self.theirs = Some(theirs);
                self.show(streams);
                Some(self.number)
            }
            None | Some(_) => {
                let newest = streams.get(self.stream)?.live_publisher();
                if newest != Some(self.number) {
                    return None;
                }
                let ids = self.tracks.iter().map(|(id, _)| *id);
                self.number = streams.take_over(self.stream, Source::Relay(self.name), ids)?;
                (self.theirs, self.is_another) = (Some(theirs), false);
                self.had.clear();
                self.show(streams);
                Some(self.number)
            }
        }
    }
}
