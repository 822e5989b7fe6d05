//! Any node takes any request: what is another's is asked for there, and media goes straight to
//! whoever serves it.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{SecretFile, VP8, known, live, node};
use crate::support::client::{Client, connect, run_for, run_until, socket};
use crate::support::identity;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, Response, Server, eventually, request};
use monoport::limits::MOVED_ON_GRACE;
use monoport::wire::ufrag::node_of;
use ring::hmac;
use serde_json::json;
use str0m::media::{Direction, MediaKind};

pub const SECRET: &str = "the secret of the nodes of this test";

/// Nodes that share a directory and a secret.
pub struct Nodes {
    redis: Redis,
    secret: SecretFile,
}

impl Nodes {
    pub fn new() -> Option<Nodes> {
        Some(Nodes { redis: Redis::start()?, secret: SecretFile::new(SECRET) })
    }

    pub fn start(&self, name: &str, more: &[&str]) -> Server {
        let secret = ["--cluster-secret-file", self.secret.path()];
        node(&self.redis.url(), name, &[&secret, more].concat())
    }

    /// A node that is a process of its own.
    pub fn process(&self, name: &str, more: &[&str]) -> Process {
        let url = self.redis.url();
        let cluster = ["--cluster", &url, "--node", name, "--shards", "1"];
        let secret = ["--cluster-secret-file", self.secret.path()];
        Process::start(&[&cluster[..], &secret, more].concat())
    }
}

pub fn try_watch(server: &Server, stream: &str) -> Result<Client, Response> {
    Client::try_post(server, &format!("/whep/{stream}"), VP8, Direction::RecvOnly, socket())
}

/// What `monoport top` prints of a server's cluster.
fn top_of_cluster(server: &Server) -> String {
    let top = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["top", "--once", "--cluster", "--url", &server.url("")])
        .output()
        .expect("it starts");
    String::from_utf8_lossy(&[top.stdout, top.stderr].concat()).into_owned()
}

#[test]
fn the_secret_of_nodes_is_changed_while_they_run() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.process("a", &[]), nodes.process("b", &[]));
    let cluster = |node: &Process| {
        let text = request("GET", &format!("{}/api/v1/cluster", node.url), &[], "").body;
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let knows = |node: &Process| cluster(node)["nodes"].as_array().map_or(0, Vec::len);
    let fresh = "the secret that the nodes of this test have later";
    for (round, text) in [
        format!("{SECRET}\n{fresh}\n"),
        format!("{fresh}\n{SECRET}\n"),
        format!("{fresh}\n"),
        // Is not taken.
        String::from("short\n"),
    ]
    .iter()
    .enumerate()
    {
        nodes.secret.put(text);
        for node in [&a, &b] {
            node.signal("-HUP");
            let words = ["lists were read again", "lists stay as they are"][round / 3];
            let times = round % 3 + 1;
            eventually("it is read", || node.log().matches(words).count() >= times);
        }
    }
    nodes.secret.put(&format!("{fresh}\n"));
    let c = nodes.process("c", &[]);
    eventually("who begins with the new one is one of them", || {
        [&a, &b, &c].iter().all(|node| knows(node) == 3 && cluster(node)["refused"].is_null())
    });
    // And what one asks another is signed with it.
    let post = |node: &Process, path: &str, direction| {
        Client::try_post_at(&node.url, path, VP8, direction, socket()).ok()
    };
    let mut publisher = post(&a, "/whip/s", Direction::SendOnly).expect("it may publish");
    connect(&mut [&mut publisher]);
    let mut viewer = None;
    eventually("it is served", || {
        publisher.send(MediaKind::Video, true, 0, 0);
        run_for(Duration::from_millis(20), &mut [&mut publisher]);
        viewer = post(&c, "/whep/s", Direction::RecvOnly);
        viewer.is_some()
    });
    play(&mut publisher, &mut viewer.expect("it is served"));
}

