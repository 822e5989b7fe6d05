//! Every bound of the server, in one place, with where each number comes from; what has many has a
//! file of its own.
//!
//! Relations between bounds are proved at compile time at the end of the file, so that changing one
//! number either keeps the others true or stops the build with a sentence.

mod connecting;
mod directory;
mod dtls;
mod estimate;
mod handshakes;
mod history;
mod hooks;
mod http;
mod ingest;
mod kernel;
mod layers;
mod link;
mod log;
mod speakers;
mod takeover;
mod tcp;
mod top;

use std::time::Duration;

pub use connecting::*;
pub use directory::*;
pub use dtls::*;
pub use estimate::*;
pub use handshakes::*;
pub use history::*;
pub use hooks::*;
pub use http::*;
pub use ingest::*;
pub use kernel::*;
pub use layers::*;
pub use link::*;
pub use log::*;
pub use speakers::*;
pub use takeover::*;
pub use tcp::*;
pub use top::*;

/// The largest datagram the server builds, in bytes of UDP payload.
///
/// 1,500 B Ethernet less 40 B IPv6 and 8 B UDP is 1,452; publishers send at most about 1,210.
pub const MAX_DATAGRAM_OUT: usize = 1_452;

/// The longest payload that reaches viewers: less 12 B RTP and the 16 B tag of AES-GCM, without
/// header extensions.
pub const MAX_PAYLOAD_OUT: usize = MAX_DATAGRAM_OUT - 12 - 16;

/// The largest datagram UDP can carry, in bytes of payload: 65,535 less 8 B UDP and 20 B IPv4.
pub const MAX_DATAGRAM_IN: usize = 65_507;

/// Segments the kernel takes in one GSO message: `UDP_MAX_SEGMENTS` in `include/linux/udp.h`, which
/// was 64 until Linux 6.9 doubled it. 64 works everywhere.
pub const MAX_TRAIN_SEGMENTS: usize = 64;

/// Bytes the kernel takes in one GSO message: an IP packet's 65,535 less IPv6 and UDP headers.
pub const MAX_TRAIN_BYTES: usize = 65_535 - 40 - 8;

/// Shards a node can have; the ufrag gives the shard 12 bits, and the interest mask of a stream is
/// this many bits.
pub const MAX_SHARDS: usize = 256;

/// Sessions one shard can hold; the ufrag gives the slot 24 bits.
pub const MAX_SESSIONS_PER_SHARD: usize = 1 << 20;

/// Mux ports of one node. Each is a socket on every shard, and more than one helps no shard.
pub const MAX_MUX_PORTS: usize = 64;

/// Flows (4-tuples) one session may hold at a time. A browser checks from each of its interfaces;
/// eight covers Wi-Fi, cable and cellular in both families.
pub const MAX_FLOWS_PER_SESSION: usize = 8;

/// Addresses a session may prove at once, and how many a second: a browser with eight interfaces
/// has one through each of ours, a phone in a train one every few seconds.
pub const NEW_ADDRESSES: u32 = 32;
/// How many a second.
pub const NEW_ADDRESSES_PER_SECOND: u32 = 2;

/// Checks with a wrong password that are looked at for one session at once, and a second: the HMAC
/// of each costs a microsecond of the shard.
pub const REFUSED_CHECKS: u32 = 1_000;
/// How many a second.
pub const REFUSED_CHECKS_PER_SECOND: u32 = 50;

/// How often a peer checks a path it uses, at the least: browsers do every 2.5 s. A path that
/// nothing came by for two such intervals, or two of the peer's own if they are shorter, is left
/// for another that the peer speaks by.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);

/// Checks that come faster are of a client that connects.
pub const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A flow whose owner was heard by it this lately is not given to another session: a publisher
/// sends all the time, a viewer reports every second.
pub const FLOW_HELD: Duration = Duration::from_secs(3);

