//! Bounds of DTLS, as far as they are not the libraries' own.

use std::time::Duration;

/// The longest ClientHello that is read: Chromium's is 1,413 bytes, of which 1,216 are a
/// post-quantum key, and the largest key in the drafts has 1,665.
pub const MAX_HELLO_BYTES: usize = 4_096;

/// Bytes of datagrams kept per session until its ClientHello is whole: twice the longest, for what
/// is sent again. With more the handshake goes to the library that takes all kinds of clients.
pub const MAX_HELLO_HELD_BYTES: usize = 2 * MAX_HELLO_BYTES;

/// How often OpenSSL is asked whether a flight must be sent again. It measures the time itself: a
/// second at first, then twice as long each time (RFC 6347 §4.2.4.1).
pub const OPENSSL_LOOK: Duration = Duration::from_millis(250);

/// Datagrams that wait to be taken from OpenSSL: its longest flight has five records, of a datagram
/// at most each but for the certificate.
pub const MAX_OPENSSL_WAITING: usize = 32;

/// RSA keys of clients, in bits: fewer have less than the 112 bits of security that NIST SP 800-57
/// wants, and more cost the shard's core milliseconds to verify.
pub const RSA_BITS: std::ops::RangeInclusive<u32> = 2_048..=8_192;

/// The longest output of a DTLS library that is taken in one piece: a peer's certificate of 16 KB
/// is more than anybody's, and its own flights come in datagrams.
pub const MAX_DTLS_OUTPUT: usize = 16 * 1024;

/// Bytes that the DTLS of a session keeps once its handshake is over: 3.4 KB of dimpl's own and
/// some 5.6 on the heap, counted by its allocations. OpenSSL, which few clients get, keeps more.
pub const DTLS_SESSION_BYTES: usize = 9 * 1_024;
