//! One run: server, clients and network under one clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use monoport::id::{SessionKey, Via};
use str0m::media::Rid;

use crate::arrivals::Arrivals;
use crate::client::{Client, LAYERS, Offering};
use crate::flight::{Flights, Route};
use crate::media::Encoders;
use crate::network::{Kind, Leg, Quality, kind, rtp_name};
use crate::numbering::Numbering;
use crate::peer::{Addresses, Peer};
use crate::random::Random;
use crate::server::{Server, Setup};
use crate::turns::Turns;
use crate::waiting::Waiting;

pub struct World {
    pub seed: u64,
    pub random: Random,
    pub start: Instant,
    pub now: Instant,
    pub server: Server,
    pub peers: Vec<Peer>,
    /// When each shard's next turn is due.
    due: Vec<Instant>,
    flights: Flights,
    addresses: Addresses,
    publishers: u16,
    pub numbering: Numbering,
    pub waiting: Waiting,
    turns: Turns,
    arrivals: Arrivals,
    /// Bytes of RTP and RTCP sent to each address.
    pub sent_to: HashMap<SocketAddr, usize>,
    /// RTCP that was sent, and where to.
    pub rtcp_sent: Vec<(Instant, SocketAddr, Vec<u8>)>,
    /// What has happened, for whoever reads why a seed failed.
    pub story: Vec<String>,
}

impl World {
    pub fn new(seed: u64, setup: Setup, streams: usize) -> World {
        fastrand::seed(seed);
        // Ahead of the real clock, which a session's construction reads, so that no time goes back.
        let start = Instant::now() + Duration::from_secs(5);
        let server = Server::new(start, setup, streams);
        let shards = server.shards.len();
        World {
            seed,
            random: Random::new(seed),
            start,
            now: start,
            server,
            peers: Vec::new(),
            due: vec![start; shards],
            flights: Flights::default(),
            addresses: Addresses::default(),
            publishers: 0,
            numbering: Numbering::default(),
            waiting: Waiting::new(streams),
            turns: Turns::new(shards),
            arrivals: Arrivals::default(),
            sent_to: HashMap::new(),
            rtcp_sent: Vec::new(),
            story: vec![format!("{setup:?}")],
        }
    }

    pub fn tell(&mut self, what: impl Into<String>) {
        let at = self.now.saturating_duration_since(self.start).as_micros() as f64 / 1e6;
        self.story.push(format!("{at:9.6} s  {}", what.into()));
    }

    /// A rule is broken.
    pub fn broken(&self, rule: &str) -> ! {
        let at = self.now.saturating_duration_since(self.start);
        let drops = self.server.drops();
        panic!("seed {}, after {at:?}: {rule}\n{}\n{drops}", self.seed, self.story.join("\n"));
    }

    pub fn hold_to(&self, rule: Result<(), String>) {
        if let Err(broken) = rule {
            self.broken(&broken);
        }
    }

    /// A publisher comes, in the place of the one before.
    pub fn publish(&mut self, stream: usize, layers: usize, quality: Quality) -> usize {
        let at = self.place();
        let offering = Offering::new(self.now, self.peers.len(), self.host(), layers);
        let placed = self.server.publish(self.now, offering, stream, at);
        self.publishers += 1;
        let encoders = Encoders::new(&mut self.random, self.now, self.publishers, layers);
        self.waiting.publisher_comes(self.publishers, layers);
        let peer = self.enter(placed.client, placed.key, stream, at.1, quality);
        self.peers[peer].encoders = Some(encoders);
        let publisher = self.publishers;
        let key = placed.key;
        self.tell(format!(
            "peer {peer} ({key}) publishes stream {stream} as {publisher}, layers: {layers}, \
             {quality:?}"
        ));
        peer
    }

    /// A viewer comes.
    pub fn watch(&mut self, stream: usize, quality: Quality) -> usize {
        let at = self.place();
        let offering = Offering::new(self.now, self.peers.len(), self.host(), 0);
        let placed = self.server.watch(self.now, offering, stream, at);
        let peer = self.enter(placed.client, placed.key, stream, at.1, quality);
        let Peer { client, .. } = &mut self.peers[peer];
        self.numbering.viewer_comes(peer, client.watched_ssrcs());
        self.tell(format!("peer {peer} ({}) watches stream {stream}, {quality:?}", placed.key));
        peer
    }

    fn place(&mut self) -> (u16, usize) {
        let shard = self.random.index(self.server.shards.len()) as u16;
        (shard, self.random.index(self.server.ports()))
    }