/// Bytes of media that a session's datagrams may bring to addresses it was not seen to receive at,
/// within [`UNVERIFIED_TIME`]: a round trip of 400 ms at 5 Mb/s. A check is 130 bytes and can name
/// anybody as its sender.
pub const UNVERIFIED_BYTES: u32 = 256 * 1024;

/// How long that must do.
pub const UNVERIFIED_TIME: Duration = Duration::from_secs(30);

/// How often it is looked at how much of it is left.
pub const UNVERIFIED_LOOK: Duration = Duration::from_millis(50);

/// Checks of our own that an address is sent, the pause doubled after each: 6 s of them.
pub const OWN_CHECKS: u8 = 8;

/// The first pause: that of RFC 8445 §14.2 between checks.
pub const OWN_CHECK_PAUSE: Duration = Duration::from_millis(50);

/// The longest offer that is read: browsers with every codec send 6 to 12 KB.
pub const MAX_OFFER_BYTES: usize = 64 * 1024;

/// How much of a longer body is read, only to be refused: a client that is cut off while it still
/// writes sees a broken connection and not the answer.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// How often a stream is looked at for those who listen to its events.
pub const STREAM_LOOK: Duration = Duration::from_secs(1);

/// Files a server has open besides the sockets of its sessions.
pub const OTHER_FILES: usize = 2_048;

/// The longest name of a stream.
pub const MAX_STREAM_NAME_BYTES: usize = 128;

/// Simulcast layers of one publisher that are told apart; browsers send three, OBS four.
pub const MAX_LAYERS: usize = 8;

/// Tracks of one kind that a stream can have; a publisher that sends a camera and its screen has
/// two of video.
pub const MAX_TRACKS_OF_A_KIND: usize = 4;

/// SSRCs of one publisher that are remembered with what they carry: media and retransmissions of
/// eight layers, of other tracks, or of some that were replaced.
pub const MAX_SOURCES: usize = 2 * (MAX_LAYERS + MAX_TRACKS_OF_A_KIND);

/// An SSRC whose layer another has taken over gets it back when that one has been silent this long.
pub const SOURCE_SILENT: Duration = Duration::from_secs(1);

/// Units that are looked at in one aggregation packet (H.264 STAP-A, H.265 AP) for one that tells
/// whether a key frame starts: a delimiter, three parameter sets and a few pieces of supplemental
/// information stand before a picture.
pub const MAX_UNITS_BEFORE_PICTURE: usize = 16;

/// A session that has not finished ICE and DTLS by then is ended, unless configured otherwise.
pub const SETUP_TIMEOUT: Duration = Duration::from_secs(30);

/// The most it can be configured to: a slot that waits this long is a slot given away.
pub const MAX_SETUP_TIMEOUT: Duration = Duration::from_secs(300);

/// The longest wait for sessions to end by themselves when the server is to stop: a day, the
/// longest broadcast a supervisor can be asked to wait for.
pub const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(86_400);

/// A connected session that was silent this long (no check, no media, no report that
/// authenticated) is ended. RFC 7675 lets consent live 30 s; browsers check every 2.5 s.
pub const SESSION_IDLE: Duration = Duration::from_secs(30);

/// Media that has waited this long in the server is not forwarded: players give up on a picture
/// within about half a second, and ask for the next that stands alone.
pub const MEDIA_USELESS_AFTER: Duration = Duration::from_secs(2);

/// A turn that comes so much later than it was due: the process was stopped, or had no core.
pub const PAUSED: Duration = Duration::from_secs(1);

/// The least time between two key frame requests for the lowest layer of a track. Encoders pay for
/// a key frame with a second of quality; joiners within this time share one.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// The same for a layer above another one, whose key frames are large.
pub const KEYFRAME_INTERVAL_ABOVE: Duration = Duration::from_secs(1);

/// A key frame that was asked for has come by then, or does not come for it: the request may have
/// been lost, and is made again.
pub const KEYFRAME_ANSWER: Duration = Duration::from_secs(1);

