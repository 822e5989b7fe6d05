//! All nodes that have a stream, asked from the one that publishes it on: by whom each has it, who
//! watches there, and how it comes.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::to_bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Carried, Heard, Neighbours};
use crate::control::{ControlError, LinkView};
use crate::limits::{
    MAX_FORWARDED_ANSWER_BYTES, MAX_NODE_NAME_CHARS, WALK_ASKED_AT_ONCE, WALK_NODES, WALK_TIME,
};

/// Where a node asks for another one's place; the stream's name follows.
const PLACE: &str = "/place/";

/// A node's place in the tree of a stream, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Who watches it there.
    pub viewers: usize,
    /// The nodes that take it from there.
    pub children: Vec<String>,
    /// How it comes, where it comes from another node.
    pub link: Option<Comes>,
}

/// How a stream comes to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comes {
    /// From which.
    pub node: String,
    /// Media packets that came.
    pub packets: u64,
    /// Those of them that had to be sent again.
    pub repaired: u64,
    /// Media packets that came neither way.
    pub lost: u64,
    /// The last round trip that was measured; nothing before.
    pub round_trip_ms: Option<f64>,
}

/// A node that was come to.
#[derive(Clone, Debug)]
pub struct Visited {
    /// Which.
    pub node: String,
    /// The node that named it; of the first, nothing.
    pub parent: Option<String>,
    /// How many nodes the stream has come over to it.
    pub depth: usize,
    /// Its place, or why that is not known.
    pub place: Result<Place, String>,
}

/// What has been found of a tree.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// The one that publishes it first, those who take it from there next.
    pub visited: Vec<Visited>,
    /// There are more than were asked, or than there was time for.
    pub more: bool,
}

impl From<LinkView> for Comes {
    fn from(link: LinkView) -> Comes {
        let LinkView { node, packets, repaired, lost, round_trip_us, .. } = link;
        let round_trip_ms = (round_trip_us > 0).then(|| round_trip_us as f64 / 1_000.0);
        Comes { node: node.into(), packets, repaired, lost, round_trip_ms }
    }
}

impl Neighbours {
    /// This node's place in the tree of `stream`; nothing where it has it not.
    fn place(&self, stream: &str) -> Option<Place> {
        let whence = self.control.whence(stream)?;
        let mut links = self.control.links().into_iter();
        let link = links.find(|link| link.brings && &*link.stream == stream).map(Comes::from);
        let children = whence.children.into_iter().map(|child| child.node.into()).collect();
        Some(Place { viewers: whence.viewers, children, link })
    }

    /// What this node answers itself: its place, in words that [`Neighbours::walk`] reads.
    #[must_use]
    pub fn tell_place(&self, heard: &Heard) -> Option<Result<String, ControlError>> {
        let stream = heard.request.path.strip_prefix(PLACE)?;
        (heard.request.method == "GET").then(|| {
            let place =
                self.place(stream).ok_or_else(|| ControlError::NoPublisher(stream.into()))?;
            Ok(serde_json::to_string(&place).unwrap_or_default())
        })
    }

    /// Asks the node `first`, which publishes `stream`, then those who take it from there, and so
    /// on, some at a time.
    pub async fn walk(self: &Arc<Self>, stream: &str, first: &str) -> Walk {
        let until = Instant::now() + WALK_TIME;
        let mut walk = Walk::default();
        let mut named: HashSet<String> = [first.to_owned()].into();
        let mut waiting = vec![(first.to_owned(), None, 0)];
        let mut asked = JoinSet::new();
        let mut next = 0;
        loop {
            while asked.len() < WALK_ASKED_AT_ONCE && next < waiting.len().min(WALK_NODES) {
                let (node, parent, depth) = waiting[next].clone();
                let (cluster, stream) = (self.clone(), stream.to_owned());
                asked.spawn(async move {
                    let place = cluster.place_of(&node, &stream).await;
                    Visited { node, parent, depth, place }
                });
                next += 1;
            }
            let Ok(Some(Ok(visited))) = tokio::time::timeout_at(until, asked.join_next()).await
            else {
                walk.more = next < waiting.len() || !asked.is_empty();
                break;
            };
            let children = visited.place.iter().flat_map(|place| &place.children);
            for child in children.filter(|child| child.len() <= MAX_NODE_NAME_CHARS) {
                // Each once: who has just gone from one to another is named by both.
                if named.len() <= WALK_NODES && named.insert(child.clone()) {
                    let parent = Some(visited.node.clone());
                    waiting.push((child.clone(), parent, visited.depth + 1));
                }
            }
            walk.visited.push(visited);
        }
        walk.visited.sort_by(|one, other| {
            (one.depth, &one.parent, &one.node).cmp(&(other.depth, &other.parent, &other.node))
        });
        walk
    }

    async fn place_of(&self, node: &str, stream: &str) -> Result<Place, String> {
        if *node == *self.control.member().node {
            return self.place(stream).ok_or_else(|| NOT_THERE.into());
        }
        let path = format!("{PLACE}{stream}");
        let asked = Carried { method: "GET".into(), path, ..Carried::default() };
        let answered = self.ask(node, asked).await.map_err(|unasked| unasked.to_string())?;
        if answered.head.status == 404 {
            return Err(NOT_THERE.into());
        }
        let body = to_bytes(answered.body, MAX_FORWARDED_ANSWER_BYTES).await.unwrap_or_default();
        serde_json::from_slice(&body).map_err(|_error| {
            format!("the node `{node}` has answered with no place that this version knows")
        })
    }
}

/// It may have gone since somebody named it.
const NOT_THERE: &str = "it has not the stream, or not any more";
