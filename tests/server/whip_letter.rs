//! RFC 9725 (WHIP) and draft-ietf-wish-whep, line by line: each test is named after what a server
//! must do.

use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::{Response, Server, eventually, post_sdp, request};
use monoport::drop::DropReason;
use str0m::IceCreds;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const VP8: Offered = Offered { codec: Codec::Vp8, audio: false, video: true };
const SDPFRAG: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

/// The credentials of a client's next ICE session.
fn next_credentials() -> IceCreds {
    IceCreds { ufrag: "NEXT".into(), pass: "the/next/ICE/password+24".into() }
}

fn fragment(credentials: &IceCreds) -> String {
    let IceCreds { ufrag, pass } = credentials;
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pass}\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v0\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host\r\n\
         a=candidate:2 1 udp 2130706431 f3a7c1.local 5000 typ host\r\na=end-of-candidates\r\n"
    )
}

fn patch(url: &str, if_match: &str, body: &str) -> Response {
    request("PATCH", url, &[SDPFRAG, ("If-Match", if_match)], body)
}

/// What follows `prefix` on the first line of a text that starts so.
fn line<'a>(text: &'a str, prefix: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(prefix));
    found.unwrap_or_else(|| panic!("no {prefix} in {text}"))
}

/// A publisher and a viewer of its that play.
fn playing(server: &Server) -> (Client, Client) {
    let mut publisher = Client::publish(server, "s", VP8);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    run_until("a request for a key frame", &mut [&mut publisher, &mut viewer], |all| {
        all[0].keyframes_asked > 0
    });
    send(&mut publisher, &mut viewer, 0);
    (publisher, viewer)
}

/// Sends fifty frames from `first` on, which all arrive.
fn send(publisher: &mut Client, viewer: &mut Client, first: u32) {
    let before = viewer.video_numbers().len();
    for number in first..first + 50 {
        publisher.send(MediaKind::Video, number == first, number, number * 3_000);
        run_for(Duration::from_millis(2), &mut [publisher, viewer]);
    }
    run_until("all frames", &mut [publisher, viewer], |all| {
        all[1].video_numbers().len() == before + 50
    });
}

/// Restarts ICE of a client, and has it go on under the new credentials.
fn restart(client: &mut Client) -> Response {
    let credentials = next_credentials();
    let told = patch(&client.session_url, "*", &fragment(&credentials));
    assert_eq!(told.status, 200, "{}", told.body);
    let (ufrag, pass) = (line(&told.body, "a=ice-ufrag:"), line(&told.body, "a=ice-pwd:"));
    let mut direct = client.rtc.direct_api();
    direct.set_local_ice_credentials(credentials);
    direct.set_remote_ice_credentials(IceCreds { ufrag: ufrag.into(), pass: pass.into() });
    told
}

#[test]
fn a_restart_gives_new_credentials_and_a_new_tag_and_media_goes_on() {
    let server = Server::with_shards(2);
    let (mut publisher, mut viewer) = playing(&server);
    for peer in [0, 1] {
        let client = if peer == 0 { &mut publisher } else { &mut viewer };
        let (ufrag, password) =
            (client.answered("a=ice-ufrag:").to_owned(), client.answered("a=ice-pwd:").to_owned());
        let told = restart(client);
        assert_eq!(told.header("content-type"), Some(SDPFRAG.1));
        let fresh = line(&told.body, "a=ice-ufrag:");
        assert_ne!((fresh, line(&told.body, "a=ice-pwd:")), (&*ufrag, &*password));
        assert_ne!(fresh, ufrag, "RFC 8445 section 9: both are new");
        assert_eq!(told.header("etag"), Some(&*format!("\"{fresh}\"")));
        assert_eq!(line(&told.body, "a=mid:"), "v0", "the client's first section");
        let port = server.node().udp_ports()[0];
        assert!(told.body.contains(&format!(" 127.0.0.1 {port} typ host")), "{}", told.body);
        assert!(!told.body.contains("a=ice-lite"), "as the answer was: {}", told.body);
        // The tag of before names another ICE session now; the new one is good for candidates.
        let trickle = fragment(&next_credentials());
        let url = client.session_url.clone();
        assert_eq!(patch(&url, &format!("\"{ufrag}\""), &trickle).status, 412);
        assert_eq!(patch(&url, &format!("\"{fresh}\""), &trickle).status, 204);
        // It comes from another network, where only the new credentials are good.
        client.socket = socket();
        let moved = server.sum(|c| c.flow_moves.get());
        run_until("the move", &mut [&mut publisher, &mut viewer], |_| {
            server.sum(|c| c.flow_moves.get()) > moved
        });
        send(&mut publisher, &mut viewer, 100 + peer * 50);
    }
    assert!(!publisher.closed && !viewer.closed);
}

