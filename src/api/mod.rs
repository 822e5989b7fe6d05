//! `/api/v1`: what the server is doing, as JSON; and the probes beside it.
//!
//! Read from counters, cards and lists that are kept anyway: nobody who looks costs a shard
//! anything. Rates need two looks: while somebody asks or listens, `sampler` takes a sample every
//! second, and none when nobody does.
//!
//! ```text
//! status.rs   GET /status                      sampler.rs   what is done every second
//! shards.rs   GET /shards                      sample.rs    the counters at one moment
//! ports.rs    /ports, read and changed         counts.rs    sessions by kind and quality
//! streams.rs  GET /streams, and their end      alive.rs     whether shards turn
//! sessions.rs GET /sessions, best or worst     ready.rs     /healthz, /readyz
//! session.rs  /sessions/{id}, and its end      events.rs    GET /events, as they come
//! failures.rs GET /failures                    cluster.rs   the other nodes
//! tree.rs     GET /streams/{name}/tree          speakers.rs  who speaks, for GET /events
//! openapi.json GET /openapi.json: all of this
//! ```

mod alive;
mod answer;
mod cluster;
mod counts;
mod events;
mod failures;
mod memory;
mod ports;
mod ready;
mod sample;
mod sampler;
mod session;
mod sessions;
mod shards;
mod speakers;
mod status;
mod streams;
mod tree;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::{Semaphore, watch};

use crate::access::{Access, Action, Asker};
use crate::cluster::Neighbours;
use crate::control::{Control, Speakers, unix_now};
use crate::limits::MAX_API_READERS;
use crate::shard::Wiring;
use crate::whip::Problem;
use alive::Alive;
pub use ports::wanted as wanted_port;
use sampler::Sampler;

/// What was chosen at the start and does not change.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The receive back end: `mmsg` or `uring`.
    pub io: String,
    /// Who steers: `ebpf`, `hash` or `none`.
    pub steering: &'static str,
    /// The cipher library.
    pub cipher: String,
    /// One per shard: the core it is pinned to.
    pub cores: Vec<usize>,
    /// Sessions there is room for.
    pub max_sessions: usize,
}

/// The API of one server.
pub struct Api {
    control: Arc<Control>,
    facts: Facts,
    access: Arc<Access>,
    alive: Alive,
    sampler: Sampler,
    /// Who listeners were told speaks.
    speakers: watch::Sender<Arc<Speakers>>,
    /// Places for requests that are answered at a time.
    readers: Semaphore,
    started: Instant,
    /// Unix seconds.
    started_at: f64,
    /// The other nodes, where some share a secret.
    cluster: OnceLock<Arc<Neighbours>>,
}

impl Api {
    /// The API of the server behind `control`, for those whom `access` lets administer it.
    #[must_use]
    pub fn new(control: Arc<Control>, facts: Facts, access: Arc<Access>) -> Arc<Api> {
        let now = Instant::now();
        Arc::new(Api {
            access,
            alive: Alive::new(control.wiring.counters.len(), now),
            sampler: Sampler::default(),
            speakers: speakers::channel(),
            readers: Semaphore::new(MAX_API_READERS),
            started: now,
            started_at: unix_now(),
            control,
            facts,
            cluster: OnceLock::new(),
        })
    }

    /// There are other nodes, which can be asked something. Said once.
    pub fn joins(&self, cluster: Arc<Neighbours>) {
        let _said_before = self.cluster.set(cluster);
    }

    /// Whether a shard does not turn.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.alive.stuck().next().is_some()
    }

    /// What is done every second, and while somebody listens more often, until the server stops.
    pub async fn run(self: Arc<Api>) {
        tokio::join!(sampler::run(&self), speakers::run(&self));
    }

    /// The routes of the API and the probes.
    pub fn router(self: &Arc<Api>) -> Router {
        let api = Router::new()
            .route("/api/v1/status", get(status::get))
            .route("/api/v1/ports", get(ports::get).post(ports::open))
            .route("/api/v1/ports/{port}", delete(ports::drain))
            .route("/api/v1/shards", get(shards::get))
            .route("/api/v1/streams", get(streams::get))
            .route("/api/v1/streams/{name}", delete(streams::kick))
            .route("/api/v1/streams/{name}/where", get(cluster::locate))
            .route("/api/v1/streams/{name}/tree", get(tree::get))
            .route("/api/v1/cluster", get(cluster::get))
            .route("/api/v1/cluster/check", post(cluster::check))
            .route("/api/v1/sessions", get(sessions::get))
            .route("/api/v1/sessions/{id}", get(session::get).delete(session::kick))
            .route("/api/v1/sessions/{id}/layer", post(session::choose_layer))
            .route("/api/v1/failures", get(failures::get))
            .route("/api/v1/events", get(events::get))
            .route("/api/v1/openapi.json", get(answer::openapi))
            .method_not_allowed_fallback(async || Problem::other_method())
            .layer(from_fn_with_state(self.clone(), admit));
        Router::new()
            .route("/healthz", get(ready::healthz))
            .route("/readyz", get(ready::readyz))
            .merge(api)
            .with_state(self.clone())
    }

    fn wiring(&self) -> &Wiring {
        &self.control.wiring
    }
}

/// Stands before every route of the API, so that none can be forgotten. A browser's question
/// whether it may ask carries no token, and is told nothing but yes.
async fn admit(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if request.method() == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let asker = Asker::of(&request);
    let admitted = api.access.admit(Action::Administer, None, &asker)?;
    request.extensions_mut().insert(admitted);
    // Of many who ask at once each has its turn, and so has whoever posts an offer between them.
    let turn = api.readers.acquire().await;
    let answer = next.run(request).await;
    drop(turn);
    Ok(answer)
}
