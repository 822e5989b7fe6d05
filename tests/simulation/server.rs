//! The server under test: its shards, and the little of the control side that they need.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use monoport::drop::DropReason;
use monoport::id::{SessionKey, StreamKey};
use monoport::paths::{Directory, LinkNames, Ownership};
use monoport::session::{
    CodecMatch, LocalIce, Negotiation, Negotiator, Offer, Renegotiated, StreamCodecs,
};
use monoport::shard::{
    Command, EndReason, Mailbox, Report, SessionPort, ShardConfig, Simulated, Wiring,
};
use monoport::telemetry::{Meters, ShardCounters, TcpRefusals};
use monoport::track::StreamShared;
use monoport::wire::ufrag::UfragKey;
use str0m::IceCreds;
use tokio::sync::Notify;

use crate::client::{Client, Offering};

/// Sessions one shard takes.
const SESSIONS: usize = 64;

/// Our address.
pub const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

const FIRST_PORT: u16 = 3_478;

/// How a run's server is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub shards: u16,
    pub ports: usize,
    /// Publishers every stream has had before.
    pub publishers_before: u32,
    pub hold: Duration,
    pub seed: u64,
}

struct Stream {
    shared: Arc<StreamShared>,
    codecs: StreamCodecs,
    /// The publisher that took over last, and its number.
    publisher: Option<(SessionKey, u32)>,
}

/// Slots of one shard, with the generation of each one's next tenant.
#[derive(Default)]
struct Slots {
    generations: Vec<u32>,
    free: Vec<u32>,
}

pub struct Server {
    pub shards: Vec<Simulated>,
    pub wiring: Arc<Wiring>,
    ports: Vec<Vec<SocketAddr>>,
    /// Shards that have commands waiting.
    called: Vec<bool>,
    streams: Vec<Stream>,
    slots: Vec<Slots>,
    /// Sessions that were added and have not been reported as ended, with their streams.
    pub live: HashMap<SessionKey, usize>,
}

/// What became of an offer.
pub struct Placed {
    pub client: Client,
    pub key: SessionKey,
    pub negotiation: Negotiation,
}

fn negotiator() -> &'static Negotiator {
    static NEGOTIATOR: OnceLock<Negotiator> = OnceLock::new();
    NEGOTIATOR.get_or_init(|| Negotiator::new(false, CodecMatch::Lenient))
}

impl Server {
    pub fn new(now: Instant, setup: Setup, streams: usize) -> Server {
        let shards = usize::from(setup.shards);
        let wiring = Arc::new(Wiring {
            mailboxes: (0..shards).map(|_| Mailbox::default()).collect(),
            ownership: Arc::new(Ownership {
                directory: Directory::new(SESSIONS * shards * 2),
                steering: None,
                links: LinkNames::default(),
                shards,
            }),
            ufrag_key: UfragKey::from_bytes(*b"of a simulation!"),
            counters: (0..shards).map(|_| ShardCounters::padded()).collect(),
            tcp_refusals: TcpRefusals::default(),
            meters: (0..shards).map(|_| Meters::new(SESSIONS).into()).collect(),
            reports: (0..shards).map(|_| ArrayQueue::new(3 * SESSIONS)).collect(),
            reported: Notify::new(),
        });
        let ports: Vec<Vec<SocketAddr>> = (0..setup.ports)
            .map(|slot| vec![SocketAddr::new(LOCAL, FIRST_PORT + slot as u16)])
            .collect();
        let config = |index| ShardConfig {
            index,
            core: None,
            tcp_candidates: Vec::new(),
            hold: setup.hold,
            adapts: true,
            trains: true,
            setup_timeout: Duration::from_secs(10),
            busy_poll: Duration::ZERO,
            wake_gap: None,
            seed: setup.seed,
        };
        let shards: Vec<Simulated> = (0..setup.shards)
            .map(|index| {
                let ports = ports.iter().map(|named| named[0].port()).collect();
                Simulated::new(&config(index), ports, wiring.clone(), now)
                    .expect("a few descriptors")
            })
            .collect();
        let stream = |index| {
            let shared = StreamShared::new(StreamKey { index: index as u32, generation: 0 });
            for _ in 0..setup.publishers_before {
                let number = shared.take_over(0);
                shared.publisher_left(number);
            }
            let (shared, codecs) = (Arc::new(shared), StreamCodecs::default());
            Stream { shared, codecs, publisher: None }
        };
        let streams = (0..streams).map(stream).collect();
        let slots = shards.iter().map(|_| Slots::default()).collect();
        let called = vec![false; shards.len()];
        Server { shards, wiring, ports, called, streams, slots, live: HashMap::new() }
    }

