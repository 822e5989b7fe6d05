//! A viewer whose packets have transport-wide numbers
//! (draft-holmer-rmcat-transport-wide-cc-extensions): what was sent, what the viewer says of it,
//! and what follows for its path.

use std::time::{Duration, Instant};

use super::Pace;
use super::estimate::{Estimate, Estimator, Micros, Rest, State, Train};
use crate::limits::{
    FEEDBACK_WITHIN, MAX_STATUSES_HEARD, QUIET_AFTER, QUIET_LOST, QUIET_QUEUE, QUIET_ROOM,
    QUIET_ROUNDS_MOST, QUIET_SAMPLE, SWITCH_HOLD,
};
use crate::wire::rtcp::Statuses;

/// Trains of one turn: what comes together leaves as one, and repair and replays are few.
const LEAVING: usize = 4;

/// What waits leaves at so many times the rate of its layer at least, or it would wait for ever.
const LEAST_SPEED: f64 = 1.25;

/// Of the rate, what may be sent again while packets wait.
const REPAIR_SHARE: f64 = 0.2;

/// Boxed, as only viewers have it for whom something is decided by it.
#[derive(Debug)]
pub(super) struct Numbered {
    pub estimator: Estimator,
    pace: Pace,
    /// Nothing was to leave when it was looked at last.
    paused: bool,
    /// Until when nothing leaves, unless it is of another layer.
    awaits: Micros,
    /// What may be sent again while packets wait on the path.
    repair: Pace,
    since: Instant,
    /// The next packet's number.
    next: u16,
    leaving: [Train; LEAVING],
    /// How many of those there are.
    trains: u8,
    /// When the first one left, and whether anything was said of any.
    first_left: Option<Instant>,
    heard: bool,
    /// Since when the viewer has had the best of everything without trouble.
    calm: Option<Micros>,
    /// For how long that is to be so before it need not report.
    calm_for: Duration,
    /// Once in how many rounds it is looked at while it need not.
    every: u8,
}

const _: () = assert!(size_of::<Numbered>() <= 3_072, "what a viewer that is estimated takes");

impl Numbered {
    pub fn new(now: Instant, random: u64) -> Numbered {
        Numbered {
            estimator: Estimator::new(0),
            pace: Pace::new(0),
            paused: false,
            awaits: 0,
            repair: Pace::new(0),
            since: now,
            next: random as u16,
            leaving: [Train::default(); LEAVING],
            trains: 0,
            first_left: None,
            heard: false,
            calm: None,
            calm_for: QUIET_AFTER,
            every: 1,
        }
    }

    /// As [`Numbered::rest`] left it, for a viewer that is to report again: as a sample, of so many
    /// rounds one, or until all was well for long.
    pub fn again(
        now: Instant,
        (since, next): (Instant, u16),
        rest: Rest,
        sample_of: Option<u8>,
    ) -> Numbered {
        let micros = now.saturating_duration_since(since).as_micros() as Micros;
        let calm_for = if sample_of.is_some() { QUIET_SAMPLE } else { QUIET_AFTER };
        let every = sample_of.map_or(1, |rounds| (2 * rounds).min(QUIET_ROUNDS_MOST));
        let estimator = Estimator::again(micros, rest);
        let (pace, repair) = (Pace::new(micros), Pace::new(micros));
        let new = Numbered::new(since, u64::from(next));
        // Of a sample, all of it counts: nothing was wrong when it began.
        let calm = sample_of.map(|_| micros);
        Numbered { estimator, pace, repair, heard: true, calm, calm_for, every, ..new }
    }

    /// Since when its clock goes, its next number, what is known, and once in how many rounds it is
    /// to be looked at.
    pub fn rest(self) -> (Instant, u16, Estimator, u8) {
        (self.since, self.next, self.estimator, self.every)
    }

