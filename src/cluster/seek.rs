//! The search for a node to take a stream from: one at a time for each stream, however many viewers
//! ask, by the rules of [`super::tree`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::links::{Asked, Unlinked};
use super::tree::{Next, Search};
use super::{Neighbours, lock};
use crate::limits::{LINK_AGAIN, LINK_LOOK, MAX_LINK_REASONS};
use crate::telemetry::limited;

/// Streams that are being asked for.
#[derive(Default)]
pub(super) struct Wanted {
    /// The way to each: whoever comes while another asks waits for that one.
    asking: HashMap<Arc<str>, Arc<tokio::sync::Mutex<LastTry>>>,
    /// Those that are asked for again and again.
    chased: HashSet<Arc<str>>,
}

/// When it was tried last, and why that failed.
#[derive(Default)]
struct LastTry(Option<(Instant, Unlinked)>);

impl LastTry {
    fn is_recent(&self) -> bool {
        self.0.as_ref().is_some_and(|(at, _)| at.elapsed() < LINK_AGAIN)
    }
}

impl Wanted {
    /// What nobody asks for now was had, or can be asked for anew.
    pub fn tidy(&mut self) {
        self.asking.retain(|_, way| {
            Arc::strong_count(way) > 1 || way.try_lock().is_ok_and(|last| last.is_recent())
        });
    }

    fn way(&mut self, stream: &str) -> Arc<tokio::sync::Mutex<LastTry>> {
        self.asking.entry(stream.into()).or_default().clone()
    }
}

/// What a search has said: why nodes do not give the stream, each reason once.
#[derive(Default)]
struct Said(Vec<Unlinked>);

impl Said {
    /// Whether it is news that the stream is not to be had for this reason.
    fn is_news(&mut self, why: &Unlinked) -> bool {
        if self.0.contains(why) {
            return false;
        }
        if self.0.len() == MAX_LINK_REASONS {
            self.0.clear();
        }
        self.0.push(why.clone());
        true
    }
}

impl Neighbours {
    /// Takes `stream` from the node `name`, or from one that takes it from there, unless that is
    /// done. Of many who ask at once one does so, and for a moment after a failure nobody.
    ///
    /// # Errors
    /// Why it can't be had.
    pub async fn bring(&self, stream: &str, name: &str) -> Result<(), Unlinked> {
        let way = lock(&self.wanted).way(stream);
        let mut last = way.lock().await;
        if self.control.is_brought(stream) {
            return Ok(());
        }
        let is_recent = last.is_recent();
        if let Some((_, why)) = last.0.as_ref().filter(|_| is_recent) {
            return Err(why.clone());
        }
        let mut search = Search::new(name.into());
        let made = self.seek(stream, &mut search, None, &mut Said::default()).await;
        let made = made.map_err(|(why, _after)| why);
        last.0 = made.as_ref().err().map(|why| (Instant::now(), why.clone()));
        made
    }

    /// Asks all of `search`, one after the other, until one gives the stream. `lost` is the number
    /// of the node that it was taken from.
    ///
    /// # Errors
    /// Why the last one has not, and how long to wait before the directory is asked.
    async fn seek(
        &self,
        stream: &str,
        search: &mut Search<Box<str>>,
        lost: Option<u16>,
        said: &mut Said,
    ) -> Result<(), (Unlinked, Duration)> {
        let mut last = Unlinked::Nobody;
        loop {
            let (node, patience) = match search.next(random_below) {
                Next::Ask(node, patience) => (node, patience),
                Next::Resolve(after) => return Err((last, after)),
            };
            let asked = self.ask_for(stream, &node, lost);
            let asked = match patience {
                None => asked.await,
                Some(patience) => tokio::time::timeout(patience, asked)
                    .await
                    .unwrap_or_else(|_elapsed| Err(Unlinked::Late(node.clone()))),
            };
            match asked {
                Ok(Asked::Taken) => {
                    self.links_made[0].fetch_add(1, Ordering::Relaxed);
                    self.reparented.fetch_add(u64::from(lost.is_some()), Ordering::Relaxed);
                    return Ok(());
                }
                Ok(Asked::SentDown(child)) => search.sent_down(node, child),
                Err(why) => {
                    self.links_made[1].fetch_add(1, Ordering::Relaxed);
                    if said.is_news(&why) {
                        let (node, why) = (&*node, why.to_string());
                        limited!(WARN, stream, node, why, "a stream can't be taken from a node");
                    }
                    last = why;
                }
            }
        }
    }

