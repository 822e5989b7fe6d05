//! The composition root: sockets, shards, HTTP, and the order in which they start and stop.

mod announce;
mod banner;
mod bind;
mod choose;
mod cluster;
mod cluster_plan;
mod doors;
mod drain;
mod error;
mod http;
mod listener;
mod load;
mod moving;
mod opened;
mod outside;
mod pending;
mod plan;
mod reload;
mod stalled;
mod supervisor;
mod takeover;
#[cfg(test)]
mod tests;
mod tls;
mod vital;
mod web;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

pub use cluster_plan::ClusterPlan;
pub use error::StartError;
pub use plan::PortPlan;
pub use takeover::{TakeoverError, understood_letter};
pub use tls::TlsError;

use crate::api::{Api, Facts};
use crate::config::{self, Config, PortCount};
use crate::control::{
    AutoPorts, ConnectingLimits, Control, HttpAt, Member, OnConflict, PortRule, Settings,
    StartingPorts,
};
use crate::cpu;
use crate::hooks::Webhooks;
use crate::limits::REPORTS_PER_SLOT;
use crate::net::{Backend, Receiver, Steering, UdpSocket};
use crate::paths::{Directory, LinkNames, Ownership};
use crate::session::{CodecMatch, Negotiator};
use crate::shard::{
    BoundPort, Command, Earlier, Mailbox, Serving, ShardConfig, Spawned, Wiring, spawn,
};
use crate::srtp;
use crate::telemetry::{Meters, ShardCounters, TcpRefusals, tell_left_out};
use crate::wire::ufrag::UfragKey;
use announce::at_tcp;
use banner::{Chosen, banner};
use bind::{Bound, Opener};
use choose::backend;
use doors::Doors;
use opened::Opened;
use supervisor::Supervisor;
use takeover::{Given, Giver, not_listening};
use vital::spawn_vital;
use web::{Changing, neighbours, served};

/// A running server.
pub struct Node {
    shards: Vec<Spawned>,
    wiring: Arc<Wiring>,
    control: Arc<Control>,
    webhooks: Arc<Webhooks>,
    runtime: tokio::runtime::Runtime,
    doors: Arc<Doors>,
    /// How it can be taken over, if it can.
    given: Option<Given>,
    banner: String,
    http_address: SocketAddr,
    udp_ports: Vec<u16>,
    tcp_port: Option<u16>,
}

impl Node {
    /// Starts everything. All sockets exist before the first packet is served.
    ///
    /// # Errors
    /// [`StartError`] says what to change; nothing is left running.
    pub fn start(config: &Config) -> Result<Node, StartError> {
        Node::start_with(config, PortRule::default())
    }

