//! What all shards show of themselves, for a scraper.

use super::sessions::{Entry, Keys};
use super::{Mail, Wiring};
use crate::ingest::Ingest;
use crate::limits::{
    DTLS_SESSION_BYTES, HISTORY_VIDEO_PACKETS, MAIL_QUEUE, MAX_HANDSHAKE_DATAGRAM,
    MAX_HANDSHAKE_DATAGRAMS_WAITING, MAX_PAYLOAD_OUT,
};
use crate::media::MediaPacket;
use crate::session::Session;
use crate::telemetry::{
    self, Counter, Exposition, MemoryTerm, Meters, SessionCard, ShardCounters, ShardMemory, Shown,
};
use crate::track::{Layer, Stream, Track, Viewer};

impl Wiring {
    /// Every metric of the shards at this moment.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        let shards = self.counters.iter().zip(&self.meters).zip(&self.mailboxes);
        let shown: Vec<Shown<'_>> = shards
            .map(|((counters, meters), mailbox)| Shown {
                counters,
                meters,
                mail_waiting: mailbox.depth(),
            })
            .collect();
        let mut exposition = telemetry::exposition(&shown);
        telemetry::kernel_dropped(&mut exposition, self.ownership.kernel_dropped());
        exposition
    }

    /// The parts of the memory that shards know of, with what they may come to take. What is taken
    /// at the start takes all of its budget; of the others shards say every two seconds what they
    /// are.
    #[must_use]
    pub fn memory_terms(&self) -> Vec<MemoryTerm> {
        let shards = self.mailboxes.len();
        let cards = self.meters.iter().map(|meters| meters.cards.bytes());
        let cards = cards.fold((0, 0), |sum, (now, full)| (sum.0 + now, sum.1 + full));
        let room = cards.1 / size_of::<SessionCard>();
        let streams = self.counters.iter().map(|counters| counters.streams.get()).sum::<u64>();
        let now = |part: fn(&ShardMemory) -> &Counter| {
            self.meters.iter().map(|meters| part(&meters.memory).get() as usize).sum::<usize>()
        };
        let of = |name, bytes: usize, most: usize| MemoryTerm {
            name,
            bytes,
            budget_bytes: most.max(bytes),
        };
        let fixed = |name, bytes| of(name, bytes, bytes);
        let waiting = MAX_HANDSHAKE_DATAGRAMS_WAITING * MAX_HANDSHAKE_DATAGRAM;
        vec![
            of("session_cards", cards.0, cards.1),
            of("sessions", now(|memory| &memory.sessions), room * MOST_OF_A_SESSION),
            of("dtls", now(|memory| &memory.dtls), room * DTLS_SESSION_BYTES),
            of("streams", now(|memory| &memory.streams), room * MOST_OF_A_STREAM),
            of("histories", now(|memory| &memory.histories), streams as usize * MOST_OF_A_HISTORY),
            of("handshakes", now(|memory| &memory.handshakes), shards * waiting),
            fixed("receive_slots", now(|memory| &memory.receive_slots)),
            fixed("send_arenas", now(|memory| &memory.send_arenas)),
            fixed("counters", shards * (size_of::<ShardCounters>() + size_of::<Meters>())),
            // A place of the queue has a word of its own beside the mail (crossbeam's `Slot`).
            fixed("mailboxes", shards * MAIL_QUEUE * (size_of::<Mail>() + size_of::<usize>())),
            fixed("flow_directory", self.ownership.directory.bytes()),
        ]
    }
}

/// Bytes of a session that publishes as many sources as may be.
const MOST_OF_A_SESSION: usize =
    size_of::<Entry>() + size_of::<Session>() + size_of::<Keys>() + Ingest::MOST_BYTES;

/// Bytes of a stream for each of its viewers, a track of each kind in it.
const MOST_OF_A_STREAM: usize =
    size_of::<Stream>() + size_of::<Viewer>() + 2 * size_of::<Track>() + 2 * size_of::<Layer>();

/// Bytes of the history of a stream's video, one layer that is as fast as may be.
const MOST_OF_A_HISTORY: usize =
    HISTORY_VIDEO_PACKETS * (size_of::<MediaPacket>() + MAX_PAYLOAD_OUT);
