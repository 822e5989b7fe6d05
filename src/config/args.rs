//! The command line and the environment, as they are written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::access::AccessArgs;
use super::addresses::{Announced, Cidr, InterfaceName, PortList};
use super::cluster::ClusterArgs;
use super::cores::CoreList;
use super::frames::FrameAncestor;
use super::hooks::HookArgs;
use super::ice_servers::{IceServer, StunServer};
use super::udp_ports::{PortCount, PortRange};
use super::values::{WakeGap, at_least_one, base_path, http_address, one_port, server_url};
use crate::limits::{
    GATHERED_SESSIONS, MAX_CONNECTING, MAX_CONNECTING_PER_SOURCE, MAX_DRAIN_TIMEOUT,
    MAX_SETUP_TIMEOUT, MAX_TURN_TTL, POSTS_PER_SOURCE, SETUP_TIMEOUT, TURN_TTL,
};
use crate::telemetry::LogFormat;

const AFTER_HELP: &str =
    "`monoport help` lists the topics of the manual, `monoport help TOPIC` shows one.";

/// A WebRTC media server: WHIP in, WHEP out, one UDP port, every core.
#[derive(Clone, Debug, Parser)]
#[command(name = "monoport", version, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do; the server is started when not given.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Print what the options come to and who says so, as a file for --config, and exit
    #[arg(long)]
    pub print_config: bool,

    /// How the server is started.
    #[command(flatten)]
    pub args: Args,
}

/// What to do other than starting the server.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print every port and address the server would use with the same flags
    Ports(Box<PortsArgs>),
    /// Look at this host: what is fit for the server, what is not, and the command that fixes it
    Check(Box<CheckArgs>),
    /// Watch a running server: rates, latency, ports, shards, sessions, drops and failures
    Top(TopArgs),
    /// Show a topic of the manual, or list them
    Help(HelpArgs),
}

/// The arguments of `monoport help`.
#[derive(Clone, Debug, clap::Args)]
pub struct HelpArgs {
    /// The topic, or the name of a command; all are listed when not given
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}

/// The flags of `monoport top`.
#[derive(Clone, Debug, clap::Args)]
pub struct TopArgs {
    /// Where the server's HTTP is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7880")]
    #[arg(value_parser = server_url)]
    pub url: String,

    /// The server's admin token
    #[arg(long, value_name = "TOKEN", env = "MONOPORT_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,

    /// A file whose first line is the admin token
    #[arg(long, value_name = "FILE", conflicts_with = "admin_token")]
    pub admin_token_file: Option<PathBuf>,

    /// Print one snapshot as text and exit, as is done where no terminal is
    #[arg(long)]
    pub once: bool,

    /// Begin with the nodes of the server's cluster; a snapshot is of those alone
    #[arg(long)]
    pub cluster: bool,
}

/// The flags of `monoport ports`.
#[derive(Clone, Debug, clap::Args)]
pub struct PortsArgs {
    /// Print JSON
    #[arg(long, conflicts_with = "nft")]
    pub json: bool,

    /// Print rules for `nft -f -`, for the chain `input` of the table `inet filter`
    #[arg(long)]
    pub nft: bool,

    /// Print the ports of the nodes of --cluster that are alive instead, or of the one that --node
    /// names; rules are then for the chain `forward` of a firewall in front of them
    #[arg(long)]
    pub nodes: bool,

    /// How the server would be started.
    #[command(flatten)]
    pub args: Args,
}

/// The flags of `monoport check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Look at a running server from here instead: whether each address it announces answers
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub peer: Option<String>,

    /// Have this other node of the cluster look at it, which needs --admin-token
    #[arg(long, value_name = "NODE", requires = "peer")]
    pub from: Option<String>,

    /// How the server would be started.
    #[command(flatten)]
    pub args: Args,
}

/// A WebRTC media server: WHIP in, WHEP out, one UDP port, every core.
#[derive(Clone, Debug, Parser)]
#[command(name = "monoport", version, about)]
pub struct Args {
    /// A file of options in TOML, by the names of the flags; a flag or its variable counts before
    /// it
    #[arg(long, value_name = "FILE", env = "MONOPORT_CONFIG")]
    pub config: Option<PathBuf>,

