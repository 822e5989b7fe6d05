//! One track of a stream on one shard: its layers, which of them is the best, and the packets that
//! wait for the end of the turn.

mod look;
mod points;
mod said;

use std::time::{Duration, Instant};

use super::flow::Flows;
use super::layer::{Latest, Layer, Past, Recall};
use super::point::{Point, layer_of};
use super::shared::Sizes;
use super::stream::Step;
use super::takers::Takers;
use super::{KeyframeRequests, LayerShown, Standing};
use crate::id::{TrackId, TrackKind};
use crate::limits::{ARRIVAL_CLOCK_AFTER, LAYERS_APART, MAX_LAYERS};
use crate::media::{Bytes, ClockReport, MediaPacket};
use crate::net::prefetch;

/// What becomes of a packet of a publisher, before anybody is there to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It goes to those who take its layer.
    Yes,
    /// It came from a publisher, or a source, that another has replaced.
    Replaced,
    /// It belongs to a layer beyond those that are told apart.
    TooManyLayers,
}

/// What became of a packet offered to [`Track::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits for [`Track::take_pending`].
    Admitted,
    /// It came from a source that another has replaced.
    Replaced,
    /// It stood already in the history: a resend of what had arrived.
    Duplicate,
    /// It is older than the history reaches.
    TooOld,
}

/// One track of a stream, as one shard sees it.
#[derive(Debug)]
pub struct Track {
    id: TrackId,
    layers: Vec<Layer>,
    /// Its layers thinned, those that somebody takes or has taken.
    points: Vec<Point>,
    /// The publisher whose packets are taken: those of an earlier one are too late.
    publisher: Option<u32>,
    /// The layer that sends most, by the last look at all of them.
    best: u8,
    looked: Option<Instant>,
    /// How its layers stand; on the publisher's shard, as the others were told.
    standing: Option<Standing>,
    /// Which layers sent something at the last look, how large their pictures were, and whether
    /// they can be thinned.
    seen: [Option<(Sizes, bool)>; MAX_LAYERS],
    /// How its packets come, on the publisher's shard.
    pub(super) flows: Flows,
    latest: Option<Latest>,
    /// When the publisher that sends now sent first.
    publishing_since: Option<Instant>,
    /// How many viewers of this shard take which layer.
    pub(super) takers: Takers,
    /// Of another shard's publisher: which layers come here, a bit each.
    coming: u8,
    /// Of what a link brings: the best layer that can be had by it, and whether something was said
    /// of the layers that nobody has looked at.
    told_best: Option<u8>,
    told_anew: bool,
}

const _: () = assert!(MAX_LAYERS <= 8, "a bit each");

