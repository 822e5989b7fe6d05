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
        let (ip, port) = (server.media().ip(), server.media().port());
        assert!(told.body.contains(&format!(" {ip} {port} typ host")), "{}", told.body);
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

/// Viewers of Broadcast Box and tracing libraries send headers of their own.
#[test]
fn a_preflight_allows_any_header_and_needs_no_token() {
    let server = Server::start(&["--shards", "1", "--token", "secret"]);
    for path in ["/whip/s", "/whep/s", "/session/0123", "/nowhere"] {
        let asked = [
            ("Origin", "https://page.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,traceparent,x-whatever"),
        ];
        let told = request("OPTIONS", &server.url(path), &asked, "");
        let allowed = told.header("access-control-allow-headers").unwrap_or_default();
        let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
        for name in ["Authorization", "Content-Type", "If-Match", "traceparent", "x-whatever"] {
            assert!(allowed.contains(&name), "{path}: {name} of {allowed:?}");
        }
        assert_eq!(told.header("access-control-allow-origin"), Some("*"));
        let methods = told.header("access-control-allow-methods").unwrap_or_default();
        assert!(["PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
        assert!(told.headers("link").is_empty(), "credentials are worth a relay");
    }
    let odd = [("Access-Control-Request-Headers", "a:b")];
    let told = request("OPTIONS", &server.url("/whip/s"), &odd, "");
    let allowed = told.header("access-control-allow-headers");
    assert_eq!(allowed, Some("Authorization, Content-Type, If-Match"));
}

#[test]
fn what_a_page_must_read_is_exposed_on_every_answer_errors_included() {
    let server = Server::with_shards(1);
    for (method, path) in [("GET", "/whip/s"), ("POST", "/whip/s"), ("GET", "/nowhere")] {
        let told = request(method, &server.url(path), &[], "");
        let exposed = told.header("access-control-expose-headers").unwrap_or_default();
        for name in ["Location", "Link", "ETag", "Accept-Patch", "Accept-Post", "Retry-After"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{method} {path}: {name}");
        }
    }
}

#[test]
fn under_a_prefix_locations_and_links_begin_with_it_whoever_takes_it_off() {
    let forwarded = [("X-Forwarded-Prefix", "/live/")];
    let evil = [("X-Forwarded-Prefix", "//evil.example")];
    let bare = Server::with_shards(1);
    let based = Server::start(&["--shards", "1", "--base-path", "/live"]);
    let nothing: &[(&str, &str)] = &[];
    for (server, at, headers, prefix) in [
        (&bare, "/whip/s", &forwarded[..], "/live"),
        (&bare, "/whip/s", &evil[..], ""),
        (&bare, "/whip/s", nothing, ""),
        (&based, "/live/whip/s", nothing, "/live"),
        (&based, "/whip/s", nothing, "/live"),
        (&based, "/whip/s", &forwarded[..], "/live"),
    ] {
        let (_client, offer, _) = Client::offer(VP8, Direction::SendOnly, socket());
        let headers = [headers, &[("Content-Type", "application/sdp")]].concat();
        let told = request("POST", &server.url(at), &headers, &offer.to_sdp_string());
        assert_eq!(told.status, 201, "{}", told.body);
        let location = told.header("location").expect("a Location");
        assert!(location.starts_with(&format!("{prefix}/session/")), "{location}");
        // What is at the root is there under the prefix too.
        let path = if prefix.is_empty() || std::ptr::eq(server, &bare) {
            location.trim_start_matches(prefix)
        } else {
            location
        };
        assert_eq!(request("DELETE", &server.url(path), &[], "").status, 200, "{path}");
    }
    for path in ["/live/", "/live/readyz", "/readyz", "/live/api/v1/status"] {
        assert_eq!(request("GET", &based.url(path), &[], "").status, 200, "{path}");
    }
}

#[test]
fn with_whep_wait_a_viewer_comes_first_and_plays_when_its_publisher_comes() {
    let server = Server::start(&["--shards", "2", "--whep-wait"]);
    let mut viewer = Client::watch(&server, "s", VP8);
    connect(&mut [&mut viewer]);
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    run_until("a request for a key frame", &mut [&mut publisher, &mut viewer], |all| {
        all[0].keyframes_asked > 0
    });
    send(&mut publisher, &mut viewer, 0);
    // Whoever waits for what does not come is told, and is let go.
    let mut other = Client::watch(&server, "t", Offered { codec: Codec::H264, ..VP8 });
    connect(&mut [&mut other]);
    let mut publisher = Client::publish(&server, "t", VP8);
    connect(&mut [&mut publisher, &mut other]);
    publisher.send(MediaKind::Video, true, 0, 0);
    run_until("it is let go", &mut [&mut publisher, &mut other], |all| all[1].closed);
    let url = other.session_url.clone();
    eventually("its end is known", || request("GET", &url, &[], "").status == 410);
    let told = request("GET", &url, &[], "").body;
    assert!(told.contains("\"reason\":\"codec_changed\""), "{told}");
    // A name that nobody publishes and nobody waits for any more is no stream.
    let waiting = Client::watch(&server, "nobody", VP8);
    assert_eq!(waiting.delete().status, 200);
    drop((viewer, publisher));
}

/// Reads server-sent events of a channel until `enough` says so: their names and data.
pub fn listen(url: &str, enough: impl Fn(&[(String, String)]) -> bool) -> Vec<(String, String)> {
    let response = ureq::get(url).call().expect("it is open");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let lines = std::io::BufReader::new(response.into_body().into_reader());
    let (mut events, mut name) = (Vec::new(), String::new());
    for line in std::io::BufRead::lines(lines).map_while(Result::ok) {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((name.clone(), data.to_owned()));
            if enough(&events) {
                break;
            }
        }
    }
    events
}

#[test]
fn a_player_hears_by_server_sent_events_how_its_stream_is() {
    let server = Server::with_shards(1);
    let (mut publisher, mut viewer) = playing(&server);
    let (_second, offer, _) = Client::offer(VP8, Direction::RecvOnly, socket());
    let made = post_sdp(&server.url("/whep/s"), &offer.to_sdp_string());
    let link = made.header("link").expect("the extension's link").to_owned();
    assert!(link.contains("rel=\"urn:ietf:params:whep:ext:core:server-sent-events\""), "{link}");
    let events = "events=\"active,inactive,layers,reconnect,viewercount,speakers\"";
    assert!(link.contains(events), "{link}");
    let path = link.split(['<', '>']).nth(1).expect("a URL in brackets");
    let url = server.url(path);

    let json = [("Content-Type", "application/json")];
    assert_eq!(request("POST", &url, &json, "[\"odd\"]").status, 400);
    assert_eq!(request("POST", &url, &json, "{}").status, 400);
    assert_eq!(request("POST", &url, &json, "[]").status, 400);
    assert_eq!(request("POST", &url, &[], "[]").status, 415);
    assert_eq!(
        request("POST", &server.url("/session/0123/events"), &json, "[\"active\"]").status,
        404
    );
    let all = "[\"active\",\"inactive\",\"layers\",\"viewercount\"]";
    let channel = request("POST", &url, &json, all);
    assert_eq!(channel.status, 201, "{}", channel.body);
    let channel = server.url(channel.header("location").expect("a Location"));

    let told = std::thread::spawn({
        let channel = channel.clone();
        move || listen(&channel, |events| events.iter().any(|(name, _)| name == "inactive"))
    });
    for number in 100..1_400 {
        publisher.send(MediaKind::Video, number % 50 == 0, number, number * 3_000);
        run_for(Duration::from_millis(2), &mut [&mut publisher, &mut viewer]);
    }
    assert_eq!(publisher.delete().status, 200);
    let told = told.join().expect("it listened");
    let names: Vec<&str> = told.iter().map(|(name, _)| &**name).collect();
    assert_eq!((names[0], names.last()), ("active", Some(&"inactive")), "{told:?}");
    let has = |name: &str, data: &str| told.iter().any(|(n, d)| n == name && d.contains(data));
    assert!(has("viewercount", "{\"viewercount\":2}"), "{told:?}");
    assert!(has("layers", "\"encodingId\":\"0\"") && has("layers", "\"bitrate\":"), "{told:?}");
    assert!(told.iter().all(|(name, _)| name != "reconnect"), "it has not asked for that");

    assert_eq!(request("DELETE", &channel, &[], "").status, 200);
    assert_eq!(request("GET", &channel, &[], "").status, 404, "it is closed");
    // A server that is to stop has its players go elsewhere.
    let reconnect = request("POST", &url, &json, "[\"reconnect\"]");
    let channel = server.url(reconnect.header("location").expect("a Location"));
    let told = std::thread::spawn(move || listen(&channel, |_| true));
    std::thread::sleep(Duration::from_millis(200));
    server.node().refuse_new_sessions();
    assert_eq!(told.join().expect("it listened"), [("reconnect".to_owned(), "{}".to_owned())]);
}
