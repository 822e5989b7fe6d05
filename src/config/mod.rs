//! The command line and the environment, parsed into a [`Config`] that can't be wrong.

mod access;
mod addresses;
mod args;
mod cluster;
mod cores;
mod error;
mod file;
mod frames;
mod hooks;
mod ice_servers;
mod lists;
mod printed;
mod udp_ports;
mod values;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use access::{Access, AccessArgs};
pub use addresses::{AddressFilter, Announced, Cidr, Host, InterfaceName, PortList};
pub use args::{
    Args, CheckArgs, Cli, CodecMatch, Command, HelpArgs, Io, OnConflict, OnOff, PortsArgs, SteerBy,
    TopArgs,
};
pub use cluster::{Cluster, ClusterArgs, ClusterSecrets, ClusterUrl, NodeName};
pub use cores::CoreList;
pub use error::ConfigError;
pub use file::{CommandLine, Origin, ReadError, command};
pub use frames::FrameAncestor;
pub use hooks::{HookArgs, Hooks};
pub use ice_servers::{IceServer, IceServers, StunServer};
pub use lists::{PlaceArgs, Places};
pub use printed::printed;
pub use udp_ports::{PortCount, PortRange, UdpPorts};

use crate::limits::MAX_SESSIONS_PER_SHARD;
use cores::shard_cores;

/// Where HTTPS has its secrets from.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain as PEM.
    pub cert: PathBuf,
    /// The private key as PEM.
    pub key: PathBuf,
}

/// Validated options.
#[derive(Clone, Debug)]
pub struct Config {
    /// The UDP ports.
    pub udp: UdpPorts,
    /// The TCP port of media, if there is one.
    pub tcp_port: Option<u16>,
    /// Where they are bound; `None` for every address.
    pub bind: Option<IpAddr>,
    /// Addresses for answers; empty for those of the interfaces.
    pub announce: Vec<Announced>,
    /// STUN servers that say what to announce, when nothing is announced.
    pub external_ip: Vec<StunServer>,
    /// STUN and TURN servers for clients.
    pub ice_servers: IceServers,
    /// Which of the interfaces' addresses answers may name.
    pub filter: AddressFilter,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// The certificate of HTTPS and its key; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Who may do what.
    pub access: Access,
    /// Who is told what happens.
    pub hooks: Hooks,
    /// Other nodes.
    pub cluster: Cluster,
    /// Who may show the player in a frame; everybody may when there are none.
    pub frame_ancestors: Vec<FrameAncestor>,
    /// One per shard: the core it is pinned to.
    pub shard_cores: Vec<usize>,
    /// Sessions at a time.
    pub max_sessions: usize,
    /// Sessions at a time that have not connected.
    pub max_connecting: usize,
    /// The same of one address, or IPv6 /64.
    pub max_connecting_per_ip: usize,
    /// POSTs a second from one address, or IPv6 /64; 0 is no limit.
    pub post_rate_per_ip: u32,
    /// POSTs a second with one token; 0 is no limit.
    pub post_rate_per_token: u32,
    /// Sessions a shard may have more than the emptiest one, so that viewers are with their
    /// publisher.
    pub gather: usize,
    /// What a POST to a stream does that somebody publishes.
    pub on_conflict: OnConflict,
    /// Whether viewers may come before there is a publisher.
    pub whep_wait: bool,
    /// What all paths begin with; empty at the root.
    pub base_path: String,
    /// How strictly a viewer's H.264 must be the stream's.
    pub codec_match: CodecMatch,
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
    /// Whether viewers get the layers that their paths carry.
    pub adapts: bool,
    /// How long a packet may wait for its frame.
    pub hold: Duration,
    /// How long a session may take to connect.
    pub setup_timeout: Duration,
    /// How long sessions may go on after a signal to stop.
    pub drain_timeout: Duration,
    /// Whether the running server's place is taken.
    pub takeover: bool,
    /// Where this server can be taken over, and the running one; nowhere when not known.
    pub takeover_socket: Option<PathBuf>,
    /// How long a shard spins before it sleeps.
    pub busy_poll: Duration,
    /// The least time between the beginnings of two turns of a shard under load; `None` goes by the
    /// load.
    pub wake_gap: Option<Duration>,
    /// SO_RCVBUF asked for.
    pub receive_buffer: usize,
    /// SO_SNDBUF asked for.
    pub send_buffer: usize,
    /// Threads for HTTP and SDP.
    pub control_threads: usize,
    /// Whether the log says who clients are.
    pub log_addresses: bool,
    /// Whether answers say `a=ice-lite`.
    pub say_ice_lite: bool,
    /// Where all of this was read from, where it can be read again.
    pub origin: Option<Origin>,
}

