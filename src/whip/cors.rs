//! CORS headers on every response, errors included: a page elsewhere must be able to read what went
//! wrong. `*` is enough, since credentials travel in `Authorization`, never in cookies.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use axum::middleware::Next;

use crate::limits::MAX_REQUESTED_HEADERS_BYTES;

/// What clients of WHIP and WHEP send anyway.
const USUAL: &str = "Authorization, Content-Type, If-Match";

const HEADERS: [(HeaderName, &str); 4] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, GET, HEAD, POST, PATCH, DELETE"),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Link, ETag, Accept-Patch, Accept-Post, Retry-After"),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Adds them to whatever comes of a request.
pub(super) async fn cross_origin(request: Request, next: Next) -> Response<Body> {
    let allowed = allowed(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    response
}

/// The headers a page may send: the usual ones, and any it asks for. Tracing libraries add some to
/// every request (`traceparent`), and none of them gives power here. `*` would leave Authorization
/// out (Fetch §4.9).
fn allowed(headers: &HeaderMap) -> HeaderValue {
    let usual = HeaderValue::from_static(USUAL);
    let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) else { return usual };
    let is_list = |text: &&str| {
        let of_name =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(&byte);
        !text.is_empty() && text.len() <= MAX_REQUESTED_HEADERS_BYTES && text.bytes().all(of_name)
    };
    let asked = asked.to_str().ok().filter(is_list);
    let all = asked.and_then(|asked| HeaderValue::from_str(&format!("{USUAL}, {asked}")).ok());
    all.unwrap_or(usual)
}
