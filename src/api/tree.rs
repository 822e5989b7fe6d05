//! `GET /api/v1/streams/{name}/tree`: every node that has a stream, by whom, and who watches there.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;

use super::Api;
use super::answer::{Answer, json};
use super::cluster::owner_of;
use crate::cluster::{Comes, Place, Visited, Walk};
use crate::whip::Problem;

#[derive(Serialize)]
struct Tree {
    stream: String,
    /// On all nodes that have answered.
    viewers: usize,
    nodes: Vec<Node>,
    /// There are more nodes than were asked.
    more: bool,
}

#[derive(Serialize)]
struct Node {
    node: String,
    parent: Option<String>,
    depth: usize,
    viewers: Option<usize>,
    link: Option<Comes>,
    /// Why the rest is not known.
    problem: Option<String>,
}

impl From<Visited> for Node {
    fn from(visited: Visited) -> Node {
        let Visited { node, parent, depth, place } = visited;
        let (place, problem) = match place {
            Ok(place) => (Some(place), None),
            Err(why) => (None, Some(why)),
        };
        let viewers = place.as_ref().map(|place| place.viewers);
        let link = place.and_then(|Place { link, .. }| link);
        // By its own word, where it has moved since it was named.
        let parent = link.as_ref().map(|link| link.node.clone()).or(parent);
        Node { node, parent, depth, viewers, link, problem }
    }
}

/// Asks the node that publishes it, those who take it from there, and so on.
pub(super) async fn get(State(api): State<Arc<Api>>, Path(stream): Path<String>) -> Answer {
    let control = &api.control;
    let owner = owner_of(control, &stream).await?;
    let owner = owner.ok_or_else(|| Problem::not_found(format!("nobody publishes `{stream}`")))?;
    let Walk { visited, more } = match api.cluster.get() {
        Some(cluster) => cluster.walk(&stream, &owner.node).await,
        None => alone(control.whence(&stream).map_or(0, |here| here.viewers), &owner.node),
    };
    let nodes: Vec<Node> = visited.into_iter().map(Node::from).collect();
    let viewers = nodes.iter().filter_map(|node| node.viewers).sum();
    json(&Tree { stream, viewers, nodes, more })
}

/// A server that asks no other one.
fn alone(viewers: usize, node: &str) -> Walk {
    let place = Ok(Place { viewers, ..Place::default() });
    let visited = vec![Visited { node: node.into(), parent: None, depth: 0, place }];
    Walk { visited, more: false }
}
