//! The command line and the environment, parsed into a [`Config`] that can't be wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

use crate::limits::{MAX_MUX_PORTS, MAX_SESSIONS_PER_SHARD, MAX_SHARDS};

/// A WebRTC media server: WHIP in, WHEP out, one UDP port, every core.
#[derive(Clone, Debug, Parser)]
#[command(name = "monoport", version, about)]
pub struct Args {
    /// The UDP port of all media, or several as in 7882-7891 or 7882,3478
    #[arg(long, value_name = "PORT,…", default_value = "7882", env = "MONOPORT_UDP_PORT")]
    pub udp_port: PortList,

    /// The address the UDP port is bound to; every address of both families when not given
    #[arg(long, value_name = "IP", env = "MONOPORT_BIND")]
    pub bind: Option<IpAddr>,

    /// Addresses put into answers, in this order, instead of those of the interfaces
    #[arg(long, value_name = "IP[:PORT],…", value_delimiter = ',', env = "MONOPORT_ANNOUNCE")]
    pub announce: Vec<Announced>,

    /// The address of HTTP: WHIP, WHEP, the pages and the metrics
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7880", env = "MONOPORT_HTTP")]
    pub http: SocketAddr,

    /// The bearer token that WHIP and WHEP ask for
    #[arg(long, value_name = "TOKEN", env = "MONOPORT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// A file whose first line is the bearer token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "no_auth"])]
    pub token_file: Option<PathBuf>,

    /// Serve everybody, also on addresses other than this machine's own
    #[arg(long, conflicts_with = "token")]
    pub no_auth: bool,

    /// Shards: threads that each serve a share of the sessions; one per core when not given
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,

    /// Cores the shards are pinned to, in turn, as in 0,2-5; all that are allowed when not given
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,

    /// Sessions at a time; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub max_sessions: usize,

    /// How datagrams are received
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    pub io: Io,

    /// Who sends a datagram to the right shard's socket
    #[arg(long, value_enum, default_value_t = SteerBy::Auto)]
    pub steering: SteerBy,

    /// Drop in the kernel what is neither STUN nor of a known flow (needs eBPF)
    #[arg(long)]
    pub kernel_drop: bool,

    /// Messages received by one system call
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,

    /// Let the kernel join received datagrams of one sender (UDP_GRO)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub gro: bool,

    /// Hand the kernel a viewer's datagrams as one train (UDP_SEGMENT, GSO)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub gso: bool,

    /// The longest a packet waits for the rest of its frame, in microseconds
    #[arg(long, value_name = "US", default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=50_000))]
    pub train_us: u32,

    /// Spin this long before sleeping, in microseconds: less latency for a busy core
    #[arg(long, value_name = "US", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub busy_poll_us: u32,

    /// Receive buffer asked for per socket, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub receive_buffer: usize,

    /// Send buffer asked for per socket, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub send_buffer: usize,

    /// Threads for HTTP and SDP
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub control_threads: u16,

    /// Keep the line a=ice-lite in answers, at the price of 50 ms per join (see the README)
    #[arg(long)]
    pub say_ice_lite: bool,

    /// Log filter, as in info or monoport=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "MONOPORT_LOG")]
    pub log: String,
}

/// The receive back end asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// What the bench found faster
    Auto,
    /// recvmmsg(2)
    Mmsg,
    /// io_uring multishot receive
    Uring,
}

/// The steering asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum SteerBy {
    /// eBPF where it may be used and there is more than one shard
    Auto,
    /// An eBPF program: by ufrag and flow
    Ebpf,
    /// The kernel's hash of the addresses; strays are handed over between shards
    Hash,
}

/// An address for answers, with a port where that differs from the bound one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The address clients reach.
    pub ip: IpAddr,
    /// The port clients reach, if not the bound one.
    pub port: Option<u16>,
}

