//! The session resource: what a client does to a session after it was set up.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;

use super::Problem;
use super::fragment::{Fragment, SDPFRAG};
use crate::control::Control;

/// PATCH with more candidates or with new credentials (RFC 9725 §4.3, RFC 8840).
///
/// Candidates are not needed: the server learns the client's address from its checks. So a request
/// that brings some is checked and they are left alone. An ICE restart gives both sides new
/// credentials; where it can't be done the session is as it was.
pub(super) async fn patch(
    control: &Control,
    id: &str,
    headers: &HeaderMap,
    text: &str,
) -> Result<Response<Body>, Problem> {
    let (etag, remote_ufrag) = control.ice_session(id)?;
    if !has_type(headers, SDPFRAG) {
        return Err(Problem::unsupported_media_type(SDPFRAG));
    }
    let if_match = headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
    let if_match = if_match.ok_or_else(Problem::precondition_required)?.trim();
    let fragment = Fragment::read(text)?;
    let is_known = remote_ufrag.as_deref() == Some(fragment.ufrag);
    match (if_match == "*", is_known) {
        (true, false) => restart(control, id, &fragment).await,
        (true, true) => Err(Problem::unprocessable(
            "If-Match: * is for an ICE restart, which has another a=ice-ufrag and a=ice-pwd",
        )),
        (false, _) if !names(if_match, &etag) => Err(Problem::precondition_failed()),
        (false, true) => Ok(StatusCode::NO_CONTENT.into_response()),
        (false, false) => Err(Problem::unprocessable(
            "the fragment names another ICE session: an ICE restart has If-Match: *",
        )),
    }
}

/// An ICE restart (RFC 9725 §4.3.3).
async fn restart(
    control: &Control,
    id: &str,
    fragment: &Fragment<'_>,
) -> Result<Response<Body>, Problem> {
    let ice = control.restart_ice(id, fragment.credentials()?).await?;
    let headers = [(CONTENT_TYPE, SDPFRAG.to_owned()), (ETAG, format!("\"{}\"", ice.etag))];
    Ok((StatusCode::OK, headers, fragment.answer(&ice)).into_response())
}

/// Whether If-Match has a tag among its own. One that a proxy has made weak names it still.
fn names(if_match: &str, etag: &str) -> bool {
    let tags = if_match.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    tags.into_iter().any(|tag| tag.trim_matches('"') == etag)
}

/// Whether the body is said to be of this media type, parameters such as a charset left aside.
pub(super) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted))
}
