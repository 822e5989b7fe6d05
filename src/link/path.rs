//! The way a stream comes to a node: from which node to which.

use crate::limits::{MAX_NODES, MAX_TREE_DEPTH};

/// Nodes on a path, both ends included.
pub const MAX_PATH: usize = MAX_TREE_DEPTH + 1;

/// Bits of a node's number where a path is one word.
const NUMBER_BITS: u32 = 12;

const _: () = assert!(
    MAX_NODES < 1 << NUMBER_BITS && MAX_PATH as u32 * NUMBER_BITS < u64::BITS,
    "a path is one word, with a bit left"
);

/// Nodes by their numbers, which are never 0, from the one that has a stream's publisher down to
/// one that takes it. Empty where there is no way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path([u16; MAX_PATH]);

/// Why a path leads on to no further node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// It leads nowhere itself.
    NoSource,
    /// It has come by that node.
    Loop,
    /// It is as long as it may be.
    TooDeep,
}

impl Path {
    /// That of these nodes, as far as there is room; nothing follows the number 0.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = u16>) -> Path {
        let mut path = Path::default();
        let nodes = nodes.into_iter().take_while(|node| *node != 0);
        path.0.iter_mut().zip(nodes).for_each(|(place, node)| *place = node);
        path
    }

    /// The path that leads on from here to `node`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn to(self, node: u16) -> Result<Path, NoWay> {
        if self.is_empty() || node == 0 {
            return Err(NoWay::NoSource);
        }
        if self.nodes().any(|known| known == node) {
            return Err(NoWay::Loop);
        }
        let mut longer = self;
        let place = longer.0.iter_mut().find(|place| **place == 0).ok_or(NoWay::TooDeep)?;
        *place = node;
        Ok(longer)
    }

    /// Its nodes, the one with the publisher first.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        self.0[..self.len()].iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().position(|node| *node == 0).unwrap_or(MAX_PATH)
    }

    /// It leads nowhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }

    /// All of it in one word; 0 for one that leads nowhere.
    #[must_use]
    pub fn to_word(self) -> u64 {
        self.0.iter().rev().fold(0, |word, node| word << NUMBER_BITS | u64::from(*node))
    }

    /// What [`Path::to_word`] has made.
    #[must_use]
    pub fn from_word(word: u64) -> Path {
        let node = |place: usize| (word >> (place as u32 * NUMBER_BITS)) as u16 & MAX_NODES;
        Path::new((0..MAX_PATH).map(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_on_to_as_many_nodes_as_it_may_and_to_none_twice() {
        let mut path = Path::new([7]);
        for node in [9, MAX_NODES, 1, 2] {
            assert_eq!(path.to(7), Err(NoWay::Loop));
            path = path.to(node).expect("there is room");
            assert_eq!(Path::from_word(path.to_word()), path);
        }
        assert_eq!(path.to(3), Err(NoWay::TooDeep));
        assert_eq!(path.to(1), Err(NoWay::Loop));
        assert_eq!(path.nodes().rev().collect::<Vec<_>>(), [2, 1, MAX_NODES, 9, 7]);
        assert_eq!(Path::default().to(3), Err(NoWay::NoSource));
        assert_eq!(Path::from_word(0), Path::default());
        assert_eq!(Path::new([1, 0, 2]).len(), 1);
        assert_eq!(Path::new(1..=9).len(), MAX_PATH);
    }
}
