//! Several nodes and the directory they share: a name is published on one of them at a time, and no
//! session ends because the directory is away.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::api::schema::Document;
use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::{Response, Server, eventually, request};
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

pub const VP8: Offered = Offered { codec: Codec::Vp8, audio: false, video: true };

pub fn node(url: &str, name: &str, more: &[&str]) -> Server {
    let shards: &[&str] = if more.contains(&"--shards") { &[] } else { &["--shards", "1"] };
    Server::start(&[shards, &["--cluster", url, "--node", name], more].concat())
}

/// Whether the directory knows of a node.
pub fn is_known(server: &Server) -> bool {
    let metrics = request("GET", &server.url("/metrics"), &[], "").body;
    metrics.lines().any(|line| line == "monoport_directory_up 1")
}

pub fn known(servers: &[&Server]) {
    eventually("the directory knows all nodes", || servers.iter().all(|server| is_known(server)));
}

fn try_watch(server: &Server, stream: &str) -> Result<Client, Response> {
    Client::try_post(server, &format!("/whep/{stream}"), VP8, Direction::RecvOnly, socket())
}

fn try_publish(server: &Server) -> Result<Client, Response> {
    Client::try_post(server, "/whip/s", VP8, Direction::SendOnly, socket())
}

/// Why a viewer of `s` is not taken. One that is, because its publisher has just been let go, is no
/// refusal.
pub fn refusal(server: &Server) -> (u16, String) {
    match try_watch(server, "s") {
        Ok(_taken) => (201, String::new()),
        Err(refused) => (refused.status, refused.body),
    }
}

/// A publisher of `s` whose media has come.
pub fn live(server: &Server) -> Client {
    let mut publisher = Client::publish(server, "s", VP8);
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    run_until("the stream is live", &mut [&mut publisher], |_| {
        server.node().control().is_live("s")
    });
    publisher
}

#[test]
fn a_name_is_published_on_one_node_at_a_time_by_the_rules_of_one_node() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (node(&redis.url(), "a", &[]), node(&redis.url(), "b", &[]));
    let strict = node(&redis.url(), "c", &["--on-conflict", "refuse"]);
    known(&[&a, &b, &strict]);
    let mut first = live(&a);
    let words = "is published on the node `a`, whose HTTP is at http://127.0.0.1:";
    eventually("the others know", || {
        [&b, &strict].iter().all(|other| refusal(other).1.contains(words))
    });
    assert_eq!(refusal(&b).0, 409);
    let refused = try_publish(&strict).err().expect("it is a's");
    assert!(refused.status == 409 && refused.body.contains(words), "{}", refused.body);

    // The last publisher to go live has it, on whichever node.
    let mut second = live(&b);
    run_until("the first is let go", &mut [&mut first, &mut second], |all| all[0].closed);
    assert!(!second.closed);
    eventually("it is b's everywhere", || {
        [&a, &strict].iter().all(|other| refusal(other).1.contains("on the node `b`"))
    });
    assert_eq!(second.delete().status, 200);
    eventually("it is nobody's", || try_publish(&strict).is_ok());
}

