//! What one link shows of itself: its shard writes, the control side reads.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::Counter;
use crate::limits::MAX_TRACKS_OF_A_KIND;

/// How a link came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The other end has ended it.
    Closed,
    /// Nothing came from the other end any more.
    Silent,
}

impl LinkEnd {
    /// In words, for logs.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            LinkEnd::Closed => "the other node has ended it",
            LinkEnd::Silent => "nothing came from the other node any more",
        }
    }
}

/// One link.
#[derive(Debug, Default)]
pub struct LinkMeter {
    /// Media packets sent the first time, or received.
    pub packets: Counter,
    /// Media packets sent again, or received so.
    pub repaired: Counter,
    /// Media packets that came neither way.
    pub lost: Counter,
    /// The last round trip that was measured, in microseconds; 0 before.
    pub round_trip_us: Counter,
    /// How long the other end of a link that takes a stream away had been silent when it was last
    /// looked at, in milliseconds.
    pub silent_ms: Counter,
    /// The path by which the stream comes to the node that it is taken from, as the last one that
    /// led anywhere was ([`crate::link::Path::to_word`]).
    pub above: Counter,
    /// Which layers of each video track come by it ([`crate::link::Coming::in_word`]).
    pub layers: [Counter; MAX_TRACKS_OF_A_KIND],
    is_silent: AtomicBool,
    /// Whether a stream had better be taken from elsewhere.
    moves: AtomicBool,
    leaves: AtomicBool,
    end: AtomicU8,
    other_codec: AtomicBool,
}

impl LinkMeter {
    /// It has ended, and why.
    #[must_use]
    pub fn ended(&self) -> Option<LinkEnd> {
        match self.end.load(Ordering::Acquire) {
            0 => None,
            1 => Some(LinkEnd::Closed),
            _ => Some(LinkEnd::Silent),
        }
    }

    /// It has ended.
    pub fn end(&self, how: LinkEnd) {
        self.end.store(if how == LinkEnd::Closed { 1 } else { 2 }, Ordering::Release);
    }

    /// Whether the other end of a link that brings a stream says nothing any more.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// See [`LinkMeter::is_silent`].
    pub fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Whether a stream had better be taken from elsewhere: the other end says so, or its path
    /// leads on to nobody.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.moves.load(Ordering::Relaxed)
    }

    /// See [`LinkMeter::moves`].
    pub fn set_moves(&self, moves: bool) {
        self.moves.store(moves, Ordering::Relaxed);
    }

    /// Whether the other end of a link that takes a stream away is told to take it from elsewhere.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Relaxed)
    }

    /// See [`LinkMeter::leaves`].
    pub fn set_leaves(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    /// Whether it has brought another codec than was said.
    #[must_use]
    pub fn has_other_codec(&self) -> bool {
        self.other_codec.load(Ordering::Relaxed)
    }

    /// It brings another codec than was said.
    pub fn note_other_codec(&self) {
        self.other_codec.store(true, Ordering::Relaxed);
    }
}
