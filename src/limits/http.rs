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

/// How long what waits to be sent to a client may wait, if the client takes less than
/// [`HTTP_STALL_BYTES`] of it: it does not read, and costs a connection and what waits.
pub const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client takes in that time who reads, however slowly: a bit rate of 13 kb/s.
pub const HTTP_STALL_BYTES: usize = 16 * 1024;

/// Texts of `/metrics` that may be held at a time, of some 60 KB each: those that answers still lie
/// in, which nobody has read.
pub const MAX_METRICS_TEXTS: usize = 32;

/// How many times as long as making a text has taken nobody makes another: a fifth of the time goes
/// into it at most.
pub const METRICS_PAUSE_PARTS: u32 = 4;

/// The longest such pause: a machine that is busy otherwise is scraped all the same.
pub const MAX_METRICS_PAUSE: Duration = Duration::from_millis(200);

/// How old a text may be that is given out because there is no place for a newer one.
pub const METRICS_STALE: Duration = Duration::from_secs(1);

/// Requests of the API that are answered at a time; others wait for their turn, and offers are
/// answered between them.
pub const MAX_API_READERS: usize = 2;

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

/// Clients that may listen to the API's events at a time.
pub const MAX_LISTENERS: usize = 32;