#[test]
fn a_terminal_shows_the_nodes_and_that_one_serves_alone() {
    let Some(mut nodes) = Nodes::new() else { return };
    let (a, _b) = (nodes.start("a", &["--zone", "fra"]), nodes.start("b", &[]));
    eventually("a knows b", || a.node().control().nodes().len() == 2);
    let said = top_of_cluster(&a);
    assert!(said.contains("a is one of 2 nodes with 0 sessions; the directory answers"), "{said}");
    let row = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(row("a  ").contains("alive    fra") && row("a  ").contains(&a.url("")), "{said}");
    assert!(row("b  ").contains("alive"), "{said}");
    nodes.redis.kill();
    eventually("it is alone", || top_of_cluster(&a).contains("not answer: a serves alone"));
    let alone = Server::with_shards(1);
    let said = top_of_cluster(&alone);
    assert!(said.contains("this server is no node of a cluster (--cluster)"), "{said}");
}

/// A viewer of `s` that has come to `server`, as soon as that knows who has it.
pub fn watch(server: &Server) -> Client {
    let mut viewer = None;
    eventually("it is served", || {
        viewer = try_watch(server, "s").ok();
        viewer.is_some()
    });
    viewer.expect("it is served")
}

fn play(publisher: &mut Client, viewer: &mut Client) {
    connect(&mut [publisher, viewer]);
    for number in 1..20 {
        publisher.send(MediaKind::Video, true, number, number * 3_000);
        run_for(Duration::from_millis(5), &mut [publisher, viewer]);
    }
    run_until("media", &mut [publisher, viewer], |all| all[1].video_numbers().last() == Some(&19));
}

#[test]
fn a_viewer_that_comes_to_another_node_is_served_by_the_one_that_has_the_stream() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &[]), nodes.start("b", &[]));
    known(&[&a, &b]);
    eventually("b knows a", || b.node().control().nodes().len() == 2);
    let mut publisher = live(&a);
    let mut viewer = watch(&b);
    assert!(viewer.session_url.starts_with(&b.url("/session/a-")), "{}", viewer.session_url);
    assert_eq!(viewer.server(), a.media(), "media goes there straight");
    let ufrag = viewer.answered("a=ice-ufrag:").to_owned();
    assert_eq!(node_of(ufrag.as_bytes()), Some(a.node().control().node_number()));
    play(&mut publisher, &mut viewer);
    assert_eq!((a.sessions(), b.sessions()), (2, 0));

    // What a session can be asked, by way of either.
    let url = viewer.session_url.clone();
    let json = [("Content-Type", "application/json")];
    assert_eq!(request("GET", &url, &[], "").status, 204);
    assert_eq!(request("OPTIONS", &url, &[], "").status, 200);
    let wish = request("POST", &format!("{url}/layer"), &json, r#"{"encodingId": "none"}"#);
    assert!(wish.status == 404 && wish.body.contains("layers of the stream"), "{}", wish.body);
    let patch = request("PATCH", &url, &json, "{}");
    assert_eq!((patch.status, patch.header("access-control-allow-origin")), (415, Some("*")));
    let told = request("POST", &format!("{url}/events"), &json, r#"["viewercount"]"#);
    let channel = told.header("location").expect("a channel").to_owned();
    assert_eq!(told.status, 201);
    let heard = first_event(&b.url(&channel));
    assert!(heard.contains("viewercount"), "{heard}");
    assert_eq!(viewer.delete().status, 200);
    eventually("it has left", || a.sessions() == 1);
    assert_eq!(viewer.delete().status, 404);
    assert_eq!(b.metric("monoport_forwarded_requests_total{outcome=\"silent\"}"), 0);
    assert!(b.metric("monoport_forwarded_requests_total{outcome=\"answered\"}") >= 8);
    assert!(a.metric("monoport_requests_of_nodes_total{outcome=\"taken\"}") >= 8);
    // Nobody has it, here or there.
    assert_eq!(try_watch(&b, "t").err().map(|refused| refused.status), Some(409));
}

/// The first event of a stream of events.
fn first_event(url: &str) -> String {
    use std::io::{BufRead, BufReader};
    let answer = ureq::get(url).call().expect("it answers");
    let lines = BufReader::new(answer.into_body().into_reader()).lines();
    let mut lines = lines.map_while(Result::ok).filter(|line| line.starts_with("event:"));
    lines.next().expect("an event")
}

#[test]
fn a_node_that_drains_sends_publishers_and_viewers_to_others() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &["--zone", "x"]), nodes.start("b", &["--zone", "x"]));
    known(&[&a, &b]);
    let knows = |server: &Server| server.node().control().nodes().len() == 2;
    eventually("they know one another", || knows(&a) && knows(&b));
    b.node().refuse_new_sessions();
    let mut publisher = Client::publish(&b, "s", VP8);
    assert!(publisher.session_url.starts_with(&b.url("/session/a-")));
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    run_until("it is live", &mut [&mut publisher], |_| a.node().control().is_live("s"));
    let mut viewer = watch(&b);
    play(&mut publisher, &mut viewer);
    assert_eq!((a.sessions(), b.sessions()), (2, 0));
    assert_eq!(publisher.delete().status, 200);
    eventually("it is over", || !a.node().control().is_live("s"));
}