    /// Looks after links until the server stops: those that have ended are forgotten, those that
    /// nobody needs any more are closed, and streams that are missed here since are looked for.
    pub async fn tend_links(self: Arc<Neighbours>) {
        loop {
            tokio::time::sleep(LINK_LOOK).await;
            for stream in self.control.look_at_links() {
                self.chase_soon(stream);
            }
            lock(&self.wanted).tidy();
        }
    }

    /// Begins to chase a stream, unless that is under way.
    pub(super) fn chase_soon(self: &Arc<Neighbours>, stream: Arc<str>) {
        if lock(&self.wanted).chased.insert(stream.clone()) {
            tokio::spawn(self.clone().chase(stream));
        }
    }

    /// Takes a stream that somebody here misses from whichever node has it, as soon as one has: the
    /// nodes are asked first by which it came before.
    async fn chase(self: Arc<Neighbours>, stream: Arc<str>) {
        let mut search = self.search_above(&stream);
        // Who had it from nobody has nobody to wait for.
        let mut is_first = self.control.path_above(&stream).is_empty();
        let mut said = Said::default();
        loop {
            if !self.is_sought(&stream) {
                lock(&self.wanted).chased.remove(&stream);
                // It may have been missed again before that.
                let is_sought = self.is_sought(&stream);
                if !is_sought || !lock(&self.wanted).chased.insert(stream.clone()) {
                    return;
                }
            }
            let lost = self.control.path_above(&stream).nodes().last();
            if !std::mem::take(&mut is_first) {
                let way = lock(&self.wanted).way(&stream);
                let _last = way.lock().await;
                // Somebody else may have taken it meanwhile.
                if !self.is_sought(&stream) {
                    continue;
                }
                match self.seek(&stream, &mut search, lost, &mut said).await {
                    Ok(()) => {
                        (search, said) = (self.search_above(&stream), Said::default());
                        continue;
                    }
                    // It says itself why not.
                    Err((_unlinked, after)) => tokio::time::sleep(after).await,
                }
            }
            if let Ok(Some(owner)) = self.control.owner_now(&stream).await
                && owner.node != self.control.member().node
                && owner.http.is_some()
            {
                search.resolved(owner.node);
            }
        }
    }

    /// Whether a stream is to be had from another node than now, and this one takes any.
    fn is_sought(&self, stream: &str) -> bool {
        self.control.is_sought(stream) && !self.control.is_stopping()
    }

    /// A search among those by which the node that gives a stream has it, as far as they are known.
    fn search_above(&self, stream: &str) -> Search<Box<str>> {
        let nodes = self.control.nodes();
        let name = |number: u16| nodes.iter().find(|node| node.number == number);
        let path = self.control.path_above(stream);
        let others = path.nodes().take(path.len().saturating_sub(1));
        Search::after(others.filter_map(|number| Some(name(number)?.name.clone())))
    }
}

/// A number below `below`, which is not 0.
fn random_below(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes) % below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_says_each_reason_once() {
        let mut said = Said::default();
        let late = |node: &str| Unlinked::Late(node.into());
        assert!(said.is_news(&late("a")) && said.is_news(&late("b")));
        assert!(!said.is_news(&late("a")) && !said.is_news(&late("b")));
        assert!(said.is_news(&Unlinked::Nonsense("a".into())), "another reason");
        for node in 0..10 * MAX_LINK_REASONS {
            assert!(said.is_news(&late(&format!("node {node}"))));
            assert!(said.0.len() <= MAX_LINK_REASONS);
        }
    }
}
