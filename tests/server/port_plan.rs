//! The port plan: ports that come and go while media flows, a port per session, and by load.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::stun::Checks;
use crate::support::{Response, Server, eventually, request, steerings};
use monoport::control::PortRule;
use monoport::drop::DropReason;
use monoport::net::udp_ports_in_use;
use monoport::node::StartError;
use monoport::telemetry::PortName;
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

fn ports_url(server: &Server) -> String {
    server.url("/api/v1/ports")
}

fn listed(server: &Server) -> Value {
    let response = request("GET", &ports_url(server), &[], "");
    assert_eq!(response.status, 200, "{}", response.body);
    serde_json::from_str(&response.body).expect("JSON")
}

fn entry(server: &Server, port: u16) -> Option<Value> {
    let all = listed(server);
    let ports = all["ports"].as_array().expect("an array").iter();
    ports.clone().find(|entry| entry["port"] == port).cloned()
}

fn open(server: &Server, port: u16) -> Response {
    request("POST", &ports_url(server), &[], &format!("{{\"port\":{port}}}"))
}

/// Opens a port the kernel chooses.
fn open_any(server: &Server) -> u16 {
    let opened = open(server, 0);
    assert_eq!(opened.status, 201, "{}", opened.body);
    let entry: Value = serde_json::from_str(&opened.body).expect("JSON");
    let port = entry["port"].as_u64().expect("a number") as u16;
    assert_eq!(opened.header("location"), Some(&*format!("/api/v1/ports/{port}")));
    port
}

fn drain(server: &Server, port: u16, deadline_s: &str) -> Response {
    let url = format!("{}/{port}{deadline_s}", ports_url(server));
    request("DELETE", &url, &[], "")
}

/// Waits until no socket is bound to `port` at the server's address. At other addresses others may
/// have it: it is of those that the kernel gives out.
fn until_closed(server: &Server, port: u16) {
    eventually("the port is closed", || entry(server, port).is_none() && !is_bound(server, port));
}

/// Whether a socket is bound to `port` at the server's address (`/proc/net/udp`, proc_net(5)).
fn is_bound(server: &Server, port: u16) -> bool {
    let IpAddr::V4(ip) = server.media().ip() else { panic!("loopback is 127.0.0.0/8") };
    let local = format!(" {:08X}:{port:04X} ", u32::from_ne_bytes(ip.octets()));
    std::fs::read_to_string("/proc/net/udp").expect("it is there").contains(&local)
}

/// Publishes packets one after the other, and everybody receives meanwhile.
struct Show {
    publisher: Client,
    next: u32,
}

impl Show {
    fn begin(server: &Server) -> Show {
        let mut publisher = Client::publish(server, "s", BOTH);
        connect(&mut [&mut publisher]);
        Show { publisher, next: 0 }
    }

    /// `count` viewers that are ready for media.
    fn viewers(&mut self, server: &Server, count: usize) -> Vec<Client> {
        let ready = server.sum(|c| c.viewers_ready.get()) + count as u64;
        let mut viewers: Vec<Client> =
            (0..count).map(|_| Client::watch(server, "s", BOTH)).collect();
        let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
        all.push(&mut self.publisher);
        connect(&mut all);
        run_until("viewers are ready", &mut all, |_| {
            server.sum(|c| c.viewers_ready.get()) == ready
        });
        viewers
    }

    /// Sends `count` frames; the first is a key frame.
    fn send(&mut self, count: u32, viewers: &mut [&mut Client]) {
        for index in 0..count {
            let number = self.next;
            self.publisher.send(MediaKind::Video, index == 0, number, number * 3_000);
            self.publisher.send(MediaKind::Audio, false, number, number * 960);
            self.next += 1;
            self.publisher.poll();
            run_for(Duration::from_millis(1), viewers);
        }
    }

    /// Waits until `viewers` have every packet from `first` on, in order and once.
    fn expect_all(&mut self, first: u32, viewers: &mut [&mut Client]) {
        let expected: Vec<u32> = (first..self.next).collect();
        let publisher = &mut self.publisher;
        run_until("every packet", viewers, |viewers| {
            publisher.poll();
            let last = expected.last();
            viewers
                .iter()
                .all(|v| v.video_numbers().last() == last && v.audio_numbers().last() == last)
        });
        for viewer in viewers {
            // It may have begun with a key frame that came before it.
            let mut numbers = viewer.video_numbers();
            numbers.retain(|number| *number >= first);
            assert_eq!(numbers, expected);
            assert_eq!(viewer.audio_numbers(), expected);
        }
    }
}

