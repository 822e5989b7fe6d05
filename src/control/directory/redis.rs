//! The directory in Redis or Valkey, for nodes that are machines apart.
//!
//! Each of the six calls is one script, so that whatever nodes ask at once is done one after the
//! other, and by one clock. A connection is made by the node's own calls, the beat first of all;
//! requests use it where it is there, and never wait for one. What fails in any way drops it: the
//! next beat looks anew for who is the master.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, Script, ScriptInvocation};

use super::{
    Beat, Claim, Claimed, Directory, Misfit, NodeRecord, Owner, Reply, Terms, Unreachable,
};
use crate::limits::{
    CLUSTER_CLOCK_SKEW, DIRECTORY_BATCH, DIRECTORY_CALL, DIRECTORY_CLAIM_KEPT, DIRECTORY_LEASE,
    DIRECTORY_NODE_KEPT, MAX_DIRECTORY_RESOLVED, MAX_NODES,
};
use crate::telemetry::limited;

/// What all keys begin with.
const KEYS: &str = "{monoport}";

/// One node's way to the directory.
pub struct RedisDirectory {
    source: Source,
    link: Mutex<Option<MultiplexedConnection>>,
    /// Why it did not answer last, until it does: the log says it once.
    said: Mutex<Option<Box<str>>>,
    node: Box<str>,
    /// Tells a node from its predecessor of the same name.
    incarnation: u64,
    scripts: Scripts,
    /// What was answered lately of streams.
    resolved: Mutex<HashMap<Arc<str>, Resolved>>,
}

/// Who has a stream, as it was answered.
struct Resolved {
    at: Instant,
    owner: Option<Owner>,
}

/// Where the master is.
enum Source {
    /// At one place.
    Fixed(Box<Client>),
    /// Where the Sentinels say.
    Sentinels(Box<tokio::sync::Mutex<SentinelClient>>),
}

struct Scripts {
    beat: Script,
    leave: Script,
    peers: Script,
    claim: Script,
    resolve: Script,
    release: Script,
}

impl Scripts {
    fn new() -> Scripts {
        let script = |body: &str| Script::new(&format!("{}{body}", include_str!("lua/clock.lua")));
        Scripts {
            beat: script(include_str!("lua/beat.lua")),
            leave: script(include_str!("lua/leave.lua")),
            peers: script(include_str!("lua/peers.lua")),
            claim: script(include_str!("lua/claim.lua")),
            resolve: script(include_str!("lua/resolve.lua")),
            release: script(include_str!("lua/release.lua")),
        }
    }
}

