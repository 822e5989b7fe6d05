//! Streams go from node to node by links: once for each node, however many viewers it has, and
//! whole, whatever the way between the nodes loses.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cluster::{VP8, known, live};
use crate::nodes::{Nodes, SECRET, signed, try_watch, watch};
use crate::support::client::{Client, Offered, connect, run_for, run_until};
use crate::support::{PATIENCE, Server, eventually, request};
use monoport::control::LinkView;
use monoport::drop::DropReason;
use monoport::limits::LINK_LINGER;
use monoport::wire::link::{FIRST_BYTE, HEAD_BYTES};
use str0m::format::Codec;
use str0m::media::MediaKind;

/// Two nodes that are far from one another, so that a viewer is served where it has come.
pub fn far_apart(nodes: &Nodes) -> (Server, Server) {
    let (a, b) = (nodes.start("a", &["--zone", "x"]), nodes.start("b", &["--zone", "y"]));
    meet(&[&a, &b]);
    (a, b)
}

fn meet(servers: &[&Server]) {
    known(servers);
    eventually("they know one another", || {
        servers.iter().all(|server| server.node().control().nodes().len() == servers.len())
    });
}

pub fn b_knows(b: &Server) {
    eventually("b knows that a has it", || {
        let body = request("GET", &b.url("/api/v1/streams/s/where"), &[], "").body;
        body.contains(r#""node":"a""#)
    });
}

fn links(server: &Server) -> Vec<LinkView> {
    server.node().control().links()
}

/// Sends packets with numbers in `numbers`, and waits until all of `viewers` have them.
fn play(
    publisher: &mut Client,
    viewers: &mut [Client],
    numbers: std::ops::Range<u32>,
    has_audio: bool,
) {
    let last = numbers.end - 1;
    let first = numbers.start;
    for number in numbers {
        let keyframe = number == first || publisher.keyframes_asked > 0;
        publisher.keyframes_asked = 0;
        publisher.send(MediaKind::Video, keyframe, number, number * 3_000);
        if has_audio {
            publisher.send(MediaKind::Audio, true, number, number * 960);
        }
        let mut all: Vec<&mut Client> = vec![&mut *publisher];
        all.extend(viewers.iter_mut());
        run_for(Duration::from_millis(5), &mut all);
    }
    let mut all: Vec<&mut Client> = vec![publisher];
    all.extend(viewers.iter_mut());
    run_until("all have the last", &mut all, |all| {
        all[1..].iter().all(|viewer| viewer.video_numbers().contains(&last))
    });
}

/// The numbers, each once, from the first that came on.
fn without_holes(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers.dedup();
    let first = numbers.first().copied().unwrap_or_default();
    let last = numbers.last().copied().unwrap_or_default();
    let all: Vec<u32> = (first..=last).collect();
    assert_eq!(numbers, all, "holes");
    numbers
}

#[test]
fn many_viewers_on_another_node_are_one_subscription_there() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = far_apart(&nodes);
    let mut publisher = live(&a);
    b_knows(&b);
    let mut viewers: Vec<Client> = std::thread::scope(|scope| {
        let post = || scope.spawn(|| try_watch(&b, "s"));
        let posted: Vec<_> = (0..8).map(|_| post()).collect();
        let come = posted.into_iter().map(|viewer| viewer.join().expect("no panic"));
        come.map(|viewer| viewer.unwrap_or_else(|refused| panic!("{}", refused.body))).collect()
    });
    for viewer in &viewers {
        assert!(viewer.session_url.starts_with(&b.url("/session/b-")), "{}", viewer.session_url);
        assert_eq!(viewer.server(), b.media());
    }
    let mut all: Vec<&mut Client> = vec![&mut publisher];
    all.extend(viewers.iter_mut());
    connect(&mut all);
    play(&mut publisher, &mut viewers, 1..60, false);
    for viewer in &viewers {
        assert_eq!(without_holes(viewer.video_numbers()).last(), Some(&59));
    }
    assert_eq!((a.sessions(), b.sessions()), (1, 8));
    let (sent, taken) = (links(&a), links(&b));
    assert_eq!((sent.len(), taken.len()), (1, 1), "one subscription: {sent:?} {taken:?}");
    assert_eq!((&*sent[0].node, sent[0].brings, &*taken[0].node), ("b", false, "a"));
    assert!(taken[0].brings && taken[0].lost == 0, "{taken:?}");
    assert_eq!(b.metric("monoport_link_requests_total{outcome=\"made\"}"), 1);
    assert_eq!(a.metric("monoport_links{direction=\"out\"}"), 1);
    assert_eq!(b.metric("monoport_links{direction=\"in\"}"), 1);
    let out = a.sum(|counters| counters.link_packets_out.get());
    let published = a.sum(|counters| counters.publisher_packets.get());
    assert!(out <= published, "each packet once: {out} of {published}");

    // Some time after the last viewer it is over.
    let left = Instant::now();
    viewers.iter().for_each(|viewer| assert_eq!(viewer.delete().status, 200));
    while !links(&b).is_empty() || !links(&a).is_empty() {
        assert!(left.elapsed() < LINK_LINGER * 4, "it is over some day");
        run_for(Duration::from_millis(20), &mut [&mut publisher]);
    }
    // Where the machine stands still for long, the link is given up earlier: nothing comes by it.
    assert!(left.elapsed() >= LINK_LINGER / 2, "others may come: {:?}", left.elapsed());
    assert!(!publisher.closed);
    let mut late = vec![watch(&b)];
    connect(&mut [&mut publisher, &mut late[0]]);
    play(&mut publisher, &mut late, 60..80, false);
}

