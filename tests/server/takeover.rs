//! Who publishes a stream when several would: a newcomer takes over with its first media, not with
//! its POST.

use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::{Response, Server, eventually, request};
use monoport::limits::MAX_CANDIDATES_PER_STREAM;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const VP8: Offered = Offered { codec: Codec::Vp8, audio: false, video: true };

/// A publisher of `s` and a viewer of it that has been sent `first` frames.
fn playing(server: &Server, first: u32) -> (Client, Client) {
    let mut publisher = Client::publish(server, "s", VP8);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    run_until("a request for a key frame", &mut [&mut publisher, &mut viewer], |all| {
        all[0].keyframes_asked > 0
    });
    send(&mut publisher, &mut [&mut viewer], 0, first);
    (publisher, viewer)
}

/// Sends frames and lets everybody live meanwhile.
fn send(publisher: &mut Client, others: &mut [&mut Client], first: u32, count: u32) {
    for number in first..first + count {
        publisher.send(MediaKind::Video, number == first, number, number * 3_000);
        let mut all: Vec<&mut Client> = vec![&mut *publisher];
        all.extend(others.iter_mut().map(|other| &mut **other));
        run_for(Duration::from_millis(3), &mut all);
    }
}

fn try_publish(server: &Server, offered: Offered) -> Result<Client, Response> {
    Client::try_post(server, "/whip/s", offered, Direction::SendOnly, socket())
}

/// Why the sessions that have ended did, the latest first.
fn ends(server: &Server) -> Vec<String> {
    let body = request("GET", &server.url("/api/v1/sessions?state=ended&order=newest"), &[], "");
    let page: serde_json::Value = serde_json::from_str(&body.body).expect("JSON");
    let ids = page["sessions"].as_array().expect("a list").iter();
    let reason = |id: &serde_json::Value| {
        let path = format!("/api/v1/sessions/{}", id["id"].as_str().expect("an id"));
        let body = request("GET", &server.url(&path), &[], "").body;
        let session: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        session["ended"]["reason"].as_str().expect("a reason").to_owned()
    };
    ids.map(reason).collect()
}

#[test]
fn a_candidate_that_never_connects_disturbs_nobody() {
    let server = Server::with_shards(2);
    let (mut publisher, mut viewer) = playing(&server, 20);
    // It says that it will send another codec, and is never heard of again.
    let _silent = try_publish(&server, Offered::both(Codec::H264)).expect("it may try");
    send(&mut publisher, &mut [&mut viewer], 20, 40);
    run_until("60 of 60 packets", &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers().len() == 60
    });
    let mut late = Client::watch(&server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer, &mut late]);
    assert!(!publisher.closed && !viewer.closed);
    assert_eq!(ends(&server), [""; 0]);
}

#[test]
fn one_that_connects_takes_over_with_its_first_media() {
    for shards in [1, 3] {
        let server = Server::with_shards(shards);
        let (mut former, mut viewer) = playing(&server, 20);
        let mut latter = Client::publish(&server, "s", VP8);
        connect(&mut [&mut former, &mut viewer, &mut latter]);
        // It is connected and sends nothing yet.
        send(&mut former, &mut [&mut viewer, &mut latter], 20, 20);
        run_until("40 packets", &mut [&mut former, &mut viewer, &mut latter], |all| {
            all[1].video_numbers().len() == 40
        });
        send(&mut latter, &mut [&mut viewer, &mut former], 100, 20);
        run_until("the newcomer's", &mut [&mut former, &mut viewer, &mut latter], |all| {
            all[1].video_numbers().last() == Some(&119) && all[0].closed
        });
        let numbers: Vec<u64> = viewer.received.iter().map(|packet| *packet.seq_no).collect();
        assert_eq!(numbers.len(), 60);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        eventually("the first one is reported", || ends(&server) == ["replaced"]);
    }
}

