//! One track of a stream on one shard: its layers, which of them is carried, and the packets that
//! wait for the end of the turn.

use std::time::{Duration, Instant};

use super::LayerShown;
use super::layer::{Latest, Layer, Past, Recall};
use crate::id::{TrackId, TrackKind};
use crate::limits::{ARRIVAL_CLOCK_AFTER, MAX_LAYERS, MAX_PENDING_PACKETS, RATE_PERIOD};
use crate::media::{ClockReport, MediaPacket};

/// What becomes of a packet of a publisher, before anybody is there to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It goes to the viewers of the track.
    Yes,
    /// It belongs to a layer that nobody watches.
    OtherLayer,
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
    /// The publisher whose packets are taken: those of an earlier one are too late.
    publisher: Option<u32>,
    /// The layer that viewers get.
    carried: u8,
    /// The layer that sends most, by the last look at all of them.
    best: u8,
    looked: Option<Instant>,
    /// The best layer, as the other shards know it.
    told: Option<u8>,
    /// The layer of the packet that was admitted last.
    admitted: Option<u8>,
    latest: Option<Latest>,
    /// When the publisher that sends now sent first.
    publishing_since: Option<Instant>,
    pending: Vec<MediaPacket>,
    /// When the oldest pending packet must leave, marker or not.
    pending_deadline: Option<Instant>,
    frame_complete: bool,
    /// What has left for the viewers so far.
    sent: Carried,
}

