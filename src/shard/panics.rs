//! A panic while one session is at hand ends that session, and the shard goes on.
//!
//! What a turn does for a session is told by a note of its slot, two stores a datagram. The guard
//! against panics stands around a turn and around a batch of datagrams, never around a packet. A
//! panic with no session at hand, or one that leaves the shard's tables in disagreement, ends the
//! process as before: a shard that can't be trusted must not look alive.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::EndReason;
use super::core::Core;
use crate::drop::DropReason;
use crate::limits::TCP_READ_BYTES;

/// What a shard does at this moment, for whoever has to tidy up after a panic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtHand {
    /// The session that something is done for.
    pub slot: Option<u32>,
    /// A datagram is being handled, and has had no outcome yet.
    pub datagram: bool,
}

impl Core {
    /// Does `part` of a turn; `None` when it panicked and the session at hand was ended for it.
    pub fn contain<R>(&mut self, part: impl FnOnce(&mut Core) -> R) -> Option<R> {
        self.at_hand = AtHand::default();
        // What may be left half done is looked at below.
        match catch_unwind(AssertUnwindSafe(|| part(self))) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.end_panicked(panic);
                None
            }
        }
    }

    #[cold]
    fn end_panicked(&mut self, panic: Box<dyn Any + Send>) {
        let AtHand { slot, datagram } = self.at_hand;
        let key = slot.and_then(|slot| Some(self.sessions.at(slot)?.key));
        let (Some(slot), Some(key)) = (slot, key) else { resume_unwind(panic) };
        tracing::error!(session = %key, "the panic above was in this session, and ends it");
        if datagram {
            self.post.dropped(DropReason::SessionPanicked);
        }
        self.post.counters().session_panics.add(1);
        // Taken while it was read into.
        self.scratch.tcp_buffer.resize(TCP_READ_BYTES, 0);
        self.scratch.outputs.clear();
        // Its protocols are not asked for anything any more: they have said no goodbye to its peer.
        self.end(slot, EndReason::Panicked);
        if let Err(fault) = self.audit() {
            tracing::error!("the panic has left the shard's tables in disagreement: {fault}");
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a stream's shared part is counted")]
pub(super) mod tests {
    use std::cell::Cell;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use str0m::media::{Direction, MediaKind};
    use str0m::{IceCreds, Rtc};

    use super::*;
    use crate::id::{SessionKey, StreamKey, Via};
    use crate::limits::{
        HANDSHAKE_DATAGRAMS_PER_TURN, MAX_HANDSHAKE_DATAGRAMS_OF_SESSION,
        MAX_HANDSHAKE_DATAGRAMS_WAITING,
    };
    use crate::paths::{Inbound, Path};
    use crate::session::{CodecMatch, LocalIce, Negotiator, Offer, Session, StreamCodecs};
    use crate::shard::turn::Next;
    use crate::shard::turn::tests::{LOCAL, check, core};
    use crate::shard::{Command, Ended, Report, SessionPort};
    use crate::track::StreamShared;

    thread_local! {
        /// A slot whose session panics when it is at hand next.
        static PANICS: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Called where a session comes to hand.
    pub fn at_hand(slot: u32) {
        if PANICS.get() == Some(slot) {
            PANICS.set(None);
            panic!("as a test asked for");
        }
    }

    const STREAM: StreamKey = StreamKey { index: 0, generation: 0 };

    fn session(core: &Core, key: SessionKey, now: Instant) -> Session {
        let mut client = Rtc::builder().build(now);
        let mut changes = client.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let (offer, _pending) = changes.apply().expect("something is offered");
        let offer = Offer::to_publish(&offer.to_sdp_string()).expect("an offer");
        let codecs = offer.choose_codecs(StreamCodecs::default()).expect("Opus");
        let ufrag = core.post.wiring.ufrag_key.encode(key).as_str().to_owned();
        let credentials = IceCreds { ufrag, pass: "p".repeat(24) };
        let candidates = [SocketAddr::new(LOCAL, 7_882)];
        let local = LocalIce { credentials, candidates: &candidates, tcp_candidates: &[] };
        let negotiated = Negotiator::new(false, CodecMatch::default())
            .publisher(now, offer, local, codecs, STREAM);
        negotiated.expect("it is negotiated").session
    }

    /// A shard with sessions in the first `count` slots.
    fn with_sessions(count: u32, now: Instant) -> (Core, Vec<SessionKey>) {
        let mut core = core(now);
        let shared = Arc::new(StreamShared::new(STREAM));
        let keys: Vec<_> =
            (0..count).map(|slot| SessionKey { shard: 0, slot, generation: 0 }).collect();
        for key in keys.iter().copied() {
            let session = Box::new(session(&core, key, now));
            let (port, stream) = (SessionPort::Mux(0), shared.clone());
            let command = Command::Add { key, port, session, stream };
            assert!(core.post.mailbox().command(command).is_ok());
        }
        core.turn(now, false);
        assert_eq!(core.sessions.len(), count as usize);
        (core, keys)
    }

    fn ended(core: &Core) -> Vec<(SessionKey, EndReason)> {
        let reports = std::iter::from_fn(|| core.post.wiring.reports[0].pop());
        let ended = reports.filter_map(|report| match report {
            Report::Ended(Ended { key, reason, .. }) => Some((key, reason)),
            _ => None,
        });
        ended.collect()
    }

    /// The sessions in the first slots, as many, each with a path of its own.
    fn with_paths(core: &mut Core, count: u32, now: Instant) -> Vec<Path> {
        let paths = (0..count).map(|slot| {
            let remote = SocketAddr::new(LOCAL, 50_000 + slot as u16);
            let path = Path { via: Via::Udp(0), local: LOCAL, remote };
            let Core { paths, post, .. } = &mut *core;
            paths.prove(now, slot, path, true, post.counters());
            path
        });
        paths.collect()
    }

    /// A record of a handshake comes in by a path.
    fn shakes(core: &mut Core, path: Path, now: Instant) {
        let mut record = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let Path { via, local, remote } = path;
        let (bytes, arrived) = (&mut record[..], now);
        let datagram = Inbound { via, local, remote, bytes, arrived, handed_over: false };
        core.on_datagram(now, datagram);
    }

    #[test]
    fn handshakes_wait_for_their_turn_and_none_is_lost() {
        let now = Instant::now();
        let (mut core, _keys) = with_sessions(2, now);
        let paths = with_paths(&mut core, 2, now);
        let few = HANDSHAKE_DATAGRAMS_PER_TURN;
        for number in 0..3 * few {
            shakes(&mut core, paths[number % 2], now);
        }
        // DTLS has not begun, so those that came first were refused.
        let counters = core.post.counters();
        let counted = (counters.drops(DropReason::DtlsRejected), counters.dtls_in.get());
        assert_eq!(counted, (few as u64, 2 * few as u64), "the others wait");
        for waiting in [2 * few, 2 * few] {
            assert_eq!(core.handshakes.waiting(), waiting);
            assert_eq!(core.turn(now, false), Next::Now);
        }
        assert_eq!(core.handshakes.waiting(), few, "as many a turn");
        assert_ne!(core.turn(now, false), Next::Now);
        assert_eq!(core.handshakes.waiting(), 0, "none is left");
    }

    #[test]
    fn a_peer_that_only_shakes_hands_leaves_room_for_others_to_wait() {
        let now = Instant::now();
        let (mut core, _keys) = with_sessions(2, now);
        let paths = with_paths(&mut core, 2, now);
        for _ in 0..2 * MAX_HANDSHAKE_DATAGRAMS_WAITING {
            shakes(&mut core, paths[0], now);
        }
        assert_eq!(core.handshakes.waiting(), MAX_HANDSHAKE_DATAGRAMS_OF_SESSION);
        let limited = core.post.counters().drops(DropReason::HandshakesLimited);
        shakes(&mut core, paths[1], now);
        assert_eq!(core.handshakes.waiting(), MAX_HANDSHAKE_DATAGRAMS_OF_SESSION + 1);
        assert_eq!(core.post.counters().drops(DropReason::HandshakesLimited), limited);
    }

    #[test]
    fn a_panic_in_one_session_ends_that_session_alone() {
        let now = Instant::now();
        let (mut core, keys) = with_sessions(3, now);
        PANICS.set(Some(1));
        let mut bytes = check(&core.post.wiring.ufrag_key, keys[1]);
        let (via, remote) = (Via::Udp(0), SocketAddr::new(LOCAL, 50_000));
        let (local, bytes, arrived) = (LOCAL, &mut bytes[..], now);
        let check = Inbound { via, local, remote, bytes, arrived, handed_over: false };
        assert!(core.contain(|core| core.on_datagram(now, check)).is_none());
        assert_eq!(ended(&core), [(keys[1], EndReason::Panicked)]);
        let counters = core.post.counters();
        assert_eq!(counters.session_panics.get(), 1);
        assert_eq!(counters.drops(DropReason::SessionPanicked), 1, "its datagram has its outcome");
        assert_eq!(core.sessions.len(), 2);
        assert_eq!(core.audit(), Ok(()));
    }

    /// Takes turns whenever one is due.
    fn live(core: &mut Core, from: Instant, to: Instant) {
        let mut now = from;
        while now < to {
            if let Next::At(at) = core.turn(now, false) {
                now = at.max(now + Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn time_in_which_the_process_was_stopped_is_nobodys_silence() {
        let now = Instant::now();
        let (mut core, _keys) = with_sessions(3, now);
        // It was stopped while it had something to do.
        core.due = now;
        let woken = now + Duration::from_secs(40);
        live(&mut core, woken, woken + Duration::from_secs(28));
        assert_eq!((core.sessions.len(), ended(&core).len()), (3, 0));
        live(&mut core, woken + Duration::from_secs(28), woken + Duration::from_secs(32));
        assert_eq!((core.sessions.len(), ended(&core).len()), (0, 3));
    }

    #[test]
    fn timers_that_were_due_with_one_that_panics_are_still_due() {
        let now = Instant::now();
        let (mut core, keys) = with_sessions(3, now);
        let before = now + Duration::from_millis(29_900);
        live(&mut core, now, before);
        // All of them have as long to be heard.
        PANICS.set(Some(1));
        live(&mut core, before, now + Duration::from_secs(31));
        let mut ended = ended(&core);
        ended.sort_by_key(|(key, _reason)| key.slot);
        let reasons = [EndReason::Unheard, EndReason::Panicked, EndReason::Unheard];
        assert_eq!(ended, keys.into_iter().zip(reasons).collect::<Vec<_>>());
    }

    #[test]
    fn a_shard_that_was_told_to_stop_stops_though_a_session_panics() {
        let now = Instant::now();
        let (mut core, _keys) = with_sessions(3, now);
        PANICS.set(Some(0));
        assert!(core.post.mailbox().command(Command::Stop).is_ok());
        assert_eq!(core.turn(now, false), Next::Now);
        assert_eq!(core.turn(now, false), Next::Stop);
        assert_eq!((core.sessions.len(), ended(&core).len()), (0, 3));
    }

    #[test]
    #[should_panic(expected = "nobody's")]
    fn a_panic_with_no_session_at_hand_is_not_held_up() {
        let now = Instant::now();
        let (mut core, _keys) = with_sessions(1, now);
        core.contain(|_core| panic!("nobody's"));
    }
}
