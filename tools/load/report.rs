//! The results of a run: what the workers hand in, its sum, its JSON, and whether it was good
//! enough.

use crate::args::RunArgs;
use crate::hardship::{Hardship, Hardships};
use crate::lens::Odd;
use crate::link;
use crate::punctuality::Punctuality;
use crate::rebind::{Moved, RebindReport};
use crate::screen::Pictures;
use crate::served::{ServerReport, Servers};
use crate::sums::{Linked, Sums};
use crate::worker::latency_histogram;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// What one worker hands in.
pub struct Harvest {
    pub sums: Sums,
    /// Viewers that changed their address, who are not in the sums.
    pub moved: Moved,
    pub hardships: Hardships,
    pub servers: Servers,
    pub odd: Odd,
    pub punctuality: Punctuality,
    pub latency_us: Histogram<u64>,
    pub linked_latency_us: Histogram<u64>,
    pub setup_ms: Vec<f64>,
    pub failures: BTreeMap<&'static str, u64>,
    pub receive_overflows: u64,
    pub send_drops: u64,
    pub lost_consent: u64,
}

/// What the run's own thread measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub sessions_requested: u64,
    pub sessions_connected: u64,
    /// From the first offer until the last session had keys.
    pub setup_ms: f64,
    /// CPU seconds of the server from the first viewer's offer until the last one had keys.
    pub server_setup_cpu_s: Option<f64>,
    /// Viewers that connected in that time.
    pub viewers_set_up: u64,
    pub seconds: f64,
    pub packets: u64,
    pub bytes: u64,
    pub server_cpu_s: Option<f64>,
    pub server_rss_bytes: Option<u64>,
    pub client_cpu_s: f64,
    /// Offers that led to no session, by reason.
    pub refused: BTreeMap<String, u64>,
}

impl Measured {
    fn server_cpu_us_per_setup(&self) -> Option<f64> {
        let set_up = self.viewers_set_up.max(1) as f64;
        self.server_setup_cpu_s.map(|cpu_s| cpu_s * 1e6 / set_up)
    }
}

/// The report. Its keys are an interface: they stay.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub sessions_requested: u64,
    pub sessions_connected: u64,
    /// Milliseconds from the first offer until the last session had its keys.
    pub setup_ms: f64,
    pub packets_expected: u64,
    pub packets_received: u64,
    pub loss_ratio: f64,
    pub latency_us: Percentiles<u64>,
    /// Packets that reached viewers, per second of the measured time.
    pub egress_pps: f64,
    /// CPU seconds of the server in the measured time; `null` without `--server-pid`.
    pub server_cpu_s: Option<f64>,
    pub server_cpu_ns_per_egress_packet: Option<f64>,
    pub client_cpu_s: f64,
    /// Milliseconds from one session's offer to its keys.
    pub session_setup_ms: Percentiles<f64>,
    /// CPU of the server per viewer from the offer to the keys, what it forwarded meanwhile
    /// included; `null` without `--server-pid`.
    pub server_cpu_us_per_setup: Option<f64>,
    pub measured_s: f64,
    pub egress_mbps: f64,
    pub server_rss_bytes: Option<u64>,
    pub duplicates: u64,
    pub reordered: u64,
    /// Gaps in the publisher's numbers that the server's sequence numbers hid.
    pub renumbered: u64,
    pub viewers_with_video: u64,
    pub packets_published: u64,
    pub key_frames: u64,
    /// Packets the server asked publishers for again, and those they still had.
    pub publisher_nacks: u64,
    pub publisher_resent: u64,
    pub publisher_frames_skipped: u64,
    /// Frames of video and audio that this process sent over 10 ms after their time, of all, and
    /// how late the latest was: such latencies are the load's own.
    pub publisher_frames_late: u64,
    pub publisher_frames: u64,
    pub publisher_latest_ms: f64,
    /// How long after its time each frame left; half a millisecond and more where they leave in
    /// bursts.
    pub publisher_lateness_us: Percentiles<u64>,
    /// Reports on the publishers' transport-wide numbers; 0 where the answer had none.
    pub publisher_transport_feedback: u64,
    pub unauthentic: u64,
    /// Packets without the publisher's stamp, as of a server that packs frames anew: they have no
    /// latency, and the loss of their media is counted by the server's sequence numbers.
    pub unstamped: u64,
    pub media_counted_by_sequence: u64,
    /// Packets without a payload: a server's probes for bandwidth.
    pub padding: u64,
    pub unknown: u64,
    pub repairs: u64,
    /// Arriving media that `--drop` lost.
    pub dropped_on_purpose: u64,
    pub sender_reports: u64,
    /// Opened packets whose stamp disagrees with the publisher's record; not 0 means a bug here.
    pub stamps_disagreeing: u64,
    pub sessions_lost: u64,
    /// Datagrams that this process's own queues dropped: not 0 means the client is the bottleneck.
    pub client_receive_overflows: u64,
    pub client_send_drops: u64,
    pub failures: BTreeMap<String, u64>,
    /// Viewers' videos and audios that lack packets, and the one that lacks most.
    pub media_with_loss: u64,
    pub worst_loss: Option<Hardship>,
    /// What each server's viewers got, where there are several.
    pub servers: Vec<ServerReport>,
    /// What viewers saw, where there are layers or links; those behind a link are apart from the
    /// rest, here and in all other counts of what arrived.
    pub pictures: Option<Pictures>,
    pub linked: Option<LinkedReport>,
    /// Viewers that `--rebind` gave another address; `null` without.
    pub rebind: Option<RebindReport>,
    /// Datagrams to addresses that viewers had no more.
    pub late_for_a_move: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles<T> {
    pub p50: T,
    pub p90: T,
    pub p99: T,
    pub p999: T,
    pub max: T,
}

