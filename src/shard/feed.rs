//! What is published on a shard and taken by other nodes: one copy of each packet, kept for as long
//! as links may have lost it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::{HISTORY_TIME, LINK_HISTORY_PACKETS, MAX_TRACKS_OF_A_KIND};
use crate::link::{self, Had};
use crate::media::MediaPacket;
use crate::track::Streams;

/// A stream that is published here and taken by other nodes.
pub(super) struct Feed {
    pub stream: StreamKey,
    /// Who takes it.
    pub links: Vec<u32>,
    /// Its last packets, of all tracks and layers.
    last: VecDeque<MediaPacket>,
    /// The place of the next.
    pub next: u64,
}

impl Feed {
    /// One with what a viewer that comes at `now` would begin with, and what came of late, for who
    /// had the stream from another node until a moment ago.
    pub fn new(now: Instant, stream: StreamKey, streams: &Streams) -> Feed {
        let mut feed = Feed { stream, links: Vec::new(), last: VecDeque::new(), next: 0 };
        let since = now.checked_sub(HISTORY_TIME).unwrap_or(now);
        let past = best_of(stream, streams)
            .flat_map(|(track, layer)| streams.past(now, track, layer))
            .filter(|packet| packet.received < since);
        for packet in past.chain(streams.recent(stream, since)) {
            if link::fits(&packet).is_ok() {
                feed.push(packet);
            }
        }
        feed
    }

    /// Keeps a packet; returns its place.
    pub fn push(&mut self, packet: MediaPacket) -> u64 {
        if self.last.len() >= LINK_HISTORY_PACKETS {
            self.last.pop_front();
        }
        self.last.push_back(packet);
        self.next += 1;
        self.next - 1
    }

    /// Where a link begins: with the newest key frames of the best layers, as far as they are kept.
    pub fn begins(&self, streams: &Streams) -> u64 {
        let newest = |(track, layer)| self.keyframe_of(track, layer);
        best_of(self.stream, streams).filter_map(newest).min().unwrap_or(self.next)
    }

    /// Where the newest key frame of a layer begins, as far as it is kept.
    pub fn keyframe_of(&self, track: TrackKey, layer: u8) -> Option<u64> {
        let is_of_it = |p: &MediaPacket| (p.track, p.layer) == (track, layer);
        let newest = self.last.iter().rposition(|p| is_of_it(p) && p.keyframe)?;
        let at = self.last[newest].timestamp;
        let place = self.last.iter().position(|p| is_of_it(p) && p.timestamp == at)?;
        Some(self.first() + place as u64)
    }

    /// The place of the oldest packet that is kept.
    fn first(&self) -> u64 {
        self.next - self.last.len() as u64
    }

    /// Where a link begins whose other end has some of it already, of the publication that is here
    /// `number`: with the first that it lacks, and a few before where some of those are missing.
    pub fn begins_behind(
        &self,
        number: u32,
        had: &Had,
        takes: impl Fn(&MediaPacket) -> bool,
    ) -> u64 {
        let lacks = |packet: &MediaPacket| {
            let MediaPacket { track, layer, origin, sequence, .. } = *packet;
            let lacks = had.lacks(track.id, layer, origin.source, sequence);
            origin.publisher == number && lacks && takes(packet)
        };
        let place = self.last.iter().position(lacks).unwrap_or(self.last.len());
        let taken = |place: &usize| self.last.get(*place).is_some_and(&takes);
        let mut before = (0..place).rev().filter(taken);
        let back = usize::from(had.back).checked_sub(1).map(|back| before.nth(back).unwrap_or(0));
        self.first() + back.unwrap_or(place) as u64
    }

    /// The packet at a place, while it is kept.
    pub fn at(&self, position: u64) -> Option<&MediaPacket> {
        self.last.get(usize::try_from(position.checked_sub(self.first())?).ok()?)
    }
}

/// The best layer of each video track.
fn best_of(stream: StreamKey, streams: &Streams) -> impl Iterator<Item = (TrackKey, u8)> {
    let videos =
        (0..MAX_TRACKS_OF_A_KIND as u8).map(|number| TrackId { kind: TrackKind::Video, number });
    videos.filter_map(move |id| {
        let best = streams.get(stream)?.track(id)?.best_layer();
        Some((TrackKey { stream, id }, best))
    })
}