impl std::str::FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Announced, String> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Announced { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_error| {
            format!("`{text}` is neither an IP address nor IP:PORT (IPv6 with a port: [IP]:PORT)")
        })?;
        Ok(Announced { ip: address.ip(), port: Some(address.port()) })
    }
}

impl Announced {
    /// The address a client is given for the mux port `port`.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

/// UDP ports, as in `7882`, `7882-7891` or `7882,3478`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList(pub Vec<u16>);

impl std::str::FromStr for PortList {
    type Err = String;

    fn from_str(text: &str) -> Result<PortList, String> {
        let number = |part: &str| {
            part.trim().parse::<u16>().map_err(|_error| format!("`{part}` is not a port"))
        };
        let mut ports = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => ports.extend(number(first)?..=number(last)?),
                None => ports.push(number(part)?),
            }
        }
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != ports.len() && ports.iter().any(|port| *port != 0) {
            return Err("a port stands there twice".into());
        }
        if !(1..=MAX_MUX_PORTS).contains(&ports.len()) {
            return Err(format!("{} ports; 1 to {MAX_MUX_PORTS} are taken", ports.len()));
        }
        Ok(PortList(ports))
    }
}

/// A list of cores, as in `0,2-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

impl std::str::FromStr for CoreList {
    type Err = String;

    fn from_str(text: &str) -> Result<CoreList, String> {
        let number = |part: &str| {
            part.trim().parse::<usize>().map_err(|_error| format!("`{part}` is not a core number"))
        };
        let mut cores = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if last < first || last - first >= MAX_SHARDS {
                        return Err(format!("`{part}` is not a range of cores"));
                    }
                    cores.extend(first..=last);
                }
                None => cores.push(number(part)?),
            }
        }
        Ok(CoreList(cores))
    }
}

/// What is wrong with the options, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// HTTP is open to others and nobody is asked for a token.
    #[error(
        "HTTP on {0} can be reached from other machines: pass --token (or MONOPORT_TOKEN, or \
         --token-file), or --no-auth to serve everybody"
    )]
    OpenWithoutToken(SocketAddr),
    /// The token file can't be read or is empty.
    #[error("the token file {path}: {problem}")]
    TokenFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A token that nobody could send or anybody could guess.
    #[error("the token is empty or has characters a header can't carry; use visible ASCII")]
    UnusableToken,
    /// Only the steering program knows which flows are known.
    #[error("--kernel-drop needs the kernel to steer: drop --steering hash or --kernel-drop")]
    DropWithoutSteering,
    /// An outside port can stand for one inside port only.
    #[error(
        "--announce {0} names a port, but there are {1} UDP ports: announce the address alone, or \
         use one UDP port"
    )]
    AnnouncedPort(SocketAddr, usize),
    /// A number out of bounds.
    #[error("--{option} {value}: {problem}")]
    OutOfBounds {
        /// The option.
        option: &'static str,
        /// What was given.
        value: usize,
        /// What would be right.
        problem: String,
    },
    /// A core this process may not use.
    #[error("--cores names core {core}, which this process may not use; it may use {allowed:?}")]
    ForbiddenCore {
        /// The core.
        core: usize,
        /// Those that are allowed.
        allowed: Vec<usize>,
    },
}

/// Validated options.
#[derive(Clone, Debug)]
pub struct Config {
    /// The UDP ports.
    pub udp_ports: Vec<u16>,
    /// Where they are bound; `None` for every address.
    pub bind: Option<IpAddr>,
    /// Addresses for answers; empty for those of the interfaces.
    pub announce: Vec<Announced>,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// The bearer token, if one is asked for.
    pub token: Option<String>,
    /// One per shard: the core it is pinned to.
    pub shard_cores: Vec<usize>,
    /// Sessions at a time.
    pub max_sessions: usize,
    /// Receive back end.
    pub io: Io,
    /// Steering.
    pub steering: SteerBy,
    /// Whether the kernel drops what is neither STUN nor of a known flow.
    pub kernel_drop: bool,
    /// Messages per receive call.
    pub batch: usize,
    /// UDP_GRO.
    pub gro: bool,
    /// UDP_SEGMENT.
    pub gso: bool,
    /// How long a packet may wait for its frame.
    pub hold: Duration,
    /// How long a shard spins before it sleeps.
    pub busy_poll: Duration,
    /// SO_RCVBUF asked for.
    pub receive_buffer: usize,
    /// SO_SNDBUF asked for.
    pub send_buffer: usize,
    /// Threads for HTTP and SDP.
    pub control_threads: usize,
    /// Whether answers say `a=ice-lite`.
    pub say_ice_lite: bool,
}

