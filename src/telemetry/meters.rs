//! What one shard measures besides its counters: ports, histograms, cards.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Cards, Histogram, PortTable};

/// Declares the histograms of a shard once, with unit and help.
macro_rules! shard_histograms {
    ($($name:ident: $unit:ident, $help:literal;)*) => {
        /// The histograms of one shard. Times are in microseconds.
        #[derive(Debug, Default)]
        pub struct ShardHistograms {
            $(#[doc = $help] pub $name: Histogram,)*
        }

        impl ShardHistograms {
            /// Name, unit, help and histogram of each.
            pub fn each(&self, mut visit: impl FnMut(&'static str, Unit, &'static str, &Histogram)) {
                $(visit(stringify!($name), Unit::$unit, $help, &self.$name);)*
            }
        }
    };
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
    receive_batch: Count, "Datagrams taken from the kernel by one receive call";
    train_length: Count, "Datagrams in one message handed to the kernel";
    turn: Micros, "Duration of a turn of the shard's loop";
    socket_to_socket: Micros,
        "Published packets: from the kernel's receive time to the end of the last send to a viewer";
    setup_first_stun: Micros, "Set-up: from the answer to the first check with the right password";
    setup_dtls: Micros, "Set-up: from the answer to the end of the DTLS handshake";
    setup_first_media: Micros, "Set-up: from the answer to the first media packet";
    quality_up: Points, "Quality scores of publishers, one for each window with media";
    quality_down: Points, "Quality scores of viewers, one for each window with media";
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
    /// Whose CPU time is the shard's.
    pub thread: ThreadClock,
}

impl Meters {
    /// Meters of a shard with room for `sessions` sessions, all at zero.
    #[must_use]
    pub fn new(sessions: usize) -> Meters {
        Meters {
            ports: PortTable::default(),
            histograms: ShardHistograms::default(),
            cards: Cards::new(sessions),
            thread: ThreadClock::default(),
        }
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