/// A layer is deaf that has not answered so many requests: it is asked at [`KEYFRAME_RETRY`], and
/// those who wait for it get what there is of another layer.
pub const KEYFRAME_TRIES: u32 = 3;

/// How often a layer that does not answer is asked: as often as encoders that hear no requests are
/// told to make a key frame.
pub const KEYFRAME_RETRY: Duration = Duration::from_secs(2);

/// How often a viewer is sent sender reports: twice in the 5 s in which a player settles the sync
/// of audio and video.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// A publisher that has sent for this long and has not said what its RTP time means never will: it
/// is told by when its packets come. RFC 3550 §6.2 has reports every 5 s.
pub const ARRIVAL_CLOCK_AFTER: Duration = Duration::from_secs(5);

/// Publishers of one stream whose media has not come. The oldest gives way to one more: encoders
/// that can't connect try again and again.
pub const MAX_CANDIDATES_PER_STREAM: usize = 4;

/// What a shard tells of one session: that it is connected, live, and that it has ended.
pub const REPORTS_PER_SLOT: usize = 3;

/// How long to wait before a shard whose command queue was full is told again to end a session.
pub const END_RETRY: Duration = Duration::from_millis(5);

/// Ended sessions that can still be asked about. Memory: 300 bytes each besides their history.
pub const ENDED_SESSIONS_KEPT: usize = 1_000;

/// Refused POSTs that can still be asked about. Apart from ended sessions, since anybody can have
/// one refused.
pub const REFUSALS_KEPT: usize = 200;

/// Points of a session's history, one every [`SESSION_HISTORY_INTERVAL`]: five minutes.
pub const SESSION_HISTORY_POINTS: usize = 60;

/// How often a point is taken.
pub const SESSION_HISTORY_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes of a session's history: 16 a point. 19 MB with 20,000 sessions; ended ones keep theirs.
pub const SESSION_HISTORY_BYTES: usize = 960;

/// Changes of address remembered per session.
pub const MOVES_KEPT: usize = 16;

/// Sessions looked at under one hold of the registry's lock: a quarter of a millisecond, which a
/// POST can wait.
pub const SESSIONS_PER_LOOK: usize = 1_024;

/// A shard that makes no turn for this long, though it was rung every second, is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Rates are made while there was a request or a listener of the API within this time.
pub const LOOKED_AT: Duration = Duration::from_secs(10);

/// Elements of one page of the API unless asked otherwise, and at most.
pub const PAGE: usize = 50;
/// The most elements of one page.
pub const MAX_PAGE: usize = 500;

/// What happened to sessions, waiting for a listener of the API; a slower one loses the oldest.
pub const EVENTS_KEPT: usize = 64;

/// Session cards that are made at once, when the first of their slots is used: 32 KiB.
pub const CARDS_PER_LOT: usize = 256;

/// Packets whose way through a shard is being timed while the kernel does not take all that is to
/// be sent: as many as the mailbox holds. With more the time so far is what is noted.
pub const DEPARTING_PACKETS: usize = MAIL_QUEUE;

/// A peer of whom nothing was heard this long scores as lost: four of a browser's checks, which
/// come every 2.5 s (RFC 7675 lets consent live for 30 s).
pub const UNHEARD_AFTER: Duration = Duration::from_secs(10);

/// How long TURN credentials are good for, unless configured otherwise: TURN servers look at them
/// when a relay is set up and each time it is refreshed, so this bounds how long a relayed session
/// lasts.
pub const TURN_TTL: Duration = Duration::from_secs(4 * 3_600);

/// The most that can be configured to: 30 days.
pub const MAX_TURN_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long the start may wait for STUN servers to say what the outside address is, looking their
/// names up included.
pub const EXTERNAL_ADDRESS_WAIT: Duration = Duration::from_millis(2_500);