/// Opens a port under load, drains it, and looks at those whose port stays: nothing is lost. Where
/// the kernel steers, no datagram goes astray.
fn plan_changes_under_load(server: &Server, is_steered: bool) {
    let first = server.node().udp_ports()[0];
    let mut show = Show::begin(server);
    let mut stay = show.viewers(server, 3);
    let mut stay: Vec<&mut Client> = stay.iter_mut().collect();
    show.send(30, &mut stay);

    let second = open_any(server);
    show.send(30, &mut stay);
    let joined = show.next;
    let mut go = show.viewers(server, 4);
    let ports: BTreeSet<u16> = go.iter().map(|viewer| viewer.server().port()).collect();
    assert_eq!(ports, [second].into(), "it has the fewest sessions");
    let mut all: Vec<&mut Client> = go.iter_mut().collect();
    for viewer in &mut stay {
        all.push(viewer);
    }
    show.send(60, &mut all);
    show.expect_all(joined, &mut all[..4]);
    assert_eq!(entry(server, second).unwrap()["sessions"], 4);
    let meters = server.node().meters().flat_map(|meters| meters.ports.open());
    let at_second = meters.filter(|(name, _)| *name == PortName::Port(second));
    let out: u64 = at_second.map(|(_, port)| port.datagrams_out.get()).sum();
    assert!(out > 4 * 120, "every packet left through it: {out}");

    assert!(is_bound(server, second));
    let strays = || server.sum(|counters| counters.handed_over.get());
    assert!(!is_steered || strays() == 0, "the kernel steers at new ports too");
    // Somebody else's port of the same number, at another address, is no reason to wait.
    let _namesake = UdpSocket::bind(("127.0.0.1", second));
    // Nobody new gets it; who has it stays until the deadline, which is now.
    let drained = drain(server, second, "?deadline_s=0");
    assert_eq!(drained.status, 202, "{}", drained.body);
    show.send(30, &mut all);
    run_until("goodbye", &mut all, |all| all[..4].iter().all(|viewer| viewer.closed));
    drop(all);
    until_closed(server, second);
    show.send(30, &mut stay);

    // One that empties by itself; its slot is the one that came free.
    let third = open_any(server);
    let waiting = show.viewers(server, 2);
    assert!(waiting.iter().all(|viewer| viewer.server().port() == third));
    let drained = drain(server, third, "");
    assert_eq!(drained.status, 202, "{}", drained.body);
    let entry_now: Value = serde_json::from_str(&drained.body).expect("JSON");
    assert_eq!((&entry_now["state"], &entry_now["sessions"]), (&"draining".into(), &2.into()));
    assert!(entry_now["drain_deadline_at"].as_f64() > Some(1.7e9), "{entry_now}");
    let newcomer = show.viewers(server, 1);
    assert_eq!(newcomer[0].server().port(), first, "nobody is given a draining port");
    assert!(entry(server, third).is_some());
    for viewer in &waiting {
        assert_eq!(viewer.delete().status, 200);
    }
    until_closed(server, third);
    show.send(30, &mut stay);
    show.expect_all(0, &mut stay);
    assert_eq!(server.drops(DropReason::SendQueueFull), 0);
    assert_eq!(server.drops(DropReason::PortClosed), 0);
    // But for checks of sessions that ended with a port which their own shard had closed by then,
    // and another one not yet.
    let of_ended = || server.drops(DropReason::EndedSession);
    eventually("nothing else strays", || !is_steered || strays() <= of_ended());
}

#[test]
fn ports_come_and_go_under_load_and_nobody_else_loses_a_packet() {
    for steering in steerings() {
        for shards in [1, 4] {
            let server = Server::steered(shards, steering);
            plan_changes_under_load(&server, steering == "ebpf");
        }
    }
}

#[test]
fn io_uring_serves_a_port_that_comes_later() {
    if let Err(reason) = monoport::net::uring_available() {
        println!("left out, because io_uring cannot be used here: {reason}");
        return;
    }
    plan_changes_under_load(&Server::start(&["--shards", "2", "--io", "uring"]), false);
}

