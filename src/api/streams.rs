//! `GET /api/v1/streams`: who publishes what, and to how many, by name.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, json, page, parameters};
use super::sample::tenths;
use crate::control::StreamView;
use crate::id::{SessionKey, TrackId, TrackKind};
use crate::limits::{MAX_THINNED, MAX_TRACKS_OF_A_KIND, SESSION_HISTORY_INTERVAL, THINNED_FRAMES};
use crate::track::{Loudness, StreamShared, Thinned};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<usize>,
    /// The name of the last stream of the page before.
    after: Option<String>,
}

#[derive(Serialize)]
struct Page {
    streams: Vec<Stream>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Stream {
    name: String,
    publisher: Option<String>,
    publisher_quality: Option<f64>,
    viewers: usize,
    audio: Option<&'static str>,
    video: Option<&'static str>,
    in_bits_per_s: u64,
    out_bits_per_s: u64,
    keyframe_requests_per_s: Option<f64>,
    layers: Vec<Layer>,
}

/// One simulcast layer of one track, or the track where it has no layers.
#[derive(Serialize)]
struct Layer {
    kind: &'static str,
    track: u8,
    layer: u8,
    bits_per_s: u64,
    width: Option<u16>,
    height: Option<u16>,
    best: bool,
    silent: bool,
    withheld: bool,
    deaf: bool,
    level_dbov: Option<i8>,
    speaks: bool,
    temporal_layers: Vec<TemporalLayer>,
    spatial_layers: Vec<SpatialLayer>,
}

/// A layer without the spatial layers above one, with all frames.
#[derive(Serialize)]
struct SpatialLayer {
    spatial_layer: u8,
    bits_per_s: u64,
    frames_per_s: u8,
    width: Option<u16>,
    height: Option<u16>,
}

/// A layer without the temporal layers above one.
#[derive(Serialize)]
struct TemporalLayer {
    temporal_layer: u8,
    bits_per_s: u64,
    frames_per_s: u8,
}

impl TemporalLayer {
    fn all(thinned: [Thinned; MAX_THINNED]) -> Vec<TemporalLayer> {
        let each = there_are(&thinned[..THINNED_FRAMES]);
        let shown = |(temporal_layer, thinned): (u8, &Thinned)| TemporalLayer {
            temporal_layer,
            bits_per_s: u64::from(thinned.needs_kilobits_per_s) * 1_000,
            frames_per_s: thinned.frames_per_s,
        };
        each.map(shown).collect()
    }
}

impl SpatialLayer {
    fn all(thinned: [Thinned; MAX_THINNED]) -> Vec<SpatialLayer> {
        let each = there_are(&thinned[THINNED_FRAMES..]);
        let shown = |(spatial_layer, thinned): (u8, &Thinned)| SpatialLayer {
            spatial_layer,
            bits_per_s: u64::from(thinned.needs_kilobits_per_s) * 1_000,
            frames_per_s: thinned.frames_per_s,
            width: thinned.size.map(|size| size.width),
            height: thinned.size.map(|size| size.height),
        };
        each.map(shown).collect()
    }
}

/// Those there are, by their numbers.
fn there_are(thinned: &[Thinned]) -> impl Iterator<Item = (u8, &Thinned)> + '_ {
    (0..).zip(thinned).filter(|(_, thinned)| thinned.needs_kilobits_per_s > 0)
}

fn layers(shared: &StreamShared) -> Vec<Layer> {
    let loudness: Vec<(u8, Loudness)> = shared.loudness(Instant::now()).collect();
    let numbers = 0..MAX_TRACKS_OF_A_KIND as u8;
    let tracks = TrackKind::ALL.into_iter().flat_map(|kind| {
        let track = move |number| TrackId { kind, number };
        numbers.clone().map(track)
    });
    let each = tracks.flat_map(|track| {
        let is_of = |(number, _): &&(u8, Loudness)| {
            (track.kind, track.number) == (TrackKind::Audio, *number)
        };
        let loudness = loudness.iter().find(is_of).map(|(_, loudness)| *loudness);
        let best = shared.best_layer(track);
        shared.all_layers(track).map(move |(layer, shown)| Layer {
            kind: if track.kind == TrackKind::Audio { "audio" } else { "video" },
            track: track.number,
            layer,
            bits_per_s: if shown.silent { 0 } else { u64::from(shown.kilobits_per_s) * 1_000 },
            width: shown.size.map(|size| size.width),
            height: shown.size.map(|size| size.height),
            best: layer == best,
            silent: shown.silent,
            withheld: shown.withheld,
            deaf: shown.deaf,
            level_dbov: loudness.map(|loudness| loudness.level),
            speaks: loudness.is_some_and(|loudness| loudness.speaks),
            temporal_layers: TemporalLayer::all(shown.thinned),
            spatial_layers: SpatialLayer::all(shown.thinned),
        })
    });
    each.collect()
}

/// DELETE `/api/v1/streams/{name}`: everybody who publishes or watches it is ended.
pub(super) async fn kick(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Answer {
    let sessions = api.control.kick_stream(&name)?;
    // As a field it is escaped.
    tracing::info!(stream = name, sessions, "ended by an administrator");
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let Asked { limit, after } = parameters(asked)?;
    let limit = page(limit)?;
    let mut streams: Vec<(Stream, Vec<SessionKey>)> = Vec::new();
    let mut more = false;
    api.control.each_stream(after.as_deref(), |view| {
        more = streams.len() == limit;
        if more {
            return ControlFlow::Break(());
        }
        streams.push((one(&api, &view), view.viewers.to_vec()));
        ControlFlow::Continue(())
    });
    // Viewers' cards are read when nobody waits for the list of sessions any more.
    let streams: Vec<Stream> = streams
        .into_iter()
        .map(|(stream, viewers)| {
            let cards = viewers.iter().filter_map(|viewer| api.control.card(*viewer));
            Stream { out_bits_per_s: cards.map(|card| u64::from(card.bits_per_s)).sum(), ..stream }
        })
        .collect();
    let next = streams.last().filter(|_| more).map(|stream| stream.name.clone());
    json(&Page { streams, next })
}

/// What is known of a stream without a look at its viewers. Bit rates are those of the sessions'
/// last reports, two seconds old at most.
fn one(api: &Api, view: &StreamView<'_>) -> Stream {
    let card = view.publisher.and_then(|(key, _)| api.control.card(key));
    let asked = view.publisher.and_then(|(_, live)| live?.history.points.back());
    Stream {
        name: view.name.to_owned(),
        publisher: view.publisher.map(|(key, _)| key.to_string()),
        publisher_quality: card.and_then(|card| card.score).map(|score| tenths(score.into())),
        viewers: view.viewers.len(),
        audio: view.audio,
        video: view.video,
        in_bits_per_s: card.map_or(0, |card| card.bits_per_s.into()),
        out_bits_per_s: 0,
        keyframe_requests_per_s: asked.map(|point| {
            tenths(f64::from(point.keyframe_requests) / SESSION_HISTORY_INTERVAL.as_secs_f64())
        }),
        layers: layers(view.shared),
    }
}