/// How often they are asked anew meanwhile: RFC 8489 §6.2.1 has an initial timeout of 500 ms, too
/// long for the two requests that fit before someone who starts a server grows impatient.
pub const EXTERNAL_ADDRESS_RETRY: Duration = Duration::from_millis(300);

/// How long `monoport check --peer` waits for an announced address to answer.
pub const PEER_ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Announced addresses that `monoport check --peer` tries; a server that names more is no server
/// of ours.
pub const MAX_PEER_ADDRESSES: usize = 256;

/// How often the shards' load is measured, for the placement of sessions.
pub const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// A shard that ran for this much of the time it could have is busy, in thousandths: half is left
/// for frames that come together, and for what its sessions may still grow to.
pub const BUSY_PERMILLE: u32 = 500;

/// A busy shard that ran for less is busy no longer.
pub const CALM_PERMILLE: u32 = 350;

/// Sessions a shard may have more than the emptiest one, unless configured otherwise, so that
/// viewers are on their publisher's shard. With so many viewers, what one more shard with viewers
/// costs (a copy per packet, about what a viewer costs) is below a percent.
pub const GATHERED_SESSIONS: usize = 128;

const _: () = assert!(CALM_PERMILLE < BUSY_PERMILLE, "or a shard would change sides every second");

/// The longest a shard may rest between turns: longer, and the receive queue of a socket (16 MiB)
/// no longer holds what comes at the kernel's rate, and voices lag.
pub const MAX_WAKE_GAP: Duration = Duration::from_millis(10);

/// Streams that one session may take: as many as a call has cameras in a grid.
pub const MAX_STREAMS_TAKEN: usize = 64;

/// Sender SSRCs of one peer's RTCP with a replay list each, of 32 bytes: peers that report on each
/// track from an SSRC of its own have as many as tracks.
pub const MAX_RTCP_SENDERS: usize = 2 * MAX_STREAMS_TAKEN;

/// Mail a shard may have waiting: 10 ms of the most one core forwards.
pub const MAIL_QUEUE: usize = 8_192;

/// Commands a shard may have waiting: half a second of the set-ups one core can do.
pub const COMMAND_QUEUE: usize = 1_024;

/// Messages (trains and single datagrams) collected before a flush: as many as one `sendmmsg`
/// takes without its fixed cost mattering.
pub const SEND_BATCH_MESSAGES: usize = 128;

/// Bytes of datagrams collected before a flush. Written here and read by the kernel right after,
/// they should still be in the core's L2 cache, of which current servers have 512 KiB or more.
pub const SEND_ARENA_BYTES: usize = 256 * 1024;

/// Sockets of sessions (`--port-range`) that are read in one turn of those that have something; the
/// others come first in the next.
pub const SESSION_SOCKETS_PER_TURN: usize = 256;

/// Socket buffer asked for each way where a socket serves one session (`--port-range`): a tenth of
/// a second of 20 Mb/s with the kernel's bookkeeping counted in. More would let one client hold
/// more of the kernel's memory for UDP than its share.
pub const SESSION_SOCKET_BUFFER_BYTES: usize = 512 * 1024;

/// Ports of a range that one set-up tries before it is refused: those that others have are skipped,
/// at some 10 µs each.
pub const RANGE_PORT_TRIES: usize = 256;

/// How often a mux port that is to close is looked at: whether its sessions have gone.
pub const PORT_DRAIN_POLL: Duration = Duration::from_millis(50);

/// The longest deadline for the sessions of a mux port that is to close.
pub const MAX_PORT_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The deadline when none is asked for.
pub const PORT_DRAIN: Duration = Duration::from_secs(60 * 60);

/// How often the load of mux ports is looked at (`--ports-auto`).
pub const PORT_LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Decisions about ports that are kept for the API; older ones are in the log.
pub const MAX_PORT_DECISIONS: usize = 100;

