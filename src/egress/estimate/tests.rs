//! The whole estimate, by what is sent and reported.

use super::*;

/// A viewer whose path has a queue of so many milliseconds, sent a frame of packets at a time.
struct Path {
    estimator: Estimator,
    now: Micros,
    number: u16,
    queue_ms: u64,
    lose: bool,
}

impl Path {
    fn new() -> Path {
        let now = 5_000_000;
        let estimator = Estimator::new(now);
        Path { estimator, now, number: 65_000, queue_ms: 0, lose: false }
    }

    /// Two frames of four packets, 2 Mb/s in all, and what the viewer says of them; packets come a
    /// millisecond apart.
    fn feedback(&mut self) {
        let (first, began) = (self.number, self.now);
        for _ in 0..2 {
            let train = Train {
                at: self.now as u32,
                bytes: 4 * 2_060,
                first: self.number,
                first_bytes: 2_060,
                count: 4,
                probe: 0,
            };
            self.estimator.sent(train);
            self.number = self.number.wrapping_add(4);
            self.now += 33_000;
        }
        let clock = began + 20_000 + self.queue_ms * 1_000;
        let reference = (clock / 64_000) as u32;
        let rest = (clock % 64_000) as i64;
        let lose = self.lose;
        let packets = (0..8u16).map(|n| {
            let at = rest + i64::from(n / 4) * 33_000 + i64::from(n % 4) * 1_000;
            (first.wrapping_add(n), Some(at).filter(|_| !lose || n % 2 == 0))
        });
        self.estimator.feedback(self.now + 20_000, reference, packets);
    }

    fn estimate(&mut self, feedbacks: usize) -> Estimate {
        (0..feedbacks).for_each(|_| self.feedback());
        self.estimator.estimate()
    }
}

#[test]
fn a_calm_path_raises_the_rate_as_far_as_something_is_sent() {
    let mut path = Path::new();
    let estimate = path.estimate(2);
    assert_eq!(estimate.reason, Reason::Start, "too few trains");
    let estimate = path.estimate(200);
    assert!((2.5e6..3.2e6).contains(&estimate.bits_per_s), "{estimate:?}");
    let ceiling = estimate.ceiling_bits_per_s.expect("trains of four packets tell it");
    assert!((16e6..17e6).contains(&ceiling), "{ceiling}");
    assert_eq!((estimate.lost, estimate.state), (Some(0.0), State::Normal));
    assert!(estimate.queue_ms < 1.0);
}

#[test]
fn a_long_queue_lowers_the_rate_and_a_short_one_only_holds_it() {
    let mut path = Path::new();
    let before = path.estimate(40).bits_per_s;
    path.queue_ms = 30;
    let held = path.estimate(20);
    assert!(held.bits_per_s <= before * 1.1, "{held:?}");
    path.queue_ms = 100;
    let fallen = path.estimate(20);
    assert!(fallen.bits_per_s < 1.8e6, "{fallen:?}");
    assert!(matches!(fallen.reason, Reason::Queue | Reason::Delay), "{fallen:?}");
}

#[test]
fn losing_every_other_packet_lowers_the_rate_without_a_queue() {
    let mut path = Path::new();
    path.estimate(40);
    path.lose = true;
    let estimate = path.estimate(40);
    assert_eq!(estimate.reason, Reason::Loss);
    assert!(estimate.lost.is_some_and(|lost| lost > 0.4));
    assert!(estimate.bits_per_s < 1.2e6, "{estimate:?}");
}

#[test]
fn what_is_behind_a_pause_is_not_compared_with_what_was_before_it() {
    let mut path = Path::new();
    path.estimate(40);
    path.now += 4_000_000;
    let rest = std::mem::replace(&mut path.estimator, Estimator::new(0)).rest();
    path.estimator = Estimator::again(path.now, rest);
    path.queue_ms = 15;
    let estimate = path.estimate(30);
    assert_eq!(estimate.state, State::Normal);
    assert!(estimate.queue_ms > 14.0, "but the least delay is: {estimate:?}");
    path.estimator.forget(path.now);
    assert!(path.estimate(30).queue_ms < 1.0, "it is another path");
}

#[test]
fn feedback_on_what_was_never_sent_or_was_reported_on_changes_nothing() {
    let mut path = Path::new();
    let before = path.estimate(100);
    let (now, first) = (path.now, path.number);
    let unsent = (0..1_000u16).map(|n| (first.wrapping_add(n), Some(i64::from(n))));
    path.estimator.feedback(now, 77, unsent);
    let again = (1..9u16).map(|n| (first.wrapping_sub(n), None));
    path.estimator.feedback(now, 77, again);
    let after = path.estimator.estimate();
    assert_eq!((after.bits_per_s, after.lost), (before.bits_per_s, before.lost));
}

#[test]
fn whatever_a_viewer_reports_the_estimate_stays_within_its_bounds() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut path = Path::new();
    for _ in 0..2_000 {
        path.feedback();
        let (now, number) = (path.now + random.u64(..5_000_000), path.number);
        let reference = random.u32(..1 << 24);
        let packets: Vec<_> = (0..random.u16(..200))
            .map(|_| {
                let at = random.bool().then(|| random.i64(-(1 << 40)..1 << 40));
                (number.wrapping_sub(random.u16(..400)), at)
            })
            .collect();
        path.estimator.feedback(now, reference, packets.into_iter());
        path.estimator.wants(now, random.f64() * 1e8);
        path.estimator.remb(now, random.u64(..));
        let Estimate { bits_per_s, queue_ms, .. } = path.estimator.estimate();
        let bounds = crate::limits::ESTIMATE_LEAST..=crate::limits::ESTIMATE_MOST;
        assert!(bounds.contains(&bits_per_s), "{bits_per_s}");
        assert!(queue_ms.is_finite() && path.estimator.pace().is_finite());
    }
}

#[test]
fn a_path_that_becomes_far_narrower_is_noticed_while_a_train_still_comes() {
    let mut path = Path::new();
    let before = path.estimate(200);
    let (first, sent) = (path.number, path.now);
    let train =
        Train { at: sent as u32, bytes: 8 * 1_200, first, first_bytes: 1_200, count: 8, probe: 0 };
    path.estimator.sent(train);
    let clock = sent + 20_000;
    let came =
        |n: u16| (first.wrapping_add(n), Some((clock % 64_000) as i64 + i64::from(n) * 40_000));
    let now = sent + 220_000;
    path.estimator.feedback(now, (clock / 64_000) as u32, (0..5).map(came));
    let after = path.estimator.estimate();
    assert!(before.bits_per_s > 2.5e6 && after.bits_per_s < 0.25e6, "{after:?}");
    assert_eq!((after.state, after.ceiling_bits_per_s), (State::Overuse, None));
    assert!(path.estimator.is_paused(now + 100_000) && !path.estimator.is_paused(now + 200_000));
    // What more would need is not tried before the path is seen to be wide enough.
    let tried = (0..400).find(|step| {
        let now = now + step * 25_000;
        path.estimator.wants(now, 1e6);
        path.estimator.probe_bytes(now) > 1_000
    });
    assert!(tried.is_none(), "{tried:?}");
}
