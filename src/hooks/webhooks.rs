//! Webhooks (`--hook-url`): a service is told what happens to streams and sessions.
//!
//! ```text
//! control ── JSON ──> queue, bounded ──> so many in flight ──POST──> the service
//!                        └ full: dropped and counted   └ no 2xx: again, after 1, 2, 4 … s
//! ```
//!
//! Each event has an id, which is the same when it is told again, and a number that grows: those
//! that are told again come late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};

use super::authority::random_uuid;
use super::post::Service;
use crate::access::Roots;
use crate::control::{Happening, Listener, News};
use crate::limits::{
    HOOK_FLUSH, HOOK_PAUSE, HOOK_QUEUE, HOOK_TIMEOUT, HOOK_TRIES, MAX_HOOKS_IN_FLIGHT,
};
use crate::telemetry::{Exposition, limited};

/// The service that is told, if there is one, and what waits to be told.
pub struct Webhooks {
    target: Mutex<Option<Target>>,
    /// Gone once nothing more is to be told.
    queue: Mutex<Option<mpsc::Sender<Event>>>,
    /// Taken by whoever tells.
    waiting: Mutex<Option<mpsc::Receiver<Event>>>,
    places: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    /// Events that wait or are being told.
    left: AtomicU64,
    numbers: AtomicU64,
    counts: Counts,
}

/// Whom to tell, and what to sign with.
#[derive(Clone)]
struct Target {
    service: Service,
    key: Option<hmac::Key>,
}

/// One event, written down when it happened.
struct Event {
    name: &'static str,
    body: Vec<u8>,
}

