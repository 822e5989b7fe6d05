//! What the process says of itself: its version, its start, its memory, and what it lost of its
//! own log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::exposition::{Exposition, Labels};
use super::log_writer::{flush_log, log_lines_lost};

/// Panics of this process, in whichever thread; those of a shard are counted by it as well.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Seconds of Unix time at which the process began, as nearly as it can tell.
static STARTED: OnceLock<f64> = OnceLock::new();

/// When the process began. The first call takes the time, so there is one at the start.
pub fn started() -> f64 {
    *STARTED.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs_f64()
    })
}

/// Ends the process when it is dropped by a panic: what panicked has met the impossible, and a
/// server that went on without it would look alive. Whoever supervises it starts it anew.
#[derive(Debug)]
pub struct EndsAll(pub &'static str);

impl Drop for EndsAll {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{} panicked, see above; the server ends", self.0);
            flush_log();
            std::process::exit(101);
        }
    }
}

/// Counts a panic.
pub(super) fn count_panic() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

/// Adds what the process says of itself, but for its memory.
pub fn process(exposition: &mut Exposition) {
    let help = "One, with the version of the server that runs";
    let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
    exposition.gauge("build_info", help).count(version, 1);
    let help = "When the server was started, in seconds of Unix time";
    exposition.gauge("start_time_seconds", help).float(Labels::new(), started());
    let help = "Panics in any thread: each is a fault of the server, and is in its log";
    let panics = PANICS.load(Ordering::Relaxed);
    exposition.counter("panics", help).count(Labels::new(), panics);
    log_lines_lost(exposition);
}
