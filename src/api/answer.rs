//! What all answers of the API have in common.

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::limits::{MAX_PAGE, PAGE};
use crate::whip::Problem;

pub(super) type Answer = Result<Response<Body>, Problem>;

/// The value as JSON, which nobody keeps: it is old a second later.
pub(super) fn json(value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value)
        .map_err(|error| Problem::internal(format!("the answer can't be written: {error}")))?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

/// The parameters of a request, or what is wrong with them.
pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| Problem::bad_request(rejection.body_text()))
}

/// Elements of a page that asked for `limit`.
pub(super) fn page(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        other => Err(Problem::bad_request(format!("limit={other}: a page has 1 to {MAX_PAGE}"))),
    }
}

/// The description of the API, for people and generators.
pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}
