//! Log lines that a stranger can cause: so many a second from each place in the code, then one line
//! with how many were left out.
//!
//! Whoever sends a flood must not be able to fill a disk with it, or hide other lines in it. A
//! place counts with three atomics of its own, so that the packet path takes no lock; the control
//! side calls [`tell_left_out`] once a second for what was swallowed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};

use super::log_writer::tell_lost;
use crate::limits::{LOG_LINES_PER_SECOND, MAX_FOREIGN_LOG_PLACES, MAX_LIMITED_LOG_PLACES};

/// Logs like `tracing::event!`, at most [`LOG_LINES_PER_SECOND`] times a second from this place.
///
/// `limited!(DEBUG, session = %key, "refused: {error}")`
macro_rules! limited {
    ($level:ident, $($line:tt)+) => {{
        static PLACE: $crate::telemetry::LogPlace =
            $crate::telemetry::LogPlace::new(tracing::Level::$level, file!(), line!());
        if tracing::enabled!(tracing::Level::$level) && PLACE.admit() {
            tracing::event!(tracing::Level::$level, $($line)+);
        }
    }};
}
pub(crate) use limited;

/// One place in the code that logs what strangers cause; made by `limited!`, and for each place in
/// a dependency.
#[derive(Debug)]
pub struct LogPlace {
    level: Level,
    file: &'static str,
    line: u32,
    /// The second (of this process) that `written` counts in, plus one; zero before the first.
    second: AtomicU64,
    written: AtomicU32,
    left_out: AtomicU64,
    listed: OnceLock<()>,
}

impl LogPlace {
    /// The place in `file` at `line`, whose lines have this level.
    #[must_use]
    pub const fn new(level: Level, file: &'static str, line: u32) -> LogPlace {
        LogPlace {
            level,
            file,
            line,
            second: AtomicU64::new(0),
            written: AtomicU32::new(0),
            left_out: AtomicU64::new(0),
            listed: OnceLock::new(),
        }
    }

    /// Whether one more line may be written now; a line that may not is counted.
    pub fn admit(&'static self) -> bool {
        self.admit_in(second_now())
    }

    fn admit_in(&'static self, second: u64) -> bool {
        // Two threads that see a second begin may both start its count: a few lines too many.
        if self.second.swap(second + 1, Ordering::Relaxed) != second + 1 {
            self.written.store(0, Ordering::Relaxed);
        }
        if self.written.fetch_add(1, Ordering::Relaxed) < LOG_LINES_PER_SECOND {
            return true;
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        self.listed.get_or_init(|| PLACES.list(self));
        false
    }

    /// Writes one line about what was left out since the last time, if anything was.
    fn tell(&self) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out == 0 {
            return;
        }
        let Self { file, line, .. } = self;
        // The level of an event is part of its call site, so each needs one of its own.
        macro_rules! tell {
            ($($level:ident)*) => {
                $(if self.level == Level::$level {
                    tracing::event!(
                        Level::$level,
                        left_out,
                        "{left_out} more lines of {file}:{line} were left out: at most \
                         {LOG_LINES_PER_SECOND} a second are written"
                    );
                })*
            };
        }
        tell!(ERROR WARN INFO DEBUG TRACE);
    }
}

/// The places that ever left something out. Each is listed once and stays.
struct Places {
    used: AtomicUsize,
    places: [OnceLock<&'static LogPlace>; MAX_LIMITED_LOG_PLACES],
}

static PLACES: Places = Places {
    used: AtomicUsize::new(0),
    places: [const { OnceLock::new() }; MAX_LIMITED_LOG_PLACES],
};

impl Places {
    /// Lists `place`. Beyond the bound, which is above the number of places in the code, its lines
    /// are limited all the same, and nobody tells how many were left out.
    fn list(&self, place: &'static LogPlace) {
        if let Some(free) = self.places.get(self.used.fetch_add(1, Ordering::Relaxed)) {
            free.get_or_init(|| place);
        }
    }
}

/// Places in the dependencies, in the order in which they first logged.
static FOREIGN: [OnceLock<(Identifier, LogPlace)>; MAX_FOREIGN_LOG_PLACES] =
    [const { OnceLock::new() }; MAX_FOREIGN_LOG_PLACES];

/// All places beyond those.
static REST: LogPlace = LogPlace::new(Level::WARN, "other places in the dependencies", 0);

/// Whether a dependency may write one more line now from the place that `metadata` describes; a
/// line that may not is counted.
pub(super) fn admit_foreign(metadata: &'static Metadata<'static>) -> bool {
    let here = metadata.callsite();
    let place = FOREIGN.iter().find_map(|place| {
        let (known, place) = place.get_or_init(|| {
            let line = metadata.line().unwrap_or_default();
            (here.clone(), LogPlace::new(*metadata.level(), metadata.target(), line))
        });
        (*known == here).then_some(place)
    });
    place.unwrap_or(&REST).admit()
}

/// Writes a line for each place that has left lines out since the last call, and one for the lines
/// that standard error did not take. To be called once a second, and once more before the end.
pub fn tell_left_out() {
    PLACES.places.iter().filter_map(OnceLock::get).for_each(|place| place.tell());
    tell_lost();
}

fn second_now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> &'static LogPlace {
        Box::leak(Box::new(LogPlace::new(Level::INFO, "a.rs", 1)))
    }

    #[test]
    fn so_many_a_second_and_the_rest_is_counted() {
        let place = place();
        let admitted = |second| (0..100).filter(|_| place.admit_in(second)).count();
        assert_eq!(admitted(0), LOG_LINES_PER_SECOND as usize);
        assert_eq!(place.left_out.load(Ordering::Relaxed), 100 - u64::from(LOG_LINES_PER_SECOND));
        assert_eq!(admitted(1), LOG_LINES_PER_SECOND as usize, "a new second, a new count");
        assert_eq!(admitted(1), 0);
        assert!(PLACES.places.iter().flat_map(OnceLock::get).any(|one| std::ptr::eq(*one, place)));
        tell_left_out();
        assert_eq!(place.left_out.load(Ordering::Relaxed), 0, "told once");
    }
}
