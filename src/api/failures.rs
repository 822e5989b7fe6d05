//! `GET /api/v1/failures`: sessions that failed and POSTs that were refused, the latest first,
//! with the reason in words.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, json, page, parameters};
use super::sample::thousandths;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    at: f64,
    /// `None` for a POST that was refused: there never was a session.
    id: Option<String>,
    stream: String,
    role: &'static str,
    reason: &'static str,
    words: String,
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let limit = page(parameters(asked)?.limit)?;
    let mut failures = Vec::new();
    api.control.each_ended(|session| {
        let Some(reason) = session.reason.failure() else { return ControlFlow::Continue(()) };
        failures.push(Failure {
            at: thousandths(session.ended_at),
            id: Some(session.key.to_string()),
            stream: session.live.stream.to_string(),
            role: role(session.live.publisher),
            reason: reason.label(),
            words: session.words.clone(),
        });
        stop_at(failures.len() == limit)
    });
    let mut refused = 0;
    api.control.each_refusal(|refusal| {
        refused += 1;
        failures.push(Failure {
            at: thousandths(refusal.at),
            id: None,
            stream: refusal.stream.to_string(),
            role: role(refusal.publisher),
            reason: refusal.reason.label(),
            words: refusal.words.to_string(),
        });
        stop_at(refused == limit)
    });
    failures.sort_by(|one, other| other.at.total_cmp(&one.at));
    failures.truncate(limit);
    json(&Page { failures })
}

const fn role(publisher: bool) -> &'static str {
    if publisher { "publisher" } else { "viewer" }
}

const fn stop_at(enough: bool) -> ControlFlow<()> {
    if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