    /// The viewer has the best of everything, which needs so many bits a second, or has not:
    /// whether that is so for long, without trouble and with room for a key frame at once.
    pub fn is_calm(&mut self, now: Instant, needed: Option<f64>) -> bool {
        let now = self.micros(now);
        let Estimate { state, queue_ms, lost, rival, ceiling_bits_per_s, .. } = self.estimate();
        let has_room = |needed: f64| ceiling_bits_per_s.is_none_or(|c| c >= QUIET_ROOM * needed);
        let is_calm = needed.is_some_and(has_room)
            && state != State::Overuse
            && !rival
            && queue_ms <= QUIET_QUEUE.as_millis() as f64
            && lost.is_none_or(|lost| lost <= QUIET_LOST);
        if !is_calm {
            (self.calm, self.calm_for, self.every) = (None, QUIET_AFTER, 1);
            return false;
        }
        let since = *self.calm.get_or_insert(now);
        now.saturating_sub(since) >= self.calm_for.as_micros() as Micros
    }

    /// Whether the viewer takes numbers, and says nothing of them.
    pub fn is_unanswered(&self, now: Instant) -> bool {
        let waited = self.first_left.map(|at| now.saturating_duration_since(at));
        !self.heard && waited.is_some_and(|waited| waited > FEEDBACK_WITHIN)
    }

    /// The number of the next packet.
    pub fn next(&self) -> u16 {
        self.next
    }

    /// The packet with the next number leaves in this turn, so many bytes long.
    pub fn leaves(&mut self, bytes: usize) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let bytes = bytes as u32;
        self.pace.spend(bytes);
        if let Some(last) = usize::from(self.trains).checked_sub(1) {
            let train = &mut self.leaving[last];
            if train.count < u8::MAX {
                train.count += 1;
                train.bytes += bytes;
                return;
            }
        }
        let train =
            Train { at: 0, bytes, first: number, first_bytes: bytes as u16, count: 1, probe: 0 };
        // Beyond a thousand packets in a turn nothing is said of any.
        if let Some(place) = self.leaving.get_mut(usize::from(self.trains)) {
            *place = train;
            self.trains += 1;
        }
    }

    /// What was to leave has left at `at`.
    pub fn left(&mut self, at: Instant) {
        let now = self.micros(at);
        if self.trains > 0 {
            self.first_left.get_or_insert(at);
        }
        let (at, probe) = (now as u32, self.estimator.probe(now));
        for train in &self.leaving[..usize::from(self.trains)] {
            self.estimator.sent(Train { at, probe, ..*train });
        }
        self.trains = 0;
    }

    /// A frame of a layer that sends `bits_per_s` is to leave, so many bytes of it: whether all of
    /// it may leave at once. Where not, [`Numbered::has_credit`] says packet by packet.
    pub fn admits_whole(&mut self, now: Instant, bytes: u32, bits_per_s: u64) -> bool {
        let now = self.micros(now);
        let pace = self.estimator.pace().max(LEAST_SPEED * bits_per_s as f64);
        self.paused = self.is_paused_at(now);
        self.pace.earn(now, pace);
        self.pace.admits_whole(bytes) && !self.paused
    }

    /// Whether nothing is to leave now.
    pub fn is_paused(&self, now: Instant) -> bool {
        self.is_paused_at(self.micros(now))
    }

    fn is_paused_at(&self, now: Micros) -> bool {
        self.estimator.is_paused(now) || now < self.awaits
    }

    /// A smaller layer is to be begun with: more of the present one would only be in its way.
    pub fn awaits_smaller(&mut self, now: Instant) {
        self.awaits = self.micros(now + SWITCH_HOLD);
    }

    /// Whether a packet of so many bytes may be sent again: while packets wait on the path, what
    /// comes again makes others late, and more of them are asked for.
    pub fn may_repair(&mut self, now: Instant, bytes: u32) -> bool {
        if self.is_paused(now) {
            return false;
        }
        if !self.is_crowded(now) {
            return true;
        }
        let share = REPAIR_SHARE * self.estimator.estimate().bits_per_s;
        self.repair.earn(self.micros(now), share);
        let may = self.repair.has_credit();
        if may {
            self.repair.spend(bytes);
        }
        may
    }

    /// Whether packets wait on the path.
    pub fn is_crowded(&self, now: Instant) -> bool {
        self.estimator.is_crowded(self.micros(now))
    }

    /// Whether another packet may leave.
    pub fn has_credit(&self) -> bool {
        self.pace.has_credit() && !self.paused
    }

    /// The viewer could be sent better layers, if its path carried so many bits a second.
    pub fn wants(&mut self, now: Instant, bits_per_s: f64) {
        self.estimator.wants(self.micros(now), bits_per_s);
    }

    /// The viewer begins with a layer, which is a burst.
    pub fn switches(&mut self, now: Instant) {
        self.awaits = 0;
        self.estimator.switches(self.micros(now));
    }

    /// Whether it is being found out if there is room for more.
    pub fn probes(&self, now: Instant) -> bool {
        self.estimator.is_probing(self.micros(now))
    }

    /// Bytes that are to leave for that now, besides what leaves in this turn.
    pub fn owed(&self, now: Instant) -> u32 {
        let leaving = &self.leaving[..usize::from(self.trains)];
        let leaving = leaving.iter().map(|train| train.bytes).sum();
        self.estimator.probe_bytes(self.micros(now)).saturating_sub(leaving)
    }

    /// The viewer has another path, of which nothing is known yet.
    pub fn forget(&mut self, now: Instant) {
        self.estimator.forget(self.micros(now));
    }

    /// The viewer says which packets came, and when.
    pub fn hear(&mut self, now: Instant, raw: &[u8]) {
        if let Some(statuses) = Statuses::read(raw) {
            self.heard = true;
            let (now, reference) = (self.micros(now), statuses.reference);
            self.estimator.feedback(now, reference, statuses.take(MAX_STATUSES_HEARD));
        }
    }

    /// The viewer's own estimate.
    pub fn remb(&mut self, now: Instant, bits_per_s: u64) {
        self.estimator.remb(self.micros(now), bits_per_s);
    }

    pub fn estimate(&self) -> Estimate {
        self.estimator.estimate()
    }

    pub fn micros(&self, at: Instant) -> Micros {
        at.saturating_duration_since(self.since).as_micros() as Micros
    }
}

