//! Each way a session can fail, provoked; the reason is read from the API, the metric and the log.

use std::time::{Duration, Instant};

use crate::support::alone::alone;
use crate::support::client::{Client, Offered, connect, socket};
use crate::support::log::Log;
use crate::support::stun::Checks;
use crate::support::{Server, eventually, post_sdp, request};
use monoport::drop::DropReason;
use monoport::limits::SESSION_IDLE;
use serde_json::Value;
use str0m::format::Codec;
use str0m::media::Direction;

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

fn get(server: &Server, path: &str) -> Value {
    let response = request("GET", &server.url(&format!("/api/v1/{path}")), &[], "");
    assert_eq!(response.status, 200, "{path}: {}", response.body);
    serde_json::from_str(&response.body).expect("JSON")
}

fn metric(server: &Server, reason: &str) -> u64 {
    let name = format!("monoport_session_failures_total{{reason=\"{reason}\"}}");
    server.metric(&name)
}

/// The failure of the stream `name`, once the API has it.
fn failure(server: &Server, name: &str) -> Value {
    let mut found = Value::Null;
    eventually(&format!("the failure of {name} is told"), || {
        let page = get(server, "failures?limit=100");
        let failures = page["failures"].as_array().expect("a list");
        let own = failures.iter().find(|failure| failure["stream"] == name);
        found = own.cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

/// The session of `name` failed for `reason`; returns the words, which are the same in the list of
/// failures, in the session itself, and in one line of the log.
fn told_everywhere(server: &Server, log: &Log, name: &str, reason: &str) -> String {
    let failure = failure(server, name);
    assert_eq!(failure["reason"], reason, "{failure}");
    let words = failure["words"].as_str().expect("words").to_owned();
    let lines = log.lines_with(&format!("`{name}`"));
    assert_eq!(lines.len(), 1, "said once: {lines:?}");
    assert!(lines[0].contains(&words) && lines[0].contains(reason), "{}", lines[0]);
    if let Some(id) = failure["id"].as_str() {
        let session = get(server, &format!("sessions/{id}"));
        assert_eq!(session["state"], "ended");
        let ended = &session["ended"];
        assert_eq!((&ended["reason"], &ended["words"]), (&reason.into(), &failure["words"]));
        assert!(lines[0].contains(id), "the line names the session: {}", lines[0]);
        let timeline = session["timeline"].as_array().expect("a list");
        assert_eq!(timeline.first().map(|event| &event["what"]), Some(&"created".into()));
        assert_eq!(timeline.last().map(|event| &event["what"]), Some(&"ended".into()));
    }
    words
}

/// Runs a client whose DTLS gets no answer until `server` has heard its hello.
fn say_hello_to_nobody(server: &Server, client: &mut Client) {
    client.deaf_to_dtls = true;
    let id = id_of(server, "hello");
    eventually("its hello is heard", || {
        client.poll();
        let session = get(server, &format!("sessions/{id}"));
        !session["phases_ms"]["first_stun"].is_null()
    });
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        client.poll();
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn id_of(server: &Server, stream: &str) -> String {
    let page = get(server, &format!("sessions?stream={stream}"));
    page["sessions"][0]["id"].as_str().expect("it is there").to_owned()
}

#[test]
fn sessions_that_do_not_connect_say_why() {
    alone("failures::sessions_that_do_not_connect_say_why", sessions_that_do_not_connect);
}

fn sessions_that_do_not_connect() {
    let log = Log::listen();
    let server = Server::start(&["--shards", "1", "--setup-timeout", "4"]);
    let _silent = Client::publish(&server, "silent", VP8);
    let mut forger = Client::publish(&server, "forger", VP8);
    let mut half = Client::publish(&server, "half", VP8);
    let mut hello = Client::publish(&server, "hello", VP8);
    let mut alert = Client::publish(&server, "alert", VP8);
    let (_, check) = Checks::forged(&mut forger).request(true);
    eventually("the forged check is refused", || {
        forger.socket.send_to(&check, server.media()).expect("loopback takes it");
        server.drops(DropReason::StunRejected) > 0
    });
    Checks::of(&mut half).exchange(&half.socket, server.media(), true);
    Checks::of(&mut alert).exchange(&alert.socket, server.media(), true);
    // A fatal alert in the clear: bad_certificate, as of a browser that does not take ours.
    let bad_certificate = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 42];
    alert.socket.send_to(&bad_certificate, server.media()).expect("loopback takes it");
    say_hello_to_nobody(&server, &mut hello);

    let unheard = told_everywhere(&server, &log, "silent", "unheard");
    assert!(unheard.contains(&server.media().to_string()), "where it was awaited: {unheard}");
    let forged = told_everywhere(&server, &log, "forger", "wrong_password");
    assert!(forged.contains("bad credentials"), "{forged}");
    let half = told_everywhere(&server, &log, "half", "dtls_timeout");
    assert!(half.contains("its ClientHello never came"), "{half}");
    let hello = told_everywhere(&server, &log, "hello", "dtls_timeout");
    assert!(hello.contains("its hello came and was answered"), "{hello}");
    let alert = told_everywhere(&server, &log, "alert", "dtls_timeout");
    assert!(alert.contains("alert 42 bad_certificate"), "{alert}");
    for (reason, count) in [("unheard", 1), ("wrong_password", 1), ("dtls_timeout", 3)] {
        assert_eq!(metric(&server, reason), count, "{reason}");
    }
    let status = get(&server, "status");
    let timeouts = status["failures"].as_array().and_then(|reasons| reasons.first());
    assert_eq!(timeouts, Some(&serde_json::json!({ "reason": "dtls_timeout", "total": 3 })));
}

#[test]
fn offers_that_are_refused_say_what_was_offered_and_what_is_spoken() {
    alone(
        "failures::offers_that_are_refused_say_what_was_offered_and_what_is_spoken",
        offers_that_are_refused,
    );
}

fn offers_that_are_refused() {
    let log = Log::listen();
    let server = Server::with_shards(1);
    let mut publisher = Client::publish(&server, "codec", VP8);
    connect(&mut [&mut publisher]);
    let h264 = Offered { codec: Codec::H264, ..VP8 };
    let refused = Client::try_post(&server, "/whep/codec", h264, Direction::RecvOnly, socket());
    let Err(refused) = refused else { panic!("it was taken") };
    assert_eq!(refused.status, 406, "{}", refused.body);
    let words = told_everywhere(&server, &log, "codec", "no_common_codec");
    assert!(words.contains("the offer has H264") && words.contains("Vp8 is needed"), "{words}");
    assert!(refused.body.contains(&words), "the client hears the same: {}", refused.body);

    assert_eq!(post_sdp(&server.url("/whip/garbled"), "v=0\r\n").status, 400);
    told_everywhere(&server, &log, "garbled", "bad_offer");
    assert_eq!((metric(&server, "no_common_codec"), metric(&server, "bad_offer")), (1, 1));
    // That nobody publishes yet is no failure: players ask again and again.
    assert_eq!(post_sdp(&server.url("/whep/nobody"), "v=0\r\n").status, 400);
    let (_client, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
    assert_eq!(post_sdp(&server.url("/whep/nobody"), &offer.to_sdp_string()).status, 409);
    assert_eq!(metric(&server, "bad_offer"), 2);
    assert!(log.lines_with("nobody publishes").is_empty());
}

/// Half a minute of waiting, and nearly nothing to do in it.
#[test]
fn a_peer_that_vanishes_is_told_of() {
    alone("failures::a_peer_that_vanishes_is_told_of", a_peer_that_vanishes);
}

fn a_peer_that_vanishes() {
    let log = Log::listen();
    let server = Server::with_shards(1);
    let mut publisher = Client::publish(&server, "vanishing", VP8);
    connect(&mut [&mut publisher]);
    let id = id_of(&server, "vanishing");
    std::thread::sleep(SESSION_IDLE);
    let words = told_everywhere(&server, &log, "vanishing", "vanished");
    assert!(words.contains("vanished"), "{words}");
    let session = get(&server, &format!("sessions/{id}"));
    assert!(!session["phases_ms"]["dtls"].is_null(), "it was connected: {session}");
    let history = session["history"].as_array().expect("a list");
    assert!(history.len() >= 2, "its last half minute is there: {session}");
    assert_eq!(metric(&server, "vanished"), 1);
}

#[test]
fn of_clients_that_are_killed_all_together_nothing_stays() {
    let server = Server::with_shards(2);
    let flows = server.flows();
    let mut load = std::process::Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", server.url("/").trim_end_matches('/'), "--viewers", "40"])
        .args(["--threads", "1", "--ramp", "200", "--duration", "60s", "--audio"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the load generator starts");
    eventually("they watch", || server.sum(|c| c.viewers_ready.get()) == 40);
    // SIGKILL: none says goodbye.
    load.kill().expect("it is our child");
    load.wait().expect("it is our child");
    std::thread::sleep(SESSION_IDLE);
    eventually("all of them are ended", || server.sessions() == 0);
    eventually("their flows are forgotten", || server.flows() == flows);
    let mut newcomer = Client::publish(&server, "newcomer", VP8);
    connect(&mut [&mut newcomer]);
}
