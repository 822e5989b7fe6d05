//! The composition root: sockets, shards, HTTP, and the order in which they start and stop.

mod announce;
mod plan;

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub use plan::PortPlan;

use crate::config::{Config, Io, SteerBy};
use crate::cpu;
use crate::demux::Directory;
use crate::limits::STEERING_FLOWS_PER_SESSION;
use crate::net::{
    Backend, PortHolder, Receiver, SocketOptions, Steering, UdpSocket, udp_port_holder,
    uring_available,
};
use crate::session::Negotiator;
use crate::shard::{Command, Mailbox, ShardConfig, Spawned, Wiring, spawn};
use crate::signalling::{Control, Token, router};
use crate::srtp;
use crate::telemetry::ShardCounters;
use crate::wire::ufrag::UfragKey;

/// Why the server does not start, in words.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the UDP port.
    #[error("UDP port {port} is in use{by}; stop it or pass --udp-port")]
    UdpPortInUse {
        /// The port.
        port: u16,
        /// ` by pid 812 (monoport)`, where that can be found out.
        by: String,
    },
    /// The UDP port can't be bound.
    #[error("UDP port {port} on {address}: {error}; pass another --udp-port or --bind")]
    UdpBind {
        /// The port.
        port: u16,
        /// The address.
        address: IpAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The HTTP address can't be bound.
    #[error("HTTP on {address}: {error}; pass another --http")]
    HttpBind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no address to put into answers.
    #[error("no network interface has an address for answers; pass --announce IP")]
    NothingToAnnounce,
    /// The filter lets no address through.
    #[error("{filter} leaves no address for answers; there are {there}")]
    NothingAdmitted {
        /// The options.
        filter: String,
        /// What the filter was applied to.
        there: String,
    },
    /// A name to announce can't be looked up.
    #[error("--announce {name}: {error}; announce its IP address, or mend the name")]
    HostName {
        /// The name.
        name: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// io_uring was asked for and is not to be had.
    #[error("--io uring: {0}; pass --io mmsg")]
    Uring(String),
    /// Steering by eBPF was asked for and is not to be had.
    #[error("{option}: {reason}; or go without {option}")]
    Steering {
        /// The option that asks for it.
        option: &'static str,
        /// Why not, and what to grant.
        reason: String,
    },
    /// Asked which ports would be used, and one is the kernel's to choose.
    #[error("{0} has port 0, which the kernel chooses at the start; name a port")]
    ChosenAtStart(&'static str),
    /// A thread, a runtime or a registration failed.
    #[error("start: {0}")]
    Io(#[from] io::Error),
}

/// A running server.
pub struct Node {
    shards: Vec<Spawned>,
    wiring: Arc<Wiring>,
    control: Arc<Control>,
    runtime: tokio::runtime::Runtime,
    http: tokio::task::JoinHandle<()>,
    stop_http: Arc<Notify>,
    banner: String,
    http_address: SocketAddr,
    udp_ports: Vec<u16>,
}

impl Node {
    /// Starts everything. All sockets exist before the first packet is served.
    ///
    /// # Errors
    /// [`StartError`] says what to change; nothing is left running.
    pub fn start(config: &Config) -> Result<Node, StartError> {
        let sockets = bind_udp(config)?;
        let ports: Vec<u16> = sockets[0].iter().map(UdpSocket::port).collect();
        let listener = std::net::TcpListener::bind(config.http)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| StartError::HttpBind { address: config.http, error })?;
        let reachable = announce::reachable(config)?;
        let candidates: Vec<Vec<SocketAddr>> =
            ports.iter().map(|port| reachable.iter().map(|a| a.at(*port)).collect()).collect();
        let (backend, backend_reason) = backend(config.io)?;
        let (steering, steering_reason) = steering(config, &sockets)?;
        let wiring = Arc::new(wiring(config, steering));
        let chosen = Chosen { backend, backend_reason, steering: steering_reason };
        let banner = banner(config, &sockets, &listener, &candidates, &chosen);

        let negotiator = Negotiator::new(config.say_ice_lite);
        let control = Control::new(
            negotiator,
            wiring.clone(),
            candidates.clone(),
            config.sessions_per_shard(),
        );
        let mut shards = Vec::new();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let every: Vec<&UdpSocket> = sockets.iter().collect();
            let receiver = Receiver::new(backend, config.batch, &every)?;
            let shard = shard_config(config, index, candidates.clone());
            match spawn(shard, sockets, receiver, wiring.clone()) {
                Ok(spawned) => shards.push(spawned),
                Err(error) => {
                    stop_shards(&wiring, shards);
                    return Err(error.into());
                }
            }
        }
        let runtime = control_runtime(config.control_threads)?;
        let http_address = listener.local_addr()?;
        let (http, stop_http) = serve_http(config, &runtime, listener, &control)?;
        runtime.spawn(control.clone().watch_ended());
        Ok(Node {
            shards,
            wiring,
            control,
            runtime,
            http,
            stop_http,
            banner,
            http_address,
            udp_ports: ports,
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

    /// The counters of each shard.
    pub fn counters(&self) -> impl Iterator<Item = &ShardCounters> + Clone {
        self.wiring.counters.iter().map(|padded| &**padded)
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

    /// Waits for SIGINT or SIGTERM.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    pub fn wait_for_signal(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted,
                _ = terminate.recv() => Ok(()),
            }
        })
    }

    /// Ends every session, telling its peer, and stops.
    pub fn stop(self) {
        self.control.stop();
        self.stop_http.notify_one();
        stop_shards(&self.wiring, self.shards);
        // Requests under way were answered, or are not worth waiting for.
        self.http.abort();
        self.runtime.shutdown_background();
    }
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

/// The sockets of each shard: one per mux port, shared by all shards.
fn bind_udp(config: &Config) -> Result<Vec<Vec<UdpSocket>>, StartError> {
    // SO_REUSEPORT lets two servers of one user share a port without a word, and each would lose
    // half of its packets to the other.
    for port in config.udp_ports.iter().copied().filter(|port| *port != 0) {
        if let Ok(Some(holder)) = udp_port_holder(port) {
            return Err(StartError::UdpPortInUse { port, by: describe(&holder) });
        }
    }
    let mut error = None;
    for ip in config.bind_candidates() {
        match bind_all(ip, config) {
            Ok(sockets) => return Ok(sockets),
            Err(failed) => error.get_or_insert(failed),
        };
    }
    Err(error.expect("there is at least one address to try"))
}

fn bind_all(ip: IpAddr, config: &Config) -> Result<Vec<Vec<UdpSocket>>, StartError> {
    let options = SocketOptions {
        receive_buffer_bytes: config.receive_buffer,
        send_buffer_bytes: config.send_buffer,
        gro: config.gro,
        busy_poll_us: u32::try_from(config.busy_poll.as_micros()).unwrap_or(u32::MAX),
    };
    let mut shards: Vec<Vec<UdpSocket>> = Vec::new();
    shards.resize_with(config.shards(), Vec::new);
    for port in &config.udp_ports {
        let address = SocketAddr::new(ip, if *port == 0 { free_port(ip)? } else { *port });
        for sockets in &mut shards {
            let socket = UdpSocket::bind(address, &options)
                .map_err(|error| StartError::UdpBind { port: *port, address: ip, error })?;
            sockets.push(socket);
        }
    }
    Ok(shards)
}

/// A port nobody has. The kernel is asked through a socket that shares with nobody: asked through
/// one with SO_REUSEPORT it may give out the port of another such socket.
fn free_port(ip: IpAddr) -> Result<u16, StartError> {
    let bound = std::net::UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr());
    let bound = bound.map_err(|error| StartError::UdpBind { port: 0, address: ip, error })?;
    Ok(bound.port())
}

fn describe(holder: &PortHolder) -> String {
    match (holder.pid, &holder.command) {
        (Some(pid), Some(command)) => format!(" by pid {pid} ({command})"),
        (Some(pid), None) => format!(" by pid {pid}"),
        _ => String::new(),
    }
}

/// The receive back end, and why.
fn backend(io: Io) -> Result<(Backend, String), StartError> {
    match io {
        Io::Mmsg => Ok((Backend::Mmsg, "asked for".into())),
        Io::Uring => match uring_available() {
            Ok(()) => Ok((Backend::Uring, "asked for".into())),
            Err(reason) => Err(StartError::Uring(reason)),
        },
        Io::Auto => Ok((Backend::Mmsg, "the faster one in benches/net.rs".into())),
    }
}

/// Puts steering programs on the ports where that is wanted and allowed, and says what is active.
fn steering(
    config: &Config,
    sockets: &[Vec<UdpSocket>],
) -> Result<(Option<Steering>, String), StartError> {
    let by_hash = "kernel hash; strays are handed over by ring";
    let useless = config.shards() == 1 && !config.kernel_drop;
    match config.steering {
        SteerBy::Hash => return Ok((None, format!("{by_hash}; asked for"))),
        SteerBy::Auto if useless => return Ok((None, "none: there is one shard".into())),
        SteerBy::Auto | SteerBy::Ebpf => {}
    }
    let ports = 0..config.udp_ports.len();
    let by_port: Vec<Vec<_>> =
        ports.map(|port| sockets.iter().map(|shard| shard[port].as_fd()).collect()).collect();
    let flows = config.max_sessions * STEERING_FLOWS_PER_SESSION;
    match Steering::load(&by_port, flows, config.kernel_drop) {
        Ok(steering) => {
            let unknown = match steering.drops_unknown() {
                true => "dropped by the kernel",
                false => "spread by hash",
            };
            let active = format!("eBPF: by ufrag and flow; unknown flows are {unknown}");
            Ok((Some(steering), active))
        }
        Err(reason) if config.kernel_drop => {
            Err(StartError::Steering { option: "--kernel-drop", reason })
        }
        Err(reason) if config.steering == SteerBy::Ebpf => {
            Err(StartError::Steering { option: "--steering ebpf", reason })
        }
        Err(reason) => Ok((None, format!("{by_hash}; {reason}"))),
    }
}

fn wiring(config: &Config, steering: Option<Steering>) -> Wiring {
    let shards = config.shards();
    let each = |_| ArrayQueue::new(config.sessions_per_shard());
    Wiring {
        mailboxes: (0..shards).map(|_| Mailbox::default()).collect(),
        directory: Directory::new(config.max_sessions * 2),
        steering,
        ufrag_key: UfragKey::random(),
        counters: (0..shards).map(|_| ShardCounters::padded()).collect(),
        ended: (0..shards).map(each).collect(),
        ended_bell: Notify::new(),
    }
}

fn shard_config(config: &Config, index: usize, candidates: Vec<Vec<SocketAddr>>) -> ShardConfig {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    ShardConfig {
        index: index as u16,
        core: config.shard_cores.get(index).copied(),
        candidates,
        hold: config.hold,
        trains: config.gso,
        setup_timeout: config.setup_timeout,
        busy_poll: config.busy_poll,
        seed: u64::from_ne_bytes(seed),
    }
}

/// Control threads give way to shards: a join storm must not hold up media.
const CONTROL_NICE: i32 = 5;

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

fn serve_http(
    config: &Config,
    runtime: &tokio::runtime::Runtime,
    listener: std::net::TcpListener,
    control: &Arc<Control>,
) -> io::Result<(tokio::task::JoinHandle<()>, Arc<Notify>)> {
    let app = router(control.clone(), Token::new(config.token.as_deref()));
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let _inside = runtime.enter();
    let listener = TcpListener::from_std(listener)?;
    let http = runtime.spawn(async move {
        let serve = axum::serve(listener, app);
        let serve = serve.with_graceful_shutdown(async move { stopped.notified().await });
        if let Err(error) = serve.await {
            tracing::error!("HTTP: {error}");
        }
    });
    Ok((http, stop))
}

/// What was chosen at the start, in words.
struct Chosen {
    backend: Backend,
    backend_reason: String,
    steering: String,
}

fn banner(
    config: &Config,
    sockets: &[Vec<UdpSocket>],
    listener: &std::net::TcpListener,
    candidates: &[Vec<SocketAddr>],
    chosen: &Chosen,
) -> String {
    let mut text = format!("monoport {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    let http = listener.local_addr().unwrap_or(config.http);
    let ports: Vec<String> = sockets[0].iter().map(|s| s.port().to_string()).collect();
    if let Some(socket) = sockets[0].first() {
        let (ip, count) = (socket.local_addr().ip(), sockets.len());
        let ports = ports.join(" ");
        line("media", format!("UDP {ip} port {ports}, a socket for each of {count} shards"));
        let (receive, send) = socket.effective_buffers();
        let hint = if receive < config.receive_buffer.min(4 << 20) {
            format!("; too small for load: sysctl -w net.core.rmem_max={}", config.receive_buffer)
        } else {
            String::new()
        };
        line("buffers", format!("{receive} B to receive, {send} B to send, per socket{hint}"));
    }
    let addresses: Vec<String> = candidates[0].iter().map(ToString::to_string).collect();
    let more = if candidates.len() > 1 { "; the port is the least loaded one" } else { "" };
    line("answers", format!("{}{more}", addresses.join(" ")));
    let cores: Vec<String> = config.shard_cores.iter().map(ToString::to_string).collect();
    line("shards", format!("{} on cores {}", config.shards(), cores.join(" ")));
    line("receive", format!("{:?}, {}", chosen.backend, chosen.backend_reason).to_lowercase());
    line("steering", chosen.steering.clone());
    line("cipher", srtp::library::choice().to_string());
    let auth = match (&config.token, http.ip().is_loopback()) {
        (Some(_), _) => "bearer token",
        (None, true) => "none needed on loopback",
        (None, false) => "none (--no-auth)",
    };
    line("auth", auth.into());
    line("page", format!("http://{}/", page_host(http)));
    text
}

/// How a browser on this machine reaches HTTP. `localhost` is a secure context, which the camera
/// needs.
fn page_host(http: SocketAddr) -> String {
    if http.ip().is_loopback() || http.ip().is_unspecified() {
        format!("localhost:{}", http.port())
    } else {
        http.to_string()
    }
}
