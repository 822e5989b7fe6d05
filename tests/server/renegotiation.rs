//! A later offer of a session that is up, by [`monoport::control::Control::offer`].

use monoport::control::{ControlError, OfferError, Renegotiated};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

use crate::support::client::{Client, Offered, connect, run_until, socket};
use crate::support::{Server, eventually};

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

fn id(client: &Client) -> &str {
    client.session_url.rsplit('/').next().expect("the last part of its URL")
}

fn offer(server: &Server, id: &str, sdp: &str) -> Result<Renegotiated, ControlError> {
    server.node().control().offer(id, sdp)
}

/// A restart needs new credentials of both ends, and half of one would have the server refuse the
/// client's checks from then on.
#[test]
fn an_ice_restart_by_offer_is_refused_and_the_client_is_still_found() {
    let server = Server::with_shards(2);
    let mut publisher = Client::publish(&server, "s", VP8);
    let mut viewer = Client::watch(&server, "s", VP8);
    connect(&mut [&mut publisher, &mut viewer]);
    for client in [&mut publisher, &mut viewer] {
        let mut changes = client.rtc.sdp_api();
        changes.ice_restart(true);
        let (offered, _pending) = changes.apply().expect("something has changed");
        let refused = offer(&server, id(client), &offered.to_sdp_string());
        let Err(ControlError::Offer(OfferError::Malformed(words))) = refused else {
            panic!("{refused:?}")
        };
        assert!(words.contains("PATCH"), "{words}");
        // Its checks are taken as before, from wherever they come.
        client.socket = socket();
    }
    run_until("both are found elsewhere", &mut [&mut publisher, &mut viewer], |_| {
        server.sum(|counters| counters.flow_moves.get()) == 2
    });
    for number in 0..50 {
        publisher.send(MediaKind::Video, true, number, number * 3_000);
        publisher.poll();
        viewer.poll();
    }
    run_until("all arrive", &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers().len() == 50
    });
}

#[test]
fn a_further_track_of_a_viewer_is_named_and_one_of_a_publisher_refused() {
    let server = Server::with_shards(1);
    let audio = Offered { video: false, ..VP8 };
    let mut publisher = Client::publish(&server, "s", audio);
    let mut viewer = Client::watch(&server, "s", audio);
    connect(&mut [&mut publisher, &mut viewer]);
    let more = |client: &mut Client, direction| {
        let mut changes = client.rtc.sdp_api();
        changes.add_media(MediaKind::Audio, direction, None, None, None);
        changes.apply().expect("something is offered").0.to_sdp_string()
    };
    let offered = more(&mut viewer, Direction::RecvOnly);
    let answered = offer(&server, id(&viewer), &offered).expect("it is answered");
    assert_eq!(answered.added.tracks.len(), 1, "{}", answered.answer);
    // What it has goes on under its SSRCs and names, and where it is found.
    let kept = ["a=ssrc:", "a=msid:", "a=ice-", "a=candidate:", "a=fingerprint:", "a=setup:"];
    let is_kept = |line: &&str| kept.iter().any(|prefix| line.starts_with(prefix));
    for line in viewer.answer.lines().filter(is_kept) {
        assert!(answered.answer.contains(line), "{line} is not in {}", answered.answer);
    }
    let again = offer(&server, id(&viewer), &offered).expect("it is answered once more");
    assert!(again.added.tracks.is_empty(), "nothing is new in it: {}", again.answer);
    for line in answered.answer.lines().filter(is_kept) {
        assert!(again.answer.contains(line), "{line} is not in {}", again.answer);
    }
    let offered = more(&mut publisher, Direction::SendOnly);
    let refused = offer(&server, id(&publisher), &offered).expect_err("it is refused");
    assert!(matches!(refused, ControlError::Offer(OfferError::Unserved { .. })), "{refused}");
    assert!(refused.to_string().contains("POST again"), "{refused}");
}

#[test]
fn an_offer_that_is_none_and_a_session_that_is_gone_are_told() {
    let server = Server::with_shards(1);
    let mut publisher = Client::publish(&server, "s", VP8);
    connect(&mut [&mut publisher]);
    let garbled = offer(&server, id(&publisher), "v=0\r\n").expect_err("it is no offer");
    assert!(matches!(garbled, ControlError::Offer(OfferError::Malformed(_))), "{garbled}");
    publisher.delete();
    eventually("it is gone", || server.sessions() == 0);
    let gone = offer(&server, id(&publisher), "v=0\r\n").expect_err("nobody is there");
    assert!(matches!(gone, ControlError::NotFound(_)), "{gone}");
}