#[test]
fn viewers_of_a_link_stay_when_its_publisher_goes_and_play_on_when_it_comes_back_anywhere() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = far_apart(&nodes);
    let c = nodes.start("c", &["--zone", "z"]);
    meet(&[&a, &b, &c]);
    let mut first = live(&a);
    let mut viewers = vec![watch(&b)];
    connect(&mut [&mut first, &mut viewers[0]]);
    play(&mut first, &mut viewers, 1..20, false);
    assert_eq!(first.delete().status, 200);
    eventually("the link is over", || links(&a).is_empty() && links(&b).is_empty());
    assert!(!viewers[0].closed, "it waits, as where its publisher was");

    // On the same node, on a third one, and where it watches.
    for (server, by_link) in [(&a, true), (&c, true), (&b, false)] {
        let mut publisher = live(server);
        let (since, had, mut next) = (Instant::now(), viewers[0].received.len(), 1);
        while viewers[0].received.len() < had + 5 {
            assert!(since.elapsed() < PATIENCE, "it plays on");
            publisher.send(MediaKind::Video, true, next, next * 3_000);
            run_for(Duration::from_millis(20), &mut [&mut publisher, &mut viewers[0]]);
            next += 1;
        }
        assert_eq!(links(&b).len(), usize::from(by_link));
        assert_eq!(publisher.delete().status, 200);
        eventually("it is over", || links(server).is_empty() && links(&b).is_empty());
    }
    let mut sequence: Vec<u64> = viewers[0].received.iter().map(|packet| *packet.seq_no).collect();
    sequence.sort_unstable();
    sequence.dedup();
    let (first, last) = (sequence[0], sequence[sequence.len() - 1]);
    assert_eq!(sequence.len() as u64, last - first + 1, "its numbers have gone on");
}

#[test]
fn a_node_that_dies_leaves_nothing_at_the_one_it_took_streams_from() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &["--zone", "x"]), nodes.process("b", &["--zone", "y"]));
    known(&[&a]);
    let mut publisher = live(&a);
    let mut here = Client::watch(&a, "s", VP8);
    connect(&mut [&mut publisher, &mut here]);
    let mut there = None;
    run_until("b serves it", &mut [&mut publisher], |_| {
        let post = Client::try_post_at(
            &b.url,
            "/whep/s",
            VP8,
            str0m::media::Direction::RecvOnly,
            crate::support::client::socket(),
        );
        there = post.ok();
        there.is_some()
    });
    let mut viewers = vec![there.expect("it is served"), here];
    connect(&mut [&mut publisher, &mut viewers[0]]);
    play(&mut publisher, &mut viewers, 1..20, false);
    assert_eq!(links(&a).len(), 1);
    b.signal("-KILL");
    let mut here = vec![viewers.remove(1)];
    let mut number = 20;
    while !links(&a).is_empty() {
        assert!(number < 2_000, "it is over some day");
        play(&mut publisher, &mut here, number..number + 10, false);
        number += 10;
    }
    without_holes(here[0].video_numbers());
}

