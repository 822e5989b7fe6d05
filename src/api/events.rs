//! `GET /api/v1/events`: what happens, as it happens (server-sent events).
//!
//! Every second a `status` with what the three GETs of status, ports and shards would answer, made
//! once for all listeners; between them a `session` for each that is set up, connects, moves or
//! ends, and `speakers` where others speak, or more or less loudly. A listener that reads too
//! slowly skips states, loses the oldest `session`s beyond [`crate::limits::EVENTS_KEPT`], and is
//! told by `lost` how many. Nothing waits for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::Api;
use super::ports::{Ports, ports};
use super::sample::thousandths;
use super::shards::{Shards, shards};
use super::speakers::{self, Told};
use super::status::{Status, status};
use crate::control::{SessionEvent, Speakers};
use crate::limits::MAX_LISTENERS;
use crate::whip::Problem;

/// Proxies cut connections on which nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Everything {
    status: Status,
    ports: Ports,
    shards: Shards,
}

#[derive(Serialize)]
struct Happened<'a> {
    id: String,
    stream: &'a str,
    role: &'static str,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    at: f64,
}

#[derive(Serialize)]
struct Lost {
    count: u64,
}

/// One client that listens. It is counted until its connection ends.
struct Listener {
    api: Arc<Api>,
    events: broadcast::Receiver<SessionEvent>,
    state: watch::Receiver<Arc<str>>,
    speakers: watch::Receiver<Arc<Speakers>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.api.sampler.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let listener = Listener::admit(&api)?;
    // The first state need not wait for the next second.
    api.sampler.look(api.wiring()).await;
    if let Some(text) = state(&api) {
        api.sampler.state.send_replace(text.into());
    }
    speakers::look(&api);
    let stream = unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([(CACHE_CONTROL, "no-store")], sse).into_response())
}

/// The state of everything, as JSON. `None` before there are rates.
pub(super) fn state(api: &Api) -> Option<String> {
    let window = api.sampler.window();
    window.spans()?;
    let everything = Everything {
        status: status(api, &window),
        ports: ports(api, &window),
        shards: shards(api, &window),
    };
    serde_json::to_string(&everything).ok()
}

impl Listener {
    fn admit(api: &Arc<Api>) -> Result<Listener, Problem> {
        let mut speakers = api.speakers.subscribe();
        speakers.mark_changed();
        let listener = Listener {
            api: api.clone(),
            speakers,
            events: api.control.listen(),
            state: api.sampler.state.subscribe(),
        };
        // It is counted first, and dropped again when it was one too many.
        if api.sampler.listeners.fetch_add(1, Ordering::Relaxed) >= MAX_LISTENERS {
            return Err(Problem::overloaded(format!(
                "{MAX_LISTENERS} clients listen already; poll /api/v1/status, or come back later"
            )));
        }
        Ok(listener)
    }

    /// The next event; `None` when the server stops.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            changed = self.state.changed() => {
                changed.ok()?;
                Some(Event::default().event("status").data(&*self.state.borrow_and_update()))
            }
            changed = self.speakers.changed() => {
                changed.ok()?;
                event("speakers", &Told::of(&self.speakers.borrow_and_update()))
            }
            received = self.events.recv() => match received {
                Ok(what) => event("session", &Happened::of(&what)),
                Err(RecvError::Lagged(count)) => event("lost", &Lost { count }),
                Err(RecvError::Closed) => None,
            },
        }
    }
}

impl Happened<'_> {
    fn of(event: &SessionEvent) -> Happened<'_> {
        Happened {
            id: event.key.to_string(),
            stream: &event.stream,
            role: if event.publisher { "publisher" } else { "viewer" },
            what: event.what,
            reason: event.reason,
            at: thousandths(event.at),
        }
    }
}

fn event(name: &str, value: &impl Serialize) -> Option<Event> {
    let text = serde_json::to_string(value).ok()?;
    Some(Event::default().event(name).data(text))
}
