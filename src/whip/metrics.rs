//! `GET /metrics`: one text for all who ask at the same time.
//!
//! Making the text takes a millisecond or more of a thread that also answers offers, and scrapes
//! may come by the thousand. So one is made at a time, no more than a part of the time goes into
//! it, and whoever waits for it shares it: its figures are never older than the request for them.
//! The text is not copied for each answer, and while as many texts as there may be lie in answers
//! that nobody reads, no other is made.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::Problem;
use crate::limits::{MAX_METRICS_PAUSE, MAX_METRICS_TEXTS, METRICS_PAUSE_PARTS, METRICS_STALE};
use crate::telemetry::Format;

/// The newest text of each format.
pub(super) struct Metrics {
    prometheus: Mutex<Option<Made>>,
    open_metrics: Mutex<Option<Made>>,
    /// Places for texts that somebody holds, the newest ones included.
    places: Arc<Semaphore>,
}

struct Made {
    text: Bytes,
    /// Before its figures were read.
    began: Instant,
    /// When another may be made.
    next: Instant,
}

/// A text, in the place that it takes until nobody holds it any more.
struct Placed {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            prometheus: Mutex::default(),
            open_metrics: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_METRICS_TEXTS)),
        }
    }
}

impl Metrics {
    /// The text, by `make` where nobody has had it made since this was called.
    ///
    /// # Errors
    /// There is a text in every place there is.
    pub async fn text(
        &self,
        format: Format,
        make: impl FnOnce() -> String,
    ) -> Result<Bytes, Problem> {
        let asked = Instant::now();
        let mut newest = match format {
            Format::Prometheus => self.prometheus.lock().await,
            Format::OpenMetrics => self.open_metrics.lock().await,
        };
        if let Some(made) = newest.as_ref().filter(|made| made.began >= asked) {
            return Ok(made.text.clone());
        }
        if let Some(made) = &*newest {
            tokio::time::sleep_until(made.next.into()).await;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let recent = newest.as_ref().filter(|made| made.began.elapsed() < METRICS_STALE);
            return recent.map(|made| made.text.clone()).ok_or_else(|| {
                Problem::overloaded(format!(
                    "{MAX_METRICS_TEXTS} texts of metrics wait for clients who do not read them: \
                     try again in some seconds, when those are cut off"
                ))
            });
        };
        let began = Instant::now();
        let text = Bytes::from_owner(Placed { text: make(), _place: place });
        let pause = began.elapsed().saturating_mul(METRICS_PAUSE_PARTS).min(MAX_METRICS_PAUSE);
        let next = Instant::now() + pause;
        *newest = Some(Made { text: text.clone(), began, next });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    fn run<T>(what: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime is made").block_on(what)
    }

    #[test]
    fn whoever_waits_shares_a_text_and_it_is_no_older_than_what_it_was_asked_by() {
        let (metrics, made) = (Metrics::default(), Cell::new(0));
        let text = || {
            metrics.text(Format::Prometheus, || {
                made.set(made.get() + 1);
                std::thread::sleep(Duration::from_millis(1));
                made.get().to_string()
            })
        };
        run(async {
            assert_eq!(text().await.expect("there is room"), "1");
            let together = join_all((0..1_000).map(|_| text())).await;
            assert!(together.iter().all(|text| text.as_ref().is_ok_and(|text| text == "2")));
            assert_eq!(text().await.expect("there is room"), "3", "for who comes later a new one");
        });
    }

    #[test]
    fn no_more_texts_are_held_than_there_are_places_and_they_come_back() {
        let metrics = Metrics::default();
        let text = || metrics.text(Format::OpenMetrics, || "text".to_owned());
        run(async {
            let mut held = Vec::new();
            for _ in 0..MAX_METRICS_TEXTS {
                held.push(text().await.expect("there is room"));
            }
            // The newest is as good for a moment, and then nobody is told what is no longer true.
            assert!(text().await.is_ok());
            tokio::time::sleep(METRICS_STALE).await;
            assert!(text().await.is_err(), "{} are held", held.len());
            held.truncate(MAX_METRICS_TEXTS / 2);
            assert!(text().await.is_ok());
        });
    }
}
