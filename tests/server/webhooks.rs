//! Webhooks: a service is told what happens, and told again until it has heard it.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::support::client::{Client, Offered, connect, run_until, socket};
use crate::support::service::{Posted, Service};
use crate::support::{Server, eventually, post_sdp};
use aws_lc_rs::hmac;
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// Names of the events, with the role of whose session it is about.
fn told(service: &Service) -> Vec<String> {
    let name = |event: &Value| {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        format!("{} {}", text(&event["event"]), text(&event["session"]["role"]))
    };
    service.posted().iter().map(|posted| name(&posted.json())).collect()
}

fn wait_for(service: &Service, name: &str) -> Value {
    let event = || {
        let at = told(service).iter().position(|told| told == name)?;
        Some(service.posted()[at].json())
    };
    eventually(name, || event().is_some());
    event().expect("as above")
}

fn server(service: &Service, more: &[&str]) -> Server {
    let url = service.url("/hook");
    Server::start(&[&["--shards", "1", "--hook-url", &url], more].concat())
}

#[test]
fn the_service_is_told_of_streams_and_sessions_and_knows_that_it_is_us() {
    let service = Service::start(|_| 204);
    let file = std::env::temp_dir().join(format!("monoport-hook-{}", std::process::id()));
    std::fs::write(&file, "shared with the service\n").expect("the file is written");
    let path = file.to_str().expect("a path");
    let server = server(&service, &["--hook-secret-file", path, "--setup-timeout", "10"]);
    std::fs::remove_file(&file).expect("it is there");

    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    run_until("the stream is live", &mut [&mut publisher], |_| {
        told(&service).contains(&"stream.started publisher".to_owned())
    });
    let joined = wait_for(&service, "session.joined publisher");
    assert_eq!((&joined["stream"], &joined["session"]["ip"]), (&"s".into(), &"127.0.0.1".into()));
    let mut viewer = Client::watch(&server, "s", BOTH);
    connect(&mut [&mut publisher, &mut viewer]);
    wait_for(&service, "session.joined viewer");
    assert_eq!(viewer.delete().status, 200);
    let left = wait_for(&service, "session.left viewer");
    assert_eq!(
        (&left["reason"], &left["words"]),
        (&"deleted".into(), &"deleted by the client".into())
    );

    // Nothing comes of this one.
    let offer = Client::offer(BOTH, Direction::RecvOnly, socket()).1.to_sdp_string();
    assert_eq!(post_sdp(&server.url("/whep/s"), &offer).status, 201);
    run_until("its time is over", &mut [&mut publisher], |_| {
        told(&service).contains(&"session.failed viewer".to_owned())
    });
    let failed = wait_for(&service, "session.failed viewer");
    assert_eq!(failed["reason"], "unheard");

    // The end of the server is the end of its sessions, and that is told too.
    drop(server);
    let ended = wait_for(&service, "stream.ended publisher");
    assert_eq!(ended["stream"], "s");
    wait_for(&service, "session.left publisher");

    let key = hmac::Key::new(hmac::HMAC_SHA256, b"shared with the service");
    let mut ids = HashSet::new();
    for posted in service.posted() {
        let signature = posted.header("monoport-signature").expect("it is signed");
        let signature = signature.strip_prefix("sha256=").expect("by what");
        let byte = |at: usize| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).expect("hex");
        let tag: Vec<u8> = (0..32).map(byte).collect();
        hmac::verify(&key, &posted.body, &tag).expect("it is ours");
        let event = posted.json();
        assert_eq!(posted.header("monoport-event"), event["event"].as_str());
        assert!(ids.insert(event["id"].to_string()), "once each: {event}");
    }
    assert_eq!(ids.len(), 7, "{:?}", told(&service));
}

/// Hears nothing that it is told for the first time.
fn hears_what_is_said_twice() -> Service {
    let seen = Mutex::new(HashSet::new());
    Service::start(move |posted: &Posted| {
        let id = posted.json()["id"].to_string();
        if seen.lock().expect("nobody panics with it").insert(id) { 500 } else { 200 }
    })
}

#[test]
fn what_is_to_be_told_again_is_told_before_the_server_ends() {
    let service = hears_what_is_said_twice();
    let server = server(&service, &[]);
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let joined = wait_for(&service, "session.joined publisher");
    drop(server);
    let again =
        service.posted().iter().filter(|posted| posted.json()["id"] == joined["id"]).count();
    assert_eq!(again, 2, "{:?}", told(&service));
}

#[test]
fn an_event_that_is_not_heard_is_told_again_under_the_same_id() {
    let service = hears_what_is_said_twice();
    let server = server(&service, &[]);
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let delivered = || server.metric("monoport_hook_events_total{result=\"delivered\"}");
    run_until("it is heard at last", &mut [&mut publisher], |_| {
        delivered() >= 1 && server.metric("monoport_hook_events_waiting") == 0
    });
    let posted = service.posted();
    let id = &posted[0].json()["id"];
    let again = posted.iter().filter(|posted| posted.json()["id"] == *id).count();
    assert_eq!(again, 2, "{:?}", told(&service));
    assert_eq!(server.metric("monoport_hook_events_total{result=\"failed\"}"), 0);
}

#[test]
fn a_service_that_is_not_there_keeps_no_session_from_anything() {
    let gone = Service::start(|_| 200).url("/");
    let server = Server::start(&["--shards", "1", "--hook-url", &gone]);
    let mut publisher = Client::publish(&server, "s", BOTH);
    let mut viewer = Client::watch(&server, "s", BOTH);
    connect(&mut [&mut publisher, &mut viewer]);
    eventually("events wait", || server.metric("monoport_hook_events_waiting") >= 2);
}

#[test]
fn addresses_are_kept_from_the_service_where_they_are_private() {
    let service = Service::start(|_| 200);
    let server = server(&service, &["--log-addresses", "off"]);
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let joined = wait_for(&service, "session.joined publisher");
    assert_eq!(
        (&joined["session"]["ip"], &joined["session"]["user_agent"]),
        (&Value::Null, &Value::Null)
    );
}