/// What became of events.
#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Webhooks {
    /// Tells the service at `url`, for which `roots` sign, and signs what it tells with `secret`;
    /// nobody without a URL.
    #[must_use]
    pub fn new(url: Option<&str>, secret: Option<&str>, roots: &Roots) -> Arc<Webhooks> {
        let (queue, waiting) = mpsc::channel(HOOK_QUEUE);
        Arc::new(Webhooks {
            target: Mutex::new(target(url, secret, roots)),
            queue: Mutex::new(Some(queue)),
            waiting: Mutex::new(Some(waiting)),
            places: Arc::new(Semaphore::new(MAX_HOOKS_IN_FLIGHT)),
            closing: watch::Sender::new(false),
            left: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
            counts: Counts::default(),
        })
    }

    /// From now on does so.
    pub fn replace(&self, url: Option<&str>, secret: Option<&str>, roots: &Roots) {
        let next = target(url, secret, roots);
        *lock(&self.target) = next;
    }

    /// Tells what there is to be told, until [`Webhooks::finish`].
    pub async fn run(self: Arc<Webhooks>) {
        let Some(mut waiting) = lock(&self.waiting).take() else { return };
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            let Some(event) = waiting.recv().await else { return };
            let webhooks = self.clone();
            tokio::spawn(async move {
                webhooks.deliver(event).await;
                webhooks.left.fetch_sub(1, Ordering::Relaxed);
                drop(place);
            });
        }
    }

    /// Takes nothing more, and waits for what there is to be told once more each, for
    /// [`HOOK_FLUSH`] at most.
    pub async fn finish(&self) {
        lock(&self.queue).take();
        self.closing.send_replace(true);
        let deadline = Instant::now() + HOOK_FLUSH;
        while self.left.load(Ordering::Relaxed) > 0 {
            if Instant::now() >= deadline {
                let left = self.left.load(Ordering::Relaxed);
                tracing::warn!("the service of --hook-url is not told of {left} events any more");
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Takes an event in, if there is a place for it.
    fn tell(&self, event: Event) {
        let name = event.name;
        self.left.fetch_add(1, Ordering::Relaxed);
        let sent = lock(&self.queue).as_ref().map(|queue| queue.try_send(event));
        if !matches!(sent, Some(Ok(()))) {
            self.left.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            limited!(WARN, event = name, "a webhook's event is dropped: {HOOK_QUEUE} wait already");
        }
    }

    async fn deliver(&self, event: Event) {
        let event = Arc::new(event);
        let mut closing = self.closing.subscribe();
        let mut pause = HOOK_PAUSE;
        for attempt in 1..=HOOK_TRIES {
            let is_last = attempt == HOOK_TRIES || *closing.borrow();
            let Some(target) = lock(&self.target).clone() else { break };
            let (posted, service) = (event.clone(), target.service.clone());
            let posting = tokio::task::spawn_blocking(move || post(&target, &posted)).await;
            let why = match posting {
                Ok(Ok(200..=299)) => {
                    self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(Ok(status)) => format!("it answers with {status}"),
                Ok(Err(why)) => why,
                Err(error) => error.to_string(),
            };
            let (at, event) = (service.shown(), event.name);
            limited!(WARN, event, attempt, why, "the webhook at {at} was not heard");
            if is_last {
                break;
            }
            let jitter = Duration::from_millis(u64::from(random_byte()));
            tokio::select! {
                () = tokio::time::sleep(pause + jitter) => {}
                _ = closing.changed() => {}
            }
            pause *= 2;
        }
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what became of events, and how many wait.
    pub fn expose(&self, exposition: &mut Exposition) {
        let Counts { delivered, failed, dropped } = &self.counts;
        let help = "Events that a webhook was told of, was not, or that found no place to wait";
        let metric = exposition.counter("hook_events", help);
        for (label, count) in [("delivered", delivered), ("failed", failed), ("dropped", dropped)] {
            metric.count(vec![("result", label.into())], count.load(Ordering::Relaxed));
        }
        let left = self.left.load(Ordering::Relaxed);
        let help = "Events that wait to be told to a webhook, or are being told";
        exposition.gauge("hook_events_waiting", help).count(Vec::new(), left);
    }
}

impl Listener for Webhooks {
    fn hear(&self, news: &News<'_>) {
        if lock(&self.target).is_none() {
            return;
        }
        let name = name(news.what);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let body = written(name, number, news).to_string().into_bytes();
        self.tell(Event { name, body });
    }
}

fn target(url: Option<&str>, secret: Option<&str>, roots: &Roots) -> Option<Target> {
    let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    url.map(|url| Target { service: Service::new(url, roots, HOOK_TIMEOUT), key })
}

/// What proves to the service that it is us, where we share a secret.
fn signature(target: &Target, event: &Event) -> Option<String> {
    let tag = hmac::sign(target.key.as_ref()?, &event.body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={hex}"))
}

/// Sends it once. Blocks.
fn post(target: &Target, event: &Event) -> Result<u16, String> {
    let signature = signature(target, event);
    let mut headers = vec![("monoport-event", event.name)];
    headers.extend(signature.as_deref().map(|signature| ("monoport-signature", signature)));
    target.service.post(&headers, &event.body)
}

const fn name(what: Happening) -> &'static str {
    match what {
        Happening::StreamStarted => "stream.started",
        Happening::StreamEnded => "stream.ended",
        Happening::SessionJoined => "session.joined",
        Happening::SessionLeft => "session.left",
        Happening::SessionFailed => "session.failed",
    }
}

fn written(name: &str, number: u64, news: &News<'_>) -> Value {
    let News { key, live, end, at, .. } = news;
    let caller = live.caller();
    let mut session = json!({
        "id": key.to_string(),
        "role": if live.publisher { "publisher" } else { "viewer" },
        "created_at": live.created_at,
        "audio": live.audio,
        "video": live.video,
    });
    if caller.is_told {
        session["ip"] = caller.ip.map(|ip| ip.to_string()).into();
        session["user_agent"] = (*caller.agent).into();
    }
    let mut event = json!({
        "id": random_uuid(),
        "number": number,
        "event": name,
        "at": at,
        "stream": &*live.stream,
        "session": session,
    });
    if let Some(end) = end {
        event["reason"] = end.reason.label().into();
        event["words"] = end.words.into();
        let (packets, bytes) = end.card.map(|card| (card.packets, card.bytes)).unzip();
        event["session"]["packets"] = packets.into();
        event["session"]["bytes"] = bytes.into();
    }
    event
}

/// So that events that failed together do not all come again together.
fn random_byte() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).expect("the operating system gives random bytes");
    byte[0]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_counted_and_what_waits_is_kept() {
        let webhooks = Webhooks::new(Some("http://127.0.0.1:9/"), None, &Roots::default());
        for _ in 0..HOOK_QUEUE + 3 {
            webhooks.tell(Event { name: "session.left", body: Vec::new() });
        }
        assert_eq!(webhooks.counts.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(webhooks.left.load(Ordering::Relaxed), HOOK_QUEUE as u64);
    }

    #[test]
    fn a_signature_is_the_hmac_of_the_body() {
        // Test case 2 of RFC 4231.
        let target = target(Some("http://127.0.0.1:9/"), Some("Jefe"), &Roots::default());
        let target = target.expect("there is a URL");
        let event = Event { name: "x", body: b"what do ya want for nothing?".to_vec() };
        let signed = signature(&target, &event).expect("there is a secret");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, format!("sha256={expected}"));
    }
}
