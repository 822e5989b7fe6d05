//! Who may do what: tokens, this machine and others, and how somebody is shut out.

use crate::support::client::{Client, Offered, connect, socket};
use crate::support::{Response, Server, eventually, post_sdp, request};
use serde_json::{Value, json};
use str0m::format::Codec;
use str0m::media::Direction;

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };
const SDP: (&str, &str) = ("Content-Type", "application/sdp");

fn offer(direction: Direction) -> String {
    Client::offer(VP8, direction, socket()).1.to_sdp_string()
}

/// POSTs an offer with a token in the header.
fn post(server: &Server, path: &str, token: &str, sdp: &str) -> Response {
    let bearer = format!("Bearer {token}");
    request("POST", &server.url(path), &[SDP, ("Authorization", &bearer)], sdp)
}

#[test]
fn a_watchers_token_can_not_publish() {
    let options = ["--shards", "1", "--publish-token", "p", "--watch-token", "w"];
    let server = Server::start(&options);
    let (sends, takes) = (offer(Direction::SendOnly), offer(Direction::RecvOnly));
    let made = post(&server, "/whip/s", "p", &sends);
    assert_eq!(made.status, 201, "{}", made.body);

    let refused = post(&server, "/whip/s", "w", &sends);
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("publish"), "it says what is missing: {}", refused.body);
    assert_eq!(post(&server, "/whep/s", "p", &takes).status, 403);
    assert_eq!(post(&server, "/whep/s", "w", &takes).status, 201);
    for path in ["/whip/s", "/whep/s"] {
        let unknown = post(&server, path, "x", &sends);
        assert_eq!(unknown.status, 401);
        assert_eq!(unknown.header("www-authenticate"), Some("Bearer"));
        assert_eq!(post_sdp(&server.url(path), &sends).status, 401);
    }
    // Nor can a watcher end what a publisher has begun, even if the URL is known.
    let url = server.url(made.header("location").expect("a Location"));
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        request("DELETE", &url, &[("Authorization", &bearer)], "").status
    };
    assert_eq!((with("w"), with("x"), with("p")), (403, 401, 200));
    let list = |token: &str| request("GET", &server.url(&format!("/live{token}")), &[], "").status;
    assert_eq!((list(""), list("?token=p"), list("?token=w")), (401, 403, 200));
}

#[test]
fn watching_is_open_while_publishing_is_not() {
    let server = Server::start(&["--shards", "1", "--publish-token", "p"]);
    let sends = offer(Direction::SendOnly);
    assert_eq!(post_sdp(&server.url("/whip/s"), &sends).status, 401);
    assert_eq!(post(&server, "/whip/s", "p", &sends).status, 201);
    let elsewhere = [SDP, ("Origin", "https://example.org")];
    let takes = offer(Direction::RecvOnly);
    assert_eq!(request("POST", &server.url("/whep/s"), &elsewhere, &takes).status, 201);
}

#[test]
fn a_token_may_come_in_the_url() {
    let server = Server::start(&["--shards", "1", "--token", "a+b"]);
    let sends = offer(Direction::SendOnly);
    let made = post_sdp(&server.url("/whip/s?x=1&token=a%2Bb"), &sends);
    assert_eq!(made.status, 201, "{}", made.body);
    let location = made.header("location").expect("a Location");
    assert!(!location.contains("token"), "a URL that is handed on has no secret: {location}");
    assert_eq!(post_sdp(&server.url("/whip/s?token=a"), &sends).status, 401);
    let url = server.url(&format!("{location}?token=a%2Bb"));
    assert_eq!(request("DELETE", &url, &[], "").status, 200);
}