/// What a track has carried since it came to the shard.
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
            publisher: None,
            carried: 0,
            best: 0,
            looked: None,
            told: None,
            admitted: None,
            latest: None,
            publishing_since: None,
            pending: Vec::new(),
            pending_deadline: None,
            frame_complete: false,
            sent: Carried::default(),
        }
    }

    /// Which of its stream's.
    #[must_use]
    pub fn id(&self) -> TrackId {
        self.id
    }

    /// What every viewer that plays the track should have been sent by now.
    #[must_use]
    pub fn carried(&self) -> Carried {
        self.sent
    }

    /// Its layers, by number.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The layer that viewers get.
    #[must_use]
    pub fn carried_layer(&self) -> u8 {
        self.carried
    }

    /// One of its layers, if it has been heard of.
    #[must_use]
    pub fn layer(&self, layer: u8) -> Option<&Layer> {
        self.layers.get(usize::from(layer))
    }

    /// One of its layers, if it has been heard of, to change it.
    pub fn layer_mut(&mut self, layer: u8) -> Option<&mut Layer> {
        self.layers.get_mut(usize::from(layer))
    }

    /// Decides on the publisher's shard whether `packet` goes to the viewers, wherever they are.
    /// The second value is the best layer that arrives, when the other shards must be told of it;
    /// `show` is told, once a [`RATE_PERIOD`], what each layer sends.
    pub fn carry_published(
        &mut self,
        packet: &MediaPacket,
        show: impl FnMut(u8, LayerShown),
    ) -> (Carry, Option<u8>) {
        let carry = self.carry(packet, self.best);
        self.look(packet.received, show);
        let changed = self.told != Some(self.best) && carry != Carry::Replaced;
        if changed {
            self.told = Some(self.best);
        }
        (carry, self.told.filter(|_| changed))
    }

    /// Decides whether `packet` goes to the viewers of this shard. The track changes to `best`, the
    /// best layer that arrives, at that layer's next key frame: until then the old one goes on.
    pub fn carry(&mut self, packet: &MediaPacket, best: u8) -> Carry {
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
            self.best = best;
        }
        let kind = self.id.kind;
        while self.layers.len() <= usize::from(packet.layer) {
            self.layers.push(Layer::new(kind));
        }
        let layer = &mut self.layers[usize::from(packet.layer)];
        layer.count(packet);
        if layer.is_before(packet) {
            return Carry::Replaced;
        }
        let goes_on = packet.layer == self.carried;
        let changes = packet.layer == self.best && packet.keyframe;
        if !goes_on && !changes {
            let late = layer.had_carried(packet);
            return if late { Carry::Yes } else { Carry::OtherLayer };
        }
        layer.carries(packet);
        self.carried = packet.layer;
        Carry::Yes
    }

    /// Compares the layers once a [`RATE_PERIOD`]: layers differ in bitrate, so the one that sends
    /// most is the best, and one that has gone silent is left.
    fn look(&mut self, now: Instant, mut show: impl FnMut(u8, LayerShown)) {
        let looked = *self.looked.get_or_insert(now);
        if now.saturating_duration_since(looked) < RATE_PERIOD {
            return;
        }
        self.looked = Some(now);
        for (number, layer) in (0..).zip(&mut self.layers) {
            layer.rate.settle(now);
            show(number, layer.shown());
        }
        let rate = |layer: u8| self.layers[usize::from(layer)].rate.bits_per_s();
        let best = (0..self.layers.len() as u8).max_by_key(|layer| rate(*layer));
        // A layer must be plainly better than the best so far, or two equal ones would alternate.
        let Some(best) = best.filter(|best| rate(*best) > rate(self.best) * 5 / 4) else { return };
        if self.best != self.carried {
            // Nobody changes to it any more.
            self.layers[usize::from(self.best)].keyframes.satisfied();
        }
        self.best = best;
        if best != self.carried {
            self.layers[usize::from(best)].keyframes.request();
        }
    }

    /// The layer of which whoever waits needs a key frame: the one that is carried, or about to be.
    #[must_use]
    pub fn wanted_layer(&self) -> u8 {
        if usize::from(self.best) < self.layers.len() { self.best } else { self.carried }
    }

    /// Gives `packet`, which is to be carried, the numbers of its layer, keeps it for repair and
    /// queues it for the viewers. It may wait for the rest of its frame, `hold` at most.
    pub fn admit(&mut self, mut packet: MediaPacket, hold: Duration) -> Admission {
        let kept = self.keep(&mut packet);
        if kept != Admission::Admitted {
            return kept;
        }
        self.frame_complete |= packet.marker
            || self.id.kind == TrackKind::Audio
            || self.pending.len() + 1 >= MAX_PENDING_PACKETS;
        self.pending_deadline.get_or_insert(packet.received + hold);
        self.pending.push(packet);
        Admission::Admitted
    }

    /// Gives `packet` the numbers of its layer and keeps it: for repair, and for who comes next.
    pub fn keep(&mut self, packet: &mut MediaPacket) -> Admission {
        let index = usize::from(packet.layer);
        let Some(layer) = self.layers.get(index) else { return Admission::Replaced };
        let follows = match layer.origin() {
            Some(origin) if origin.is_newer_than(packet.origin) => return Admission::Replaced,
            // What is late of the layer before is of the time before.
            Some(origin) if origin == packet.origin => {
                self.admitted != Some(packet.layer) && packet.layer == self.carried
            }
            _ => true,
        };
        if follows {
            self.follow(packet);
        }
        let layer = &mut self.layers[index];
        layer.number(packet);
        if layer.is_too_old(packet.sequence) {
            return Admission::TooOld;
        }
        if layer.history.get(packet.sequence).is_some() {
            return Admission::Duplicate;
        }
        if layer.keep(packet) && packet.layer == self.carried {
            let descriptor = packet.extensions.descriptor.as_ref();
            let frame_number = descriptor.map(|descriptor| descriptor.frame_number());
            if self.latest.is_none_or(|latest| latest.publisher != packet.origin.publisher) {
                self.publishing_since = Some(packet.received);
            }
            self.latest = Some(Latest {
                timestamp: packet.timestamp,
                received: packet.received,
                frame_number: frame_number.or(self.latest.and_then(|latest| latest.frame_number)),
                publisher: packet.origin.publisher,
                clock: None,
            });
            self.admitted = Some(packet.layer);
        }
        Admission::Admitted
    }

    /// What a viewer that comes at `now` can start with, of the layer that is carried; nothing but
    /// what is of `publisher`.
    #[must_use]
    pub fn past(&self, now: Instant, publisher: u32) -> Option<Past> {
        if self.publisher != Some(publisher) {
            return None;
        }
        let layer = self.layers.get(usize::from(self.carried))?;
        (self.id.kind == TrackKind::Video).then(|| layer.past(self.carried, now))?
    }

    /// The same for another shard, whose numbers may differ: as the publisher sent it.
    #[must_use]
    pub fn past_as_published(&self, now: Instant, publisher: u32) -> Vec<MediaPacket> {
        let Some(past) = self.past(now, publisher) else { return Vec::new() };
        let Some(layer) = self.layer(past.layer) else { return Vec::new() };
        let kept = (past.first..=past.last).filter_map(|number| layer.history.get(number));
        kept.map(|packet| layer.as_published(packet)).collect()
    }

    /// Keeps what came to the publisher's shard before this one took part. Where it has another
    /// publisher's numbers by now, or those of another source, it is of no use.
    pub fn take_past(&mut self, packets: Vec<MediaPacket>) {
        let Some(MediaPacket { origin, layer, .. }) = packets.first().cloned() else { return };
        if usize::from(layer) >= MAX_LAYERS {
            return;
        }
        if self.publisher.is_none() {
            self.start_over(origin.publisher, layer);
        }
        let kind = self.id.kind;
        while self.layers.len() <= usize::from(layer) {
            self.layers.push(Layer::new(kind));
        }
        let known = &mut self.layers[usize::from(layer)];
        let fits = known.origin().map_or(known.newest().is_none(), |known| known == origin);
        if !fits || self.publisher != Some(origin.publisher) || self.carried != layer {
            return;
        }
        known.history.make_room(packets.len());
        for mut packet in packets {
            self.keep(&mut packet);
        }
    }

    /// The packets that wait for the rest of their frame.
    #[must_use]
    pub fn pending(&self) -> &[MediaPacket] {
        &self.pending
    }

    /// Looks for the packet of `layer` numbered `sequence`, which a viewer asks for at `now`.
    ///
    /// A packet that still waits to be sent is not sent again: it is on its way, and its padding,
    /// without which it is another text under the same SRTP index, is not decided yet.
    #[must_use]
    pub fn recall(&self, layer: u8, sequence: u64, now: Instant) -> Recall<'_> {
        let waits = |packet: &MediaPacket| packet.layer == layer && packet.sequence == sequence;
        if self.pending.iter().any(waits) {
            return Recall::Awaited;
        }
        self.layers.get(usize::from(layer)).map_or(Recall::Gone, |l| l.recall(sequence, now))
    }

    /// The packets to send now: those of complete frames, or all whose time has come.
    pub fn take_pending(&mut self, now: Instant, into: &mut Vec<MediaPacket>) {
        if self.pending_deadline.is_some_and(|deadline| self.frame_complete || deadline <= now) {
            equalise(&mut self.pending);
            for packet in &self.pending {
                let layer = &mut self.layers[usize::from(packet.layer)];
                layer.history.set_padding(packet.sequence, packet.padding);
                self.sent.packets += 1;
                self.sent.bytes += packet.payload.len() as u64;
            }
            into.append(&mut self.pending);
            self.pending_deadline = None;
            self.frame_complete = false;
        }
    }

    /// When the pending packets must leave, if there are any.
    #[must_use]
    pub fn pending_deadline(&self) -> Option<Instant> {
        self.pending_deadline
    }

    /// Takes the publisher's word on what the RTP time of a layer means.
    pub fn set_clock(&mut self, report: ClockReport) {
        if let Some(layer) = self.layers.get_mut(usize::from(report.layer)) {
            layer.set_clock(report);
        }
    }

    /// The track's clock at `now`, by the layer that is carried: an NTP time and the timestamp that
    /// belongs to it. `None` before the publisher's first sender report.
    #[must_use]
    pub fn clock_at(&self, now: Instant) -> Option<(u64, u32)> {
        self.layers.get(usize::from(self.carried))?.clock_at(now)
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
    fn follow(&mut self, first: &MediaPacket) {
        let latest = self.latest.map(|latest| {
            let layer = self.admitted.map(|admitted| &self.layers[usize::from(admitted)]);
            let clock = layer.and_then(|layer| layer.clock_at(latest.received));
            Latest { clock, ..latest }
        });
        self.layers[usize::from(first.layer)].follow(first, latest.as_ref());
    }

    /// Another publisher has come: its layers are others, though their numbers go on.
    fn start_over(&mut self, publisher: u32, first_layer: u8) {
        self.publisher = Some(publisher);
        (self.carried, self.best, self.looked, self.told) = (first_layer, first_layer, None, None);
        for layer in &mut self.layers {
            layer.start_over();
        }
    }
}

/// Pads packets that fall short of the longest by a few bytes, so that all of them make one train.
///
/// Packetisers split a frame into sizes that differ by a byte, the short ones first, which is the
/// one order a train can't have. Only where the bytes added stay under 2 % of all; what is shorter
/// by more (parameter sets, the frame's last packet) is left as it is and opens or ends a train.
fn equalise(packets: &mut [MediaPacket]) {
    let Some(longest) = packets.iter().map(|packet| packet.payload.len()).max() else { return };
    let near = |packet: &MediaPacket| {
        let short = longest - packet.payload.len();
        if short <= usize::from(u8::MAX) { short } else { 0 }
    };
    let total: usize = packets.iter().map(|packet| packet.payload.len()).sum();
    let added: usize = packets.iter().map(near).sum();
    // Over the budget: pad only those that fall short by a byte or two.
    let limit = if added * 50 <= total { usize::from(u8::MAX) } else { longest / 50 };
    for packet in packets.iter_mut().filter(|packet| !packet.payload.is_empty()) {
        let short = near(packet);
        packet.padding = if short <= limit { short as u8 } else { 0 };
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a payload is made as publishers make it")]
mod tests;