impl RedisDirectory {
    /// The way of the node `name` to the Redis at one of `urls`, which are those of Sentinels where
    /// they are asked for a `master`. Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with a URL.
    pub fn new(
        urls: &[String],
        master: Option<&str>,
        name: &str,
        incarnation: u64,
    ) -> Result<RedisDirectory, String> {
        let wrong = |error: RedisError| error.to_string();
        let first = urls.first().map(String::as_str).unwrap_or_default();
        let client = Client::open(first).map_err(wrong)?;
        let source = match master {
            None => Source::Fixed(Box::new(client)),
            Some(master) => {
                // The Sentinels' user and password are the master's too.
                let settings = client.get_connection_info().redis_settings().clone();
                let node = SentinelNodeConnectionInfo::default();
                let node = Some(node.set_redis_connection_info(settings));
                let kind = SentinelServerType::Master;
                let client = SentinelClient::build(urls.to_vec(), master, node, kind);
                Source::Sentinels(Box::new(tokio::sync::Mutex::new(client.map_err(wrong)?)))
            }
        };
        Ok(RedisDirectory {
            source,
            link: Mutex::default(),
            said: Mutex::default(),
            node: name.into(),
            incarnation,
            scripts: Scripts::new(),
            resolved: Mutex::default(),
        })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DIRECTORY_CALL))
            .set_response_timeout(Some(DIRECTORY_CALL));
        match &self.source {
            Source::Fixed(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await
            }
            Source::Sentinels(client) => {
                client.lock().await.get_async_connection_with_config(&config).await
            }
        }
    }

    /// The connection there is.
    fn connection(&self) -> Result<MultiplexedConnection, Unreachable> {
        lock(&self.link).clone().ok_or(Unreachable)
    }

    /// The connection there is, or a new one.
    async fn connected(&self) -> Result<MultiplexedConnection, Unreachable> {
        if let Ok(connection) = self.connection() {
            return Ok(connection);
        }
        let connection = in_time(self.connect()).await.map_err(|why| self.lost(&why))?;
        *lock(&self.link) = Some(connection.clone());
        Ok(connection)
    }

    async fn ask<T: FromRedisValue>(
        &self,
        mut connection: MultiplexedConnection,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Unreachable> {
        let answer = in_time(call.invoke_async(&mut connection)).await;
        let answer = answer.map_err(|why| self.lost(&why))?;
        *lock(&self.said) = None;
        Ok(answer)
    }

    fn lost(&self, why: &str) -> Unreachable {
        *lock(&self.link) = None;
        let mut said = lock(&self.said);
        if said.as_deref() != Some(why) {
            *said = Some(why.into());
            limited!(WARN, why, "the directory (--cluster) does not answer");
        }
        Unreachable
    }

    /// A call in the name of this node.
    fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.key(KEYS);
        call.arg(&*self.node).arg(self.incarnation);
        call
    }

    /// What is known of `stream` without asking, for as long as that is good.
    fn remembered(&self, stream: &str, good_for: Duration) -> Option<Option<Owner>> {
        let resolved = lock(&self.resolved);
        let Resolved { at, owner } = resolved.get(stream)?;
        (at.elapsed() < good_for).then(|| owner.clone())
    }

    fn remember(&self, streams: &[Arc<str>], owners: &[Option<Owner>]) {
        let mut resolved = lock(&self.resolved);
        if resolved.len() + streams.len() > MAX_DIRECTORY_RESOLVED {
            resolved.clear();
        }
        let at = Instant::now();
        let pairs = streams.iter().cloned().zip(owners.iter().cloned());
        resolved.extend(pairs.map(|(stream, owner)| (stream, Resolved { at, owner })));
    }

    pub(super) async fn resolve_now(
        &self,
        streams: &[Arc<str>],
    ) -> Result<Vec<Option<Owner>>, Unreachable> {
        let mut call = self.scripts.resolve.key(KEYS);
        for stream in streams {
            call.arg(&**stream);
        }
        let owners: Vec<(String, u64, String)> = self.ask(self.connection()?, &call).await?;
        let owners = owners.into_iter().map(|(node, epoch, http)| {
            let http = http.parse().ok();
            (!node.is_empty()).then(|| Owner { node: node.into(), epoch, http })
        });
        Ok(owners.collect())
    }
}