impl Config {
    /// Validates `args` for a process that may use `allowed_cores`.
    ///
    /// # Errors
    /// [`ConfigError`] says what to change.
    pub fn new(args: Args, allowed_cores: &[usize]) -> Result<Config, ConfigError> {
        let access = Access::read(&args.access, args.http)?;
        let hooks = Hooks::read(&args.hooks)?;
        let cluster = Cluster::read(&args.cluster)?;
        if args.kernel_drop && args.steering == SteerBy::Hash {
            return Err(ConfigError::DropWithoutSteering);
        }
        let udp = UdpPorts::new(&args)?;
        let filter = address_filter(&args, &udp)?;
        let ice_servers = IceServers::new(&args)?;
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
            udp,
            tcp_port: (!args.no_tcp).then_some(args.tcp_port),
            bind: args.bind,
            announce: args.announce,
            external_ip: args.external_ip,
            ice_servers,
            filter,
            http: args.http,
            tls: args.tls_cert.zip(args.tls_key).map(|(cert, key)| TlsFiles { cert, key }),
            access,
            hooks,
            cluster,
            frame_ancestors: args.frame_ancestors,
            shard_cores,
            max_sessions: args.max_sessions,
            max_connecting: args.max_connecting,
            max_connecting_per_ip: args.max_connecting_per_ip,
            post_rate_per_ip: args.post_rate_per_ip,
            post_rate_per_token: args.post_rate_per_token,
            gather: args.gather,
            on_conflict: args.on_conflict,
            whep_wait: args.whep_wait,
            base_path: args.base_path,
            codec_match: args.codec_match,
            io: args.io,
            steering: args.steering,
            kernel_drop: args.kernel_drop,
            batch: usize::from(args.batch),
            gro: args.gro,
            gso: args.gso,
            adapts: args.adapt == OnOff::On,
            hold: Duration::from_micros(u64::from(args.train_us)),
            setup_timeout: Duration::from_secs(args.setup_timeout),
            drain_timeout: Duration::from_secs(args.drain_timeout),
            takeover: args.takeover,
            takeover_socket: args.takeover_socket,
            busy_poll: Duration::from_micros(u64::from(args.busy_poll_us)),
            wake_gap: args.wake_us.0,
            receive_buffer: args.receive_buffer,
            send_buffer: args.send_buffer,
            control_threads: usize::from(args.control_threads),
            log_addresses: args.log_addresses == OnOff::On,
            say_ice_lite: args.say_ice_lite,
            origin: None,
        })
    }

    /// The same, which can be read again from `origin`.
    #[must_use]
    pub fn read_from(self, origin: Origin) -> Config {
        Config { origin: Some(origin), ..self }
    }

    /// Files that what may change while the server runs was read from.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let tls = self.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
        let secrets = self.cluster.secret_file.iter();
        let named = self.access.files().chain(self.hooks.files()).chain(tls).chain(secrets);
        let named = named.cloned();
        let config = self.origin.as_ref().and_then(Origin::file).map(PathBuf::from);
        named.chain(config).collect()
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
    /// alone where the host has no IPv6 or shall not use it.
    #[must_use]
    pub fn bind_candidates(&self) -> Vec<IpAddr> {
        let (v6, v4) = (Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into());
        match self.bind {
            Some(ip) => vec![ip],
            None if self.filter.no_ipv6 => vec![v4],
            None => vec![v6, v4],
        }
    }

    /// Where the server can be taken over unless it was said: in the service manager's folder for
    /// the unit, or in /run/monoport, under the port of HTTP, of which there is one a server.
    pub fn find_takeover_socket(&mut self) {
        let port = self.http.port();
        if self.takeover_socket.is_some() || port == 0 {
            return;
        }
        // Of several folders the first is the one (systemd.exec(5)).
        let unit = std::env::var("RUNTIME_DIRECTORY").ok();
        let unit = unit.as_deref().and_then(|folders| folders.split(':').next());
        let folder = PathBuf::from(unit.filter(|folder| !folder.is_empty()).unwrap_or(RUN));
        if folder.is_dir() {
            self.takeover_socket = Some(folder.join(format!("takeover-{port}")));
        }
    }

    /// Whether clients are served over IPv4 alone.
    #[must_use]
    pub fn ipv4_only(&self) -> bool {
        self.filter.no_ipv6 || self.bind.is_some_and(|ip| ip.is_ipv4())
    }
}

/// Where a system service keeps its sockets.
const RUN: &str = "/run/monoport";

