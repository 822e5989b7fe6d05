//! `GET /api/v1/sessions/{id}`: everything about one session, alive or ended.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;

use super::Api;
use super::answer::{Answer, json};
use super::sample::{tenths, thousandths};
use crate::access::Admitted;
use crate::control::{EndedSession, LiveSession};
use crate::id::SessionKey;
use crate::telemetry::{LayerGot, LayerReason, PROFILES, PathShown, SessionCard};
use crate::track::{Offered, frames_of, layer_of, picture_in};
use crate::whip::{Problem, wanted_layer};

/// The hint where a publisher's packets are too long.
const OVERSIZED: &str = "it sends packets that are too long to reach viewers: set its packet size \
    (MTU) to 1,200 bytes";

/// What a list says of a session.
#[derive(Serialize)]
pub(super) struct Brief {
    id: String,
    stream: String,
    role: &'static str,
    state: &'static str,
    created_at: f64,
    shard: u16,
    port: Option<u16>,
    score: Option<f64>,
    level: Option<&'static str>,
    mos: Option<f64>,
    loss_ratio: Option<f64>,
    jitter_ms: Option<f64>,
    rtt_ms: Option<f64>,
    bits_per_s: Option<u32>,
}

#[derive(Serialize)]
struct Detail {
    #[serde(flatten)]
    brief: Brief,
    remote: Option<String>,
    local: Option<String>,
    transport: Option<&'static str>,
    dtls: Option<&'static str>,
    codecs: Codecs,
    packets: u64,
    bytes: u64,
    lost: u32,
    nacked: u32,
    repaired: u32,
    keyframe_requests: u32,
    expected_bits_per_s: Option<u32>,
    layer_distance: f64,
    layer: Option<LayerNow>,
    estimate: Option<PathEstimate>,
    hint: Option<&'static str>,
    phases_ms: Phases,
    moves: u32,
    timeline: Vec<Event>,
    history: Vec<HistoryPoint>,
    ended: Option<Ended>,
}

/// What is thought of a viewer's path.
#[derive(Serialize)]
struct PathEstimate {
    bits_per_s: u32,
    ceiling_bits_per_s: Option<u32>,
    queue_ms: u16,
    state: &'static str,
    reason: &'static str,
}

impl PathEstimate {
    fn new(shown: PathShown) -> PathEstimate {
        let PathShown { bits_per_s, ceiling_bits_per_s, queue_ms, state, reason } = shown;
        let (state, reason) = (state.words(), reason.words());
        PathEstimate { bits_per_s, ceiling_bits_per_s, queue_ms, state, reason }
    }
}

/// Why a viewer has no larger layer of a stream that comes from another node.
const NO_ROOM: &str = "the way between the nodes has no room for a larger one";

/// Which layer of its video a viewer gets.
#[derive(Serialize)]
struct LayerNow {
    wanted: String,
    /// The highest temporal layer of it; null where it is all of them.
    wanted_temporal_layer: Option<u8>,
    got: Option<String>,
    got_temporal_layer: Option<u8>,
    reason: &'static str,
    asked: bool,
    offered: Vec<String>,
    fewer_frames: Vec<FewerFrames>,
}

/// One of those that are offered, up to a temporal layer of it.
#[derive(Serialize)]
struct FewerFrames {
    layer: String,
    temporal_layer: u8,
    frames_per_s: u8,
}

