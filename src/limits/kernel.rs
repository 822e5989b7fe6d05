//! Bounds of the kernel boundary (`net`).

/// Bytes of payload one receive slot takes. A message coalesced by GRO is at most an IP packet, so
/// none is ever cut. Slots are mapped lazily: one costs the pages that have been written to.
pub const RECEIVE_SLOT_BYTES: usize = 1 << 16;

/// Messages one recvmmsg or sendmmsg handles: `UIO_MAXIOV` in `include/uapi/linux/uio.h`, to which
/// the kernel silently cuts longer vectors.
pub const MAX_MESSAGES_PER_CALL: usize = 1_024;

/// Receive slots of one shard unless configured otherwise: 4 MiB of address space.
pub const DEFAULT_RECEIVE_BATCH: usize = 64;

/// Provided buffers per slot of a batch in the io_uring back end: while the caller holds one batch,
/// the kernel fills the other.
pub const URING_BUFFERS_PER_SLOT: usize = 2;

/// Socket buffer asked for unless configured otherwise, each way: at 5 Gb/s into one shard, the
/// datagrams of about 10 ms with the kernel's bookkeeping counted in.
pub const DEFAULT_SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// STUN attributes the steering program looks at to find USERNAME; libnice has it fourth, browsers
/// first. What has it later is spread by the kernel's hash.
pub const STEERED_STUN_ATTRIBUTES: usize = 8;

/// Flows per session that the kernel's steering map has room for. Browsers prove one to three; of
/// more, the kernel forgets those that were silent longest. Memory: 122 bytes a flow, taken at
/// the start.
pub const STEERING_FLOWS_PER_SESSION: usize = 4;

/// Room in the steering map besides: a CPU takes free elements in lots (`LOCAL_FREE_TARGET`, 128
/// in `kernel/bpf/bpf_lru_list.c`), and what lies on one is not free for another.
pub const STEERING_SLACK_PER_SHARD: usize = 2 * 128;

/// CPUs a mask can name: `NR_CPUS` of the largest distribution kernels (`CONFIG_MAXSMP`).
pub const MAX_CPUS: usize = 8_192;

/// Bytes of one message to the process that was taken over: the longest datagram with its record.
pub const STRAYS_MESSAGE_BYTES: usize = 66 << 10;

/// Bytes of a message from which on it is handed over: some two dozen datagrams of media, for which
/// the price of the message is no longer felt.
pub const STRAYS_FLUSH_BYTES: usize = 32 << 10;

/// Bytes that the process that was taken over may have unread from one shard, as far as the kernel
/// grants it: a tenth of a second of 300 Mb/s.
pub const STRAYS_UNREAD_BYTES: usize = 4 << 20;

const _: () = assert!(STRAYS_FLUSH_BYTES <= STRAYS_MESSAGE_BYTES, "a message holds what waits");
const _: () = assert!(
    super::MAX_DATAGRAM_IN + 64 <= STRAYS_MESSAGE_BYTES,
    "the longest datagram fits, with its record and the head"
);