/// How long a shard may take to open or close a socket: it does so within a turn.
pub const PORT_CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Receive batches of one socket handled in one turn; what is left waits for the next, so that
/// timers and sends get their turn under any load.
pub const RECEIVE_BATCHES_PER_TURN: usize = 4;

/// Mail handled in one turn.
pub const MAIL_PER_TURN: usize = 1_024;

/// Commands handled in one turn: a join storm must not hold up media, and taking over a session
/// costs 20 µs.
pub const COMMANDS_PER_TURN: usize = 16;

/// Datagrams of a batch from which on it is looked up and fetched before it is handled: with fewer
/// there is nothing for the waits to lie beside.
pub const LOOK_AHEAD_DATAGRAMS: usize = 4;

/// Sessions of a shard from which on that is done: those of fewer are in the near caches, and a
/// look ahead costs a packet 40 ns (`shard/cost.rs`).
pub const LOOK_AHEAD_SESSIONS: usize = 200;

/// Expired sessions handled in one turn, at 5 to 10 µs each.
pub const TIMERS_PER_TURN: usize = 256;

/// A viewer that comes is first sent what there was since the newest key frame, where that is no
/// longer ago: encoders that are told nothing make one every 250 frames.
pub const REPLAY_TIME: Duration = Duration::from_secs(10);

/// Bytes of payload that such a viewer is sent at most: 3 s at 2.5 Mb/s. As much of a layer is kept
/// for it, on the publisher's shard also while nobody watches.
pub const REPLAY_BYTES: usize = 1024 * 1024;

/// Packets that such a viewer is sent at most: the rest of the ring is room for what comes
/// meanwhile.
pub const REPLAY_PACKETS: u64 = HISTORY_VIDEO_PACKETS as u64 * 3 / 4;

/// How often such a viewer is sent the next few packets.
pub const REPLAY_TICK: Duration = Duration::from_millis(5);

/// It is sent so many times the layer's rate, but at least [`REPLAY_MIN_BITS_PER_S`]: it has caught
/// up after a third of what it came late by, and its first picture is there in some 50 ms.
pub const REPLAY_SPEED: u64 = 4;

/// See [`REPLAY_SPEED`].
pub const REPLAY_MIN_BITS_PER_S: u64 = 10_000_000;

/// The time of what is replayed is squeezed by this factor, so that it is shown at once and not as
/// fast as it was made.
pub const REPLAY_SQUEEZE: u16 = 32;

/// Packets of one track that wait for the end of their frame; more are sent as they are.
pub const MAX_PENDING_PACKETS: usize = 64;

/// Packets a second that are sent again to one viewer at least, whatever its layer's rate.
pub const REPAIR_PACKETS_PER_SECOND: u32 = 100;

/// The share of a layer's packets that are sent again to one viewer, as a divisor: every third.
pub const REPAIR_SHARE: u32 = 3;

/// Packets that are sent again to one viewer at once: a key frame of a high-bitrate stream. At
/// least what it may have in this many seconds.
pub const REPAIR_BURST_PACKETS: u32 = 256;

/// Numbers that are looked up for the price of one packet sent again: a look-up that finds nothing
/// costs a tenth of a seal and its copy.
pub const LOOKUPS_PER_PACKET: u32 = 8;

/// Numbers of one RTCP datagram of a viewer that are looked up: as many packets as a burst. A
/// datagram has room for 6,000.
pub const MAX_NACKED_PER_DATAGRAM: usize = REPAIR_BURST_PACKETS as usize;

/// How often one packet is sent again to one viewer: with a fifth of all packets lost, one in three
/// thousand is lost each time.
pub const RESENDS_PER_PACKET: u8 = 4;

/// The round trip to a viewer whose reports have not told it: what players take it for, too.
pub const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Packets sent again to one viewer that are remembered at first, and at most: of a whole burst,
/// and as many before. Memory: 16 bytes each, of viewers that ask.
pub const RESENT_REMEMBERED: usize = 32;
/// The most.
pub const MAX_RESENT_REMEMBERED: usize = 2 * REPAIR_BURST_PACKETS as usize;

