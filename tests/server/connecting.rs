//! Those who POST and do not connect: they have a share, and give way where room is short.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, run_until, socket};
use crate::support::{Response, Server, eventually, request};
use monoport::limits::UNHEARD_GRACE;
use str0m::format::Codec;
use str0m::media::Direction;

const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// A proxy on this machine says who the client is, and everybody may come.
const PROXIED: [&str; 7] =
    ["--shards", "2", "--no-auth", "--trusted-proxies", "127.0.0.1", "--setup-timeout", "300"];

fn start(options: &[&str]) -> Server {
    Server::start(&[&PROXIED, options].concat())
}

/// POSTs an offer to watch `s` for a client at `ip`, of whom nothing more will come.
fn post_from(server: &Server, ip: &str, token: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let headers =
        [("Content-Type", "application/sdp"), ("X-Forwarded-For", ip), ("Authorization", &*bearer)];
    let offer = Client::offer(BOTH, Direction::RecvOnly, socket()).1.to_sdp_string();
    request("POST", &server.url("/whep/s"), &headers, &offer)
}

/// Somebody who publishes `s`.
fn publisher(server: &Server) -> Client {
    let mut publisher = Client::publish(server, "s", BOTH);
    connect(&mut [&mut publisher]);
    publisher
}

fn refused(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("monoport_posts_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn one_address_that_posts_and_never_connects_leaves_room_for_others() {
    let options = ["--max-sessions", "60", "--max-connecting-per-ip", "20"];
    let server = start(&options);
    let _publisher = publisher(&server);
    // All addresses of one /64 are one's own.
    let (mut taken, begun) = (0, Instant::now());
    for number in 0..205 {
        let answer = post_from(&server, &format!("2001:db8::{number:x}"), "");
        match answer.status {
            201 => taken += 1,
            429 => {
                assert!(answer.header("retry-after").is_some());
                assert!(answer.body.contains("--max-connecting-per-ip"), "{}", answer.body);
            }
            other => panic!("{other}: {}", answer.body),
        }
    }
    // On a slow machine some are old enough by then to give way to others of their own.
    let given_way = begun.elapsed().as_millis() / UNHEARD_GRACE.as_millis() * 20;
    assert!((20..=20 + given_way).contains(&taken), "{taken}");
    assert_eq!(u128::from(refused(&server, "connecting_of_address")), 205 - taken);
    for number in 0..10 {
        let other = post_from(&server, &format!("2001:db8:0:{number:x}a::1"), "");
        assert_eq!(other.status, 201, "{}", other.body);
    }
    // Who connects counts no longer.
    let made = post_from(&server, "127.0.0.1", "");
    assert_eq!(made.status, 201, "{}", made.body);
}

#[test]
fn who_has_connected_is_no_longer_counted() {
    let server = start(&["--max-connecting-per-ip", "1"]);
    let mut publisher = publisher(&server);
    for _ in 0..5 {
        let mut refusal = String::new();
        let mut viewer = None;
        // The server hears of it a moment after its client does.
        eventually("one more may come", || {
            let path = "/whep/s";
            match Client::try_post(&server, path, BOTH, Direction::RecvOnly, socket()) {
                Ok(made) => viewer = Some(made),
                Err(refused) => refusal = format!("{} {}", refused.status, refused.body),
            }
            assert!(viewer.is_some() || refusal.starts_with("429"), "{refusal}");
            viewer.is_some()
        });
        connect(&mut [&mut publisher, &mut viewer.expect("it came")]);
    }
}

#[test]
fn the_oldest_of_whom_nothing_was_heard_gives_way_and_who_was_heard_stays() {
    for (options, words) in [
        (["--max-connecting", "3", "--max-sessions", "50"], "--max-connecting"),
        (["--max-connecting", "50", "--max-sessions", "4"], "as many sessions as it takes"),
    ] {
        let server = start(&options);
        let mut publisher = publisher(&server);
        let connecting = || server.metric("monoport_sessions_connecting");
        eventually("it counts as connected", || connecting() == 0);
        let mut heard = Client::watch(&server, "s", BOTH);
        heard.deaf_to_dtls = true;
        let since = Instant::now();
        let unheard: Vec<Response> =
            (0..2).map(|_| post_from(&server, "203.0.113.1", "")).collect();
        let urls: Vec<String> = unheard
            .iter()
            .map(|made| server.url(made.header("location").expect("a Location")))
            .collect();
        let late = post_from(&server, "203.0.113.2", "");
        if since.elapsed() < Duration::from_secs(2) {
            assert_eq!(late.status, 503, "each has time to be heard: {}", late.body);
            assert!(late.body.contains(words), "{}", late.body);
            assert!(late.header("retry-after").is_some());
        }
        let mut clients = [&mut publisher, &mut heard];
        let mut newcomers = 0;
        run_until("two give way to two", &mut clients, |_| {
            newcomers += usize::from(post_from(&server, "203.0.113.2", "").status == 201);
            newcomers >= 2
        });
        for url in &urls {
            eventually("it has ended", || request("GET", url, &[], "").status == 404);
        }
        for stays in [&heard.session_url, &publisher.session_url] {
            assert_eq!(request("GET", stays, &[], "").status, 204, "it was heard");
        }
        let failures = request("GET", &server.url("/api/v1/failures"), &[], "").body;
        assert!(failures.contains("others needed the room"), "{failures}");
    }
}

#[test]
fn who_posts_too_often_is_told_to_come_later_by_address_and_by_token() {
    for option in ["--post-rate-per-ip", "--post-rate-per-token"] {
        let server = start(&[option, "1"]);
        let by_address = option == "--post-rate-per-ip";
        let since = Instant::now();
        // By address, whoever changes tokens gains nothing; by token, whoever changes addresses.
        let post = |number: u32| match by_address {
            true => post_from(&server, "203.0.113.1", &format!("t{number}")),
            false => post_from(&server, &format!("203.0.113.{number}"), "t"),
        };
        let too_many = (0..100).map(post).find(|answer| answer.status == 429);
        let Some(too_many) = too_many else {
            assert!(since.elapsed() > Duration::from_secs(60), "100 came in {:?}", since.elapsed());
            continue;
        };
        assert!(too_many.header("retry-after").is_some());
        assert!(too_many.body.contains("come again later"), "{}", too_many.body);
        let reason = if by_address { "rate_of_address" } else { "rate_of_token" };
        assert!(refused(&server, reason) >= 1);
        let other = post_from(&server, "198.51.100.1", "another");
        assert_eq!(other.status, 409, "others are answered, by that nobody publishes");
    }
}
