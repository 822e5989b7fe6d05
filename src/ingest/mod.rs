//! One publisher's media on its way in, without an `Rtc` on the path.
//!
//! A datagram is opened where it lies, told apart by its SSRC, and comes out as a packet of a
//! track. What the publisher needs to hear of it is kept beside: which packets came and when, which
//! are missing, what was lost. [`Ingest::write_due`] says it, once it is time.
//!
//! ```text
//! SRTP ── opened, not seen before ── its source ── RTX unwrapped ──▶ Opened::Media
//!            │ transport-wide number    │ first sight: by MID and RID, the offer's SSRCs, payload
//!            ▼                          ▼ type (RFC 9143 §9.2)
//!         Arrivals                   Reception, Missing
//! ```
//!
//! Nothing is learnt of a packet that does not authenticate. Time is an argument.

mod arrivals;
mod extensions;
mod feedback;
mod learn;
mod missing;
mod receive;
mod reception;
mod sources;
#[cfg(test)]
mod tests;
mod uplink;

use std::time::Instant;

use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKind};
use crate::limits::{FEEDBACK_PACKETS, MAX_SOURCES};
use crate::media::{LayerName, MediaPacket, ParameterSets, Payload, PublisherTerms};
use crate::srtp::{MasterKey, Profile, RtpOpener};
use arrivals::Arrivals;
use extensions::Ids;
use feedback::Schedule;
use sources::Sources;
pub use uplink::Uplink;

/// The receiving side of one publisher.
pub struct Ingest {
    stream: StreamKey,
    terms: PublisherTerms,
    opener: RtpOpener,
    ids: Ids,
    sources: Sources,
    arrivals: Arrivals,
    schedule: Schedule,
    totals: Totals,
    /// The payload type that a track went over to, until somebody has been told.
    pub switched_to: Option<u8>,
    /// Layers whose names were learnt, until somebody has been told.
    pub named: Vec<(TrackId, u8, LayerName)>,
    /// When a track last went over to another one.
    switched: Option<Micros>,
    /// Where its times count from.
    epoch: Instant,
}

/// What came of a datagram that authenticated.
#[derive(Debug)]
pub enum Opened<'a> {
    /// A packet of a track. Its publisher has no number yet.
    Media {
        /// The packet, whose payload lies in the datagram.
        packet: MediaPacket<&'a [u8]>,
        /// Its layer has changed its source in between and this is no key frame: one is needed.
        asks: bool,
        /// Parameter sets that stand before it, under the number before its own.
        sets: Option<Payload>,
    },
    /// One that belongs to no layer of a track, and why.
    Unplaced(DropReason),
    /// Padding, or what has come before: it probes the way and carries nothing new.
    Padding,
}

/// What was counted since the start, beyond what the sources know that are remembered.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    packets: u64,
    bytes: u64,
    /// Packets lost of sources that were forgotten.
    lost_before: u64,
    nacks: u64,
    keyframe_requests: u64,
}

/// Microseconds since [`Ingest::epoch`].
type Micros = u64;

impl Ingest {
    /// Bytes of one with as many sources as may be.
    pub const MOST_BYTES: usize = size_of::<Ingest>()
        + MAX_SOURCES * (size_of::<sources::Source>() + ParameterSets::MOST_BYTES)
        + size_of::<[u32; FEEDBACK_PACKETS]>();

    /// The receiving side of a publisher of `stream` with these terms. `remote` is the master key
    /// that it writes with.
    #[must_use]
    pub fn new(
        stream: StreamKey,
        terms: PublisherTerms,
        profile: Profile,
        remote: &MasterKey,
        now: Instant,
    ) -> Ingest {
        let is_video = |track: &&crate::media::PublishedTrack| track.id.kind == TrackKind::Video;
        let has_video = terms.tracks.iter().any(|track| is_video(&track));
        Ingest {
            stream,
            opener: RtpOpener::new(profile, remote),
            ids: Ids::new(&terms.extensions),
            terms,
            sources: Sources::default(),
            arrivals: Arrivals::new(has_video),
            schedule: Schedule::new(has_video),
            totals: Totals::default(),
            switched_to: None,
            named: Vec::new(),
            switched: None,
            epoch: now,
        }
    }

    /// Tells `visit` the memory beside itself that its next packet will touch, by address and
    /// length.
    pub fn touches(&self, mut visit: impl FnMut(*const u8, usize)) {
        self.sources.touches(&mut visit);
        self.arrivals.touches(&mut visit);
        visit(self.terms.tracks.as_ptr().cast(), size_of_val(&self.terms.tracks[..]));
    }

    /// Bytes of memory that it takes beside itself.
    #[must_use]
    pub fn bytes_beside(&self) -> usize {
        let tracks = self.terms.tracks.iter();
        let answered = tracks.map(|track| size_of_val(&track.answered[..]));
        let terms = size_of_val(&self.terms.tracks[..]) + answered.sum::<usize>();
        terms + self.sources.bytes() + self.arrivals.bytes()
    }

    fn micros(&self, at: Instant) -> Micros {
        at.saturating_duration_since(self.epoch).as_micros() as Micros
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("stream", &self.stream).finish_non_exhaustive()
    }
}
