//! How a tree stands in truth, whatever its nodes know of it, and what must hold of it.

use monoport::cluster::tree::Path;
use monoport::limits::MAX_TREE_DEPTH;

use super::world::{ORIGIN, World, number};

impl World {
    /// The path by which a node has the stream, itself last.
    pub fn path(&self, node: usize) -> Path {
        match (node, self.nodes[node].parent) {
            (ORIGIN, _) => Path::new([number(ORIGIN)]),
            (_, None) => Path::default(),
            (_, Some(_)) => self.nodes[node].above.to(number(node)).unwrap_or_default(),
        }
    }

    /// Whether media comes to a node, by whoever feeds whom in truth. A loop is none.
    pub fn is_fed(&self, node: usize) -> bool {
        let (mut at, mut steps) = (node, 0);
        while at != ORIGIN {
            let Some(parent) = self.nodes[at].parent.filter(|_| self.nodes[at].is_alive) else {
                return false;
            };
            (at, steps) = (parent, steps + 1);
            if steps > self.nodes.len() {
                return false;
            }
        }
        true
    }

    pub fn below(&self, node: usize) -> Vec<usize> {
        let (mut all, mut next) = (vec![node], 0);
        while let Some(&at) = all.get(next) {
            let fed = self.nodes[at].children.iter().map(|kid| kid.node);
            let fed = fed.filter(|kid| self.nodes[*kid].parent == Some(at) && *kid != node);
            let fed: Vec<usize> = fed.collect();
            all.extend(fed);
            next += 1;
            assert!(all.len() <= self.nodes.len() * 2, "a loop");
        }
        all
    }

    pub fn is_in_loop(&self, node: usize) -> bool {
        let mut at = node;
        for _ in 0..self.nodes.len() {
            let Some(parent) = self.nodes[at].parent else { return false };
            if parent == node {
                return true;
            }
            at = parent;
        }
        true
    }

    pub fn busiest_100_ms(&self) -> usize {
        self.asked.values().copied().max().unwrap_or(0)
    }

    pub fn deepest(&self) -> usize {
        (1..self.nodes.len()).map(|node| self.path(node).len().saturating_sub(1)).max().unwrap_or(0)
    }

    /// Every node that lives has the stream, and the tree is as deep as it may be at most.
    pub fn is_whole(&self, what: &str) {
        let lives = (1..self.nodes.len()).filter(|node| self.nodes[*node].is_alive);
        let without: Vec<usize> = lives.clone().filter(|node| !self.is_fed(*node)).collect();
        assert!(without.is_empty(), "{what}: without a source: {without:?}");
        let cut: Vec<usize> =
            lives.clone().filter(|node| self.nodes[*node].gap_from_us.is_some()).collect();
        assert!(cut.is_empty(), "{what}: cut off for good: {cut:?}");
        let lost: Vec<usize> = lives.filter(|node| self.path(*node).is_empty()).collect();
        assert!(lost.is_empty(), "{what}: without a path: {lost:?}");
        assert!(self.deepest() <= MAX_TREE_DEPTH, "{what}: {} deep", self.deepest());
        assert_eq!(self.loops, 0, "{what}: loops");
    }
}
