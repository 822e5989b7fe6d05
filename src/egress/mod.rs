//! One viewer's media on its way out, without an `Rtc` on the path.
//!
//! A packet becomes a viewer's by a header written from a few words of [`Lane`], one copy of the
//! payload into the send arena, and a seal in place. Everything a packet touches per viewer is an
//! [`Egress`]: the key schedule and a lane per track. What is rarely needed (reports, and what the
//! viewer reports back) is kept apart in [`Control`].

mod control;
mod elements;
pub mod estimate;
mod lane;
mod numbered;
mod outbox;
mod pace;
mod path;
mod repair;
mod resent;
#[cfg(test)]
pub mod said;
mod span;

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::drop::DropReason;
use crate::id::TrackKind;
use crate::limits::ASSUMED_ROUND_TRIP;
use crate::media::{MediaPacket, ViewerTerms};
use crate::srtp::{MasterKey, Profile, RtpSealer};

pub use control::{Control, Feedback, Heard, Reception};
pub use lane::{Lane, Sent};
pub use pace::Pace;
pub use path::KnownBy;
pub use repair::RepairBudget;
pub use resent::Resent;
pub use span::{Start, TooEarly};

use path::Path;

/// Lanes beside the key schedule, where a packet finds them without another cache line: audio and
/// video. A viewer of more tracks has them elsewhere.
const LANES_NEARBY: usize = 2;

/// What one packet touches of a viewer.
#[repr(align(64))]
pub struct Egress {
    lanes: SmallVec<[Lane; LANES_NEARBY]>,
    sealer: RtpSealer,
    path: Path,
}

/// A packet that a viewer takes: what it needs to be sent.
pub struct Admitted<'a> {
    lane: &'a mut Lane,
    sealer: &'a RtpSealer,
    index: u64,
}

impl Admitted<'_> {
    /// Seals the `packet` that was admitted into `slot` and returns the datagram's length.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when it does not fit.
    #[inline]
    pub fn send(self, packet: &MediaPacket, slot: &mut [u8]) -> Result<usize, DropReason> {
        self.lane.send(self.sealer, packet, self.index, slot)
    }
}

impl Egress {
    /// The way out to a viewer with these terms. `local` is the master key this end writes with;
    /// `random` gives the lanes' starting sequence numbers and timestamps.
    #[must_use]
    pub fn new(terms: &ViewerTerms, profile: Profile, local: &MasterKey, random: u64) -> Egress {
        let tracks = terms.tracks.iter().enumerate();
        let lane = |(number, track)| Lane::new(track, random.rotate_left(number as u32 * 24));
        let sealer = RtpSealer::new(profile, local);
        Egress { lanes: tracks.map(lane).collect(), sealer, path: Path::Unknown }
    }

    /// The viewer's lanes, in the order of its terms.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The viewer's lanes, to change them.
    pub fn lanes_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// Why the viewer takes nothing of the layer of `packet`, where that is sure: it has not the
    /// track, gets another layer of it, or does not play the video yet, which it is begun with
    /// ([`Lane::begin`]).
    #[inline]
    #[must_use]
    pub fn takes_none_of(&self, packet: &MediaPacket) -> Option<DropReason> {
        let lane = self.lanes.iter().find(|lane| lane.id() == packet.track.id);
        let Some(lane) = lane else { return Some(DropReason::UnknownEncoding) };
        if lane.layer() == Some(packet.layer) {
            return None;
        }
        match lane.is_playing() {
            true if lane.may_take(packet.layer) => None,
            true => Some(DropReason::OtherLayer),
            false if lane.id().kind == TrackKind::Video => Some(DropReason::WaitingForKeyframe),
            false => None,
        }
    }

    /// The viewer's path has no room for sound that is sent twice.
    pub fn spare_redundancy(&mut self) {
        self.lanes.iter_mut().for_each(Lane::spare_redundancy);
    }

