//! The API: what it answers, to whom, and whether that is true.

pub mod listener;
pub mod schema;

use std::collections::HashSet;
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::{Response, Server, eventually, post_sdp, request};
use clap::Parser;
use listener::Listener;
use monoport::config::{Args, Config};
use monoport::node::Node;
use schema::Document;
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

fn get(server: &Server, path: &str) -> Value {
    let response = request("GET", &server.url(&format!("/api/v1/{path}")), &[], "");
    assert_eq!(response.status, 200, "{path}: {}", response.body);
    assert_eq!(response.header("content-type"), Some("application/json"), "{path}");
    serde_json::from_str(&response.body).expect("JSON")
}

fn document(server: &Server) -> Document {
    Document(get(server, "openapi.json"))
}

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// A server with a publisher and a viewer of the stream `s`, between whom media flows.
fn playing(options: &[&str]) -> (Server, Client, Client) {
    let server = Server::start(options);
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(&server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    eventually("the viewer is ready", || {
        publisher.poll();
        viewer.poll();
        server.sum(|counters| counters.viewers_ready.get()) == 1
    });
    for number in 0..30 {
        publisher.send(MediaKind::Video, true, number, number * 3_000);
        publisher.send(MediaKind::Audio, false, number, number * 960);
        publisher.poll();
        viewer.poll();
    }
    run_until("media", &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers().len() == 30 && all[1].audio_numbers().len() == 30
    });
    (server, publisher, viewer)
}

/// Waits, with both clients alive, until the API shows both sessions connected.
fn both_shown(server: &Server, publisher: &mut Client, viewer: &mut Client) -> Value {
    let mut shown = Value::Null;
    eventually("both are shown connected", || {
        publisher.poll();
        viewer.poll();
        shown = get(server, "sessions?state=connected");
        shown["sessions"].as_array().is_some_and(|sessions| sessions.len() == 2)
    });
    shown
}

#[test]
fn every_route_and_every_field_of_real_answers_is_described() {
    let (server, mut publisher, mut viewer) = playing(&["--shards", "2"]);
    let document = document(&server);
    let mut events = Listener::open(&server);
    let sessions = both_shown(&server, &mut publisher, &mut viewer);
    // An end and a refusal, so that those are there to be described.
    assert_eq!(post_sdp(&server.url("/whip/t"), "v=0\r\n").status, 400);
    let ended = Client::watch(&server, "s", VP8);
    ended.delete();
    eventually("it has ended", || !get(&server, "sessions?state=ended")["sessions"][0].is_null());

    let alone = get(&server, "cluster");
    document.check(&alone, document.answer("/api/v1/cluster"), "cluster");
    assert_eq!(alone["directory"], "none");
    for path in ["status", "ports", "shards", "streams", "sessions", "failures"] {
        let answer = get(&server, path);
        document.check(&answer, document.answer(&format!("/api/v1/{path}")), path);
        // Every list has an element, or nothing was checked.
        let list = answer[path].as_array();
        assert!(path == "status" || list.is_some_and(|list| !list.is_empty()), "{path}: {answer}");
    }
    let living = sessions["sessions"].as_array().expect("a list").iter();
    let dead = get(&server, "sessions?state=ended");
    let dead = dead["sessions"].as_array().expect("a list").iter();
    for session in living.chain(dead) {
        let id = session["id"].as_str().expect("an id");
        let answer = get(&server, &format!("sessions/{id}"));
        document.check(&answer, document.answer("/api/v1/sessions/{id}"), id);
    }
    for (event, schema) in [("status", "Beat"), ("session", "SessionEvent")] {
        document.check(&events.next_of(event), document.schema(schema), event);
    }
    let refused = request("GET", &server.url("/api/v1/sessions/x"), &[], "");
    let problem: Value = serde_json::from_str(&refused.body).expect("JSON");
    assert_eq!(refused.status, 400);
    document.check(&problem, document.schema("Problem"), "problem");
}

