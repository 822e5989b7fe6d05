//! `GET /live`: the streams that can be watched now, for those who may watch.
//!
//! What the home page lists, and what a publisher asks before it comes back to a name that somebody
//! else may have taken.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{Response, Uri};
use axum::response::IntoResponse;
use serde::Serialize;

use super::Problem;
use crate::access::Admitted;
use crate::control::{Control, StreamView, unix_now};
use crate::id::{TrackId, TrackKind};
use crate::limits::{MAX_STREAM_NAME_BYTES, PAGE};

#[derive(Serialize)]
struct Page {
    streams: Vec<LiveStream>,
    /// What to ask for the next page with, as `after`.
    next: Option<String>,
}

#[derive(Serialize)]
struct LiveStream {
    name: String,
    video: Option<&'static str>,
    audio: Option<&'static str>,
    /// Of the best layer, once a key frame has said it.
    width: Option<u16>,
    height: Option<u16>,
    viewers: usize,
    /// Seconds since its publisher came.
    age_s: u64,
}

/// A page of the list by name: `?after=NAME` goes on, `?name=NAME` asks for one.
pub(super) fn live(
    control: &Control,
    admitted: &Admitted,
    uri: &Uri,
) -> Result<Response<Body>, Problem> {
    let (mut name, mut after) = (None, None);
    for (key, value) in uri.query().unwrap_or_default().split('&').filter_map(|p| p.split_once('='))
    {
        // Names need no escapes: a value that has some is nobody's name.
        let value = (value.len() <= MAX_STREAM_NAME_BYTES).then_some(value);
        match key {
            "name" => name = Some(value.unwrap_or_default()),
            "after" => after = value,
            _ => {}
        }
    }
    let page = page(control, admitted, name, after);
    let text = serde_json::to_vec(&page)
        .map_err(|error| Problem::internal(format!("the answer can't be written: {error}")))?;
    let headers = [("content-type", "application/json"), (CACHE_CONTROL.as_str(), "no-store")];
    Ok((headers, text).into_response())
}

fn page(control: &Control, admitted: &Admitted, name: Option<&str>, after: Option<&str>) -> Page {
    let mut streams: Vec<LiveStream> = Vec::new();
    let mut more = false;
    let now = unix_now();
    // They come in the order of their names, and the one of a name comes soon behind all but the
    // last character of it.
    let before = name.and_then(|name| name.get(..name.len().saturating_sub(1)));
    control.each_stream(before.or(after), |view| {
        match name.map(|name| view.name.cmp(name)) {
            Some(Ordering::Less) => return ControlFlow::Continue(()),
            Some(Ordering::Greater) => return ControlFlow::Break(()),
            Some(Ordering::Equal) | None => {}
        }
        if !admitted.includes(view.name) {
            return ControlFlow::Continue(());
        }
        if let Some(stream) = one(control, &view, now) {
            more = streams.len() == PAGE;
            if more {
                return ControlFlow::Break(());
            }
            streams.push(stream);
        }
        ControlFlow::Continue(())
    });
    let next = streams.last().filter(|_| more).map(|stream| stream.name.clone());
    Page { streams, next }
}

/// The stream, if its publisher's media has come.
fn one(control: &Control, view: &StreamView<'_>, now: f64) -> Option<LiveStream> {
    let (key, session) = view.publisher?;
    control.card(key)?.first_media_ms?;
    let picture = TrackId { kind: TrackKind::Video, number: 0 };
    let best = view.shared.best_layer(picture);
    let shown = view.shared.shown_layers(picture);
    let size =
        shown.into_iter().find(|(layer, _)| *layer == best).and_then(|(_, shown)| shown.size);
    Some(LiveStream {
        name: view.name.to_owned(),
        video: view.video,
        audio: view.audio,
        width: size.map(|size| size.width),
        height: size.map(|size| size.height),
        viewers: view.viewers.len(),
        age_s: session.map_or(0, |session| (now - session.created_at).max(0.0) as u64),
    })
}
