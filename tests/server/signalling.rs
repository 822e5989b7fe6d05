//! WHIP and WHEP over HTTP, and starting and ending.

use std::process::{Command, Stdio};

use crate::support::client::{Client, Offered, connect, run_until, socket};
use crate::support::{Response, Server, eventually, post_sdp, request, steerings};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

fn refused(server: &Server, path: &str, offered: Offered, direction: Direction) -> Response {
    match Client::try_post(server, path, offered, direction, socket()) {
        Ok(_) => panic!("{path} took an offer it should refuse"),
        Err(response) => response,
    }
}

#[test]
fn a_session_is_made_named_and_ended() {
    let server = Server::with_shards(1);
    let offered = Offered::both(Codec::Vp8);
    let (_client, offer, _) = Client::offer(offered, Direction::SendOnly, socket());
    let response = request(
        "POST",
        &server.url("/whip/s"),
        &[("Content-Type", "Application/SDP; charset=utf-8")],
        &offer.to_sdp_string(),
    );
    assert_eq!(response.status, 201, "{}", response.body);
    assert_eq!(response.header("content-type"), Some("application/sdp"));
    let etag = response.header("etag").expect("an ETag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "a strong tag: {etag}");
    let location = response.header("location").expect("a Location").to_owned();
    assert!(location.starts_with("/session/") && location.len() >= 9 + 32, "{location}");
    assert!(response.body.contains("a=recvonly"), "{}", response.body);
    let candidate = format!(" {} {} typ host", server.media().ip(), server.media().port());
    assert!(response.body.contains(&candidate), "{}", response.body);

    let url = server.url(&location);
    assert_eq!(request("GET", &url, &[], "").status, 204);
    assert_eq!(request("PUT", &url, &[], "").status, 405);
    assert_eq!(request("DELETE", &url, &[("If-Match", "\"other\"")], "").status, 200);
    assert_eq!(request("DELETE", &url, &[], "").status, 404, "it is gone");
    assert_eq!(request("GET", &url, &[], "").status, 404);
    eventually("the tables are empty", || server.sessions() == 0 && server.streams() == 0);
    eventually("the name is free", || server.node().counts() == (0, 0));
}

#[test]
fn endpoints_answer_every_method_and_content_type() {
    let server = Server::with_shards(1);
    for endpoint in ["/whip/s", "/whep/s"] {
        let url = server.url(endpoint);
        let options = request("OPTIONS", &url, &[("Origin", "http://elsewhere")], "");
        assert_eq!(options.status, 200);
        assert_eq!(options.header("accept-post"), Some("application/sdp"));
        assert_eq!(request("GET", &url, &[], "").status, 204);
        let head = request("HEAD", &url, &[], "");
        assert_eq!((head.status, head.header("content-type")), (200, Some("application/sdp")));
        for method in ["PUT", "PATCH", "DELETE"] {
            let response = request(method, &url, &[], "");
            assert_eq!(response.status, 405, "{method}");
            assert!(response.header("allow").is_some_and(|allow| allow.contains("POST")));
        }
        let json = [("Content-Type", "application/json")];
        assert_eq!(request("POST", &url, &json, "{}").status, 415);
        assert_eq!(request("POST", &url, &[], "v=0").status, 415);
    }
    for path in ["/nowhere", "/session/0123", "/whip", "/whip/a/b"] {
        let response = request("GET", &server.url(path), &[], "");
        assert_eq!(response.status, 404, "{path}");
        for (name, value) in
            [("access-control-allow-origin", "*"), ("content-type", "application/problem+json")]
        {
            assert_eq!(response.header(name), Some(value), "{path}");
        }
        let exposed = response.header("access-control-expose-headers").unwrap_or_default();
        assert!(["Location", "Link", "ETag"].iter().all(|name| exposed.contains(name)));
    }
    let long = "x".repeat(129);
    for name in ["a%20b", "a%2Fb", "%00", &long] {
        let response = post_sdp(&server.url(&format!("/whip/{name}")), "v=0");
        assert_eq!(response.status, 400, "{name}: {}", response.body);
    }
}

#[test]
fn a_viewer_hears_why_it_cannot_watch() {
    let server = Server::with_shards(1);
    let vp8 = Offered::both(Codec::Vp8);
    let nobody = refused(&server, "/whep/s", vp8, Direction::RecvOnly);
    assert_eq!(nobody.status, 409);
    assert!(nobody.header("retry-after").is_some(), "it may ask again");

    let mut publisher = Client::publish(&server, "s", vp8);
    connect(&mut [&mut publisher]);
    let other = refused(&server, "/whep/s", Offered::both(Codec::H264), Direction::RecvOnly);
    assert_eq!(other.status, 406, "{}", other.body);
    assert!(other.body.contains("Vp8"), "it says what is needed: {}", other.body);
    let backwards = refused(&server, "/whep/s", vp8, Direction::SendOnly);
    assert_eq!(backwards.status, 400, "{}", backwards.body);
    let backwards = refused(&server, "/whip/t", vp8, Direction::RecvOnly);
    assert_eq!(backwards.status, 400, "{}", backwards.body);
}

/// One encoding is sent, and a player that was promised layers could not tell which it is.
#[test]
fn a_viewer_that_asks_for_simulcast_is_promised_one_encoding() {
    let server = Server::with_shards(1);
    let vp8 = Offered { audio: false, ..Offered::both(Codec::Vp8) };
    let _publisher = Client::publish(&server, "s", vp8);
    let (_viewer, offer, _pending) = Client::offer(vp8, Direction::RecvOnly, socket());
    let offer = offer.to_sdp_string() + "a=rid:h recv\r\na=rid:l recv\r\na=simulcast:recv h;l\r\n";
    let answered = post_sdp(&server.url("/whep/s"), &offer);
    assert_eq!(answered.status, 201, "{}", answered.body);
    assert!(!answered.body.contains("a=simulcast") && !answered.body.contains("a=rid"));
    assert!(answered.body.contains("a=ssrc:"), "{}", answered.body);
}

#[test]
fn tracks_may_be_missing_on_either_side() {
    let server = Server::with_shards(1);
    let audio = Offered { video: false, ..Offered::both(Codec::Vp8) };
    let video = Offered { audio: false, ..Offered::both(Codec::Vp8) };
    let both = Offered::both(Codec::Vp8);
    for (name, published, watched, arrives) in [
        ("audio to both", audio, both, MediaKind::Audio),
        ("video to both", video, both, MediaKind::Video),
        ("both to audio", both, audio, MediaKind::Audio),
        ("both to video", both, video, MediaKind::Video),
    ] {
        let mut publisher = Client::publish(&server, "s", published);
        connect(&mut [&mut publisher]);
        let mut viewer = Client::watch(&server, "s", watched);
        connect(&mut [&mut publisher, &mut viewer]);
        eventually("the viewer is ready", || {
            publisher.poll();
            viewer.poll();
            server.sum(|counters| counters.viewers_ready.get()) == 1
        });
        for number in 0..50 {
            if published.audio {
                publisher.send(MediaKind::Audio, false, number, number * 960);
            }
            if published.video {
                publisher.send(MediaKind::Video, true, number, number * 3_000);
            }
            publisher.poll();
            viewer.poll();
        }
        run_until(name, &mut [&mut publisher, &mut viewer], |all| match arrives {
            MediaKind::Audio => all[1].audio_numbers().len() == 50,
            MediaKind::Video => all[1].video_numbers().len() == 50,
        });
        publisher.delete();
        viewer.delete();
        eventually("both are gone", || server.node().counts() == (0, 0));
    }
}

#[test]
fn a_token_is_asked_for_where_state_changes() {
    let server = Server::start(&["--shards", "1", "--token", "secret"]);
    let offered = Offered::both(Codec::Vp8);
    let (_client, offer, _) = Client::offer(offered, Direction::SendOnly, socket());
    let sdp = offer.to_sdp_string();
    let kind = ("Content-Type", "application/sdp");
    let post = |authorization: &str| {
        let headers = [kind, ("Authorization", authorization)];
        request("POST", &server.url("/whip/s"), &headers, &sdp)
    };
    let without = post_sdp(&server.url("/whip/s"), &sdp);
    assert_eq!(without.status, 401);
    assert_eq!(without.header("www-authenticate"), Some("Bearer"));
    assert_eq!(post("Bearer wrong").status, 401);
    assert_eq!(post_sdp(&server.url("/whep/s"), &sdp).status, 401);
    let made = post("Bearer secret");
    assert_eq!(made.status, 201);
    let url = server.url(made.header("location").expect("a Location"));
    assert_eq!(request("DELETE", &url, &[], "").status, 401);
    assert_eq!(request("OPTIONS", &server.url("/whip/s"), &[], "").status, 200);
    let authorized = [("Authorization", "Bearer secret")];
    assert_eq!(request("DELETE", &url, &authorized, "").status, 200);
}

#[test]
fn a_thousand_sessions_come_and_go_and_leave_every_table_as_it_was() {
    for steering in steerings() {
        let server = Server::steered(4, steering);
        let offered = Offered::both(Codec::Vp8);
        let mut publisher = Client::publish(&server, "s", offered);
        connect(&mut [&mut publisher]);
        let tables =
            || (server.sessions(), server.flows(), server.streams(), server.node().counts());
        eventually("the publisher is counted", || server.flows() == 1);
        let start = tables();
        for _ in 0..10 {
            let mut viewers: Vec<Client> =
                (0..100).map(|_| Client::watch(&server, "s", offered)).collect();
            let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
            all.push(&mut publisher);
            connect(&mut all);
            for (index, viewer) in viewers.iter_mut().enumerate() {
                if index % 2 == 0 {
                    assert_eq!(viewer.delete().status, 200);
                } else {
                    viewer.say_goodbye();
                }
            }
            eventually("all of them are gone", || server.sessions() == start.0);
        }
        eventually("every table is as it was", || tables() == start);
    }
}

#[test]
fn a_port_in_use_is_named_and_nothing_starts() {
    let server = Server::with_shards(1);
    let port = server.node().udp_ports()[0].to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--http", "127.0.0.1:0", "--udp-port", &port])
        .stdout(Stdio::null())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let line = said.lines().last().unwrap_or_default();
    assert!(line.contains(&format!("UDP port {port} is in use")), "{said}");
    assert!(line.contains(&format!("pid {}", std::process::id())), "{said}");
    assert!(line.contains("--udp-port"), "it says what to do: {said}");

    let http = server.node().http_address().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--http", &http, "--udp-port", "0", "--no-tcp"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&http) && said.contains("--http"), "{said}");
}

#[test]
fn a_server_open_to_others_refuses_to_start_without_a_token() {
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--http", "0.0.0.0:0", "--udp-port", "0"])
        .env_remove("MONOPORT_TOKEN")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("--token") && said.contains("--no-auth"), "{said}");
}
