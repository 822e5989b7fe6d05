//! What one node asks of another: requests that came to the wrong one are taken to the right one,
//! and the answer is brought back.
//!
//! One hop, never two: what a node has asked for is answered by whom it asked. A client's token is
//! checked where the client came, and does not travel: that it may is the signature's word. Who the
//! client is travels along, so that limits by address hold on the node that serves it.
//!
//! ```text
//! signed.rs  requests and answers under the cluster's secret    choose.rs  which node
//! asking.rs  the way there, within bounds                       nonces.rs  none is heard twice
//! links.rs   streams from other nodes, and to them              awaited.rs which are waited for
//! tree.rs    who takes a stream from whom                        seek.rs    and finds another
//! tried.rs   one node tries another                          walk.rs    all that have a stream
//! ```

mod asking;
mod awaited;
mod choose;
mod links;
mod nonces;
mod seek;
mod signed;
pub mod tree;
mod tried;
mod walk;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ring::hmac;
use tokio::sync::Semaphore;

use crate::control::{Control, NodeRecord};
use crate::telemetry::Exposition;
pub use links::{Unlinked, is_hello};
use nonces::Nonces;
use seek::Wanted;
use signed::Keys;
pub use signed::{Carried, Head, Unsigned};
pub use walk::{Comes, Place, Visited, Walk};

/// Where a node takes what another one asks of it, and the header with the signature of both.
pub const PATH: &str = "/cluster/v1/request";
/// See [`PATH`].
pub const SIGNATURE: &str = "monoport-signature";

/// This node's dealings with the others.
pub struct Neighbours {
    control: Arc<Control>,
    /// The one to sign with first.
    keys: Keys,
    /// Questions under way, by node.
    under_way: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
    nonces: Mutex<Nonces>,
    wanted: Mutex<Wanted>,
    /// As many nodes as take a stream from this one.
    most_children: u32,
    /// One other node is tried at a time.
    tries: Semaphore,
    /// Links that were made, and that were not.
    links_made: [AtomicU64; 2],
    /// Streams that came from another node than before.
    reparented: AtomicU64,
    asked: [AtomicU64; 4],
    heard: [AtomicU64; 6],
}

/// Why another node's answer is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// There is no such node, or it is not alive.
    #[error(
        "the node `{0}` is not alive, as far as this one knows: what it had is gone, or will be \
         back with it"
    )]
    NotAlive(Box<str>),
    /// It does not answer.
    #[error("the node `{node}`, whose HTTP is at {at}, does not answer: {why}")]
    Silent {
        /// Which.
        node: Box<str>,
        /// Where it was looked for.
        at: String,
        /// What went wrong.
        why: String,
    },
    /// Too much is under way to it.
    #[error("too many requests wait for the node `{0}`: come again")]
    Busy(Box<str>),
    /// What answers does not know the secret.
    #[error(
        "what answers at {at} is not the node `{node}`, or has another secret \
         (--cluster-secret-file): {why}"
    )]
    Stranger {
        /// Who should have answered.
        node: Box<str>,
        /// Where.
        at: String,
        /// How it shows.
        why: String,
    },
}

/// An answer that another node has signed.
pub struct Answered {
    /// Its status and headers.
    pub head: Head,
    /// Its body, which is signed too unless it is a stream of events.
    pub body: axum::body::Body,
}

/// What another node has asked, and what its answer is signed with.
pub struct Heard {
    /// The request.
    pub request: Carried,
    /// Who asks.
    from: String,
    /// What it was signed with.
    key: hmac::Key,
    nonce: String,
}

impl Neighbours {
    /// The dealings of a node with these keys, the one to sign with first. `most_children` others
    /// take a stream from it.
    #[must_use]
    pub fn new(control: Arc<Control>, keys: &[hmac::Key], most_children: u32) -> Arc<Neighbours> {
        Arc::new(Neighbours {
            control,
            keys: Keys::new(keys),
            under_way: Mutex::default(),
            nonces: Mutex::new(Nonces::new(Instant::now())),
            wanted: Mutex::default(),
            most_children,
            tries: Semaphore::new(1),
            links_made: Default::default(),
            reparented: AtomicU64::new(0),
            asked: Default::default(),
            heard: Default::default(),
        })
    }

