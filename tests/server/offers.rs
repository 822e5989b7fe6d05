//! Offers as real clients write them (`offers/`, recorded): each is served or refused in words.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, run_until, socket};
use crate::support::replay::{Replay, Sent};
use crate::support::{Response, Server, eventually, post_sdp, request};
use str0m::format::Codec;
use str0m::media::Direction;

const BUNDLE_ONLY: &str = include_str!("offers/bundle-only-minimal.sdp");
const OPUS_WITHOUT_CHANNELS: &str = include_str!("offers/opus-without-channels.sdp");
const SINGLE_SECTION: &str = include_str!("offers/single-section-no-group.sdp");
const FFMPEG_8_VIDEO: &str = include_str!("offers/ffmpeg-8-video-only-publish.sdp");
const FFMPEG_9: &str = include_str!("offers/ffmpeg-9-publish.sdp");
const LIBDATACHANNEL_WATCH: &str = include_str!("offers/libdatachannel-watch-42e01f.sdp");
const PION: &str = include_str!("offers/pion-publish.sdp");
const FIREFOX_WATCH: &str = include_str!("offers/firefox-159-watch.sdp");
const OBS: &str = include_str!("offers/obs-32-publish.sdp");

/// The others that publish.
const PUBLISHERS: [(&str, &str); 5] = [
    ("aiortc", include_str!("offers/aiortc-publish.sdp")),
    ("firefox", include_str!("offers/firefox-159-publish.sdp")),
    ("obs", OBS),
    ("werift", include_str!("offers/werift-publish.sdp")),
    ("ffmpeg 9", FFMPEG_9),
];

const OPUS: Sent = Sent { mid: "0", codec: Codec::Opus, payload_type: 111, ssrc: 0x1111 };

fn publish(server: &Server, offer: &str) -> Response {
    post_sdp(&server.url("/whip/s"), offer)
}

fn watch(server: &Server, offer: &str) -> Response {
    post_sdp(&server.url("/whep/s"), offer)
}

/// The ports of the sections of an answer, in order.
fn ports(answer: &str) -> Vec<&str> {
    let sections = answer.lines().filter(|line| line.starts_with("m="));
    sections.map(|line| line.split(' ').nth(1).expect("a port")).collect()
}

/// A publisher of H.264 with this fmtp, which has been answered.
fn h264(fmtp: &str) -> String {
    let lines = FFMPEG_8_VIDEO.replace("profile-level-id=42000c", fmtp);
    lines.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0")
}

/// A viewer of one section of video with these lines of its payload type, 96.
fn viewer_of(lines: &str) -> String {
    let head = SINGLE_SECTION.replace("a=sendonly", "a=recvonly");
    head.replace("a=rtpmap:96 VP8/90000", lines.trim_end())
}

#[test]
fn both_flows_of_an_offer_with_one_port_are_served() {
    let server = Server::with_shards(2);
    let vp8 = Sent { mid: "1", codec: Codec::Vp8, payload_type: 97, ssrc: 0x2222 };
    let replay = Replay::post(&server, "/whip/s", BUNDLE_ONLY, &[OPUS, vp8]);
    let mut publisher = replay.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    assert_eq!(ports(&publisher.answer), ["9", "9"], "{}", publisher.answer);
    let mut viewer = Client::watch(&server, "s", Offered::both(Codec::Vp8));
    run_until("both connect", &mut [&mut viewer], |all| {
        publisher.poll();
        all[0].connected && publisher.connected
    });
    eventually("the viewer is ready", || {
        publisher.poll();
        viewer.poll();
        server.sum(|counters| counters.viewers_ready.get()) == 1
    });
    for number in 0..40 {
        publisher.send(OPUS, false, number);
        publisher.send(vp8, true, number);
    }
    run_until("both flows arrive", &mut [&mut viewer], |all| {
        publisher.poll();
        all[0].video_numbers().len() == 40 && all[0].audio_numbers().len() == 40
    });
}

#[test]
fn what_other_clients_publish_goes_on_being_served() {
    let server = Server::with_shards(1);
    for (name, offer) in PUBLISHERS {
        let response = publish(&server, offer);
        assert_eq!(response.status, 201, "{name}: {}", response.body);
        assert_eq!(ports(&response.body), ["9", "9"], "{name}");
    }
    let vp8 = Client::publish(&server, "v", Offered::both(Codec::Vp8));
    let response = post_sdp(&server.url("/whep/v"), FIREFOX_WATCH);
    assert_eq!(response.status, 201, "{}", response.body);
    drop(vp8);
}

