//! How a publisher's media arrives, in figures.

use std::time::Duration;

use super::Ingest;
use super::sources::Role;
use crate::id::TrackKind;

/// All tracks and layers of one publisher, added up since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uplink {
    /// Media packets that came, sent again or not.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Requests for packets to be sent again, one for each packet and time.
    pub nacks: u64,
    /// Requests for key frames.
    pub keyframe_requests: u64,
    /// The greatest jitter of a source, in RFC 3550's sense.
    pub jitter: Duration,
    /// The last round trip, where the publisher helps to measure it (RFC 3611 §4.4, 4.5).
    pub rtt: Option<Duration>,
    /// Whether video has come.
    pub video: bool,
}

impl Ingest {
    /// How its media arrives.
    #[must_use]
    pub fn uplink(&self) -> Uplink {
        let mut uplink = Uplink {
            packets: self.totals.packets,
            bytes: self.totals.bytes,
            lost: self.totals.lost_before,
            nacks: self.totals.nacks,
            keyframe_requests: self.totals.keyframe_requests,
            rtt: self.schedule.last_round_trip(),
            ..Uplink::default()
        };
        for source in self.sources.iter() {
            let Role::Media(part) = source.role else { continue };
            let kind = self.terms.tracks[part.track].id.kind;
            uplink.lost += source.reception.lost();
            uplink.jitter = uplink.jitter.max(source.reception.jitter(kind.clock_rate()));
            uplink.video |= kind == TrackKind::Video;
        }
        uplink
    }
}
