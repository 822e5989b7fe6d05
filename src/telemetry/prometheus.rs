//! Which metrics there are: everything the shards keep, read at one moment.
//!
//! A scrape reads every counter once and 128 bytes a session; the numbers of sessions are added up
//! here, so that what is scraped does not grow with them.

use std::borrow::Cow;

use super::counters::Kind;
use super::exposition::{Exposition, Labels};
use super::meters::{DtlsStop, Meters, Unit};
use super::{CardRole, Failures, Level, ShardCounters, Stage};
use crate::drop::DropReason;

/// What one shard shows.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Its counters.
    pub counters: &'a ShardCounters,
    /// Its meters.
    pub meters: &'a Meters,
    /// Pieces of mail that wait for it.
    pub mail_waiting: usize,
}

/// A named part of the memory the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTerm {
    /// What takes it.
    pub name: &'static str,
    /// What it takes now, in bytes.
    pub bytes: usize,
    /// What it may come to take.
    pub budget_bytes: usize,
}

/// Everything the shards keep, with the shard's index as a label.
#[must_use]
pub fn exposition(shards: &[Shown<'_>]) -> Exposition {
    let mut exposition = Exposition::default();
    for (index, shard) in shards.iter().enumerate() {
        counters(&mut exposition, index, shard);
        ports(&mut exposition, index, shard.meters);
        histograms(&mut exposition, index, shard.meters);
    }
    sessions(&mut exposition, shards);
    exposition
}

/// Adds the datagrams the kernel dropped, which no shard ever saw.
pub fn kernel_dropped(exposition: &mut Exposition, count: u64) {
    let help = "Datagrams of unknown flows dropped in the kernel (--kernel-drop)";
    exposition.counter("kernel_dropped", help).count(Labels::new(), count);
}

/// Adds the sessions that failed, which no one shard can count.
pub fn failed_sessions(exposition: &mut Exposition, failures: &Failures) {
    let metric = exposition.counter("session_failures", "Sessions that failed, by reason");
    for (reason, count) in failures.each() {
        metric.count(vec![("reason", reason.label().into())], count);
    }
}

/// Adds how first offers were answered: by template, or by reading the whole offer.
pub fn answers(exposition: &mut Exposition, (by_template, at_length): (u64, u64)) {
    let help = "First offers answered: by template, or at length, which costs four times as much";
    let metric = exposition.counter("answers", help);
    for (way, count) in [("template", by_template), ("length", at_length)] {
        metric.count(vec![("way", way.into())], count);
    }
}

/// Adds how many sessions there may be, to be compared with how many there are.
pub fn room(exposition: &mut Exposition, sessions: usize) {
    let help = "Sessions there is room for (--max-sessions); more are refused";
    exposition.gauge("sessions_limit", help).count(Labels::new(), sessions as u64);
}

/// Adds the memory of the process, and of those parts of it that have a name and a budget.
pub fn memory(exposition: &mut Exposition, terms: &[MemoryTerm]) {
    if let Some(bytes) = resident_bytes() {
        let help = "Memory of the process that is in RAM";
        exposition.gauge("resident_bytes", help).count(Labels::new(), bytes);
    }
    for MemoryTerm { name, bytes, budget_bytes } in terms {
        let labels = || vec![("term", Cow::from(*name))];
        let help = "Memory by what takes it";
        exposition.gauge("memory_bytes", help).count(labels(), *bytes as u64);
        let help = "What each part of the memory may come to take";
        exposition.gauge("memory_budget_bytes", help).count(labels(), *budget_bytes as u64);
    }
}

/// Resident memory of the process, as `/proc/self/status` says (proc_pid_status(5)).
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn of_shard(index: usize) -> Labels {
    vec![("shard", index.to_string().into())]
}

fn counters(exposition: &mut Exposition, index: usize, shard: &Shown<'_>) {
    let Shown { counters, meters, mail_waiting } = shard;
    counters.each(|name, kind, help, value| {
        let metric = match kind {
            Kind::Counter => exposition.counter(name, help),
            Kind::Gauge => exposition.gauge(name, help),
        };
        metric.count(of_shard(index), value);
    });
    let help = "Packets not forwarded, by the one reason, and at which stage of their way";
    let dropped = exposition.counter("dropped", help);
    for reason in DropReason::ALL {
        let mut labels = of_shard(index);
        labels.push(("reason", reason.label().into()));
        labels.push(("stage", reason.stage().label().into()));
        dropped.count(labels, counters.drops(*reason));
    }
    let help = "DTLS handshakes that came to nothing, by where they stopped";
    let stopped = exposition.counter("dtls_failures", help);
    for cause in DtlsStop::ALL {
        let mut labels = of_shard(index);
        labels.push(("cause", cause.label().into()));
        stopped.count(labels, meters.dtls_stops(cause));
    }
    let help = "Pieces of mail of other shards that wait";
    exposition.gauge("mail_waiting", help).count(of_shard(index), *mail_waiting as u64);
    if let Some(time) = meters.thread.cpu_time() {
        let help = "CPU time of the shard's thread";
        exposition.counter("shard_cpu_seconds", help).float(of_shard(index), time.as_secs_f64());
    }
}

fn ports(exposition: &mut Exposition, index: usize, meters: &Meters) {
    for (port, counters) in meters.ports.open() {
        counters.each(|name, kind, help, value| {
            let mut labels = of_shard(index);
            labels.push(("port", port.to_string().into()));
            let metric = match kind {
                Kind::Counter => exposition.counter(name, help),
                Kind::Gauge => exposition.gauge(name, help),
            };
            metric.count(labels, value);
        });
    }
}

/// Where histograms are cut: ends of buckets, all of them.
fn bounds(unit: Unit) -> (Vec<u64>, f64) {
    match unit {
        Unit::Count => ((0..=10).map(|bit| 1 << bit).collect(), 1.0),
        // 16 µs to 34 s, each twice the one before.
        Unit::Micros => ((4..=25).map(|bit| 1 << bit).collect(), 1e-6),
        Unit::Points => (vec![20, 40, 60, 80, 100], 1.0),
    }
}

fn histograms(exposition: &mut Exposition, index: usize, meters: &Meters) {
    meters.histograms.each(|described, histogram| {
        let (bounds, scale) = bounds(described.unit);
        let mut labels = of_shard(index);
        labels.extend(described.label.map(|(name, value)| (name, value.into())));
        let metric = exposition.histogram(described.metric, described.help);
        metric.distribution(labels, &histogram.snapshot(), &bounds, scale);
    });
}

const ROLES: [CardRole; 2] = [CardRole::Publisher, CardRole::Viewer];

fn sessions(exposition: &mut Exposition, shards: &[Shown<'_>]) {
    let mut by_stage = [[0u64; Stage::ALL.len()]; ROLES.len()];
    let mut by_level = [[0u64; Level::ALL.len()]; ROLES.len()];
    for (_, _, card) in shards.iter().flat_map(|shard| shard.meters.cards.iter()) {
        by_stage[card.role as usize][card.stage as usize] += 1;
        if let Some(level) = card.level().filter(|_| card.stage.is_connected()) {
            by_level[card.role as usize][level as usize] += 1;
        }
    }
    let help = "Sessions by role and by how far they have got";
    let stages = exposition.gauge("sessions_by_state", help);
    for (role, stage) in ROLES.iter().flat_map(|role| Stage::ALL.map(|stage| (role, stage))) {
        let labels = vec![("role", role.label().into()), ("state", stage.label().into())];
        stages.count(labels, by_stage[*role as usize][stage as usize]);
    }
    let help = "Connected sessions by the quality of their way up or down";
    let levels = exposition.gauge("quality_sessions", help);
    for (role, level) in ROLES.iter().flat_map(|role| Level::ALL.map(|level| (role, level))) {
        let labels = vec![("direction", role.direction().into()), ("level", level.label().into())];
        levels.count(labels, by_level[*role as usize][level as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Format, Histogram, PortName, SessionCard};

    #[test]
    fn every_counter_reason_and_histogram_appears_for_every_shard() {
        let counters = [ShardCounters::default(), ShardCounters::default()];
        let meters = [Meters::new(4), Meters::new(4)];
        counters[1].datagrams_in.add(3);
        counters[1].dropped(DropReason::ForgedUfrag);
        meters[1].ports.at(0).open(PortName::Port(7_882));
        meters[1].ports.at(0).receive_drops.set(9);
        meters[0].histograms.quality_down.record(80);
        meters[0].dtls_stopped(DtlsStop::Hello);
        let connected = SessionCard {
            stage: Stage::Connected,
            role: CardRole::Viewer,
            score: Some(50.0),
            ..SessionCard::default()
        };
        meters[1].cards.write(0, 0, &connected);
        meters[1].cards.write(1, 0, &SessionCard::default());
        let shards = [0, 1].map(|index| Shown {
            counters: &counters[index],
            meters: &meters[index],
            mail_waiting: index,
        });
        let mut all = exposition(&shards);
        kernel_dropped(&mut all, 7);
        memory(&mut all, &[MemoryTerm { name: "cards", bytes: 1, budget_bytes: 2 }]);
        let text = all.render(Format::Prometheus);
        for line in [
            "monoport_datagrams_in_total{shard=\"1\"} 3\n",
            "{shard=\"1\",reason=\"forged_ufrag\",stage=\"arrival\"} 1\n",
            "{shard=\"0\",reason=\"forged_ufrag\",stage=\"arrival\"} 0\n",
            "# TYPE monoport_sessions gauge\n",
            "monoport_port_receive_drops_total{shard=\"1\",port=\"7882\"} 9\n",
            "monoport_quality_score_bucket{shard=\"0\",direction=\"down\",le=\"80\"} 1\n",
            "monoport_setup_seconds_count{shard=\"1\",phase=\"dtls\"} 0\n",
            "monoport_dtls_failures_total{shard=\"0\",cause=\"stopped_after_hello\"} 1\n",
            "monoport_mail_waiting{shard=\"1\"} 1\n",
            "monoport_sessions_by_state{role=\"viewer\",state=\"connected\"} 1\n",
            "monoport_sessions_by_state{role=\"publisher\",state=\"waiting\"} 1\n",
            "monoport_quality_sessions{direction=\"down\",level=\"good\"} 1\n",
            "monoport_kernel_dropped_total 7\n",
            "monoport_memory_budget_bytes{term=\"cards\"} 2\n",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
        }
        assert!(text.contains("monoport_resident_bytes "));
    }

    #[test]
    fn histograms_are_cut_at_ends_of_buckets() {
        for unit in [Unit::Count, Unit::Micros, Unit::Points] {
            for bound in bounds(unit).0 {
                let histogram = Histogram::default();
                histogram.record(bound);
                let snapshot = histogram.snapshot();
                assert_eq!((snapshot.at_most(bound), snapshot.at_most(bound - 1)), (1, 0));
            }
        }
    }
}
