//! An estimator through a pause in which there are no transport-wide numbers.

use super::queue::Queue;
use super::rate::Rate;
use super::reference::Reference;
use super::{Estimate, Estimator, Micros};

/// What is kept of an estimator while a viewer need not report.
#[derive(Debug)]
pub struct Rest {
    estimate: Estimate,
    queue: Queue,
    reference: Reference,
    round_trip: Micros,
}

impl Rest {
    /// What was thought of the path last.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        self.estimate
    }
}

impl Estimator {
    /// What is to be kept of it through a pause without transport-wide numbers.
    #[must_use]
    pub fn rest(self) -> Rest {
        let estimate = self.estimate();
        let Estimator { queue, reference, round_trip, .. } = self;
        Rest { estimate, queue, reference, round_trip }
    }

    /// After such a pause: delays before it and after it are not compared, but for the least.
    #[must_use]
    pub fn again(now: Micros, rest: Rest) -> Estimator {
        let Rest { estimate, queue, reference, round_trip } = rest;
        let (rate, reason) = (Rate::new(estimate.bits_per_s), estimate.reason);
        // It does not start: its first trains are as good as any.
        let feedbacks = u8::MAX;
        let new = Estimator::new(now);
        Estimator { queue, reference, round_trip, rate, reason, feedbacks, ..new }
    }
}