    /// The UDP port of all media, or several as in 7882-7891 or 7882,3478 [default: 7882]
    #[arg(long, value_name = "PORT,…", env = "MONOPORT_UDP_PORT")]
    pub udp_port: Option<PortList>,

    /// Give each session a UDP port of its own, out of these, as in 50000-60000
    #[arg(
        long,
        value_name = "FIRST-LAST",
        conflicts_with = "udp_port",
        env = "MONOPORT_PORT_RANGE"
    )]
    pub port_range: Option<PortRange>,

    /// Let the number of mux ports follow the load, as in 1-8; they count up from --udp-port
    #[arg(long, value_name = "MIN-MAX", conflicts_with = "port_range")]
    pub ports_auto: Option<PortCount>,

    /// The TCP port of media, for clients whose network lets no UDP through (ICE-TCP)
    #[arg(long, value_name = "PORT", default_value_t = 7881, env = "MONOPORT_TCP_PORT")]
    #[arg(value_parser = one_port)]
    pub tcp_port: u16,

    /// Serve media over UDP alone
    #[arg(long)]
    pub no_tcp: bool,

    /// The address the UDP port is bound to, and the TCP port; every address of both families when
    /// not given
    #[arg(long, value_name = "IP", env = "MONOPORT_BIND")]
    pub bind: Option<IpAddr>,

    /// Addresses put into answers, in this order, instead of those of the interfaces; names are
    /// looked up at the start
    #[arg(long, value_name = "HOST[:PORT],…", value_delimiter = ',', env = "MONOPORT_ANNOUNCE")]
    pub announce: Vec<Announced>,

    /// STUN servers that are asked at the start under which address the UDP port is seen outside
    #[arg(long, value_name = "stun:HOST[:PORT],…", value_delimiter = ',')]
    #[arg(conflicts_with = "announce", env = "MONOPORT_EXTERNAL_IP")]
    pub external_ip: Vec<StunServer>,

    /// TURN and STUN servers for clients, as in turn:HOST:PORT?transport=udp
    #[arg(long, value_name = "URI,…", value_delimiter = ',', env = "MONOPORT_TURN_SERVER")]
    pub turn_server: Vec<IceServer>,

    /// The secret shared with the TURN servers (coturn: use-auth-secret)
    #[arg(long, value_name = "SECRET", env = "MONOPORT_TURN_SECRET", hide_env_values = true)]
    pub turn_secret: Option<String>,

    /// A file whose first line is that secret
    #[arg(long, value_name = "FILE", conflicts_with = "turn_secret")]
    pub turn_secret_file: Option<PathBuf>,

    /// How long TURN credentials are good for, in seconds
    #[arg(long, value_name = "S", default_value_t = TURN_TTL.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_TURN_TTL.as_secs()))]
    pub turn_ttl: u64,

    /// Interfaces whose addresses are put into answers, as in eth0,wlan*; all when not given
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "announce")]
    pub interfaces: Vec<InterfaceName>,

    /// Interfaces whose addresses are not, as in docker*,veth*
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "announce")]
    pub exclude_interfaces: Vec<InterfaceName>,

    /// Networks the interfaces' addresses must be in, as in 192.0.2.0/24
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', conflicts_with = "announce")]
    pub ips: Vec<Cidr>,

    /// Serve IPv4 alone
    #[arg(long)]
    pub no_ipv6: bool,

    /// The address of HTTP: WHIP, WHEP, the pages and the metrics
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7880", env = "MONOPORT_HTTP")]
    #[arg(value_parser = http_address)]
    pub http: SocketAddr,

    /// Serve HTTPS, with the certificate chain in this file (PEM); read again when it changes, and
    /// on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The file with the certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Who may do what.
    #[command(flatten)]
    pub access: AccessArgs,

    /// Who is told what happens.
    #[command(flatten)]
    pub hooks: HookArgs,

    /// Other nodes.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Who may show the player at /embed/NAME in a frame: `https://example.org`, self, none; all
    /// may when not given
    #[arg(long, value_name = "ORIGIN,…", value_delimiter = ',')]
    pub frame_ancestors: Vec<FrameAncestor>,

    /// Shards: threads that each serve a share of the sessions; one per core when not given
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,

    /// Cores the shards are pinned to, in turn, as in 0,2-5; all that are allowed when not given
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,

    /// Sessions at a time; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub max_sessions: usize,

    /// Sessions at a time that are answered and not connected; more are answered 503
    #[arg(long, value_name = "N", default_value_t = MAX_CONNECTING)]
    #[arg(value_parser = at_least_one)]
    pub max_connecting: usize,

    /// The same from one address, or one IPv6 /64; more are answered 429
    #[arg(long, value_name = "N", default_value_t = MAX_CONNECTING_PER_SOURCE)]
    #[arg(value_parser = at_least_one)]
    pub max_connecting_per_ip: usize,

    /// POSTs a second to WHIP and WHEP from one address, or one IPv6 /64, and four times as many at
    /// once; more are answered 429; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = POSTS_PER_SOURCE)]
    pub post_rate_per_ip: u32,

    /// The same with one token
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub post_rate_per_token: u32,

    /// Sessions a shard may have more than the emptiest one, so that viewers are on the shard of
    /// their publisher; 0 spreads them evenly
    #[arg(long, value_name = "N", default_value_t = GATHERED_SESSIONS)]
    pub gather: usize,

    /// What a POST to a stream does that somebody publishes
    #[arg(long, value_enum, default_value_t = OnConflict::Replace)]
    pub on_conflict: OnConflict,

    /// Let viewers come before there is a publisher: they wait for it, connected
    #[arg(long)]
    pub whep_wait: bool,

    /// The path that everything is served under, as behind a proxy that leaves it on: /live
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = base_path)]
    pub base_path: String,

    /// Which viewers fit a stream of H.264
    #[arg(long, value_enum, default_value_t = CodecMatch::Lenient)]
    pub codec_match: CodecMatch,

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

    /// Give each viewer the simulcast layers that its path carries; off, all get the best
    #[arg(long, value_enum, default_value_t = OnOff::On)]
    pub adapt: OnOff,

    /// The longest a packet waits for the rest of its frame, in microseconds
    #[arg(long, value_name = "US", default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=50_000))]
    pub train_us: u32,

    /// End a session that has not connected after this many seconds
    #[arg(long, value_name = "S", default_value_t = SETUP_TIMEOUT.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_SETUP_TIMEOUT.as_secs()))]
    pub setup_timeout: u64,

    /// On SIGTERM or Ctrl-C, take no new sessions and wait this many seconds for those there are to
    /// end by themselves; a second signal ends the wait
    #[arg(long, value_name = "S", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=MAX_DRAIN_TIMEOUT.as_secs()))]
    pub drain_timeout: u64,

    /// Take the place of the running server: its sockets, and all new sessions; those it has stay
    /// with it until they end
    #[arg(long)]
    pub takeover: bool,

    /// Where a server can be taken over; $RUNTIME_DIRECTORY/takeover-PORT or
    /// /run/monoport/takeover-PORT, with the port of HTTP, when not given and the folder is there
    #[arg(long, value_name = "PATH", env = "MONOPORT_TAKEOVER_SOCKET")]
    pub takeover_socket: Option<PathBuf>,

    /// Spin this long before sleeping, in microseconds: less latency for a busy core
    #[arg(long, value_name = "US", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub busy_poll_us: u32,

    /// Under load, let datagrams wait this long so that one turn of a shard handles several, in
    /// microseconds; auto rests for up to 1,000 once a shard has used a quarter of its core
    #[arg(long, value_name = "US|auto", default_value = "auto")]
    pub wake_us: WakeGap,

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

    /// Keep the line a=ice-lite in answers, at the price of 50 ms per join (see `monoport help
    /// network`)
    #[arg(long)]
    pub say_ice_lite: bool,

    /// Log filter, as in info or monoport=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "MONOPORT_LOG")]
    pub log: String,

    /// Whether the log says from which address, and by which program, a session is set up
    #[arg(long, value_enum, default_value_t = OnOff::On)]
    pub log_addresses: OnOff,

    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "MONOPORT_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// It does
    On,
    /// It does not
    Off,
}

/// What becomes of a publisher when another one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// Take over as soon as the newcomer's first media is there
    Replace,
    /// Answer 409 for as long as media comes from the one there is
    Refuse,
}

/// How strictly a viewer's H.264 must be the stream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CodecMatch {
    /// Any that may be packed alike, the best first
    Lenient,
    /// The same profile
    Strict,
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
