//! The session resource: what a client does to a session after it was set up.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, IF_MATCH};

use super::Problem;
use crate::control::{Control, ice_ufrag};

/// PATCH with more candidates (RFC 9725 §4.3.1, RFC 8840). They are not needed: the server learns
/// the client's address from its checks. So the request is checked and the candidates are left
/// alone; an ICE restart is refused, and the session goes on.
pub(super) fn patch(
    control: &Control,
    id: &str,
    headers: &HeaderMap,
    fragment: &str,
) -> Result<(), Problem> {
    let (etag, remote_ufrag) = control.ice_session(id)?;
    if !has_type(headers, "application/trickle-ice-sdpfrag") {
        return Err(Problem::unsupported_media_type("application/trickle-ice-sdpfrag"));
    }
    let if_match = headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
    let if_match = if_match.ok_or_else(Problem::precondition_required)?.trim();
    let ufrag = ice_ufrag(fragment)
        .ok_or_else(|| Problem::bad_request("the fragment has no a=ice-ufrag line"))?;
    if if_match == "*" || Some(ufrag) != remote_ufrag.as_deref() {
        return Err(Problem::unprocessable(
            "this server takes candidates, but no ICE restart: start a new session",
        ));
    }
    if if_match.trim_start_matches("W/").trim_matches('"') != etag {
        return Err(Problem::precondition_failed());
    }
    Ok(())
}

/// Whether the body is said to be of this media type, parameters such as a charset left aside.
pub(super) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted))
}
