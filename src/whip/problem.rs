//! Errors as `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;

use crate::access::Denied;
use crate::control::{ControlError, OfferError};

/// What went wrong with a request: a status, and a sentence for a person.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
    /// What is said beside it, for programs.
    gone: Option<Box<Gone>>,
    /// Whether the log has it already, or need not have it.
    told: bool,
}

/// Why the server has ended a session.
#[derive(Debug)]
struct Gone {
    /// As the API has it.
    reason: &'static str,
    /// Who has taken its place, where it was replaced.
    successor: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), header: None, gone: None, told: false }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Problem {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// What went wrong, for the log.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the log has it already, or need not have it: failed set-ups are told by
    /// [`crate::control`], and players ask again and again for what nobody publishes.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: who are you?
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, detail).with(WWW_AUTHENTICATE, "Bearer")
    }

    /// 403: nobody may, or not from there.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: nothing of that name.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405, with the methods that are allowed.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        let detail = format!("this resource takes {allow}");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).with(ALLOW, allow)
    }

    /// 405; which methods the resource takes is said by the router, in `Allow`.
    #[must_use]
    pub fn other_method() -> Problem {
        let detail = "this resource takes other methods than that: `Allow` names them";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// 408: the body does not come.
    #[must_use]
    pub fn too_slow() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "the body of the request takes too long")
    }

    /// 409: it is another's.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// 412: the client speaks of an earlier state of the session.
    #[must_use]
    pub fn precondition_failed() -> Problem {
        let detail = "If-Match names another ICE session than the current one";
        Problem::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 413: longer than anything sensible.
    #[must_use]
    pub fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: another content type is needed.
    #[must_use]
    pub fn unsupported_media_type(wanted: &str) -> Problem {
        let detail = format!("the body must be {wanted}, and the Content-Type must say so");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 422: understood, but not done.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 428: the client must say which state of the session it speaks of (RFC 9725 §4.3).
    #[must_use]
    pub fn precondition_required() -> Problem {
        let detail = "PATCH needs If-Match with the session's ETag";
        Problem::new(StatusCode::PRECONDITION_REQUIRED, detail)
    }

    /// 429: not so often. May come again after `wait`.
    #[must_use]
    pub fn too_many(detail: impl Into<String>, wait: Duration) -> Problem {
        let seconds = wait.as_secs() + 1;
        let header = Some((RETRY_AFTER, HeaderValue::from(seconds)));
        let told = true;
        Problem { header, told, ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 500: the fault is ours.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 502: another node answers what can't be used.
    #[must_use]
    pub fn bad_gateway(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_GATEWAY, detail)
    }

    /// 503 with Retry-After.
    #[must_use]
    pub fn overloaded(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(RETRY_AFTER, "1")
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        match denied.asks_for_a_token() {
            true => Problem::unauthorized(denied.to_string()),
            false => Problem::forbidden(denied.to_string()),
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Problem {
        let status = match &error {
            ControlError::Offer(OfferError::TooLong(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            ControlError::Offer(OfferError::NoCommonCodec { .. }) => StatusCode::NOT_ACCEPTABLE,
            ControlError::Offer(OfferError::TooManyTracks { .. } | OfferError::Unserved { .. }) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ControlError::Offer(_) => StatusCode::BAD_REQUEST,
            ControlError::NoPublisher(_)
            | ControlError::Elsewhere { .. }
            | ControlError::Conflict(_) => StatusCode::CONFLICT,
            ControlError::NotFound(_) => StatusCode::NOT_FOUND,
            ControlError::Gone { .. } => StatusCode::GONE,
            ControlError::TooManyOfSource(_) => StatusCode::TOO_MANY_REQUESTS,
            ControlError::NoRoom(_)
            | ControlError::Unknown(_)
            | ControlError::TooManyConnecting(_)
            | ControlError::Overloaded(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Problem::new(status, error.to_string());
        let told = error.failure().is_some() || matches!(error, ControlError::NoPublisher(_));
        let problem = Problem { told, ..problem };
        match error {
            // WHEP §4.2: somebody may publish it soon.
            ControlError::NoPublisher(_) | ControlError::Unknown(_) => {
                problem.with(RETRY_AFTER, "2")
            }
            ControlError::NoRoom(_)
            | ControlError::TooManyOfSource(_)
            | ControlError::TooManyConnecting(_)
            | ControlError::Overloaded(_) => problem.with(RETRY_AFTER, "1"),
            ControlError::Gone { reason, successor, .. } => {
                let successor = successor.map(|key| key.to_string());
                Problem { gone: Some(Box::new(Gone { reason, successor })), ..problem }
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(gone) = self.gone {
            let Gone { reason, successor } = *gone;
            body["type"] = format!("urn:monoport:session-ended:{reason}").into();
            body["reason"] = reason.into();
            body["successor"] = successor.into();
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