#[test]
fn one_section_needs_no_group_and_a_group_may_name_what_is_not_there() {
    let server = Server::with_shards(1);
    for offer in [SINGLE_SECTION, FFMPEG_8_VIDEO] {
        let response = publish(&server, offer);
        assert_eq!(response.status, 201, "{}", response.body);
        assert_eq!(ports(&response.body), ["9"]);
    }
    let ungrouped = publish(&server, SINGLE_SECTION).body;
    assert!(
        !ungrouped.contains("a=group"),
        "the answer has one only if the offer had: {ungrouped}"
    );
    let unnamed = publish(&server, &SINGLE_SECTION.replace("a=mid:0\r\n", ""));
    assert_eq!(unnamed.status, 201, "{}", unnamed.body);
    assert!(!unnamed.body.contains("a=mid"), "{}", unnamed.body);
    let two = publish(&server, &BUNDLE_ONLY.replace("a=group:BUNDLE 0 1\r\n", ""));
    assert_eq!(two.status, 400, "{}", two.body);
    let apart = publish(&server, &OBS.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"));
    assert_eq!(apart.status, 422, "it is not dropped in silence: {}", apart.body);
}

#[test]
fn opus_has_two_channels_also_where_its_offer_says_none() {
    let server = Server::with_shards(1);
    let mut publisher = Client::publish(&server, "s", Offered::both(Codec::Vp8));
    connect(&mut [&mut publisher]);
    let response = watch(&server, OPUS_WITHOUT_CHANNELS);
    assert_eq!(response.status, 201, "{}", response.body);
    assert_eq!(ports(&response.body), ["9", "9"]);
    assert!(response.body.contains("a=rtpmap:96 opus/48000/2\r\n"), "{}", response.body);
}

#[test]
fn a_section_that_was_stopped_is_refused_in_its_place_and_the_others_are_served() {
    let server = Server::with_shards(1);
    let stopped = "m=video 0 UDP/TLS/RTP/SAVPF 120\nc=IN IP4 0.0.0.0\na=inactive\na=mid:9\n";
    let idle = "m=video 9 UDP/TLS/RTP/SAVPF 120\nc=IN IP4 0.0.0.0\na=inactive\na=mid:9\n\
                a=rtpmap:120 VP8/90000\n";
    let begin = OBS.find("m=audio").expect("it has one");
    for section in [stopped, idle] {
        let last = publish(&server, &format!("{OBS}{section}"));
        assert_eq!(last.status, 201, "{}", last.body);
        assert_eq!(ports(&last.body), ["9", "9", "0"]);
        let first = publish(&server, &[&OBS[..begin], section, &OBS[begin..]].concat());
        assert_eq!(first.status, 201, "{}", first.body);
        assert_eq!(ports(&first.body), ["0", "9", "9"]);
        let candidate = first.body.find("a=candidate:").expect("an address");
        assert!(first.body.find("m=audio").is_some_and(|audio| audio < candidate), "in a live one");
        assert!(first.body.contains("a=group:BUNDLE 0 1\r\n"), "{}", first.body);
    }
    let alone = format!("{}{idle}", &OBS[..begin]);
    assert_eq!(publish(&server, &alone).status, 400, "nothing is left to serve");
}

#[test]
fn lines_that_say_nothing_are_in_nobodys_way() {
    let server = Server::with_shards(1);
    let spaces: String = OBS.lines().map(|line| format!("{line}  \r\n")).collect();
    let payload = OBS.replace("SAVPF 96", "SAVPF 96 99");
    for (name, offer) in [
        ("times", OBS.replace("t=0 0", "t=1 2\nr=1 2 3\nz=0 0")),
        ("no time", OBS.replace("t=0 0\r\n", "")),
        ("spaces", spaces),
        ("byte order mark", format!("\u{feff}{OBS}")),
        ("a payload type that is not described", payload),
        (
            "bandwidths and a title",
            OBS.replace("c=IN IP4 0.0.0.0", "i=x\nc=IN IP4 0.0.0.0\nb=AS:9\nb=TIAS:9"),
        ),
        ("no name", OBS.replace("s=-", "s= ")),
    ] {
        let response = publish(&server, &offer);
        assert_eq!(response.status, 201, "{name}: {}", response.body);
        // Of the sections alone: the session's own number may begin so.
        let mut sections = response.body.lines().filter(|line| line.starts_with("m="));
        assert!(sections.all(|line| !line.split(' ').any(|word| word == "99")), "{name}");
    }
}

#[test]
fn ice_names_and_passwords_have_their_lengths() {
    let server = Server::with_shards(1);
    let with = |name: usize, password: usize| {
        let offer = OBS.replace("ufrag:Psp4", &format!("ufrag:{}", "u".repeat(name)));
        let offer =
            offer.replace("pwd:HU6ex5V+gdXxL55JEeRVqa", &format!("pwd:{}", "p".repeat(password)));
        publish(&server, &offer).status
    };
    assert_eq!([with(4, 22), with(256, 256)], [201, 201]);
    assert_eq!([with(300, 22), with(4, 300), with(3, 22), with(4, 21)], [400; 4]);
}

#[test]
fn an_answer_has_no_feedback_that_was_not_offered() {
    let server = Server::with_shards(1);
    for (name, offer) in PUBLISHERS {
        let answer = publish(&server, offer).body;
        for line in answer.lines().filter(|line| line.starts_with("a=rtcp-fb:")) {
            assert!(offer.lines().any(|offered| offered == line), "{name} did not offer {line}");
        }
    }
    assert!(publish(&server, FFMPEG_9).body.contains("a=rtcp-fb:106 nack\r\n"));
}

#[test]
fn a_lenient_h264_viewer_is_given_what_there_is_and_a_strict_one_its_profile() {
    let lenient = Server::with_shards(1);
    let strict = Server::start(&["--shards", "1", "--codec-match", "strict"]);
    for stream in ["42000c", "42001f", "640028"] {
        let offer = h264(&format!("profile-level-id={stream}"));
        for server in [&lenient, &strict] {
            assert_eq!(publish(server, &offer).status, 201);
        }
        let taken = watch(&lenient, LIBDATACHANNEL_WATCH);
        assert_eq!(taken.status, 201, "{stream}: {}", taken.body);
        assert!(taken.body.contains("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"), "{}", taken.body);
        let refused = watch(&strict, LIBDATACHANNEL_WATCH);
        assert_eq!(refused.status, 406, "{stream}: {}", refused.body);
        assert!(refused.body.contains("profile-level-id 42e01f is offered"), "{}", refused.body);
    }
    let unpackable =
        viewer_of("a=rtpmap:96 H264/90000\na=fmtp:96 profile-level-id=42e01f;packetization-mode=0");
    let refused = watch(&lenient, &unpackable);
    assert_eq!(refused.status, 406, "{}", refused.body);
    assert!(refused.body.contains("packetization-mode 0 is offered, 1 is needed"));
    assert_eq!(watch(&lenient, &viewer_of("a=rtpmap:96 H264/90000")).status, 201);
}

#[test]
fn av1_fits_whatever_its_level() {
    let server = Server::with_shards(1);
    let av1 = |level: u8, profile: u8| {
        format!("a=rtpmap:96 AV1/90000\na=fmtp:96 level-idx={level};profile={profile};tier=0\n")
    };
    let sends = viewer_of(&av1(9, 1)).replace("a=recvonly", "a=sendonly");
    assert_eq!(publish(&server, &sends).status, 201);
    assert_eq!(watch(&server, &viewer_of(&av1(5, 1))).status, 201);
    let refused = watch(&server, &viewer_of(&av1(9, 0)));
    assert_eq!(refused.status, 406, "{}", refused.body);
    assert!(refused.body.contains("profile 0 is offered, 1 is needed"), "{}", refused.body);
}

/// It offers VP8 first, and its track is H.264.
#[test]
fn a_streams_codec_is_the_one_whose_packets_come() {
    let server = Server::with_shards(1);
    let track = Sent { mid: "0", codec: Codec::H264, payload_type: 106, ssrc: 1_997_402_398 };
    let replay = Replay::post(&server, "/whip/s", PION, &[track]);
    let mut publisher = replay.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    for codec in ["VP8/90000", "H264/90000", "H265/90000", "AV1/90000", "VP9/90000"] {
        let line = format!(" {codec}\r\n");
        assert!(publisher.answer.contains(&line), "{codec}: {}", publisher.answer);
    }
    let mut early =
        Client::watch(&server, "s", Offered { audio: false, ..Offered::both(Codec::Vp8) });
    run_until("both connect", &mut [&mut early], |all| {
        publisher.poll();
        all[0].connected && publisher.connected
    });
    publisher.send(track, true, 0);
    run_until("who was promised VP8 is told", &mut [&mut early], |all| {
        publisher.poll();
        all[0].closed
    });
    let h264 = Offered { audio: false, ..Offered::both(Codec::H264) };
    let mut viewer = Client::watch(&server, "s", h264);
    run_until("the viewer connects", &mut [&mut viewer], |all| {
        publisher.poll();
        all[0].connected
    });
    eventually("it is ready", || {
        publisher.poll();
        viewer.poll();
        server.sum(|counters| counters.viewers_ready.get()) == 1
    });
    (1..41).for_each(|number| publisher.send(track, true, number));
    run_until("H.264 arrives", &mut [&mut viewer], |all| {
        publisher.poll();
        // It begins with the key frame that came before it.
        all[0].video_numbers().len() == 41
    });
    let vp8 = Offered { audio: false, ..Offered::both(Codec::Vp8) };
    let late = Client::try_post(&server, "/whep/s", vp8, Direction::RecvOnly, socket());
    let Err(refused) = late else { panic!("VP8 is not what is sent") };
    assert_eq!(refused.status, 406, "{}", refused.body);
}

#[test]
fn a_stereo_publishers_viewers_are_told_so() {
    let server = Server::with_shards(1);
    let answered = publish(&server, OBS).body;
    assert!(answered.contains("stereo=1"), "we ask for it: {answered}");
    assert!(!answered.contains("sprop-stereo"), "and send nothing: {answered}");
    let viewer = FIREFOX_WATCH.replace("stereo=1;", "");
    let audio: Vec<&str> = viewer.splitn(3, "m=").take(2).collect();
    let response = watch(&server, &audio.join("m=").replace("BUNDLE 0 1", "BUNDLE 0"));
    assert_eq!(response.status, 201, "{}", response.body);
    assert!(response.body.contains("sprop-stereo=1"), "{}", response.body);
}

#[test]
fn a_certificate_is_held_to_the_strongest_fingerprint_there_is() {
    let server = Server::with_shards(1);
    let with = |fingerprint: &str| publish(&server, &with_fingerprint(fingerprint));
    let bytes = |count: usize| vec!["0A"; count].join(":");
    assert_eq!(with(&format!("sha-384 {}", bytes(48))).status, 201);
    assert_eq!(with(&format!("sha-512 {}", bytes(64))).status, 201);
    for (hash, count) in [("sha-384", 32), ("md5", 16), ("sha-224", 28)] {
        let refused = with(&format!("{hash} {}", bytes(count)));
        assert_eq!(refused.status, 400, "{hash}: {}", refused.body);
    }
}

fn with_fingerprint(fingerprint: &str) -> String {
    let lines = SINGLE_SECTION.lines().map(|line| match line.starts_with("a=fingerprint") {
        true => format!("a=fingerprint:{fingerprint}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

const VP8_ALONE: Sent = Sent { mid: "0", codec: Codec::Vp8, payload_type: 96, ssrc: 7 };

#[test]
fn a_certificate_is_verified_by_the_stronger_hashes_too() {
    let server = Server::with_shards(1);
    for hash in ["sha-384", "sha-512"] {
        let offer = with_fingerprint(&format!("{hash} own"));
        let replay = Replay::post(&server, "/whip/s", &offer, &[VP8_ALONE]);
        let mut replay = replay.unwrap_or_else(|refusal| panic!("{}", refusal.body));
        eventually("it connects", || {
            replay.poll();
            replay.connected
        });
    }
}

#[test]
fn a_certificate_that_is_not_the_offered_one_ends_the_session_in_words() {
    let server = Server::with_shards(1);
    let before = Instant::now();
    let offer = with_fingerprint(&format!("sha-384 {}", vec!["0A"; 48].join(":")));
    let replay = Replay::post(&server, "/whip/s", &offer, &[VP8_ALONE]);
    let mut replay = replay.unwrap_or_else(|refusal| panic!("{}", refusal.body));
    eventually("it is said why", || {
        replay.poll();
        let told = request("GET", &server.url("/api/v1/failures"), &[], "").body;
        told.contains("is not the one of a=fingerprint")
    });
    assert!(!replay.connected && before.elapsed() < Duration::from_secs(15), "by no timer");
    eventually("it is ended", || server.sessions() == 0);
}