    pub fn port_slot(&self, to: SocketAddr) -> Option<usize> {
        self.ports.iter().position(|candidates| candidates.contains(&to))
    }

    pub fn port_address(&self, slot: usize) -> SocketAddr {
        self.ports[slot][0]
    }

    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// Nothing is left of any session.
    pub fn is_empty(&self) -> Result<(), String> {
        if let Some(key) = self.live.keys().next() {
            return Err(format!("session {key} has never ended"));
        }
        for (shard, counters) in self.wiring.counters.iter().enumerate() {
            let gauges = [&counters.sessions, &counters.flows, &counters.streams];
            let [sessions, flows, streams] = gauges.map(|gauge| gauge.get());
            let viewers = counters.viewers_ready.get();
            if sessions + flows + streams + viewers > 0 {
                return Err(format!(
                    "shard {shard} is left with {sessions} sessions, {flows} flows, {streams} \
                     streams, {viewers} viewers"
                ));
            }
        }
        Ok(())
    }

    /// What each shard has dropped, in words.
    pub fn drops(&self) -> String {
        let mut words = String::new();
        for (shard, counters) in self.wiring.counters.iter().enumerate() {
            let drops = DropReason::ALL.iter().map(|reason| (reason, counters.drops(*reason)));
            let drops: Vec<_> = drops.filter(|(_, count)| *count > 0).collect();
            words += &format!("shard {shard} dropped {drops:?}\n");
        }
        words
    }

    /// Whether viewers can be answered: a publisher has come at some time.
    pub fn has_codecs(&self, stream: usize) -> bool {
        self.streams[stream].codecs != StreamCodecs::default()
    }

    /// Takes a publisher in, in the place of the one before.
    pub fn publish(
        &mut self,
        now: Instant,
        offering: Offering,
        stream: usize,
        at: (u16, usize),
    ) -> Placed {
        let (shard, port) = at;
        let key = self.take_slot(shard);
        let offer = Offer::to_publish(&offering.sdp()).expect("an offer of str0m's");
        let entry = &mut self.streams[stream];
        let codecs = offer.choose_codecs(entry.codecs).expect("always the same");
        let stream_key = entry.shared.key;
        let credentials = credentials(&self.wiring.ufrag_key, key);
        let local = LocalIce { credentials, candidates: &self.ports[port], tcp_candidates: &[] };
        let negotiated = negotiator()
            .publisher(now, offer, local, codecs, stream_key)
            .expect("it is negotiated");
        let entry = &mut self.streams[stream];
        entry.codecs = codecs;
        let shared = entry.shared.clone();
        let (session, negotiation) = (Box::new(negotiated.session), negotiated.negotiation);
        self.command(
            shard,
            Command::Add { key, port: SessionPort::Mux(port), session, stream: shared },
        );
        self.live.insert(key, stream);
        Placed { client: offering.accept(negotiated.answer), key, negotiation }
    }

