//! Everything a shard owns but its receiver, and the small helpers all its parts use.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handshakes::Handshakes;
use super::links::Links;
use super::panics::AtHand;
use super::port_changes::PortChange;
use super::post::Post;
use super::sessions::Sessions;
use super::survey::Survey;
use super::timers::Wheel;
use super::{ShardConfig, TakeoverStep, Wiring};
use crate::drop::DropReason;
use crate::egress::Feedback;
use crate::limits::{COMMANDS_PER_TURN, TCP_READ_BYTES};
use crate::net::{Destination, StrayWriter, Transmitter, Way};
use crate::paths::{Paths, PathsConfig, Sharing};
use crate::session::Output;
use crate::telemetry::{PortCounters, PortName};
use crate::track::{NeedKeyframe, Streams};

/// A shard without its receiver, so that datagrams can be read out of the one while the other
/// changes.
pub(super) struct Core {
    pub post: Post,
    pub paths: Paths,
    pub sessions: Sessions,
    pub streams: Streams,
    /// Links with other nodes.
    pub links: Links,
    pub timers: Wheel,
    pub handshakes: Handshakes,
    /// How long a session may take to connect.
    pub setup_timeout: Duration,
    /// Mux ports to open and close at the end of this turn's commands.
    pub port_changes: Vec<PortChange>,
    /// What a takeover wants at the end of this turn's commands.
    pub takeover_steps: Vec<TakeoverStep>,
    /// Takes what may be the process's that was taken over.
    pub earlier: Option<StrayWriter>,
    /// Commands that may still be carried out before the next turn's.
    pub commands_left: usize,
    pub stopping: bool,
    /// Whether the kernel took all that was to leave in the last turn.
    pub all_sent: bool,
    pub scratch: Scratch,
    pub survey: Survey,
    pub random: Random,
    /// When the next turn is due.
    pub due: Instant,
    /// Whom something is done for.
    pub at_hand: AtHand,
}

/// Starting points for sequence numbers and timestamps; xorshift64, since nothing secret hangs on
/// them.
pub(super) struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Memory that is used anew each turn.
#[derive(Default)]
pub(super) struct Scratch {
    pub outputs: Vec<Output>,
    pub due: Vec<u32>,
    pub feedback: Feedback,
    /// Where what an earlier process's sockets got is opened.
    pub stray: Vec<u8>,
    /// Whose the datagrams are that are about to be handled.
    pub ahead: Vec<u32>,
    pub keyframes_needed: Vec<NeedKeyframe>,
    /// Where connections are read into, in turn.
    pub tcp_buffer: Vec<u8>,
    /// When the published packets came that leave in this turn.
    pub departing: Vec<Instant>,
    /// Viewers that were sent their first packet in this turn.
    pub started: Vec<u32>,
}

impl Core {
    /// A shard that serves the ports with these numbers.
    ///
    /// # Errors
    /// Those of [`Paths::new`].
    pub fn new(
        config: &ShardConfig,
        sharing: Sharing,
        ports: Vec<u16>,
        transmitter: Transmitter,
        wiring: Arc<Wiring>,
        now: Instant,
    ) -> io::Result<Core> {
        let setup = PathsConfig {
            shard: config.index,
            tcp_candidates: config.tcp_candidates.clone(),
            trains: config.trains,
            ufrag_key: wiring.ufrag_key.clone(),
        };
        let paths = Paths::new(setup, wiring.ownership.clone(), sharing, transmitter, now)?;
        let mut core = Core {
            post: Post::new(config.index, wiring),
            paths,
            sessions: Sessions::default(),
            streams: Streams::new(config.index, config.hold, config.adapts),
            links: Links::default(),
            timers: Wheel::new(now),
            handshakes: Handshakes::new(),
            setup_timeout: config.setup_timeout,
            port_changes: Vec::new(),
            takeover_steps: Vec::new(),
            earlier: None,
            commands_left: COMMANDS_PER_TURN,
            stopping: false,
            all_sent: true,
            scratch: Scratch { tcp_buffer: vec![0; TCP_READ_BYTES], ..Scratch::default() },
            survey: Survey::new(now),
            random: Random(config.seed | 1),
            due: now,
            at_hand: AtHand::default(),
        };
        if sharing == Sharing::Session {
            // One place counts for all of them.
            core.port_counters(0).open(PortName::All);
        }
        for (slot, number) in (0..).zip(ports) {
            core.serve_port(slot, number);
        }
        Ok(core)
    }

    /// What is counted at the port in a slot; of ports of sessions, at all of them.
    pub fn port_counters(&self, slot: u32) -> &PortCounters {
        self.post.meters().ports.at(self.paths.ports.place(slot))
    }

    /// Counts datagrams that came in through the port in a slot.
    pub fn count_received(&self, port: u32, datagrams: u64, bytes: u64) {
        self.post.counters().datagrams_in.add(datagrams);
        self.post.counters().bytes_in.add(bytes);
        self.port_counters(port).datagrams_in.add(datagrams);
        self.port_counters(port).bytes_in.add(bytes);
    }

    /// What is done from here on is done for the session in `slot`.
    #[inline]
    pub fn take_in_hand(&mut self, slot: u32) {
        self.at_hand.slot = Some(slot);
        #[cfg(test)]
        super::panics::tests::at_hand(slot);
    }

    /// Queues a datagram of STUN or DTLS.
    pub fn send(&mut self, to: Destination, bytes: &[u8]) {
        send(&mut self.paths, &self.post, to, bytes);
    }

    /// The mux port `number` is served in `slot` from here on.
    pub fn serve_port(&mut self, slot: u32, number: u16) {
        self.port_counters(slot).open(PortName::Port(number));
        self.paths.ports.insert(slot, number);
    }
}

/// Queues a datagram of STUN or DTLS.
pub(super) fn send(paths: &mut Paths, post: &Post, to: Destination, bytes: &[u8]) {
    let pushed = paths.ways.push(to, |slot| {
        slot.get_mut(..bytes.len()).ok_or(DropReason::TooLong)?.copy_from_slice(bytes);
        Ok(bytes.len())
    });
    if let Err(reason) = pushed {
        post.dropped(reason);
    }
}
