//! RTCP between a viewer and its lanes, in the clear: what the viewer reports, and what it is told.

use std::time::{Duration, Instant};

use super::path::{Path, Quiet};
use super::{Egress, RepairBudget, Resent};
use crate::drop::DropReason;
use crate::id::TrackKind;
use crate::limits::MAX_NACKED_PER_DATAGRAM;
use crate::media::CNAME;
use crate::wire::rtcp::{self, Packet, ReportBlock};

/// The rarely touched half of a viewer: what repair may still cost, and when it is told the time.
pub struct Control {
    /// How much the viewer may still ask for again.
    pub repair: RepairBudget,
    /// What the viewer was sent again lately.
    pub resent: Resent,
    /// When the viewer is told again what time it is in its streams.
    pub next_report: Instant,
}

/// What a viewer says of the tracks of one stream, by lane.
pub struct Reception {
    /// By lane.
    pub heard: Vec<Heard>,
}

/// What a viewer's receiver reports say of one track (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Reports there were.
    pub reports: u32,
    /// The highest sequence number it has received, with its cycles.
    pub highest_sequence: u32,
    /// Packets it has not received since its start, duplicates counted against them.
    pub lost: i32,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// The last round trip.
    pub rtt: Option<Duration>,
    /// The last two sender reports: how the viewer names them, and when they were written.
    sent: [Option<(u32, Instant)>; 2],
}

impl Heard {
    /// A sender report with this NTP time is about to be sent.
    fn sending(&mut self, ntp: u64, now: Instant) {
        self.sent = [Some(((ntp >> 16) as u32, now)), self.sent[0]];
    }

    fn take_in(&mut self, report: &ReportBlock, clock_rate: u32, now: Instant) {
        self.reports += 1;
        self.highest_sequence = report.highest_sequence;
        self.lost = report.cumulative_lost;
        let ticks = u64::from(report.jitter) * 1_000_000 / u64::from(clock_rate);
        self.jitter = Duration::from_micros(ticks);
        // RFC 3550 §6.4.1: the round trip is what has passed since the report, less what the
        // receiver let pass. Only our own memory says when that was: what the report calls time is
        // the publisher's.
        let named = self.sent.into_iter().flatten().find(|(name, _)| *name == report.last_sr);
        if let Some((_, sent_at)) = named.filter(|_| report.last_sr != 0) {
            let held =
                Duration::from_micros(u64::from(report.delay_since_last_sr) * 15_625 / 1_024);
            self.rtt = Some(now.saturating_duration_since(sent_at).saturating_sub(held));
        }
    }
}

/// What one RTCP datagram of a viewer asks for.
#[derive(Debug, Default)]
pub struct Feedback {
    /// Packets to send again: the lane, and the viewer's sequence number.
    pub lost: Vec<(usize, u16)>,
    /// How many more it asks for than are looked up.
    pub refused: u64,
    /// Lanes that need a key frame.
    pub keyframes: Vec<usize>,
    /// Whether the viewer has asked for one in so many words (PLI or FIR).
    pub asks_for_keyframe: bool,
    /// Transport-wide feedback there was in it, of a viewer whose packets are numbered.
    pub arrivals: u32,
    /// Whether it says something of its path in another way, and nothing else does.
    pub tells: bool,
    /// Whether a viewer that need not report loses more than a few.
    pub is_troubled: bool,
    /// Reports there were in it.
    pub reports: u32,
    /// The round trip to the viewer, once its reports say.
    pub rtt: Option<Duration>,
}

impl Feedback {
    /// Empties it for the next datagram, and keeps its memory.
    pub fn clear(&mut self) {
        self.lost.clear();
        self.keyframes.clear();
        (self.refused, self.reports, self.asks_for_keyframe) = (0, 0, false);
        (self.arrivals, self.tells, self.is_troubled) = (0, false, false);
    }

    fn ask_again(&mut self, lane: usize, lost: impl Iterator<Item = u16>) {
        for sequence in lost {
            if self.lost.len() < MAX_NACKED_PER_DATAGRAM {
                self.lost.push((lane, sequence));
            } else {
                self.refused += 1;
            }
        }
    }

    /// Whether there is anything to do beyond noting what was reported.
    #[must_use]
    pub fn asks_for_something(&self) -> bool {
        !self.lost.is_empty() || !self.keyframes.is_empty()
    }

    /// Only a key frame can help a lane.
    pub fn need_keyframe(&mut self, lane: usize) {
        if !self.keyframes.contains(&lane) {
            self.keyframes.push(lane);
        }
    }

    fn ask_for_keyframe(&mut self, lane: Option<usize>) {
        if let Some(lane) = lane {
            self.asks_for_keyframe = true;
            self.need_keyframe(lane);
        }
    }
}

