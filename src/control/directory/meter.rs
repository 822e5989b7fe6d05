//! How it goes with the directory, for the log and the metrics.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Misfit;
use crate::telemetry::Exposition;

/// Nothing was asked yet; it did not answer; it did.
const UNKNOWN: u8 = 0;
const SILENT: u8 = 1;
const ANSWERS: u8 = 2;

/// What became of calls. Nothing of it is shown by a node that has no others.
#[derive(Default)]
pub(in crate::control) struct DirectoryMeter {
    has_others: bool,
    state: AtomicU8,
    failed: AtomicU64,
    kept: AtomicU64,
    lost: AtomicU64,
    refused: [AtomicU64; Misfit::LABELS.len()],
    /// Why the last beat was refused, if it was.
    misfit: Mutex<Option<Misfit>>,
}

impl DirectoryMeter {
    pub fn new(has_others: bool) -> DirectoryMeter {
        DirectoryMeter { has_others, state: AtomicU8::new(UNKNOWN), ..DirectoryMeter::default() }
    }

    /// The node's beat was answered, or not. Says so where that has changed.
    pub fn answers(&self, answers: bool, node: &str) {
        if !answers {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let now = if answers { ANSWERS } else { SILENT };
        let before = self.state.swap(now, Ordering::Relaxed);
        match now {
            _ if before == now || !self.has_others => {}
            ANSWERS => tracing::info!(node, "the directory knows of this node"),
            _ => tracing::warn!(
                node,
                "the directory does not know of this node: it serves alone, and claims its streams \
                 again as soon as that has changed"
            ),
        }
    }

    /// A beat was refused, or was not. Returns whether it was refused for another reason than the
    /// one before it.
    pub fn refused(&self, misfit: Option<Misfit>) -> bool {
        if let Some(misfit) = &misfit {
            self.refused[misfit.index()].fetch_add(1, Ordering::Relaxed);
        }
        // Nothing under the lock panics half-way.
        let mut last = self.misfit.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = match (&*last, &misfit) {
            (_, None) => false,
            // It is never as far off as a second ago.
            (Some(Misfit::Clock { .. }), Some(Misfit::Clock { .. })) => false,
            (before, now) => before != now,
        };
        *last = misfit;
        is_news
    }

    /// Whether the directory knew of this node at its last beat, and why not where it has said so.
    pub fn state(&self) -> (bool, Option<Misfit>) {
        let misfit = self.misfit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.state.load(Ordering::Relaxed) == ANSWERS, misfit)
    }

    /// Streams were claimed again.
    pub fn kept(&self, streams: usize) {
        self.kept.fetch_add(streams as u64, Ordering::Relaxed);
    }

    /// A stream is another node's.
    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what was counted.
    pub fn expose(&self, exposition: &mut Exposition) {
        if !self.has_others {
            return;
        }
        let is_up = self.state.load(Ordering::Relaxed) == ANSWERS;
        let help = "Whether the directory of nodes knew of this one at its last beat";
        exposition.gauge("directory_up", help).count(Vec::new(), u64::from(is_up));
        let counts = [
            ("directory_failed_beats", "Beats that the directory did not answer", &self.failed),
            ("directory_kept_claims", "Claims that were made again", &self.kept),
            ("directory_lost_claims", "Streams that another node has claimed", &self.lost),
        ];
        for (name, help, count) in counts {
            exposition.counter(name, help).count(Vec::new(), count.load(Ordering::Relaxed));
        }
        let help = "Beats that were refused because this node does not fit in with the others";
        let metric = exposition.counter("directory_refused_beats", help);
        for (label, count) in Misfit::LABELS.into_iter().zip(&self.refused) {
            metric.count(vec![("reason", label.into())], count.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_news_once_and_again_when_it_has_changed() {
        let meter = DirectoryMeter::new(true);
        let clock = |apart_ms| Some(Misfit::Clock { apart_ms });
        let steps = [
            (Some(Misfit::NameTaken), true),
            (Some(Misfit::NameTaken), false),
            (clock(40_000), true),
            (clock(40_001), false),
            (Some(Misfit::Secret { node: "a".into() }), true),
            (Some(Misfit::Secret { node: "b".into() }), true),
            (None, false),
            (Some(Misfit::Secret { node: "b".into() }), true),
        ];
        for (step, (misfit, is_news)) in steps.into_iter().enumerate() {
            assert_eq!(meter.refused(misfit), is_news, "step {step}");
        }
    }
}