/// A publisher on `a` and its viewer there, and the publisher on `b` that takes the stream.
fn taken(a: &Server, b: &Server) -> (Client, Client, Client) {
    let mut first = live(a);
    let mut viewer = Client::watch(a, "s", VP8);
    connect(&mut [&mut first, &mut viewer]);
    first.send(MediaKind::Video, true, 1, 3_000);
    run_until("it plays", &mut [&mut first, &mut viewer], |all| !all[1].received.is_empty());
    (first, viewer, live(b))
}

#[test]
fn viewers_of_a_stream_that_another_node_has_taken_play_on_where_they_are() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &[]), nodes.start("b", &[]));
    known(&[&a, &b]);
    let (mut first, mut viewer, mut second) = taken(&a, &b);
    let had = viewer.received.len();
    let (since, mut number) = (Instant::now(), 1);
    while viewer.received.len() < had + 5 {
        assert!(since.elapsed() < PATIENCE, "it plays on");
        second.send(MediaKind::Video, true, number, number * 3_000);
        run_for(Duration::from_millis(20), &mut [&mut first, &mut viewer, &mut second]);
        number += 1;
    }
    assert!(first.closed && !viewer.closed && !second.closed);
    assert_eq!((a.sessions(), b.sessions()), (1, 1));
    let come = watch(&a);
    assert!(come.session_url.starts_with(&a.url("/session/a-")), "the stream is there");
    // The stream comes back: what has come to it since stays.
    let mut third = live(&a);
    let mut late = Client::watch(&a, "s", VP8);
    let end = Instant::now() + MOVED_ON_GRACE * 3;
    let mut all = [&mut third, &mut late, &mut second, &mut viewer];
    run_until("for long enough", &mut all, |_| Instant::now() >= end);
    assert!(!third.closed && !late.closed && !viewer.closed && second.closed);
}

#[test]
fn viewers_of_a_stream_that_another_node_has_taken_find_it_there_where_there_are_no_links() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &[]), nodes.start("b", &["--port-range", "41810-41819"]));
    known(&[&a, &b]);
    let (mut first, mut viewer, mut second) = taken(&a, &b);
    run_until("both are let go", &mut [&mut first, &mut viewer, &mut second], |all| {
        all[0].closed && all[1].closed
    });
    assert!(!second.closed);
    let mut viewer = watch(&a);
    assert!(viewer.session_url.starts_with(&a.url("/session/b-")), "{}", viewer.session_url);
    play(&mut second, &mut viewer);
}

