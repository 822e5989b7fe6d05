//! A session that takes more than one stream: a later offer, and subscriptions that come and go.

use std::time::{Duration, Instant};

use monoport::id::SessionKey;
use monoport::id::Via;
use monoport::session::{Negotiation, Offer, Renegotiated};
use monoport::shard::{Command, EndReason, NotSubscribed};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use tokio::sync::oneshot;

use crate::client::{Client, Offering, Outgoing};
use crate::media::Tag;
use crate::server::{Placed, Server, Setup};

const SETUP: Setup =
    Setup { shards: 1, ports: 1, publishers_before: 0, hold: Duration::ZERO, seed: 7 };

/// A server of one shard with clients on lines where nothing is lost and nothing takes time.
struct Call {
    now: Instant,
    server: Server,
    clients: Vec<Client>,
    keys: Vec<SessionKey>,
    negotiations: Vec<Negotiation>,
    sent: u64,
}

impl Call {
    /// Two publishers of a stream each, and a viewer of the first one's.
    fn new() -> Call {
        let now = Instant::now();
        let server = Server::new(now, SETUP, 2);
        let (clients, keys, negotiations) = (Vec::new(), Vec::new(), Vec::new());
        let mut call = Call { now, server, clients, keys, negotiations, sent: 0 };
        for stream in 0..2 {
            let offering = Offering::new(now, stream, address(stream), 1);
            let placed = call.server.publish(now, offering, stream, (0, 0));
            call.enter(placed);
        }
        let offering = Offering::new(now, 2, address(2), 0);
        let placed = call.server.watch(now, offering, 0, (0, 0));
        call.enter(placed);
        call.run(100);
        assert!(call.clients.iter().all(|client| client.connected));
        call
    }

    fn enter(&mut self, placed: Placed) {
        self.clients.push(placed.client);
        self.keys.push(placed.key);
        self.negotiations.push(placed.negotiation);
    }

    /// Lets `steps` of 10 ms pass; the publishers send a frame in each once they are connected.
    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.now += Duration::from_millis(10);
            self.publish();
            for client in 0..self.clients.len() {
                if self.clients[client].timeout <= self.now {
                    self.clients[client].advance(self.now);
                }
                let (from, outbox) = {
                    let client = &mut self.clients[client];
                    (client.host, std::mem::take(&mut client.outbox))
                };
                for (to, bytes) in outbox {
                    self.server.shards[0].deliver(self.now, 0, to.ip(), from, &bytes);
                }
            }
            self.server.shards[0].turn(self.now);
            self.server.shards[0].audit().expect("the tables agree");
            self.server.take_reports();
            for sent in self.server.shards[0].take_sent() {
                let Via::Udp(port) = sent.to.via else { continue };
                let server = self.server.port_address(port as usize);
                let client = self.clients.iter_mut().find(|c| c.host == sent.to.remote);
                client.expect("it is a client's").receive(self.now, server, &sent.bytes);
            }
        }
    }

    fn publish(&mut self) {
        self.sent += 1;
        for publisher in 0..2u16 {
            let client = &mut self.clients[usize::from(publisher)];
            let keyframe = !std::mem::take(&mut client.asked).is_empty() || self.sent == 1;
            if client.connected {
                let tag = Tag::video(publisher, self.sent as u32, keyframe);
                let packet = Outgoing {
                    layer: Some(0),
                    sequence: self.sent,
                    timestamp: self.sent as u32 * 900,
                    marker: true,
                    payload: tag.payload(true, 100),
                };
                client.send(self.now, &packet);
            }
        }
    }

    /// What a client has got of each publisher's stream since the last call.
    fn got(&mut self, client: usize) -> [usize; 2] {
        let received = std::mem::take(&mut self.clients[client].received);
        let of = |publisher| {
            received.iter().filter(|packet| packet.tag.source.publisher == publisher).count()
        };
        [of(0), of(1)]
    }

    /// A client offers one more section of video that it takes, and takes the answer.
    fn offer_more(&mut self, client: usize) -> Renegotiated {
        let mut changes = self.clients[client].rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().expect("something is offered");
        let offer = offer.to_sdp_string();
        let publishes = client < 2;
        let offer = if publishes {
            Offer::to_publish_and_watch(&offer)
        } else {
            Offer::to_renegotiate(&offer, false)
        };
        let offer = offer.expect("an offer of str0m's");
        let negotiation = &mut self.negotiations[client];
        let answered = self.server.renegotiate(self.now, negotiation, offer);
        let answer = SdpAnswer::from_sdp_string(&answered.answer).expect("the answer parses");
        let api = self.clients[client].rtc.sdp_api();
        api.accept_answer(pending, answer).expect("the answer fits");
        answered
    }

    fn subscribe(&mut self, viewer: usize, to: &Renegotiated) -> Result<(), NotSubscribed> {
        let (done, mut told) = oneshot::channel();
        let (key, stream, terms) = (self.keys[viewer], self.server.shared(1), to.added.clone());
        self.server.command(0, Command::Subscribe { key, stream, terms, done });
        self.run(1);
        told.try_recv().expect("it is done in a turn")
    }
}

