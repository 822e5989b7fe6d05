//! Bounds between two processes of which one takes over from the other.

use std::time::Duration;

/// Bytes of one letter: a TCP connection's first frame, or the keys and addresses of a server.
pub const TAKEOVER_LETTER_BYTES: usize = 64 << 10;

/// Descriptors that come with one letter: the kernel takes 253 (`SCM_MAX_FD`).
pub const TAKEOVER_DESCRIPTORS: usize = 128;

/// How long one process waits for a letter of the other, or for an answer to a request.
pub const TAKEOVER_LETTER: Duration = Duration::from_secs(10);

/// How long the running server waits until the one that takes over has started.
pub const TAKEOVER_START: Duration = Duration::from_secs(60);

/// How often the later process is told what the earlier one has left.
pub const TAKEOVER_TELL: Duration = Duration::from_secs(1);

/// Processes that were taken over and have sessions yet: a datagram for the first of them passes
/// through all, and each has its memory.
pub const MAX_EARLIER_PROCESSES: usize = 8;

/// How long viewers of a stream that has moved on have to reconnect by themselves: a player hears
/// of it within [`super::STREAM_LOOK`].
pub const MOVED_ON_GRACE: Duration = Duration::from_secs(5);
