//! Bounds of the log.

use std::time::Duration;

/// Lines a second that one place in the code logs of what strangers can cause: enough to see what
/// goes on, and 2 KB a second of disk.
pub const LOG_LINES_PER_SECOND: u32 = 10;

/// Places in the dependencies that log: at `info` a hundred or so, and strangers reach few of them.
/// Those beyond share one limit.
pub const MAX_FOREIGN_LOG_PLACES: usize = 128;

/// Places in the code that log what strangers can cause: about forty here, and those of the
/// dependencies.
pub const MAX_LIMITED_LOG_PLACES: usize = 64 + MAX_FOREIGN_LOG_PLACES + 1;

/// Log lines that wait to be written; more are lost. The lines that a hundred sessions write at
/// `debug` while they connect at once.
pub const LOG_QUEUE_LINES: usize = 1_024;

/// The longest log line; a longer one is lost. What a stranger wrote is quoted in part by ours, and
/// a dependency that quotes all of it must not fill a disk.
pub const MAX_LOG_LINE_BYTES: usize = 8 * 1024;

const _: () = assert!(
    LOG_QUEUE_LINES * MAX_LOG_LINE_BYTES <= 8 << 20,
    "what waits to be written takes 8 MB at most"
);

/// How long the end of the process waits for log lines to be written.
pub const LOG_FLUSH: Duration = Duration::from_millis(500);
