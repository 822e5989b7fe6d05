//! `GET /api/v1/cluster`: the nodes there are, and how it goes with the directory they share;
//! `GET /api/v1/streams/{name}/where`: which of them has a stream; `POST /api/v1/cluster/check`:
//! whether another one can reach this one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, json};
use crate::control::{Control, LinkView, MediaPorts, NodeRecord, Owner, Whence};
use crate::whip::Problem;

#[derive(Serialize)]
struct Cluster {
    node: String,
    number: u16,
    directory: &'static str,
    /// Why this node is none of the others'.
    refused: Option<String>,
    nodes: Vec<Node>,
    links: Vec<Link>,
}

/// A stream on its way from or to another node.
#[derive(Serialize)]
struct Link {
    stream: String,
    node: String,
    direction: &'static str,
    packets: u64,
    repaired: u64,
    lost: u64,
    round_trip_ms: Option<f64>,
    layers: Vec<Layer>,
}

/// A layer of a link's video.
#[derive(Serialize)]
struct Layer {
    layer: String,
    state: &'static str,
}

#[derive(Serialize)]
struct Node {
    name: String,
    number: u16,
    zone: Option<String>,
    version: String,
    http: String,
    sessions: usize,
    load: f64,
    draining: bool,
    beat_age_s: f64,
    ports: Vec<Ports>,
}

/// The body of a POST.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckFrom {
    from: String,
}

#[derive(Serialize)]
struct Ports {
    protocol: &'static str,
    address: String,
    first_port: u16,
    last_port: u16,
}

#[derive(Serialize)]
struct Where {
    stream: String,
    node: Option<String>,
    /// Where its HTTP is, while it is alive.
    http: Option<String>,
    epoch: Option<u64>,
    /// The place of the node that is asked in the tree of nodes that have it.
    here: Option<Here>,
}

#[derive(Serialize)]
struct Here {
    /// The nodes by which it comes, the one that is asked last.
    path: Vec<String>,
    viewers: usize,
    /// The nodes that take it from here.
    children: Vec<String>,
}

/// Read from what was told last: nobody who looks asks the directory anything.
pub(super) async fn get(State(api): State<Arc<Api>>) -> Answer {
    let control = &api.control;
    let (answers, misfit) = control.directory_state();
    let seen_ago = control.nodes_seen_ago();
    json(&Cluster {
        node: control.member().node.to_string(),
        number: control.node_number(),
        directory: match (control.member().has_others, answers, &misfit) {
            (false, ..) => "none",
            (true, true, _) => "answers",
            (true, false, Some(_)) => "refuses",
            (true, false, None) => "silent",
        },
        refused: misfit.map(|misfit| misfit.to_string()),
        nodes: control.nodes().iter().map(|known| node(known, seen_ago)).collect(),
        links: control.links().iter().map(link).collect(),
    })
}

fn node(known: &NodeRecord, seen_ago: Duration) -> Node {
    let about = &known.about;
    let beat_ago = Duration::from_millis(known.beat_age_ms) + seen_ago;
    Node {
        name: known.name.to_string(),
        number: known.number,
        zone: (!about.zone.is_empty()).then(|| about.zone.to_string()),
        version: about.version.to_string(),
        http: known.http.to_string(),
        sessions: known.sessions,
        load: f64::from(about.load_permille) / 1_000.0,
        draining: known.draining,
        beat_age_s: (beat_ago.as_secs_f64() * 10.0).round() / 10.0,
        ports: about.media.iter().map(ports).collect(),
    }
}

fn link(known: &LinkView) -> Link {
    let LinkView { packets, repaired, lost, round_trip_us, .. } = *known;
    let layers = known.layers.iter();
    let layers = layers.map(|(name, coming)| Layer { layer: name.clone(), state: coming.label() });
    Link {
        stream: known.stream.to_string(),
        node: known.node.to_string(),
        direction: if known.brings { "in" } else { "out" },
        packets,
        repaired,
        lost,
        round_trip_ms: (round_trip_us > 0).then(|| round_trip_us as f64 / 1_000.0),
        layers: layers.collect(),
    }
}

fn ports(media: &MediaPorts) -> Ports {
    Ports {
        protocol: if media.tcp { "tcp" } else { "udp" },
        address: media.ip.to_string(),
        first_port: media.first,
        last_port: media.last,
    }
}

/// POST `{"from": "NODE"}`: that node tries whether this one can be reached.
pub(super) async fn check(State(api): State<Arc<Api>>, body: Bytes) -> Answer {
    let wanted = serde_json::from_slice::<CheckFrom>(&body);
    let CheckFrom { from } = wanted.map_err(|error| {
        Problem::bad_request(format!("the body is no {{\"from\": \"NODE\"}}: {error}"))
    })?;
    let Some(cluster) = api.cluster.get() else {
        return Err(Problem::conflict(
            "this server is no node of a cluster whose nodes ask one another (--cluster, \
             --cluster-secret-file)",
        ));
    };
    if *from == *api.control.member().node {
        return Err(Problem::bad_request(format!("`{from}` is this node: name another one")));
    }
    let (status, text) = cluster.be_tried_by(&from).await?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    Ok((status, [(CONTENT_TYPE, kind)], text).into_response())
}

/// Who has a stream: what the directory says, a second old at most; where it does not answer, what
/// this node knows.
pub(super) async fn owner_of(control: &Control, stream: &str) -> Result<Option<Owner>, Problem> {
    match control.owner(stream).await {
        Ok(owner) => Ok(owner),
        Err(_unreachable) => Ok(Some(control.own_claim(stream).ok_or_else(|| {
            Problem::overloaded(
                "the directory that knows which node has the stream does not answer, and nobody \
                 publishes it on this node",
            )
        })?)),
    }
}

/// See [`owner_of`].
pub(super) async fn locate(State(api): State<Arc<Api>>, Path(stream): Path<String>) -> Answer {
    let owner = owner_of(&api.control, &stream).await?;
    json(&Where {
        node: owner.as_ref().map(|owner| owner.node.to_string()),
        http: owner.as_ref().and_then(|owner| Some(owner.http?.to_string())),
        epoch: owner.map(|owner| owner.epoch),
        here: here(&api.control, &stream),
        stream,
    })
}

fn here(control: &Control, stream: &str) -> Option<Here> {
    let Whence { lineage, children, viewers } = control.whence(stream)?;
    let nodes = control.nodes();
    let name = |number: u16| {
        let node = nodes.iter().find(|node| node.number == number);
        node.map_or_else(|| format!("#{number}"), |node| node.name.to_string())
    };
    let path = lineage.path.nodes().map(name).collect();
    let children = children.iter().map(|child| child.node.to_string()).collect();
    Some(Here { path, viewers, children })
}
