//! Bounds of what comes over HTTP.

use std::time::Duration;

/// Headers a page may ask leave to send, in bytes of their list.
pub const MAX_REQUESTED_HEADERS_BYTES: usize = 1_024;

/// The longest prefix of paths (`--base-path`, `X-Forwarded-Prefix`).
pub const MAX_PREFIX_BYTES: usize = 128;

/// Event channels of one session: a player has one, and may make another before it closes it.
pub const MAX_CHANNELS_PER_SESSION: usize = 4;

/// The longest list of events a player may ask for.
pub const MAX_EVENTS_BODY_BYTES: usize = 4 * 1024;

/// The longest bearer token: a JSON Web Token with some claims and an EdDSA or ECDSA signature has
/// some 500 characters.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// The longest query of a URL that is handed on to the authorization service.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;

/// Connections of HTTP at a time, where there are descriptors for them; half of them from one
/// source, which may be a proxy.
pub const MAX_HTTP_CONNECTIONS: usize = 4_096;

/// How long a client may take for the head of a request, and may keep a connection without one.
pub const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take for the body of a request.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read of a request before somebody wants it: the longest head there may be.
pub const MAX_HTTP_BUFFER: usize = 64 * 1024;

/// Keys that JSON Web Tokens may be made with: two while one follows the other, for some issuers.
/// A token that names none is tried with each.
pub const MAX_JWT_KEYS: usize = 16;

/// The shortest secret of HS256: as long as its hash (RFC 7518 §3.2).
pub const MIN_JWT_SECRET_BYTES: usize = 32;

/// How far the clocks of who makes a token and of this server may be apart.
pub const JWT_LEEWAY: Duration = Duration::from_secs(10);

/// The longest file of keys or secrets: a set of [`MAX_JWT_KEYS`] keys, with certificates beside.
pub const MAX_SECRET_FILE_BYTES: u64 = 256 * 1024;

/// The longest configuration file.
pub const MAX_CONFIG_FILE_BYTES: u64 = 256 * 1024;

/// The longest file of networks, and how many it may name: lists of whole countries have some ten
/// thousand.
pub const MAX_LIST_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// How many.
pub const MAX_LISTED_NETWORKS: usize = 200_000;

/// How often files of secrets, lists and certificates are looked at. One that has changed is read
/// once it has stayed as it is from one look to the next.
pub const FILE_LOOK: Duration = Duration::from_secs(2);

/// Proxies on a request's way that are looked at for who its client is.
pub const MAX_PROXY_HOPS: usize = 16;

/// How much is kept of what a client calls itself: browsers take some 120 characters.
pub const MAX_USER_AGENT_CHARS: usize = 160;
