//! TCP connections that reached no shard: counted on control threads, off the packet path.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// The one reason a TCP connection was closed before a shard had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpRefusal {
    /// Too many others have not said yet which session they are for.
    TooManyNewcomers,
    /// Too many of them come from the same address.
    TooManyFromSource,
    /// It sent no whole frame in time.
    Silent,
    /// It was closed or broken before its first frame was whole.
    Gone,
    /// Its first frame is not a connectivity check.
    NotACheck,
    /// Its first check names no session of this server.
    ForgedUfrag,
    /// The session's shard has too many commands waiting.
    ShardBusy,
    /// The process has no descriptors left, or the kernel no memory.
    NoDescriptor,
}

impl TcpRefusal {
    const ALL: [TcpRefusal; 8] = [
        TcpRefusal::TooManyNewcomers,
        TcpRefusal::TooManyFromSource,
        TcpRefusal::Silent,
        TcpRefusal::Gone,
        TcpRefusal::NotACheck,
        TcpRefusal::ForgedUfrag,
        TcpRefusal::ShardBusy,
        TcpRefusal::NoDescriptor,
    ];

    /// The value of the metric's `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            TcpRefusal::TooManyNewcomers => "too_many_newcomers",
            TcpRefusal::TooManyFromSource => "too_many_from_source",
            TcpRefusal::Silent => "silent",
            TcpRefusal::Gone => "gone",
            TcpRefusal::NotACheck => "not_a_check",
            TcpRefusal::ForgedUfrag => "forged_ufrag",
            TcpRefusal::ShardBusy => "shard_busy",
            TcpRefusal::NoDescriptor => "no_descriptor",
        }
    }
}

/// How many there were, by reason. Any thread may count.
#[derive(Debug, Default)]
pub struct TcpRefusals([AtomicU64; TcpRefusal::ALL.len()]);

impl TcpRefusals {
    /// Counts one.
    pub fn add(&self, reason: TcpRefusal) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were refused for `reason`.
    #[must_use]
    pub fn get(&self, reason: TcpRefusal) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

/// Adds them to the exposition.
pub fn tcp_refused(text: &mut String, refusals: &TcpRefusals) {
    text.push_str("# HELP monoport_tcp_refused_total TCP connections that reached no shard.\n");
    text.push_str("# TYPE monoport_tcp_refused_total counter\n");
    for reason in TcpRefusal::ALL {
        let (label, count) = (reason.label(), refusals.get(reason));
        let _ = writeln!(text, "monoport_tcp_refused_total{{reason=\"{label}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_line() {
        let refusals = TcpRefusals::default();
        for (index, reason) in TcpRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            (0..=index).for_each(|_| refusals.add(reason));
        }
        let mut text = String::new();
        tcp_refused(&mut text, &refusals);
        for (index, reason) in TcpRefusal::ALL.into_iter().enumerate() {
            let line = format!("{{reason=\"{}\"}} {}\n", reason.label(), index + 1);
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
}