#[test]
fn a_restart_that_fails_keeps_the_session_as_it_was() {
    let server = Server::with_shards(1);
    let (mut publisher, mut viewer) = playing(&server);
    let etag = format!("\"{}\"", publisher.answered("a=ice-ufrag:"));
    let url = publisher.session_url.clone();
    let next = next_credentials();
    let short = IceCreds { pass: "too-short".into(), ..next.clone() };
    let long = IceCreds { ufrag: "x".repeat(257), ..next.clone() };
    assert_eq!(patch(&url, "*", &fragment(&short)).status, 400);
    assert_eq!(patch(&url, "*", &fragment(&long)).status, 400);
    assert_eq!(patch(&url, "*", "m=audio 9 RTP/AVP 0\r\n").status, 400);
    assert_eq!(patch(&url, &etag, &fragment(&next)).status, 422, "a restart says If-Match: *");
    let own = publisher.rtc.direct_api().local_ice_credentials();
    assert_eq!(patch(&url, "*", &fragment(&own)).status, 422, "it has these already");
    let told = request("PATCH", &url, &[SDPFRAG], &fragment(&next));
    assert_eq!(told.status, 428);
    let json = [("Content-Type", "application/json"), ("If-Match", "*")];
    assert_eq!(request("PATCH", &url, &json, "{}").status, 415);
    assert_eq!(patch(&url, &etag, &fragment(&own)).status, 204, "its tag is what it was");
    send(&mut publisher, &mut viewer, 50);
    assert_eq!(server.drops(DropReason::StunRejected), 0);
}

#[test]
fn candidates_are_answered_204_without_a_body_or_a_tag_and_what_is_unknown_is_left_out() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    let etag = format!("\"{}\"", client.answered("a=ice-ufrag:"));
    let own = client.rtc.direct_api().local_ice_credentials();
    let more = "a=candidate:3 1 sctp 1 x.local 0 typ odd\r\n";
    for body in [fragment(&own), format!("{}{more}", fragment(&own))] {
        let told = patch(&client.session_url, &etag, &body);
        assert_eq!((told.status, &*told.body, told.header("etag")), (204, "", None));
    }
    let list = format!("\"other\", {etag}");
    assert_eq!(patch(&client.session_url, &list, &fragment(&own)).status, 204);
    assert_eq!(patch(&client.session_url, "\"other\"", &fragment(&own)).status, 412);
}

#[test]
fn a_session_is_201_with_a_location_without_query_a_strong_tag_and_what_patch_takes() {
    let server = Server::with_shards(1);
    for (path, direction) in [("/whip/s", Direction::SendOnly), ("/whep/s", Direction::RecvOnly)] {
        let (_client, offer, _) = Client::offer(VP8, direction, socket());
        let kind = [("Content-Type", "APPLICATION/SDP;charset=UTF-8")];
        let told = request("POST", &server.url(path), &kind, &offer.to_sdp_string());
        assert_eq!(told.status, 201, "{}", told.body);
        assert_eq!(told.header("content-type"), Some("application/sdp"));
        assert_eq!(told.header("accept-patch"), Some(SDPFRAG.1));
        let location = told.header("location").expect("a Location");
        assert!(location.starts_with("/session/") && !location.contains('?'), "{location}");
        let etag = told.header("etag").expect("an ETag");
        assert!(etag.starts_with('"') && etag.len() > 2, "{etag}");
        assert!(told.body.starts_with("v="), "ffmpeg looks at the first letters");
    }
}

#[test]
fn get_of_endpoint_and_session_is_204_head_is_200_and_other_methods_are_405_with_allow() {
    let server = Server::with_shards(1);
    let client = Client::publish(&server, "s", VP8);
    for endpoint in [server.url("/whip/s"), server.url("/whep/s")] {
        let told = request("GET", &endpoint, &[], "");
        assert_eq!((told.status, &*told.body), (204, ""));
        let head = request("HEAD", &endpoint, &[], "");
        assert_eq!((head.status, head.header("content-type")), (200, Some("application/sdp")));
        let put = request("PUT", &endpoint, &[], "");
        assert_eq!((put.status, put.header("allow").is_some()), (405, true));
    }
    assert_eq!(request("GET", &client.session_url, &[], "").status, 204);
    let post = request("POST", &client.session_url, &[], "");
    assert_eq!(post.status, 405);
    assert!(post.header("allow").is_some_and(|allow| allow.contains("DELETE")));
}

#[test]
fn delete_is_200_whatever_if_match_says_and_404_the_second_time() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    connect(&mut [&mut client]);
    let url = client.session_url.clone();
    assert_eq!(request("DELETE", &url, &[("If-Match", "\"stale\"")], "").status, 200);
    run_until("DTLS is closed", &mut [&mut client], |all| all[0].closed);
    assert_eq!(request("DELETE", &url, &[], "").status, 404);
    assert_eq!(request("GET", &url, &[], "").status, 404);
    assert_eq!(patch(&url, "*", &fragment(&next_credentials())).status, 404);
    eventually("it is gone", || server.sessions() == 0);
}

#[test]
fn a_stream_that_nobody_publishes_is_409_with_retry_after() {
    let server = Server::with_shards(1);
    let (_client, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
    let told = post_sdp(&server.url("/whep/nobody"), &offer.to_sdp_string());
    assert_eq!(told.status, 409);
    assert!(told.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
    assert_eq!(told.header("content-type"), Some("application/problem+json"));
}