#[cfg(test)]
mod tests {
    use str0m::format::Codec;

    use crate::egress::{Egress, KnownBy, said};
    use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
    use crate::limits::FEEDBACK_WITHIN;
    use crate::media::{
        ExtensionIds, HeaderExtensions, MediaPacket, Origin, ViewerTerms, ViewerTrack,
    };
    use crate::srtp::{MasterKey, Profile};

    const ID: u8 = 3;

    /// A viewer of audio and video, whose video has RTX where `rtx` says so.
    fn viewer(rtx: bool) -> Egress {
        let profile = Profile::AeadAes128Gcm;
        let (key, salt) = (vec![1; profile.key_len()], vec![9; profile.salt_len()]);
        let master = MasterKey::new(profile, &key, &salt).expect("lengths of the profile");
        let track = |kind: TrackKind, sequence| ViewerTrack {
            id: TrackId::first(kind),
            codec: if kind == TrackKind::Audio { Codec::Opus } else { Codec::Vp8 },
            mid: String::new(),
            ssrc: 1 + kind as u32,
            rtx_ssrc: Some(9).filter(|_| rtx && kind == TrackKind::Video),
            payload_type: 96,
            rtx_payload_type: Some(97).filter(|_| rtx && kind == TrackKind::Video),
            red_payload_type: None,
            extensions: ExtensionIds { transport_sequence: sequence, ..ExtensionIds::default() },
        };
        let tracks = vec![track(TrackKind::Audio, None), track(TrackKind::Video, Some(ID))];
        Egress::new(&ViewerTerms { tracks }, profile, &master, 7)
    }

