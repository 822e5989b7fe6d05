//! One look at the server as plain text, for scripts and pipes.

use std::fmt::Write;

use super::answers::{Cluster, Levels, Ports, SessionPage, Shards, Status};
use super::figures::{bits, bytes, count, duration, index, micros, millis, ratio, tenths, text};
use super::sheet::{self, Column, Sheet};

/// Sessions that are shown: the worst.
pub const SESSIONS: usize = 10;

/// Everything `top` shows, below one another.
#[must_use]
pub fn snapshot(status: &Status, ports: &Ports, shards: &Shards, worst: &SessionPage) -> String {
    let mut page = String::new();
    overview(&mut page, status);
    part(&mut page, "ports", &sheet::ports(Some(ports)));
    for note in sheet::port_notes(ports) {
        let _ = writeln!(page, "{note}");
    }
    part(&mut page, "shards", &sheet::shards(Some(shards)));
    let shown = &worst.sessions[..worst.sessions.len().min(SESSIONS)];
    part(&mut page, "worst sessions", &sheet::sessions(shown));
    part(&mut page, "drops", &sheet::drops(Some(status)));
    part(&mut page, "failures", &sheet::failures(Some(status)));
    page
}

/// The nodes of a cluster.
#[must_use]
pub fn cluster(cluster: &Cluster) -> String {
    let mut page = sheet::cluster_notes(cluster).join("\n");
    page.push('\n');
    part(&mut page, "nodes", &sheet::nodes(cluster));
    part(&mut page, "links", &sheet::links(cluster));
    page
}

fn overview(page: &mut String, status: &Status) {
    let words = |t: &Option<String>| text(t.as_deref());
    let (s, l, setup) = (&status.sessions, &status.latency_us, &status.setup_ms);
    let lines = [
        format!(
            "monoport {} {} for {}, {} shards, {}, {}, {}",
            words(&status.version),
            words(&status.state),
            duration(status.uptime_s),
            index(status.shards),
            words(&status.io),
            words(&status.steering),
            words(&status.cipher),
        ),
        format!(
            "sessions  {}: {} publishers, {} viewers, {} connecting; {} streams",
            count(s.total),
            count(s.publishers),
            count(s.viewers),
            count(s.connecting),
            count(status.streams),
        ),
        format!(
            "traffic   in {} pkt/s {}, out {} pkt/s {}, trains of {}, batches of {}",
            count(status.r#in.packets_per_s),
            bits(status.r#in.bits_per_s),
            count(status.out.packets_per_s),
            bits(status.out.bits_per_s),
            tenths(status.train_length_mean),
            tenths(status.batch_size_mean),
        ),
        format!(
            "latency   p50 {}, p90 {}, p99 {}, max {}",
            micros(l.p50),
            micros(l.p90),
            micros(l.p99),
            micros(l.max),
        ),
        format!(
            "set-up    p50 {}, p90 {}, p99 {}",
            millis(setup.p50),
            millis(setup.p90),
            millis(setup.p99)
        ),
        format!("quality   up {}", levels(&status.quality.up)),
        format!("          down {}", levels(&status.quality.down)),
        format!("memory    {} resident", bytes(status.memory.rss_bytes)),
    ];
    for line in lines {
        let _ = writeln!(page, "{line}");
    }
    for term in &status.memory.terms {
        let part = term.bytes.zip(term.budget_bytes).map(|(bytes, budget)| bytes / budget.max(1.0));
        let (name, size) = (text(Some(&term.name)), bytes(term.bytes));
        let _ = writeln!(page, "          {name:<24} {size:>9} {:>7} of its budget", ratio(part));
    }
}

fn levels(levels: &Levels) -> String {
    let Levels { excellent, good, poor, lost } = levels;
    let [excellent, good, poor, lost] = [excellent, good, poor, lost].map(|level| count(*level));
    format!("{excellent} excellent, {good} good, {poor} poor, {lost} lost")
}

fn part(page: &mut String, title: &str, sheet: &Sheet) {
    let _ = writeln!(page, "\n{title}");
    if sheet.rows.is_empty() {
        let _ = writeln!(page, "{}", sheet.empty);
        return;
    }
    let heads = sheet.columns.iter().map(|(head, _, _)| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(&sheet.rows) {
        let cells: Vec<String> = row.iter().zip(sheet.columns).map(cell).collect();
        let _ = writeln!(page, "{}", cells.join(" ").trim_end());
    }
}

/// A cell at its column's width; longer text is left as it is, nothing is cut for a script.
fn cell((text, (_, width, right)): (&String, &Column)) -> String {
    let width = usize::from(*width);
    if *right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}