#[test]
fn the_first_viewer_of_a_link_begins_with_the_last_key_frame_and_the_publisher_is_asked_for_none() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = far_apart(&nodes);
    let mut publisher = live(&a);
    b_knows(&b);
    for number in 1..30 {
        publisher.send(MediaKind::Video, number == 1, number, number * 3_000);
        run_for(Duration::from_millis(5), &mut [&mut publisher]);
    }
    let asked = publisher.keyframes_asked;
    let mut viewer = watch(&b);
    connect(&mut [&mut publisher, &mut viewer]);
    let mut number = 30;
    while viewer.video_numbers().iter().max().is_none_or(|last| *last < 30) {
        assert!(number < 2_000, "it plays");
        publisher.send(MediaKind::Video, false, number, number * 3_000);
        run_for(Duration::from_millis(10), &mut [&mut publisher, &mut viewer]);
        number += 1;
    }
    let numbers = without_holes(viewer.video_numbers());
    assert_eq!(numbers.first(), Some(&1), "the key frame");
    assert_eq!(publisher.keyframes_asked, asked);
}

/// What passes datagrams of links on to a node, and loses some of them. It has nothing for others,
/// so that clients find the way past it.
pub struct Hop {
    address: SocketAddr,
    pub state: Arc<HopState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub struct HopState {
    to: Mutex<Option<SocketAddr>>,
    is_over: AtomicBool,
    /// Of a thousand.
    pub loses: AtomicU64,
    lost: AtomicU64,
    passed: AtomicU64,
    /// The last that have passed.
    seen: Mutex<VecDeque<Vec<u8>>>,
}

impl Hop {
    fn new() -> Hop {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("a port");
        let address = socket.local_addr().expect("it is bound");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
        let state = Arc::new(HopState::default());
        let thread = std::thread::spawn({
            let state = state.clone();
            move || state.run(&socket)
        });
        Hop { address, state, thread: Some(thread) }
    }

