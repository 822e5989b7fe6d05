//! The directory in memory and the one in Redis answer alike, whatever befalls their nodes. Without
//! `redis-server` the test says so and passes, unless `MONOPORT_REQUIRE_REDIS=1`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{
    About, Beat, Claim, Claimed, Directory, HttpAt, MediaPorts, MemoryDirectory, MemoryStore,
    Misfit, NodeRecord, RedisDirectory, Terms,
};
use crate::limits::DIRECTORY_LEASE;

const NODES: [&str; 3] = ["a", "b", "c"];
const STREAMS: [&str; 2] = ["s", "t"];

/// A Redis of the test's own, at a socket in a folder; killed when dropped.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn start() -> Option<Server> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("monoport-redis-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder of the test's own");
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "socket", "--dir"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(&folder)
            .spawn();
        match started {
            Ok(child) => Some(Server { child, folder }),
            Err(error) => {
                let required = std::env::var("MONOPORT_REQUIRE_REDIS").is_ok_and(|v| v == "1");
                assert!(!required, "MONOPORT_REQUIRE_REDIS=1, and no redis-server: {error}");
                eprintln!("Redis is not tested: no redis-server: {error}");
                None
            }
        }
    }

    fn url(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One node by both ways, and the greatest epoch it has seen of each stream.
struct Node {
    memory: MemoryDirectory,
    redis: RedisDirectory,
    seen: [(u64, u64); STREAMS.len()],
    terms: Terms,
    /// How far its clock is ahead.
    ahead_ms: u64,
}

struct World {
    store: Arc<MemoryStore>,
    url: String,
    raw: redis::aio::MultiplexedConnection,
    incarnations: u64,
}

impl World {
    fn node(&mut self, index: usize) -> Node {
        self.incarnations += 1;
        let (name, incarnation) = (NODES[index], self.incarnations);
        let memory = MemoryDirectory::new(self.store.clone(), name, incarnation);
        let redis = RedisDirectory::new(from_ref(&self.url), None, name, incarnation);
        let (redis, seen) = (redis.expect("a URL"), Default::default());
        let terms = terms(&mut fastrand::Rng::with_seed(0));
        Node { memory, redis, seen, terms, ahead_ms: 0 }
    }

    /// Everything is forgotten. No epoch of before is ahead of the clock afterwards.
    async fn forget(&mut self) {
        self.store.forget();
        let _: () = redis::cmd("FLUSHALL").query_async(&mut self.raw).await.expect("it answers");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    /// The lease of a node is over.
    async fn expire(&mut self, name: &str) {
        self.store.expire(name);
        let key = format!("{{monoport}}:n:{name}");
        let script = "if redis.call('EXISTS', KEYS[1]) == 1 then \
                      redis.call('HSET', KEYS[1], 'until', 0) end";
        let call = redis::Script::new(script);
        let _: () = call.key(key).invoke_async(&mut self.raw).await.expect("it answers");
    }
}

/// What can be compared of an answer: epochs follow two clocks.
fn told(claimed: &Claimed) -> String {
    match claimed {
        Claimed::Mine { displaced, .. } => format!("mine, displaced {displaced:?}"),
        Claimed::Held { owner, .. } => format!("held by {owner}"),
    }
}

fn epoch_of(claimed: &Claimed) -> u64 {
    match claimed {
        Claimed::Mine { epoch, .. } | Claimed::Held { epoch, .. } => *epoch,
    }
}

async fn beat(node: &Node, name: &str) {
    let record = NodeRecord {
        name: name.into(),
        http: HttpAt { tls: true, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 7880)) },
        number: 0,
        sessions: 7,
        draining: false,
        beat_age_ms: 0,
        terms: node.terms.clone(),
        about: About { zone: "z".into(), media: node.terms.ports.clone(), ..About::default() },
    };
    let comparable = |beat| match beat {
        Beat::Renewed { known, number, mut displaced, .. } => {
            displaced.sort();
            Ok((known, number, displaced))
        }
        // Two clocks, a moment apart.
        Beat::Refused(Misfit::Clock { .. }) => Err(Misfit::Clock { apart_ms: 0 }),
        Beat::Refused(misfit) => Err(misfit),
    };
    let clock_ms = unix_ms() + node.ahead_ms;
    let memory = node.memory.beat(record.clone(), clock_ms).await.map(comparable);
    let redis = node.redis.beat(record, clock_ms).await.map(comparable);
    assert_eq!(memory, redis, "a beat of {name}");
}