#[test]
fn a_dead_owner_is_answered_in_words_and_soon() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.process("a", &[]), nodes.start("b", &[]));
    known(&[&b]);
    let post = |path| {
        Client::try_post_at(&a.url, path, VP8, Direction::SendOnly, socket()).expect("it is taken")
    };
    let mut publisher = post("/whip/s");
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    let mut viewer = None;
    run_until("it is served", &mut [&mut publisher], |_| {
        viewer = try_watch(&b, "s").ok();
        viewer.is_some()
    });
    let viewer = viewer.expect("it is served");
    // It does not answer, and its lease runs yet.
    a.signal("-STOP");
    let asked = Instant::now();
    let refused = try_watch(&b, "s").err().expect("nobody serves it");
    assert!(asked.elapsed() < Duration::from_secs(15), "it must not hang: {:?}", asked.elapsed());
    if refused.status == 503 {
        assert!(
            refused.body.contains("the node `a`, whose HTTP is at http://"),
            "{}",
            refused.body
        );
        assert!(refused.header("retry-after").is_some());
    }
    a.signal("-KILL");
    eventually("it is not alive", || {
        let answer = viewer.delete();
        assert!([503, 404].contains(&answer.status), "{}", answer.body);
        answer.status == 404 && answer.body.contains("the node `a` is not alive")
    });
    let refused = try_watch(&b, "s").err().expect("nobody serves it");
    assert!(refused.status == 409 && refused.body.contains("nobody publishes"), "{}", refused.body);
}

#[test]
fn who_may_is_decided_where_a_client_comes_and_its_token_does_not_travel() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.start("a", &["--watch-token", "of-a", "--max-connecting-per-ip", "2"]);
    let proxied = ["--token", "of-b", "--trusted-proxies", "127.0.0.1"];
    let b = nodes.start("b", &proxied);
    known(&[&a, &b]);
    let _publisher = live(&a);
    let watch = |token: &str, client: &str| {
        let (_, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
        let offer = identity::offered(offer.to_sdp_string());
        let headers = [("Content-Type", "application/sdp"), ("X-Forwarded-For", client)];
        request("POST", &b.url(&format!("/whep/s?token={token}")), &headers, &offer)
    };
    eventually("b knows", || watch("of-b", "192.0.2.1").status == 201);
    assert_eq!(watch("of-a", "192.0.2.1").status, 401);
    // Its address does travel.
    let second = watch("of-b", "192.0.2.1");
    assert_eq!(second.status, 201);
    let third = watch("of-b", "192.0.2.1");
    assert_eq!(third.status, 429, "{}", third.body);
    assert_eq!(watch("of-b", "192.0.2.2").status, 201);
    // What setting it up asked for, ending it asks for too; a session there is not asks the same.
    let url = b.url(second.header("location").expect("a session"));
    let end = |url: &str, token: &str| request("DELETE", &format!("{url}?token={token}"), &[], "");
    assert_eq!(end(&url, "of-a").status, 401);
    assert_eq!(end(&b.url("/session/a-0123"), "of-a").status, 401);
    assert_eq!(end(&b.url("/session/zzz-0123"), "of-a").status, 401);
    assert_eq!(end(&b.url("/session/a-0123"), "of-b").status, 404);
    assert_eq!(end(&b.url("/session/zzz-0123"), "of-b").status, 404);
    assert_eq!(end(&url, "of-b").status, 200);
    // Whose a session is nobody learns but nodes.
    let whose = format!("{}/whose", a.url(second.header("location").expect("a session")));
    assert_eq!(request("GET", &whose, &[], "").status, 404);
}

/// What a node would send to `a`, and its signature.
pub fn signed(secret: &str, to: &str, nonce: &str, path: &str) -> (String, String) {
    signed_with(secret, (to, nonce), ("GET", path, ""))
}

