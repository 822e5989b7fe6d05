//! One track of a stream on one shard: continuous numbering, history, and the packets that wait
//! for the end of the turn.

use std::time::{Duration, Instant};

use super::History;
use crate::limits::{
    AWAITED_RUN_PACKETS, HISTORY_AUDIO_PACKETS, HISTORY_VIDEO_PACKETS, MAX_PENDING_PACKETS,
    PUBLISHER_REPAIR,
};
use crate::media::{ClockReport, MediaPacket, TrackKind};

/// What became of a packet offered to [`Track::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits for [`Track::take_pending`].
    Admitted,
    /// It came from a publisher that another has replaced.
    Replaced,
    /// It stood already in the history: a resend of what had arrived.
    Duplicate,
    /// It is older than the history reaches.
    TooOld,
}

/// What [`Track::recall`] finds.
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

/// Maps one publisher's numbers to the stream's.
#[derive(Clone, Copy, Debug)]
struct Source {
    epoch: u32,
    /// Added to the publisher's sequence numbers.
    sequence_offset: u64,
    /// Added to the publisher's timestamps.
    timestamp_offset: u32,
    /// Added to the frame numbers of its dependency descriptors.
    frame_offset: u16,
}

/// The highest number given out, with the time it stands for.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: u64,
    timestamp: u32,
    received: Instant,
    /// Of the last dependency descriptor there was.
    frame_number: Option<u16>,
}

/// One track of a stream, as one shard sees it.
#[derive(Debug)]
pub struct Track {
    kind: TrackKind,
    source: Option<Source>,
    newest: Option<Newest>,
    clock: Option<ClockReport>,
    /// Packets viewers may ask for again.
    pub history: History,
    pending: Vec<MediaPacket>,
    /// When the oldest pending packet must leave, marker or not.
    pending_deadline: Option<Instant>,
    frame_complete: bool,
    /// What has left for the viewers so far.
    carried: Carried,
}