fn address(client: usize) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([198, 51, 100, 1], 10_000 + client as u16))
}

#[test]
fn a_viewer_takes_a_second_stream_on_the_connection_it_has() {
    let mut call = Call::new();
    let [first, second] = call.got(2);
    assert!(first > 0 && second == 0, "it plays the first alone: {first} {second}");
    let name = call.clients[2].answered("a=ice-ufrag:").to_owned();
    let answered = call.offer_more(2);
    assert!(answered.answer.contains(&name), "it is found by the name it had");
    assert_eq!(answered.added.tracks.len(), 1);
    call.run(20);
    let [first, second] = call.got(2);
    assert!(first >= 20 && second == 0, "nothing is given unasked: {first} {second}");

    assert_eq!(call.subscribe(2, &answered), Ok(()));
    call.run(50);
    let [first, second] = call.got(2);
    assert!(first >= 50 && second >= 45, "both play: {first} {second}");
    assert_eq!(call.subscribe(2, &answered), Err(NotSubscribed::HasIt));

    let (key, stream) = (call.keys[2], call.server.shared(1).key);
    call.server.command(0, Command::Unsubscribe { key, stream });
    call.run(2);
    call.got(2);
    call.run(30);
    let [first, second] = call.got(2);
    assert!(first >= 30 && second == 0, "the second is over: {first} {second}");
    for key in call.keys.clone() {
        call.server.end(key, EndReason::Deleted);
    }
    call.run(2);
    call.server.is_empty().expect("nothing is left");
    assert_eq!(call.subscribe(2, &answered), Err(NotSubscribed::Ended));
}

#[test]
fn a_publisher_takes_a_second_stream_on_the_connection_it_has() {
    let mut call = Call::new();
    let answered = call.offer_more(0);
    assert_eq!(answered.added.tracks.len(), 1, "what it publishes is not what it takes");
    call.run(20);
    call.got(2);
    assert_eq!(call.subscribe(0, &answered), Ok(()));
    call.run(60);
    let ([own, taken], [first, second]) = (call.got(0), call.got(2));
    assert!(own == 0 && taken >= 50, "it gets the other's: {own} {taken}");
    assert!(first >= 50 && second == 0, "and its own goes on: {first} {second}");

    let shared = call.server.shared(0);
    let (done, mut told) = oneshot::channel();
    let (key, terms) = (call.keys[0], answered.added.clone());
    call.server.command(0, Command::Subscribe { key, stream: shared, terms, done });
    call.run(1);
    assert_eq!(told.try_recv(), Ok(Err(NotSubscribed::HasIt)), "nobody takes what is its own");

    let stream = call.server.shared(1).key;
    call.server.command(0, Command::Unsubscribe { key, stream });
    call.run(2);
    call.got(0);
    call.got(2);
    call.run(30);
    assert_eq!(call.got(0), [0, 0], "the second is over");
    assert!(call.got(2)[0] >= 30, "and what it publishes is not");
    for key in call.keys.clone() {
        call.server.end(key, EndReason::Deleted);
    }
    call.run(2);
    call.server.is_empty().expect("nothing is left");
}
