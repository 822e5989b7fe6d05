//! A stream whose publisher is on another node: what a link brings goes the way of any other
//! publisher's packets, and keeps that publisher's numbers.

use std::time::Instant;

use str0m::format::Codec;

use super::post::Post;
use super::publish::{publish, publish_clock, waited_too_long};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::media::{ClockReport, LayerName, MediaPacket};
use crate::track::{Source, Streams};

/// What a publisher's session is to a stream, for one that a link brings.
pub(super) struct Relay {
    /// The link's name on this shard.
    name: u32,
    stream: StreamKey,
    /// Its number among the publishers of the stream here; 0 where it is none.
    number: u32,
    /// The publisher's number where it is.
    theirs: Option<u32>,
    /// The tracks it was said to bring, with their codecs.
    tracks: Vec<(TrackId, Codec)>,
}

impl Relay {
    /// The link `name` brings `stream`, which has been joined, with these tracks. Where somebody
    /// publishes it here, that one stays.
    pub fn new(
        name: u32,
        stream: StreamKey,
        tracks: Vec<(TrackId, Codec)>,
        streams: &mut Streams,
    ) -> Relay {
        let ids = tracks.iter().map(|(id, _)| *id);
        let number = streams.connected(stream, Source::Relay(name), ids);
        Relay { name, stream, number: number.unwrap_or(0), theirs: None, tracks }
    }

    /// The stream is without this publisher.
    pub fn leave(&self, streams: &mut Streams) {
        streams.leave(self.stream, Source::Relay(self.name));
    }

    /// Whether a packet is of the codec that its track was said to have.
    pub fn is_as_said<P>(&self, packet: &MediaPacket<P>) -> bool {
        let said = |kind: TrackKind| self.tracks.iter().find(|(id, _)| id.kind == kind);
        said(packet.track.id.kind).is_none_or(|(_, codec)| *codec == packet.codec)
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

    /// The number here of the publisher that is `theirs` there. One that has come there since takes
    /// over here as well, unless somebody else has done so.
    fn number_of(&mut self, theirs: u32, streams: &mut Streams) -> Option<u32> {
        let ahead = self.theirs.map(|known| theirs.wrapping_sub(known) as i32);
        match ahead {
            _ if self.number == 0 => None,
            Some(0) => Some(self.number),
            Some(ahead) if ahead < 0 => None,
            None => {
                self.theirs = Some(theirs);
                Some(self.number)
            }
            Some(_) => {
                let newest = streams.get(self.stream)?.live_publisher();
                if newest != Some(self.number) {
                    return None;
                }
                let ids = self.tracks.iter().map(|(id, _)| *id);
                self.number = streams.take_over(self.stream, Source::Relay(self.name), ids)?;
                self.theirs = Some(theirs);
                Some(self.number)
            }
        }
    }
}