/// What a track has carried since it came to the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Track {
    /// A track before its first packet.
    #[must_use]
    pub fn new(kind: TrackKind) -> Track {
        let packets = match kind {
            TrackKind::Audio => HISTORY_AUDIO_PACKETS,
            TrackKind::Video => HISTORY_VIDEO_PACKETS,
        };
        Track {
            kind,
            source: None,
            newest: None,
            clock: None,
            history: History::new(packets),
            pending: Vec::new(),
            pending_deadline: None,
            frame_complete: false,
            carried: Carried::default(),
        }
    }

    /// What every viewer that plays the track should have been sent by now.
    #[must_use]
    pub fn carried(&self) -> Carried {
        self.carried
    }

    /// Numbers `packet` as the stream's, keeps it for repair and queues it for the viewers. It may
    /// wait for the rest of its frame, `hold` at most.
    pub fn admit(&mut self, mut packet: MediaPacket, hold: Duration) -> Admission {
        let source = match self.source {
            Some(source) if packet.epoch == source.epoch => source,
            Some(source) if packet.epoch < source.epoch => return Admission::Replaced,
            _ => self.follow(&packet),
        };
        packet.sequence = packet.sequence.wrapping_add(source.sequence_offset);
        packet.timestamp = packet.timestamp.wrapping_add(source.timestamp_offset);
        if let Some(descriptor) = packet.extensions.descriptor.take() {
            packet.extensions.descriptor = Some(descriptor.renumbered(source.frame_offset));
        }

        let newest = self.newest.map_or(0, |newest| newest.sequence);
        if newest.saturating_sub(packet.sequence) >= self.capacity() {
            return Admission::TooOld;
        }
        if self.history.get(packet.sequence).is_some() {
            return Admission::Duplicate;
        }
        if self.newest.is_none() || packet.sequence > newest {
            let frame_number = packet.extensions.descriptor.as_ref().map(|d| d.frame_number());
            self.newest = Some(Newest {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                received: packet.received,
                frame_number: frame_number.or(self.newest.and_then(|newest| newest.frame_number)),
            });
        }
        self.history.put(packet.clone());
        self.frame_complete |= packet.marker
            || self.kind == TrackKind::Audio
            || self.pending.len() + 1 >= MAX_PENDING_PACKETS;
        self.pending_deadline.get_or_insert(packet.received + hold);
        self.pending.push(packet);
        Admission::Admitted
    }

    /// Looks for the packet numbered `sequence`, which a viewer asks for at `now`.
    ///
    /// Viewers see the holes that the publisher's leg makes and ask for what is in them. Were each
    /// answered with a key frame, 1 % of loss would cost the encoder one every half second.
    ///
    /// A packet that still waits to be sent is not sent again: it is on its way, and its padding,
    /// without which it is another text under the same SRTP index, is not decided yet.
    #[must_use]
    pub fn recall(&self, sequence: u64, now: Instant) -> Recall<'_> {
        if self.pending.iter().any(|packet| packet.sequence == sequence) {
            return Recall::Awaited;
        }
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

    /// The packets to send now: those of complete frames, or all whose time has come.
    pub fn take_pending(&mut self, now: Instant, into: &mut Vec<MediaPacket>) {
        if self.pending_deadline.is_some_and(|deadline| self.frame_complete || deadline <= now) {
            equalise(&mut self.pending);
            for packet in &self.pending {
                self.history.set_padding(packet.sequence, packet.padding);
                self.carried.packets += 1;
                self.carried.bytes += packet.payload.len() as u64;
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

    /// Takes the publisher's word on what its RTP time means.
    pub fn set_clock(&mut self, mut report: ClockReport) {
        if let Some(source) = self.source.filter(|source| source.epoch == report.epoch) {
            report.timestamp = report.timestamp.wrapping_add(source.timestamp_offset);
            self.clock = Some(report);
        }
    }

    /// The stream's clock at `now`: an NTP time and the RTP timestamp that belongs to it. `None`
    /// before the publisher's first sender report.
    ///
    /// Both run on from the publisher's last report, so that audio and video stay related by the
    /// publisher's clock, whatever ours says.
    #[must_use]
    pub fn clock_at(&self, now: Instant) -> Option<(u64, u32)> {
        let report = self.clock?;
        let elapsed = now.saturating_duration_since(report.received);
        let ntp = report.ntp.wrapping_add(ntp_units(elapsed));
        Some((ntp, report.timestamp.wrapping_add(self.ticks(elapsed))))
    }

    /// The stream's newest sequence number.
    #[must_use]
    pub fn newest_sequence(&self) -> Option<u64> {
        self.newest.map(|newest| newest.sequence)
    }

    /// How far back the history reaches, in packets.
    fn capacity(&self) -> u64 {
        match self.kind {
            TrackKind::Audio => HISTORY_AUDIO_PACKETS as u64,
            TrackKind::Video => HISTORY_VIDEO_PACKETS as u64,
        }
    }

    /// Chooses the offsets for a new publisher: its first packet follows the last one of the
    /// publisher before, at the distance in time at which it really came.
    fn follow(&mut self, first: &MediaPacket) -> Source {
        let source = match self.newest {
            None => Source {
                epoch: first.epoch,
                sequence_offset: 0,
                timestamp_offset: 0,
                frame_offset: 0,
            },
            Some(newest) => {
                let descriptor = first.extensions.descriptor.as_ref();
                let frames = newest.frame_number.zip(descriptor.map(|d| d.frame_number()));
                let gap = self.ticks(first.received.saturating_duration_since(newest.received));
                let timestamp = newest.timestamp.wrapping_add(gap.max(1));
                Source {
                    epoch: first.epoch,
                    sequence_offset: (newest.sequence + 1).wrapping_sub(first.sequence),
                    timestamp_offset: timestamp.wrapping_sub(first.timestamp),
                    frame_offset: frames
                        .map_or(0, |(last, first)| last.wrapping_add(1).wrapping_sub(first)),
                }
            }
        };
        self.source = Some(source);
        self.clock = None;
        source
    }

    fn ticks(&self, elapsed: Duration) -> u32 {
        (elapsed.as_micros() * u128::from(self.kind.clock_rate()) / 1_000_000) as u32
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

/// A duration in units of an NTP timestamp: 2^-32 s.
fn ntp_units(elapsed: Duration) -> u64 {
    (elapsed.as_secs() << 32) | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StreamKey;
    use crate::media::HeaderExtensions;

    const STREAM: StreamKey = StreamKey { index: 0, generation: 0 };

    fn packet(epoch: u32, sequence: u64, timestamp: u32, received: Instant) -> MediaPacket {
        MediaPacket {
            stream: STREAM,
            kind: TrackKind::Video,
            epoch,
            sequence,
            timestamp,
            marker: false,
            keyframe: false,
            extensions: HeaderExtensions::default(),
            padding: 0,
            received,
            payload: vec![0; 10].into(),
        }
    }

    fn drain(track: &mut Track, now: Instant) -> Vec<(u64, u32)> {
        let mut packets = Vec::new();
        track.take_pending(now, &mut packets);
        packets.iter().map(|packet| (packet.sequence, packet.timestamp)).collect()
    }

    #[test]
    fn a_second_publisher_continues_the_numbers_of_the_first() {
        let start = Instant::now();
        let mut track = Track::new(TrackKind::Video);
        track.admit(packet(1, 65_535, 1_000, start), Duration::ZERO);
        track.admit(packet(1, 65_536, 1_000, start), Duration::ZERO);
        let later = start + Duration::from_secs(2);
        track.admit(packet(2, 7, 500, later), Duration::ZERO);
        assert_eq!(
            drain(&mut track, later),
            [(65_535, 1_000), (65_536, 1_000), (65_537, 1_000 + 180_000)]
        );
        assert_eq!(
            track.admit(packet(1, 65_537, 4_000, later), Duration::ZERO),
            Admission::Replaced,
            "a straggler of the first publisher must not take the second one's numbers"
        );
    }

    #[test]
    fn packets_wait_for_the_marker_or_the_deadline() {
        let start = Instant::now();
        let hold = Duration::from_millis(5);
        let mut track = Track::new(TrackKind::Video);
        track.admit(packet(1, 1, 0, start), hold);
        assert!(drain(&mut track, start).is_empty());
        assert_eq!(track.pending_deadline(), Some(start + hold));
        assert_eq!(drain(&mut track, start + hold).len(), 1, "the deadline has come");
        track.admit(packet(1, 2, 0, start), hold);
        track.admit(MediaPacket { marker: true, ..packet(1, 3, 0, start) }, hold);
        assert_eq!(drain(&mut track, start).len(), 2, "the frame is complete");
        assert_eq!(track.pending_deadline(), None);
    }

    #[test]
    fn duplicates_and_packets_older_than_the_history_are_refused() {
        let start = Instant::now();
        let mut track = Track::new(TrackKind::Video);
        let far = HISTORY_VIDEO_PACKETS as u64 + 10;
        assert_eq!(track.admit(packet(1, far, 0, start), Duration::ZERO), Admission::Admitted);
        assert_eq!(track.admit(packet(1, far, 0, start), Duration::ZERO), Admission::Duplicate);
        assert_eq!(track.admit(packet(1, 1, 0, start), Duration::ZERO), Admission::TooOld);
        assert_eq!(track.admit(packet(1, far - 1, 0, start), Duration::ZERO), Admission::Admitted);
    }

    #[test]
    fn a_hole_is_awaited_for_a_while_and_then_given_up() {
        let start = Instant::now();
        let mut track = Track::new(TrackKind::Video);
        let run = AWAITED_RUN_PACKETS as u64;
        for sequence in [1, 3, 3 + run, 5 + 2 * run] {
            track.admit(packet(1, sequence, 0, start), Duration::ZERO);
        }
        drain(&mut track, start);
        assert!(matches!(track.recall(1, start), Recall::Kept(packet) if packet.sequence == 1));
        let soon = start + PUBLISHER_REPAIR / 2;
        assert!(matches!(track.recall(2, soon), Recall::Awaited));
        assert!(matches!(track.recall(4, soon), Recall::Awaited), "as long a run as is awaited");
        assert!(matches!(track.recall(4 + run, soon), Recall::Gone), "one packet more");
        assert!(matches!(track.recall(2, start + PUBLISHER_REPAIR), Recall::Gone));
        assert!(matches!(track.recall(6 + 2 * run, soon), Recall::Gone), "nothing is behind it");
        track.admit(packet(1, 2, 0, soon), Duration::ZERO);
        drain(&mut track, soon);
        assert!(matches!(track.recall(2, soon), Recall::Kept(packet) if packet.sequence == 2));
    }

    #[test]
    fn a_packet_that_waits_for_its_frame_is_not_sent_again_before_it_is_sent() {
        let start = Instant::now();
        let hold = Duration::from_millis(5);
        let mut track = Track::new(TrackKind::Video);
        track.admit(packet(1, 2, 0, start), hold);
        assert_eq!(drain(&mut track, start + hold).len(), 1);
        let (late, longer) = (packet(1, 1, 0, start + hold), vec![0; 11].into());
        track.admit(late, hold);
        track.admit(MediaPacket { payload: longer, ..packet(1, 3, 0, start + hold) }, hold);
        assert!(matches!(track.recall(1, start + hold), Recall::Awaited), "its padding is open");
        assert_eq!(drain(&mut track, start + hold * 2).len(), 2);
        assert!(matches!(track.recall(1, start + hold * 2), Recall::Kept(_)));
    }

    #[test]
    fn packets_of_a_frame_are_made_equally_long_when_little_is_missing() {
        let sized = |size: usize| {
            let payload = vec![0; size].into();
            MediaPacket { payload, ..packet(1, 1, 0, Instant::now()) }
        };
        let paddings = |sizes: &[usize]| {
            let mut packets: Vec<_> = sizes.iter().map(|size| sized(*size)).collect();
            equalise(&mut packets);
            packets.iter().map(|packet| packet.padding).collect::<Vec<_>>()
        };
        assert_eq!(paddings(&[1_025, 1_025, 1_026]), [1, 1, 0]);
        assert_eq!(paddings(&[24, 1_100, 1_096]), [0, 0, 4], "parameter sets are not blown up");
        assert_eq!(paddings(&[800, 1_000, 1_000]), [0, 0, 0], "two hundred bytes are too many");
        assert_eq!(paddings(&[]), [0; 0]);
    }

    #[test]
    fn the_clock_runs_on_from_the_publishers_last_report() {
        let start = Instant::now();
        let mut track = Track::new(TrackKind::Video);
        assert_eq!(track.clock_at(start), None);
        track.admit(packet(1, 1, 0, start), Duration::ZERO);
        let report = ClockReport {
            stream: STREAM,
            kind: TrackKind::Video,
            epoch: 1,
            ntp: 5 << 32,
            timestamp: 9_000,
            received: start,
        };
        track.set_clock(report);
        let half_a_second = start + Duration::from_millis(500);
        assert_eq!(track.clock_at(half_a_second), Some(((5 << 32) + (1 << 31), 9_000 + 45_000)));
    }
}
