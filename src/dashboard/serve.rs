//! The pages' routes.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::files::{FILES, HTML, PLAYER};

/// What a page may do: load its own files and talk to its own server, nothing else. There is no
/// inline script and no inline style to allow. Who may frame it is said behind this.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors";

/// The pages. The player at `/embed/NAME` may be shown in a frame by `frame_ancestors`, sources of
/// a `Content-Security-Policy`; everybody may where there are none. No other page may.
pub fn router<'a>(frame_ancestors: impl Iterator<Item = &'a str>) -> Router {
    let sources: Vec<&str> = frame_ancestors.collect();
    let framers = if sources.is_empty() { "*".to_owned() } else { sources.join(" ") };
    let framed = policy(&framers);
    let mut router = Router::new()
        .route("/embed/{stream}", get(async move || page(HTML, PLAYER, framed)))
        // The same page for who types a slash behind it.
        .route("/dashboard/", get(async || to("../dashboard")))
        .route("/publish/", get(async || to("../publish")));
    for file in &FILES {
        let serve = async || page(file.content_type, file.body, policy("'none'"));
        router = router.route(file.path, get(serve));
    }
    router
}

fn policy(framers: &str) -> HeaderValue {
    // Sources were read as origins and keywords, and so are ASCII.
    HeaderValue::from_str(&format!("{POLICY} {framers}"))
        .unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn page(content_type: &'static str, body: &'static str, policy: HeaderValue) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CONTENT_SECURITY_POLICY, policy),
        // A new version of the server brings a new page.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

/// Elsewhere under the same path, whatever a proxy has in front of it.
fn to(relative: &'static str) -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, relative)]).into_response()
}