impl Control {
    /// Nothing has been asked for yet.
    #[must_use]
    pub fn new(now: Instant) -> Control {
        Control { repair: RepairBudget::new(now), resent: Resent::new(now), next_report: now }
    }
}

impl Reception {
    /// Nothing yet, of so many lanes.
    #[must_use]
    pub fn new(lanes: usize) -> Reception {
        Reception { heard: vec![Heard::default(); lanes] }
    }

    /// Writes a sender report with SDES for one lane (RFC 3550 §6.4.1) into `slot` and
    /// returns its length. `clock` is the track's wall clock with the RTP time that belongs to it.
    pub fn sender_report(
        &mut self,
        now: Instant,
        egress: &Egress,
        number: usize,
        clock: (u64, u32),
        slot: &mut [u8],
    ) -> Option<usize> {
        let lane = egress.lanes().get(number).filter(|lane| lane.is_playing())?;
        let (packets, octets) = lane.sent();
        let info = rtcp::SenderInfo {
            ssrc: lane.ssrc(),
            ntp: clock.0,
            rtp_timestamp: lane.viewer_timestamp(clock.1),
            packets,
            octets,
        };
        let mut length = rtcp::sender_report(&info, &[], slot)?;
        length += rtcp::sdes_cname(lane.ssrc(), CNAME, &mut slot[length..])?;
        self.heard[number].sending(clock.0, now);
        Some(length)
    }