#[test]
fn a_change_that_makes_no_sense_is_refused_in_words() {
    let server = Server::with_shards(2);
    let first = server.node().udp_ports()[0];
    let says = |response: &Response, status: u16, words: &str| {
        assert_eq!(response.status, status, "{}", response.body);
        assert!(response.body.contains(words), "{}", response.body);
    };
    says(&drain(&server, first, ""), 409, "the last one that is open");
    says(&drain(&server, 9, ""), 404, "none of ours");
    says(&open(&server, first), 409, "is open");
    let holder = UdpSocket::bind("0.0.0.0:0").unwrap();
    let held = holder.local_addr().unwrap().port();
    let pid = format!("in use by pid {}", std::process::id());
    says(&open(&server, held), 409, &pid);
    assert_eq!(listed(&server)["ports"].as_array().map(Vec::len), Some(1), "nothing is left of it");
    for body in ["", "{}", "[]", "{\"port\":65536}", "{\"port\":\"7\"}"] {
        says(&request("POST", &ports_url(&server), &[], body), 400, "7890");
    }
    for deadline in ["?deadline_s=x", "?deadline_s=-1", "?deadline_s=99999999"] {
        says(&drain(&server, first, deadline), 400, "deadline_s");
    }
    let foreign = [("Origin", "https://example.org")];
    let refused = request("POST", &ports_url(&server), &foreign, "{\"port\":0}");
    says(&refused, 403, "Origin");
    let open_to_all = Server::start(&["--http", "0.0.0.0:0", "--no-auth", "--shards", "1"]);
    let url = format!("http://127.0.0.1:{}", open_to_all.node().http_address().port());
    says(
        &request("POST", &format!("{url}/api/v1/ports"), &[], "{\"port\":0}"),
        403,
        "--admin-token",
    );
}

#[test]
fn a_draining_port_is_taken_back_with_its_sessions() {
    let server = Server::with_shards(2);
    let second = open_any(&server);
    let mut show = Show::begin(&server);
    let mut viewers = show.viewers(&server, 2);
    assert_eq!(drain(&server, second, "?deadline_s=600").status, 202);
    assert_eq!(drain(&server, second, "").status, 409, "it drains already");
    let again = open(&server, second);
    assert_eq!(again.status, 201, "{}", again.body);
    assert_eq!(entry(&server, second).unwrap()["state"], "open");
    let mut viewers: Vec<&mut Client> = viewers.iter_mut().collect();
    show.send(20, &mut viewers);
    show.expect_all(0, &mut viewers);
}

/// Ports in a row that nobody has, below those the kernel chooses from.
fn free_range(first: u16, count: u16) -> (u16, String) {
    let taken = udp_ports_in_use().unwrap();
    // Test programs that run at once look in different places.
    let first = first + (std::process::id() % 8) as u16 * 100;
    let starts = (first..32_000).step_by(usize::from(count));
    let mut free = starts.filter(|start| taken.range(*start..start + count).next().is_none());
    let start = free.next().expect("the kernel has given out no ports here");
    (start, format!("{start}-{}", start + count - 1))
}

#[test]
fn a_port_per_session_is_named_bound_and_given_back() {
    for shards in ["1", "4"] {
        let (first, range) = free_range(24_000, 40);
        let server = Server::start(&["--port-range", &range, "--shards", shards]);
        assert!(server.node().banner().contains(&range), "{}", server.node().banner());
        let ours = || udp_ports_in_use().unwrap().range(first..first + 40).count();
        assert_eq!(ours(), 0, "nothing is bound before it is needed");
        let mut show = Show::begin(&server);
        let mut viewers = show.viewers(&server, 9);
        let mut ports: BTreeSet<u16> =
            viewers.iter().map(|viewer| viewer.server().port()).collect();
        ports.insert(show.publisher.server().port());
        assert_eq!(ports.len(), 10, "each has its own: {ports:?}");
        assert!(ports.iter().all(|port| (first..first + 40).contains(port)), "{ports:?}");
        assert_eq!(ours(), 10);
        let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
        show.send(50, &mut all);
        show.expect_all(0, &mut all);
        let now = listed(&server);
        assert_eq!((&now["mode"], &now["range"]["used"]), (&"range".into(), &10.into()), "{now}");
        assert_eq!(
            (&now["ports"][0]["port"], now["ports"].as_array().map(Vec::len)),
            (&Value::Null, Some(1))
        );
        assert_eq!(server.metric("monoport_range_ports_used"), 10);
        assert!(open(&server, 0).body.contains("--port-range"), "there is nothing to open");
        for client in viewers.iter().chain([&show.publisher]) {
            assert_eq!(client.delete().status, 200);
        }
        eventually("every socket is closed", || ours() == 0);
        eventually("every port is to be had", || listed(&server)["range"]["free"] == 40);
    }
}

#[test]
fn a_range_that_is_used_up_says_so_and_goes_on_when_a_session_ends() {
    let (first, range) = free_range(26_000, 3);
    let server = Server::start(&["--port-range", &range, "--shards", "2"]);
    let stranger = UdpSocket::bind(("0.0.0.0", first)).unwrap();
    let mut publisher = Client::publish(&server, "s", BOTH);
    assert_eq!(publisher.server().port(), first + 1, "the port somebody has is passed over");
    let viewer = Client::watch(&server, "s", BOTH);
    assert_eq!(viewer.server().port(), first + 2);
    let refused = Client::try_post(&server, "/whep/s", BOTH, Direction::RecvOnly, socket());
    let refused = refused.err().expect("there is no port left");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("retry-after").is_some() && refused.body.contains(&range));
    assert_eq!(server.metric("monoport_range_ports_exhausted_total"), 1);
    assert!(server.metric("monoport_range_ports_skipped_total") > 0);
    assert_eq!(server.node().counts().0, 2, "the session that was refused left nothing");
    assert_eq!(viewer.delete().status, 200);
    eventually("its port is free", || listed(&server)["range"]["free"] == 2);
    drop(stranger);
    let mut viewers = [Client::watch(&server, "s", BOTH), Client::watch(&server, "s", BOTH)];
    let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
    all.push(&mut publisher);
    connect(&mut all);
}

