//! Where log lines go and how they look: standard error, as text for people or as JSON, a line
//! each, for programs.
//!
//! A line about a session carries its public name in the field `session`, so that one search finds
//! all of them.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object per line, for programs
    Json,
}

/// Sends log lines that pass `filter` to standard error, for the rest of the process.
///
/// # Errors
/// When `filter` is none.
///
/// # Panics
/// When the process has a subscriber already: this is called once, at its start.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        // The fields of the line stand beside its time and level, where queries look for them.
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
