//! The hot loop.
//!
//! 1. **receive** a batch per socket that has one (`reactor.rs`), then from TCP connections; each
//!    datagram finds its session or another shard
//! 2. **mail** from other shards: strays, and media for viewers here
//! 3. **commands** of control threads, a few a turn, and **handshakes** that wait, likewise
//! 4. **timers** of sessions
//! 5. **deliver**: streams' packets to their viewers and to other nodes, key frame requests to
//!    publishers
//! 6. **flush** to the kernel, **wake** the shards that got mail, change **ports**
//! 7. **wait** for a socket, a wake-up or the next deadline, if nothing is left (`runtime.rs`)
//!
//! No clock is read in here: a turn happens at the time it is given, as in a simulation.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use tokio::sync::Notify;

use super::core::Core;
use super::{EndReason, Mail, Mailbox, Report};
use crate::id::Via;
use crate::limits::{
    COMMANDS_PER_TURN, DEPARTING_PACKETS, MAIL_PER_TURN, PAUSED, SESSION_IDLE, TIMERS_PER_TURN,
};
use crate::paths::{Inbound, SharedOwnership};
use crate::telemetry::{Meters, ShardCounters, TcpRefusals, limited};
use crate::wire::ufrag::UfragKey;

/// What all shards and the control threads share.
pub struct Wiring {
    /// One mailbox per shard.
    pub mailboxes: Vec<Mailbox>,
    /// Whose each flow is.
    pub ownership: SharedOwnership,
    /// The key of ufrags.
    pub ufrag_key: UfragKey,
    /// One set of counters per shard.
    pub counters: Vec<CachePadded<ShardCounters>>,
    /// TCP connections that reached no shard.
    pub tcp_refusals: TcpRefusals,
    /// What else each shard measures: ports, histograms, session cards.
    pub meters: Vec<CachePadded<Meters>>,
    /// What has become of sessions, per shard; room for
    /// [`crate::limits::REPORTS_PER_SLOT`] entries per slot.
    pub reports: Vec<ArrayQueue<Report>>,
    /// Notified when there is a report.
    pub reported: Notify,
}

/// How one shard runs.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Its number.
    pub index: u16,
    /// The core it is pinned to, if any.
    pub core: Option<usize>,
    /// Addresses in the answers for TCP; none where it is not served.
    pub tcp_candidates: Vec<SocketAddr>,
    /// How long a packet may wait for the rest of its frame.
    pub hold: Duration,
    /// Whether viewers get the layers that their paths carry, or all of them the best.
    pub adapts: bool,
    /// Whether datagrams may leave as trains.
    pub trains: bool,
    /// How long a session may take to connect.
    pub setup_timeout: Duration,
    /// How long it spins before it sleeps.
    pub busy_poll: Duration,
    /// The least time between the beginnings of two turns under load; `None` goes by the load.
    pub wake_gap: Option<Duration>,
    /// Seeds the starting numbers of lanes.
    pub seed: u64,
}

/// When the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do.
    Now,
    /// Not before this, unless a socket or a wake-up says so.
    At(Instant),
    /// The kernel took not all datagrams: when it takes more, or at this time.
    WhenWritable(Instant),
    /// Never: the shard was stopped.
    Stop,
}

impl Core {
    /// One turn, after `more_received` has said whether there is more than what was received. One
    /// that a session broke off is gone on with at once.
    pub fn turn(&mut self, now: Instant, more_received: bool) -> Next {
        let paused = now.saturating_duration_since(self.due);
        if paused >= PAUSED {
            self.forgive(paused);
        }
        let next = self.contain(|core| core.phases(now, more_received)).unwrap_or(Next::Now);
        self.due = match next {
            Next::At(at) | Next::WhenWritable(at) => at.max(now),
            Next::Now | Next::Stop => now,
        };
        next
    }

    /// The shard did not run for `paused` though it had to: nobody's silence is told from that.
    #[cold]
    fn forgive(&mut self, paused: Duration) {
        let millis = paused.as_millis();
        limited!(WARN, shard = self.post.index, "stood still for {millis} ms: stopped, or no core");
        let slots: Vec<u32> = self.sessions.occupied().collect();
        for slot in slots {
            let Some(entry) = self.sessions.at(slot) else { continue };
            entry.created += paused;
            entry.heard += paused;
        }
        self.links.forgive(paused);
    }

