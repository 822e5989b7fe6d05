//! Who takes a stream from whom, as rules and nothing else: a tree grows under the node that has
//! its publisher, because who is asked for the stream and has children enough names one of them.
//!
//! No state of the tree is kept anywhere but at its nodes: each knows its children, and the path
//! by which the stream comes to it. `tests/simulation/tree.rs` runs these for ten thousand nodes.

use std::time::Duration;

use crate::limits::{
    LINK_ALTERNATE, LINK_CHILDREN_OF_OTHERS, LINK_RESOLVE, MAX_SENT_DOWN, MAX_TREE_DEPTH,
};
use crate::link::MAX_PATH;
pub use crate::link::{NoWay, Path};

/// A node that is asked for a stream, as far as that matters.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its zone.
    pub zone: &'a str,
    /// The way the stream comes to it, itself last; empty while it has no source.
    pub path: Path,
    /// Whether it takes no more children because it is about to go.
    pub is_leaving: bool,
    /// As many children as it takes.
    pub most: u32,
}

/// The node that asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its number.
    pub node: u16,
    /// Its zone.
    pub zone: &'a str,
    /// The node it had the stream from, which it has lost or leaves.
    pub lost: Option<u16>,
}

/// A node that takes the stream from the one that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its number.
    pub node: u16,
    /// Its zone.
    pub zone: &'a str,
    /// Its own children, and those that were sent down to it since.
    pub below: u32,
}

/// What the node that is asked answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gives the stream.
    Take,
    /// This one of its children does, by its place.
    Ask(usize),
    /// It does not.
    Refuse(Refusal),
}

/// Why a node gives a stream to another one neither itself nor by a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody could say that the two would not wait for one another.
    #[error("this node has lost the one it takes the stream from, and looks for another")]
    NoSource,
    /// It comes from who asks.
    #[error("this node takes the stream from the one that asks, by whichever way")]
    Loop,
    /// It is the last on its path.
    #[error("the stream has come over {MAX_TREE_DEPTH} nodes to this one, and goes no further")]
    TooDeep,
    /// It takes no more.
    #[error("this node drains, and gives streams to nobody new")]
    Leaving,
    /// It has children enough, and they are no help.
    #[error("this node gives the stream to as many others as it may (--link-children)")]
    Full,
}

/// What `asked`, which has these `children`, answers the one that asks.
#[must_use]
pub fn answer(asked: &Asked<'_>, asker: &Asker<'_>, children: &[Child<'_>]) -> Answer {
    let of_path = match asked.path.to(asker.node) {
        Ok(longer) => longer,
        Err(NoWay::NoSource) => return Answer::Refuse(Refusal::NoSource),
        Err(NoWay::Loop) => return Answer::Refuse(Refusal::Loop),
        Err(NoWay::TooDeep) => return Answer::Refuse(Refusal::TooDeep),
    };
    // Whose children the asker's would be has its own room below.
    let has_room_below = of_path.len() < MAX_PATH;
    let is_other = |child: &Child<'_>| child.node != asker.node && Some(child.node) != asker.lost;
    let least = |fits: &dyn Fn(&Child<'_>) -> bool| {
        let fit = children.iter().enumerate().filter(|(_, child)| is_other(child) && fits(child));
        fit.min_by_key(|(_, child)| child.below).map(|(place, _)| place)
    };
    let of_zone = has_room_below.then(|| least(&|child| child.zone == asker.zone)).flatten();
    if let Some(child) = of_zone.filter(|_| asked.zone != asker.zone) {
        // The long way to that zone is gone once.
        return Answer::Ask(child);
    }
    if asked.is_leaving {
        return Answer::Refuse(Refusal::Leaving);
    }
    let factor = if asker.lost.is_some() { LINK_CHILDREN_OF_OTHERS } else { 1 };
    let most = asked.most.saturating_mul(factor);
    let others = children.iter().filter(|child| is_other(child)).count();
    if others < most as usize {
        return Answer::Take;
    }
    let any = has_room_below.then(|| of_zone.or_else(|| least(&|_| true))).flatten();
    any.map_or(Answer::Refuse(Refusal::Full), Answer::Ask)
}

/// What a node that looks for a stream does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<N> {
    /// It asks this node. One that others have named may be gone: it waits no longer than so long
    /// for its answer.
    Ask(N, Option<Duration>),
    /// It waits so long and asks the directory again who has the publisher.
    Resolve(Duration),
}

/// The search of a node for somebody to take a stream from.
#[derive(Clone, Debug)]
pub struct Search<N> {
    /// Whom to ask yet, the next one last, and whether the directory has named it.
    left: Vec<(N, bool)>,
    sent_down: u8,
}

impl<N: Clone + PartialEq> Search<N> {
    /// Of one who knows nobody but the node with the publisher.
    #[must_use]
    pub fn new(origin: N) -> Search<N> {
        Search { left: vec![(origin, true)], sent_down: 0 }
    }

    /// Of one who leaves the node it has the stream from, or has lost it. Those by which that has
    /// it are asked first, the last of them before the others.
    pub fn after(above: impl IntoIterator<Item = N>) -> Search<N> {
        Search { left: above.into_iter().map(|node| (node, false)).collect(), sent_down: 0 }
    }

