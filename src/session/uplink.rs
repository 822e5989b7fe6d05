//! How a publisher's media arrives, by what str0m says of it every few seconds.

use std::time::Duration;

use str0m::media::{Mid, Rid};
use str0m::stats::MediaIngressStats;

use crate::limits::MAX_LAYERS;

/// Layers of video, and audio.
const MAX_TRACKS: usize = MAX_LAYERS + 1;

/// All tracks and layers of one publisher, added up since its start.
#[derive(Debug, Default)]
pub struct Uplink {
    /// Packets that came, resends included.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that did not come: the share that each receiver report told the publisher, of the
    /// packets of that time.
    pub lost: f64,
    /// Requests for packets to be sent again.
    pub nacks: u64,
    /// Requests for key frames.
    pub keyframe_requests: u64,
    /// The greatest jitter of a track, in RFC 3550's sense.
    pub jitter: Duration,
    /// The last round trip, where the publisher helps to measure it (RFC 3611 §4.4, 4.5).
    pub rtt: Option<Duration>,
    /// Whether video has come.
    pub video: bool,
    tracks: Vec<Seen>,
}

/// What was last said of a track or layer.
#[derive(Debug)]
struct Seen {
    mid: Mid,
    rid: Option<Rid>,
    packets: u64,
    bytes: u64,
    nacks: u64,
    keyframe_requests: u64,
    jitter: Duration,
}

impl Uplink {
    /// Takes in what str0m says of one track or layer, whose RTP clock has `clock_rate` ticks a
    /// second. What exceeds the layers a publisher may have is left out.
    pub(super) fn take_in(&mut self, stats: &MediaIngressStats, clock_rate: u32) {
        let place = self.tracks.iter().position(|t| (t.mid, t.rid) == (stats.mid, stats.rid));
        let place = match place {
            Some(place) => place,
            None if self.tracks.len() == MAX_TRACKS => return,
            None => {
                self.tracks.push(Seen {
                    mid: stats.mid,
                    rid: stats.rid,
                    packets: 0,
                    bytes: 0,
                    nacks: 0,
                    keyframe_requests: 0,
                    jitter: Duration::ZERO,
                });
                self.tracks.len() - 1
            }
        };
        let seen = &mut self.tracks[place];
        let keyframe_requests = stats.plis + stats.firs;
        let packets = stats.packets.saturating_sub(seen.packets);
        self.packets += packets;
        self.bytes += stats.bytes.saturating_sub(seen.bytes);
        self.nacks += stats.nacks.saturating_sub(seen.nacks);
        self.keyframe_requests += keyframe_requests.saturating_sub(seen.keyframe_requests);
        let share = f64::from(stats.loss.unwrap_or(0.0)).clamp(0.0, 0.99);
        self.lost += packets as f64 * share / (1.0 - share);
        seen.packets = stats.packets;
        seen.bytes = stats.bytes;
        seen.nacks = stats.nacks;
        seen.keyframe_requests = keyframe_requests;
        let ticks = f64::from(stats.jitter) / f64::from(clock_rate.max(1));
        seen.jitter = Duration::from_secs_f64(ticks);
        self.jitter = self.tracks.iter().map(|track| track.jitter).max().unwrap_or_default();
        self.rtt = stats.rtt.or(self.rtt);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn stats(rid: Option<&str>, packets: u64, loss: Option<f32>, jitter: u32) -> MediaIngressStats {
        MediaIngressStats {
            mid: "0".into(),
            rid: rid.map(Rid::from),
            bytes: packets * 100,
            packets,
            firs: 0,
            plis: packets / 100,
            nacks: 0,
            jitter,
            rtt: None,
            loss,
            timestamp: Instant::now(),
            remote: None,
        }
    }

    #[test]
    fn layers_add_up_and_the_worst_jitter_counts() {
        let mut uplink = Uplink::default();
        uplink.take_in(&stats(Some("h"), 300, None, 900), 90_000);
        uplink.take_in(&stats(Some("l"), 100, Some(0.5), 90), 90_000);
        assert_eq!((uplink.packets, uplink.bytes, uplink.keyframe_requests), (400, 40_000, 4));
        assert_eq!(uplink.lost.round(), 100.0, "as many as came, of the layer that lost half");
        assert_eq!(uplink.jitter, Duration::from_millis(10));
        uplink.take_in(&stats(Some("h"), 400, Some(0.0), 90), 90_000);
        assert_eq!((uplink.packets, uplink.lost.round()), (500, 100.0));
        assert_eq!(uplink.jitter, Duration::from_millis(1));
    }

    #[test]
    fn more_layers_than_there_can_be_are_left_out() {
        let mut uplink = Uplink::default();
        for layer in 0..2 * MAX_TRACKS {
            uplink.take_in(&stats(Some(&format!("r{layer}")), 1, None, 0), 90_000);
        }
        assert_eq!(uplink.packets, MAX_TRACKS as u64);
    }
}