#[test]
fn viewers_that_lack_the_newcomers_codec_are_ended_when_it_is_there_and_not_before() {
    let server = Server::with_shards(2);
    let (mut former, mut viewer) = playing(&server, 20);
    let h264 = Offered { codec: Codec::H264, ..VP8 };
    let mut latter = try_publish(&server, h264).expect("it may try");
    connect(&mut [&mut former, &mut viewer, &mut latter]);
    send(&mut former, &mut [&mut viewer, &mut latter], 20, 20);
    run_until("40 packets", &mut [&mut former, &mut viewer, &mut latter], |all| {
        all[1].video_numbers().len() == 40
    });
    latter.send(MediaKind::Video, true, 100, 0);
    run_until("both are ended", &mut [&mut former, &mut viewer, &mut latter], |all| {
        all[0].closed && all[1].closed
    });
    eventually("both are reported", || {
        let mut ends = ends(&server);
        ends.sort();
        ends == ["codec_changed", "replaced"]
    });
    let refused = Client::try_post(&server, "/whep/s", VP8, Direction::RecvOnly, socket());
    assert_eq!(refused.err().map(|response| response.status), Some(406));
    let mut second = Client::watch(&server, "s", h264);
    connect(&mut [&mut latter, &mut second]);
}

#[test]
fn the_oldest_of_too_many_candidates_gives_way() {
    let server = Server::with_shards(1);
    let (mut publisher, mut viewer) = playing(&server, 1);
    let mut candidates: Vec<Client> =
        (0..MAX_CANDIDATES_PER_STREAM + 2).map(|_| Client::publish(&server, "s", VP8)).collect();
    eventually("two have given way", || server.sessions() == 2 + MAX_CANDIDATES_PER_STREAM as u64);
    eventually("both ends are told", || ends(&server) == ["replaced", "replaced"]);
    let mut youngest = candidates.pop().expect("there are some");
    connect(&mut [&mut publisher, &mut viewer, &mut youngest]);
    send(&mut youngest, &mut [&mut publisher, &mut viewer], 100, 1);
    run_until("it takes over", &mut [&mut publisher, &mut viewer, &mut youngest], |all| {
        all[1].video_numbers().last() == Some(&100)
    });
}

#[test]
fn whoever_is_heard_is_not_replaced_where_that_is_to_be_refused() {
    let server = Server::start(&["--shards", "2", "--on-conflict", "refuse"]);
    // One that only asks to publish is in nobody's way.
    let _silent = try_publish(&server, VP8).expect("nobody publishes it");
    let (mut publisher, mut viewer) = playing(&server, 20);
    eventually("the silent one has lost", || ends(&server) == ["replaced"]);
    let refused = try_publish(&server, VP8).err().expect("somebody publishes it");
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("`s` is being published"), "{}", refused.body);
    send(&mut publisher, &mut [&mut viewer], 20, 40);
    run_until("60 of 60 packets", &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers().len() == 60
    });
    assert_eq!(publisher.delete().status, 200);
    eventually("the stream is free", || try_publish(&server, VP8).is_ok());
}

/// Two pages that publish one name would otherwise take it from each other for ever.
#[test]
fn a_publisher_that_is_replaced_learns_by_whom_from_its_sessions_url() {
    let server = Server::with_shards(2);
    let (mut former, mut viewer) = playing(&server, 20);
    let mut latter = Client::publish(&server, "s", VP8);
    connect(&mut [&mut former, &mut viewer, &mut latter]);
    send(&mut latter, &mut [&mut former, &mut viewer], 0, 10);
    run_until("the former is let go", &mut [&mut former, &mut viewer, &mut latter], |all| {
        all[0].closed
    });
    let ask = |method: &str| request(method, &former.session_url, &[], "");
    eventually("its end is known", || ask("GET").status == 410);
    let sessions = request("GET", &server.url("/api/v1/sessions?role=publisher"), &[], "").body;
    let sessions: serde_json::Value = serde_json::from_str(&sessions).expect("JSON");
    for method in ["GET", "PATCH", "DELETE"] {
        let told = ask(method);
        assert_eq!(told.status, 410, "{method}");
        assert_eq!(told.header("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_str(&told.body).expect("JSON");
        assert_eq!(problem["type"], "urn:monoport:session-ended:replaced", "{problem}");
        assert_eq!(problem["reason"], "replaced", "{problem}");
        assert_eq!(problem["successor"], sessions["sessions"][0]["id"], "{problem}");
    }
    // Whoever ends its session itself need not be told.
    let url = latter.session_url.clone();
    assert_eq!(latter.delete().status, 200);
    assert_eq!(request("DELETE", &url, &[], "").status, 404);
}
