//! The last mile of a viewer: what a server sends it passes a bottleneck with a queue, and some is
//! lost. The model is this process's own, so it needs no privileges and is the same everywhere.

use crate::dice::Dice;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Datagrams that may wait at a time, whatever the queue's length in time: some 6 MB.
const MAX_HELD: usize = 4_096;
/// IPv4 and UDP.
const HEADERS_BYTES: u64 = 28;

/// From when on a link carries how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Since the measurement began.
    pub at: Duration,
    pub bits_per_s: f64,
}

/// What all links of a run are like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// In the order of their times; the first one holds from the beginning on.
    pub steps: Arc<[Step]>,
    /// What waits longer than this has no room.
    pub queue: Duration,
    /// On the way, whatever waits.
    pub delay: Duration,
    /// The part that is lost.
    pub loss: f64,
}

/// One viewer's link, from the server to it.
pub struct Link {
    shape: Shape,
    dice: Dice,
    /// Until when what was taken keeps the bottleneck busy.
    busy_until_ns: u64,
    /// What is on its way, and when it arrives.
    held: VecDeque<(u64, Vec<u8>)>,
    pub counts: Counts,
}

/// What became of a link's datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub taken: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// The queue was full.
    pub overflowed: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
    }
}

impl Link {
    /// A link; `seed` tells its losses from those of another.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Self {
        let dice = Dice::new(shape.loss, seed);
        let (held, counts) = (VecDeque::new(), Counts::default());
        Self { shape, dice, busy_until_ns: 0, held, counts }
    }

    /// A datagram comes to the bottleneck; `began_ns` is when the measurement did.
    pub fn take(&mut self, bytes: &[u8], now_ns: u64, began_ns: Option<u64>) {
        self.counts.taken += 1;
        if self.dice.lose() {
            self.counts.lost += 1;
            return;
        }
        let bits = (bytes.len() as u64 + HEADERS_BYTES) * 8;
        let start_ns = self.busy_until_ns.max(now_ns);
        let took_ns = (bits as f64 * 1e9 / self.bits_per_s(now_ns, began_ns)) as u64;
        let waited = Duration::from_nanos(start_ns - now_ns);
        if waited > self.shape.queue || self.held.len() >= MAX_HELD {
            self.counts.overflowed += 1;
            return;
        }
        self.busy_until_ns = start_ns + took_ns;
        let arrives_ns = self.busy_until_ns + self.shape.delay.as_nanos() as u64;
        self.held.push_back((arrives_ns, bytes.to_vec()));
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        self.held.front().map(|(at_ns, _)| *at_ns)
    }

    /// The next datagram that has arrived, and when it did.
    pub fn arrived(&mut self, now_ns: u64) -> Option<(u64, Vec<u8>)> {
        self.due_ns().filter(|at_ns| *at_ns <= now_ns)?;
        self.held.pop_front()
    }

    fn bits_per_s(&self, now_ns: u64, began_ns: Option<u64>) -> f64 {
        let elapsed = began_ns.map_or(0, |began_ns| now_ns.saturating_sub(began_ns));
        let elapsed = Duration::from_nanos(elapsed);
        let steps = &self.shape.steps;
        let step = steps.iter().rfind(|step| step.at <= elapsed).or(steps.first());
        step.map_or(f64::INFINITY, |step| step.bits_per_s)
    }
}

/// `800k`, or steps: `4M,1M@10s,4M@20s`.
///
/// # Errors
/// What is wrong with the text, for the command line.
pub fn parse_steps(text: &str) -> Result<Arc<[Step]>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for word in text.split(',') {
        let (rate, at) = word.trim().split_once('@').unwrap_or((word.trim(), "0"));
        let at = crate::args::parse_duration(at)?;
        if steps.last().is_some_and(|last| last.at >= at) {
            return Err(format!("{word:?} is not later than what stands before it"));
        }
        steps.push(Step { at, bits_per_s: parse_rate(rate)? });
    }
    Ok(steps.into())
}

/// Bits a second: `800k`, `2.5M`, `64000`.
fn parse_rate(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(['k', 'K', 'M']);
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        _ => return Err(format!("{text:?} is no rate as in 800k or 2.5M")),
    };
    match digits.parse::<f64>() {
        Ok(number) if number * unit >= 1_000.0 => Ok(number * unit),
        _ => Err(format!("{text:?} is no rate as in 800k or 2.5M, 1k at least")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn shape(steps: &str, loss: f64) -> Shape {
        let steps = parse_steps(steps).unwrap();
        let (queue, delay) = (Duration::from_millis(100), Duration::from_millis(20));
        Shape { steps, queue, delay, loss }
    }

    #[test]
    fn what_is_sent_at_once_comes_out_at_the_links_rate_and_the_rest_overflows() {
        // 972 bytes and their headers are 1 ms of 8 Mb/s.
        let mut link = Link::new(shape("8M", 0.0), 1);
        for _ in 0..200 {
            link.take(&[0; 972], 5 * MS, None);
        }
        assert_eq!(link.counts, Counts { taken: 200, lost: 0, overflowed: 99 });
        assert_eq!(link.arrived(26 * MS - 1), None);
        for at in 0..101 {
            let due = (26 + at) * MS;
            assert_eq!(link.due_ns(), Some(due));
            assert_eq!(link.arrived(due).map(|(at, bytes)| (at, bytes.len())), Some((due, 972)));
        }
        assert_eq!(link.due_ns(), None);
    }

    #[test]
    fn a_step_counts_from_the_beginning_of_the_measurement() {
        let mut link = Link::new(shape("8M,800k@2s", 0.0), 1);
        let mut took = |now_ns: u64, began_ns| {
            link.take(&[0; 972], now_ns, began_ns);
            link.arrived(u64::MAX).map(|(at, _)| (at - now_ns) / MS)
        };
        assert_eq!(took(10_000 * MS, None), Some(21), "it has not begun");
        assert_eq!(took(11_999 * MS, Some(10_000 * MS)), Some(21));
        assert_eq!(took(12_001 * MS, Some(10_000 * MS)), Some(30));
    }

    #[test]
    fn a_part_is_lost() {
        let mut link = Link::new(shape("1000M", 0.1), 7);
        for at in 0..10_000 {
            link.take(&[0; 100], at * MS, None);
            let _ = link.arrived(u64::MAX);
        }
        assert!((900..1_100).contains(&link.counts.lost), "{:?}", link.counts);
    }

    #[test]
    fn steps_are_read() {
        let at = |text| parse_steps(text).map(|steps| steps.iter().map(|s| s.bits_per_s).collect());
        assert_eq!(at("4M, 1M@10s,2.5M@20s"), Ok::<Vec<_>, _>(vec![4e6, 1e6, 2.5e6]));
        assert_eq!(at("800k"), Ok(vec![8e5]));
        for wrong in ["", "8", "4M,1M", "4M@2s,1M@1s", "fast", "1M@soon", "-1M", "4kM"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
