//! One simulcast layer of a track: continuous numbers, whoever sends it, and what repair needs.

use std::time::Instant;

use super::flow::Flow;
use super::pending::Pending;
use super::ranks::Ranks;
use super::stream::Step;
use super::{Carried, History, KeyframeRequests, LayerShown, Rate};
use crate::id::TrackKind;
use crate::limits::{
    AWAITED_RUN_PACKETS, HISTORY_AUDIO_PACKETS, HISTORY_HOLE_PACKETS, HISTORY_VIDEO_PACKETS,
    PUBLISHER_REPAIR, REPLAY_BYTES, REPLAY_PACKETS, REPLAY_TIME,
};
use crate::media::{
    Bytes, ClockReport, FrameStructure, MediaPacket, Origin, PictureSizes, Scalable, picture_sizes,
};

/// How the numbers of one origin become the layer's and its time the track's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub origin: Origin,
    /// The origin's number below which all numbers are its predecessor's.
    first: u64,
    /// Added to the sequence numbers of the origin.
    sequence_offset: u64,
    /// Added to its timestamps.
    timestamp_offset: u32,
    /// Added to the frame numbers of its dependency descriptors.
    frame_offset: u16,
}

/// The end of what a track has carried so far: where another origin or layer goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub timestamp: u32,
    pub received: Instant,
    /// The layer it is of.
    pub layer: u8,
    /// The publisher whose it was, and what its clock said of the track's time.
    pub publisher: u32,
    pub clock: Option<(u64, u32)>,
}

/// The newest key frame, and how much has come since.
#[derive(Clone, Copy, Debug)]
struct NewestKeyframe {
    number: u64,
    timestamp: u32,
    received: Instant,
    /// Of the payloads from it on.
    bytes: usize,
}

/// What a viewer that comes now is to be sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// The layer it is of.
    pub layer: u8,
    /// The number of the first packet of the newest key frame.
    pub first: u64,
    /// The number of the newest packet.
    pub last: u64,
    /// The newest packet's timestamp.
    pub live: u32,
    /// Bytes of all of it.
    pub bytes: usize,
}

/// What `Layer::recall` finds.
#[derive(Debug)]
pub enum Recall<'a> {
    /// The history has it.
    Kept(&'a MediaPacket),
    /// It was lost on its way here a moment ago. The publisher is being asked for it, and when it
    /// comes it goes to every viewer.
    Awaited,
    /// It will not come any more.
    Gone,
}

/// One layer, as one shard sees it.
#[derive(Debug)]
pub struct Layer {
    kind: TrackKind,
    mapping: Option<Mapping>,
    newest: Option<u64>,
    newest_keyframe: Option<NewestKeyframe>,
    /// Of the newest packet: its timestamp, and the frame number of its descriptor.
    newest_timestamp: Option<u32>,
    newest_frame: Option<u16>,
    /// Whether a viewer was given it since its origin began: its time stays as it is.
    used: bool,
    pub(super) clock: Option<ClockReport>,
    /// Packets that wait for the rest of their frame.
    pub(super) pending: Pending,
    /// What has left for the viewers so far.
    pub(super) sent: Carried,
    /// Packets viewers may ask for again.
    pub(super) history: History,
    /// Who waits for a key frame of it.
    pub keyframes: KeyframeRequests,
    /// Whether it is sent at present.
    pub(super) flow: Flow,
    /// What it sends.
    pub rate: Rate,
    /// How large its pictures are, where its key frames say.
    pub(super) sizes: PictureSizes,
    /// What of it ranks how.
    pub(super) ranks: Ranks,
    /// Of its frames, where its publisher tells it.
    structure: Option<Box<FrameStructure>>,
    /// What the node that a link brings it from says of it, and whether it comes.
    pub(super) told: Option<Box<(LayerShown, bool)>>,
}

