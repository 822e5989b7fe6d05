//! What a publisher is told, and when: which packets came and when, which are missing, how it was
//! received, that a key frame is needed.

use std::time::{Duration, Instant};

use super::sources::{Role, Source};
use super::{Ingest, Micros};
use crate::id::TrackId;
use crate::limits::{
    MAX_FEEDBACK_BYTES, MAX_MISSING, MAX_SOURCES, RECEIVER_REPORT_AUDIO, RECEIVER_REPORT_VIDEO,
};
use crate::media::{CNAME, KeyframeRequest};
use crate::wire::rtcp::{self, Delays, ReportBlock};

/// Whom feedback is from: what browsers use that only receive. No lane has it.
const OUR_SSRC: u32 = 1;

/// When there is something to tell besides arrivals, and how long the way is.
#[derive(Debug)]
pub(super) struct Schedule {
    report_at: Micros,
    report_interval: Micros,
    /// When a missing packet is to be asked for.
    ask_at: Option<Micros>,
    /// The last two reference times, by the middle of their NTP time.
    asked: [Option<u32>; 2],
    round_trip: Option<Micros>,
    fir_number: u8,
}

impl Schedule {
    pub fn new(has_video: bool) -> Schedule {
        let interval = if has_video { RECEIVER_REPORT_VIDEO } else { RECEIVER_REPORT_AUDIO };
        let report_interval = interval.as_micros() as Micros;
        let report_at = report_interval;
        let (ask_at, asked, round_trip, fir_number) = (None, [None; 2], None, 0);
        Schedule { report_at, report_interval, ask_at, asked, round_trip, fir_number }
    }

    /// A missing packet is to be asked for, not after `at`.
    pub fn ask_at(&mut self, at: Option<Micros>) {
        self.ask_at = [self.ask_at, at].into_iter().flatten().min();
    }

    /// The last round trip.
    pub fn last_round_trip(&self) -> Option<Duration> {
        self.round_trip.map(Duration::from_micros)
    }

    /// The publisher says how long ago it heard our reference times (RFC 3611 §4.5): what is left
    /// of the time since is the round trip.
    pub fn round_trip(&mut self, now: Micros, delays: Delays<'_>) {
        for (ssrc, named, delay) in delays.take(MAX_SOURCES) {
            if ssrc == OUR_SSRC && self.asked.contains(&Some(named)) {
                let passed = middle(ntp(now)).wrapping_sub(named).wrapping_sub(delay);
                // A clock that runs at another pace may make it less than nothing.
                let passed = u64::from(passed.cast_signed().max(0).cast_unsigned());
                self.round_trip = Some(passed * 1_000_000 / 65_536);
            }
        }
    }
}

/// Time since the start as if it were one of the day: only differences are looked at.
fn ntp(now: Micros) -> u64 {
    let (seconds, micros) = (now / 1_000_000 + 1, now % 1_000_000);
    (seconds << 32) | ((micros << 32) / 1_000_000)
}

fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

impl Ingest {
    /// When there will be something to tell.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Instant {
        let Schedule { report_at, ask_at, .. } = self.schedule;
        let at = report_at.min(ask_at.unwrap_or(Micros::MAX));
        let at = at.min(self.arrivals.due().unwrap_or(Micros::MAX));
        self.epoch + Duration::from_micros(at)
    }

    /// Writes one compound that is due to the front of `out`, which has room for
    /// [`MAX_FEEDBACK_BYTES`], and returns its length; `None` when nothing is due any more.
    pub fn write_due(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let now = self.micros(now);
        let room = out.len().min(MAX_FEEDBACK_BYTES);
        let out = &mut out[..room];
        if let Some(length) = self.write_arrivals(now, out) {
            return Some(length);
        }
        if self.schedule.ask_at.is_some_and(|at| at <= now)
            && let Some(length) = self.write_requests(now, out)
        {
            return Some(length);
        }
        if self.schedule.report_at <= now {
            self.schedule.report_at = now + self.schedule.report_interval;
            return self.write_report(now, out);
        }
        None
    }

    fn write_arrivals(&mut self, now: Micros, out: &mut [u8]) -> Option<usize> {
        if self.arrivals.due()? > now {
            return None;
        }
        let media = self.sources.iter().find(|source| matches!(source.role, Role::Media(_)));
        let media_ssrc = media.map_or(0, |source| source.ssrc);
        self.arrivals.write(now, (OUR_SSRC, media_ssrc), out)
    }

    /// Asks for missing packets of each source, as many as there is room for.
    fn write_requests(&mut self, now: Micros, out: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        let mut next: Option<Micros> = None;
        for source in self.sources.iter_mut().filter(|source| !source.missing.is_empty()) {
            let Source { ssrc, reception, missing, .. } = source;
            let highest = reception.highest().unwrap_or(0);
            let mut asked = [0; MAX_MISSING];
            let mut count = 0;
            // Each takes four bytes at most, behind twelve.
            let room = (out.len() - written).saturating_sub(12) / 4;
            missing.ask(highest, now, self.schedule.round_trip, &mut |sequence| {
                let fits = count < room.min(MAX_MISSING);
                if fits {
                    asked[count] = sequence;
                    count += 1;
                }
                fits
            });
            if count > 0 {
                let nack = rtcp::nack(OUR_SSRC, *ssrc, &asked[..count], &mut out[written..]);
                written += nack.unwrap_or(0);
                self.totals.nacks += count as u64;
            }
            next = [next, missing.next(highest)].into_iter().flatten().min();
        }
        self.schedule.ask_at = next;
        (written > 0).then_some(written)
    }

    /// Receiver report, name, and our time (RFC 3550 §6.4.2, RFC 3611 §4.4).
    fn write_report(&mut self, now: Micros, out: &mut [u8]) -> Option<usize> {
        let mut blocks = [ReportBlock::default(); MAX_SOURCES];
        let mut count = 0;
        let media = self.sources.iter_mut().filter(|s| matches!(s.role, Role::Media(_)));
        for (block, source) in blocks.iter_mut().zip(media) {
            *block = source.reception.block(source.ssrc, now);
            count += 1;
        }
        let ntp = ntp(now);
        self.schedule.asked = [Some(middle(ntp)), self.schedule.asked[0]];
        let mut length = rtcp::receiver_report(OUR_SSRC, &blocks[..count], out)?;
        length += rtcp::sdes_cname(OUR_SSRC, CNAME, &mut out[length..])?;
        length += rtcp::reference_time(OUR_SSRC, ntp, &mut out[length..])?;
        Some(length)
    }

    /// Writes a request for a key frame of one layer and returns its length. `None` where nothing
    /// was heard of the layer that could be asked.
    pub fn write_keyframe_request(
        &mut self,
        track: TrackId,
        layer: u8,
        out: &mut [u8],
    ) -> Option<usize> {
        let place = self.terms.tracks.iter().position(|known| known.id == track)?;
        let heard = self.sources.newest(place, layer).map(|source| self.sources.at(source).ssrc);
        let mut offered = self.terms.sources.iter();
        let offered = offered.find(|source| source.track == place && source.repairs.is_none());
        let ssrc = heard.or(offered.map(|source| source.ssrc))?;
        self.totals.keyframe_requests += 1;
        match self.terms.tracks[place].payload.keyframes {
            KeyframeRequest::Pli => rtcp::pli(OUR_SSRC, ssrc, out),
            KeyframeRequest::Fir => {
                self.schedule.fir_number = self.schedule.fir_number.wrapping_add(1);
                rtcp::fir(OUR_SSRC, &[(ssrc, self.schedule.fir_number)], out)
            }
        }
    }
}