    /// What is to be done next, where all that was done before has failed. `random` draws a number
    /// below its argument.
    pub fn next(&mut self, random: impl FnOnce(u64) -> u64) -> Next<N> {
        if let Some((node, is_known)) = self.left.pop() {
            return Next::Ask(node, (!is_known).then_some(LINK_ALTERNATE));
        }
        let spread = (LINK_RESOLVE.end - LINK_RESOLVE.start).as_millis() as u64;
        Next::Resolve(LINK_RESOLVE.start + Duration::from_millis(random(spread)))
    }

    /// The node `asked` has named a child of its own, which is asked next, and `asked` itself
    /// after that, since it has more than one.
    pub fn sent_down(&mut self, asked: N, child: N) {
        self.sent_down += 1;
        if self.sent_down > MAX_SENT_DOWN {
            return;
        }
        if !self.left.iter().any(|(node, _)| *node == asked) {
            self.left.push((asked, false));
        }
        self.left.push((child, false));
    }

    /// The directory says who has the publisher.
    pub fn resolved(&mut self, origin: N) {
        *self = Search::new(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 2;

    fn asked(path: &[u16]) -> Asked<'static> {
        Asked { zone: "x", path: Path::new(path.iter().copied()), is_leaving: false, most: MOST }
    }

    fn asker(node: u16, zone: &str) -> Asker<'_> {
        Asker { node, zone, lost: None }
    }

    fn child(node: u16, zone: &str, below: u32) -> Child<'_> {
        Child { node, zone, below }
    }

    #[test]
    fn who_has_children_enough_names_the_one_with_the_fewest() {
        let children = [child(2, "x", 3), child(3, "x", 1), child(4, "y", 0)];
        let ask = |children: &[Child<'_>]| answer(&asked(&[1]), &asker(9, "x"), children);
        assert_eq!(ask(&children[..1]), Answer::Take);
        assert_eq!(ask(&children[..2]), Answer::Ask(1));
        assert_eq!(ask(&children), Answer::Ask(1), "one of the asker's zone");
        let others = [child(2, "y", 3), child(3, "y", 1)];
        assert_eq!(ask(&others), Answer::Ask(1), "where there is none, any");
        let lost = Asker { lost: Some(8), ..asker(9, "x") };
        assert_eq!(answer(&asked(&[1]), &lost, &children), Answer::Take, "has waited already");
        let back = answer(&asked(&[1]), &asker(2, "x"), &children[..2]);
        assert_eq!(back, Answer::Take, "its own place is still there");
    }

    #[test]
    fn a_zone_has_the_stream_over_the_long_way_once() {
        let children = [child(2, "y", 7), child(3, "x", 0)];
        let ask = |zone, children: &[Child<'_>]| answer(&asked(&[1]), &asker(9, zone), children);
        assert_eq!(ask("y", &children[..1]), Answer::Ask(0));
        assert_eq!(ask("z", &children[..1]), Answer::Take);
        let lost = Asker { lost: Some(2), ..asker(9, "y") };
        assert_eq!(answer(&asked(&[1]), &lost, &children), Answer::Take, "whom it can't reach");
        let leaves = Asked { is_leaving: true, ..asked(&[1]) };
        assert_eq!(answer(&leaves, &asker(9, "y"), &children), Answer::Ask(0), "that one stays");
        let refused = Answer::Refuse(Refusal::Leaving);
        assert_eq!(answer(&leaves, &asker(9, "z"), &children), refused);
    }

    #[test]
    fn nobody_takes_a_stream_from_who_has_no_source_or_has_it_from_there() {
        let refused =
            |path: &[u16], children: &[Child<'_>]| answer(&asked(path), &asker(9, "x"), children);
        assert_eq!(refused(&[], &[]), Answer::Refuse(Refusal::NoSource));
        assert_eq!(refused(&[1, 9, 4], &[]), Answer::Refuse(Refusal::Loop));
        assert_eq!(refused(&[1, 2, 3, 4, 5], &[]), Answer::Refuse(Refusal::TooDeep));
        assert_eq!(refused(&[1, 2, 3, 4], &[]), Answer::Take);
        let children = [child(7, "x", 0), child(8, "x", 0)];
        assert_eq!(refused(&[1, 2, 3, 4], &children), Answer::Refuse(Refusal::Full));
    }

    #[test]
    fn who_has_lost_its_parent_asks_those_above_and_then_the_directory() {
        let mut search = Search::after([1, 2]);
        let alternate = |node| Next::Ask(node, Some(LINK_ALTERNATE));
        assert_eq!(search.next(|_| 0), alternate(2));
        search.sent_down(2, 7);
        assert_eq!(search.next(|_| 0), alternate(7));
        assert_eq!(search.next(|_| 0), alternate(2));
        assert_eq!(search.next(|_| 0), alternate(1));
        assert_eq!(search.next(|_| 0), Next::Resolve(LINK_RESOLVE.start));
        let last = search.next(|below| below - 1);
        assert!(matches!(last, Next::Resolve(after) if LINK_RESOLVE.contains(&after)), "{last:?}");
        search.resolved(5);
        assert_eq!(search.next(|_| 0), Next::Ask(5, None));
        for _ in 0..MAX_SENT_DOWN {
            search.sent_down(5, 6);
            assert_eq!(search.next(|_| 0), alternate(6));
        }
        search.sent_down(6, 7);
        assert_eq!(search.next(|_| 0), alternate(5), "further down it does not go");
        assert!(matches!(search.next(|_| 0), Next::Resolve(_)));
    }
}
