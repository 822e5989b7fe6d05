//! Bounds of ICE over TCP, for networks that let no UDP through.

use std::time::Duration;

/// TCP connections that have not said yet which session they are for. One that means it has said so
/// within a round trip, so these are a second's worth of connections; more are closed unheard.
pub const MAX_TCP_PENDING: usize = 1_024;

/// The same from one address (IPv6: one /64): an office behind a NAT whose people all join at once.
pub const MAX_TCP_PENDING_PER_SOURCE: usize = 64;

/// How long a TCP connection may take to say which session it is for, and once more to prove it.
pub const TCP_INTRODUCTION: Duration = Duration::from_secs(5);

/// The longest first frame: a connectivity check. Browsers' have 100 to 150 B; with what may ride
/// along in an optional attribute, as a flight of DTLS does, it fills a packet.
pub const MAX_FIRST_FRAME: usize = 1_500;

/// The longest datagram taken over TCP. Peers make them for UDP, so they hold to 1,500 B; DTLS
/// libraries that look at no MTU send records of up to 4 KiB.
pub const MAX_TCP_FRAME_IN: usize = 8 * 1024;

/// TCP connections of one shard. Each is a descriptor of the process and up to
/// [`TCP_OUTBOX_BYTES`].
pub const MAX_TCP_CONNECTIONS_PER_SHARD: usize = 8_192;

/// TCP connections one session may have at a time: a browser opens one per pair of addresses.
pub const MAX_TCP_CONNECTIONS_PER_SESSION: usize = 8;

/// Datagrams with their headers that wait for a TCP connection: 1.3 s at 2.5 Mb/s with
/// [`TCP_UNSENT_BYTES`], behind which no player waits. When it is full, new datagrams are dropped
/// whole and counted.
pub const TCP_OUTBOX_BYTES: usize = 256 * 1024;

/// Of an empty outbox, what is kept for the next turn: the frames of one turn at 10 Mb/s.
pub const TCP_OUTBOX_KEPT_BYTES: usize = 32 * 1024;

/// Bytes the kernel may hold unsent per connection (`TCP_NOTSENT_LOWAT`, tcp(7)): with its default
/// it takes up to 4 MiB, 13 s of media at 2.5 Mb/s that nobody could take back. These are 0.4 s at
/// 300 kb/s; it asks for more when half of them have left.
pub const TCP_UNSENT_BYTES: u32 = 16 * 1024;

/// What a viewer may be sent in so much time may wait for its connection: what follows is sent when
/// there is room, or not at all.
pub const TCP_ROOM_TIME: Duration = Duration::from_millis(100);

/// But so many bytes in any case, which are a few packets.
pub const TCP_ROOM_LEAST: usize = 4 * 1024;

/// And no more: half of the outbox is left for sound and for reports, which do not wait.
pub const TCP_ROOM_MOST: usize = TCP_OUTBOX_BYTES / 2;

/// What the kernel takes of an outbox that is not empty is counted for so long before it says what
/// gets through.
pub const TCP_WAITED: Duration = Duration::from_millis(300);

/// How often what waits for a viewer's connection is looked at, where it was too much once.
pub const TCP_LOOK: Duration = Duration::from_millis(100);

/// Where nothing has waited for so long, a better layer is tried.
pub const TCP_FREE_FOR: Duration = Duration::from_secs(5);

/// A TCP connection that has something to send and takes not a byte of it for this long is closed.
pub const TCP_STALL: Duration = Duration::from_secs(5);

/// Bytes read from a TCP connection at once.
pub const TCP_READ_BYTES: usize = 64 * 1024;

/// Reads from TCP connections in one turn; what is left waits for the next, so that a fast sender
/// over TCP keeps nobody else waiting.
pub const TCP_READS_PER_TURN: usize = 16;

/// Connections whose changes are seen in one turn; the others' are seen in the next.
pub const TCP_EVENTS_PER_LOOK: usize = 256;

/// Frames a TCP connection may send before one of them has proved it. A browser sends a check at a
/// time and waits 50 ms for its answer.
pub const MAX_TCP_FRAMES_UNPROVED: usize = 16;

/// TCP connections the kernel completes before they are accepted: a burst of clients. More wait
/// for their SYN to be sent again (listen(2); `net.core.somaxconn`, 4,096 by default, caps it).
pub const TCP_BACKLOG: i32 = 1_024;

/// How often TCP connections are looked over for those that stall or never proved themselves.
pub const TCP_SWEEP: Duration = Duration::from_secs(1);
