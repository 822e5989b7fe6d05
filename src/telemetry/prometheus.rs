//! The counters as Prometheus text (exposition format 0.0.4).

use std::fmt::Write;

use super::counters::Kind;
use super::{Failures, ShardCounters};
use crate::drop::DropReason;

/// Every counter of every shard, with the shard's index as a label.
///
/// Only numbers and names this crate declares are written, so nothing needs escaping.
#[must_use]
pub fn exposition<'a>(shards: impl Iterator<Item = &'a ShardCounters> + Clone) -> String {
    let mut text = String::with_capacity(16 * 1024);
    let mut names = Vec::new();
    if let Some(first) = shards.clone().next() {
        first.each(|name, kind, help, _| names.push((name, kind, help)));
    }
    for (position, (name, kind, help)) in names.into_iter().enumerate() {
        let (suffix, kind) = match kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
        };
        let _ = writeln!(text, "# HELP monoport_{name}{suffix} {help}.");
        let _ = writeln!(text, "# TYPE monoport_{name}{suffix} {kind}");
        for (index, shard) in shards.clone().enumerate() {
            let mut current = 0;
            shard.each(|_, _, _, value| {
                if current == position {
                    let _ = writeln!(text, "monoport_{name}{suffix}{{shard=\"{index}\"}} {value}");
                }
                current += 1;
            });
        }
    }
    drops(&mut text, shards);
    text
}

/// Adds the datagrams the kernel dropped, which no shard ever saw.
pub fn kernel_dropped(text: &mut String, count: u64) {
    text.push_str(
        "# HELP monoport_kernel_dropped_total Datagrams of unknown flows dropped in the ",
    );
    text.push_str("kernel (--kernel-drop).\n# TYPE monoport_kernel_dropped_total counter\n");
    let _ = writeln!(text, "monoport_kernel_dropped_total {count}");
}

/// Adds the sessions that failed, which no one shard can count.
pub fn failed_sessions(text: &mut String, failures: &Failures) {
    text.push_str("# HELP monoport_session_failures_total Sessions that failed, by reason.\n");
    text.push_str("# TYPE monoport_session_failures_total counter\n");
    for (reason, count) in failures.each() {
        let label = reason.label();
        let _ = writeln!(text, "monoport_session_failures_total{{reason=\"{label}\"}} {count}");
    }
}

fn drops<'a>(text: &mut String, shards: impl Iterator<Item = &'a ShardCounters> + Clone) {
    text.push_str("# HELP monoport_dropped_total Datagrams not forwarded, by the one reason.\n");
    text.push_str("# TYPE monoport_dropped_total counter\n");
    for reason in DropReason::ALL {
        for (index, shard) in shards.clone().enumerate() {
            let (label, value) = (reason.label(), shard.drops(*reason));
            let _ = writeln!(
                text,
                "monoport_dropped_total{{shard=\"{index}\",reason=\"{label}\"}} {value}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_and_every_reason_appears_for_every_shard() {
        let shards = [ShardCounters::default(), ShardCounters::default()];
        shards[1].datagrams_in.add(3);
        shards[1].dropped(DropReason::ForgedUfrag);
        let text = exposition(shards.iter());
        assert!(text.contains("monoport_datagrams_in_total{shard=\"1\"} 3\n"));
        assert!(text.contains("{shard=\"1\",reason=\"forged_ufrag\"} 1\n"));
        assert!(text.contains("{shard=\"0\",reason=\"forged_ufrag\"} 0\n"));
        assert!(text.contains("# TYPE monoport_sessions gauge"));
        let mut text = String::new();
        kernel_dropped(&mut text, 7);
        assert!(text.ends_with("counter\nmonoport_kernel_dropped_total 7\n"));
    }
}
