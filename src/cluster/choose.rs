//! Which node a viewer is served by: where it has come, if the stream is there; else the node that
//! has the stream, while that is of the zone and has room; else again where it has come, with the
//! stream taken from there.
//!
//! Which node a publisher goes to: where it has come, unless that node drains or is loaded; then
//! the better of two that are drawn, of its zone where there are some. Two are enough to keep the
//! load even, and the newest figures of all nodes, which are seconds old, would send a whole storm
//! to one.

use crate::control::NodeRecord;
use crate::limits::NODE_BUSY_PERMILLE;

/// This node.
pub(super) struct Own<'a> {
    pub name: &'a str,
    pub zone: &'a str,
    pub draining: bool,
    pub load_permille: u32,
}

/// The node for a publisher that has come to `own`; nothing where that is the one. `random` draws a
/// number below its argument.
pub(super) fn for_publisher<'a>(
    own: &Own<'_>,
    nodes: &'a [NodeRecord],
    mut random: impl FnMut(usize) -> usize,
) -> Option<&'a NodeRecord> {
    if !own.draining && own.load_permille < NODE_BUSY_PERMILLE {
        return None;
    }
    let fits = |node: &&NodeRecord| {
        let is_other = *node.name != *own.name && !node.draining;
        // Who drains takes nobody, however loaded the others are.
        is_other && (own.draining || node.about.load_permille < NODE_BUSY_PERMILLE)
    };
    let of_zone = |node: &&NodeRecord| fits(node) && *node.about.zone == *own.zone;
    let mut fit: Vec<&NodeRecord> = nodes.iter().filter(of_zone).collect();
    if fit.is_empty() {
        fit = nodes.iter().filter(fits).collect();
    }
    let draws = fit.len().min(2);
    let drawn = (0..draws).map(|_| fit.swap_remove(random(fit.len())));
    drawn.min_by_key(|node| node.about.load_permille)
}

/// Whether a viewer that has come to `own`, which has not the stream, is served here, with the
/// stream taken from its `owner`; else that one serves it. Who drains begins nothing new, and gives
/// its streams to who serves their viewers.
pub(super) fn is_viewer_for_here(own: &Own<'_>, owner: &NodeRecord) -> bool {
    let has_room = !own.draining && own.load_permille < NODE_BUSY_PERMILLE;
    let is_far = *owner.about.zone != *own.zone;
    let is_loaded = owner.about.load_permille >= NODE_BUSY_PERMILLE;
    has_room && (is_far || is_loaded || owner.draining)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::control::{About, HttpAt, Terms};

    fn node(name: &str, zone: &str, load_permille: u32, draining: bool) -> NodeRecord {
        NodeRecord {
            name: name.into(),
            http: HttpAt { tls: false, address: SocketAddr::from(([192, 0, 2, 1], 1)) },
            number: 1,
            sessions: 0,
            draining,
            beat_age_ms: 0,
            terms: Terms::default(),
            about: About { zone: zone.into(), load_permille, ..About::default() },
        }
    }

    fn chosen(own: (u32, bool), nodes: &[NodeRecord]) -> Vec<&str> {
        let (load_permille, draining) = own;
        let own = Own { name: "own", zone: "x", draining, load_permille };
        let mut all: Vec<&str> = Vec::new();
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let node = for_publisher(&own, nodes, |below| random.usize(0..below));
            all.push(node.map_or("here", |node| &node.name));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn a_viewer_is_served_by_who_has_the_stream_while_that_is_near_and_has_room() {
        let own = |draining, load_permille| Own { name: "own", zone: "x", draining, load_permille };
        let here = |draining, load, owner| is_viewer_for_here(&own(draining, load), &owner);
        assert!(!here(false, 0, node("a", "x", 0, false)), "near");
        assert!(here(false, 0, node("a", "y", 0, false)), "one copy goes the long way");
        assert!(here(false, 0, node("a", "x", 700, false)), "loaded");
        assert!(!here(false, 700, node("a", "y", 0, false)), "no room here");
        assert!(!here(true, 0, node("a", "y", 0, false)), "nothing new here");
        assert!(here(false, 0, node("a", "x", 0, true)), "who drains serves nobody new");
    }

    #[test]
    fn a_publisher_stays_where_it_has_come_unless_that_node_is_loaded_or_drains() {
        let nodes = [
            node("own", "x", 0, false),
            node("a", "x", 100, false),
            node("b", "x", 200, false),
            node("c", "x", 300, false),
            node("d", "y", 0, false),
            node("e", "x", 0, true),
            node("f", "x", 900, false),
        ];
        assert_eq!(chosen((0, false), &nodes), ["here"]);
        assert_eq!(chosen((699, false), &nodes), ["here"]);
        assert_eq!(chosen((700, false), &nodes), ["a", "b"], "never the worst of the three");
        assert_eq!(chosen((0, true), &nodes), ["a", "b", "c"], "nor where all are loaded");
        assert_eq!(chosen((900, false), &nodes[4..]), ["d"], "another zone is better than none");
        assert_eq!(chosen((900, false), &nodes[5..]), ["here"]);
        assert_eq!(chosen((900, true), &nodes[5..]), ["f"]);
        assert_eq!(chosen((900, true), &[]), ["here"]);
    }
}
