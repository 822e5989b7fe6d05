//! A server in this process and clients that speak real UDP or TCP to it over loopback.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod alone;
pub mod client;
pub mod coturn;
pub mod descriptors;
pub mod identity;
pub mod log;
pub mod media;
pub mod namespace;
pub mod process;
pub mod redis;
pub mod replay;
pub mod router;
pub mod service;
pub mod stun;
pub mod tcp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use monoport::config::{Args, Config};
use monoport::control::PortRule;
use monoport::cpu;
use monoport::drop::DropReason;
use monoport::node::{Node, StartError};
use monoport::telemetry::ShardCounters;

/// Longest wait for anything that happens at once on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on free ports of loopback; stopped when dropped.
pub struct Server {
    node: Option<Node>,
    /// Where clients find its UDP ports.
    address: Ipv4Addr,
}

/// An address of 127.0.0.0/8 that no other server of this run has. Ports are used again as soon as
/// they are free: what a server of another test still sends to a client that has gone would count
/// as sent by the clients of this one.
fn loopback_of_its_own() -> Ipv4Addr {
    static STARTED: AtomicU16 = AtomicU16::new(1);
    let number = STARTED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // Several test programs run at once where someone asks for it.
    let program = 1 + (std::process::id() % 254) as u8;
    Ipv4Addr::new(127, program, number[0], number[1])
}

/// A free port for a program that binds it later, or that nobody is to have: at an address where
/// nobody else binds one, and from where nobody connects, meanwhile.
pub fn free_port() -> SocketAddr {
    let free = std::net::TcpListener::bind((loopback_of_its_own(), 0)).expect("a free port");
    free.local_addr().expect("it is bound")
}

impl Server {
    /// Starts one with `options` besides its addresses.
    pub fn start(options: &[&str]) -> Server {
        Server::try_start(options).expect("the server starts")
    }

    /// As [`Server::start`], for options that may not do.
    pub fn try_start(options: &[&str]) -> Result<Server, StartError> {
        Server::try_start_with(options, PortRule::default())
    }

    /// As [`Server::start`], with a rule of its own for ports that come and go.
    pub fn start_with(options: &[&str], rule: PortRule) -> Server {
        Server::try_start_with(options, rule).expect("the server starts")
    }

    fn try_start_with(options: &[&str], rule: PortRule) -> Result<Server, StartError> {
        let own = ["monoport", "--http", "127.0.0.1:0"];
        let own = if options.contains(&"--http") { &own[..1] } else { &own[..] };
        let port = ["--udp-port", "0"];
        let names_ports = options.contains(&"--udp-port") || options.contains(&"--port-range");
        let port: &[&str] = if names_ports { &[] } else { &port };
        // Of the servers of many tests each has its own UDP port; few need one for TCP.
        let tcp: &[&str] = if options.contains(&"--tcp-port") { &[] } else { &["--no-tcp"] };
        let address = loopback_of_its_own();
        let bind = ["--bind", &address.to_string()];
        let announce = ["--announce", "127.0.0.1"];
        let announces =
            ["--announce", "--bind", "--external-ip"].iter().any(|o| options.contains(o));
        // Clients over TCP know one address, and ports with numbers are to meet those of others.
        let shares = names_ports || options.contains(&"--tcp-port");
        let (at, address): (&[&str], _) = match (announces, shares) {
            (true, _) => (&[], Ipv4Addr::LOCALHOST),
            (false, true) => (&announce, Ipv4Addr::LOCALHOST),
            (false, false) => (&bind, address),
        };
        // A few clients, and yet on all shards: what crosses shards is what is to be tested.
        let spread: &[&str] = if options.contains(&"--gather") { &[] } else { &["--gather", "0"] };
        let args = own.iter().chain(port).chain(tcp).chain(at).chain(spread).chain(options);
        let args = Args::try_parse_from(args).expect("the options parse");
        let cores = cpu::available_cores();
        let config = Config::new(args, &cores).expect("the options are valid");
        Ok(Server { node: Some(Node::start_with(&config, rule)?), address })
    }

    pub fn with_shards(shards: usize) -> Server {
        Server::start(&["--shards", &shards.to_string()])
    }

    /// Several shards and one of [`steerings`].
    pub fn steered(shards: usize, steering: &str) -> Server {
        Server::start(&["--shards", &shards.to_string(), "--steering", steering])
    }

    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("it runs until it is dropped")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.node().http_address())
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = request("GET", &self.url("/metrics"), &[], "").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
    }

    /// Where media goes.
    pub fn media(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.node().udp_ports()[0]))
    }

    /// The sum of one counter over all shards.
    pub fn sum(&self, counter: impl Fn(&ShardCounters) -> u64) -> u64 {
        self.node().counters().map(counter).sum()
    }

    /// Datagrams dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.sum(|counters| counters.drops(reason))
    }

    /// Sessions in the shards' tables.
    pub fn sessions(&self) -> u64 {
        self.sum(|counters| counters.sessions.get())
    }

    /// Flows in the shards' tables.
    pub fn flows(&self) -> u64 {
        self.sum(|counters| counters.flows.get())
    }

    /// Streams in the shards' tables.
    pub fn streams(&self) -> u64 {
        self.sum(|counters| counters.streams.get())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
    }
}

/// The steerings to be had here: the kernel's hash always, eBPF with the privilege; a reason is
/// printed where it is missing. What passes with one passes with the other.
pub fn steerings() -> Vec<&'static str> {
    match Server::try_start(&["--shards", "1", "--steering", "ebpf"]) {
        Ok(_) => vec!["hash", "ebpf"],
        Err(StartError::Steering { reason, .. }) => {
            assert!(reason.contains("CAP_BPF"), "with the privilege it loads: {reason}");
            eprintln!("eBPF steering is not tested: {reason}");
            vec!["hash"]
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits until `condition` holds; panics with `what` when it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An HTTP response, whatever its status.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of a header that may come more than once, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// Sends a request and returns the response, errors included.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE));
    let agent: ureq::Agent = config.build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_owned()).expect("a request");
    let mut response = agent.run(request).expect("the server answers");
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let status = response.status().as_u16();
    Response { status, headers, body: response.body_mut().read_to_string().unwrap_or_default() }
}

/// POSTs an offer.
pub fn post_sdp(url: &str, sdp: &str) -> Response {
    request("POST", url, &[("Content-Type", "application/sdp")], sdp)
}
