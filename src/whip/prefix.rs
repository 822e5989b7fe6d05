//! Serving under a path that is not the root: `--base-path`, and a proxy's `X-Forwarded-Prefix`.
//!
//! URLs in answers begin with the prefix, and what comes is taken with it and without: some proxies
//! leave it on the request and others take it off.

use axum::Router;
use axum::extract::Request;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::get;
use tower::ServiceExt;

use crate::limits::MAX_PREFIX_BYTES;

/// What the paths in answers begin with; empty at the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix(pub String);

/// Serves `router` at the root and under `base`, which is empty or begins with a slash and ends
/// without. What `base` would hide of the root is found under it.
pub fn under(base: &str, router: Router) -> Router {
    let mut outer = Router::new();
    if let Some((_, last)) = base.rsplit_once('/') {
        // What pages name relatively is named from behind the slash.
        let with_slash = format!("{last}/");
        let to = async move || (StatusCode::PERMANENT_REDIRECT, [(LOCATION, with_slash)]);
        outer = outer.route(base, get(to));
    }
    let base = base.to_owned();
    // Around the router, which chooses by the path it is given.
    outer.fallback_service(router.map_request(move |mut request: Request| {
        let prefix = forwarded(request.headers()).unwrap_or_else(|| base.clone());
        request.extensions_mut().insert(Prefix(prefix));
        if let Some(uri) = without(&base, request.uri()) {
            *request.uri_mut() = uri;
        }
        request
    }))
}

/// A URI without `base` at its front; `None` where it does not stand there.
fn without(base: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(base).filter(|_| !base.is_empty())?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let path = if rest.is_empty() { "/" } else { rest };
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{query}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// What a proxy says it has taken off. Anybody can say so, and gets it back in his own answer only:
/// a path that leads elsewhere (`//host`) is none.
fn forwarded(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-forwarded-prefix")?.to_str().ok()?;
    let first = value.split(',').next()?.trim().trim_end_matches('/');
    is_prefix(first).then(|| first.to_owned())
}

/// Whether a text is a prefix of paths: segments of unreserved characters (RFC 3986 §2.3), each
/// behind a slash; or empty.
fn is_prefix(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(unreserved);
    let segments = text.strip_prefix('/').map(|path| path.split('/').all(is_segment));
    text.len() <= MAX_PREFIX_BYTES && (text.is_empty() || segments == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_leads_nowhere_else() {
        for good in ["", "/live", "/a/b-c_d.e~f"] {
            assert!(is_prefix(good), "{good}");
        }
        let long = format!("/{}", "x".repeat(MAX_PREFIX_BYTES));
        for bad in ["/", "live", "//host", "/a//b", "/..", "/a/../b", "/a?b", "/a b", "/é", &long]
        {
            assert!(!is_prefix(bad), "{bad}");
        }
    }

    #[test]
    fn a_base_is_taken_off_whole_and_leaves_the_query() {
        let taken = |path: &str| {
            let uri: Uri = path.parse().expect("a URI");
            without("/live", &uri).map(|uri| uri.to_string())
        };
        assert_eq!(taken("/live/whip/s?a=b").as_deref(), Some("/whip/s?a=b"));
        assert_eq!(taken("/live").as_deref(), Some("/"));
        assert_eq!(taken("http://host/live/").as_deref(), Some("http://host/"));
        assert_eq!([taken("/lively"), taken("/whip/live")], [None, None]);
        assert_eq!(without("", &"/whip/s".parse().expect("a URI")), None);
    }

    #[test]
    fn of_several_proxies_the_first_one_counts() {
        let said = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-prefix", value.parse().expect("a header value"));
            forwarded(&headers)
        };
        assert_eq!(said("/live/").as_deref(), Some("/live"));
        assert_eq!(said("/outer, /inner").as_deref(), Some("/outer"));
        assert_eq!(said("/").as_deref(), Some(""), "the root is no prefix");
        assert_eq!(said("//evil.example"), None);
    }
}
