//! What is done every second: shards are looked at, histories kept, and, while somebody looks,
//! samples taken and told to listeners.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::sample::{Sample, Span};
use super::{Api, events};
use crate::limits::{LOOKED_AT, SESSION_HISTORY_INTERVAL};
use crate::shard::Wiring;
use crate::telemetry::Snapshot;

const SECOND: Duration = Duration::from_secs(1);

/// Samples kept: quantiles are those of the last ten seconds.
const SAMPLES: usize = 11;

/// The span the first answer is made of, when nobody has looked before it.
const FIRST_SPAN: Duration = Duration::from_millis(250);

/// A sample older than this is too old to make a rate of.
const STALE: Duration = Duration::from_secs(3);

/// Set-ups whose times are told.
const SETUPS: u64 = 1_000;

/// Who looks, and what was seen.
pub(super) struct Sampler {
    window: Mutex<Window>,
    looked: Mutex<Option<Instant>>,
    pub listeners: AtomicUsize,
    /// The latest state of everything, for listeners. A slow one skips what it missed.
    pub state: watch::Sender<Arc<str>>,
    first: tokio::sync::Mutex<()>,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler {
            window: Mutex::default(),
            looked: Mutex::default(),
            listeners: AtomicUsize::new(0),
            state: watch::Sender::new(Arc::from("")),
            first: tokio::sync::Mutex::default(),
        }
    }
}

/// The last samples, the oldest first.
#[derive(Default)]
pub(super) struct Window {
    samples: VecDeque<Sample>,
    /// Set-ups there had been when the last [`SETUPS`] to twice as many began.
    setups: [Snapshot; 2],
}

impl Window {
    fn push(&mut self, sample: Sample) {
        if sample.setups.since(&self.setups[1]).count() >= SETUPS {
            self.setups = [std::mem::take(&mut self.setups[1]), sample.setups.clone()];
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    fn is_fresh(&self, now: Instant) -> bool {
        let newest = self.samples.back().filter(|_| self.samples.len() > 1);
        newest.is_some_and(|newest| now.saturating_duration_since(newest.at) < STALE)
    }

    /// The last second, and the last ten. `None` before there are two samples.
    pub fn spans(&self) -> Option<(Span<'_>, Span<'_>)> {
        let to = self.samples.back()?;
        let before = self.samples.len().checked_sub(2)?;
        let (from, oldest) = (self.samples.get(before)?, self.samples.front()?);
        Some((Span { from, to }, Span { from: oldest, to }))
    }

    /// The last thousand set-ups, or up to two.
    pub fn setups(&self) -> Snapshot {
        self.samples.back().map(|newest| newest.setups.since(&self.setups[0])).unwrap_or_default()
    }
}

impl Sampler {
    /// Somebody looks. Returns when there are rates to show: at once where others look too, and
    /// after a quarter of a second for the first.
    pub async fn look(&self, wiring: &Wiring) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let _one_at_a_time = self.first.lock().await;
        if self.window().is_fresh(Instant::now()) {
            return;
        }
        let first = Sample::take(wiring, Instant::now());
        tokio::time::sleep(FIRST_SPAN).await;
        let second = Sample::take(wiring, Instant::now());
        let mut window = self.window();
        window.samples.clear();
        window.push(first);
        window.push(second);
    }

    pub fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_looked_at(&self, now: Instant) -> bool {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.is_some_and(|at| now.saturating_duration_since(at) < LOOKED_AT)
            || self.listeners.load(Ordering::Relaxed) > 0
    }
}

/// Samples until the server stops.
pub(super) async fn run(api: &Api) {
    let mut ticks = tokio::time::interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut recorded = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let wiring = api.wiring();
        let turns = wiring.counters.iter().map(|counters| counters.turns.get());
        api.alive.look(now, turns, |shard| wiring.mailboxes[shard].wake());
        let listened = api.sampler.listeners.load(Ordering::Relaxed) > 0;
        let record = now.saturating_duration_since(recorded) >= SESSION_HISTORY_INTERVAL;
        if record {
            recorded = now;
        }
        if record || listened {
            api.control.look_at_sessions(record);
        }
        if !api.sampler.is_looked_at(now) {
            api.sampler.window().samples.clear();
            continue;
        }
        let sample = Sample::take(api.wiring(), now);
        api.sampler.window().push(sample);
        if listened && let Some(text) = events::state(api) {
            api.sampler.state.send_replace(text.into());
        }
    }
}
