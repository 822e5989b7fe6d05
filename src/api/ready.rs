//! `/healthz`: the process lives. `/readyz`: it should be sent new sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::whip::Problem;

/// What the server is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// A signal to stop has come.
    Draining,
    /// A shard does not turn.
    Stuck,
}

impl Readiness {
    pub const fn label(self) -> &'static str {
        match self {
            Readiness::Ready => "ready",
            Readiness::Draining => "draining",
            Readiness::Stuck => "stuck",
        }
    }

    pub fn of(api: &Api) -> Readiness {
        if api.control.is_stopping() {
            Readiness::Draining
        } else if api.alive.stuck().next().is_some() {
            Readiness::Stuck
        } else {
            Readiness::Ready
        }
    }
}

/// That HTTP answers is all there is to say; whoever supervises the process need not start it anew.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Not asked for a token: probes have none, and nothing is told that a POST would not tell.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    match Readiness::of(&api) {
        Readiness::Ready => (StatusCode::OK, "ready\n").into_response(),
        Readiness::Draining => {
            Problem::overloaded("the server is stopping, and takes no new sessions").into_response()
        }
        Readiness::Stuck => {
            let shards: Vec<String> = api.alive.stuck().map(|shard| shard.to_string()).collect();
            let shards = shards.join(", ");
            Problem::overloaded(format!("shard {shards} makes no turns: see the log"))
                .into_response()
        }
    }
}