    /// Whether the viewer takes `packet`: it has the track, and either plays it already or can
    /// start here.
    ///
    /// # Errors
    /// The reason it does not.
    #[inline]
    pub fn admit(&mut self, packet: &MediaPacket) -> Result<Admitted<'_>, DropReason> {
        let Egress { lanes, sealer, .. } = self;
        let lane = lanes.iter_mut().find(|lane| lane.id() == packet.track.id);
        let lane = lane.ok_or(DropReason::UnknownEncoding)?;
        let index = lane.admit(packet)?;
        Ok(Admitted { lane, sealer, index })
    }

    /// Fills a number of a closed span that nothing was sent under, and nothing will be: `index`
    /// becomes padding and nothing else, or the viewer would ask for it again and again.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when it does not fit.
    pub fn fill(&mut self, lane: usize, index: u64, slot: &mut [u8]) -> Result<usize, DropReason> {
        self.lanes[lane].fill(&self.sealer, index, slot)
    }

    /// Seals `packet` once more, which `lane` once sent as number `index`: as RTX (RFC 4588) where
    /// it was negotiated, else as it was.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when it does not fit.
    pub fn resend(
        &mut self,
        lane: usize,
        index: u64,
        packet: &MediaPacket,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let lane = &mut self.lanes[lane];
        let Some(numbered) = self.path.numbered_mut().filter(|_| lane.is_counted()) else {
            return lane.resend(&self.sealer, packet, (index, None), slot);
        };
        let number = Some(numbered.next());
        let length = lane.resend(&self.sealer, packet, (index, number), slot)?;
        numbered.leaves(length);
        Ok(length)
    }

    /// Whether the viewer was sent transport-wide numbers for a while, and has said nothing of
    /// them.
    #[must_use]
    pub fn is_unanswered(&self, now: Instant) -> bool {
        self.path.numbered().is_some_and(|numbered| numbered.is_unanswered(now))
    }

    /// Whether its packets have transport-wide numbers: they are sent by
    /// [`Egress::send_numbered`], and [`Egress::left`] says when they have left.
    #[inline]
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        self.path.numbered().is_some()
    }

    /// As [`Egress::admit`] and [`Admitted::send`], under a transport-wide number.
    ///
    /// # Errors
    /// The reason why it is not sent.
    pub fn send_numbered(
        &mut self,
        packet: &MediaPacket,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let Egress { lanes, sealer, path } = self;
        let lane = lanes.iter_mut().find(|lane| lane.id() == packet.track.id);
        let lane = lane.ok_or(DropReason::UnknownEncoding)?;
        let index = lane.admit(packet)?;
        let Some(numbered) = path.numbered_mut().filter(|_| lane.is_counted()) else {
            return lane.send(sealer, packet, index, slot);
        };
        let length = lane.send_numbered(sealer, packet, (index, numbered.next()), slot)?;
        numbered.leaves(length);
        Ok(length)
    }

    /// Writes a packet of padding, for a path that is found out about.
    ///
    /// # Errors
    /// Why none is written.
    pub fn pad(&mut self, slot: &mut [u8]) -> Result<usize, DropReason> {
        let Egress { lanes, sealer, path } = self;
        let numbered = path.numbered_mut().ok_or(DropReason::UnknownEncoding)?;
        let lane = lanes.iter_mut().find(|lane| lane.is_counted() && lane.is_playing());
        let lane = lane.ok_or(DropReason::WaitingForKeyframe)?;
        let length = lane.pad(sealer, numbered.next(), slot)?;
        numbered.leaves(length);
        Ok(length)
    }

    /// Whether so many bytes of a frame may leave at once, of a layer that sends so many bits a
    /// second; else its packets one by one as long as [`Egress::has_credit`] says so.
    pub fn admits_whole(&mut self, now: Instant, bytes: u32, bits_per_s: u64) -> bool {
        let numbered = self.path.numbered_mut();
        numbered.is_none_or(|numbered| numbered.admits_whole(now, bytes, bits_per_s))
    }

    /// Whether nothing of the layers may leave now.
    #[must_use]
    pub fn is_paused(&self, now: Instant) -> bool {
        self.path.numbered().is_some_and(|numbered| numbered.is_paused(now))
    }

    /// A smaller layer is to be begun with: where nothing may leave now, nothing does before that.
    pub fn awaits_smaller(&mut self, now: Instant) {
        if let Some(numbered) = self.path.numbered_mut().filter(|numbered| numbered.is_paused(now))
        {
            numbered.awaits_smaller(now);
        }
    }

    /// Whether another packet of what waits may leave.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.path.numbered().is_none_or(|numbered| numbered.has_credit())
    }

    /// Whether a packet of a lane may be sent again now: not while packets wait on the viewer's
    /// path, of a layer that it has left; and then of others few.
    pub fn may_repair(
        &mut self,
        now: Instant,
        lane: usize,
        index: u64,
        packet: &MediaPacket,
    ) -> bool {
        let lane = &self.lanes[lane];
        let Some(numbered) = self.path.numbered_mut().filter(|_| lane.is_counted()) else {
            return true;
        };
        let is_past = lane.has_left(index) && numbered.is_crowded(now);
        !is_past && numbered.may_repair(now, packet.payload.len() as u32)
    }

    /// How long it takes until the viewer has what is sent now and has answered, if its last round
    /// trip took so long: what is sent waits behind what stands on its path.
    #[must_use]
    pub fn round_trip(&self, last: Option<Duration>) -> Option<Duration> {
        let queue_ms = self.path.numbered().map(|numbered| numbered.estimate().queue_ms);
        let queue = queue_ms.map(|ms| Duration::from_micros((ms.max(0.0) * 1e3) as u64));
        queue.map_or(last, |queue| Some(last.unwrap_or(ASSUMED_ROUND_TRIP) + queue))
    }

    /// Whether the viewer was sent nothing yet of the layer that is as new as `packet`.
    #[must_use]
    pub fn is_new(&self, packet: &MediaPacket) -> bool {
        let lane = self.lanes.iter().find(|lane| lane.id() == packet.track.id);
        lane.and_then(Lane::newest)
            .is_none_or(|sent| sent.layer == packet.layer && sent.sequence < packet.sequence)
    }

    /// The viewer could be sent better layers, if its path carried so many bits a second in all:
    /// that is found out if it is worth it. True while it is.
    pub fn wants(&mut self, now: Instant, bits_per_s: f64) -> bool {
        match &mut self.path {
            Path::Numbered(numbered) => {
                numbered.wants(now, bits_per_s);
                numbered.probes(now)
            }
            Path::Outbox(outbox) => {
                outbox.drain.wants(outbox.micros(now), bits_per_s);
                false
            }
            Path::Unknown | Path::Quiet(_) | Path::Told(_) => false,
        }
    }

    /// Whether it is being found out if the path carries more.
    #[must_use]
    pub fn probes(&self, now: Instant) -> bool {
        self.path.numbered().is_some_and(|numbered| numbered.probes(now))
    }

    /// Bytes of padding that are to leave for that.
    #[must_use]
    pub fn owed(&self, now: Instant) -> u32 {
        self.path.numbered().map_or(0, |numbered| numbered.owed(now))
    }

    /// The viewer begins with another layer: what comes at once makes a queue that passes.
    pub fn switches(&mut self, now: Instant) {
        match &mut self.path {
            Path::Numbered(numbered) => numbered.switches(now),
            Path::Outbox(outbox) => outbox.drain.switches(outbox.micros(now)),
            Path::Unknown | Path::Quiet(_) | Path::Told(_) => {}
        }
    }

    /// How fast what waits for the viewer may leave, in bits a second, if that is known.
    #[must_use]
    pub fn pace(&self) -> Option<f64> {
        match &self.path {
            Path::Numbered(numbered) => Some(numbered.estimator.pace()),
            Path::Outbox(outbox) => outbox.drain.pace(),
            Path::Unknown | Path::Quiet(_) | Path::Told(_) => None,
        }
    }

    /// What was to leave has left.
    pub fn left(&mut self, at: Instant) {
        if let Some(numbered) = self.path.numbered_mut() {
            numbered.left(at);
        }
    }
}