#[test]
fn the_description_has_the_routes_there_are() {
    let server = Server::with_shards(1);
    let document = document(&server);
    assert_eq!(document.0["openapi"], "3.1.0");
    let described: HashSet<&str> =
        document.0["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    let source = include_str!("../../src/api/mod.rs");
    let routes = source.split(".route(\"").skip(1);
    let routes: HashSet<&str> = routes.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(described, routes);
    for path in described.iter().filter(|path| !path.contains('{') && !path.ends_with("events")) {
        let status = if document.0["paths"][path]["get"].is_object() { 200 } else { 405 };
        assert_eq!(request("GET", &server.url(path), &[], "").status, status, "{path}");
        assert_eq!(request("PUT", &server.url(path), &[], "").status, 405, "{path}");
    }
}

#[test]
fn a_stream_says_what_its_layers_send() {
    let (server, mut publisher, mut viewer) = playing(&["--shards", "1"]);
    publisher.send(MediaKind::Video, false, 61, 61 * 3_000);
    run_for(Duration::from_millis(1_100), &mut [&mut publisher, &mut viewer]);
    publisher.send(MediaKind::Video, false, 62, 62 * 3_000);
    let mut layer = Value::Null;
    eventually("layers are measured once a second", || {
        let streams = request("GET", &server.url("/api/v1/streams"), &[], "").body;
        let streams: Value = serde_json::from_str(&streams).expect("JSON");
        let layers = streams["streams"][0]["layers"].as_array().cloned().unwrap_or_default();
        layer = layers.into_iter().find(|layer| layer["kind"] == "video").unwrap_or_default();
        layer["best"] == true
    });
    assert_eq!((&layer["track"], &layer["layer"]), (&0.into(), &0.into()));
    assert!(layer["bits_per_s"].as_u64() > Some(0) && layer["width"].is_null(), "{layer}");
}

#[test]
fn what_it_says_of_sessions_is_true() {
    let (server, publisher, viewer) = playing(&["--shards", "2", "--admin-token", "secret"]);
    let url = |path: &str| server.url(&format!("/api/v1/{path}"));
    let token = [("Authorization", "Bearer secret")];
    let get = |path: &str| -> Value {
        let response = request("GET", &url(path), &token, "");
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        let secret = publisher.session_url.rsplit('/').next().expect("the URL ends with it");
        assert!(!response.body.contains(secret), "{path} gives the session's secret away");
        serde_json::from_str(&response.body).expect("JSON")
    };
    let port = u64::from(server.node().udp_ports()[0]);
    for (role, address, packets) in
        [("publisher", publisher.address, 60), ("viewer", viewer.address, 60)]
    {
        let list = get(&format!("sessions?role={role}"));
        assert_eq!(list["sessions"].as_array().map(Vec::len), Some(1), "{list}");
        let id = list["sessions"][0]["id"].as_str().expect("an id").to_owned();
        let mut session = Value::Null;
        eventually("the card has been written since", || {
            session = get(&format!("sessions/{id}"));
            session["packets"] == packets
        });
        assert_eq!((&session["stream"], &session["role"]), (&"s".into(), &role.into()));
        assert_eq!((&session["state"], &session["port"]), (&"connected".into(), &port.into()));
        assert_eq!(session["remote"], address.to_string());
        assert_eq!(session["local"], server.media().to_string());
        assert_eq!(session["codecs"]["video"], "vp8");
        assert!(
            session["dtls"].as_str().is_some_and(|name| name.starts_with("SRTP_")),
            "{session}"
        );
        let whats: Vec<&str> = session["timeline"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|event| event["what"].as_str())
            .collect();
        assert_eq!(whats, ["created", "first_stun", "dtls", "first_media"]);
    }
    let status = get("status");
    assert_eq!((&status["sessions"]["total"], &status["streams"]), (&2.into(), &1.into()));
    let streams = get("streams");
    assert_eq!(streams["streams"][0]["viewers"], 1);
    assert_eq!(streams["streams"][0]["audio"], "opus");
    let ports = get("ports");
    assert_eq!(
        (&ports["ports"][0]["port"], &ports["ports"][0]["sessions"]),
        (&port.into(), &2.into())
    );
    let shards = get("shards");
    let on_shards = shards["shards"].as_array().expect("a list").iter();
    assert_eq!(on_shards.filter_map(|shard| shard["sessions"].as_u64()).sum::<u64>(), 2);

    viewer.delete();
    eventually("the end is told", || {
        let list = get("sessions?state=ended");
        list["sessions"][0]["role"] == "viewer"
    });
    let id = get("sessions?state=ended")["sessions"][0]["id"].as_str().expect("an id").to_owned();
    let ended = get(&format!("sessions/{id}"));
    assert_eq!((&ended["state"], &ended["ended"]["reason"]), (&"ended".into(), &"deleted".into()));
    assert_eq!(ended["packets"], 60, "its last card stays");
}

#[test]
fn pages_hold_every_session_once_in_any_order() {
    let server = Server::with_shards(2);
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher]);
    let (_client, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
    let offer = offer.to_sdp_string();
    for _ in 0..40 {
        assert_eq!(post_sdp(&server.url("/whep/s"), &offer).status, 201);
    }
    let document = document(&server);
    for order in ["id", "newest", "worst"] {
        let mut seen: Vec<Value> = Vec::new();
        let mut next = String::new();
        loop {
            let page = get(&server, &format!("sessions?order={order}&limit=7{next}"));
            document.check(&page, document.answer("/api/v1/sessions"), order);
            seen.extend(page["sessions"].as_array().expect("a list").iter().cloned());
            let Some(cursor) = page["next"].as_str() else { break };
            next = format!("&after={cursor}");
        }
        let ids: HashSet<&str> = seen.iter().filter_map(|session| session["id"].as_str()).collect();
        assert_eq!((seen.len(), ids.len()), (41, 41), "{order}");
        let created = |session: &Value| session["created_at"].as_f64().expect("a number");
        let falls = |pair: &[Value]| created(&pair[0]) >= created(&pair[1]);
        assert!(order != "newest" || seen.windows(2).all(falls), "the latest first");
    }
    let behind = get(&server, "sessions?limit=500&order=newest");
    let fifth = behind["sessions"][4]["id"].as_str().expect("an id");
    let page = get(&server, &format!("sessions?order=newest&limit=1&after={fifth}"));
    assert_eq!(page["sessions"][0]["id"], behind["sessions"][5]["id"], "a name is a cursor too");
    assert_eq!(
        get(&server, "sessions?role=publisher")["sessions"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(get(&server, "sessions?stream=t")["sessions"].as_array().map(Vec::len), Some(0));
    for wrong in ["limit=0", "limit=501", "order=best", "after=x", "after=9~x", "state=up", "x=1"] {
        let url = server.url(&format!("/api/v1/sessions?{wrong}"));
        let response = request("GET", &url, &[], "");
        assert_eq!(response.status, 400, "{wrong}: {}", response.body);
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(request("GET", &server.url("/api/v1/sessions/0-9-9"), &[], "").status, 404);
}

#[test]
fn a_listener_hears_of_sessions_and_counts_what_it_missed() {
    let server = Server::with_shards(2);
    let mut events = Listener::open(&server);
    assert_eq!(events.status, 200);
    let beat = events.next_of("status");
    assert_eq!(beat["status"]["state"], "ready");
    let mut publisher = Client::publish(&server, "s", VP8);
    assert_eq!(events.next_of("session")["what"], "created");
    connect(&mut [&mut publisher]);
    let connected = events.next_of("session");
    assert_eq!(
        (&connected["what"], &connected["role"]),
        (&"connected".into(), &"publisher".into())
    );

    // All viewers are ended at once when the stream comes back with another codec.
    let (_client, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
    let offer = offer.to_sdp_string();
    let viewers = 150;
    for _ in 0..viewers {
        assert_eq!(post_sdp(&server.url("/whep/s"), &offer).status, 201);
    }
    let mut successor = Client::publish(&server, "s", Offered { codec: Codec::H264, ..VP8 });
    connect(&mut [&mut successor]);
    successor.send(MediaKind::Video, true, 0, 0);
    let (mut told, mut lost) = (0, 0);
    // Set up and ended each: the viewers, and the first publisher's end and the second's set-up
    // and connection.
    while told + lost < 2 * viewers + 3 {
        match events.next() {
            (name, data) if name == "lost" => lost += data["count"].as_u64().expect("a number"),
            (name, _) if name == "session" => told += 1,
            _ => {}
        }
    }
    assert_eq!(told + lost, 2 * viewers + 3, "what was not told was counted");
}

#[test]
fn so_many_may_listen_and_no_more() {
    let server = Server::with_shards(1);
    let mut listeners: Vec<Listener> = (0..32).map(|_| Listener::open(&server)).collect();
    assert!(listeners.iter().all(|listener| listener.status == 200));
    listeners.iter_mut().for_each(|listener| drop(listener.next_of("status")));
    assert_eq!(Listener::open(&server).status, 503);
    listeners.truncate(31);
    eventually("a place is free again", || Listener::open(&server).status == 200);
}

fn status_with(server: &Server, headers: &[(&str, &str)]) -> Response {
    request("GET", &server.url("/api/v1/status"), headers, "")
}

#[test]
fn who_may_ask_depends_on_the_token_and_the_way() {
    let server = Server::with_shards(1);
    assert_eq!(status_with(&server, &[]).status, 200);
    for (name, value) in [("Origin", "https://example.org"), ("X-Forwarded-For", "192.0.2.1")] {
        let refused = status_with(&server, &[(name, value)]);
        assert_eq!(refused.status, 403, "{name}");
        assert!(refused.body.contains("--admin-token"), "it says what to do: {}", refused.body);
    }
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher]);
    let id = get(&server, "sessions")["sessions"][0]["id"].as_str().expect("an id").to_owned();
    eventually("it is shown connected", || {
        publisher.poll();
        get(&server, &format!("sessions/{id}"))["state"] == "connected"
    });
    let session = get(&server, &format!("sessions/{id}"));
    assert!(session["remote"].is_null() && session["local"].is_null(), "{session}");

    let server = Server::start(&["--shards", "1", "--admin-token", "secret", "--token", "other"]);
    assert_eq!(status_with(&server, &[]).status, 401);
    assert_eq!(status_with(&server, &[("Authorization", "Bearer neither")]).status, 401);
    assert_eq!(status_with(&server, &[("Authorization", "Bearer other")]).status, 403);
    let right = [("Authorization", "Bearer secret"), ("Origin", "https://example.org")];
    assert_eq!(status_with(&server, &right).status, 200);
    for path in ["events", "sessions/0-0-0", "openapi.json", "failures"] {
        let url = server.url(&format!("/api/v1/{path}"));
        assert_eq!(request("GET", &url, &[], "").status, 401, "{path}");
    }
    assert_eq!(request("OPTIONS", &server.url("/api/v1/status"), &[], "").status, 204);
    assert_eq!(request("GET", &server.url("/readyz"), &[], "").status, 200, "probes have no token");
}

#[test]
fn an_api_that_others_reach_is_closed_without_a_token() {
    let args = ["monoport", "--http", "0.0.0.0:0", "--no-auth", "--udp-port", "0", "--no-tcp"];
    let args = Args::try_parse_from(args).expect("the options parse");
    let config = Config::new(args, &monoport::cpu::available_cores()).expect("they are valid");
    let node = Node::start(&config).expect("it starts");
    let url = format!("http://127.0.0.1:{}/api/v1/status", node.http_address().port());
    let refused = request("GET", &url, &[], "");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("--admin-token"), "{}", refused.body);
    node.stop();
}