    fn host(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1 + self.peers.len() as u8], 5_000))
    }

    fn enter(
        &mut self,
        client: Client,
        key: SessionKey,
        stream: usize,
        port: usize,
        quality: Quality,
    ) -> usize {
        let peer = self.peers.len();
        let leg = Leg::new(self.addresses.give(peer), quality);
        self.peers.push(Peer {
            client,
            key,
            stream,
            port,
            leg,
            encoders: None,
            reporter: None,
            present: true,
            said_goodbye: false,
            address_changed_hands: false,
            ended: None,
        });
        peer
    }

    /// The NAT of a client forgets it, and gives it another address.
    pub fn rebind(&mut self, peer: usize) {
        self.peers[peer].leg.outside = self.addresses.give(peer);
        self.tell(format!("peer {peer} is rebound"));
    }

    /// The NAT gives a client the address that another had until now.
    pub fn rebind_to(&mut self, peer: usize, former: usize) {
        let outside = self.peers[former].leg.outside;
        self.peers[former].leg.outside = self.addresses.give(former);
        // What the former client's handshake has under way comes to the other's.
        self.peers[former].address_changed_hands = true;
        self.peers[peer].address_changed_hands = true;
        self.peers[peer].leg.outside = outside;
        self.addresses.pass_on(outside, peer);
        self.arrivals.passes_on(outside, peer);
        self.tell(format!("peer {peer} gets the address of peer {former}"));
    }

    /// The numbers of one of a publisher's tracks begin anew under another SSRC: audio is 0.
    pub fn restart_track(&mut self, peer: usize, track: usize) {
        self.tell(format!("peer {peer} starts the numbers of its track {track} anew"));
        let World { peers, random, now, .. } = self;
        let Peer { client, encoders, .. } = &mut peers[peer];
        if let Some(encoders) = encoders {
            encoders.restart(track, random, *now, client);
        }
    }

    /// Sends a datagram to the server from an address of its own choice; it arrives at once.
    pub fn send_from(&mut self, by: Option<usize>, from: SocketAddr, port: usize, bytes: Vec<u8>) {
        if let Some(peer) = by {
            self.addresses.pass_on(from, peer);
        }
        self.flights.add(self.now, bytes, Route::ToServer { by, from, port });
    }

    /// Sends a datagram by a client's own way.
    pub fn send(&mut self, peer: usize, port: usize, bytes: Vec<u8>) {
        let leg = &self.peers[peer].leg;
        let arrivals = leg.up.carry(&mut self.random, self.now, &bytes);
        let route = Route::ToServer { by: Some(peer), from: leg.outside, port };
        for at in arrivals.into_iter().flatten() {
            self.flights.add(at, bytes.clone(), route);
        }
    }

    /// Lets everything happen until `end`.
    pub fn run_until(&mut self, end: Instant) {
        loop {
            let next = self.next_event();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.arrive();
            self.clients_act();
            self.shards_turn();
        }
    }

    fn next_event(&self) -> Instant {
        let shards = self.due.iter().copied().min();
        let present = self.peers.iter().filter(|peer| peer.present);
        let clients =
            present.flat_map(|peer| [Some(peer.client.timeout), peer.next_frame()]).flatten().min();
        [self.flights.next(), shards, clients]
            .into_iter()
            .flatten()
            .min()
            .expect("shards always are due")
    }

    fn arrive(&mut self) {
        while let Some((bytes, route)) = self.flights.arrived(self.now) {
            match route {
                Route::ToServer { by, from, port } => self.reach_server(by, from, port, &bytes),
                Route::ToClient { to, port } => self.reach_client(to, port, &bytes),
            }
        }
    }

    fn reach_client(&mut self, to: SocketAddr, port: usize, bytes: &[u8]) {
        let Some(peer) = self.addresses.holders(to).next() else { return };
        let from = self.server.port_address(port);
        let entry = &mut self.peers[peer];
        if entry.present && entry.leg.outside == to {
            entry.client.receive(self.now, from, bytes);
            self.empty_outbox(peer);
            self.take_received(peer);
        }
    }

    fn reach_server(&mut self, by: Option<usize>, from: SocketAddr, port: usize, bytes: &[u8]) {
        // The kernel's hash of the 4-tuple, near enough.
        let shard = usize::from(from.port()) % self.server.shards.len();
        let seen = self.arrivals.deliver(&mut self.server, self.now, shard, (port, from), bytes);
        let outcome = match seen {
            Ok(outcome) => outcome,
            Err(broken) => self.broken(&broken),
        };
        self.take_ended();
        if let Some(peer) = by {
            let rule =
                self.arrivals.note(self.now, &self.peers[peer], peer, (port, from), bytes, outcome);
            self.hold_to(rule);
            let stream = self.peers[peer].stream;
            if let Some(tag) = self.numbering.reached(self.now, (peer, stream), bytes, outcome) {
                self.waiting.taken(self.now, stream, tag);
            }
        }
        self.turns.something_came(shard);
        self.due[shard] = self.now;
    }

    fn clients_act(&mut self) {
        for peer in 0..self.peers.len() {
            if !self.peers[peer].present {
                continue;
            }
            if self.peers[peer].client.timeout <= self.now {
                self.peers[peer].client.advance(self.now);
                self.empty_outbox(peer);
            }
            self.publish_due(peer);
        }
    }

    fn publish_due(&mut self, peer: usize) {
        let Peer { client, encoders, .. } = &mut self.peers[peer];
        let Some(encoders) = encoders.as_mut() else { return };
        for rid in client.asked.drain(..) {
            encoders.asked(layer_of(rid));
        }
        if !client.connected || encoders.next().is_none_or(|next| next > self.now) {
            return;
        }
        let left = encoders.send_due(self.now, &mut self.random, client);
        for packet in left {
            self.numbering.left(peer, packet);
        }
        self.empty_outbox(peer);
    }

    /// Sends what a client has made.
    pub fn empty_outbox(&mut self, peer: usize) {
        for (to, bytes) in std::mem::take(&mut self.peers[peer].client.outbox) {
            let own = self.peers[peer].client.own_rtcp;
            let Some(port) = self.server.port_slot(to) else { continue };
            if !(own && kind(&bytes) == Kind::Rtcp) {
                self.send(peer, port, bytes);
            }
        }
    }

    fn take_received(&mut self, peer: usize) {
        let Peer { client, encoders, ended, stream, .. } = &mut self.peers[peer];
        if encoders.is_some() || !client.connected {
            return;
        }
        if ended.is_none() {
            self.waiting.viewer_is_ready(self.now, peer, *stream);
        }
        let received = std::mem::take(&mut client.received);
        let keys = client.keys.as_ref().expect("it is connected");
        let viewer = self.numbering.viewer(peer).expect("it watches");
        let mut rule = viewer.has_keys(keys);
        for packet in &received {
            rule = rule.and_then(|()| self.numbering.received(peer, packet));
        }
        self.hold_to(rule);
    }

    fn shards_turn(&mut self) {
        for shard in 0..self.server.shards.len() {
            let called = self.server.is_called(shard);
            if called {
                self.turns.something_came(shard);
            }
            if called || self.due[shard] <= self.now {
                self.turn(shard);
            }
        }
        // Mail that a shard has put into the box of one that had its turn already.
        for shard in 0..self.server.shards.len() {
            if self.server.wiring.mailboxes[shard].depth() > 0 {
                self.due[shard] = self.now;
            }
        }
        self.take_ended();
        let rule = self.waiting.check(self.now, &self.server);
        self.hold_to(rule);
    }

    fn turn(&mut self, shard: usize) {
        let before = self.turns.before(&self.server, shard);
        let next = self.server.shards[shard].turn(self.now);
        let rule = self.turns.after(&self.server, shard, before, self.now, next);
        self.hold_to(rule);
        let audit = self.server.shards[shard].audit();
        self.hold_to(audit.map_err(|why| format!("shard {shard}: {why}")));
        self.due[shard] = next.expect("nobody stops it");
        self.route_sent(shard);
    }

    fn take_ended(&mut self) {
        for (key, reason) in self.server.take_reports() {
            let peer = self.peers.iter().position(|peer| peer.key == key && peer.ended.is_none());
            let peer = peer.expect("it was a client's");
            self.hold_to(self.peers[peer].may_end(reason));
            self.peers[peer].ended = Some(reason);
            self.waiting.ended(peer);
            self.tell(format!("the server ends peer {peer}: {reason:?}"));
        }
    }

    fn route_sent(&mut self, shard: usize) {
        for sent in self.server.shards[shard].take_sent() {
            let (to, bytes) = (sent.to.remote, &sent.bytes[..]);
            let Via::Udp(port) = sent.to.via else { continue };
            if matches!(kind(bytes), Kind::Rtp | Kind::Rtcp) {
                *self.sent_to.entry(to).or_default() += bytes.len();
            }
            if kind(bytes) == Kind::Rtcp {
                self.rtcp_sent.push((self.now, to, bytes.to_vec()));
            }
            self.see_sent((port as usize, to), bytes);
            let Some(peer) = self.addresses.holders(to).next() else { continue };
            let arrivals = self.peers[peer].leg.down.carry(&mut self.random, self.now, bytes);
            for at in arrivals.into_iter().flatten() {
                let route = Route::ToClient { to, port: port as usize };
                self.flights.add(at, bytes.to_vec(), route);
            }
        }
    }

    /// Looks at media that leaves: it is for one of those who have or had the address.
    fn see_sent(&mut self, (port, to): (usize, SocketAddr), bytes: &[u8]) {
        if kind(bytes) != Kind::Rtp {
            return;
        }
        let holders: Vec<usize> = self.addresses.holders(to).collect();
        for (place, peer) in holders.iter().enumerate() {
            let Some(viewer) = self.numbering.viewer(*peer) else { continue };
            if !viewer.has(rtp_name(bytes).0) {
                continue;
            }
            let rule = viewer.sent(self.now, bytes);
            if viewer.is_video(bytes) {
                self.waiting.served(*peer);
            }
            self.hold_to(rule.map_err(|why| format!("peer {peer}: {why}")));
            let newer = holders[..place].iter();
            let rule = self.arrivals.may_reach(self.now, (port, to), *peer, newer.copied());
            return self.hold_to(rule);
        }
        let stranger = holders.is_empty();
        self.hold_to(if stranger { Ok(()) } else { Err(format!("{to} gets foreign media")) });
    }
}

/// The layer that a key frame request names; the only one where it names none.
fn layer_of(rid: Option<Rid>) -> usize {
    let of = |rid: Rid| LAYERS.iter().position(|layer| Rid::from(*layer) == rid);
    rid.and_then(of).unwrap_or(0)
}