impl Directory for RedisDirectory {
    fn beat(&self, record: NodeRecord, clock_ms: u64) -> Reply<'_, Beat> {
        Box::pin(async move {
            let mut call = self.call(&self.scripts.beat);
            call.arg(DIRECTORY_LEASE.as_millis() as u64)
                .arg(DIRECTORY_NODE_KEPT.as_millis() as u64)
                .arg(DIRECTORY_BATCH)
                .arg(clock_ms)
                .arg(CLUSTER_CLOCK_SKEW.as_millis() as u64)
                .arg(MAX_NODES)
                .arg(record.http.to_string())
                .arg(record.sessions)
                .arg(u8::from(record.draining))
                .arg(record.number)
                .arg(record.terms.protocol)
                .arg(&*record.terms.secrets)
                .arg(ports(&record.terms))
                .arg(serde_json::to_string(&record.about).unwrap_or_default());
            let answer: Answered = self.ask(self.connected().await?, &call).await?;
            Ok(beaten(answer))
        })
    }

    fn leave(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let mut call = self.call(&self.scripts.leave);
            call.arg(DIRECTORY_NODE_KEPT.as_millis() as u64);
            let _left: u64 = self.ask(self.connection()?, &call).await?;
            Ok(())
        })
    }

    fn peers(&self) -> Reply<'_, Vec<NodeRecord>> {
        Box::pin(async move {
            let call = self.scripts.peers.key(KEYS);
            let peers: Vec<Peer> = self.ask(self.connected().await?, &call).await?;
            Ok(peers.into_iter().filter_map(peer).collect())
        })
    }

    fn claim(&self, claim: Claim, streams: Vec<(Arc<str>, u64)>) -> Reply<'_, Vec<Claimed>> {
        Box::pin(async move {
            let mut call = self.call(&self.scripts.claim);
            call.arg(match claim {
                Claim::New => "new",
                Claim::IfFree => "free",
                Claim::Keep => "keep",
            });
            call.arg(DIRECTORY_CLAIM_KEPT.as_millis() as u64)
                .arg(DIRECTORY_NODE_KEPT.as_millis() as u64);
            for (stream, hint) in &streams {
                call.arg(&**stream).arg(*hint);
            }
            let claimed: Vec<(u8, u64, String)> = self.ask(self.connected().await?, &call).await?;
            let claimed = claimed.into_iter().map(|(mine, epoch, other)| match mine {
                1 => {
                    let displaced = (!other.is_empty()).then(|| other.into());
                    Claimed::Mine { epoch, displaced }
                }
                _ => Claimed::Held { owner: other.into(), epoch },
            });
            Ok(claimed.collect())
        })
    }

    fn resolve(&self, streams: Vec<Arc<str>>, age: Duration) -> Reply<'_, Vec<Option<Owner>>> {
        Box::pin(async move {
            let known = |good_for| -> Option<Vec<Option<Owner>>> {
                streams.iter().map(|stream| self.remembered(stream, good_for)).collect()
            };
            if let Some(owners) = known(age) {
                return Ok(owners);
            }
            match self.resolve_now(&streams).await {
                Ok(owners) => {
                    self.remember(&streams, &owners);
                    Ok(owners)
                }
                // An owner that was alive then may be alive yet for as long as its lease.
                Err(unreachable) => known(DIRECTORY_LEASE).ok_or(unreachable),
            }
        })
    }

    fn release(&self, streams: Vec<(Arc<str>, u64)>) -> Reply<'_, ()> {
        Box::pin(async move {
            let mut call = self.call(&self.scripts.release);
            for (stream, epoch) in &streams {
                call.arg(&**stream).arg(*epoch);
            }
            let _released: u64 = self.ask(self.connected().await?, &call).await?;
            Ok(())
        })
    }
}

/// What became of a beat: see `lua/beat.lua`.
type Answered = (i8, u64, u16, Vec<String>, String, String);

fn beaten((what, now_ms, number, displaced, detail, at): Answered) -> Beat {
    let node = detail.as_str().into();
    Beat::Refused(match what {
        1.. => {
            let displaced = displaced.into_iter().map(Arc::from).collect();
            return Beat::Renewed { known: what == 2, now_ms, number, displaced };
        }
        0 => Misfit::NameTaken,
        -1 => Misfit::Clock { apart_ms: detail.parse().unwrap_or_default() },
        -2 => Misfit::Protocol { node },
        -3 => Misfit::Secret { node },
        -4 => Misfit::Port { node, at: at.into() },
        _ => Misfit::Full,
    })
}

/// What is told of a node: see `lua/peers.lua`.
type Peer = (String, String, u16, usize, u8, String, String, u64);

/// A node as it was told of; nothing where that makes no sense.
fn peer(told: Peer) -> Option<NodeRecord> {
    let (name, http, number, sessions, draining, terms, about, left_ms) = told;
    let mut terms = terms.splitn(3, '|');
    let terms = Terms {
        protocol: terms.next()?.parse().ok()?,
        secrets: terms.next()?.into(),
        ports: terms.next()?.split(' ').filter_map(|one| one.parse().ok()).collect(),
    };
    Some(NodeRecord {
        name: name.into(),
        http: http.parse().ok()?,
        number,
        sessions,
        draining: draining == 1,
        beat_age_ms: (DIRECTORY_LEASE.as_millis() as u64).saturating_sub(left_ms),
        terms,
        about: serde_json::from_str(&about).ok()?,
    })
}

fn ports(terms: &Terms) -> String {
    let ports: Vec<String> = terms.ports.iter().map(ToString::to_string).collect();
    ports.join(" ")
}

/// What a call answers within [`DIRECTORY_CALL`], or why there is no answer.
async fn in_time<T>(call: impl Future<Output = Result<T, RedisError>>) -> Result<T, String> {
    match tokio::time::timeout(DIRECTORY_CALL, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("it takes more than {} ms", DIRECTORY_CALL.as_millis())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
