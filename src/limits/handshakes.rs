//! Bounds of what connects: its answer and its DTLS.

/// Answers kept for the next offer of the kind. A browser has a kind for each of its versions and
/// systems, times the codecs of streams and the ports.
pub const MAX_TEMPLATES: usize = 256;

/// What each may take: the text of the answer, and what the shard gets. Browsers publish with
/// fifteen codecs, in some 8 KB.
pub const TEMPLATE_BYTES: usize = 16 * 1_024;

/// Lists of codecs that are kept for the next session that has the same: a kind of client has one
/// or two.
pub const MAX_LISTS_ALIKE: usize = 32;

/// Fingerprints of one offer that are compared: a client has one certificate, and two where it is
/// about to change it.
pub const MAX_FINGERPRINTS: usize = 4;

/// Datagrams of DTLS handshakes taken in in one turn: two make a handshake, and each costs the
/// elliptic curves of its half, 100 µs. Media waits for 0.8 ms at most.
pub const HANDSHAKE_DATAGRAMS_PER_TURN: usize = 8;

/// Datagrams of handshakes that may wait in one shard. At 100 µs each the last one waits for a
/// tenth of a second, a tenth of the time after which its peer sends it again (RFC 6347 §4.2.4.1).
pub const MAX_HANDSHAKE_DATAGRAMS_WAITING: usize = 1_024;

/// And of one session: several flights, also with a certificate that is cut into five, so that one
/// peer leaves room for 63 others.
pub const MAX_HANDSHAKE_DATAGRAMS_OF_SESSION: usize = 16;

const _: () = assert!(
    MAX_HANDSHAKE_DATAGRAMS_OF_SESSION <= MAX_HANDSHAKE_DATAGRAMS_WAITING / 64,
    "a few peers that only send hellos must not keep a join storm out"
);

/// The longest of them: handshakes are cut to what a path of 1,500 bytes carries (RFC 6347 §4.1.1).
pub const MAX_HANDSHAKE_DATAGRAM: usize = 2_048;