    fn phases(&mut self, now: Instant, more_received: bool) -> Next {
        let more_received = more_received | self.receive_tcp(now);
        let more_mail = self.take_mail(now);
        let more_commands = self.take_commands(now);
        self.commands_left = COMMANDS_PER_TURN;
        if self.stopping {
            self.end_all(now);
        }
        let more_handshakes = self.shake_hands(now);
        let more_timers = self.run_timers(now);
        let deliver_at = self.deliver(now);
        self.send_exports(now);
        let link_at = self.run_links(now);
        self.flush_tcp(now);
        self.all_sent = self.flush();
        self.survey(now);

        if self.stopping {
            return Next::Stop;
        }
        // A connection that came by a command has said something already.
        let more_received = more_received || self.paths.ways.tcp.has_more();
        if more_received || more_mail || more_commands || more_handshakes || more_timers {
            return Next::Now;
        }
        let timer_at = self.timers.next_deadline(now);
        let ats = [deliver_at, timer_at, link_at, self.paths.ways.tcp.next_sweep()];
        let at = ats.into_iter().flatten().min();
        let at = at.unwrap_or(now + SESSION_IDLE);
        if self.all_sent { Next::At(at) } else { Next::WhenWritable(at) }
    }

    /// The turn that began at `began` has ended, and with it the way of the packets that left.
    pub fn time_turn(&mut self, began: Instant, ended: Instant) {
        self.streams.left(ended);
        let micros = |since: Instant| ended.saturating_duration_since(since).as_micros() as u64;
        self.post.counters().turns.add(1);
        let histograms = &self.post.meters().histograms;
        histograms.turn.record(micros(began));
        if self.all_sent || self.scratch.departing.len() >= DEPARTING_PACKETS {
            for arrived in self.scratch.departing.drain(..) {
                histograms.socket_to_socket.record(micros(arrived));
            }
        }
    }

    /// Handles mail of other shards; true when there may be more.
    fn take_mail(&mut self, now: Instant) -> bool {
        for _ in 0..MAIL_PER_TURN {
            self.at_hand.slot = None;
            match self.post.mailbox().next_mail() {
                Some(Mail::Datagram(mut stray)) => {
                    self.post.counters().taken_over.add(1);
                    let datagram = Inbound {
                        via: Via::Udp(stray.port),
                        local: stray.local,
                        remote: stray.remote,
                        bytes: &mut stray.bytes,
                        arrived: stray.arrived,
                        handed_over: true,
                    };
                    self.on_datagram(now, datagram);
                }
                Some(Mail::Media(packet)) => {
                    self.post.counters().media_taken_over.add(1);
                    self.on_media(now, packet);
                }
                Some(Mail::Clock(report)) => self.streams.set_clock(report),
                Some(Mail::LayersChanged(track)) => self.streams.layers_changed(now, track),
                Some(Mail::FlowLost(flow)) => self.lose(now, &flow),
                Some(Mail::FlowWanted(flow)) => self.give_up(now, &flow),
                Some(Mail::Keyframe { track, layer, newcomers }) => {
                    self.on_keyframe_wanted(now, (track, layer), newcomers);
                }
                Some(Mail::Past(track, packets)) => self.streams.take_past(now, track, packets),
                None => return false,
            }
        }
        true
    }

    /// Lets time pass for the sessions whose deadline has come; true when there may be more.
    fn run_timers(&mut self, now: Instant) -> bool {
        let mut due = std::mem::take(&mut self.scratch.due);
        if due.is_empty() {
            self.timers.expired(now, &mut due);
        }
        self.scratch.due = due;
        // One by one: those that are left are still due when one of them panics.
        for _ in 0..TIMERS_PER_TURN {
            let Some(slot) = self.scratch.due.pop() else { break };
            self.take_in_hand(slot);
            self.on_timer(now, slot);
        }
        !self.scratch.due.is_empty()
    }

    fn on_timer(&mut self, now: Instant, slot: u32) {
        let setup_timeout = self.setup_timeout;
        let Some(entry) = self.sessions.at(slot) else { return };
        if !entry.connected && now >= entry.created + setup_timeout {
            let reason = match (self.paths.path(slot), self.paths.was_refused(slot)) {
                (Some(_), _) => EndReason::DtlsTimeout(entry.flight),
                (None, true) => EndReason::WrongPassword,
                (None, false) => EndReason::Unheard,
            };
            return self.close(slot, reason);
        }
        if entry.connected && now >= entry.heard + SESSION_IDLE {
            return self.close(slot, EndReason::Vanished);
        }
        if entry.dtls_deadline.is_some_and(|deadline| deadline <= now) {
            self.on_dtls_timeout(now, slot);
        }
        self.go_on_trial(now, slot);
        self.feed_back(now, slot);
        self.report(now, slot);
        self.judge_publisher(now, slot);
        self.arm(slot);
    }