    /// As [`Node::start`], with another rule for when ports come and go (`--ports-auto`).
    ///
    /// # Errors
    /// Those of [`Node::start`].
    pub fn start_with(config: &Config, rule: PortRule) -> Result<Node, StartError> {
        let changing = Changing::new(config)?;
        let mut opened = Opened::new(config)?;
        let first = opened.bound.sockets.first();
        let ports: Vec<u16> = first.into_iter().flatten().map(UdpSocket::port).collect();
        let reachable = opened.reachable.clone();
        let candidates: Vec<Vec<SocketAddr>> =
            ports.iter().map(|port| reachable.iter().map(|a| a.at(*port)).collect()).collect();
        let tcp = opened.tcp.as_ref();
        let tcp_port = tcp.map(|tcp| tcp.local_addr()).transpose()?.map(|at| at.port());
        let tcp_candidates = tcp_port.map_or_else(Vec::new, |port| at_tcp(&reachable, port));
        let (backend, backend_reason) = backend(config.io)?;
        let (steering, steering_reason) = opened.steering(config)?;
        let wiring = Arc::new(wiring(config, steering));
        let chosen = Chosen { backend, backend_reason, steering: steering_reason };
        let banner = banner(config, &opened, &candidates, &tcp_candidates, &chosen);
        let member = cluster::member(config, opened.incarnation(), &reachable)?;
        let shown_http = cluster::http_of(config, opened.http.local_addr()?, &reachable);
        let opener = Arc::new(Opener::new(config, opened.bound.ip, reachable, wiring.clone()));
        let named = (&*ports, &*candidates, &*tcp_candidates);
        let settings = settings(config, named, opener.clone(), &changing, member);
        let negotiator = Negotiator::new(config.say_ice_lite, codec_match(config));
        let control = Control::new(negotiator, wiring.clone(), settings);
        let named = (&*candidates, &*tcp_candidates);
        let earlier = opened.earlier();
        let Opened { bound, http, tcp, taking, .. } = opened;
        let mut shards = start_shards(config, bound, named, backend, &wiring, earlier)?;
        let taken = taking.map(|taking| taking.commit(&control, &wiring)).transpose();
        let earlier = match taken {
            Ok(earlier) => earlier,
            Err(error) => {
                stop_shards(&wiring, shards);
                return Err(error.into());
            }
        };
        let runtime = control_runtime(config.control_threads)?;
        let http_address = http.local_addr()?;
        let facts = facts(config, backend, &wiring);
        let api = Api::new(control.clone(), facts, changing.access.clone());
        let cluster = neighbours(config, &control, &runtime);
        reload::follow(&runtime, config, &changing, cluster.clone())?;
        let doors = Arc::new(Doors {
            runtime: runtime.handle().clone(),
            served: served(config, &control, &api, &changing, cluster, earlier.clone()),
            http,
            tcp,
            wiring: wiring.clone(),
            earlier,
            open: Mutex::default(),
        });
        doors.open()?;
        watch_over(&runtime, &api);
        spawn_vital(&runtime, "telling webhooks", changing.webhooks.clone().run());
        keep_house(config, rule, &runtime, &control, shown_http, &mut shards);
        moving::follow(config, &runtime, &control, opener.clone(), tcp_port);
        let given = can_be_taken_over(config, &control, &doors, &opener);
        Ok(Node {
            banner: banner + &banner::memory(&control.memory_terms()),
            shards,
            wiring,
            control,
            webhooks: changing.webhooks,
            runtime,
            doors,
            given,
            http_address,
            udp_ports: ports,
            tcp_port,
        })
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The UDP ports of all media.
    #[must_use]
    pub fn udp_ports(&self) -> &[u16] {
        &self.udp_ports
    }

    /// The TCP port of all media, if it is served over TCP.
    #[must_use]
    pub fn tcp_port(&self) -> Option<u16> {
        self.tcp_port
    }

    /// TCP connections that were closed before a shard had them.
    #[must_use]
    pub fn tcp_refusals(&self) -> &TcpRefusals {
        &self.wiring.tcp_refusals
    }

    /// The counters of each shard.
    pub fn counters(&self) -> impl Iterator<Item = &ShardCounters> + Clone {
        self.wiring.counters.iter().map(|padded| &**padded)
    }

    /// What else each shard measures.
    pub fn meters(&self) -> impl Iterator<Item = &Meters> + Clone {
        self.wiring.meters.iter().map(|padded| &**padded)
    }

    /// The control side, for those who drive it without HTTP.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Sessions and streams the control side knows of.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.control.counts()
    }

    /// What was bound and chosen, for the person who started it.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Ends every session, telling its peer, and stops.
    pub fn stop(self) {
        self.control.stop();
        if let Some(given) = self.given {
            given.end();
        }
        let http = self.doors.shut();
        stop_shards(&self.wiring, self.shards);
        if let Some(earlier) = &self.doors.earlier {
            earlier.end();
        }
        self.runtime.block_on(async {
            drain::tell_the_end(&self.control, &self.webhooks).await;
            self.control.leave_directory().await;
        });
        tell_left_out();
        // Requests under way were answered, or are not worth waiting for.
        if let Some(http) = http {
            http.abort();
        }
        self.runtime.shutdown_background();
    }
}

