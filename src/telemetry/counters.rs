//! Counters of one shard: single writer, many readers, no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::drop::{DropReason, Stage};

/// A number that one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call this: it is a load and a store, not an atomic add.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a metric of [`ShardCounters`] is, for the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A counter per reason. Arrays of more than 32 have no `Default` of their own.
#[derive(Debug)]
struct Drops([Counter; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops(std::array::from_fn(|_| Counter::default()))
    }
}

/// Declares the counters once, with kind and help, so that none can be missing from the exposition.
macro_rules! shard_counters {
    ($($name:ident: $kind:ident, $help:literal;)*) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub struct ShardCounters {
            $(#[doc = $help] pub $name: Counter,)*
            /// Datagrams not forwarded, by [`DropReason`].
            drops: Drops,
        }

        impl ShardCounters {
            /// Name, kind, help and value of every counter but the drops.
            pub fn each(&self, mut visit: impl FnMut(&'static str, Kind, &'static str, u64)) {
                $(visit(stringify!($name), Kind::$kind, $help, self.$name.get());)*
            }
        }
    };
}

shard_counters! {
    datagrams_in: Counter, "Datagrams received from the kernel";
    bytes_in: Counter, "Bytes of UDP payload received from the kernel";
    receive_batches: Counter, "Receive calls that returned at least one message";
    datagrams_out: Counter, "Datagrams handed to the kernel";
    bytes_out: Counter, "Bytes of UDP payload handed to the kernel";
    trains_out: Counter, "Messages handed to the kernel; one carries one or more datagrams";
    send_calls: Counter, "Send system calls";
    send_would_block: Counter, "Times the kernel took no more datagrams for the moment";
    trains_refused: Counter, "Messages of several datagrams the kernel or device refused";
    kernel_receive_drops: Gauge, "Datagrams the kernel dropped because the receive queue was full";
    stun_requests: Counter, "STUN binding requests that authenticated";
    stun_answers: Counter, "STUN responses to checks of the server's own";
    dtls_in: Counter, "Datagrams given to a session's DTLS";
    rtp_in: Counter, "RTP datagrams of publishers that authenticated";
    rtcp_in: Counter, "RTCP datagrams that authenticated";
    link_in: Counter, "Datagrams of other nodes that authenticated";
    link_packets_out: Counter, "Media packets sealed for other nodes";
    link_repairs_out: Counter, "Media packets sent again to other nodes";
    stun_responses_out: Counter, "STUN responses sent";
    stun_requests_out: Counter, "Checks of the server's own, of addresses not seen to receive";
    publisher_packets: Counter, "Media packets received from publishers and decrypted";
    viewer_packets: Counter, "Media packets sealed for viewers";
    viewer_reports: Counter, "RTCP packets from viewers that authenticated";
    transport_feedback: Counter, "Transport-wide feedback of viewers: reports on when packets came";
    nacked_packets: Counter, "Packets viewers asked for again";
    repaired_packets: Counter, "Packets sent again";
    replayed_packets: Counter, "Packets of the past that viewers began with";
    padding_packets: Counter, "Packets of padding, to find out what viewers' paths carry";
    padding_bytes: Counter, "Bytes of those";
    layer_switches: Counter, "Times a viewer went from one layer of a track to another";
    layers_silent: Counter, "Times a layer fell silent while another one of its track flowed";
    layers_deaf: Counter, "Times a layer had left three key frame requests unanswered";
    keyframe_requests_in: Counter, "Key frame requests from viewers (PLI and FIR)";
    keyframe_requests_out: Counter, "Key frame requests sent to publishers";
    handed_over: Counter, "Datagrams handed to the shard that owns them";
    handed_to_earlier: Counter, "Datagrams handed to the process that was taken over";
    taken_over: Counter, "Datagrams taken from another shard";
    media_handed_over: Counter, "Media packets handed to another shard with viewers";
    media_taken_over: Counter, "Media packets taken from another shard";
    media_admitted: Counter, "Media packets that entered a stream's track on the shard";
    media_relayed: Counter, "Media packets published on the shard and watched on others alone";
    mail_lost: Counter, "Notes to other shards that found the mailbox full";
    flow_moves: Counter, "Times a session's address changed";
    tcp_connections: Gauge, "TCP connections of the shard";
    tcp_connections_refused: Counter, "TCP connections refused because the shard has its fill";
    tcp_connections_unproved: Counter, "TCP connections closed because no check proved them";
    tcp_connections_malformed: Counter, "TCP connections closed because of an overlong frame";
    tcp_connections_stalled: Counter, "TCP connections closed because their peer reads nothing";
    tcp_frames_in: Counter, "Datagrams received over TCP";
    tcp_bytes_in: Counter, "Bytes of datagrams received over TCP";
    tcp_frames_out: Counter, "Datagrams handed to the kernel over TCP";
    tcp_bytes_out: Counter, "Bytes handed to the kernel over TCP, frame headers included";
    tcp_write_calls: Counter, "Write system calls over TCP";
    session_panics: Counter, "Panics that ended the one session they were in: faults, see the log";
    turns: Counter, "Turns of the shard's loop";
    turn_gap_microseconds: Gauge, "How long the shard rests between turns under its load";
    turn_gaps: Counter, "Times the shard rested between two turns";
    sessions: Gauge, "Sessions on the shard";
    viewers_ready: Gauge, "Viewers with keys, to whom media is sent";
    flows: Gauge, "Flows in the shard's table";
    streams: Gauge, "Streams the shard takes part in";
}