impl Config {
    /// Validates `args` for a process that may use `allowed_cores`.
    ///
    /// # Errors
    /// [`ConfigError`] says what to change.
    pub fn new(args: Args, allowed_cores: &[usize]) -> Result<Config, ConfigError> {
        let token = token(&args)?;
        if token.is_none() && !args.no_auth && !args.http.ip().is_loopback() {
            return Err(ConfigError::OpenWithoutToken(args.http));
        }
        if args.kernel_drop && args.steering == SteerBy::Hash {
            return Err(ConfigError::DropWithoutSteering);
        }
        let ports = args.udp_port.0.len();
        if let Some((announced, port)) = args.announce.iter().find_map(|a| a.port.map(|p| (a, p)))
            && ports > 1
        {
            let address = SocketAddr::new(announced.ip, port);
            return Err(ConfigError::AnnouncedPort(address, ports));
        }
        let shard_cores = shard_cores(&args, allowed_cores)?;
        let most = (shard_cores.len() * MAX_SESSIONS_PER_SHARD).min(1 << 22);
        if !(1..=most).contains(&args.max_sessions) {
            return Err(ConfigError::OutOfBounds {
                option: "max-sessions",
                value: args.max_sessions,
                problem: format!("must be within 1 and {most}"),
            });
        }
        Ok(Config {
            udp_ports: args.udp_port.0,
            bind: args.bind,
            announce: args.announce,
            http: args.http,
            token,
            shard_cores,
            max_sessions: args.max_sessions,
            io: args.io,
            steering: args.steering,
            kernel_drop: args.kernel_drop,
            batch: usize::from(args.batch),
            gro: args.gro,
            gso: args.gso,
            hold: Duration::from_micros(u64::from(args.train_us)),
            busy_poll: Duration::from_micros(u64::from(args.busy_poll_us)),
            receive_buffer: args.receive_buffer,
            send_buffer: args.send_buffer,
            control_threads: usize::from(args.control_threads),
            say_ice_lite: args.say_ice_lite,
        })
    }

    /// Shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shard_cores.len()
    }

    /// Sessions one shard must have room for.
    #[must_use]
    pub fn sessions_per_shard(&self) -> usize {
        self.max_sessions.div_ceil(self.shards())
    }

    /// Addresses to bind the UDP ports to, the preferred one first: a dual-stack wildcard, or IPv4
    /// alone where the host has no IPv6.
    #[must_use]
    pub fn bind_candidates(&self) -> Vec<IpAddr> {
        let any = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        self.bind.map_or_else(|| any.to_vec(), |ip| vec![ip])
    }
}

fn token(args: &Args) -> Result<Option<String>, ConfigError> {
    let token = match (&args.token, &args.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => {
            let error = |problem: String| ConfigError::TokenFile {
                path: path.display().to_string(),
                problem,
            };
            let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
            let line = text.lines().next().map(str::trim).unwrap_or_default();
            if line.is_empty() {
                return Err(error("its first line is empty".into()));
            }
            Some(line.to_owned())
        }
        (None, None) => None,
    };
    match token {
        Some(token) if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(ConfigError::UnusableToken)
        }
        token => Ok(token),
    }
}