impl LayerNow {
    fn new(shown: LayerGot, points: &[Offered]) -> LayerNow {
        let (fewer, pictures): (Vec<Offered>, Vec<Offered>) =
            points.iter().partition(|offer| frames_of(offer.layer).is_some());
        let name = |layer: u8| {
            let known = picture_in(&pictures, layer).and_then(|place| pictures.get(place));
            known.map_or_else(|| layer_of(layer).to_string(), Offered::called)
        };
        let LayerGot { wanted, got, why, asked, .. } = shown;
        let place = picture_in(&pictures, wanted);
        // Those that it would get instead.
        let others = match why {
            LayerReason::Silent => place.map_or(&[][..], |place| &pictures[place..=place]),
            LayerReason::Best | LayerReason::Carried => {
                place.map_or(&[][..], |place| &pictures[place + 1..])
            }
            _ => &[],
        };
        let lacks_room =
            others.iter().any(|offer| offer.withheld) && others.iter().all(|offer| !offer.flows);
        let offered = pictures.iter().map(Offered::called).collect();
        let fewer_frames = fewer.iter().filter_map(|offer| {
            let (temporal_layer, frames_per_s) = (frames_of(offer.layer)?, offer.frames_per_s?);
            Some(FewerFrames { layer: name(offer.layer), temporal_layer, frames_per_s })
        });
        let fewer_frames = fewer_frames.collect();
        LayerNow {
            wanted: name(wanted),
            wanted_temporal_layer: frames_of(wanted),
            got: got.map(name),
            got_temporal_layer: got.and_then(frames_of),
            reason: if lacks_room { NO_ROOM } else { why.words() },
            asked,
            offered,
            fewer_frames,
        }
    }
}

#[derive(Serialize)]
struct Codecs {
    audio: Option<&'static str>,
    video: Option<&'static str>,
}

#[derive(Serialize)]
struct Phases {
    first_stun: Option<u32>,
    dtls: Option<u32>,
    first_media: Option<u32>,
}

#[derive(Serialize)]
struct Event {
    at: f64,
    what: &'static str,
}

#[derive(Serialize)]
struct HistoryPoint {
    at: u32,
    score: Option<u8>,
    loss_ratio: f64,
    rtt_ms: Option<u16>,
    jitter_ms: f64,
    bits_per_s: u32,
}

#[derive(Serialize)]
struct Ended {
    at: f64,
    reason: &'static str,
    words: String,
}

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(admitted): Extension<Admitted>,
    Path(id): Path<String>,
) -> Answer {
    let key: SessionKey =
        id.parse().map_err(|error| Problem::bad_request(format!("`{id}`: {error}")))?;
    let card = api.control.card(key);
    let points = api.control.points_of(key);
    let living = api.control.with_session(key, |live| {
        detail(key, live, card.as_ref(), None, admitted.addresses, &points)
    });
    let ended = || {
        api.control.with_ended(key, |ended| {
            let card = ended.card.as_deref();
            detail(key, &ended.live, card, Some(ended), admitted.addresses, &points)
        })
    };
    let gone = || {
        Problem::not_found("there is no such session; of those that ended, the last thousand stay")
    };
    json(&living.or_else(ended).ok_or_else(gone)?)
}

