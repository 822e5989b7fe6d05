//! What one shard measures besides its counters: ports, histograms, cards.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Cards, Counter, Histogram, PortTable};

/// Declares the histograms of a shard once: the metric they belong to, with the label that tells
/// them apart there, unit and help.
macro_rules! shard_histograms {
    ($(
        $name:ident: $metric:literal [$($label:literal = $value:literal)?] $unit:ident,
        $help:literal;
    )*) => {
        /// The histograms of one shard. Times are in microseconds.
        #[derive(Debug, Default)]
        pub struct ShardHistograms {
            $(#[doc = $help] pub $name: Histogram,)*
        }

        impl ShardHistograms {
            /// Each of them. Those of one metric follow one another.
            pub fn each(&self, mut visit: impl FnMut(&Described, &Histogram)) {
                $(visit(
                    &Described {
                        metric: $metric,
                        label: None$(.or(Some(($label, $value))))?,
                        unit: Unit::$unit,
                        help: $help,
                    },
                    &self.$name,
                );)*
            }
        }
    };
}

/// What a histogram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// The metric it is part of.
    pub metric: &'static str,
    /// The label that tells it from the metric's others, and its value.
    pub label: Option<(&'static str, &'static str)>,
    /// What its values are.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
}

/// What the values of a histogram are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Time in microseconds.
    Micros,
    /// Points of a score, 0 to 100.
    Points,
}

shard_histograms! {
    receive_batch: "receive_batch_datagrams" [] Count,
        "Datagrams taken from the kernel by one receive call";
    train_length: "train_length_datagrams" [] Count,
        "Datagrams in one message handed to the kernel";
    turn: "turn_seconds" [] Micros, "Duration of a turn of the shard's loop";
    socket_to_socket: "socket_to_socket_seconds" [] Micros,
        "Published packets: from the kernel's receive time to the end of the last send to a viewer";
    setup_first_stun: "setup_seconds" ["phase" = "first_stun"] Micros,
        "Set-up: from the answer to the end of each phase";
    setup_dtls: "setup_seconds" ["phase" = "dtls"] Micros,
        "Set-up: from the answer to the end of each phase";
    setup_first_media: "setup_seconds" ["phase" = "first_media"] Micros,
        "Set-up: from the answer to the end of each phase";
    relay_gap: "relay_gap_seconds" [] Micros,
        "Streams that another node gives than before: how long nothing of them came meanwhile";
    quality_up: "quality_score" ["direction" = "up"] Points,
        "Quality scores, one for each window with media of each session";
    quality_down: "quality_score" ["direction" = "down"] Points,
        "Quality scores, one for each window with media of each session";
}

/// Where DTLS handshakes stopped that came to nothing: the last that was heard of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DtlsStop {
    /// Nothing of DTLS.
    NoHello,
    /// Its hello, and nothing after the answer to it.
    Hello,
    /// Its keys, and no Finished.
    Keys,
    /// Its last flight, which did not fit what came before.
    Sealed,
    /// An alert.
    Alert,
}

impl DtlsStop {
    /// All, in the order of their counters.
    pub const ALL: [DtlsStop; 5] =
        [DtlsStop::NoHello, DtlsStop::Hello, DtlsStop::Keys, DtlsStop::Sealed, DtlsStop::Alert];

    /// The value of the metric's `cause` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            DtlsStop::NoHello => "no_hello",
            DtlsStop::Hello => "stopped_after_hello",
            DtlsStop::Keys => "stopped_after_keys",
            DtlsStop::Sealed => "last_flight_refused",
            DtlsStop::Alert => "alert",
        }
    }
}

/// What one shard measures besides its [`super::ShardCounters`]. Written by the shard's thread
/// alone, read by anyone.
#[derive(Debug)]
pub struct Meters {
    /// By mux port.
    pub ports: PortTable,
    /// Distributions.
    pub histograms: ShardHistograms,
    /// One card per session.
    pub cards: Cards,
    /// What its memory is.
    pub memory: ShardMemory,
    /// Whose CPU time is the shard's.
    pub thread: ThreadClock,
    dtls_stops: [Counter; DtlsStop::ALL.len()],
}

/// What the memory of a shard is, in bytes, as it has found out lately.
#[derive(Debug, Default)]
pub struct ShardMemory {
    /// Address space that is received into.
    pub receive_slots: Counter,
    /// What datagrams are written into.
    pub send_arenas: Counter,
    /// Sessions with their keys and paths, and what publishers' media is taken in by.
    pub sessions: Counter,
    /// What DTLS keeps of sessions.
    pub dtls: Counter,
    /// Streams with their tracks and viewers, whose keys are most of it.
    pub streams: Counter,
    /// Packets kept for repair and for who comes next.
    pub histories: Counter,
    /// Datagrams of handshakes that wait.
    pub handshakes: Counter,
}

impl Meters {
    /// Meters of a shard with room for `sessions` sessions, all at zero.
    #[must_use]
    pub fn new(sessions: usize) -> Meters {
        Meters {
            ports: PortTable::default(),
            histograms: ShardHistograms::default(),
            cards: Cards::new(sessions),
            memory: ShardMemory::default(),
            thread: ThreadClock::default(),
            dtls_stops: Default::default(),
        }
    }

    /// A handshake came to nothing.
    pub fn dtls_stopped(&self, at: DtlsStop) {
        self.dtls_stops[at as usize].add(1);
    }

    /// How many stopped there.
    #[must_use]
    pub fn dtls_stops(&self, at: DtlsStop) -> u64 {
        self.dtls_stops[at as usize].get()
    }
}

/// The CPU time of a thread, for others to read: the thread says once who it is.
#[derive(Debug, Default)]
pub struct ThreadClock(AtomicU32);

impl ThreadClock {
    /// The calling thread is the one.
    pub fn adopt_current_thread(&self) {
        // `/proc/thread-self` is a link to `PID/task/TID`, and std has no other name for it.
        let link = std::fs::read_link("/proc/thread-self").ok();
        let id = link.as_deref().and_then(|path| path.file_name()?.to_str()?.parse().ok());
        self.0.store(id.unwrap_or(0), Ordering::Relaxed);
    }

    /// Time the thread has run on a CPU, in user and kernel mode. `None` before it said who it is,
    /// after its end, and where there is no `/proc`.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let id = self.0.load(Ordering::Relaxed);
        // The first number is `sum_exec_runtime` in nanoseconds (Documentation/scheduler/
        // sched-stats.rst).
        let text = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_time_is_read_from_another() {
        let clock = ThreadClock::default();
        assert_eq!(clock.cpu_time(), None, "nobody's");
        clock.adopt_current_thread();
        let before = clock.cpu_time().expect("Linux keeps it");
        let mut sum = 0u64;
        while std::thread::scope(|scope| {
            (0..100_000).for_each(|n| sum = std::hint::black_box(sum.wrapping_add(n)));
            scope.spawn(|| clock.cpu_time()).join().unwrap()
        }) == Some(before)
        {}
        assert!(clock.cpu_time() > Some(before));
    }
}