/// How control is to run.
fn settings(
    config: &Config,
    (ports, candidates, tcp): (&[u16], &[Vec<SocketAddr>], &[SocketAddr]),
    opener: Arc<Opener>,
    changing: &Changing,
    member: Member,
) -> Settings {
    Settings {
        ports: match config.udp.range {
            Some(range) => StartingPorts::Range { first: range.first, last: range.last },
            None => {
                StartingPorts::Mux(ports.iter().copied().zip(candidates.iter().cloned()).collect())
            }
        },
        tcp_candidates: tcp.to_vec(),
        opener,
        sessions_per_shard: config.sessions_per_shard(),
        gather: config.gather,
        codec_match: codec_match(config),
        on_conflict: on_conflict(config),
        whep_wait: config.whep_wait,
        connecting: connecting(config),
        listener: changing.webhooks.clone(),
        member,
    }
}

/// Listens for a process that would take over, where it is known where. That it can't be taken over
/// keeps no server from serving.
fn can_be_taken_over(
    config: &Config,
    control: &Arc<Control>,
    doors: &Arc<Doors>,
    opener: &Arc<Opener>,
) -> Option<Given> {
    let path = config.takeover_socket.clone()?;
    let giver = Giver {
        path: path.clone(),
        control: control.clone(),
        wiring: control.wiring.clone(),
        doors: doors.clone(),
        opener: opener.clone(),
        range: config.udp.range.map(|range| (range.first, range.last)),
    };
    giver.listen().inspect_err(|error| not_listening(&path, error)).ok()
}

/// Starts a shard for each list of sockets; with a range, for none.
fn start_shards(
    config: &Config,
    bound: Bound,
    (candidates, tcp_candidates): (&[Vec<SocketAddr>], &[SocketAddr]),
    backend: Backend,
    wiring: &Arc<Wiring>,
    earlier: Vec<Earlier>,
) -> Result<Vec<Spawned>, StartError> {
    let mut earlier = earlier.into_iter();
    let mut sockets = bound.sockets.into_iter();
    let mut shards = Vec::new();
    for index in 0..config.shards() {
        let sockets = sockets.next().unwrap_or_default();
        let every: Vec<&UdpSocket> = sockets.iter().collect();
        let receiver = Receiver::new(backend, config.batch, &every)?;
        let ports = sockets.into_iter().zip(candidates.iter().cloned());
        let ports = ports.map(|(socket, candidates)| BoundPort { socket, candidates });
        let serving = match config.udp.range {
            Some(_) => Serving::PortPerSession,
            None => Serving::Mux(ports.collect()),
        };
        let setup = shard_config(config, index, tcp_candidates);
        match spawn(setup, serving, receiver, wiring.clone(), earlier.next()) {
            Ok(spawned) => shards.push(spawned),
            Err(error) => {
                stop_shards(wiring, shards);
                return Err(error.into());
            }
        }
    }
    Ok(shards)
}

fn stop_shards(wiring: &Wiring, shards: Vec<Spawned>) {
    for (mailbox, shard) in wiring.mailboxes.iter().zip(shards) {
        let mut stop = Command::Stop;
        while let Err(refused) = mailbox.command(stop) {
            stop = refused;
            std::thread::yield_now();
        }
        if shard.thread.join().is_err() {
            tracing::error!("a shard had panicked; see above");
        }
    }
}

fn wiring(config: &Config, steering: Option<Steering>) -> Wiring {
    let shards = config.shards();
    let each = |_| ArrayQueue::new(config.sessions_per_shard() * REPORTS_PER_SLOT);
    Wiring {
        mailboxes: (0..shards).map(|_| Mailbox::default()).collect(),
        ownership: Arc::new(Ownership {
            directory: Directory::new(config.max_sessions * 2),
            steering,
            links: LinkNames::default(),
            shards,
        }),
        ufrag_key: UfragKey::random(),
        counters: (0..shards).map(|_| ShardCounters::padded()).collect(),
        tcp_refusals: TcpRefusals::default(),
        meters: (0..shards).map(|_| Meters::new(config.sessions_per_shard()).into()).collect(),
        reports: (0..shards).map(each).collect(),
        reported: Notify::new(),
    }
}