    /// Signs with other keys from here on, the first of these, and tells the others which by their
    /// fingerprints.
    pub fn replace(&self, keys: &[hmac::Key], fingerprints: &str) {
        self.keys.replace(keys);
        self.control.tell_secrets(fingerprints);
    }

    /// The name of the node that a session's URL names, where that is another one.
    #[must_use]
    pub fn other_node_of<'a>(&self, id: &'a str) -> Option<&'a str> {
        let (node, _secret) = id.rsplit_once('-')?;
        (*node != *self.control.member().node).then_some(node)
    }

    /// The node that a publisher who has come here is to go to instead.
    #[must_use]
    pub fn better_for_publisher(&self) -> Option<NodeRecord> {
        let nodes = self.control.nodes();
        let random = |below: usize| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
            u64::from_ne_bytes(bytes) as usize % below
        };
        choose::for_publisher(&self.own(), &nodes, random).cloned()
    }

    fn own(&self) -> choose::Own<'_> {
        let member = self.control.member();
        choose::Own {
            name: &member.node,
            zone: &member.zone,
            draining: self.control.is_stopping(),
            load_permille: self.control.load_permille(),
        }
    }

    /// Asks the node `name`, and brings back its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(&self, name: &str, request: Carried) -> Result<Answered, Unasked> {
        let answered = match self.control.node(name).await {
            None => Err(Unasked::NotAlive(name.into())),
            Some(node) => self.ask_node(&node, request).await,
        };
        let outcome = match &answered {
            Ok(_) => 0,
            Err(Unasked::NotAlive(_) | Unasked::Silent { .. }) => 1,
            Err(Unasked::Busy(_)) => 2,
            Err(Unasked::Stranger { .. }) => 3,
        };
        self.asked[outcome].fetch_add(1, Ordering::Relaxed);
        answered
    }

    /// Takes in what another node asks.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn hear(&self, body: &[u8], signature: Option<&str>) -> Result<Heard, Unsigned> {
        let keys = self.keys.now();
        let opened = signed::open(&keys, body, signature, &self.control.member().node);
        let heard = opened.and_then(|(asked, key)| {
            let signed::Asked { from, time_ms, nonce, request, .. } = asked;
            signed::is_timely(time_ms, unix_ms())?;
            lock(&self.nonces).take(&nonce, Instant::now())?;
            Ok(Heard { request, from, key: keys[key].clone(), nonce })
        });
        let outcome = heard.as_ref().err().map_or(0, |unsigned| *unsigned as usize);
        self.heard[outcome].fetch_add(1, Ordering::Relaxed);
        heard
    }

    /// Signs the answer to what was heard; `body` is nothing where it is a stream.
    #[must_use]
    pub fn sign(&self, heard: &Heard, head: &Head, body: Option<&[u8]>) -> String {
        self.keys.now().first().map_or_else(String::new, |key| {
            signed::hex(signed::sign_answer(key, &heard.nonce, head, body).as_ref())
        })
    }

    /// Adds what was counted.
    pub fn expose(&self, exposition: &mut Exposition) {
        let help = "Requests taken on to other nodes, by what became of them";
        let metric = exposition.counter("forwarded_requests", help);
        for (label, count) in
            ["answered", "silent", "busy", "stranger"].into_iter().zip(&self.asked)
        {
            metric.count(vec![("outcome", label.into())], count.load(Ordering::Relaxed));
        }
        let help = "Links that other nodes were asked for, by whether they were made";
        let metric = exposition.counter("link_requests", help);
        for (label, count) in ["made", "failed"].into_iter().zip(&self.links_made) {
            metric.count(vec![("outcome", label.into())], count.load(Ordering::Relaxed));
        }
        let help = "Streams that are taken from another node since the one before was lost or left";
        let count = self.reparented.load(Ordering::Relaxed);
        exposition.counter("relay_reparented", help).count(vec![], count);
        self.control.expose_links(exposition);
        let help = "Requests of other nodes, by whether they were taken or why not";
        let metric = exposition.counter("requests_of_nodes", help);
        for (label, count) in Unsigned::LABELS.into_iter().zip(&self.heard) {
            metric.count(vec![("outcome", label.into())], count.load(Ordering::Relaxed));
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
