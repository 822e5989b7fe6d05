//! The streams one shard takes part in, and which of them have something to do.

mod audit;
mod exports;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stream::{Ask, Source, Stream, Viewer};
use super::{StreamShared, Wish};
use crate::drop::DropReason;
use crate::egress::{Control, Egress, Feedback};
use crate::id::{StreamKey, TrackId, TrackKey};
use crate::media::{Bytes, ClockReport, LayerName, MediaPacket};
use crate::net::{Destination, Way, prefetch};
use crate::telemetry::ShardCounters;
pub use exports::Export;

/// A key frame of a layer must be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedKeyframe {
    /// The track.
    pub track: TrackKey,
    /// The layer.
    pub layer: u8,
    /// Who can be asked.
    pub ask: Ask,
    /// Whether one that has passed will do, with what came since.
    pub past_will_do: bool,
    /// Whether its publisher has just been found to be deaf to such requests.
    pub has_gone_deaf: bool,
}

/// Viewers up to which the list of a stream's grows one by one.
const FEW_VIEWERS: usize = 4;

/// What became of a packet on the publisher's shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It waits for this shard's viewers, and whoever else has viewers has a copy.
    Here,
    /// It has gone to other shards alone.
    Elsewhere,
}

/// Streams by index.
pub struct Streams {
    /// The shard's number.
    shard: u16,
    /// How long a packet may wait for the rest of its frame.
    hold: Duration,
    /// Whether viewers get what their paths carry, or all of them the best there is.
    pub(super) adapts: bool,
    table: Vec<Option<Box<Stream>>>,
    count: usize,
    /// Streams with pending packets or a key frame to ask for.
    active: Vec<StreamKey>,
    /// Memory that is used anew each turn.
    pending: Vec<MediaPacket>,
    /// Streams of viewers that were sent packets with transport-wide numbers in this turn.
    leaving: Vec<StreamKey>,
    /// Tracks published here whose layers have changed by the packet just taken.
    pub(super) changed: Vec<TrackKey>,
    /// What is to go to other nodes in this turn, each with who takes it there.
    exports: Vec<(u32, Export)>,
}

impl Streams {
    /// No stream yet. A packet may wait as long as `hold` for the rest of its frame; `adapts` says
    /// whether viewers get the layers that their paths carry.
    #[must_use]
    pub fn new(shard: u16, hold: Duration, adapts: bool) -> Streams {
        let (table, active) = (Vec::new(), Vec::new());
        let (pending, leaving, changed) = (Vec::new(), Vec::new(), Vec::new());
        let exports = Vec::new();
        Streams { shard, hold, adapts, table, count: 0, active, pending, leaving, changed, exports }
    }

    /// The stream with exactly this key.
    #[must_use]
    pub fn get(&self, key: StreamKey) -> Option<&Stream> {
        let stream = self.table.get(key.index as usize)?.as_deref()?;
        (stream.shared.key == key).then_some(stream)
    }