#[test]
fn without_tokens_pages_of_other_sites_can_neither_publish_nor_watch_nor_measure() {
    let server = Server::with_shards(1);
    let (sends, takes) = (offer(Direction::SendOnly), offer(Direction::RecvOnly));
    for elsewhere in [("Origin", "https://example.org"), ("Host", "media.example.org")] {
        for (path, sdp) in [("/whip/s", &sends), ("/whep/s", &takes)] {
            let refused = request("POST", &server.url(path), &[SDP, elsewhere], sdp);
            assert_eq!(refused.status, 403, "{path} {elsewhere:?}: {}", refused.body);
            assert!(refused.body.contains("--token"), "it says what to do: {}", refused.body);
        }
        for path in ["/metrics", "/live"] {
            let refused = request("GET", &server.url(path), &[elsewhere], "");
            assert_eq!(refused.status, 403, "{path} {elsewhere:?}: {}", refused.body);
        }
    }
    assert_eq!(post_sdp(&server.url("/whip/s"), &sends).status, 201);
    // Who serves everybody has said so.
    let open = Server::start(&["--shards", "1", "--no-auth"]);
    let elsewhere = [SDP, ("Origin", "https://example.org")];
    assert_eq!(request("POST", &open.url("/whip/s"), &elsewhere, &sends).status, 201);
}

#[test]
fn the_metrics_take_the_admin_token_unless_they_are_open() {
    let read = |server: &Server, headers: &[(&str, &str)]| {
        request("GET", &server.url("/metrics"), headers, "").status
    };
    let options = ["--shards", "1", "--admin-token", "a", "--token", "t"];
    let closed = Server::start(&options);
    assert_eq!(read(&closed, &[]), 401);
    assert_eq!(read(&closed, &[("Authorization", "Bearer t")]), 403);
    assert_eq!(read(&closed, &[("Authorization", "Bearer a")]), 200);
    let open = Server::start(&[&options[..], &["--metrics-open"]].concat());
    assert_eq!(read(&open, &[("Host", "media.example.org")]), 200);
}

#[test]
fn other_methods_are_answered_405_and_told_which_there_are() {
    let server = Server::with_shards(1);
    let pages = ["/", "/dashboard", "/publish", "/watch/s", "/style.css"];
    let more = ["/metrics", "/live", "/healthz", "/readyz", "/api/v1/status"];
    let sessions = ["/whip/s", "/whep/s", "/session/0"];
    for path in pages.into_iter().chain(more).chain(sessions) {
        for method in ["PUT", "TRACE", "DELETE"] {
            if method == "DELETE" && path == "/session/0" {
                continue;
            }
            let refused = request(method, &server.url(path), &[], "");
            assert_eq!(refused.status, 405, "{method} {path}: {}", refused.body);
            let allow = refused.header("allow").unwrap_or_default();
            assert!(allow.contains("GET") && allow.contains("HEAD"), "{method} {path}: {allow}");
        }
    }
    let refused = request("PUT", &server.url("/api/v1/sessions/0-0-0"), &[], "");
    let allow = refused.header("allow").unwrap_or_default();
    assert!(allow.contains("DELETE") && allow.contains("GET"), "all it takes: {allow}");
}

#[test]
fn names_that_mean_another_place_name_no_stream() {
    let server = Server::with_shards(1);
    let sends = offer(Direction::SendOnly);
    for name in ["%2e", "%2e%2e", "a%2fb"] {
        let refused = post_sdp(&server.url(&format!("/whip/{name}")), &sends);
        assert_eq!(refused.status, 400, "{name}: {}", refused.body);
    }
    assert_eq!(post_sdp(&server.url("/whip/..."), &sends).status, 201, "it means nothing else");
}

fn sessions(server: &Server) -> Vec<Value> {
    let text = request("GET", &server.url("/api/v1/sessions"), &[], "").body;
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    answer["sessions"].as_array().expect("a list").clone()
}

fn delete(server: &Server, path: &str) -> u16 {
    request("DELETE", &server.url(&format!("/api/v1/{path}")), &[], "").status
}

#[test]
fn a_session_that_is_kicked_ends_and_its_client_is_told_by_whom() {
    let server = Server::with_shards(2);
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher]);
    let made = post_sdp(&server.url("/whep/s"), &offer(Direction::RecvOnly));
    let url = server.url(made.header("location").expect("a Location"));
    let viewer = sessions(&server).into_iter().find(|session| session["role"] == "viewer");
    let id = viewer.expect("it is listed")["id"].as_str().expect("an id").to_owned();

    assert_eq!(delete(&server, &format!("sessions/{id}")), 204);
    eventually("it is gone", || request("GET", &url, &[], "").status == 410);
    let told = request("GET", &url, &[], "").body;
    assert!(told.contains("kicked") && told.contains("administrator"), "{told}");
    assert_eq!(delete(&server, &format!("sessions/{id}")), 404, "it was there once");
    assert_eq!(delete(&server, "sessions/x"), 400);
    assert_eq!(server.node().counts(), (1, 1), "the publisher stays");
}

