//! Whether the load itself kept its times: what leaves late makes the server look late.

use crate::worker::latency_histogram;
use hdrhistogram::Histogram;
use std::time::Duration;

/// A frame that leaves this much after its time is late: a third of the frame time of 30 a second.
const LATE: Duration = Duration::from_millis(10);

/// The frames of one worker's publishers, of video and of audio.
#[derive(Clone, Debug)]
pub struct Punctuality {
    /// Microseconds after its time that each frame left, while the run measured.
    pub lateness_us: Histogram<u64>,
    /// Frames sent so far.
    pub frames: u64,
    /// Those that left later than [`LATE`], and how late the latest was.
    pub late: u64,
    pub latest: Duration,
    /// Frames left out because this process was late by more than a frame.
    pub skipped: u64,
}

impl Default for Punctuality {
    fn default() -> Self {
        Self {
            lateness_us: latency_histogram(),
            frames: 0,
            late: 0,
            latest: Duration::ZERO,
            skipped: 0,
        }
    }
}

impl Punctuality {
    /// A frame left `late` after its time, and `skipped` behind it will not.
    pub fn left(&mut self, late: Duration, skipped: u64, measuring: bool) {
        self.frames += 1;
        self.late += u64::from(late > LATE);
        self.latest = self.latest.max(late);
        self.skipped += skipped;
        if measuring {
            // Half a microsecond and less is none; the histogram begins at one.
            self.lateness_us.saturating_record((late.as_micros() as u64).max(1));
        }
    }

    /// Adds another worker's.
    ///
    /// # Panics
    /// Never: all histograms here have one shape.
    pub fn add(&mut self, other: &Self) {
        self.lateness_us.add(&other.lateness_us).expect("histograms of one shape");
        self.frames += other.frames;
        self.late += other.late;
        self.latest = self.latest.max(other.latest);
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_are_counted_and_only_what_was_measured_is_in_the_histogram() {
        let mut one = Punctuality::default();
        one.left(Duration::from_millis(10), 0, false);
        one.left(Duration::from_micros(250), 0, true);
        let mut other = Punctuality::default();
        other.left(Duration::from_millis(70), 2, true);
        one.add(&other);
        assert_eq!((one.frames, one.late, one.skipped), (3, 1, 2));
        assert_eq!(one.latest, Duration::from_millis(70));
        assert_eq!((one.lateness_us.len(), one.lateness_us.min()), (2, 250));
    }
}
