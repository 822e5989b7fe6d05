//! The authorization service: asked about whom no token explains, off everybody else's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, socket};
use crate::support::process::Process;
use crate::support::service::{Posted, Service};
use crate::support::{Response, Server, post_sdp, request};
use serde_json::json;
use str0m::format::Codec;
use str0m::media::Direction;

const SDP: (&str, &str) = ("Content-Type", "application/sdp");

fn offer(direction: Direction) -> String {
    let offered = Offered::both(Codec::Vp8);
    Client::offer(offered, direction, socket()).1.to_sdp_string()
}

fn post(url: &str, authorization: &str, sdp: &str) -> Response {
    request("POST", url, &[SDP, ("Authorization", authorization)], sdp)
}

/// Lets in who shows the token or the password `good`.
fn lets_in_the_good() -> Service {
    Service::start(|posted: &Posted| {
        let asked = posted.json();
        if asked["token"] == "good" || asked["password"] == "good" { 200 } else { 401 }
    })
}

#[test]
fn the_service_is_asked_in_mediamtxs_words_and_lets_in_or_refuses() {
    let service = lets_in_the_good();
    let server = Server::start(&["--shards", "1", "--auth-url", &service.url("/auth")]);
    let (sends, takes) = (offer(Direction::SendOnly), offer(Direction::RecvOnly));
    let made = post(&server.url("/whip/s?room=7"), "Bearer good", &sends);
    assert_eq!(made.status, 201, "{}", made.body);
    let mut asked = service.posted()[0].json();
    let id = asked["id"].take();
    assert_eq!(id.as_str().map(str::len), Some(36), "a UUID: {id}");
    let expected = json!({
        "user": "", "password": "", "token": "good", "ip": "127.0.0.1", "action": "publish",
        "path": "s", "protocol": "webrtc", "id": null, "query": "room=7",
    });
    assert_eq!(asked, expected);
    // "u:good" in base64.
    assert_eq!(post(&server.url("/whep/s"), "Basic dTpnb29k", &takes).status, 201);
    let asked = service.posted()[1].json();
    assert_eq!((&asked["action"], &asked["user"]), (&"read".into(), &"u".into()));

    let refused = post(&server.url("/whip/s"), "Bearer bad", &sends);
    assert_eq!(refused.status, 401, "{}", refused.body);
    assert!(refused.body.contains("does not know these credentials"), "{}", refused.body);
    let nothing = post_sdp(&server.url("/whep/s"), &takes);
    assert_eq!((nothing.status, nothing.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(request("GET", &server.url("/live"), &[], "").status, 401);
    assert_eq!(request("GET", &server.url("/live?token=good"), &[], "").status, 200);

    // Who has the URL of a session may end it, whatever the service would say by then.
    let asked = service.count();
    let url = server.url(made.header("location").expect("a Location"));
    assert_eq!(request("DELETE", &url, &[], "").status, 200);
    assert_eq!(service.count(), asked);
}

#[test]
fn tokens_of_the_server_open_beside_the_service_and_are_never_shown_to_it() {
    let service = lets_in_the_good();
    let url = service.url("/");
    let options = ["--shards", "1", "--publish-token", "p", "--admin-token", "a"];
    let server = Server::start(&[&options[..], &["--auth-url", &url]].concat());
    let sends = offer(Direction::SendOnly);
    assert_eq!(post(&server.url("/whip/s"), "Bearer p", &sends).status, 201);
    assert_eq!(post(&server.url("/whip/s"), "Bearer a", &sends).status, 403);
    assert_eq!(post(&server.url("/whep/s"), "Bearer p", &sends).status, 403);
    assert_eq!(service.count(), 0, "{:?}", service.posted());
    assert_eq!(post(&server.url("/whip/s"), "Bearer good", &sends).status, 201);
    let takes = offer(Direction::RecvOnly);
    let watched = post_sdp(&server.url("/whep/s"), &takes);
    assert_eq!(watched.status, 401, "watching is not open: {}", watched.body);
}

#[test]
fn a_verdict_is_remembered_for_the_same_question_alone() {
    let service = lets_in_the_good();
    let server = Server::start(&["--shards", "1", "--auth-url", &service.url("/")]);
    let sends = offer(Direction::SendOnly);
    let since = Instant::now();
    for _ in 0..5 {
        assert_eq!(post(&server.url("/whip/s"), "Bearer bad", &sends).status, 401);
    }
    // A machine that takes longer for five requests than a verdict is kept asks anew.
    let kept = monoport::limits::VERDICT_KEPT;
    assert!(service.count() == 1 || since.elapsed() > kept, "{:?}", service.posted());
    let before = service.count();
    assert_eq!(post(&server.url("/whip/t"), "Bearer bad", &sends).status, 401);
    assert_eq!(post(&server.url("/whip/s"), "Bearer good", &sends).status, 201);
    assert_eq!(service.count(), before + 2, "another stream, another token");
}

#[test]
fn without_an_answer_of_the_service_nobody_is_let_in_and_is_told_why() {
    let gone = Service::start(|_| 200).url("/auth?key=hidden");
    let server = Process::start(&["--shards", "1", "--auth-url", &gone]);
    let sends = offer(Direction::SendOnly);
    let url = format!("{}/whip/s", server.url);
    let refused = post(&url, "Bearer secret-word", &sends);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.body.contains("does not answer"), "{}", refused.body);
    let log = server.stop();
    assert!(log.contains("the authorization service at http://127.0.0.1"), "{log}");
    assert!(!log.contains("secret-word") && !log.contains("hidden"), "{log}");

    let broken = Service::start(|_| 500);
    let server = Server::start(&["--shards", "1", "--auth-url", &broken.url("/")]);
    for _ in 0..2 {
        let refused = post(&server.url("/whip/s"), "Bearer x", &sends);
        assert_eq!(refused.status, 503, "{}", refused.body);
    }
    assert_eq!(broken.count(), 2, "its troubles are not remembered");
    // A redirect is no yes, and what was asked is told to nobody else.
    let elsewhere = Service::start(|_| 302);
    let server = Server::start(&["--shards", "1", "--auth-url", &elsewhere.url("/")]);
    assert_eq!(post(&server.url("/whip/s"), "Bearer x", &sends).status, 503);
}

#[test]
fn a_service_that_hangs_delays_nobody_else() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = hangs.clone();
    let service = Service::start(move |posted: &Posted| {
        while posted.json()["token"] == "slow" && hanging.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        200
    });
    let url = service.url("/");
    let options = ["--shards", "1", "--publish-token", "p", "--auth-url", &url];
    let server = Server::start(&options);
    let sends = offer(Direction::SendOnly);
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..64)
            .map(|number| {
                let url = server.url(&format!("/whip/slow-{number}"));
                scope.spawn(|| {
                    let url = url;
                    post(&url, "Bearer slow", &sends)
                })
            })
            .collect();
        crate::support::eventually("some questions hang", || service.count() > 4);
        // Neither those with tokens nor the probes wait for it, on the one control thread.
        let quick = Instant::now();
        for number in 0..20 {
            let made = post(&server.url(&format!("/whip/quick-{number}")), "Bearer p", &sends);
            assert_eq!(made.status, 201, "{}", made.body);
        }
        assert_eq!(request("GET", &server.url("/readyz"), &[], "").status, 200);
        let quick = quick.elapsed();
        let answers: Vec<u16> = slow.into_iter().map(|one| one.join().unwrap().status).collect();
        assert!(answers.iter().all(|status| *status == 503), "{answers:?}");
        assert!(quick < Duration::from_secs(15), "twenty set-ups took {quick:?}");
    });
    hangs.store(false, Ordering::Relaxed);
}
