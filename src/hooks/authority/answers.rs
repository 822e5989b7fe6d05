//! How many questions were answered how.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Exposition;

/// What became of a question.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Answer {
    Allowed,
    Refused,
    /// The service was not asked again.
    Remembered,
    /// It could not be asked, or had no answer in time.
    Failed,
}

/// Questions by what became of them.
#[derive(Default)]
pub(super) struct Answers([AtomicU64; 4]);

impl Answers {
    pub fn count(&self, answer: Answer) {
        self.0[answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn expose(&self, exposition: &mut Exposition) {
        let help = "Questions about who may publish or watch, by what became of them";
        let metric = exposition.counter("authorizations", help);
        let labels = ["allowed", "refused", "remembered", "failed"];
        for (label, count) in labels.into_iter().zip(&self.0) {
            metric.count(vec![("answer", label.into())], count.load(Ordering::Relaxed));
        }
    }
}