/// POST `…/layer`: a viewer gets another layer, as if it had asked for it.
pub(super) async fn choose_layer(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let key: SessionKey =
        id.parse().map_err(|error| Problem::bad_request(format!("`{id}`: {error}")))?;
    let body = str::from_utf8(&body)
        .map_err(|error| Problem::bad_request(format!("the body is no text: {error}")))?;
    api.control.choose_layer_of(key, wanted_layer(body)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// DELETE: the session is ended, whoever's it is.
pub(super) async fn kick(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let key: SessionKey =
        id.parse().map_err(|error| Problem::bad_request(format!("`{id}`: {error}")))?;
    api.control.kick_session(key)?;
    tracing::info!(session = %key, "ended by an administrator");
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Brief {
    pub fn new(
        key: SessionKey,
        live: &LiveSession,
        card: Option<&SessionCard>,
        ended: bool,
    ) -> Brief {
        let connected = card.filter(|card| card.stage.is_connected());
        Brief {
            id: key.to_string(),
            stream: live.stream.to_string(),
            role: if live.publisher { "publisher" } else { "viewer" },
            state: match (ended, connected) {
                (true, _) => "ended",
                (false, Some(_)) => "connected",
                (false, None) => "connecting",
            },
            created_at: thousandths(live.created_at),
            shard: key.shard,
            port: Some(live.port),
            score: card.and_then(|card| card.score).map(|score| tenths(score.into())),
            level: card.and_then(SessionCard::level).map(|level| level.label()),
            mos: card.and_then(SessionCard::mos).map(|mos| thousandths(mos.into())),
            loss_ratio: connected.map(|card| (f64::from(card.loss_ratio) * 1e5).round() / 1e5),
            jitter_ms: connected.map(|card| f64::from(card.jitter_us) / 1_000.0),
            rtt_ms: card.and_then(|card| card.rtt_us).map(|rtt| f64::from(rtt) / 1_000.0),
            bits_per_s: connected.map(|card| card.bits_per_s),
        }
    }
}

fn detail(
    key: SessionKey,
    live: &LiveSession,
    card: Option<&SessionCard>,
    ended: Option<&EndedSession>,
    addresses: bool,
    points: &[Offered],
) -> Detail {
    let brief = Brief::new(key, live, card, ended.is_some());
    let card = card.copied().unwrap_or_default();
    let shown = |address: Option<std::net::SocketAddr>| {
        address.filter(|_| addresses).map(|address| address.to_string())
    };
    let profile = PROFILES.get(usize::from(card.profile)).filter(|name| !name.is_empty());
    Detail {
        brief,
        remote: shown(card.remote),
        local: shown(card.local),
        transport: card.remote.map(|_| if card.over_tcp { "tcp" } else { "udp" }),
        dtls: profile.copied(),
        codecs: Codecs { audio: live.audio, video: live.video },
        packets: card.packets,
        bytes: card.bytes,
        lost: card.lost,
        nacked: card.nacked,
        repaired: card.repaired,
        keyframe_requests: card.keyframe_requests,
        expected_bits_per_s: Some(card.expected_bits_per_s).filter(|bits| *bits > 0),
        layer_distance: card.layer.map_or(0.0, |layer| f64::from(layer.below_largest)),
        layer: card.layer.map(|layer| LayerNow::new(layer, points)),
        estimate: card.path.map(PathEstimate::new),
        hint: card.oversized.then_some(OVERSIZED),
        phases_ms: Phases {
            first_stun: card.first_stun_ms,
            dtls: card.dtls_ms,
            first_media: card.first_media_ms,
        },
        moves: card.moves,
        timeline: timeline(live, &card, ended),
        history: history(live),
        ended: ended.map(|ended| Ended {
            at: thousandths(ended.ended_at),
            reason: ended.reason.label(),
            words: ended.words.clone(),
        }),
    }
}

/// What happened to the session, in order.
fn timeline(live: &LiveSession, card: &SessionCard, ended: Option<&EndedSession>) -> Vec<Event> {
    let after = |ms: u32| live.created_at + f64::from(ms) / 1_000.0;
    let phase = |ms: Option<u32>, what| ms.map(|ms| (after(ms), what));
    let phases = [
        Some((live.created_at, "created")),
        phase(card.first_stun_ms, "first_stun"),
        phase(card.dtls_ms, "dtls"),
        phase(card.first_media_ms, "first_media"),
    ];
    let moves = live.history.moved.iter().map(|at| (*at, "moved"));
    let end = ended.map(|ended| (ended.ended_at, "ended"));
    let mut events: Vec<(f64, &'static str)> =
        phases.into_iter().flatten().chain(moves).chain(end).collect();
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    events.into_iter().map(|(at, what)| Event { at: thousandths(at), what }).collect()
}

fn history(live: &LiveSession) -> Vec<HistoryPoint> {
    let points = live.history.points.iter().map(|point| HistoryPoint {
        at: point.at,
        score: point.score(),
        loss_ratio: (point.loss_ratio() * 1e5).round() / 1e5,
        rtt_ms: point.rtt_ms(),
        jitter_ms: point.jitter_ms(),
        bits_per_s: point.bits_per_s,
    });
    points.collect()
}