#[test]
fn without_its_directory_a_node_serves_alone_says_so_and_claims_its_streams_again() {
    let Some(mut redis) = Redis::start() else { return };
    let (a, b) = (node(&redis.url(), "a", &[]), node(&redis.url(), "b", &[]));
    known(&[&a, &b]);
    let mut publisher = live(&a);
    eventually("b knows", || refusal(&b).1.contains("on the node `a`"));

    eventually("a knows both", || a.node().control().nodes().len() == 2);
    redis.kill();
    eventually("both have seen it", || !is_known(&a) && !is_known(&b));
    let place = request("GET", &a.url("/api/v1/streams/s/where"), &[], "");
    let place: Value = serde_json::from_str(&place.body).expect("JSON");
    assert_eq!((&place["node"], &place["http"]), (&"a".into(), &a.url("").into()), "{place}");
    let elsewhere = request("GET", &a.url("/api/v1/streams/other/where"), &[], "");
    assert_eq!(elsewhere.status, 503, "{}", elsewhere.body);
    let mut viewer = Client::watch(&a, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    for number in 1..20 {
        publisher.send(MediaKind::Video, true, number, number * 3_000);
        run_for(Duration::from_millis(5), &mut [&mut publisher, &mut viewer]);
    }
    run_until("media", &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers().last() == Some(&19)
    });
    let taken = try_publish(&b).unwrap_or_else(|refused| panic!("{}", refused.body));
    assert_eq!(taken.delete().status, 200, "it takes what it can't ask about");
    let unknown = try_watch(&b, "other").err().expect("nobody publishes it");
    let retry = unknown.header("retry-after");
    assert_eq!((unknown.status, retry), (503, Some("2")), "{}", unknown.body);
    assert!(unknown.body.contains("the directory"), "{}", unknown.body);
    assert_eq!(request("GET", &a.url("/readyz"), &[], "").status, 200);

    // Nothing is left of what it knew.
    redis.start_again();
    known(&[&a, &b]);
    eventually("b knows again", || {
        let refused = try_watch(&b, "s").err();
        refused.is_some_and(|refused| refused.body.contains("on the node `a`"))
    });
    assert!(!publisher.closed && !viewer.closed);
}

#[test]
fn a_node_whose_name_is_taken_serves_alone_and_takes_nothing_from_the_other() {
    let Some(redis) = Redis::start() else { return };
    let first = node(&redis.url(), "a", &[]);
    known(&[&first]);
    let second = node(&redis.url(), "a", &[]);
    let other = node(&redis.url(), "b", &[]);
    known(&[&other]);
    let _publisher = live(&second);
    let beats = |server: &Server| server.metric("monoport_directory_failed_beats_total");
    eventually("it was told twice", || beats(&second) >= 2);
    assert!(is_known(&first) && !is_known(&second));
    assert_eq!(refusal(&other).0, 409);
    assert!(refusal(&other).1.contains("nobody publishes"), "{}", refusal(&other).1);
}

/// A file with the secret of a cluster.
pub struct SecretFile(PathBuf);