    /// The stream with exactly this key, to change it.
    pub fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        let stream = self.table.get_mut(key.index as usize)?.as_deref_mut()?;
        (stream.shared.key == key).then_some(stream)
    }

    /// Places for streams, in use or not.
    #[must_use]
    pub fn places(&self) -> usize {
        self.table.len()
    }

    /// Bytes of memory that the stream in a place takes, and its histories.
    #[must_use]
    pub fn bytes(&self, place: usize) -> Option<(usize, usize)> {
        Some(self.table.get(place)?.as_deref()?.bytes())
    }

    /// A packet of the stream will come soon.
    pub fn prefetch(&self, key: StreamKey) {
        if let Some(stream) = self.get(key) {
            prefetch(stream);
        }
    }

    /// A session or a relay of the stream comes to this shard.
    pub fn join(&mut self, shared: &Arc<StreamShared>) {
        let index = shared.key.index as usize;
        if self.table.len() <= index {
            self.table.resize_with(index + 1, || None);
        }
        let place = &mut self.table[index];
        if place.as_ref().is_none_or(|stream| stream.shared.key != shared.key) {
            self.count += usize::from(place.is_none());
            *place = Some(Box::new(Stream::new(self.shard, shared.clone())));
        }
        let stream = place.as_deref_mut().expect("the place was filled just now");
        stream.members += 1;
    }

    /// One that has joined leaves the stream; the last one of this shard takes it along.
    pub fn leave(&mut self, key: StreamKey, who: Source) {
        let Some(stream) = self.get_mut(key) else { return };
        stream.source_left(who);
        stream.members -= 1;
        if stream.members == 0 {
            self.table[key.index as usize] = None;
            self.count -= 1;
        }
    }

    /// The number of the shard whose they are.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The session in `slot`, a member of the stream, is ready for media: it starts with what came
    /// since the last key frame, or waits for one of each video track it takes. Returns its place
    /// in the order of fan-out.
    pub fn add_viewer(
        &mut self,
        now: Instant,
        key: StreamKey,
        slot: u32,
        egress: Egress,
        to: Destination,
    ) -> Option<usize> {
        let adapts = self.adapts;
        let stream = self.get_mut(key)?;
        let position = stream.viewers.len();
        // A viewer is large, and a list grows to four at once: most streams have fewer.
        if position < FEW_VIEWERS {
            stream.viewers.reserve_exact(1);
        }
        stream.viewers.push(Viewer::new(now, slot, egress, to));
        stream.tell_interest();
        stream.make_tracks(position);
        // What is chosen for it takes the place of what is counted.
        stream.count_taken(position, true);
        stream.weigh(now, position, adapts);
        stream.unsettle(position);
        stream.settle(now, &mut []);
        self.activate(key);
        Some(position)
    }

    /// What a viewer that comes to another shard at `now` is to begin with, as the publisher sent
    /// it; nothing where there is nothing it could begin with.
    #[must_use]
    pub fn past(&self, now: Instant, key: TrackKey, layer: u8) -> Vec<MediaPacket> {
        let past = || {
            let stream = self.get(key.stream)?;
            let publisher = stream.shared.live_publisher()?;
            Some(stream.track(key.id)?.past_as_published(layer, now, publisher))
        };
        past().unwrap_or_default()
    }

    /// Takes what came to the publisher's shard since the last key frame: who waits here begins
    /// with it.
    pub fn take_past(&mut self, now: Instant, key: TrackKey, packets: Vec<MediaPacket>) {
        let Some(stream) = self.get_mut(key.stream).filter(|stream| stream.has_viewers()) else {
            return;
        };
        stream.take_past(now, key.id, packets);
        self.activate(key.stream);
    }

    /// Takes a viewer out. The last in the order of fan-out moves into its place: its slot is
    /// returned.
    pub fn remove_viewer(&mut self, key: StreamKey, position: usize) -> Option<u32> {
        let stream = self.get_mut(key)?;
        stream.count_taken(position, false);
        stream.viewers.swap_remove(position);
        stream.forget_place(position);
        stream.tell_interest();
        stream.viewers.get(position).map(|viewer| viewer.slot)
    }

    /// `source` is connected. Where the stream has no publisher, it is that from now on, with the
    /// number that is returned, and is asked for the key frames of its `tracks` that viewers wait
    /// for; else with its first media.
    pub fn connected(
        &mut self,
        key: StreamKey,
        source: Source,
        tracks: impl Iterator<Item = TrackId>,
    ) -> Option<u32> {
        let vacant = self.get(key).is_some_and(|stream| stream.shared.publisher().is_none());
        vacant.then(|| self.take_over(key, source, tracks)).flatten()
    }

    /// `source` takes the place of the publisher before. Returns its number: packets of a lower one
    /// are too late.
    pub fn take_over(
        &mut self,
        key: StreamKey,
        source: Source,
        tracks: impl Iterator<Item = TrackId>,
    ) -> Option<u32> {
        let shard = self.shard;
        let number = self.get_mut(key)?.take_over(shard, source, tracks);
        self.activate(key);
        Some(number)
    }

    /// Takes a packet of the publisher, who is on this shard: into the track for viewers here, and
    /// by `copy` to each other shard that has viewers.
    ///
    /// # Errors
    /// Why nobody gets it here.
    pub fn publish<P: Bytes + Clone>(
        &mut self,
        packet: MediaPacket<P>,
        mut copy: impl FnMut(u16, &MediaPacket<P>),
    ) -> Result<Published, DropReason> {
        let (key, hold, own) = (packet.track.stream, self.hold, self.shard);
        let adapts = self.adapts;
        let Some(stream) = self.get_mut(key) else { return Err(DropReason::NoViewers) };
        let (carried, changed, asks) = stream.carry_published(&packet);
        if changed {
            stream.layers_changed(packet.track.id);
            stream.weigh_all(packet.received, adapts);
        }
        let (track, exporter) = (packet.track, stream.exporter);
        let mut wakes = changed || asks;
        let mut export = None;
        let published = carried.and_then(|()| {
            let (id, here) = (packet.track.id, stream.takes(&packet));
            let best = stream.shared.best_layer(id);
            let mut elsewhere = exporter.is_some();
            export = exporter.map(|to| (to, Export::Media(packet.copy_for_other_shard())));
            for shard in stream.shared.takers(id, packet.layer, best).filter(|shard| *shard != own)
            {
                elsewhere = true;
                copy(shard, &packet);
            }
            if here {
                wakes = true;
                let admitted = stream.admit(packet, hold).map(|()| Published::Here);
                export = export.take().filter(|_| admitted.is_ok());
                return admitted;
            }
            // For who comes next, or comes to this layer.
            let has_come_before = stream.keep(packet);
            export = export.take().filter(|_| !has_come_before);
            match (elsewhere, stream.shared.interested().next()) {
                (true, _) => Ok(Published::Elsewhere),
                (false, Some(_)) => Err(DropReason::LayerNotCarried),
                (false, None) => Err(DropReason::NoViewers),
            }
        });
        self.exports.extend(export);
        if changed {
            self.exports.extend(exporter.map(|to| (to, Export::Layers(track))));
            self.changed.push(track);
        }
        if wakes {
            self.activate(key);
        }
        published
    }

    /// Takes a packet of a publisher on another shard.
    ///
    /// # Errors
    /// Why nobody here gets it.
    pub fn receive(&mut self, packet: MediaPacket) -> Result<(), DropReason> {
        let (key, hold, adapts) = (packet.track.stream, self.hold, self.adapts);
        // The last viewer may have left while the packet was on its way.
        let stream = self.get_mut(key).filter(|stream| stream.has_viewers());
        let stream = stream.ok_or(DropReason::NoViewers)?;
        let (carried, changed) = stream.carry_received(&packet);
        if changed {
            stream.layers_changed(packet.track.id);
            stream.weigh_all(packet.received, adapts);
        }
        let admitted = carried.and_then(|()| match stream.takes(&packet) {
            true => stream.admit(packet, hold),
            false => Err(DropReason::LayerNotCarried),
        });
        if changed || admitted.is_ok() {
            self.activate(key);
        }
        admitted
    }

    /// The publisher with this number calls some of its layers so.
    pub fn name_layers(&self, key: StreamKey, number: u32, names: Vec<(TrackId, u8, LayerName)>) {
        if names.is_empty() {
            return;
        }
        let Some(stream) = self.get(key) else { return };
        if stream.shared.live_publisher() == Some(number) {
            names
                .into_iter()
                .for_each(|(track, layer, name)| stream.shared.name_layer(track, layer, name));
        }
    }

    /// A publisher says what time it is in one of its layers.
    pub fn set_clock(&mut self, report: ClockReport) {
        let Some(stream) = self.get_mut(report.track.stream) else { return };
        let exporter = stream.exporter;
        if let Some(track) = stream.track_mut(report.track.id) {
            track.set_clock(report);
        }
        self.exports.extend(exporter.map(|to| (to, Export::Clock(report))));
    }

    /// The shards with viewers of a stream, this one left out.
    pub fn others_interested(&self, key: StreamKey) -> impl Iterator<Item = u16> + use<> {
        let own = self.shard;
        let interested = self.get(key).map(|stream| stream.shared.interested());
        interested.into_iter().flatten().filter(move |shard| *shard != own)
    }

    /// The viewer at `position` asks for a layer of the track of one of its lanes.
    pub fn wish(
        &mut self,
        now: Instant,
        (key, position): (StreamKey, usize),
        lane: usize,
        wish: Wish,
    ) {
        let adapts = self.adapts;
        let Some(stream) = self.get_mut(key) else { return };
        stream.wish(position, lane, wish);
        stream.weigh(now, position, adapts);
        self.activate(key);
    }

    /// Somebody here, or on another shard, needs a key frame of a layer; without one, of the layer
    /// that is carried or about to be.
    pub fn want_keyframe(&mut self, key: TrackKey, layer: Option<u8>) {
        let Some(stream) = self.get_mut(key.stream) else { return };
        let Some(track) = stream.track_mut(key.id) else { return };
        let layer = layer.unwrap_or(track.best_layer());
        if let Some(layer) = track.layer_mut(layer) {
            layer.keyframes.request();
            self.activate(key.stream);
        }
    }

    /// What the viewer at `position` asks for: packets are sent again, of which the number is
    /// returned, and key frames are noted.
    pub fn answer(
        &mut self,
        now: Instant,
        (key, position): (StreamKey, usize),
        control: &mut Control,
        feedback: &mut Feedback,
        way: &mut impl Way,
        counters: &ShardCounters,
    ) -> u32 {
        let Some(stream) = self.get_mut(key) else { return 0 };
        let sent_again = stream.repair(now, position, control, feedback, way, counters);
        let is_numbered = !stream.numbered.is_empty();
        if !feedback.keyframes.is_empty() {
            if stream.note_keyframes(position, feedback) {
                stream.unsettle(position);
            }
            self.activate(key);
        }
        if is_numbered {
            self.leaving.push(key);
        }
        sent_again
    }

    /// The key frames that must be asked for now.
    pub fn keyframes_due(&mut self, now: Instant, due: &mut Vec<NeedKeyframe>) {
        for index in 0..self.active.len() {
            let (key, shard) = (self.active[index], self.shard);
            let Some(stream) = self.get_mut(key) else { continue };
            let Some(ask) = stream.who_to_ask(shard) else { continue };
            stream.keyframes_due(now, ask, |id, layer, past_will_do, has_gone_deaf| {
                let track = TrackKey { stream: key, id };
                due.push(NeedKeyframe { track, layer, ask, past_will_do, has_gone_deaf });
            });
        }
    }

    /// Sends what is due to the viewers and returns when there will be more to do. The slots of
    /// those that are sent their first packet are noted in `started`, the arrival of what was sent
    /// in `departing`.
    pub fn deliver(
        &mut self,
        now: Instant,
        way: &mut impl Way,
        counters: &ShardCounters,
        started: &mut Vec<u32>,
        departing: &mut Vec<Instant>,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut pending = std::mem::take(&mut self.pending);
        let mut leaving = std::mem::take(&mut self.leaving);
        let mut index = 0;
        while index < self.active.len() {
            let (key, shard) = (self.active[index], self.shard);
            let deadline = self.get_mut(key).and_then(|stream| {
                stream.take_pending(now, &mut pending);
                if !stream.unsettled.is_empty() {
                    counters.layer_switches.add(stream.settle(now, &mut pending));
                }
                if !stream.replaying.is_empty() {
                    stream.replay(now, &pending, way, counters, started);
                }
                if !pending.is_empty() {
                    if stream.samples {
                        stream.sample(now);
                    }
                    stream.fan_out(now, &pending, way, counters, started);
                    departing.extend(pending.drain(..).map(|packet| packet.received));
                }
                if !stream.probing.is_empty() {
                    stream.probe(now, way, counters);
                }
                if !stream.numbered.is_empty() {
                    leaving.push(key);
                }
                let ask = Some(now).filter(|_| stream.has_to_ask(shard));
                let deadline = ask.or_else(|| stream.deadline(shard)).map(|due| due.max(now));
                stream.active = deadline.is_some();
                deadline
            });
            match deadline {
                Some(deadline) => {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                    index += 1;
                }
                None => {
                    self.active.swap_remove(index);
                }
            }
        }
        (self.pending, self.leaving) = (pending, leaving);
        next
    }

    /// What was to leave in this turn has left: packets with transport-wide numbers count from
    /// here.
    pub fn left(&mut self, at: Instant) {
        while let Some(key) = self.leaving.pop() {
            let Some(stream) = self.get_mut(key) else { continue };
            let Stream { viewers, numbered, .. } = stream;
            for position in numbered.drain(..) {
                if let Some(viewer) = viewers.get_mut(position) {
                    viewer.egress.left(at);
                }
            }
        }
    }

    /// Puts a stream on the list of those with something to do this turn or at a deadline.
    pub(super) fn activate(&mut self, key: StreamKey) {
        let Some(stream) = self.get_mut(key) else { return };
        if !std::mem::replace(&mut stream.active, true) {
            self.active.push(key);
        }
    }
}
