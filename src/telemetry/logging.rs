//! Where log lines go and how they look: standard error, as text for people or as JSON, a line
//! each, for programs.
//!
//! A line about a session carries its public name in the field `session`, so that one search finds
//! all of them. What the dependencies say is limited as what strangers cause is (`limited.rs`),
//! since strangers cause it. Whoever logs hands the line to `log_writer.rs` and goes on.

use std::io;

use clap::ValueEnum;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::limited::admit_foreign;
use super::log_writer::LogWriter;
use super::process::{count_panic, started};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object per line, for programs
    Json,
}

/// Sends log lines that pass `filter` to standard error, for the rest of the process, and what a
/// panic says with them. Standard error that takes nothing, or takes it slowly, costs lines.
///
/// # Errors
/// When `filter` is none.
///
/// # Panics
/// When the process has a subscriber already: this is called once, at its start.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    // A formatter that can't write would say so on standard error, and panic there.
    let lines = fmt::layer().with_writer(LogWriter::start).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter).with(ForeignLines);
    match format {
        LogFormat::Text => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            registry.with(lines.with_ansi(is_terminal)).init();
        }
        // The fields of the line stand beside its time and level, where queries look for them.
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    started();
    std::panic::set_hook(Box::new(|panic| {
        count_panic();
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let words = payload.downcast_ref::<&str>().copied();
        let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let words = words.unwrap_or("(no words)");
        tracing::error!(thread = thread.name(), place, "panicked: {words}");
    }));
    Ok(())
}

/// Lets so many lines a second pass from each place outside this crate.
struct ForeignLines;

impl<S: Subscriber> Layer<S> for ForeignLines {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let own = env!("CARGO_PKG_NAME");
        let target = metadata.target();
        let is_own =
            target.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        is_own || admit_foreign(metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::limits::LOG_LINES_PER_SECOND;

    static LINES: AtomicUsize = AtomicUsize::new(0);

    struct Count;

    impl Write for Count {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            LINES.fetch_add(1, Ordering::Relaxed);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dependencies_warn_ten_times_a_second_from_one_place_and_our_lines_are_as_many_as_they_are() {
        let count = fmt::layer().with_writer(|| Count);
        let registry = tracing_subscriber::registry().with(ForeignLines).with(count);
        tracing::subscriber::with_default(registry, || {
            (0..1_000).for_each(|_| tracing::warn!(target: "str0m::sdp", "Unknown extension"));
            let foreign = LINES.swap(0, Ordering::Relaxed) as u32;
            // A second may begin in between.
            let most = 2 * LOG_LINES_PER_SECOND;
            assert!((LOG_LINES_PER_SECOND..=most).contains(&foreign), "{foreign}");
            (0..100).for_each(|_| tracing::warn!(target: "monoport::node", "ours"));
            assert_eq!(LINES.load(Ordering::Relaxed), 100);
        });
    }
}