/// What became of viewers behind a link (`--bandwidth`).
#[derive(Clone, Debug, Serialize)]
pub struct LinkedReport {
    pub pictures: Pictures,
    pub datagrams: link::Counts,
    pub latency_us: Percentiles<u64>,
}

/// What a run must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    pub max_loss: f64,
    pub max_p99_ms: f64,
}

/// One threshold and what was found.
#[derive(Clone, Debug)]
pub struct Check {
    pub what: &'static str,
    pub found: String,
    pub wanted: String,
    pub kept: bool,
}

impl Thresholds {
    #[must_use]
    pub fn of(args: &RunArgs) -> Self {
        Self { max_loss: args.max_loss, max_p99_ms: args.max_p99_ms }
    }
}

impl Report {
    /// Sums up a run.
    #[must_use]
    pub fn new(measured: &Measured, harvests: &[Harvest]) -> Self {
        let mut sums = Sums::default();
        let mut latency_us = latency_histogram();
        let mut punctuality = Punctuality::default();
        let mut setup_ms: Vec<f64> = Vec::new();
        let mut hardships = Hardships::default();
        for harvest in harvests {
            sums.add(&harvest.sums);
            hardships.join(harvest.hardships.clone());
            punctuality.add(&harvest.punctuality);
            latency_us.add(&harvest.latency_us).expect("histograms of one shape");
            setup_ms.extend(&harvest.setup_ms);
        }
        let total = |of: fn(&Harvest) -> u64| harvests.iter().map(of).sum::<u64>();
        let seconds = measured.seconds.max(f64::MIN_POSITIVE);
        let per_packet = |cpu_s: f64| cpu_s * 1e9 / measured.packets.max(1) as f64;
        Self {
            sessions_requested: measured.sessions_requested,
            sessions_connected: measured.sessions_connected,
            setup_ms: measured.setup_ms,
            packets_expected: sums.expected,
            packets_received: sums.received,
            loss_ratio: sums.loss_ratio(),
            latency_us: of_histogram(&latency_us),
            egress_pps: measured.packets as f64 / seconds,
            server_cpu_s: measured.server_cpu_s,
            server_cpu_ns_per_egress_packet: measured.server_cpu_s.map(per_packet),
            client_cpu_s: measured.client_cpu_s,
            session_setup_ms: of_values(setup_ms),
            server_cpu_us_per_setup: measured.server_cpu_us_per_setup(),
            measured_s: measured.seconds,
            egress_mbps: measured.bytes as f64 * 8.0 / 1e6 / seconds,
            server_rss_bytes: measured.server_rss_bytes,
            duplicates: sums.duplicates,
            reordered: sums.reordered,
            renumbered: sums.renumbered,
            viewers_with_video: sums.viewers_with_video,
            packets_published: sums.packets_sent,
            key_frames: sums.key_frames,
            publisher_nacks: sums.asked_again,
            publisher_resent: sums.resent,
            publisher_frames_skipped: punctuality.skipped,
            publisher_frames_late: punctuality.late,
            publisher_frames: punctuality.frames,
            publisher_latest_ms: punctuality.latest.as_micros() as f64 / 1_000.0,
            publisher_lateness_us: of_histogram(&punctuality.lateness_us),
            unauthentic: total(|h| h.odd.unauthentic),
            unstamped: total(|h| h.odd.unstamped),
            publisher_transport_feedback: sums.transport_feedback,
            media_counted_by_sequence: sums.by_sequence,
            padding: total(|h| h.odd.padding),
            unknown: total(|h| h.odd.unknown),
            repairs: total(|h| h.odd.repairs),
            dropped_on_purpose: total(|h| h.odd.dropped),
            sender_reports: total(|h| h.odd.sender_reports),
            stamps_disagreeing: total(|h| h.odd.disagreeing),
            sessions_lost: total(|h| h.lost_consent),
            client_receive_overflows: total(|h| h.receive_overflows),
            client_send_drops: total(|h| h.send_drops),
            failures: failures(measured, harvests),
            media_with_loss: hardships.count,
            worst_loss: hardships.worst,
            servers: Servers::report(harvests.iter().map(|harvest| &harvest.servers)),
            pictures: Pictures::of(&sums.seen),
            linked: linked(&sums.linked, harvests),
            rebind: RebindReport::new(harvests.iter().map(|harvest| &harvest.moved)),
            late_for_a_move: total(|h| h.odd.late_for_a_move),
        }
    }

