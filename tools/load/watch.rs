//! Looks at a run once a second: a point of its series, and a picture or a line for whoever waits.

use crate::args::{RunArgs, Show};
use crate::cpu::{cpu_seconds, resident_bytes};
use crate::latencies::Counts;
use crate::live::{self, Picture};
use crate::series::{Point, Series};
use crate::tally::{Snapshot, Tally};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// The run as it is seen while it goes on.
pub struct Watch {
    tallies: Vec<Arc<Tally>>,
    server_pid: Option<u32>,
    sessions_requested: u64,
    duration: Duration,
    live: bool,
    started: Instant,
    last: Sample,
    series: Series,
    /// Lines of the picture on the terminal.
    drawn: u16,
}

struct Sample {
    at: Instant,
    snapshot: Snapshot,
    latency: Counts,
    server_cpu_s: Option<f64>,
    client_cpu_s: f64,
}

impl Watch {
    /// Watches the workers behind `tallies`.
    #[must_use]
    pub fn new(args: &RunArgs, tallies: Vec<Arc<Tally>>) -> Self {
        let now = Instant::now();
        Self {
            last: Sample::now(now, &tallies, args.server_pid),
            tallies,
            server_pid: args.server_pid,
            sessions_requested: args.sessions(),
            duration: args.duration,
            live: match args.live {
                Show::Auto => std::io::stderr().is_terminal(),
                Show::Always => true,
                Show::Never => false,
            },
            started: now,
            series: Series::default(),
            drawn: 0,
        }
    }

    /// Takes a point and shows it, if a second has passed since the last.
    pub fn look(&mut self, phase: &str, measuring: bool) {
        let now = Instant::now();
        if now.duration_since(self.last.at) >= INTERVAL {
            self.take(now, phase, measuring);
        }
    }

    /// Takes what is left of a second when a phase ends.
    pub fn finish(&mut self, phase: &str, measuring: bool) {
        let now = Instant::now();
        if now.duration_since(self.last.at) >= INTERVAL / 4 {
            self.take(now, phase, measuring);
        }
    }

    /// The run so far.
    #[must_use]
    pub fn into_series(self) -> Series {
        self.series
    }

    fn take(&mut self, now: Instant, phase: &str, measuring: bool) {
        let sample = Sample::now(now, &self.tallies, self.server_pid);
        let point = sample.since(&self.last, self.started, self.server_pid, measuring);
        self.last = sample;
        self.series.push(point);
        if self.live {
            self.draw(phase);
        } else {
            eprintln!("{}", live::line(phase, &point));
        }
    }

    fn draw(&mut self, phase: &str) {
        let picture = Picture {
            phase,
            points: self.series.points(),
            sessions_requested: self.sessions_requested,
            duration: self.duration,
        };
        let width = ratatui::crossterm::terminal::size().map_or(80, |(width, _)| width);
        let (text, lines) = picture.text(width.clamp(20, 200));
        // Over the last picture: no screen is taken, so none has to be given back.
        let up = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A"),
        };
        self.drawn = lines;
        // Whoever looked has gone; the run goes on.
        let _ = std::io::stderr().write_all((up + &text).as_bytes());
    }
}

impl Sample {
    fn now(at: Instant, tallies: &[Arc<Tally>], server_pid: Option<u32>) -> Self {
        let mut latency = Counts::default();
        tallies.iter().for_each(|tally| tally.latency.add_to(&mut latency));
        Self {
            at,
            snapshot: Snapshot::of(tallies.iter().map(Arc::as_ref)),
            latency,
            server_cpu_s: server_pid.and_then(|pid| cpu_seconds(pid).ok()),
            client_cpu_s: cpu_seconds(std::process::id()).unwrap_or(0.0),
        }
    }

    fn since(&self, before: &Self, start: Instant, pid: Option<u32>, measuring: bool) -> Point {
        let (now, then) = (&self.snapshot, &before.snapshot);
        let latency = self.latency.since(&before.latency);
        let spanned = now.spanned.saturating_sub(then.spanned);
        // What came late fills a gap of a second before: this one then has none.
        let missing = spanned.saturating_sub(now.unique.saturating_sub(then.unique));
        Point {
            at_s: self.at.duration_since(start).as_secs_f64(),
            seconds: self.at.duration_since(before.at).as_secs_f64(),
            measuring,
            publishers: now.publishers_connected,
            viewers: now.viewers_connected,
            failed: now.failed,
            packets: now.packets - then.packets,
            bytes: now.bytes - then.bytes,
            spanned,
            missing,
            p50_us: latency.quantile_us(0.5),
            p99_us: latency.quantile_us(0.99),
            server_cpu_s: self.server_cpu_s.zip(before.server_cpu_s).map(|(now, then)| now - then),
            client_cpu_s: self.client_cpu_s - before.client_cpu_s,
            server_rss_bytes: pid.and_then(|pid| resident_bytes(pid).ok()),
        }
    }
}