impl Layer {
    pub(super) fn new(kind: TrackKind) -> Layer {
        let most = match kind {
            TrackKind::Audio => HISTORY_AUDIO_PACKETS,
            TrackKind::Video => HISTORY_VIDEO_PACKETS,
        };
        Layer {
            kind,
            mapping: None,
            newest: None,
            newest_keyframe: None,
            newest_timestamp: None,
            newest_frame: None,
            used: false,
            clock: None,
            pending: Pending::default(),
            sent: Carried::default(),
            history: History::new(most),
            keyframes: KeyframeRequests::default(),
            flow: Flow::default(),
            rate: Rate::default(),
            sizes: PictureSizes::default(),
            ranks: Ranks::default(),
            structure: None,
            told: None,
        }
    }

    /// Whose numbers it goes by.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.mapping.map(|mapping| mapping.origin)
    }

    /// Counts a packet that it sends.
    pub(super) fn count<P: Bytes>(&mut self, packet: &MediaPacket<P>) {
        self.rate.count(packet.received, packet.timestamp, packet.payload.len());
        if let Some(sizes) = picture_sizes(packet.codec, &packet.payload, packet.keyframe) {
            self.sizes = sizes;
        }
        if self.kind == TrackKind::Video {
            let MediaPacket { timestamp, received, .. } = *packet;
            let rank = self.scalable(packet).rank();
            self.ranks.count(received, rank, (timestamp, packet.payload.len()));
        }
    }

    /// Of which layers a packet's frame is; where that is not said, of the lowest.
    pub(super) fn scalable<P: Bytes>(&self, packet: &MediaPacket<P>) -> Scalable {
        Scalable::of(packet, self.structure.as_deref()).unwrap_or_default()
    }

    /// The numbers of what is kept since the newest key frame, else of the newest frame.
    pub(super) fn since_keyframe(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let newest = self.history.get(self.newest?)?;
        let keyframe = self.newest_keyframe.map(|key| (key.number, key.timestamp));
        let (number, timestamp) = keyframe.unwrap_or((newest.sequence, newest.timestamp));
        Some(self.first_of(number, timestamp)..=newest.sequence)
    }

    /// The number of the first packet of the frame at `timestamp`, of which `number` is one.
    fn first_of(&self, number: u64, timestamp: u32) -> u64 {
        let is_of_it =
            |number: u64| self.history.get(number).is_some_and(|p| p.timestamp == timestamp);
        let mut first = number;
        while first > 0 && is_of_it(first - 1) {
            first -= 1;
        }
        first
    }

    /// Nothing of it is kept any more, and what it sent is as if long ago.
    pub(super) fn forget(&mut self) {
        self.history.clear();
        self.newest = self.newest.map(|newest| newest + HISTORY_VIDEO_PACKETS as u64);
        (self.newest_keyframe, self.pending) = (None, Pending::default());
    }

    /// See [`super::Stream::prefetch`].
    pub(super) fn prefetch(&self, step: Step) {
        if let Some(newest) = self.newest {
            self.history.prefetch(newest + 1, step);
        }
    }

    /// Another publisher has come.
    pub(super) fn start_over(&mut self) {
        (self.rate, self.newest_keyframe) = (Rate::default(), None);
        self.sizes = PictureSizes::default();
        self.flow = Flow::default();
        (self.ranks, self.structure, self.told) = (Ranks::default(), None, None);
        self.keyframes.start_over();
    }

    /// From `first` on, a packet of a new origin: numbers follow the last one of the layer,
    /// timestamps the last of the track, at the distance in time at which it really came or, of one
    /// publisher, was made.
    pub(super) fn follow<P>(&mut self, first: &MediaPacket<P>, latest: Option<&Latest>) {
        let (begins, sequence_offset) = match self.newest {
            Some(newest) => (first.sequence, (newest + 1).wrapping_sub(first.sequence)),
            None => (0, 0),
        };
        (self.newest_keyframe, self.used) = (None, false);
        self.clock = self.clock.filter(|clock| clock.origin == first.origin);
        let descriptor = first.extensions.descriptor.as_ref().map(|d| d.frame_number());
        let frames = self.newest_frame.zip(descriptor);
        let frame = frames.map(|(last, first)| last.wrapping_add(1).wrapping_sub(first));
        self.mapping = Some(Mapping {
            origin: first.origin,
            first: begins,
            sequence_offset,
            timestamp_offset: latest.map_or(0, |latest| self.time_from(first, latest)),
            frame_offset: frame.unwrap_or(0),
        });
    }

    /// What is added to the timestamps from `first` on, so that they are the track's.
    fn time_from<P>(&self, first: &MediaPacket<P>, latest: &Latest) -> u32 {
        let by_arrival = || {
            // What another shard kept of the layer is older than the newest here of the track.
            let ticks = |gap: std::time::Duration| {
                (gap.as_micros() * u128::from(self.kind.clock_rate()) / 1_000_000) as u32
            };
            let after = ticks(first.received.saturating_duration_since(latest.received));
            let before = ticks(latest.received.saturating_duration_since(first.received));
            let at = latest.timestamp.wrapping_add(after).wrapping_sub(before);
            at.wrapping_sub(first.timestamp)
        };
        let same_publisher = latest.publisher == first.origin.publisher;
        let clocks = latest.clock.zip(self.clock).filter(|_| same_publisher);
        let offset = clocks.map_or_else(by_arrival, |((ntp, timestamp), own)| {
            let apart = i128::from(own.ntp.wrapping_sub(ntp) as i64);
            let ticks = (apart * i128::from(self.kind.clock_rate())) >> 32;
            timestamp.wrapping_add(ticks as u32).wrapping_sub(own.timestamp)
        });
        // A decoder takes a step back for the past. Another layer of the publisher is another
        // viewer's business.
        let before = if same_publisher { self.newest_timestamp } else { Some(latest.timestamp) };
        let Some(before) = before else { return offset };
        let ahead = first.timestamp.wrapping_add(offset).wrapping_sub(before) as i32;
        if ahead > 0 { offset } else { offset.wrapping_add(1u32.wrapping_sub(ahead as u32)) }
    }

    /// Whether a viewer was given it since its origin began.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// Some of it has passed by this shard: what is kept of before leads to nothing.
    pub(super) fn was_interrupted(&mut self) {
        self.newest_keyframe = None;
    }

    /// Whether it is not known to have had one that a viewer could begin with.
    pub(super) fn has_no_keyframe(&self) -> bool {
        self.newest_keyframe.is_none()
    }

    /// A viewer is given it.
    pub(super) fn is_begun(&mut self) {
        self.used = true;
    }

    /// Its time was wrong by so much: that of what is kept, and of what will come, is put right.
    pub(super) fn put_right(&mut self, by: u32) {
        if let Some(mapping) = &mut self.mapping {
            mapping.timestamp_offset = mapping.timestamp_offset.wrapping_add(by);
        }
        let keyframe = self.newest_keyframe.as_mut().map(|keyframe| &mut keyframe.timestamp);
        for timestamp in keyframe.into_iter().chain(&mut self.newest_timestamp) {
            *timestamp = timestamp.wrapping_add(by);
        }
        self.history.put_time_right(by);
        self.pending.put_time_right(by);
    }

    /// Whether `packet` was overtaken by the one that its origin took over with: there is no number
    /// for it, only its predecessor's.
    pub(super) fn is_before<P>(&self, packet: &MediaPacket<P>) -> bool {
        let mapping = self.mapping.as_ref().filter(|mapping| mapping.origin == packet.origin);
        mapping.is_some_and(|mapping| packet.sequence < mapping.first)
    }

    /// Gives `packet` the layer's numbers; it must be of the mapping's origin.
    pub(super) fn number<P>(&self, packet: &mut MediaPacket<P>) {
        let Some(mapping) = &self.mapping else { return };
        packet.sequence = packet.sequence.wrapping_add(mapping.sequence_offset);
        packet.timestamp = packet.timestamp.wrapping_add(mapping.timestamp_offset);
        if let Some(descriptor) = packet.extensions.descriptor.take() {
            packet.extensions.descriptor = Some(descriptor.renumbered(mapping.frame_offset));
        }
    }

    /// A packet of the history with the numbers of its publisher, for another shard.
    pub(super) fn as_published(&self, packet: &MediaPacket) -> MediaPacket {
        let mut packet = packet.copy_for_other_shard();
        let Some(mapping) = &self.mapping else { return packet };
        packet.sequence = packet.sequence.wrapping_sub(mapping.sequence_offset);
        packet.timestamp = packet.timestamp.wrapping_sub(mapping.timestamp_offset);
        packet.padding = 0;
        if let Some(descriptor) = packet.extensions.descriptor.take() {
            let back = mapping.frame_offset.wrapping_neg();
            packet.extensions.descriptor = Some(descriptor.renumbered(back));
        }
        packet
    }

    /// What is kept of the origin there is that came since then, as it was published.
    pub(super) fn recent(&self, since: Instant) -> impl Iterator<Item = MediaPacket> + '_ {
        let end = self.newest.map_or(0, |newest| newest + 1);
        let numbers = end.saturating_sub(self.history.reach() as u64)..end;
        let kept = numbers.filter_map(|number| self.history.get(number));
        let is_recent =
            move |p: &&MediaPacket| p.received >= since && Some(p.origin) == self.origin();
        kept.filter(is_recent).map(|packet| self.as_published(packet))
    }

    /// What waits leaves, with padding that is the same whenever it is sent again.
    pub(super) fn release(&mut self, into: &mut Vec<MediaPacket>) {
        self.pending.equalise();
        for packet in self.pending.packets() {
            self.history.set_padding(packet.sequence, packet.padding);
            self.sent.packets += 1;
            self.sent.bytes += packet.payload.len() as u64;
        }
        self.pending.empty(into);
    }

    /// Whether `sequence` is older than the history reaches.
    pub(super) fn is_too_old(&self, sequence: u64) -> bool {
        let reach = self.history.reach() as u64;
        self.newest.is_some_and(|newest| newest.saturating_sub(sequence) >= reach)
    }

    /// Keeps a numbered packet. Returns it, and true when it is the newest.
    pub(super) fn keep<P: Bytes>(&mut self, packet: MediaPacket<P>) -> (MediaPacket, bool) {
        let is_newest = self.newest.is_none_or(|newest| packet.sequence > newest);
        if is_newest {
            let hole = packet.sequence - self.newest.unwrap_or(packet.sequence);
            if hole > 1 {
                self.history.make_room((hole as usize).min(HISTORY_HOLE_PACKETS));
            }
            self.newest = Some(packet.sequence);
            self.newest_timestamp = Some(packet.timestamp);
            let descriptor = packet.extensions.descriptor.as_ref();
            self.newest_frame = descriptor.map(|d| d.frame_number()).or(self.newest_frame);
        }
        if self.kind == TrackKind::Video {
            self.note_keyframe(&packet);
            self.note_structure(&packet);
        }
        let replayed = self.newest_keyframe.map(|keyframe| keyframe.number);
        (self.history.put(packet, replayed), is_newest)
    }

    fn note_structure<P>(&mut self, packet: &MediaPacket<P>) {
        let told = packet.extensions.descriptor.as_ref().filter(|told| told.has_structure());
        let Some(structure) = told.and_then(FrameStructure::read) else { return };
        self.sizes = structure.sizes().unwrap_or(self.sizes);
        match &mut self.structure {
            Some(known) => **known = structure,
            None => self.structure = Some(Box::new(structure)),
        }
    }

    /// Keeps account of what came since the newest key frame, until that is too much to be sent
    /// before anything else.
    pub(super) fn note_keyframe<P: Bytes>(&mut self, packet: &MediaPacket<P>) {
        let is_new = |newest: &NewestKeyframe| {
            packet.sequence > newest.number && packet.timestamp != newest.timestamp
        };
        if packet.keyframe && self.newest_keyframe.as_ref().is_none_or(is_new) {
            let MediaPacket { sequence: number, timestamp, received, .. } = *packet;
            self.newest_keyframe = Some(NewestKeyframe { number, timestamp, received, bytes: 0 });
        }
        if let Some(newest) = &mut self.newest_keyframe {
            newest.bytes += packet.payload.len();
            let age = packet.received.saturating_duration_since(newest.received);
            if newest.bytes > REPLAY_BYTES || age > REPLAY_TIME {
                self.newest_keyframe = None;
            }
        }
    }

    /// What a viewer that comes at `now` can start with: everything from the first packet of the
    /// newest key frame's time on, which need not be the one that says so (H.264 may have a
    /// delimiter before the parameter sets). `None` where some of it is missing for good.
    pub(super) fn past(&self, layer: u8, now: Instant) -> Option<Past> {
        let keyframe = self.newest_keyframe?;
        let newest = self.history.get(self.newest?)?;
        let first = self.first_of(keyframe.number, keyframe.timestamp);
        let last = newest.sequence;
        let age = now.saturating_duration_since(keyframe.received);
        if age > REPLAY_TIME || last - first >= REPLAY_PACKETS {
            return None;
        }
        let mut all = first..=last;
        let is_whole = all.all(|number| !matches!(self.recall(number, now), Recall::Gone));
        is_whole.then_some(Past {
            layer,
            first,
            last,
            live: newest.timestamp,
            bytes: keyframe.bytes,
        })
    }

    /// The number of the newest packet.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Whether the packet numbered `sequence`, of those the history reaches back to, never came.
    pub(super) fn has_never_had(&self, sequence: u64) -> bool {
        !self.is_too_old(sequence) && self.history.get(sequence).is_none()
    }

    /// Looks for the packet numbered `sequence`, which a viewer asks for at `now`.
    ///
    /// Viewers see the holes that the publisher's leg makes and ask for what is in them. Were each
    /// answered with a key frame, 1 % of loss would cost the encoder one every half second.
    pub(super) fn recall(&self, sequence: u64, now: Instant) -> Recall<'_> {
        if let Some(packet) = self.history.get(sequence) {
            return Recall::Kept(packet);
        }
        let behind = (sequence.saturating_add(1)..).take(AWAITED_RUN_PACKETS);
        let missed_at = behind.filter_map(|number| self.history.get(number)).next();
        match missed_at.map(|packet| now.saturating_duration_since(packet.received)) {
            Some(since) if since < PUBLISHER_REPAIR => Recall::Awaited,
            _ => Recall::Gone,
        }
    }

    /// Takes the publisher's word on what the layer's RTP time means. Of an origin that has not
    /// sent yet, or is replaced, it says nothing.
    pub(super) fn set_clock(&mut self, report: ClockReport) {
        let before = self.origin().filter(|origin| origin.is_newer_than(report.origin));
        if before.is_none() {
            self.clock = Some(report);
        }
    }

    /// The clock at `now`: an NTP time and the timestamp of the track that belongs to it. `None`
    /// before the first sender report of the origin.
    ///
    /// Both run on from the publisher's last report, so that audio and video stay related by the
    /// publisher's clock, whatever ours says.
    pub(super) fn clock_at(&self, now: Instant) -> Option<(u64, u32)> {
        let mapping = self.mapping?;
        let report = self.clock.filter(|clock| clock.origin == mapping.origin)?;
        let elapsed = now.saturating_duration_since(report.received);
        let rate = u128::from(self.kind.clock_rate());
        let ticks = (elapsed.as_micros() * rate / 1_000_000) as u32;
        let timestamp = report.timestamp.wrapping_add(mapping.timestamp_offset);
        Some((report.ntp.wrapping_add(ntp_units(elapsed)), timestamp.wrapping_add(ticks)))
    }
}

/// A duration in units of an NTP timestamp: 2^-32 s.
fn ntp_units(elapsed: std::time::Duration) -> u64 {
    (elapsed.as_secs() << 32) | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000)
}