    /// In words, when the load itself was late or full, so that what was measured is its own.
    #[must_use]
    pub fn own_lateness(&self) -> Option<String> {
        let (late, frames) = (self.publisher_frames_late, self.publisher_frames);
        let mut faults = Vec::new();
        // One in a hundred is what a percentile of 99 sees.
        if late * 100 >= frames.max(1) {
            let latest = self.publisher_latest_ms;
            faults.push(format!("{late} of {frames} frames left over 10 ms late ({latest} ms)"));
        }
        for (count, what) in [
            (self.publisher_frames_skipped, "frames were left out"),
            (self.client_receive_overflows, "datagrams did not fit its receive queues"),
            (self.client_send_drops, "datagrams did not fit its send queues"),
        ] {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        }
        (!faults.is_empty()).then(|| {
            let faults = faults.join(", ");
            format!("the load itself was late: {faults}; use more cores or ask for less")
        })
    }

    /// What the run had to keep to, and whether it did.
    #[must_use]
    pub fn checks(&self, thresholds: &Thresholds) -> Vec<Check> {
        let Thresholds { max_loss, max_p99_ms } = thresholds;
        let p99_ms = self.latency_us.p99 as f64 / 1_000.0;
        let (connected, requested) = (self.sessions_connected, self.sessions_requested);
        let mut checks = vec![
            Check {
                what: "sessions connected",
                found: connected.to_string(),
                wanted: format!("all {requested}"),
                kept: connected >= requested,
            },
            Check {
                what: "packets received",
                found: self.packets_received.to_string(),
                wanted: "any".to_owned(),
                kept: self.packets_received > 0
                    || self.linked.as_ref().is_some_and(|linked| linked.pictures.frames > 0),
            },
            Check {
                what: "part of the packets lost",
                found: self.loss_ratio.to_string(),
                wanted: format!("at most {max_loss}"),
                kept: self.loss_ratio <= *max_loss,
            },
            Check {
                what: "p99 latency in ms",
                found: p99_ms.to_string(),
                wanted: format!("at most {max_p99_ms}"),
                kept: p99_ms <= *max_p99_ms,
            },
        ];
        checks.extend(self.rebind.as_ref().map(RebindReport::check));
        checks
    }

    /// What was missed, in words; empty when the run was good.
    #[must_use]
    pub fn missed(&self, thresholds: &Thresholds) -> Vec<String> {
        let missed = self.checks(thresholds).into_iter().filter(|check| !check.kept);
        missed
            .map(|Check { what, found, wanted, .. }| format!("{what}: {found}, wanted {wanted}"))
            .collect()
    }
}

fn linked(sum: &Linked, harvests: &[Harvest]) -> Option<LinkedReport> {
    let mut latency_us = latency_histogram();
    for harvest in harvests {
        latency_us.add(&harvest.linked_latency_us).expect("histograms of one shape");
    }
    let pictures = Pictures::of(&sum.seen)?;
    Some(LinkedReport { pictures, datagrams: sum.link, latency_us: of_histogram(&latency_us) })
}