#[test]
fn a_stream_that_is_kicked_takes_all_its_sessions_along_and_no_other() {
    let server = Server::with_shards(2);
    let mut clients = [Client::publish(&server, "s", VP8), Client::publish(&server, "t", VP8)];
    let [one, other] = &mut clients;
    connect(&mut [one, other]);
    for _ in 0..3 {
        let made = post_sdp(&server.url("/whep/s"), &offer(Direction::RecvOnly));
        assert_eq!(made.status, 201, "{}", made.body);
    }
    // One that waits to take over goes too.
    assert_eq!(post_sdp(&server.url("/whip/s"), &offer(Direction::SendOnly)).status, 201);
    assert_eq!(server.node().counts().0, 6);
    assert_eq!(delete(&server, "streams/s"), 204);
    eventually("all are gone", || server.node().counts() == (1, 1));
    assert_eq!(sessions(&server)[0]["stream"], "t");
    assert_eq!(delete(&server, "streams/s"), 404);
    let again = post_sdp(&server.url("/whip/s"), &offer(Direction::SendOnly));
    assert_eq!(again.status, 201, "the name is free: {}", again.body);
}

#[test]
fn only_administrators_kick() {
    let server = Server::start(&["--shards", "1", "--admin-token", "a", "--token", "t"]);
    assert_eq!(post(&server, "/whip/s", "t", &offer(Direction::SendOnly)).status, 201);
    for path in ["sessions/0-0-0", "streams/s"] {
        assert_eq!(delete(&server, path), 401, "{path}");
        let url = server.url(&format!("/api/v1/{path}"));
        assert_eq!(request("DELETE", &url, &[("Authorization", "Bearer t")], "").status, 403);
    }
    assert_eq!(server.node().counts().0, 1);
}

const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A token of `claims` that is good for `seconds` from now.
fn jwt(mut claims: Value, seconds: i64) -> String {
    claims["exp"] = (jsonwebtoken::get_current_timestamp() as i64 + seconds).into();
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}

#[test]
fn a_json_web_token_opens_the_streams_and_the_verbs_it_names() {
    let file = std::env::temp_dir().join(format!("monoport-jwt-{}", std::process::id()));
    std::fs::write(&file, JWT_SECRET).expect("the file is written");
    let path = file.to_str().expect("a path");
    let server = Server::start(&["--shards", "1", "--jwt-key-file", path]);
    let (sends, takes) = (offer(Direction::SendOnly), offer(Direction::RecvOnly));
    let publishes = jwt(json!({"stream": "room-*", "publish": true}), 60);
    let watches = jwt(json!({"stream": "room-7", "watch": true}), 60);

    let made = post(&server, "/whip/room-7", &publishes, &sends);
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(post(&server, "/whip/room-8", &publishes, &sends).status, 201);
    assert_eq!(post(&server, "/whip/hall", &publishes, &sends).status, 403);
    assert_eq!(post(&server, "/whep/room-7", &publishes, &takes).status, 403);
    assert_eq!(post(&server, "/whip/room-7", &watches, &sends).status, 403);
    assert_eq!(post(&server, "/whep/room-7", &watches, &takes).status, 201);
    assert_eq!(post(&server, "/whep/room-8", &watches, &takes).status, 403);

    let expired = jwt(json!({"stream": "room-*", "publish": true}), -60);
    let refused = post(&server, "/whip/room-7", &expired, &sends);
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("time"), "it says that it is too late: {}", refused.body);
    let (front, signature) = publishes.rsplit_once('.').expect("three parts");
    let forged = format!("{front}.{}", signature.chars().rev().collect::<String>());
    assert_eq!(post(&server, "/whip/room-7", &forged, &sends).status, 401);
    assert_eq!(post_sdp(&server.url("/whip/room-7"), &sends).status, 401);
    // What it has begun can be ended with it, also when its time is over.
    let url = server.url(made.header("location").expect("a Location"));
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        request("DELETE", &url, &[("Authorization", &bearer)], "").status
    };
    assert_eq!((with(&watches), with(&forged), with(&expired)), (403, 401, 200));
    std::fs::remove_file(file).expect("it is there");
}