/// What of the interfaces is announced, with the options that contradict one another refused.
fn address_filter(args: &Args, udp: &UdpPorts) -> Result<AddressFilter, ConfigError> {
    let ports = udp.range.map_or(udp.possible_mux().len(), |range| range.count());
    if let Some(announced) = args.announce.iter().find(|announced| announced.port.is_some())
        && ports > 1
    {
        return Err(ConfigError::AnnouncedPort(announced.to_string(), ports));
    }
    let is_v6 = |announced: &&Announced| matches!(announced.host, Host::Ip(IpAddr::V6(_)));
    if args.no_ipv6 {
        let bound = args.bind.filter(IpAddr::is_ipv6).map(|ip| format!("--bind {ip}"));
        let announced = args.announce.iter().find(is_v6).map(|a| format!("--announce {a}"));
        if let Some(option) = bound.or(announced) {
            return Err(ConfigError::WithoutIpv6(option));
        }
    }
    let filter = AddressFilter {
        interfaces: args.interfaces.clone(),
        excluded: args.exclude_interfaces.clone(),
        networks: args.ips.clone(),
        no_ipv6: args.no_ipv6,
    };
    match args.bind.filter(|ip| !ip.is_unspecified()) {
        Some(ip) if filter.selects() || !filter.excluded.is_empty() => {
            Err(ConfigError::FilterWithBind(ip, filter.options()))
        }
        _ => Ok(filter),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

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
        assert!(config(&[&open[..], &["--watch-token", "w"]].concat()).is_err());
        for token in ["--token", "--publish-token"] {
            assert!(config(&[&open[..], &[token, "secret"]].concat()).is_ok());
        }
        let given = ["--token", "both", "--watch-token", "w"];
        let access = config(&[&open[..], &given].concat()).expect("it is guarded").access;
        assert_eq!((access.publish.as_deref(), access.watch.as_deref()), (Some("both"), Some("w")));
        assert!(config(&[&open[..], &["--no-auth"]].concat()).is_ok());
        assert!(config(&["--http", "[::1]:7880"]).is_ok());
        assert_eq!(config(&["--token", ""]).err(), Some(ConfigError::UnusableToken));
        let admin = config(&["--admin-token", "two words"]);
        assert_eq!(admin.err(), Some(ConfigError::UnusableToken));
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
    fn options_about_addresses_do_not_contradict_one_another() {
        let announced = ["--announce", "media.example.org:99"];
        let several = [&["--udp-port", "1-2"], &announced[..]].concat();
        let error = config(&several).expect_err("which port would it be?").to_string();
        assert!(error.contains("media.example.org:99") && error.contains("2 UDP ports"), "{error}");
        let v6 = config(&["--no-ipv6", "--announce", "192.0.2.1,2001:db8::1"]);
        assert_eq!(v6.err(), Some(ConfigError::WithoutIpv6("--announce 2001:db8::1".into())));
        let v6 = config(&["--no-ipv6", "--bind", "::"]);
        assert_eq!(v6.err(), Some(ConfigError::WithoutIpv6("--bind ::".into())));
        let bound = config(&["--bind", "192.0.2.1", "--interfaces", "eth0"]);
        assert!(matches!(bound, Err(ConfigError::FilterWithBind(..))));
        assert!(config(&["--bind", "0.0.0.0", "--interfaces", "eth0"]).is_ok());
        for filter in [["--interfaces", "a"], ["--exclude-interfaces", "a"], ["--ips", "::/0"]] {
            let both = ["monoport", "--announce", "192.0.2.1"].iter().chain(&filter);
            let error = Args::try_parse_from(both).expect_err("--announce is all there is");
            assert!(error.to_string().contains("cannot be used with"), "{error}");
        }
    }

    #[test]
    fn ipv6_is_served_unless_it_is_declined() {
        let bound = |options: &[&str]| config(options).expect("they are valid").bind_candidates();
        let (v6, v4) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert_eq!(bound(&[]), [v6, v4]);
        assert_eq!(bound(&["--no-ipv6"]), [v4]);
    }

    #[test]
    fn a_command_takes_the_flags_of_the_server_and_no_command_starts_it() {
        let parse = |words: &[&str]| {
            Cli::try_parse_from(std::iter::once(&"monoport").chain(words)).expect("it parses")
        };
        let cli = parse(&["--udp-port", "7000"]);
        assert!(cli.command.is_none() && cli.args.udp_port == Some(PortList(vec![7000])));
        let Some(Command::Ports(ports)) = parse(&["ports", "--udp-port", "7000", "--nft"]).command
        else {
            panic!("it is the command")
        };
        assert!(ports.nft && ports.args.udp_port == Some(PortList(vec![7000])));
        assert!(matches!(parse(&["check", "--shards", "2"]).command, Some(Command::Check(_))));
        assert!(Cli::try_parse_from(["monoport", "--shards", "2", "check"]).is_err());
    }

    #[test]
    fn the_kernel_drops_only_where_it_steers() {
        let refused = config(&["--kernel-drop", "--steering", "hash"]).err();
        assert_eq!(refused, Some(ConfigError::DropWithoutSteering));
        assert!(config(&["--kernel-drop"]).is_ok_and(|config| config.kernel_drop));
        assert!(config(&[]).is_ok_and(|c| !c.kernel_drop && c.steering == SteerBy::Auto));
    }
}
