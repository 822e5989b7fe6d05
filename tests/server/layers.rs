//! The layer a viewer wants, over HTTP: the extension of WHEP as its clients use it.

use std::time::Duration;

use crate::api::schema::Document;
use crate::support::client::{Client, Offered, connect, run_for, socket};
use crate::support::{Response, Server, post_sdp, request};
use serde_json::{Value, json};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const VP8: Offered = Offered { codec: Codec::Vp8, audio: false, video: true };
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn wish(url: &str, body: &str) -> Response {
    request("POST", url, &[JSON], body)
}

/// The id of the session there is of that kind.
fn only_session(server: &Server, role: &str) -> String {
    let url = server.url(&format!("/api/v1/sessions?role={role}"));
    let page = request("GET", &url, &[], "").body;
    let page: Value = serde_json::from_str(&page).expect("a page");
    page["sessions"][0]["id"].as_str().expect("it is there").to_owned()
}

/// A publisher that has sent for more than a second, and a viewer that plays.
fn playing(server: &Server) -> (Client, Client) {
    let mut publisher = Client::publish(server, "s", VP8);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    for number in 0..80 {
        publisher.send(MediaKind::Video, number % 20 == 0, number, number * 1_800);
        run_for(Duration::from_millis(20), &mut [&mut publisher, &mut viewer]);
    }
    (publisher, viewer)
}

#[test]
fn a_viewer_says_which_layer_it_wants_and_is_told_what_it_can_have() {
    let server = Server::with_shards(2);
    let (_publisher, viewer) = playing(&server);
    let url = format!("{}/layer", viewer.session_url);
    for body in ["", "{}", r#"{"encodingId": "0"}"#, r#"{"rid": "0"}"#, r#"{"maxHeight": 90}"#] {
        let answer = wish(&url, body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    for (status, body, words) in [
        (400, "[1]", "no JSON object"),
        (400, r#"{"layer": "0"}"#, "unknown field"),
        (400, r#"{"maxHeight": 0}"#, "at least 1"),
        (404, r#"{"encodingId": "f"}"#, "those there are, the smallest first: 0"),
        (404, r#"{"mediaId": "no-such", "encodingId": "0"}"#, "a=mid"),
        (404, r#"{"spatialLayerId": 1}"#, "no such layer"),
        (400, r#"{"temporalLayerId": 8}"#, "temporalLayerId"),
    ] {
        let answer = wish(&url, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.body.contains(words), "{body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(request("POST", &url, &[], "{}").status, 415);
    assert_eq!(request("GET", &url, &[], "").status, 405);
    assert_eq!(request("OPTIONS", &url, &[], "").status, 200);
    assert_eq!(wish(&url.replace("/layer", "0/layer"), "{}").status, 404);
}

#[test]
fn whoever_administers_the_server_chooses_for_a_viewer() {
    let server = Server::with_shards(2);
    let (_publisher, _viewer) = playing(&server);
    let (viewer, publisher) = (only_session(&server, "viewer"), only_session(&server, "publisher"));
    let session = request("GET", &server.url(&format!("/api/v1/sessions/{viewer}")), &[], "");
    let session: Value = serde_json::from_str(&session.body).expect("a session");
    assert_eq!(session["layer"], Value::Null, "it comes in one");
    for (status, id, body) in [
        (204, &*viewer, r#"{"encodingId": "0"}"#),
        (204, &viewer, "{}"),
        (404, &viewer, r#"{"encodingId": "h"}"#),
        (400, &viewer, "[]"),
        (409, &publisher, "{}"),
        (404, "0-4000-9", "{}"),
        (400, "x", "{}"),
    ] {
        let answer = wish(&server.url(&format!("/api/v1/sessions/{id}/layer")), body);
        assert_eq!(answer.status, status, "{id} {body}: {}", answer.body);
    }
}

/// Of a single layer there are its frames to choose: all of them, or half.
#[test]
fn whoever_administers_the_server_is_told_of_fewer_frames_and_chooses_them() {
    let server = Server::with_shards(2);
    let h265 = Offered { codec: Codec::H265, ..VP8 };
    let mut publisher = Client::publish(&server, "s", h265);
    publisher.temporal = true;
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(&server, "s", h265);
    connect(&mut [&mut publisher, &mut viewer]);
    let mut numbers = 0..;
    let mut shown = |until: &dyn Fn(&Value) -> bool| {
        for number in numbers.by_ref().take(500) {
            publisher.send(MediaKind::Video, number % 20 == 0, number, number * 1_800);
            run_for(Duration::from_millis(20), &mut [&mut publisher, &mut viewer]);
            let id = only_session(&server, "viewer");
            let answer = request("GET", &server.url(&format!("/api/v1/sessions/{id}")), &[], "");
            let session: Value = serde_json::from_str(&answer.body).expect("a session");
            if until(&session["layer"]) {
                return (id, session);
            }
        }
        panic!("it did not come to that");
    };
    let (id, session) = shown(&|layer| layer["fewer_frames"][0].is_object());
    let document = request("GET", &server.url("/api/v1/openapi.json"), &[], "");
    let document = Document(serde_json::from_str(&document.body).expect("JSON"));
    document.check(&session, document.answer("/api/v1/sessions/{id}"), "a viewer's layer");
    let fewer = &session["layer"]["fewer_frames"];
    assert_eq!((&fewer[0]["layer"], &fewer[0]["temporal_layer"]), (&json!("0"), &json!(0)));
    assert_eq!((fewer[1].is_null(), &session["layer"]["offered"]), (true, &json!(["0"])));
    let url = server.url(&format!("/api/v1/sessions/{id}/layer"));
    assert_eq!(wish(&url, r#"{"encodingId": "0", "temporalLayerId": 0}"#).status, 204);
    let (_, session) = shown(&|layer| layer["got_temporal_layer"] == 0);
    assert_eq!(session["layer"]["asked"], true);
}

#[test]
fn who_does_not_play_yet_or_publishes_or_may_not_watch_is_refused() {
    let server = Server::with_shards(1);
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher]);
    let (_offered, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
    let made = post_sdp(&server.url("/whep/s"), &offer.to_sdp_string());
    let waiting = server.url(made.header("location").expect("a Location"));
    let answer = wish(&format!("{waiting}/layer"), "{}");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("not connected"), "{}", answer.body);
    let answer = wish(&format!("{}/layer", publisher.session_url), "{}");
    assert_eq!(answer.status, 409, "{}", answer.body);

    let guarded = Server::start(&["--token", "secret"]);
    let answer = wish(&guarded.url("/session/0123/layer"), "{}");
    assert_eq!(answer.status, 401, "as for everything that is done to a session");
}