/// Spans of a lane that are remembered: where a viewer was before it changed layers. What it asks
/// for of an older one is long out of its player's buffer.
pub const MAX_SPANS: usize = 8;

/// How long packets of a layer are counted before its rate is taken and layers are compared.
pub const RATE_PERIOD: Duration = Duration::from_secs(1);

/// How long a packet lost between publisher and server is awaited, from the first one behind it:
/// a request and its answer over 200 ms, and the publisher's and the server's turns. A viewer that
/// asks for it later can only be helped by a key frame.
pub const PUBLISHER_REPAIR: Duration = Duration::from_millis(250);

/// Packets missing in a row that are awaited: a quarter of a second at 2.5 Mb/s. Behind a longer
/// hole a key frame comes sooner than all of them.
pub const AWAITED_RUN_PACKETS: usize = 64;

/// How soon a track may go over to yet another codec of its answer. Each change puts out viewers
/// and is told to control, so a packet's payload type alone must not be able to ask for more.
pub const CODEC_SWITCH_PAUSE: Duration = Duration::from_secs(1);

/// Attributes looked at in one STUN message. Browsers send seven at most in a connectivity check;
/// the bound keeps a datagram of empty attributes from costing a walk of hundreds.
pub const MAX_STUN_ATTRIBUTES: usize = 32;

/// Ticks of a millisecond in one turn of the timer wheel: deadlines farther away are looked at once
/// per turn. The wheel's occupancy is a word of words, hence 64 times 64.
pub const TIMER_WHEEL_TICKS: usize = 64 * 64;

/// Bytes the shared directory takes per flow it is made for: a word of eight bytes at a load of
/// half, where running out of both buckets of eight is a matter of less than one in a billion.
pub const DIRECTORY_BYTES_PER_FLOW: usize = 16;

const _: () = assert!(
    MAX_TCP_FRAME_IN + 2 <= TCP_READ_BYTES,
    "a read holds a whole frame, or one would never be complete"
);
const _: () = assert!(
    (MAX_DATAGRAM_OUT + 2) * 16 <= TCP_OUTBOX_KEPT_BYTES
        && TCP_OUTBOX_KEPT_BYTES < TCP_OUTBOX_BYTES,
    "a picture of a dozen packets is sent without an allocation"
);
const _: () = assert!(MAX_FIRST_FRAME <= MAX_TCP_FRAME_IN, "the shard takes what was taken first");

const _: () = assert!(MAX_SHARDS <= 1 << 12, "the ufrag names a shard in 12 bits");
const _: () = assert!(MAX_SESSIONS_PER_SHARD <= 1 << 24, "the ufrag names a slot in 24 bits");
const _: () = assert!(
    MAX_DATAGRAM_OUT * 8 <= MAX_TRAIN_BYTES,
    "a train of eight full datagrams is the least that makes trains worth their code"
);
const _: () = assert!(
    MAX_DATAGRAM_IN <= RECEIVE_SLOT_BYTES,
    "a slot takes the largest datagram, so that none is cut"
);
const _: () = assert!(DEFAULT_RECEIVE_BATCH <= MAX_MESSAGES_PER_CALL, "a batch is one call");
const _: () = assert!(
    (MAX_MESSAGES_PER_CALL * URING_BUFFERS_PER_SLOT).next_power_of_two() <= 1 << 15,
    "a ring of provided buffers has at most 32,768 entries (io_uring/kbuf.c)"
);
const _: () =
    assert!(STEERING_FLOWS_PER_SESSION <= MAX_FLOWS_PER_SESSION, "more would never be used");
const _: () = assert!(MAX_CPUS.is_multiple_of(64), "a CPU mask is whole words");
