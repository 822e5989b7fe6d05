//! The directory of nodes that share one memory: of one node alone, and of several in tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Beat, Claim, Claimed, Directory, HttpAt, Misfit, NodeRecord, Owner, Reply};
use crate::limits::{
    CLUSTER_CLOCK_SKEW, DIRECTORY_BATCH, DIRECTORY_CLAIM_KEPT, DIRECTORY_LEASE,
    DIRECTORY_NODE_KEPT, MAX_NODES,
};

/// What is known, by all who share it.
pub struct MemoryStore {
    tables: Mutex<Tables>,
    /// Milliseconds of Unix time: the one clock that counts.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Default)]
struct Tables {
    nodes: BTreeMap<Box<str>, Node>,
    streams: HashMap<Arc<str>, Stream>,
    /// Streams that were claimed from a node that was alive, and that it has not been told of.
    displaced: HashMap<Box<str>, BTreeSet<Arc<str>>>,
}

struct Node {
    incarnation: u64,
    until_ms: u64,
    record: NodeRecord,
}

struct Stream {
    node: Box<str>,
    incarnation: u64,
    epoch: u64,
    claimed_ms: u64,
}

/// One node's way to a [`MemoryStore`].
pub struct MemoryDirectory {
    store: Arc<MemoryStore>,
    node: Box<str>,
    /// Tells a node from its predecessor of the same name.
    incarnation: u64,
}

impl MemoryStore {
    /// Nothing is known yet. `clock` says how many milliseconds of Unix time have passed.
    #[must_use]
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<MemoryStore> {
        Arc::new(MemoryStore { tables: Mutex::default(), clock: Box::new(clock) })
    }

    /// Forgets everything, as a server that is started anew does.
    pub fn forget(&self) {
        *self.lock().0 = Tables::default();
    }

    /// The lease of `node` is over.
    #[cfg(test)]
    pub fn expire(&self, node: &str) {
        let (mut tables, now) = self.lock();
        tables.nodes.get_mut(node).into_iter().for_each(|node| node.until_ms = now);
    }

    /// The tables without what is too old, and what time it is.
    fn lock(&self) -> (MutexGuard<'_, Tables>, u64) {
        // Nothing under the lock panics half-way.
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let kept = DIRECTORY_NODE_KEPT.as_millis() as u64;
        let Tables { nodes, displaced, .. } = &mut *tables;
        nodes.retain(|_, node| now < node.until_ms + kept);
        displaced.retain(|node, _| nodes.contains_key(node));
        (tables, now)
    }
}

impl Tables {
    /// The address of the node that has claimed `stream`, if that is alive.
    fn alive(&self, stream: &Stream, now: u64) -> Option<HttpAt> {
        let node = self.nodes.get(&stream.node)?;
        let is_alive = node.incarnation == stream.incarnation && now < node.until_ms;
        is_alive.then_some(node.record.http)
    }

    /// Some of what `node` is to be told of.
    fn displaced_of(&mut self, node: &str) -> Vec<Arc<str>> {
        let Some(all) = self.displaced.get_mut(node) else { return Vec::new() };
        let told = std::iter::from_fn(|| all.pop_first()).take(DIRECTORY_BATCH).collect();
        if all.is_empty() {
            self.displaced.remove(node);
        }
        told
    }

    fn find(&self, name: &str, now: u64) -> Option<&Stream> {
        let kept = DIRECTORY_CLAIM_KEPT.as_millis() as u64;
        self.streams.get(name).filter(|stream| now < stream.claimed_ms + kept)
    }
}

impl MemoryDirectory {
    /// The way of the node `name` to `store`; `incarnation` tells it from a predecessor.
    #[must_use]
    pub fn new(store: Arc<MemoryStore>, name: &str, incarnation: u64) -> MemoryDirectory {
        MemoryDirectory { store, node: name.into(), incarnation }
    }

    /// The directory of a node that has no others.
    #[must_use]
    pub fn alone(name: &str) -> MemoryDirectory {
        let unix = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        MemoryDirectory::new(MemoryStore::new(move || unix().as_millis() as u64), name, 0)
    }

    /// The number of this node, or why it is none of those there are.
    fn admit(
        &self,
        tables: &Tables,
        record: &NodeRecord,
        now: u64,
        clock_ms: u64,
    ) -> Result<u16, Misfit> {
        let known = tables.nodes.get(&self.node);
        if known.is_some_and(|it| it.incarnation != self.incarnation && now < it.until_ms) {
            return Err(Misfit::NameTaken);
        }
        let apart_ms = now.abs_diff(clock_ms);
        if u128::from(apart_ms) > CLUSTER_CLOCK_SKEW.as_millis() {
            return Err(Misfit::Clock { apart_ms });
        }
        let same = |it: &&Node| it.incarnation == self.incarnation;
        if let Some(known) = known.filter(same).filter(|it| it.record.terms == record.terms) {
            return Ok(known.record.number);
        }
        let others = || tables.nodes.iter().filter(|(name, _)| **name != self.node);
        for (name, other) in others().filter(|(_, other)| now < other.until_ms) {
            if let Some(misfit) = record.terms.misfit(name, &other.record.terms) {
                return Err(misfit);
            }
        }
        let used: BTreeSet<u16> = others().map(|(_, other)| other.record.number).collect();
        let had = [record.number, known.map_or(0, |known| known.record.number)];
        let mut had = had.into_iter().filter(|number| *number > 0);
        let free = |number: &u16| !used.contains(number);
        let number = had.find(free).or_else(|| (1..=MAX_NODES).find(free));
        number.ok_or(Misfit::Full)
    }

