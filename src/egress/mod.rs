//! One viewer's media on its way out, without an `Rtc` on the path.
//!
//! A packet becomes a viewer's by a header written from a few words of [`Lane`], one copy of the
//! payload into the send arena, and a seal in place. Everything a packet touches per viewer is an
//! [`Egress`]: the key schedule and two lanes. What is rarely needed (reports, and what the viewer
//! reports back) is kept apart in [`Control`].

mod control;
mod lane;
mod repair;

use crate::drop::DropReason;
use crate::media::{MediaPacket, TrackKind, ViewerTerms};
use crate::srtp::{MasterKey, Profile, RtpSealer};

pub use control::{Control, Feedback, Heard};
pub use lane::Lane;
pub use repair::RepairBudget;

/// What one packet touches of a viewer.
#[repr(align(64))]
pub struct Egress {
    lanes: [Option<Lane>; 2],
    sealer: RtpSealer,
}

impl Egress {
    /// The way out to a viewer with these terms. `local` is the master key this end writes with;
    /// `random` gives the lanes' starting sequence numbers and timestamps.
    #[must_use]
    pub fn new(terms: &ViewerTerms, profile: Profile, local: &MasterKey, random: u64) -> Egress {
        let mut lanes = [None, None];
        for (index, track) in terms.tracks.iter().enumerate() {
            lanes[track.kind as usize] =
                Some(Lane::new(track, random.rotate_left(index as u32 * 24)));
        }
        Egress { lanes, sealer: RtpSealer::new(profile, local) }
    }

    /// The lane of one kind of track, if the viewer takes it.
    #[must_use]
    pub fn lane(&self, kind: TrackKind) -> Option<&Lane> {
        self.lanes[kind as usize].as_ref()
    }

    /// The lane of one kind of track, to change it.
    pub fn lane_mut(&mut self, kind: TrackKind) -> Option<&mut Lane> {
        self.lanes[kind as usize].as_mut()
    }

    /// Whether the viewer would take `packet`: it has the track, and either plays it already or
    /// can start here.
    ///
    /// # Errors
    /// The reason it would not.
    pub fn admit(&mut self, packet: &MediaPacket) -> Result<(), DropReason> {
        match &mut self.lanes[packet.kind as usize] {
            Some(lane) => lane.admit(packet),
            None => Err(DropReason::UnknownEncoding),
        }
    }

    /// Seals an admitted `packet` into `slot` and returns the datagram's length.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when it does not fit.
    pub fn send(&mut self, packet: &MediaPacket, slot: &mut [u8]) -> Result<usize, DropReason> {
        let lane = self.lanes[packet.kind as usize].as_mut();
        let lane = lane.ok_or(DropReason::UnknownEncoding)?;
        lane.send(&self.sealer, packet, slot)
    }

    /// Seals `packet` once more: as RTX (RFC 4588) where it was negotiated, else as it was.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] when it does not fit.
    pub fn resend(&mut self, packet: &MediaPacket, slot: &mut [u8]) -> Result<usize, DropReason> {
        let lane = self.lanes[packet.kind as usize].as_mut();
        let lane = lane.ok_or(DropReason::UnknownEncoding)?;
        lane.resend(&self.sealer, packet, slot)
    }
}