impl ShardCounters {
    /// Zeroed counters on cache lines of their own.
    #[must_use]
    pub fn padded() -> CachePadded<ShardCounters> {
        CachePadded::new(ShardCounters::default())
    }

    /// Counts one datagram that was not forwarded.
    pub fn dropped(&self, reason: DropReason) {
        self.drops.0[reason as usize].add(1);
    }

    /// Counts `n` datagrams that were not forwarded.
    pub fn dropped_many(&self, reason: DropReason, n: u64) {
        self.drops.0[reason as usize].add(n);
    }

    /// How many datagrams came in, from the kernel (over TCP, too) and from other shards, and how
    /// many have had their outcome: handled, handed over, or dropped for a reason of
    /// [`Stage::Arrival`]. Both are equal whenever the shard is between two datagrams.
    #[must_use]
    pub fn conservation(&self) -> (u64, u64) {
        let come = self.datagrams_in.get() + self.tcp_frames_in.get() + self.taken_over.get();
        let handled = [
            &self.stun_requests,
            &self.stun_answers,
            &self.dtls_in,
            &self.rtp_in,
            &self.rtcp_in,
            &self.link_in,
        ];
        let handled: u64 = handled.into_iter().map(Counter::get).sum();
        let arrivals = DropReason::ALL.iter().filter(|reason| reason.stage() == Stage::Arrival);
        let dropped: u64 = arrivals.map(|reason| self.drops(*reason)).sum();
        let passed = self.handed_over.get() + self.handed_to_earlier.get();
        (come, handled + passed + dropped)
    }

    /// How many media packets came, from publishers and from other shards, and how many have had
    /// their outcome here: admitted, passed on to other shards alone, or dropped for a reason of
    /// [`Stage::Media`], of which a full ring is that of a copy. Both are equal whenever the shard
    /// is between two packets.
    #[must_use]
    pub fn media_conservation(&self) -> (u64, u64) {
        let come = self.publisher_packets.get() + self.media_taken_over.get();
        let media = DropReason::ALL.iter().filter(|reason| reason.stage() == Stage::Media);
        let dropped = media.filter(|reason| **reason != DropReason::MediaRingFull);
        let dropped: u64 = dropped.map(|reason| self.drops(*reason)).sum();
        (come, self.media_admitted.get() + self.media_relayed.get() + dropped)
    }

    /// How often another shard's mailbox was full, whatever was to go in: a datagram, a media
    /// packet or a note.
    #[must_use]
    pub fn mailboxes_full(&self) -> u64 {
        let dropped = [DropReason::RingFull, DropReason::MediaRingFull];
        let dropped: u64 = dropped.into_iter().map(|reason| self.drops(reason)).sum();
        dropped + self.mail_lost.get()
    }

    /// How many were not forwarded for `reason`.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.0[reason as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_full_for_datagrams_media_and_notes_alike() {
        let counters = ShardCounters::default();
        counters.dropped(DropReason::RingFull);
        counters.dropped_many(DropReason::MediaRingFull, 20);
        counters.mail_lost.add(300);
        counters.dropped(DropReason::SendQueueFull);
        assert_eq!(counters.mailboxes_full(), 321);
    }
}