    fn is_mine(&self, stream: &Stream) -> bool {
        stream.node == self.node && stream.incarnation == self.incarnation
    }

    fn claim_one(&self, claim: Claim, name: Arc<str>, hint: u64) -> Claimed {
        let (mut tables, now) = self.store.lock();
        let mut displaced = None;
        let stored = tables.find(&name, now);
        let mut epoch = hint;
        if let Some(stored) = stored {
            let others = !self.is_mine(stored) && tables.alive(stored, now).is_some();
            let is_newer = stored.epoch > hint;
            let may_keep = self.is_mine(stored) || stored.epoch < hint || (!others && !is_newer);
            let may = match claim {
                Claim::New => true,
                Claim::IfFree => !others,
                Claim::Keep => may_keep,
            };
            if !may {
                return Claimed::Held { owner: stored.node.clone(), epoch: stored.epoch };
            }
            displaced = others.then(|| stored.node.clone());
            epoch = epoch.max(stored.epoch);
        }
        if claim != Claim::Keep {
            epoch = now.max(epoch + 1);
        }
        if let Some(former) = &displaced {
            tables.displaced.entry(former.clone()).or_default().insert(name.clone());
        }
        let (node, incarnation) = (self.node.clone(), self.incarnation);
        tables.streams.insert(name, Stream { node, incarnation, epoch, claimed_ms: now });
        Claimed::Mine { epoch, displaced }
    }
}

impl Directory for MemoryDirectory {
    fn beat(&self, mut record: NodeRecord, clock_ms: u64) -> Reply<'_, Beat> {
        let (mut tables, now) = self.store.lock();
        let number = match self.admit(&tables, &record, now, clock_ms) {
            Ok(number) => number,
            Err(misfit) => return Box::pin(ready(Ok(Beat::Refused(misfit)))),
        };
        record.number = number;
        let known = tables.nodes.get(&self.node);
        let held = |node: &Node| node.incarnation == self.incarnation && now < node.until_ms;
        let known = known.is_some_and(held);
        let until_ms = now + DIRECTORY_LEASE.as_millis() as u64;
        let node = Node { incarnation: self.incarnation, until_ms, record };
        tables.nodes.insert(self.node.clone(), node);
        let kept = DIRECTORY_CLAIM_KEPT.as_millis() as u64;
        tables.streams.retain(|_, stream| now < stream.claimed_ms + kept);
        let displaced = tables.displaced_of(&self.node);
        Box::pin(ready(Ok(Beat::Renewed { known, now_ms: now, number, displaced })))
    }

    fn leave(&self) -> Reply<'_, ()> {
        let (mut tables, now) = self.store.lock();
        let node = tables.nodes.get_mut(&self.node);
        if let Some(node) = node.filter(|node| node.incarnation == self.incarnation) {
            node.until_ms = now;
        }
        Box::pin(ready(Ok(())))
    }

    fn peers(&self) -> Reply<'_, Vec<NodeRecord>> {
        let (tables, now) = self.store.lock();
        let alive = tables.nodes.values().filter(|node| now < node.until_ms);
        let lease_ms = DIRECTORY_LEASE.as_millis() as u64;
        let told = |node: &Node| {
            let beat_age_ms = (now + lease_ms).saturating_sub(node.until_ms);
            NodeRecord { beat_age_ms, ..node.record.clone() }
        };
        Box::pin(ready(Ok(alive.map(told).collect())))
    }

    fn claim(&self, claim: Claim, streams: Vec<(Arc<str>, u64)>) -> Reply<'_, Vec<Claimed>> {
        let claimed = streams.into_iter().map(|(name, hint)| self.claim_one(claim, name, hint));
        Box::pin(ready(Ok(claimed.collect())))
    }

    fn resolve(&self, streams: Vec<Arc<str>>, _age: Duration) -> Reply<'_, Vec<Option<Owner>>> {
        let (tables, now) = self.store.lock();
        let owners = streams.iter().map(|name| {
            let stream = tables.find(name, now)?;
            let http = tables.alive(stream, now);
            Some(Owner { node: stream.node.clone(), epoch: stream.epoch, http })
        });
        Box::pin(ready(Ok(owners.collect())))
    }

    fn release(&self, streams: Vec<(Arc<str>, u64)>) -> Reply<'_, ()> {
        let (mut tables, _now) = self.store.lock();
        for (name, epoch) in streams {
            let mine = |stream: &Stream| self.is_mine(stream) && stream.epoch == epoch;
            if tables.streams.get(&name).is_some_and(mine) {
                tables.streams.remove(&name);
            }
        }
        Box::pin(ready(Ok(())))
    }
}