/// Offers refused and sessions failed, by reason.
fn failures(measured: &Measured, harvests: &[Harvest]) -> BTreeMap<String, u64> {
    let mut failures = measured.refused.clone();
    for (reason, count) in harvests.iter().flat_map(|harvest| &harvest.failures) {
        *failures.entry((*reason).to_owned()).or_default() += count;
    }
    failures
}

#[must_use]
pub fn of_histogram(histogram: &Histogram<u64>) -> Percentiles<u64> {
    Percentiles {
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

/// The nearest-rank percentiles of a few thousand values.
pub fn of_values(mut values: Vec<f64>) -> Percentiles<f64> {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return Percentiles::default() };
    let at = |quantile: f64| {
        values[((values.len() as f64 * quantile).ceil() as usize).clamp(1, last + 1) - 1]
    };
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: values[last] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut latency_us = latency_histogram();
        for us in 1..=1_000 {
            latency_us.record(us).unwrap();
        }
        let harvest = Harvest {
            sums: Sums { expected: 1_000, received: 999, ..Sums::default() },
            moved: Moved::default(),
            hardships: Hardships::default(),
            servers: Servers::default(),
            odd: Odd::default(),
            punctuality: Punctuality::default(),
            latency_us,
            linked_latency_us: latency_histogram(),
            setup_ms: vec![3.0, 1.0, 2.0],
            failures: BTreeMap::new(),
            receive_overflows: 0,
            send_drops: 0,
            lost_consent: 0,
        };
        let measured = Measured {
            sessions_requested: 3,
            sessions_connected: 3,
            seconds: 2.0,
            packets: 1_000_000,
            server_cpu_s: Some(1.0),
            server_setup_cpu_s: Some(0.001),
            viewers_set_up: 2,
            ..Measured::default()
        };
        Report::new(&measured, &[harvest])
    }

    #[test]
    fn derives_rates_and_percentiles() {
        let report = report();
        assert!((report.loss_ratio - 0.001).abs() < 1e-12);
        assert_eq!(report.latency_us.p50, 500);
        assert_eq!(report.latency_us.max, 1_000);
        assert_eq!(report.session_setup_ms.p50, 2.0);
        assert_eq!(report.egress_pps, 500_000.0);
        assert_eq!(report.server_cpu_ns_per_egress_packet, Some(1_000.0));
        assert_eq!(report.server_cpu_us_per_setup, Some(500.0));
    }

    #[test]
    fn says_which_threshold_was_missed() {
        let report = report();
        let good = Thresholds { max_loss: 0.001, max_p99_ms: 1.0 };
        assert_eq!(report.missed(&good), Vec::<String>::new());
        assert_eq!(report.missed(&Thresholds { max_loss: 0.0005, ..good }).len(), 1);
        assert_eq!(report.missed(&Thresholds { max_p99_ms: 0.5, ..good }).len(), 1);
        let short = Report { sessions_connected: 2, ..report };
        assert_eq!(short.missed(&good).len(), 1);
    }

    #[test]
    fn says_when_the_load_itself_was_late() {
        let report = Report { publisher_frames: 1_000, publisher_frames_late: 9, ..report() };
        assert_eq!(report.own_lateness(), None);
        let late =
            Report { publisher_frames_late: 10, publisher_latest_ms: 31.5, ..report.clone() };
        let words = late.own_lateness().expect("it was");
        assert!(words.contains("10 of 1000 frames left over 10 ms late (31.5 ms)"), "{words}");
        let full = Report { client_receive_overflows: 7, ..report };
        let words = full.own_lateness().expect("it was");
        assert!(words.contains("7 datagrams did not fit its receive queues"), "{words}");
    }

    /// The keys that other programs read.
    #[test]
    fn the_keys_stay() {
        let json = serde_json::to_value(report()).unwrap();
        for key in [
            "sessions_requested",
            "sessions_connected",
            "setup_ms",
            "packets_expected",
            "packets_received",
            "loss_ratio",
            "egress_pps",
            "server_cpu_s",
            "server_cpu_ns_per_egress_packet",
            "client_cpu_s",
        ] {
            assert!(json[key].is_number(), "{key}");
        }
        for key in ["p50", "p90", "p99", "p999", "max"] {
            assert!(json["latency_us"][key].is_u64(), "{key}");
        }
    }
}