    fn leads_to(&self, server: &Server) {
        *self.state.to.lock().expect("no panic") = Some(server.media());
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

impl HopState {
    fn run(&self, socket: &UdpSocket) {
        let (mut buffer, mut random) = ([0; 2_048], fastrand::Rng::with_seed(7));
        while !self.is_over.load(Ordering::Relaxed) {
            let Ok((length, _from)) = socket.recv_from(&mut buffer) else { continue };
            let datagram = &buffer[..length];
            let to = *self.to.lock().expect("no panic");
            let Some(to) = to.filter(|_| datagram.first() == Some(&FIRST_BYTE)) else { continue };
            if random.u64(0..1_000) < self.loses.load(Ordering::Relaxed) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.passed.fetch_add(1, Ordering::Relaxed);
            socket.send_to(datagram, to).expect("loopback takes it");
            let mut seen = self.seen.lock().expect("no panic");
            seen.push_back(datagram.to_vec());
            if seen.len() > 100 {
                seen.pop_front();
            }
        }
    }
}

/// Nodes that reach one another by hops.
pub struct Hopped {
    pub a: Server,
    pub b: Server,
    pub to_a: Hop,
    pub to_b: Hop,
}

impl Hopped {
    pub fn new(nodes: &Nodes, shards: &str) -> Hopped {
        let (to_a, to_b) = (Hop::new(), Hop::new());
        let start = |name: &str, zone: &str, hop: &Hop| {
            let announced = format!("{},127.0.0.1", hop.address);
            let more = ["--zone", zone, "--announce", &announced, "--shards", shards];
            let server = nodes.start(name, &more);
            hop.leads_to(&server);
            server
        };
        let (a, b) = (start("a", "x", &to_a), start("b", "y", &to_b));
        meet(&[&a, &b]);
        Hopped { a, b, to_a, to_b }
    }
}

#[test]
fn what_the_way_between_nodes_loses_no_viewer_misses() {
    const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };
    let Some(nodes) = Nodes::new() else { return };
    let Hopped { a, b, to_a, to_b } = Hopped::new(&nodes, "1");
    for hop in [&to_a, &to_b] {
        hop.state.loses.store(20, Ordering::Relaxed);
    }
    let mut publisher = Client::publish(&a, "s", BOTH);
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    publisher.send(MediaKind::Audio, true, 0, 0);
    run_until("it is live", &mut [&mut publisher], |_| a.node().control().is_live("s"));
    let mut viewers = Vec::new();
    eventually("it is served", || {
        let (path, way) = ("/whep/s", str0m::media::Direction::RecvOnly);
        let posted = Client::try_post(&b, path, BOTH, way, crate::support::client::socket());
        viewers.extend(posted.ok());
        !viewers.is_empty()
    });
    assert!(viewers[0].session_url.starts_with(&b.url("/session/b-")));
    connect(&mut [&mut publisher, &mut viewers[0]]);
    play(&mut publisher, &mut viewers, 1..500, true);
    run_until("all is repaired", &mut [&mut publisher, &mut viewers[0]], |all| {
        let is_whole = |numbers: Vec<u32>| {
            let from = numbers.iter().min().copied().unwrap_or(u32::MAX);
            from < 100 && (from..500).all(|number| numbers.contains(&number))
        };
        is_whole(all[1].video_numbers()) && is_whole(all[1].audio_numbers())
    });
    let link = links(&b).remove(0);
    assert!(to_b.state.lost.load(Ordering::Relaxed) > 5, "of a thousand");
    assert!(link.repaired > 0 && link.lost == 0, "{link:?}");
    assert!(link.round_trip_us > 0, "{link:?}");
    assert_eq!(b.metric("monoport_link_lost_total{node=\"a\",direction=\"in\"}"), 0);
}

#[test]
fn packets_as_large_as_viewers_can_be_sent_go_to_other_nodes_and_are_repaired_there() {
    let Some(nodes) = Nodes::new() else { return };
    let Hopped { a, b, to_b, to_a: _to_a } = Hopped::new(&nodes, "1");
    to_b.state.loses.store(50, Ordering::Relaxed);
    let mut publisher = live(&a);
    publisher.payload_bytes = 1_400;
    let mut viewers = vec![watch(&b)];
    connect(&mut [&mut publisher, &mut viewers[0]]);
    play(&mut publisher, &mut viewers, 1..200, false);
    run_until("all is repaired", &mut [&mut publisher, &mut viewers[0]], |all| {
        let numbers = all[1].video_numbers();
        let from = numbers.iter().min().copied().unwrap_or(u32::MAX);
        from < 100 && (from..200).all(|number| numbers.contains(&number))
    });
    assert!(viewers[0].received.iter().any(|packet| packet.payload.len() >= 1_400));
    assert!(to_b.state.lost.load(Ordering::Relaxed) > 5, "of four hundred");
    assert_eq!((a.drops(DropReason::TooLong), links(&b)[0].lost), (0, 0));
}

#[test]
fn what_is_forged_or_sent_again_is_counted_and_disturbs_nobody() {
    let Some(nodes) = Nodes::new() else { return };
    let Hopped { a, b, to_b, to_a: _to_a } = Hopped::new(&nodes, "2");
    let mut publisher = live(&a);
    let mut viewers = vec![watch(&b)];
    connect(&mut [&mut publisher, &mut viewers[0]]);
    play(&mut publisher, &mut viewers, 1..40, false);
    let seen: Vec<Vec<u8>> = to_b.state.seen.lock().expect("no panic").iter().cloned().collect();
    assert!(seen.len() > 30, "the link goes by the hop");
    let stranger = crate::support::client::socket();
    let send = |bytes: &[u8]| stranger.send_to(bytes, b.media()).expect("loopback takes it");
    let dropped = |reason: DropReason| b.drops(reason);
    let some: Vec<&Vec<u8>> = seen.iter().rev().take(20).collect();
    for datagram in &some {
        send(datagram);
    }
    eventually("they were there before", || dropped(DropReason::LinkReplay) == 20);
    for datagram in &some {
        // A counter that has not come, and another seal.
        let mut forged = datagram.to_vec();
        forged[8] = 1;
        forged[HEAD_BYTES] ^= 1;
        send(&forged);
    }
    eventually("they are not sealed", || dropped(DropReason::LinkAuth) == 20);
    // The other end may have begun before this one.
    let before = dropped(DropReason::UnknownLink);
    for datagram in &some {
        let mut unknown = datagram.to_vec();
        unknown[5] ^= 1;
        send(&unknown);
    }
    for shard in [0, 1, 9, 255] {
        send(&[&[FIRST_BYTE, shard, 1, 0][..], &[7; 40]].concat());
    }
    eventually("there is no such link", || dropped(DropReason::UnknownLink) == before + 24);
    send(&[FIRST_BYTE, 0, 2, 0]);
    eventually("it is none", || dropped(DropReason::MalformedLink) == 1);
    play(&mut publisher, &mut viewers, 40..80, false);
    without_holes(viewers[0].video_numbers());
    assert_eq!(links(&b)[0].lost, 0);

    // Who has not the secret gets no link, nor does who asks for nonsense or for nothing.
    let ask = |secret: &str, path: &str, nonce: &str| {
        let (body, _) = signed(secret, "a", nonce, path);
        let body = body.replace(r#""method":"GET""#, r#""method":"POST""#);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = ring::hmac::sign(&key, format!("monoport request 1\n{body}").as_bytes());
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        request("POST", &a.url("/cluster/v1/request"), &[("monoport-signature", &tag)], &body)
    };
    let refused = ask("another secret, of the same length..", "/link/s", "71");
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("--cluster-secret-file"), "{}", refused.body);
    let nonsense = ask(SECRET, "/link/s", "72");
    assert_eq!(nonsense.status, 409, "{}", nonsense.body);
    assert_eq!(request("POST", &a.url("/link/s"), &[], "").status, 404, "it is no path of clients");
    assert_eq!(links(&a).len(), 1);
}

#[test]
fn where_no_link_can_be_made_the_node_that_has_the_stream_serves_its_viewers() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.start("a", &["--zone", "x"]);
    // A node without a mux port.
    let b = nodes.start("b", &["--zone", "y", "--port-range", "41800-41809"]);
    meet(&[&a, &b]);
    let mut publisher = live(&a);
    let mut viewers = vec![watch(&b)];
    assert!(viewers[0].session_url.starts_with(&b.url("/session/a-")));
    connect(&mut [&mut publisher, &mut viewers[0]]);
    play(&mut publisher, &mut viewers, 1..20, false);
    assert!(b.metric("monoport_link_requests_total{outcome=\"failed\"}") >= 1);
    assert!(links(&a).is_empty() && links(&b).is_empty());
}

#[test]
fn what_comes_yet_of_a_link_that_was_made_anew_is_no_forgery() {
    let Some(nodes) = Nodes::new() else { return };
    let Hopped { a, b, to_b, to_a: _to_a } = Hopped::new(&nodes, "1");
    let mut publisher = live(&a);
    let mut viewers = vec![watch(&b)];
    connect(&mut [&mut publisher, &mut viewers[0]]);
    play(&mut publisher, &mut viewers, 1..40, false);
    let seen: Vec<Vec<u8>> = to_b.state.seen.lock().expect("no panic").iter().cloned().collect();
    // All that comes from there is lost, until the same node is asked for it again.
    to_b.state.loses.store(1_000, Ordering::Relaxed);
    run_until("it is asked again", &mut [&mut publisher, &mut viewers[0]], |_| {
        b.metric("monoport_relay_reparented_total") > 0
    });
    to_b.state.loses.store(0, Ordering::Relaxed);
    let (unknown, forged) = (b.drops(DropReason::UnknownLink), b.drops(DropReason::LinkAuth));
    let stranger = crate::support::client::socket();
    for datagram in seen.iter().rev().take(20) {
        stranger.send_to(datagram, b.media()).expect("loopback takes it");
    }
    eventually("they are of a link that is over", || {
        b.drops(DropReason::UnknownLink) + b.drops(DropReason::LinkAuth) >= unknown + forged + 20
    });
    assert_eq!(b.drops(DropReason::LinkAuth), 0);
}