impl SecretFile {
    pub fn new(secrets: &str) -> SecretFile {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("monoport-cluster-secret-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, secrets).expect("a file of the test's own");
        SecretFile(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("ASCII")
    }

    pub fn put(&self, secrets: &str) {
        std::fs::write(&self.0, secrets).expect("a file of the test's own");
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How often a node was told for this reason that it is none of the cluster's.
fn refused_beats(server: &Server, reason: &str) -> u64 {
    let name = format!("monoport_directory_refused_beats_total{{reason=\"{reason}\"}}");
    server.metric(&name)
}

/// The number that stands behind these words in the metrics of a process.
fn count(process: &Process, words: &str) -> u64 {
    let metrics = request("GET", &format!("{}/metrics", process.url), &[], "").body;
    let number = metrics.lines().find_map(|line| line.strip_prefix(words)?.parse().ok());
    number.unwrap_or(0)
}

#[test]
fn the_log_says_once_that_the_directory_is_away() {
    let process = Process::start(&["--cluster", "redis://127.0.0.1:9", "--node", "a"]);
    let failed = "monoport_directory_failed_beats_total ";
    eventually("it has tried", || count(&process, failed) >= 5);
    let log = process.stop();
    let said = log.matches("the directory (--cluster) does not answer").count();
    // Again where the reason is another one.
    assert!((1..=3).contains(&said), "{log}");
}

#[test]
fn a_node_that_is_started_anew_has_its_number_before_its_lease_has_run_out() {
    let Some(redis) = Redis::start() else { return };
    let first = node(&redis.url(), "a", &[]);
    known(&[&first]);
    let number = first.node().control().node_number();
    drop(first);
    let _new: u32 = redis.ask(&["HSET", "{monoport}:n:a", "until", "9000000000000"]);
    let second = node(&redis.url(), "a", &[]);
    eventually("it was refused", || refused_beats(&second, "name") >= 2);
    assert_eq!(second.node().control().node_number(), 0, "that one may be alive elsewhere");
    let _new: u32 = redis.ask(&["HSET", "{monoport}:n:a", "http", &second.url("")]);
    let own = || second.node().control().node_number();
    eventually("who was at its address is gone", || own() == number);
    let _publisher = live(&second);
    let place = request("GET", &second.url("/api/v1/streams/s/where"), &[], "").body;
    assert!(place.contains("\"path\":[\"a\"]"), "others can be told the way: {place}");
    assert!(!is_known(&second));
}

#[test]
fn a_node_that_stops_gives_its_lease_back() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (node(&redis.url(), "a", &[]), node(&redis.url(), "b", &[]));
    known(&[&a, &b]);
    let publisher = live(&a);
    eventually("b knows", || refusal(&b).1.contains("on the node `a`"));
    drop(a);
    let until: u64 = redis.ask(&["HGET", "{monoport}:n:a", "until"]);
    let (seconds, micros): (u64, u64) = redis.ask(&["TIME"]);
    assert!(until <= seconds * 1_000 + micros / 1_000, "nobody waits for it to run out");
    eventually("it is nobody's", || refusal(&b).1.contains("nobody publishes"));
    drop(publisher);
}

#[test]
fn a_node_that_does_not_fit_in_serves_alone_says_why_and_disturbs_nobody() {
    let Some(redis) = Redis::start() else { return };
    let (right, wrong) = (SecretFile::new(&"r".repeat(40)), SecretFile::new(&"w".repeat(40)));
    let secret = |file: &SecretFile| ["--cluster-secret-file".to_owned(), file.path().to_owned()];
    let start = |name: &str, file: &SecretFile, more: &[&str]| {
        let [flag, path] = secret(file);
        node(&redis.url(), name, &[&[&*flag, &*path], more].concat())
    };
    let place = ["--announce", "192.0.2.1:4711"];
    let first = start("a", &right, &place);
    known(&[&first]);
    let (other, same_port) = (start("b", &wrong, &[]), start("c", &right, &place));
    let both = SecretFile::new(&format!("{}\n{}\n", "r".repeat(40), "n".repeat(40)));
    let rotating = start("d", &both, &[]);
    known(&[&rotating]);
    eventually("they are told why", || {
        refused_beats(&other, "secret") > 0 && refused_beats(&same_port, "port") > 0
    });
    assert!(is_known(&first) && !is_known(&other) && !is_known(&same_port));
    let cluster = request("GET", &other.url("/api/v1/cluster"), &[], "").body;
    assert!(cluster.contains("\"directory\":\"refuses\""), "it answers: {cluster}");
    let _publisher = live(&other);
    assert_eq!(refusal(&first).0, 409, "its streams are its own");
    assert!(refusal(&first).1.contains("nobody publishes"));

    // The log has the words, and none of the secrets.
    let [flag, path] = secret(&wrong);
    let process = Process::start(&["--cluster", &redis.url(), "--node", "e", &flag, &path]);
    eventually("it says so", || process.log().contains("has another secret"));
    let words = "monoport_directory_refused_beats_total{reason=\"secret\"} ";
    eventually("it is told again and again", || count(&process, words) >= 4);
    let log = process.stop();
    // Once, and again after a moment in which the directory was too slow.
    assert!(log.matches("has another secret").count() <= 2, "and does not say so each time: {log}");
    assert!(log.contains("serves alone") && log.contains("--cluster-secret-file"), "{log}");
    assert!(!log.contains("wwww") && !log.contains("rrrr"), "{log}");
}

#[test]
fn the_api_shows_the_nodes_and_which_of_them_has_a_stream() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (node(&redis.url(), "a", &["--zone", "x"]), node(&redis.url(), "b", &[]));
    let get = |server: &Server, path: &str| -> Value {
        let body = request("GET", &server.url(&format!("/api/v1/{path}")), &[], "").body;
        serde_json::from_str(&body).expect("JSON")
    };
    let document = Document(get(&a, "openapi.json"));
    let nodes = |server: &Server| get(server, "cluster")["nodes"].as_array().map_or(0, Vec::len);
    eventually("each knows both", || nodes(&a) == 2 && nodes(&b) == 2);
    let cluster = get(&b, "cluster");
    document.check(&cluster, document.answer("/api/v1/cluster"), "cluster");
    assert_eq!((&cluster["node"], &cluster["directory"]), (&"b".into(), &"answers".into()));
    let first = &cluster["nodes"][0];
    assert_eq!((&first["name"], &first["zone"]), (&"a".into(), &"x".into()));
    assert_ne!(first["number"], cluster["nodes"][1]["number"]);
    let port = &first["ports"][0];
    let at = format!("{}:{}", port["address"].as_str().unwrap_or_default(), port["first_port"]);
    assert_eq!(at, a.media().to_string());

    let _publisher = live(&a);
    eventually("b knows", || get(&b, "streams/s/where")["node"] == "a");
    let place = get(&b, "streams/s/where");
    document.check(&place, document.answer("/api/v1/streams/{name}/where"), "where");
    assert_eq!(place["http"], a.url(""));
    assert!(get(&b, "streams/t/where")["node"].is_null());
}

#[test]
fn the_ports_of_all_nodes_are_printed_or_why_not() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (node(&redis.url(), "a", &[]), node(&redis.url(), "b", &[]));
    known(&[&a, &b]);
    let ports = |more: &[&str]| {
        let command =
            Command::new(env!("CARGO_BIN_EXE_monoport")).args(["ports"]).args(more).output();
        let output = command.expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let url = redis.url();
    let all = ["--nodes", "--cluster", &url];
    let (done, text, words) = ports(&all);
    assert!(done, "{words}");
    for server in [&a, &b] {
        let (ip, port) = (server.media().ip(), server.media().port());
        assert!(text.contains(&format!("  udp {port} media, reached at {ip}\n")), "{text}");
    }
    let (_, rules, _) = ports(&[&all[..], &["--node", "b", "--nft"]].concat());
    let said = rules.starts_with("# node b: no rule") && rules.lines().count() == 1;
    assert!(said, "only this machine reaches those: {rules}");
    let (_, json, _) = ports(&[&all[..], &["--node", "b", "--json"]].concat());
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json[0]["node"], &json[0]["port"]), (&"b".into(), &b.media().port().into()));
    for (wrong, why) in [
        (vec!["--nodes"], "pass --cluster URL"),
        (vec!["--nodes", "--cluster", &*url, "--node", "c"], "no node `c` is alive"),
        (
            vec!["--nodes", "--cluster", "redis://127.0.0.1:9"],
            "redis://127.0.0.1:9 does not answer",
        ),
    ] {
        let (done, _, words) = ports(&wrong);
        assert!(!done && words.contains(why), "{words}");
    }
}

#[test]
fn nodes_of_two_versions_do_not_mix() {
    let Some(redis) = Redis::start() else { return };
    let far = (1u64 << 52).to_string();
    let fields = ["until", &far, "incarnation", "1", "number", "1", "terms", "9999||"];
    let _new: u32 = redis.ask(&[&["HSET", "{monoport}:n:z"], &fields[..]].concat());
    let _new: u32 = redis.ask(&["SADD", "{monoport}:nodes", "z"]);
    let server = node(&redis.url(), "a", &[]);
    eventually("it is told why", || refused_beats(&server, "version") > 0);
    let _one: u32 = redis.ask(&["DEL", "{monoport}:n:z"]);
    known(&[&server]);
}

#[test]
fn a_node_starts_without_its_directory() {
    // Nobody listens at the discard port.
    let server = node("redis://127.0.0.1:9", "a", &[]);
    let mut publisher = live(&server);
    let mut viewer = Client::watch(&server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    assert!(!is_known(&server));
}