    /// Takes in what a compound says of the lanes of `egress`, and adds what it asks for to
    /// `feedback`.
    ///
    /// Chromium's viewers use the same sender SSRC in every session, so only the media SSRCs of
    /// reports and requests are looked at: those are ours.
    ///
    /// # Errors
    /// Why nothing of it was taken; of a compound that is malformed further in the head is.
    pub fn read(
        &mut self,
        now: Instant,
        egress: &mut Egress,
        compound: &[u8],
        feedback: &mut Feedback,
    ) -> Result<(), DropReason> {
        let mut packets = rtcp::compound(compound);
        let first = packets.next().ok_or(DropReason::MalformedRtcp)?;
        let first = first.map_err(|_malformed| DropReason::MalformedRtcp)?;
        self.take_in(now, egress, first, feedback);
        packets.map_while(Result::ok).for_each(|p| self.take_in(now, egress, p, feedback));
        feedback.rtt = self.heard.iter().filter_map(|heard| heard.rtt).max();
        if let Path::Quiet(quiet) = &mut egress.path {
            let nacked = feedback.lost.len() as u32 + feedback.refused as u32;
            if quiet.is_troubled(now, nacked, feedback.rtt) || feedback.is_troubled {
                egress.wake(now);
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        now: Instant,
        egress: &mut Egress,
        packet: Packet<'_>,
        feedback: &mut Feedback,
    ) {
        match packet {
            Packet::ReceiverReport { reports, .. } | Packet::SenderReport { reports, .. } => {
                feedback.reports += 1;
                for report in reports {
                    let Some(number) = lane_of(egress, report.ssrc) else { continue };
                    let lane = &mut egress.lanes_mut()[number];
                    lane.acknowledged();
                    let kind = lane.id().kind;
                    self.heard[number].take_in(&report, kind.clock_rate(), now);
                    match &mut egress.path {
                        // Of audio there are too few packets for a share to say anything.
                        Path::Told(told) if kind == TrackKind::Video => {
                            told.report(now, report.fraction_lost);
                            feedback.tells = true;
                        }
                        Path::Quiet(_) => {
                            feedback.is_troubled |= Quiet::is_lossy(report.fraction_lost);
                        }
                        _ => {}
                    }
                }
            }
            Packet::Nack { media_ssrc, lost, .. } => {
                if let Some(lane) = lane_of(egress, media_ssrc) {
                    feedback.ask_again(lane, lost);
                }
            }
            Packet::Pli { media_ssrc, .. } => {
                feedback.ask_for_keyframe(video_lane_of(egress, media_ssrc));
            }
            Packet::Fir { entries, .. } => {
                for (ssrc, _sequence) in entries {
                    feedback.ask_for_keyframe(video_lane_of(egress, ssrc));
                }
            }
            Packet::TransportFeedback { raw, .. } => {
                if let Path::Numbered(numbered) = &mut egress.path {
                    feedback.arrivals += 1;
                    numbered.hear(now, raw);
                }
            }
            Packet::Remb { bitrate_bps, .. } => match &mut egress.path {
                Path::Numbered(numbered) => numbered.remb(now, bitrate_bps),
                Path::Told(told) => {
                    told.remb(now, bitrate_bps);
                    feedback.tells = true;
                }
                Path::Quiet(_) | Path::Outbox(_) | Path::Unknown => {}
            },
            _ => {}
        }
    }
}

fn lane_of(egress: &Egress, ssrc: u32) -> Option<usize> {
    egress.lanes().iter().position(|lane| lane.ssrc() == ssrc)
}

fn video_lane_of(egress: &Egress, ssrc: u32) -> Option<usize> {
    let is_video = |lane: &usize| egress.lanes()[*lane].id().kind == TrackKind::Video;
    lane_of(egress, ssrc).filter(is_video)
}

#[cfg(test)]
mod tests {
    use str0m::format::Codec;

    use super::*;
    use crate::id::TrackId;
    use crate::media::{ExtensionIds, ViewerTerms, ViewerTrack};
    use crate::srtp::{MasterKey, Profile};

    #[test]
    fn the_round_trip_is_what_passed_less_what_the_viewer_waited() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut heard = Heard::default();
        heard.sending(0x0001_0002_0003_0004, start);
        heard.sending(0x0005_0006_0007_0008, start + ms(2_000));
        let report = ReportBlock {
            last_sr: 0x0002_0003,
            // 2 s in 1/65,536 s.
            delay_since_last_sr: 2 << 16,
            jitter: 900,
            ..ReportBlock::default()
        };
        heard.take_in(&report, 90_000, start + ms(2_080));
        assert_eq!(heard.rtt, Some(ms(80)), "the report before the last is remembered too");
        assert_eq!(heard.jitter, ms(10));
        let foreign = ReportBlock { last_sr: 0xdead_beef, ..report };
        heard.take_in(&foreign, 90_000, start + ms(9_000));
        assert_eq!(heard.rtt, Some(ms(80)), "an unknown report says nothing");
        let none = ReportBlock { last_sr: 0, delay_since_last_sr: 0, ..report };
        heard.take_in(&none, 90_000, start + ms(9_000));
        assert_eq!((heard.rtt, heard.reports), (Some(ms(80)), 3));
    }

    const SSRC: u32 = 20;

    /// A viewer of one video track.
    fn viewer() -> (Egress, Reception) {
        let profile = Profile::AeadAes128Gcm;
        let (key, salt) = (vec![1; profile.key_len()], vec![9; profile.salt_len()]);
        let master = MasterKey::new(profile, &key, &salt).expect("lengths of the profile");
        let track = ViewerTrack {
            id: TrackId::first(TrackKind::Video),
            codec: Codec::Vp8,
            mid: "0".into(),
            ssrc: SSRC,
            rtx_ssrc: None,
            payload_type: 96,
            rtx_payload_type: None,
            red_payload_type: None,
            extensions: ExtensionIds::default(),
        };
        let egress = Egress::new(&ViewerTerms { tracks: vec![track] }, profile, &master, 7);
        (egress, Reception::new(1))
    }

    fn nack(lost: &[u16]) -> Vec<u8> {
        let mut plain = vec![0; 8_000];
        let length = rtcp::nack(1, SSRC, lost, &mut plain).expect("there is room");
        plain.truncate(length);
        plain
    }

    #[test]
    fn a_malformed_tail_leaves_the_head_standing() {
        let (mut egress, mut reception) = viewer();
        let mut feedback = Feedback::default();
        let mut receive = |plain: &[u8], feedback: &mut Feedback| {
            reception.read(Instant::now(), &mut egress, plain, feedback)
        };
        let tail = [0x81, 206, 0xff, 0xff, 0, 0, 0, 1];
        let taken = receive(&[&nack(&[5, 6])[..], &tail].concat(), &mut feedback);
        assert_eq!((taken, &*feedback.lost), (Ok(()), &[(0, 5), (0, 6)][..]));
        feedback.clear();
        let refused = receive(&[&tail[..], &nack(&[5])].concat(), &mut feedback);
        assert_eq!(refused, Err(DropReason::MalformedRtcp));
        assert!(feedback.lost.is_empty());
    }

    #[test]
    fn the_numbers_of_one_datagram_are_bounded() {
        let (mut egress, mut reception) = viewer();
        let mut feedback = Feedback::default();
        // As many as a datagram of 1,500 bytes has room for: each word names seventeen.
        let lost: Vec<u16> = (0..6_000).collect();
        let compound = nack(&lost);
        assert!(compound.len() < 1_500);
        let taken = reception.read(Instant::now(), &mut egress, &compound, &mut feedback);
        assert_eq!((taken, feedback.lost.len()), (Ok(()), MAX_NACKED_PER_DATAGRAM));
        assert_eq!(feedback.refused as usize, lost.len() - MAX_NACKED_PER_DATAGRAM);
        assert!(feedback.keyframes.is_empty() && feedback.asks_for_something());
    }
}