#[test]
fn a_session_is_not_reached_through_the_port_of_another() {
    let (_, range) = free_range(27_000, 10);
    let server = Server::start(&["--port-range", &range, "--shards", "2"]);
    let mut show = Show::begin(&server);
    let mut viewers = show.viewers(&server, 2);
    let (one, other) = viewers.split_at_mut(1);
    let (_, check) = Checks::of(&mut one[0]).request(true);
    let sender = socket();
    for number in 1..=3 {
        sender.send_to(&check, other[0].server()).unwrap();
        eventually("it is counted", || server.drops(DropReason::WrongPort) == number);
    }
    // Not a way to its session, and no harm to the port's own.
    let answer = Checks::of(&mut other[0]).exchange(&socket(), other[0].server(), false);
    assert_eq!(answer.from, other[0].server());
    let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
    show.send(20, &mut all);
    show.expect_all(0, &mut all);
}

#[test]
fn two_servers_with_one_range_take_no_port_from_one_another() {
    let (_, range) = free_range(29_000, 6);
    let servers = [(); 2].map(|()| Server::start(&["--port-range", &range, "--shards", "1"]));
    let mut clients: Vec<Client> =
        servers.iter().chain(&servers).map(|server| Client::publish(server, "s", BOTH)).collect();
    let ports: BTreeSet<u16> = clients.iter().map(|client| client.server().port()).collect();
    assert_eq!(ports.len(), 4, "{ports:?}");
    let mut newest: Vec<&mut Client> = clients[2..].iter_mut().collect();
    connect(&mut newest);
}

#[test]
fn a_range_that_others_have_is_an_error_at_the_start() {
    let (first, range) = free_range(28_000, 2);
    let _held = [first, first + 1].map(|port| UdpSocket::bind(("0.0.0.0", port)).unwrap());
    let error = Server::try_start(&["--port-range", &range, "--shards", "1"]).err();
    let error = error.expect("there is no port to be had");
    assert!(matches!(error, StartError::RangeInUse(_)), "{error}");
    assert!(error.to_string().contains(&range), "{error}");
}

#[test]
fn ports_follow_the_load_and_every_decision_can_be_read() {
    let rule = PortRule {
        interval: Duration::from_millis(20),
        sessions_per_port: 3,
        add_after: Duration::from_millis(40),
        drain_after: Duration::from_millis(200),
        pause: Duration::from_millis(40),
        filled_after_drain: 0.8,
        ..PortRule::default()
    };
    let server = Server::start_with(&["--ports-auto", "1-3", "--shards", "2"], rule);
    let ports = |server: &Server| listed(server)["ports"].as_array().map_or(0, Vec::len);
    assert_eq!(ports(&server), 1);
    let mut show = Show::begin(&server);
    let mut viewers = show.viewers(&server, 7);
    eventually("as many ports as eight sessions want", || ports(&server) == 3);
    let late = show.viewers(&server, 3);
    let at: BTreeSet<u16> = late.iter().map(|viewer| viewer.server().port()).collect();
    assert!(!at.contains(&viewers[0].server().port()), "new sessions get the new ones: {at:?}");
    for viewer in late.iter().chain(&viewers[1..]) {
        assert_eq!(viewer.delete().status, 200);
    }
    eventually("one port is enough for two", || ports(&server) == 1);
    let mut stays: Vec<&mut Client> = viewers.iter_mut().take(1).collect();
    show.send(20, &mut stays);
    show.expect_all(0, &mut stays);
    let auto = &listed(&server)["auto"];
    assert_eq!((&auto["min"], &auto["max"]), (&1.into(), &3.into()));
    let decisions = auto["decisions"].as_array().expect("an array");
    let count = |action: &str| decisions.iter().filter(|one| one["action"] == action).count();
    assert_eq!((count("add"), count("drain")), (2, 2), "{auto}");
    for decision in decisions {
        assert!(decision["why"].as_str().is_some_and(|why| why.contains("sessions")), "{decision}");
        assert!(decision["port"].as_u64().is_some() && decision["at"].as_f64() > Some(1.7e9));
    }
}