    /// Takes a viewer in.
    pub fn watch(
        &mut self,
        now: Instant,
        offering: Offering,
        stream: usize,
        at: (u16, usize),
    ) -> Placed {
        let (shard, port) = at;
        let key = self.take_slot(shard);
        let offer = Offer::to_watch(&offering.sdp()).expect("an offer of str0m's");
        let credentials = credentials(&self.wiring.ufrag_key, key);
        let local = LocalIce { credentials, candidates: &self.ports[port], tcp_candidates: &[] };
        let codecs = self.streams[stream].codecs;
        let negotiated = negotiator().viewer(now, offer, local, codecs).expect("it is negotiated");
        let shared = self.streams[stream].shared.clone();
        let (session, negotiation) = (Box::new(negotiated.session), negotiated.negotiation);
        self.command(
            shard,
            Command::Add { key, port: SessionPort::Mux(port), session, stream: shared },
        );
        self.live.insert(key, stream);
        Placed { client: offering.accept(negotiated.answer), key, negotiation }
    }

    /// Answers a later offer of a session whose first answer named the first port.
    pub fn renegotiate(
        &self,
        now: Instant,
        negotiation: &mut Negotiation,
        offer: Offer,
    ) -> Renegotiated {
        let answered = negotiator().renegotiate(now, negotiation, offer, &self.ports[0], &[]);
        answered.expect("it is taken")
    }

    /// Ends a session from the control side.
    pub fn end(&mut self, key: SessionKey, reason: EndReason) {
        self.command(key.shard, Command::End(key, reason));
    }

    /// Takes in what the shards have reported; returns whose sessions have ended.
    pub fn take_reports(&mut self) -> Vec<(SessionKey, EndReason)> {
        let mut all = Vec::new();
        for shard in 0..self.shards.len() {
            while let Some(report) = self.wiring.reports[shard].pop() {
                match report {
                    Report::Connected(_key) => {}
                    Report::Live { key, number } => self.live(key, number),
                    // Each of its publishers is answered one codec of a kind.
                    Report::Switched { key, .. } => panic!("{key} sends another codec"),
                    Report::Ended(ended) => {
                        self.ended(ended.key);
                        all.push((ended.key, ended.reason));
                    }
                }
            }
        }
        all
    }

    /// A publisher has taken its stream over: the one before is ended.
    fn live(&mut self, key: SessionKey, number: u32) {
        let stream = self.live[&key];
        let publisher = &mut self.streams[stream].publisher;
        let out = match *publisher {
            Some((_, newer)) if newer > number => Some(key),
            former => {
                *publisher = Some((key, number));
                former.map(|(key, _)| key).filter(|former| *former != key)
            }
        };
        if let Some(out) = out {
            self.end(out, EndReason::Replaced);
        }
    }

    fn ended(&mut self, key: SessionKey) {
        let stream = self.live.remove(&key).expect("a session ends once");
        let publisher = &mut self.streams[stream].publisher;
        *publisher = publisher.filter(|(publisher, _)| *publisher != key);
        let slots = &mut self.slots[usize::from(key.shard)];
        slots.generations[key.slot as usize] = SessionKey::next_generation(key.generation);
        slots.free.push(key.slot);
    }

    /// Whether something waits for a shard that it should be woken for; asked once per turn.
    pub fn is_called(&mut self, shard: usize) -> bool {
        std::mem::take(&mut self.called[shard]) || self.wiring.mailboxes[shard].depth() > 0
    }

    /// What all shards know of a stream.
    pub fn shared(&self, stream: usize) -> Arc<StreamShared> {
        self.streams[stream].shared.clone()
    }

    pub fn command(&mut self, shard: u16, command: Command) {
        self.called[usize::from(shard)] = true;
        let sent = self.wiring.mailboxes[usize::from(shard)].command(command);
        assert!(sent.is_ok(), "the queue of commands is full");
    }

    fn take_slot(&mut self, shard: u16) -> SessionKey {
        let slots = &mut self.slots[usize::from(shard)];
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.generations.push(0);
            slots.generations.len() as u32 - 1
        });
        SessionKey { shard, slot, generation: slots.generations[slot as usize] }
    }
}

fn credentials(ufrag_key: &UfragKey, key: SessionKey) -> IceCreds {
    let ufrag = ufrag_key.encode(key).as_str().to_owned();
    IceCreds { ufrag, pass: "a password of twenty-four".replace(' ', "-") }
}