/// What a layer has carried since it came to the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl std::ops::Add for Carried {
    type Output = Carried;

    fn add(self, other: Carried) -> Carried {
        Carried { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Carried {
    fn sum<I: Iterator<Item = Carried>>(parts: I) -> Carried {
        parts.fold(Carried::default(), |sum, part| sum + part)
    }
}

impl Track {
    /// A track before its first packet.
    #[must_use]
    pub fn new(id: TrackId) -> Track {
        Track {
            id,
            layers: vec![Layer::new(id.kind)],
            points: Vec::new(),
            publisher: None,
            best: 0,
            looked: None,
            standing: None,
            seen: [None; MAX_LAYERS],
            flows: Flows::default(),
            latest: None,
            publishing_since: None,
            takers: Takers::default(),
            coming: 0,
            told_best: None,
            told_anew: false,
        }
    }

    /// Which of its stream's.
    #[must_use]
    pub fn id(&self) -> TrackId {
        self.id
    }

    /// What every viewer that plays a layer should have been sent by now; without one, of the best.
    #[must_use]
    pub fn carried(&self, layer: Option<u8>) -> Carried {
        self.layer(layer.unwrap_or(self.best)).map(|layer| layer.sent).unwrap_or_default()
    }

    /// Its layers, by number.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The same, to change them.
    pub(super) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// See [`super::Stream::prefetch`].
    pub(super) fn prefetch(&self, step: Step) {
        match step {
            Step::Layers => prefetch(&self.layers[..]),
            _ => self.layers.iter().for_each(|layer| layer.prefetch(step)),
        }
    }

    /// The layer that sends most: who chooses none gets it.
    #[must_use]
    pub fn best_layer(&self) -> u8 {
        self.best
    }

    /// One of its layers, thinned or not, if it has been heard of.
    #[must_use]
    pub fn layer(&self, layer: u8) -> Option<&Layer> {
        if usize::from(layer) >= MAX_LAYERS {
            return self.thinned(layer);
        }
        self.layers.get(usize::from(layer))
    }

    /// One of its layers, if it has been heard of, to change it.
    pub fn layer_mut(&mut self, layer: u8) -> Option<&mut Layer> {
        self.layers.get_mut(usize::from(layer))
    }

    /// One of its layers, made where it is new; `None` beyond those that are told apart.
    pub(super) fn layer_made(&mut self, layer: u8) -> Option<&mut Layer> {
        if usize::from(layer) >= MAX_LAYERS {
            return None;
        }
        while self.layers.len() <= usize::from(layer) {
            self.layers.push(Layer::new(self.id.kind));
        }
        self.layer_mut(layer)
    }

    /// Who waits for key frames of what has this number: of the layer, thinned or not.
    pub fn keyframes(&self, number: u8) -> Option<&KeyframeRequests> {
        self.layers.get(usize::from(layer_of(number))).map(|layer| &layer.keyframes)
    }

    /// The same, to change it.
    pub fn keyframes_mut(&mut self, number: u8) -> Option<&mut KeyframeRequests> {
        self.layer_made(layer_of(number)).map(|layer| &mut layer.keyframes)
    }

    /// Whether anybody of this shard takes a layer. Of sound there is one.
    #[must_use]
    pub fn is_taken(&self, layer: u8) -> bool {
        self.id.kind == TrackKind::Audio || self.takers.take(layer, self.best)
    }

    /// What nobody here takes any more comes here no more.
    pub(super) fn note_left(&mut self) {
        let taken = (0..MAX_LAYERS as u8).filter(|layer| self.is_taken(*layer));
        self.coming &= taken.fold(0, |bits, layer| bits | 1 << layer);
    }

    /// Decides on another shard whether `packet` is of any use, of whose publisher's layers
    /// `standing` is told: true where that has changed. See [`Track::carry_published`].
    pub fn carry_received(&mut self, packet: &MediaPacket, standing: Standing) -> (Carry, bool) {
        let carry = self.carry(packet, Some(standing.best));
        if carry == Carry::Yes && self.coming & 1 << packet.layer == 0 {
            self.coming |= 1 << packet.layer;
            self.was_interrupted(packet.layer);
        }
        let standing = Standing { best: self.best, ..standing };
        let is_news = carry == Carry::Yes && self.standing.replace(standing) != Some(standing);
        (carry, is_news)
    }

    fn carry<P: Bytes>(&mut self, packet: &MediaPacket<P>, best: Option<u8>) -> Carry {
        if usize::from(packet.layer) >= MAX_LAYERS {
            return Carry::TooManyLayers;
        }
        let publisher = packet.origin.publisher;
        if self.publisher != Some(publisher) {
            let ahead = self.publisher.map_or(1, |current| publisher.wrapping_sub(current) as i32);
            if ahead < 0 {
                return Carry::Replaced;
            }
            self.start_over(publisher, packet.layer);
        } else {
            self.best = best.unwrap_or(self.best);
        }
        let Some(layer) = self.layer_made(packet.layer) else { return Carry::TooManyLayers };
        layer.count(packet);
        if layer.is_before(packet) { Carry::Replaced } else { Carry::Yes }
    }

    /// Gives `packet`, which is to be carried, the numbers of its layer, keeps it for repair and
    /// queues it for the viewers. It may wait for the rest of its frame, `hold` at most.
    pub fn admit<P: Bytes + Clone>(
        &mut self,
        mut packet: MediaPacket<P>,
        hold: Duration,
    ) -> Admission {
        let packet = match self.keep(&mut packet) {
            Ok(packet) => packet,
            Err(refused) => return refused,
        };
        if !self.points.is_empty() {
            self.thin(&packet, Some(hold));
            if !self.takers.take_exactly(packet.layer, self.best) {
                return Admission::Admitted;
            }
        }
        let ends = packet.marker || self.id.kind == TrackKind::Audio;
        self.layers[usize::from(packet.layer)].pending.push(packet, hold, ends);
        Admission::Admitted
    }

    /// Gives `packet` the numbers of its layer and keeps it: for repair, and for who comes next.
    ///
    /// # Errors
    /// Why it is not kept.
    pub fn keep<P: Bytes + Clone>(
        &mut self,
        packet: &mut MediaPacket<P>,
    ) -> Result<MediaPacket, Admission> {
        let index = usize::from(packet.layer);
        let Some(layer) = self.layers.get(index) else { return Err(Admission::Replaced) };
        match layer.origin() {
            Some(origin) if origin.is_newer_than(packet.origin) => {
                return Err(Admission::Replaced);
            }
            Some(origin) if origin == packet.origin => {}
            _ => self.follow(packet),
        }
        let layer = &mut self.layers[index];
        layer.number(packet);
        if layer.is_too_old(packet.sequence) {
            return Err(Admission::TooOld);
        }
        if layer.history.get(packet.sequence).is_some() {
            layer.note_known(packet);
            return Err(Admission::Duplicate);
        }
        let (kept, is_newest) = layer.keep(packet.clone());
        if is_newest {
            let MediaPacket { layer, timestamp, received, origin, .. } = *packet;
            let goes_on = self.latest.filter(|latest| latest.publisher == origin.publisher);
            let is_later =
                |latest: Latest| timestamp.wrapping_sub(latest.timestamp).cast_signed() > 0;
            if goes_on.is_none() {
                self.publishing_since = Some(received);
            }
            if goes_on.is_none_or(is_later) {
                let (publisher, clock) = (origin.publisher, None);
                self.latest = Some(Latest { timestamp, received, layer, publisher, clock });
            }
        }
        Ok(kept)
    }

    /// What a viewer that comes to a layer at `now` can start with; nothing but what is of
    /// `publisher`.
    #[must_use]
    pub fn past(&self, layer: u8, now: Instant, publisher: u32) -> Option<Past> {
        if self.publisher != Some(publisher) || self.id.kind != TrackKind::Video {
            return None;
        }
        // What is kept of one that has stopped coming leads to nothing.
        let comes = self.layers.get(usize::from(layer_of(layer))).is_some_and(Layer::comes);
        self.layer(layer).filter(|_| comes)?.past(layer, now)
    }

    /// The same for another shard, whose numbers may differ: as the publisher sent it.
    #[must_use]
    pub fn past_as_published(&self, layer: u8, now: Instant, publisher: u32) -> Vec<MediaPacket> {
        let Some(past) = self.past(layer, now, publisher) else { return Vec::new() };
        let Some(layer) = self.layer(past.layer) else { return Vec::new() };
        let kept = (past.first..=past.last).filter_map(|number| layer.history.get(number));
        kept.map(|packet| layer.as_published(packet)).collect()
    }

    /// Keeps what came to the publisher's shard before this one took part. Where it has another
    /// publisher's numbers by now, or those of another source, it is of no use.
    pub fn take_past(&mut self, packets: Vec<MediaPacket>) {
        let Some(MediaPacket { origin, layer, .. }) = packets.first().cloned() else { return };
        if self.publisher.is_none() && usize::from(layer) < MAX_LAYERS {
            self.start_over(origin.publisher, layer);
        }
        let is_current = self.publisher == Some(origin.publisher);
        let Some(known) = self.layer_made(layer) else { return };
        let fits = known.origin().map_or(known.newest().is_none(), |known| known == origin);
        if !fits || !is_current {
            return;
        }
        known.history.make_room(packets.len());
        for mut packet in packets {
            let is_known = matches!(self.keep(&mut packet), Err(Admission::Duplicate));
            if let Some(layer) = self.layer_mut(layer).filter(|_| is_known) {
                layer.note_keyframe(&packet);
            }
        }
    }

    /// The packets that wait for the rest of their frame.
    pub fn pending(&self) -> impl Iterator<Item = &MediaPacket> {
        let points = self.points.iter().map(|point| &point.layer);
        self.layers.iter().chain(points).flat_map(|layer| layer.pending.packets())
    }

    /// Looks for the packet of `layer` numbered `sequence`, which a viewer asks for at `now`.
    ///
    /// A packet that still waits to be sent is not sent again: it is on its way, and its padding,
    /// without which it is another text under the same SRTP index, is not decided yet.
    #[must_use]
    pub fn recall(&self, layer: u8, sequence: u64, now: Instant) -> Recall<'_> {
        let Some(layer) = self.layer(layer) else { return Recall::Gone };
        if layer.pending.packets().iter().any(|packet| packet.sequence == sequence) {
            return Recall::Awaited;
        }
        layer.recall(sequence, now)
    }

    /// The packets to send now: those of complete frames, or all whose time has come, layer by
    /// layer.
    pub fn take_pending(&mut self, now: Instant, into: &mut Vec<MediaPacket>) {
        let points = self.points.iter_mut().map(|point| &mut point.layer);
        for layer in self.layers.iter_mut().chain(points) {
            if layer.pending.is_due(now) {
                layer.release(into);
            }
        }
    }

    /// When the pending packets must leave, if there are any.
    #[must_use]
    pub fn pending_deadline(&self) -> Option<Instant> {
        let points = self.points.iter().map(|point| &point.layer);
        self.layers.iter().chain(points).filter_map(|layer| layer.pending.deadline()).min()
    }

    /// Takes the publisher's word on what the RTP time of a layer means.
    pub fn set_clock(&mut self, report: ClockReport) {
        // It may come before anything else of the layer.
        if let Some(layer) = self.layer_made(report.layer) {
            layer.set_clock(report);
        }
    }

    /// The track's clock at `now`, by a layer or, where that says nothing, by another: an NTP time
    /// and the timestamp that belongs to it. `None` before the publisher's first sender report.
    #[must_use]
    pub fn clock_at(&self, now: Instant, layer: Option<u8>) -> Option<(u64, u32)> {
        let own = self.layer(layer.map_or(self.best, layer_of)).into_iter();
        let mut all = own.chain(&self.layers).filter(|layer| self.is_current(layer));
        all.find_map(|layer| layer.clock_at(now))
    }

    /// Whether a layer is of the publisher that sends now.
    fn is_current(&self, layer: &Layer) -> bool {
        layer.origin().is_some_and(|origin| Some(origin.publisher) == self.publisher)
    }

    /// The timestamp that belongs to `now` by when packets come, for a publisher that says nothing
    /// of its time. `None` before it has had [`ARRIVAL_CLOCK_AFTER`] to say something.
    #[must_use]
    pub fn arrival_clock_at(&self, now: Instant) -> Option<u32> {
        let Latest { timestamp, received, .. } = self.latest?;
        let since = self.publishing_since?;
        if now.saturating_duration_since(since) < ARRIVAL_CLOCK_AFTER {
            return None;
        }
        let elapsed = now.saturating_duration_since(received).as_micros();
        let ticks = elapsed * u128::from(self.id.kind.clock_rate()) / 1_000_000;
        Some(timestamp.wrapping_add(ticks as u32))
    }

    /// From `first` on a layer goes on where the track stands.
    fn follow<P>(&mut self, first: &MediaPacket<P>) {
        let latest = self.latest.map(|latest| {
            let clock = self.layer(latest.layer).and_then(|layer| layer.clock_at(latest.received));
            Latest { clock, ..latest }
        });
        self.layers[usize::from(first.layer)].follow(first, latest.as_ref());
    }

    /// A layer that nobody was given yet is put right by the publisher's clock: when it came first,
    /// that need not have been known, and its packets may have come late.
    pub(super) fn align(&mut self, layer: u8, now: Instant, leaving: &mut [MediaPacket]) {
        let is_other = |other: &&Layer| other.is_used() && self.is_current(other);
        let reference = self.layers.iter().filter(is_other).find_map(|other| other.clock_at(now));
        let number = layer_of(layer);
        let Some(known) = self.layer(number).filter(|known| !known.is_used()) else { return };
        let clocks = reference.zip(known.clock_at(now));
        let Some(((ntp, timestamp), (own_ntp, own))) = clocks else { return };
        let rate = self.id.kind.clock_rate();
        let apart = i128::from(ntp.wrapping_sub(own_ntp) as i64);
        let own = own.wrapping_add(((apart * i128::from(rate)) >> 32) as u32);
        let by = timestamp.wrapping_sub(own);
        let most = LAYERS_APART.as_millis() as u32 * (rate / 1_000);
        if by.cast_signed().unsigned_abs() > most
            && let Some(layer) = self.layer_mut(number)
        {
            layer.put_right(by);
            self.points_of(number).for_each(|point| point.layer.put_right(by));
            let id = self.id;
            let of_layer = |p: &&mut MediaPacket| p.track.id == id && layer_of(p.layer) == number;
            for packet in leaving.iter_mut().filter(of_layer) {
                packet.timestamp = packet.timestamp.wrapping_add(by);
            }
        }
    }

    /// Another publisher has come: its layers are others, though their numbers go on.
    fn start_over(&mut self, publisher: u32, first_layer: u8) {
        self.publisher = Some(publisher);
        (self.best, self.looked, self.told_best) = (first_layer, None, None);
        let points = self.points.iter_mut().map(|point| &mut point.layer);
        for layer in self.layers.iter_mut().chain(points) {
            layer.start_over();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