fn signed_with(
    secret: &str,
    (to, nonce): (&str, &str),
    (method, path, text): (&str, &str, &str),
) -> (String, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let client = "127.0.0.1";
    let body = json!({
        "from": "b", "to": to, "nonce": nonce,
        "time_ms": now.expect("after 1970").as_millis() as u64,
        "request": {"method": method, "path": path, "prefix": "", "client": client, "headers": [],
                    "body": text},
    });
    let body = body.to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("monoport request 1\n{body}").as_bytes());
    (body, tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn what_is_forged_replayed_or_for_others_is_refused_in_words_and_counted() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.start("a", &[]);
    let send = |(body, tag): &(String, String)| {
        request("POST", &a.url("/cluster/v1/request"), &[("monoport-signature", tag)], body)
    };
    let refused = |outcome: &str| {
        a.metric(&format!("monoport_requests_of_nodes_total{{outcome=\"{outcome}\"}}"))
    };
    let good = signed(SECRET, "a", "1", "/session/a-0123");
    let answer = send(&good);
    assert_eq!(answer.status, 404, "it was asked for nothing that is there: {}", answer.body);
    assert!(answer.header("monoport-signature").is_some());
    let again = send(&good);
    assert_eq!((again.status, refused("replayed")), (403, 1), "{}", again.body);
    let other = send(&signed(SECRET, "c", "2", "/session/a-0123"));
    assert_eq!((other.status, refused("other_node")), (403, 1), "{}", other.body);
    let forged = send(&signed("another secret, of the same length..", "a", "3", "/whep/s"));
    assert_eq!((forged.status, refused("signature")), (403, 1), "{}", forged.body);
    assert!(forged.body.contains("--cluster-secret-file") && !forged.body.contains(SECRET));
    let (body, tag) = signed(SECRET, "a", "4", "/session/a-0123");
    assert_eq!(send(&(body.replace("GET", "PUT"), tag)).status, 403);
    // Nodes do not administer one another.
    let status = send(&signed(SECRET, "a", "5", "/api/v1/status"));
    assert_eq!(status.status, 400, "{}", status.body);
    assert_eq!(request("GET", &a.url("/cluster/v1/request"), &[], "").status, 405);
    // Without a secret there is no such place.
    let alone = Server::with_shards(1);
    assert_eq!(request("POST", &alone.url("/cluster/v1/request"), &[], "").status, 404);
}

#[test]
fn a_node_that_the_directory_has_not_taken_in_says_so_to_who_wants_a_stream() {
    let secret = SecretFile::new(SECRET);
    // Nobody listens at the discard port.
    let a = node("redis://127.0.0.1:9", "a", &["--cluster-secret-file", secret.path()]);
    let _publisher = live(&a);
    let hello = json!({
        "public": "00".repeat(32), "shard": 0, "link": 1, "addresses": [a.media()], "number": 2,
        "zone": "", "children": 0, "lost": null,
    });
    let hello = hello.to_string();
    let (body, tag) = signed_with(SECRET, ("a", "1"), ("POST", "/link/s", &hello));
    let headers = [("monoport-signature", &*tag)];
    let answer = request("POST", &a.url("/cluster/v1/request"), &headers, &body);
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("has not taken this node in"), "{}", answer.body);
}

#[test]
fn nodes_ask_one_another_over_tls_where_they_serve_that() {
    let Some(nodes) = Nodes::new() else { return };
    let folder = std::env::temp_dir().join(format!("monoport-nodes-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of the test's own");
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("ASCII").to_owned()
    };
    let cert = put("cert.pem", include_str!("https/one.pem"));
    let key = put("key.pem", include_str!("https/one.key.pem"));
    let a = nodes.start("a", &["--tls-cert", &cert, "--tls-key", &key]);
    let b = nodes.start("b", &[]);
    known(&[&b]);
    eventually("b knows a", || b.node().control().nodes().len() == 2);
    b.node().refuse_new_sessions();
    let publisher = Client::publish(&b, "s", VP8);
    assert_eq!(a.node().counts().0, 1);
    assert_eq!(publisher.delete().status, 200);
    let _ = std::fs::remove_dir_all(folder);
}