/// What a node may ask of others; few of them fit.
fn terms(random: &mut fastrand::Rng) -> Terms {
    let secrets = ["s t", "t s", "s", "s", "s", "s", "t", ""][random.usize(0..8)].into();
    let protocol = 1 + u32::from(random.u8(0..10) == 0);
    let ports = (0..random.u16(0..3)).map(|_| {
        let first = random.u16(1..2_000);
        let ip = IpAddr::from([192, 0, 2, random.u8(0..2)]);
        MediaPorts { tcp: random.bool(), ip, first, last: first + random.u16(0..30) }
    });
    Terms { protocol, secrets, ports: ports.collect() }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

async fn claim(node: &mut Node, how: Claim, stream: usize) {
    let (hint, redis_hint) = node.seen[stream];
    let one = |hint| vec![(STREAMS[stream].into(), hint)];
    let memory = node.memory.claim(how, one(hint)).await.expect("memory").remove(0);
    let redis = node.redis.claim(how, one(redis_hint)).await.expect("it answers").remove(0);
    assert_eq!(told(&memory), told(&redis), "{how:?} with {hint} and {redis_hint}");
    let epochs = (epoch_of(&memory), epoch_of(&redis));
    let grows = matches!(memory, Claimed::Mine { .. }) && how != Claim::Keep;
    assert!(!grows || (epochs.0 > hint && epochs.1 > redis_hint), "{how:?}: {epochs:?}");
    node.seen[stream] = (hint.max(epochs.0), redis_hint.max(epochs.1));
}

async fn resolve(node: &Node) {
    let streams: Vec<Arc<str>> = STREAMS.map(Arc::from).to_vec();
    let memory = node.memory.resolve(streams.clone(), Duration::ZERO).await.expect("memory");
    let redis = node.redis.resolve_now(&streams).await.expect("it answers");
    for (memory, redis) in memory.into_iter().zip(redis) {
        let comparable = |owner: super::Owner| (owner.node, owner.http);
        assert_eq!(memory.map(comparable), redis.map(comparable));
    }
    let peers = node.memory.peers().await.expect("memory");
    let others = node.redis.peers().await.expect("it answers");
    assert_eq!(comparable_nodes(peers), comparable_nodes(others));
}

/// In the same order, and without what two clocks differ in.
fn comparable_nodes(mut nodes: Vec<NodeRecord>) -> Vec<NodeRecord> {
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    for node in &mut nodes {
        assert!(node.beat_age_ms <= DIRECTORY_LEASE.as_millis() as u64, "{node:?}");
        node.beat_age_ms = 0;
    }
    nodes
}

/// One step, drawn at random.
async fn step(world: &mut World, nodes: &mut [Node], random: &mut fastrand::Rng) {
    let (index, stream) = (random.usize(0..NODES.len()), random.usize(0..STREAMS.len()));
    let node = &mut nodes[index];
    match random.u8(0..23) {
        0..6 => beat(node, NODES[index]).await,
        6..9 => claim(node, Claim::New, stream).await,
        9..11 => claim(node, Claim::IfFree, stream).await,
        11..14 => claim(node, Claim::Keep, stream).await,
        14 => {
            let (memory, redis) = node.seen[stream];
            let one = |epoch| vec![(STREAMS[stream].into(), epoch)];
            node.memory.release(one(memory)).await.expect("memory");
            node.redis.release(one(redis)).await.expect("it answers");
        }
        // Frozen, and then thought dead.
        15..17 => world.expire(NODES[index]).await,
        17 => world.forget().await,
        // Crashed, and started anew.
        18 => *node = world.node(index),
        19 => node.terms = terms(random),
        20 => node.ahead_ms = if node.ahead_ms == 0 { 3_600_000 } else { 0 },
        21 => {
            node.memory.leave().await.expect("memory");
            // Before its first beat it has no connection.
            let _unreachable = node.redis.leave().await;
        }
        // It has seen an epoch by a clock far ahead.
        _ => {
            let (memory, redis) = node.seen[stream];
            node.seen[stream] = (memory.max(1) + 1_000_000, redis.max(1) + 1_000_000);
        }
    }
    beat(&nodes[0], NODES[0]).await;
    resolve(&nodes[0]).await;
}

async fn connected(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < end, "redis-server does not answer: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Does `what` in a world of its own, where there is a Redis for it.
fn in_a_world(what: impl AsyncFnOnce(World)) {
    let Some(server) = Server::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let raw = connected(&server.url()).await;
        let store = MemoryStore::new(unix_ms);
        what(World { store, url: server.url(), raw, incarnations: 0 }).await;
    });
}

#[test]
fn redis_answers_as_memory_does_when_nodes_crash_freeze_and_are_forgotten() {
    in_a_world(async |mut world| {
        for seed in 0..12 {
            eprintln!("seed {seed}");
            world.forget().await;
            let mut random = fastrand::Rng::with_seed(seed);
            let mut nodes: Vec<Node> = (0..NODES.len()).map(|index| world.node(index)).collect();
            for node in nodes.iter_mut().zip(NODES) {
                beat(node.0, node.1).await;
            }
            for _ in 0..40 {
                step(&mut world, &mut nodes, &mut random).await;
            }
        }
    });
}

#[test]
fn who_asks_for_it_hears_what_is_so_now() {
    in_a_world(async |mut world| {
        let (a, b) = (world.node(0), world.node(1));
        beat(&a, NODES[0]).await;
        beat(&b, NODES[1]).await;
        let stream: Arc<str> = STREAMS[0].into();
        let asked = async |age| {
            let owners = b.redis.resolve(vec![stream.clone()], age).await.expect("it answers");
            owners.into_iter().next().flatten().map(|owner| owner.node)
        };
        let long = Duration::from_secs(600);
        assert_eq!(asked(long).await, None);
        a.redis.claim(Claim::New, vec![(stream.clone(), 0)]).await.expect("it answers");
        assert_eq!(asked(long).await, None, "that is good for as long");
        assert_eq!(asked(Duration::ZERO).await.as_deref(), Some(NODES[0]));
        assert_eq!(asked(long).await.as_deref(), Some(NODES[0]), "and is known from here on");
    });
}
