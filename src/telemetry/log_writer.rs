//! The thread that writes log lines, and the queue before it.
//!
//! Standard error may be a disk that is full, a pipe that nobody reads, a terminal that was
//! stopped. Whoever logs must neither wait for it nor fail with it: a line that finds the queue
//! full, or that is refused, is lost and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use super::exposition::{Exposition, Labels};
use crate::limits::{LOG_FLUSH, LOG_QUEUE_LINES, MAX_LOG_LINE_BYTES};

/// What the threads that log share with the one that writes.
pub(super) struct Lines {
    queue: ArrayQueue<Box<[u8]>>,
    /// Lines that were queued and have not been written or lost.
    waiting: AtomicU64,
    lost: AtomicU64,
    /// Whether the last line was taken.
    taken: AtomicBool,
}

static LINES: OnceLock<(Lines, Option<Thread>)> = OnceLock::new();

impl Lines {
    fn new() -> Lines {
        Lines {
            queue: ArrayQueue::new(LOG_QUEUE_LINES),
            waiting: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            taken: AtomicBool::new(true),
        }
    }

    /// Queues a line; one for which there is no room is lost.
    fn push(&self, line: &[u8]) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if line.len() > MAX_LOG_LINE_BYTES || self.queue.push(line.into()).is_err() {
            self.done(false);
        }
    }

    fn done(&self, written: bool) {
        if !written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.fetch_sub(1, Ordering::Release);
    }

    /// Writes what is queued to `out`. A line that was written in part ends where it was cut off:
    /// the next one begins a line of its own.
    fn write_to(&self, out: &mut impl Write, torn: &mut bool) {
        while let Some(line) = self.queue.pop() {
            let start: &[u8] = if *torn { b"\n" } else { b"" };
            let written = out.write_all(start).and_then(|()| {
                *torn = false;
                write_whole(out, &line, torn)
            });
            self.taken.store(written.is_ok(), Ordering::Relaxed);
            self.done(written.is_ok());
        }
    }
}

/// Writes all of `line`; `torn` says whether only a part of it went.
fn write_whole(out: &mut impl Write, line: &[u8], torn: &mut bool) -> io::Result<()> {
    let mut left = line;
    while !left.is_empty() {
        match out.write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => left = &left[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Also that it would block: nobody waits for whoever reads it.
            Err(error) => return Err(error),
        }
        *torn = !left.is_empty();
    }
    Ok(())
}

/// One line on its way to the queue; the formatter writes it whole.
pub(super) struct LogWriter(&'static (Lines, Option<Thread>));

impl LogWriter {
    /// The writer of the process; its thread is started with the first.
    pub fn start() -> LogWriter {
        LogWriter(LINES.get_or_init(|| (Lines::new(), start_thread())))
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (lines, thread) = self.0;
        lines.push(line);
        if let Some(thread) = thread {
            thread.unpark();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Without a thread every line that finds the queue full is lost, and counted as such.
fn start_thread() -> Option<Thread> {
    // A handle of its own: whoever else writes to standard error does not wait for its lock.
    let mut out = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
    let named = thread::Builder::new().name("log".to_owned());
    let started = named.spawn(move || {
        let mut torn = false;
        loop {
            if let Some((lines, _thread)) = LINES.get() {
                lines.write_to(&mut out, &mut torn);
            }
            thread::park();
        }
    });
    started.ok().map(|handle| handle.thread().clone())
}

/// Waits until what was logged is written, for a moment at most: for the end of the process.
pub fn flush_log() {
    let Some((lines, _thread)) = LINES.get() else { return };
    let deadline = Instant::now() + LOG_FLUSH;
    while lines.waiting.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Adds the lines that were lost.
pub(super) fn log_lines_lost(exposition: &mut Exposition) {
    let help = "Log lines lost: standard error was full, refused them or was not read";
    let lost = LINES.get().map_or(0, |(lines, _thread)| lines.lost.load(Ordering::Relaxed));
    exposition.counter("log_lines_lost", help).count(Labels::new(), lost);
}

/// Writes one line about the lines that were lost since the last time, once lines are taken again.
pub(super) fn tell_lost() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let Some((lines, _thread)) = LINES.get() else { return };
    let are_taken = lines.taken.load(Ordering::Relaxed) && lines.queue.is_empty();
    let lost = lines.lost.load(Ordering::Relaxed);
    if are_taken && lost > TOLD.load(Ordering::Relaxed) {
        let lost_lines = lost - TOLD.swap(lost, Ordering::Relaxed);
        tracing::warn!(
            lost_lines,
            "{lost_lines} log lines were lost: standard error was full, or nobody read it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and refuses the rest.
    struct Disk {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.taken.extend(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_lines_and_tears_none_that_comes_later() {
        let lines = Lines::new();
        let mut disk = Disk { taken: Vec::new(), room: 10 };
        let mut torn = false;
        for line in ["first\n", "second\n", "third\n"] {
            lines.push(line.as_bytes());
        }
        lines.write_to(&mut disk, &mut torn);
        assert_eq!(
            (lines.lost.load(Ordering::Relaxed), disk.taken.as_slice()),
            (2, &b"first\nseco"[..])
        );
        assert!(!lines.taken.load(Ordering::Relaxed));
        disk.room = 100;
        lines.push(b"fourth\n");
        lines.write_to(&mut disk, &mut torn);
        assert_eq!(disk.taken, b"first\nseco\nfourth\n");
        assert!(lines.taken.load(Ordering::Relaxed));
        assert_eq!(lines.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_queue_that_nobody_empties_loses_what_comes_and_so_does_a_line_without_end() {
        let lines = Lines::new();
        for _ in 0..LOG_QUEUE_LINES + 3 {
            lines.push(b"line\n");
        }
        assert_eq!(lines.lost.load(Ordering::Relaxed), 3);
        let lines = Lines::new();
        lines.push(&vec![b'x'; MAX_LOG_LINE_BYTES + 1]);
        assert_eq!((lines.lost.load(Ordering::Relaxed), lines.queue.len()), (1, 0));
    }
}
