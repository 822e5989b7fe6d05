//! TCP connections that reached no shard: counted on control threads, off the packet path.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Exposition;

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
pub fn tcp_refused(exposition: &mut Exposition, refusals: &TcpRefusals) {
    let metric = exposition.counter("tcp_refused", "TCP connections that reached no shard");
    for reason in TcpRefusal::ALL {
        metric.count(vec![("reason", reason.label().into())], refusals.get(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Format;

    #[test]
    fn every_reason_has_its_own_line() {
        let refusals = TcpRefusals::default();
        for (index, reason) in TcpRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            (0..=index).for_each(|_| refusals.add(reason));
        }
        let mut exposition = Exposition::default();
        tcp_refused(&mut exposition, &refusals);
        let text = exposition.render(Format::Prometheus);
        for (index, reason) in TcpRefusal::ALL.into_iter().enumerate() {
            let line = format!("{{reason=\"{}\"}} {}\n", reason.label(), index + 1);
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
}