fn shard_config(config: &Config, index: usize, tcp_candidates: &[SocketAddr]) -> ShardConfig {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    ShardConfig {
        index: index as u16,
        core: config.shard_cores.get(index).copied(),
        tcp_candidates: tcp_candidates.to_vec(),
        hold: config.hold,
        adapts: config.adapts,
        trains: config.gso,
        setup_timeout: config.setup_timeout,
        busy_poll: config.busy_poll,
        wake_gap: config.wake_gap,
        seed: u64::from_ne_bytes(seed),
    }
}

/// What the API tells of what was chosen at the start.
fn facts(config: &Config, backend: Backend, wiring: &Wiring) -> Facts {
    let steering = match (&wiring.ownership.steering, config.shards()) {
        (Some(_), _) => "ebpf",
        (None, 1) => "none",
        (None, _) => "hash",
    };
    Facts {
        io: format!("{backend:?}").to_lowercase(),
        steering,
        cipher: srtp::library::choice().to_string(),
        cores: config.shard_cores.clone(),
        max_sessions: config.max_sessions,
    }
}

/// Control threads give way to shards: a join storm must not hold up media.
const CONTROL_NICE: i32 = 5;

/// What a POST does to a stream that somebody publishes.
fn on_conflict(config: &Config) -> OnConflict {
    match config.on_conflict {
        config::OnConflict::Replace => OnConflict::Replace,
        config::OnConflict::Refuse => OnConflict::Refuse,
    }
}

fn connecting(config: &Config) -> ConnectingLimits {
    let Config { max_connecting: most, max_connecting_per_ip: most_per_source, .. } = *config;
    ConnectingLimits { most, most_per_source }
}

fn codec_match(config: &Config) -> CodecMatch {
    match config.codec_match {
        config::CodecMatch::Lenient => CodecMatch::Lenient,
        config::CodecMatch::Strict => CodecMatch::Strict,
    }
}

fn control_runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("control")
        .on_thread_start(|| {
            if let Err(error) = cpu::set_current_thread_nice(CONTROL_NICE) {
                tracing::debug!("control threads run at normal priority: {error}");
            }
        })
        .enable_all()
        .build()
}

/// Looks every second whether shards turn, and tells the service manager.
fn watch_over(runtime: &tokio::runtime::Runtime, api: &Arc<Api>) {
    spawn_vital(runtime, "telling the service manager", keep_telling(api.clone()));
    spawn_vital(runtime, "the API's sampler", api.clone().run());
}

/// Tells the service manager that the server lives, unless a shard does not turn.
async fn keep_telling(api: Arc<Api>) {
    Supervisor::of_process().keep_telling(|| !api.is_stuck()).await;
}

/// Says once a second how many log lines were left out, if any were. Runs until the server stops.
async fn tell_left_out_lines() {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tell_left_out();
    }
}

/// Starts what goes on beside requests: sessions that have ended are taken in, ports and placement
/// follow the load.
fn keep_house(
    config: &Config,
    rule: PortRule,
    runtime: &tokio::runtime::Runtime,
    control: &Arc<Control>,
    http: HttpAt,
    shards: &mut [Spawned],
) {
    spawn_vital(runtime, "taking in what shards report", control.clone().take_reports());
    spawn_vital(runtime, "telling the directory", control.clone().keep_directory(http));
    if let Some(PortCount { min: least, max: most }) = config.udp.auto {
        let auto = AutoPorts { least, most, numbers: config.udp.possible_mux(), rule };
        spawn_vital(runtime, "following the load with ports", control.clone().follow_load(auto));
    }
    spawn_vital(runtime, "telling of lines left out", tell_left_out_lines());
    // A shard that spins before it sleeps runs all the time, whatever it has to do.
    if config.busy_poll.is_zero() {
        let watch = load::watch(load::measures(shards), control.clone());
        spawn_vital(runtime, "watching the load", watch);
    }
}
