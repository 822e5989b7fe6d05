//! `GET /api/v1/events`: what happens, as it happens (server-sent events).
//!
//! Every second a `status` with what the three GETs of status, ports and shards would answer, made
//! once for all listeners; between them a `session` for each that is set up, connects, moves or
//! ends. A listener that reads too slowly skips states, loses the oldest `session`s beyond
//! [`crate::limits::NEWS_KEPT`], and is told by `lost` how many. Nothing waits for it.

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
use super::status::{Status, status};
use crate::limits::MAX_LISTENERS;
use crate::signalling::{News, Problem};

/// Proxies cut connections on which nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Beat {
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
    news: broadcast::Receiver<News>,
    beat: watch::Receiver<Arc<str>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.api.pulse.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let listener = Listener::admit(&api)?;
    // The first state need not wait for the next second.
    api.pulse.look(api.wiring()).await;
    if let Some(text) = beat(&api) {
        api.pulse.beat.send_replace(text.into());
    }
    let stream = unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([(CACHE_CONTROL, "no-store")], sse).into_response())
}

/// The state of everything, as JSON. `None` before there are rates.
pub(super) fn beat(api: &Api) -> Option<String> {
    let window = api.pulse.window();
    window.spans()?;
    let beat = Beat {
        status: status(api, &window),
        ports: ports(api, &window),
        shards: shards(api, &window),
    };
    serde_json::to_string(&beat).ok()
}

impl Listener {
    fn admit(api: &Arc<Api>) -> Result<Listener, Problem> {
        let listener = Listener {
            api: api.clone(),
            news: api.control.listen(),
            beat: api.pulse.beat.subscribe(),
        };
        // It is counted first, and dropped again when it was one too many.
        if api.pulse.listeners.fetch_add(1, Ordering::Relaxed) >= MAX_LISTENERS {
            return Err(Problem::overloaded(format!(
                "{MAX_LISTENERS} clients listen already; poll /api/v1/status, or come back later"
            )));
        }
        Ok(listener)
    }

    /// The next event; `None` when the server stops.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            changed = self.beat.changed() => {
                changed.ok()?;
                Some(Event::default().event("status").data(&*self.beat.borrow_and_update()))
            }
            news = self.news.recv() => match news {
                Ok(news) => event("session", &Happened::of(&news)),
                Err(RecvError::Lagged(count)) => event("lost", &Lost { count }),
                Err(RecvError::Closed) => None,
            },
        }
    }
}

impl Happened<'_> {
    fn of(news: &News) -> Happened<'_> {
        Happened {
            id: news.key.to_string(),
            stream: &news.stream,
            role: if news.publisher { "publisher" } else { "viewer" },
            what: news.what,
            reason: news.reason,
            at: thousandths(news.at),
        }
    }
}

fn event(name: &str, value: &impl Serialize) -> Option<Event> {
    let text = serde_json::to_string(value).ok()?;
    Some(Event::default().event(name).data(text))
}
