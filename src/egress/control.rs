//! RTCP between a viewer and its lanes: what the viewer reports, and what it is told.

use std::time::Instant;

use super::{Egress, RepairBudget};
use crate::drop::DropReason;
use crate::limits::MAX_DATAGRAM_OUT;
use crate::media::TrackKind;
use crate::srtp::{MasterKey, Profile, Rejected, RtcpOpener, RtcpSealer};
use crate::wire::rtcp::{self, Packet};

/// The rarely touched half of a viewer: SRTCP both ways, and what repair may still cost.
pub struct Control {
    sealer: RtcpSealer,
    opener: RtcpOpener,
    /// How much the viewer may still ask for again.
    pub repair: RepairBudget,
    /// When the viewer is told again what time it is in the stream.
    pub next_report: Instant,
}

/// What one RTCP datagram of a viewer asks for.
#[derive(Debug, Default)]
pub struct Feedback {
    /// Packets to send again, by the viewer's sequence numbers.
    pub lost: Vec<(TrackKind, u16)>,
    /// Somebody must ask the publisher for a key frame.
    pub keyframe: bool,
    /// Reports there were in it.
    pub reports: u32,
}

impl Feedback {
    /// Empties it for the next datagram, and keeps its memory.
    pub fn clear(&mut self) {
        self.lost.clear();
        self.keyframe = false;
        self.reports = 0;
    }
}

impl Control {
    /// `local` is the master key this end writes with, `remote` the viewer's.
    #[must_use]
    pub fn new(profile: Profile, local: &MasterKey, remote: &MasterKey, now: Instant) -> Control {
        Control {
            sealer: RtcpSealer::new(profile, local),
            opener: RtcpOpener::new(profile, remote),
            repair: RepairBudget::new(now),
            next_report: now,
        }
    }

    /// Opens one SRTCP datagram in place and adds what it asks for to `feedback`.
    ///
    /// Chromium's viewers use the same sender SSRC in every session, so only the media SSRCs of
    /// reports and requests are looked at: those are ours.
    ///
    /// # Errors
    /// Why it was not taken; a compound that is malformed further in has its head taken.
    pub fn receive(
        &mut self,
        egress: &mut Egress,
        datagram: &mut [u8],
        feedback: &mut Feedback,
    ) -> Result<(), DropReason> {
        let length = self.opener.open(datagram).map_err(|rejected| match rejected {
            Rejected::Malformed => DropReason::MalformedRtcp,
            Rejected::Auth => DropReason::SrtpAuth,
            Rejected::Replay => DropReason::SrtpReplay,
        })?;
        for packet in rtcp::compound(&datagram[..length]) {
            let packet = packet.map_err(|_malformed| DropReason::MalformedRtcp)?;
            take_in(egress, packet, feedback);
        }
        Ok(())
    }

    /// Writes and seals a sender report with SDES for one track (RFC 3550 §6.4.1) into `slot` and
    /// returns its length. `clock` is the stream's wall clock with the RTP time that belongs to it.
    pub fn sender_report(
        &mut self,
        egress: &Egress,
        kind: TrackKind,
        clock: (u64, u32),
        cname: &str,
        slot: &mut [u8],
    ) -> Option<usize> {
        let lane = egress.lane(kind).filter(|lane| lane.is_playing())?;
        let (packets, octets) = lane.sent();
        let info = rtcp::SenderInfo {
            ssrc: lane.ssrc(),
            ntp: clock.0,
            rtp_timestamp: lane.viewer_timestamp(clock.1),
            packets,
            octets,
        };
        let room = slot.len().min(MAX_DATAGRAM_OUT) - self.sealer.overhead();
        let mut length = rtcp::sender_report(&info, &[], &mut slot[..room])?;
        length += rtcp::sdes_cname(lane.ssrc(), cname, &mut slot[length..room])?;
        Some(self.sealer.seal(slot, length))
    }
}

fn take_in(egress: &mut Egress, packet: Packet<'_>, feedback: &mut Feedback) {
    match packet {
        Packet::ReceiverReport { reports, .. } | Packet::SenderReport { reports, .. } => {
            feedback.reports += 1;
            for report in reports {
                if let Some(lane) = lane_of(egress, report.ssrc).and_then(|k| egress.lane_mut(k)) {
                    lane.acknowledged();
                }
            }
        }
        Packet::Nack { media_ssrc, lost, .. } => {
            if let Some(kind) = lane_of(egress, media_ssrc) {
                feedback.lost.extend(lost.map(|sequence| (kind, sequence)));
            }
        }
        Packet::Pli { media_ssrc, .. } => {
            feedback.keyframe |= lane_of(egress, media_ssrc) == Some(TrackKind::Video);
        }
        Packet::Fir { entries, .. } => {
            for (ssrc, _sequence) in entries {
                feedback.keyframe |= lane_of(egress, ssrc) == Some(TrackKind::Video);
            }
        }
        _ => {}
    }
}

fn lane_of(egress: &Egress, ssrc: u32) -> Option<TrackKind> {
    TrackKind::ALL.into_iter().find(|k| egress.lane(*k).is_some_and(|lane| lane.ssrc() == ssrc))
}