fn shard_cores(args: &Args, allowed: &[usize]) -> Result<Vec<usize>, ConfigError> {
    let cores = match &args.cores {
        Some(CoreList(cores)) => cores.clone(),
        None => allowed.to_vec(),
    };
    if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
        return Err(ConfigError::ForbiddenCore { core: *core, allowed: allowed.to_vec() });
    }
    let shards = args.shards.unwrap_or(cores.len());
    if !(1..=MAX_SHARDS).contains(&shards) {
        return Err(ConfigError::OutOfBounds {
            option: "shards",
            value: shards,
            problem: format!("must be within 1 and {MAX_SHARDS}"),
        });
    }
    // More shards than cores: the cores are used in turn.
    Ok(cores.iter().copied().cycle().take(shards).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &[&str]) -> Result<Config, ConfigError> {
        let args = Args::try_parse_from(std::iter::once(&"monoport").chain(options));
        Config::new(args.expect("the options parse"), &[0, 1])
    }

    #[test]
    fn http_for_others_needs_a_token_or_an_explicit_no() {
        let open = ["--http", "0.0.0.0:7880"];
        let error = config(&open).expect_err("anybody could publish");
        assert!(error.to_string().contains("--no-auth"), "{error}");
        assert!(config(&[&open[..], &["--token", "secret"]].concat()).is_ok());
        assert!(config(&[&open[..], &["--no-auth"]].concat()).is_ok());
        assert!(config(&["--http", "[::1]:7880"]).is_ok());
        assert_eq!(config(&["--token", ""]).err(), Some(ConfigError::UnusableToken));
    }

    #[test]
    fn shards_are_pinned_to_the_cores_in_turn() {
        assert_eq!(config(&[]).map(|c| c.shard_cores), Ok(vec![0, 1]));
        assert_eq!(config(&["--shards", "5"]).map(|c| c.shard_cores), Ok(vec![0, 1, 0, 1, 0]));
        assert_eq!(config(&["--cores", "1"]).map(|c| c.shard_cores), Ok(vec![1]));
        assert!(matches!(config(&["--cores", "0-3"]), Err(ConfigError::ForbiddenCore { .. })));
        assert!(matches!(config(&["--shards", "0"]), Err(ConfigError::OutOfBounds { .. })));
    }

    #[test]
    fn ports_are_one_a_range_or_a_list() {
        let ports = |text: &str| text.parse::<PortList>().map(|ports| ports.0);
        assert_eq!(ports("7882"), Ok(vec![7882]));
        assert_eq!(ports("7882-7884,3478"), Ok(vec![7882, 7883, 7884, 3478]));
        for wrong in ["", "x", "7884-7882", "1-1000", "7882,7882", "70000"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
        let several = ["--udp-port", "1-2", "--announce", "198.51.100.7:99"];
        assert!(matches!(config(&several), Err(ConfigError::AnnouncedPort(..))));
    }

    #[test]
    fn announced_addresses_may_carry_a_port() {
        let parse = |text: &str| text.parse::<Announced>();
        let v4 = IpAddr::from([198, 51, 100, 7]);
        assert_eq!(parse("198.51.100.7"), Ok(Announced { ip: v4, port: None }));
        assert_eq!(parse("198.51.100.7:99"), Ok(Announced { ip: v4, port: Some(99) }));
        assert_eq!(parse("[2001:db8::1]:99").map(|a| a.port), Ok(Some(99)));
        assert_eq!(parse("2001:db8::1").map(|a| a.port), Ok(None));
        assert!(parse("example.org").is_err());
    }

    #[test]
    fn the_kernel_drops_only_where_it_steers() {
        let refused = config(&["--kernel-drop", "--steering", "hash"]).err();
        assert_eq!(refused, Some(ConfigError::DropWithoutSteering));
        assert!(config(&["--kernel-drop"]).is_ok_and(|config| config.kernel_drop));
        assert!(config(&[]).is_ok_and(|c| !c.kernel_drop && c.steering == SteerBy::Auto));
    }
}