    fn packet(kind: TrackKind, sequence: u64) -> MediaPacket {
        let stream = StreamKey { index: 0, generation: 0 };
        MediaPacket {
            track: TrackKey { stream, id: TrackId::first(kind) },
            codec: if kind == TrackKind::Audio { Codec::Opus } else { Codec::Vp8 },
            layer: 0,
            origin: Origin::default(),
            sequence,
            timestamp: 0,
            marker: false,
            keyframe: true,
            extensions: HeaderExtensions::default(),
            padding: 0,
            received: std::time::Instant::now(),
            payload: vec![0; 100].into(),
        }
    }

    /// The transport-wide number of a datagram, and its length.
    fn number_of(datagram: &[u8]) -> Option<u16> {
        said::number_of(datagram, ID)
    }

    #[test]
    fn video_and_what_of_it_is_sent_again_is_numbered_in_one_row_and_audio_is_not() {
        let mut egress = viewer(true);
        egress.know_by(std::time::Instant::now(), KnownBy::Numbers);
        let mut slot = [0; 300];
        let mut numbers = Vec::new();
        let mut lengths = Vec::new();
        for sequence in 10..13 {
            for kind in [TrackKind::Audio, TrackKind::Video] {
                let length =
                    egress.send_numbered(&packet(kind, sequence), &mut slot).expect("room");
                numbers.extend(number_of(&slot[..length]));
                assert_eq!(number_of(&slot[..length]).is_some(), kind == TrackKind::Video);
                lengths.push(length);
            }
        }
        let sent = egress.lanes()[1].find(egress.lanes()[1].first_index() as u16).expect("sent");
        for _ in 0..2 {
            let again = packet(TrackKind::Video, sent.sequence);
            let length = egress.resend(1, sent.index, &again, &mut slot).expect("room");
            numbers.extend(number_of(&slot[..length]));
        }
        let first = numbers[0];
        let row: Vec<u16> = (0..5).map(|n| first.wrapping_add(n)).collect();
        assert_eq!(numbers, row);
        assert!(lengths[1] == lengths[3] && lengths[1] == lengths[0] + 8, "{lengths:?}");
    }

    #[test]
    fn without_rtx_and_where_nothing_is_chosen_there_are_no_numbers() {
        let now = std::time::Instant::now();
        let mut egress = viewer(false);
        egress.know_by(now, KnownBy::Numbers);
        assert!(!egress.is_numbered(), "a packet that is sent again is the same to the bit");
        let mut egress = viewer(true);
        let mut slot = [0; 300];
        let length = egress.send_numbered(&packet(TrackKind::Video, 1), &mut slot).expect("room");
        assert_eq!((number_of(&slot[..length]), egress.estimate()), (None, None));
        egress.know_by(now, KnownBy::Numbers);
        assert!(egress.estimate().is_some());
        egress.know_by(now, KnownBy::Nothing);
        assert!(egress.estimate().is_none());
    }

    #[test]
    fn who_says_nothing_of_its_numbers_for_a_while_never_will() {
        let start = std::time::Instant::now();
        let after = |wait: std::time::Duration| start + wait;
        let (within, moment) = (FEEDBACK_WITHIN, std::time::Duration::from_millis(1));
        for says in [false, true] {
            let mut egress = viewer(true);
            egress.know_by(start, KnownBy::Numbers);
            egress.left(start);
            assert!(!egress.is_unanswered(after(2 * within)), "nothing was sent yet");
            let mut slot = [0; 300];
            egress.send_numbered(&packet(TrackKind::Video, 1), &mut slot).expect("room");
            egress.left(start);
            if says {
                let said = said::came(2, 0, [0].into_iter());
                egress.path.numbered_mut().expect("it is").hear(start, &said[12..]);
            }
            assert!(!egress.is_unanswered(after(within)));
            assert_eq!(egress.is_unanswered(after(within + moment)), !says);
        }
    }
}
