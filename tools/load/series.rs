//! What a run was like, second by second, in bounded memory: when there are too many points, each
//! two become one.

use serde::Serialize;

/// Points that are kept: of a run of an hour each covers 8 s, of a day three minutes.
pub const MAX_POINTS: usize = 600;

/// A stretch of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// When it ended, in seconds since the run began.
    pub at_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// Whether the run was measuring by then; otherwise sessions were being set up.
    pub measuring: bool,
    pub publishers: u64,
    pub viewers: u64,
    pub failed: u64,
    /// What arrived in it.
    pub packets: u64,
    pub bytes: u64,
    /// Packets that should have arrived in it, and how many of them are missing.
    pub spanned: u64,
    pub missing: u64,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    /// CPU seconds in it.
    pub server_cpu_s: Option<f64>,
    pub client_cpu_s: f64,
    /// At its end.
    pub server_rss_bytes: Option<u64>,
}

/// All points of a run.
#[derive(Debug)]
pub struct Series {
    points: Vec<Point>,
    /// Seconds of the run that go into one point.
    per_point: u32,
    /// What of the last point is still missing.
    open: u32,
}

impl Default for Series {
    fn default() -> Self {
        Self { points: Vec::new(), per_point: 1, open: 0 }
    }
}

impl Point {
    #[must_use]
    pub fn packets_per_s(&self) -> f64 {
        self.packets as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    #[must_use]
    pub fn bits_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds.max(f64::MIN_POSITIVE)
    }

    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        self.missing as f64 / self.spanned.max(1) as f64
    }

    /// CPU in percent of a core.
    #[must_use]
    pub fn percent(&self, cpu_s: f64) -> f64 {
        100.0 * cpu_s / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// This stretch and the next as one. Of latencies the worse one stays: percentiles can't be
    /// added, and a peak must not vanish in a long run.
    fn and(&self, next: &Self) -> Self {
        Self {
            at_s: next.at_s,
            seconds: self.seconds + next.seconds,
            measuring: next.measuring,
            publishers: next.publishers,
            viewers: next.viewers,
            failed: next.failed,
            packets: self.packets + next.packets,
            bytes: self.bytes + next.bytes,
            spanned: self.spanned + next.spanned,
            missing: self.missing + next.missing,
            p50_us: self.p50_us.max(next.p50_us),
            p99_us: self.p99_us.max(next.p99_us),
            server_cpu_s: self.server_cpu_s.zip(next.server_cpu_s).map(|(one, other)| one + other),
            client_cpu_s: self.client_cpu_s + next.client_cpu_s,
            server_rss_bytes: next.server_rss_bytes,
        }
    }
}

impl Series {
    /// Adds one second, or nearly.
    pub fn push(&mut self, point: Point) {
        match self.points.last_mut() {
            Some(last) if self.open > 0 => {
                *last = last.and(&point);
                self.open -= 1;
                return;
            }
            _ => {}
        }
        if self.points.len() == MAX_POINTS {
            self.points = self.points.chunks(2).map(join).collect();
            self.per_point *= 2;
        }
        self.points.push(point);
        self.open = self.per_point - 1;
    }

    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }
}

fn join(two: &[Point]) -> Point {
    match two {
        [one, other] => one.and(other),
        [one] => *one,
        _ => Point::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_its_sums_and_peaks_in_few_points() {
        let mut series = Series::default();
        let seconds = 3 * MAX_POINTS as u64 + 7;
        for second in 1..=seconds {
            series.push(Point {
                at_s: second as f64,
                seconds: 1.0,
                packets: 10,
                p99_us: Some(if second == 1_000 { 9_999 } else { 100 }),
                client_cpu_s: 0.5,
                ..Point::default()
            });
            assert!(series.points().len() <= MAX_POINTS);
        }
        let points = series.points();
        assert!(points.len() > MAX_POINTS / 3, "{}", points.len());
        assert_eq!(points.iter().map(|point| point.packets).sum::<u64>(), 10 * seconds);
        assert_eq!(points.iter().filter(|point| point.p99_us == Some(9_999)).count(), 1);
        assert!(points.iter().all(|point| (point.packets_per_s() - 10.0).abs() < 1e-9));
        assert!(points.windows(2).all(|two| two[0].at_s < two[1].at_s));
        assert_eq!(points.last().map(|point| point.at_s), Some(seconds as f64));
    }
}
