//! `GET /live`: what can be watched now, for those who may watch.

use crate::support::client::{Client, Offered, connect, run_until};
use crate::support::{Response, Server, request};
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::MediaKind;

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

fn listed(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.body);
    let page: Value = serde_json::from_str(&response.body).expect("JSON");
    let names = page["streams"].as_array().expect("a list").iter();
    names.map(|stream| stream["name"].as_str().expect("a name").to_owned()).collect()
}

fn get(server: &Server, query: &str) -> Response {
    request("GET", &server.url(&format!("/live{query}")), &[], "")
}

/// A publisher whose media has come.
fn publishing(server: &Server, name: &str) -> Client {
    let mut publisher = Client::publish(server, name, VP8);
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    run_until("it to be live", &mut [&mut publisher], |_| {
        listed(&get(server, &format!("?name={name}"))) == [name]
    });
    publisher
}

#[test]
fn a_stream_is_listed_once_its_media_comes() {
    let server = Server::with_shards(2);
    assert_eq!(listed(&get(&server, "")), [""; 0]);
    let mut quiet = Client::publish(&server, "quiet", VP8);
    connect(&mut [&mut quiet]);
    let _demo = publishing(&server, "demo");
    let _waits = Client::watch(&server, "demo", VP8);
    let response = get(&server, "");
    let page: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(listed(&response), ["demo"], "the other has sent nothing yet");
    let demo = &page["streams"][0];
    assert_eq!((&demo["video"], &demo["audio"]), (&"vp8".into(), &"opus".into()), "{demo}");
    assert_eq!(demo["viewers"], 1, "{demo}");
    assert!(demo["age_s"].as_u64().is_some_and(|age| age < 60), "{demo}");
    assert_eq!(page["next"], Value::Null);
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[test]
fn one_is_found_by_its_name_and_pages_go_on_after_a_name() {
    let server = Server::with_shards(1);
    let _all: Vec<Client> =
        ["a", "ab", "abc", "b"].map(|name| publishing(&server, name)).into_iter().collect();
    for name in ["a", "ab", "abc", "b"] {
        assert_eq!(listed(&get(&server, &format!("?name={name}"))), [name]);
    }
    for nobody in ["", "c", "abd", "%61", "\u{e4}", &"x".repeat(4_000)] {
        assert_eq!(listed(&get(&server, &format!("?name={nobody}"))), [""; 0], "{nobody:.9}");
    }
    assert_eq!(listed(&get(&server, "?after=ab")), ["abc", "b"]);
    assert_eq!(listed(&get(&server, "?after=z")), [""; 0]);
}

#[test]
fn who_may_not_watch_is_not_told_what_there_is() {
    let server = Server::start(&["--token", "secret"]);
    assert_eq!(get(&server, "").status, 401);
    let url = server.url("/live");
    let shown = [("Authorization", "Bearer secret")];
    assert_eq!(listed(&request("GET", &url, &shown, "")), [""; 0]);
    assert_eq!(request("GET", &url, &[("Authorization", "Bearer other")], "").status, 401);
    let wrong = request("POST", &url, &shown, "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET,HEAD,OPTIONS")));
}
