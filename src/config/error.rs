//! What can be wrong with the options.

use std::net::{IpAddr, SocketAddr};

use crate::limits::MAX_TOKEN_BYTES;

/// What is wrong with the options, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// HTTP is open to others and nobody is asked for a token to publish.
    #[error(
        "HTTP on {0} can be reached from other machines, who could publish: pass --token (or \
         MONOPORT_TOKEN, or --token-file), --publish-token or --auth-url, or --no-auth to serve \
         everybody"
    )]
    OpenWithoutToken(SocketAddr),
    /// The token file can't be read or is empty.
    #[error("the file {path}, whose first line is a token or a secret: {problem}")]
    TokenFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The file of keys can't be read or holds none.
    #[error("the file of --jwt-key-file, {path}: {problem}")]
    JwtKeyFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The file of the cluster's secret can't be read, or nobody should sign with what it holds.
    #[error("the file of --cluster-secret-file, {path}: {problem}")]
    ClusterSecretFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The file of certificate authorities can't be read or holds none.
    #[error("the file of --hook-ca-file, {path}: {problem}")]
    HookCaFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of networks can't be read.
    #[error("the list of networks {path}: {problem}")]
    ListFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A token that nobody could send or anybody could guess.
    #[error(
        "a token is empty, longer than {MAX_TOKEN_BYTES} characters, or has some that a header \
         can't carry; use visible ASCII"
    )]
    UnusableToken,
    /// A relay lets in nobody without credentials.
    #[error(
        "--turn-server {0} relays for those with credentials: pass --turn-secret (or \
         MONOPORT_TURN_SECRET, or --turn-secret-file), the secret that the TURN server has"
    )]
    TurnWithoutSecret(String),
    /// A secret and nothing to use it for.
    #[error("--turn-secret is for TURN servers: pass --turn-server turn:HOST, or go without it")]
    SecretWithoutTurn,
    /// Anybody could guess it.
    #[error("the secret of --turn-secret or --turn-secret-file is empty")]
    EmptyTurnSecret,
    /// The file with the secret can't be read.
    #[error("the file of --turn-secret-file, {path}: {problem}")]
    TurnSecretFile {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Only the steering program knows which flows are known.
    #[error("--kernel-drop needs the kernel to steer: drop --steering hash or --kernel-drop")]
    DropWithoutSteering,
    /// An outside port can stand for one inside port only.
    #[error(
        "--announce {0} names a port, but there are {1} UDP ports: announce the address alone, or \
         use one UDP port"
    )]
    AnnouncedPort(String, usize),
    /// Options that make no sense with a port per session.
    #[error("--port-range and {0} exclude one another: {1}; drop the one or the other")]
    RangeExcludes(&'static str, &'static str),
    /// Ports that come with load count up from one.
    #[error("--ports-auto counts up from one UDP port, and --udp-port names {0}: name one")]
    AutoFrom(usize),
    /// There are not as many ports.
    #[error("--ports-auto: there are no {1} ports from {0} on; pass a lower --udp-port")]
    AutoBeyond(u16, usize),
    /// A bound address is the only one there is to choose from.
    #[error("--bind {0} names the address already: go without {1}")]
    FilterWithBind(IpAddr, String),
    /// IPv6 is left out and asked for.
    #[error("--no-ipv6 leaves no room for {0}: drop the one or the other")]
    WithoutIpv6(String),
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