    /// Viewers whose path refused a train get single datagrams from here on.
    fn single_file(&mut self) {
        while let Some((slot, to)) = self.paths.next_single_file() {
            self.viewer_moved(slot, to);
        }
    }

    /// Hands everything queued to the kernel. False when the kernel took not all of it.
    fn flush(&mut self) -> bool {
        let all_sent = self.paths.ways.transmitter.flush();
        let counters = self.post.counters();
        let meters = self.post.meters();
        let trains = &meters.histograms.train_length;
        self.paths.ways.transmitter.publish(counters, &meters.ports, trains);
        self.single_file();
        let counters = self.post.counters();
        counters.sessions.set(self.sessions.len() as u64);
        counters.flows.set(self.paths.flows() as u64);
        counters.streams.set(self.streams.len() as u64);
        all_sent
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::sync::oneshot;

    use super::*;
    use crate::id::SessionKey;
    use crate::net::Transmitter;
    use crate::paths::{Directory, LinkNames, Ownership, Sharing};
    use crate::shard::Command;

    const SESSIONS: usize = 8;
    pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    pub fn core(now: Instant) -> Core {
        core_of(now, SESSIONS)
    }

    /// A shard with room for `sessions`.
    pub fn core_of(now: Instant, sessions: usize) -> Core {
        let directory = Directory::new(sessions);
        let wiring = Wiring {
            mailboxes: vec![Mailbox::default()],
            ownership: SharedOwnership::new(Ownership {
                directory,
                steering: None,
                links: LinkNames::default(),
                shards: 1,
            }),
            ufrag_key: UfragKey::from_bytes(*b"of a turn's test"),
            counters: vec![ShardCounters::padded()],
            tcp_refusals: TcpRefusals::default(),
            meters: vec![Meters::new(sessions).into()],
            reports: vec![ArrayQueue::new(8 * sessions)],
            reported: Notify::new(),
        };
        let config = ShardConfig {
            index: 0,
            core: None,
            tcp_candidates: Vec::new(),
            hold: Duration::ZERO,
            adapts: true,
            trains: true,
            setup_timeout: Duration::from_secs(30),
            busy_poll: Duration::ZERO,
            wake_gap: None,
            seed: 1,
        };
        let ports = vec![7_882];
        let memory = Transmitter::memory();
        Core::new(&config, Sharing::Mux, ports, memory, wiring.into(), now).unwrap()
    }

    /// A check for `session`, whose ufrag is one of ours.
    pub fn check(key: &UfragKey, session: SessionKey) -> Vec<u8> {
        let username = format!("{}:peer", key.encode(session).as_str());
        let padded = username.len().next_multiple_of(4);
        let mut bytes = vec![0x00, 0x01, 0x00, 4 + padded as u8, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend([7; 12]);
        bytes.extend([0x00, 0x06, 0x00, username.len() as u8]);
        bytes.extend(username.bytes());
        bytes.resize(24 + padded, 0);
        bytes
    }

    #[test]
    fn checks_of_sessions_that_are_not_there_carry_out_no_more_commands_than_a_turn_may() {
        let now = Instant::now();
        let mut core = core(now);
        let mut answers = Vec::new();
        for _ in 0..10 * COMMANDS_PER_TURN {
            let (done, answer) = oneshot::channel();
            answers.push(answer);
            let command = Command::ClosePort { slot: 9, done };
            assert!(core.post.mailbox().command(command).is_ok());
        }
        let nobody = SessionKey { shard: 0, slot: 1, generation: 2 };
        let mut bytes = check(&core.post.wiring.ufrag_key, nobody);
        let (via, remote) = (Via::Udp(0), SocketAddr::new(LOCAL, 50_000));
        for turns in 1..5 {
            for _ in 0..100 {
                let (local, bytes, arrived) = (LOCAL, &mut bytes[..], now);
                let check = Inbound { via, local, remote, bytes, arrived, handed_over: false };
                core.on_datagram(now, check);
            }
            assert_eq!(core.turn(now, false), Next::Now, "there are more");
            assert_eq!(core.port_changes.len(), turns * COMMANDS_PER_TURN);
        }
        assert_eq!(core.post.counters().drops(crate::drop::DropReason::EndedSession), 400);
    }
}
