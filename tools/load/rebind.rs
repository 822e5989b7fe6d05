//! Viewers that change their address while they watch, as behind a NAT that forgets them: the peer
//! does not notice, and the server learns of it from the next connectivity check.

use crate::account::Account;
use crate::report::{Check, Percentiles, of_values};
use serde::Serialize;
use std::time::Duration;

/// When viewer `job` of all changes its address, counted from the beginning of the measurement: the
/// first `count` do, spread over a second.
#[must_use]
pub fn planned(job: usize, count: usize, at: Duration) -> Option<Duration> {
    (job < count).then(|| at + Duration::from_secs(1).mul_f64(job as f64 / count as f64))
}

/// What a change of address does to one viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// When the last packet of media came.
    last_ns: u64,
    moved: bool,
    /// From the last packet at the old address to the first at the new one.
    length_ns: Option<u64>,
}

impl Gap {
    /// A packet of media came.
    pub fn arrived(&mut self, now_ns: u64) {
        if self.moved && self.length_ns.is_none() {
            self.length_ns = Some(now_ns.saturating_sub(self.last_ns));
        }
        self.last_ns = now_ns;
    }

    /// The address changed.
    pub fn begin(&mut self) {
        self.moved = true;
    }

    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.moved
    }
}

/// Those of one worker that changed their address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moved {
    viewers: u64,
    expected: u64,
    received: u64,
    gaps_ms: Vec<f64>,
}

impl Moved {
    /// Adds a viewer, with its accounts and how many packets each publisher has sent.
    pub fn add(&mut self, gap: Gap, accounts: [(&Account, u64); 2]) {
        self.viewers += 1;
        self.gaps_ms.extend(gap.length_ns.map(|ns| ns as f64 / 1e6));
        for (account, sent) in accounts {
            self.expected += account.expected(sent);
            self.received += account.received;
        }
    }
}

/// What became of the viewers that changed their address; they are not part of the other counts.
#[derive(Clone, Debug, Serialize)]
pub struct RebindReport {
    pub viewers: u64,
    /// Those to whom media came at their new address.
    pub playing_on: u64,
    pub packets_expected: u64,
    pub packets_received: u64,
    /// From the last packet at the old address to the first at the new one.
    pub gap_ms: Percentiles<f64>,
}

impl RebindReport {
    /// The sum of all workers'; `None` when nobody changed.
    #[must_use]
    pub fn new<'a>(workers: impl Iterator<Item = &'a Moved>) -> Option<Self> {
        let mut sum = Moved::default();
        for moved in workers {
            sum.viewers += moved.viewers;
            sum.expected += moved.expected;
            sum.received += moved.received;
            sum.gaps_ms.extend(&moved.gaps_ms);
        }
        (sum.viewers > 0).then(|| Self {
            viewers: sum.viewers,
            playing_on: sum.gaps_ms.len() as u64,
            packets_expected: sum.expected,
            packets_received: sum.received,
            gap_ms: of_values(sum.gaps_ms),
        })
    }

    /// What has to be kept: everyone plays on.
    #[must_use]
    pub fn check(&self) -> Check {
        let Self { playing_on, viewers, .. } = self;
        Check {
            what: "viewers that play on at their new address",
            found: playing_on.to_string(),
            wanted: format!("all {viewers}"),
            kept: playing_on >= viewers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_viewers_move_within_a_second() {
        let at = Duration::from_secs(2);
        assert_eq!(planned(0, 4, at), Some(at));
        assert_eq!(planned(3, 4, at), Some(Duration::from_millis(2_750)));
        assert_eq!((planned(4, 4, at), planned(0, 0, at)), (None, None));
    }

    #[test]
    fn a_gap_ends_with_the_first_packet_at_the_new_address() {
        let mut gap = Gap::default();
        gap.arrived(1_000_000);
        gap.arrived(5_000_000);
        gap.begin();
        assert!(gap.has_moved() && gap.length_ns.is_none());
        gap.arrived(9_000_000);
        gap.arrived(30_000_000);
        assert_eq!(gap.length_ns, Some(4_000_000));
    }

    #[test]
    fn a_viewer_that_stays_silent_is_missed() {
        let mut moved = Moved::default();
        let account = Account::default();
        let mut silent = Gap::default();
        silent.begin();
        let mut playing = silent;
        playing.arrived(2_000_000);
        for gap in [silent, playing] {
            moved.add(gap, [(&account, 0), (&account, 0)]);
        }
        let report = RebindReport::new([&moved].into_iter()).expect("two have moved");
        assert_eq!((report.viewers, report.playing_on, report.gap_ms.max), (2, 1, 2.0));
        let check = report.check();
        assert!(!check.kept && check.found == "1" && check.wanted == "all 2");
        assert!(RebindReport::new([&Moved::default()].into_iter()).is_none());
    }
}
