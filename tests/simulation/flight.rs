//! Datagrams on their way, by when they arrive.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Instant;

/// Where a datagram goes.
#[derive(Clone, Copy)]
pub enum Route {
    /// From an address to a port's slot; `by` says which client's it is, strangers' are nobody's.
    ToServer { by: Option<usize>, from: SocketAddr, port: usize },
    /// To whoever has this address when it arrives.
    ToClient { to: SocketAddr, port: usize },
}

struct Flying {
    at: Instant,
    /// Those of one moment arrive in the order they were sent.
    order: u64,
    bytes: Vec<u8>,
    route: Route,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Flying) -> bool {
        self.order == other.order
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Flying) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Flying) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Default)]
pub struct Flights {
    queue: BinaryHeap<Reverse<Flying>>,
    order: u64,
}

impl Flights {
    pub fn add(&mut self, at: Instant, bytes: Vec<u8>, route: Route) {
        self.order += 1;
        self.queue.push(Reverse(Flying { at, order: self.order, bytes, route }));
    }

    /// When the next one arrives.
    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(flying)| flying.at)
    }

    /// The next one, if it has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<(Vec<u8>, Route)> {
        self.next().filter(|at| *at <= now)?;
        self.queue.pop().map(|Reverse(Flying { bytes, route, .. })| (bytes, route))
    }
}
