//! Viewers stay in: they are sent again what they lack and no more, whichever way they report, and
//! are followed to where they speak from.

use std::net::SocketAddr;
use std::time::Duration;

use monoport::drop::DropReason;
use monoport::limits::{
    NEW_ADDRESSES, NEW_ADDRESSES_PER_SECOND, REFUSED_CHECKS, REFUSED_CHECKS_PER_SECOND,
    RESENDS_PER_PACKET, UNVERIFIED_BYTES,
};
use monoport::srtp::RtcpOpener;
use monoport::wire::rtcp::{self, Packet};

use crate::found::{SETUP, pass, playing};
use crate::network::Quality;
use crate::rogue::{self, Reporter};
use crate::scenario::finish;
use crate::server::Setup;
use crate::world::World;

/// Packets the server has sent again.
fn sent_again(world: &World) -> u64 {
    world.server.wiring.counters[0].repaired_packets.get()
}

/// The number of the packet of video that a viewer was sent last.
pub fn newest(world: &mut World, viewer: usize) -> u16 {
    let line = &world.numbering.viewer(viewer).expect("it watches").video;
    *line.sent.keys().next_back().expect("it plays") as u16
}

#[test]
fn a_packet_that_is_asked_for_over_and_over_goes_out_once_a_round_trip_and_a_few_times_in_all() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    let mut reporter = Reporter::of(&mut world.peers[viewer].client).expect("it has keys");
    let lost = newest(&mut world, viewer);
    let before = sent_again(&world);
    for _ in 0..5 {
        let nack = reporter.nack(lost);
        world.send(viewer, 0, nack);
        pass(&mut world, 5);
    }
    assert_eq!(sent_again(&world) - before, 1, "it can't know yet whether that has come");
    for _ in 0..60 {
        let nack = reporter.nack(lost);
        world.send(viewer, 0, nack);
        pass(&mut world, 20);
    }
    assert_eq!(sent_again(&world) - before, u64::from(RESENDS_PER_PACKET));
    let nack = reporter.nack(newest(&mut world, viewer));
    world.send(viewer, 0, nack);
    pass(&mut world, 5);
    assert_eq!(sent_again(&world) - before, u64::from(RESENDS_PER_PACKET) + 1, "another is new");
    finish(&mut world);
}

/// As aiortc, Pion and MediaMTX report: from an SSRC for each track, each counting for itself.
#[test]
fn a_viewer_that_reports_from_two_ssrcs_is_heard_from_both() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    let client = &mut world.peers[viewer].client;
    let mut senders = [21, 22].map(|sender| Reporter::sending_as(client, sender).expect("keys"));
    let before = sent_again(&world);
    for round in 1..=10 {
        pass(&mut world, 100);
        let lost = newest(&mut world, viewer);

        for (behind, reporter) in (0..).zip(&mut senders) {
            let nack = reporter.nack(lost - behind);
            world.send(viewer, 0, nack);
        }
        pass(&mut world, 5);
        assert_eq!(sent_again(&world) - before, 2 * round);
    }
    assert_eq!(world.server.wiring.counters[0].drops(DropReason::SrtpReplay), 0);
    finish(&mut world);
}

/// Where nobody is.
const ELSEWHERE: ([u8; 4], u16) = ([203, 0, 113, 9], 9_999);

/// Sends a check of a peer's session from an address of its own choice.
fn check_from(world: &mut World, peer: usize, from: SocketAddr, nominate: bool) {
    let check = rogue::check(&mut world.peers[peer].client, nominate, true);
    let port = world.peers[peer].port;
    world.send_from(Some(peer), from, port, check);
}

/// Bytes of media and reports that an address was sent since it was last asked.
fn sent_to(world: &mut World, to: SocketAddr) -> usize {
    world.sent_to.remove(&to).unwrap_or_default()
}

/// What is dropped for a reason, on all shards.
fn drops(world: &World, reason: DropReason) -> u64 {
    world.server.wiring.counters.iter().map(|counters| counters.drops(reason)).sum()
}

/// Lets nothing that a peer sends by its own address arrive any more.
fn silence(world: &mut World, peer: usize) {
    world.peers[peer].leg.up.cut_until = Some(world.now + Duration::from_secs(3_600));
}

/// A publisher of 0.9 Mb/s and a viewer, for some time.
fn playing_for_long() -> (World, usize, usize) {
    let (mut world, publisher, viewer) = playing(SETUP);
    world.peers[publisher].encoders.as_mut().expect("it publishes").enlarge(1_100);
    pass(&mut world, 10_000);
    (world, publisher, viewer)
}

/// As aiortc and Pion do whose NAT has forgotten them: they do not know it, and nominate nothing.
#[test]
fn media_and_feedback_follow_checks_that_go_on_from_another_address_without_nomination() {
    let (mut world, publisher, viewer) = playing_for_long();
    for peer in [viewer, publisher] {
        let to = SocketAddr::from(([203, 0, 113, 9], 9_000 + peer as u16));
        silence(&mut world, peer);
        for _ in 0..2 {
            check_from(&mut world, peer, to, false);
            pass(&mut world, 2_500);
        }
        assert_eq!(sent_to(&mut world, to), 0, "an address that fell silent may come back");
        check_from(&mut world, peer, to, false);
        pass(&mut world, 2_500);
        assert!(sent_to(&mut world, to) > 0, "two intervals are enough");
    }
    finish(&mut world);
}

#[test]
fn an_address_that_still_speaks_is_not_left_for_one_that_checks_and_was_not_nominated() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    let to = SocketAddr::from(ELSEWHERE);
    for _ in 0..20 {
        check_from(&mut world, viewer, to, false);
        pass(&mut world, 500);
    }
    assert_eq!(sent_to(&mut world, to), 0);
    finish(&mut world);
}

/// One check of 130 bytes that names a third party as its sender, and the viewer's own reports from
/// where it is.
#[test]
fn a_forged_check_sends_a_third_party_a_small_share_of_the_stream() {
    for checks in [1, 400] {
        let (mut world, _publisher, viewer) = playing_for_long();
        let (victim, own) = (SocketAddr::from(ELSEWHERE), world.peers[viewer].leg.outside);
        for _ in 0..checks {
            check_from(&mut world, viewer, victim, true);
            pass(&mut world, 40_000 / checks);
        }
        let sent = sent_to(&mut world, victim);
        // Forty seconds begin two periods of thirty; a look comes 50 ms late.
        let share = UNVERIFIED_BYTES as usize * if checks == 1 { 1 } else { 2 };
        assert!((1_000..share * 11 / 10).contains(&sent), "{sent} bytes for {checks} checks");
        sent_to(&mut world, own);
        pass(&mut world, 1_000);
        assert!(sent_to(&mut world, own) > 1_000, "its stream is the viewer's again");
        finish(&mut world);
    }
}

#[test]
fn a_viewer_that_moves_answers_our_check_and_has_its_stream_whole() {
    let (mut world, _publisher, viewer) = playing_for_long();
    let asked = world.server.wiring.counters[0].stun_answers.get();
    // Without reports nothing else says that it receives where it is.
    Reporter::of(&mut world.peers[viewer].client).expect("it has keys");
    world.rebind(viewer);
    pass(&mut world, 60_000);
    assert_eq!(world.server.wiring.counters[0].stun_answers.get(), asked + 1);
    let outside = world.peers[viewer].leg.outside;
    assert!(sent_to(&mut world, outside) > 2 * UNVERIFIED_BYTES as usize, "far beyond the share");
    assert_eq!(drops(&world, DropReason::Unverified), 0);
    finish(&mut world);
}

/// By a viewer with a session of its own, who writes the publisher's address on its checks.
#[test]
fn a_flow_whose_owner_speaks_is_not_taken_by_anothers_check() {
    for shards in [1, 3] {
        let (mut world, publisher, viewer) = playing(Setup { shards, ..SETUP });
        let mut thieves = Vec::new();
        for _ in 0..4 {
            thieves.push(world.watch(0, Quality::PERFECT));
        }
        pass(&mut world, 500);
        let (from, port) = (world.peers[publisher].leg.outside, world.peers[publisher].port);
        let unknown = drops(&world, DropReason::UnknownFlow);
        let before = world.numbering.viewer(viewer).expect("it watches").video.sent.len();
        for round in 0..20 {
            let thief = thieves[round % thieves.len()];
            let check = rogue::check(&mut world.peers[thief].client, true, true);
            world.send_from(None, from, port, check);
            pass(&mut world, 200);
        }
        assert_eq!(drops(&world, DropReason::ForeignFlow), 20, "{shards} shards");
        assert_eq!(drops(&world, DropReason::UnknownFlow), unknown, "nothing of its is nobody's");
        let after = world.numbering.viewer(viewer).expect("it watches").video.sent.len();
        assert!(after > before + 50, "{before} packets, then {after}");
        finish(&mut world);
    }
}

#[test]
fn addresses_beyond_what_a_client_can_have_prove_nothing() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    let counters = |world: &World| world.server.wiring.counters[0].stun_requests.get();
    let before = counters(&world);
    for number in 0..10_000u16 {
        let from = SocketAddr::from(([203, 0, 113, 9], 1_024 + number));
        check_from(&mut world, viewer, from, false);
    }
    pass(&mut world, 1_000);
    let taken = (counters(&world) - before) as u32;
    let most = NEW_ADDRESSES + NEW_ADDRESSES_PER_SECOND + 5;
    assert!((NEW_ADDRESSES - 2..most).contains(&taken), "{taken} were looked at");
    assert!(drops(&world, DropReason::TooManyAddresses) > 9_900);
    let own = world.peers[viewer].leg.outside;
    sent_to(&mut world, own);
    pass(&mut world, 500);
    assert!(sent_to(&mut world, own) > 1_000, "the viewer plays on");
    finish(&mut world);
}

#[test]
fn wrong_passwords_by_the_thousand_are_refused_unread_and_the_client_is_heard() {
    let (mut world, _publisher, viewer) = playing(SETUP);
    let from = SocketAddr::from(ELSEWHERE);
    let port = world.peers[viewer].port;
    for _ in 0..5_000 {
        let check = rogue::check(&mut world.peers[viewer].client, false, false);
        world.send_from(Some(viewer), from, port, check);
    }
    pass(&mut world, 1_000);
    let looked_at = drops(&world, DropReason::StunRejected) as u32;
    let most = REFUSED_CHECKS + REFUSED_CHECKS_PER_SECOND;
    assert!((REFUSED_CHECKS..most).contains(&looked_at), "{looked_at}");
    assert_eq!(u64::from(looked_at) + drops(&world, DropReason::ChecksLimited), 5_000);
    // The client's own, by the way it has, are verified still.
    let before = world.server.wiring.counters[0].stun_requests.get();
    pass(&mut world, 10_000);
    assert!(world.server.wiring.counters[0].stun_requests.get() > before);
    finish(&mut world);
}

/// When each sender report for a viewer was sent, with its SSRC, NTP time and RTP time.
fn reports(world: &World, viewer: usize) -> Vec<(Duration, u32, u64, u32)> {
    let peer = &world.peers[viewer];
    let keys = peer.client.keys.as_ref().expect("it is connected");
    let mut opener = RtcpOpener::new(keys.profile, &keys.remote);
    let mut reports = Vec::new();
    for (at, _to, bytes) in world.rtcp_sent.iter().filter(|(_, to, _)| *to == peer.leg.outside) {
        let mut datagram = bytes.clone();
        let length = opener.open(&mut datagram).expect("it is sealed with the viewer's keys");
        for packet in rtcp::compound(&datagram[..length]).flatten() {
            if let Packet::SenderReport { ssrc, ntp, rtp_timestamp, .. } = packet {
                reports.push((*at - world.start, ssrc, ntp, rtp_timestamp));
            }
        }
    }
    reports
}

#[test]
fn viewers_get_sender_reports_made_of_arrival_times_where_the_publisher_sends_none() {
    let mut world = World::new(0, SETUP, 1);
    let publisher = world.publish(0, 1, Quality::PERFECT);
    world.peers[publisher].client.own_rtcp = true;
    let viewer = world.watch(0, Quality::PERFECT);
    pass(&mut world, 4_500);
    assert_eq!(reports(&world, viewer), [], "it may say something yet");
    pass(&mut world, 10_000);
    let reports = reports(&world, viewer);
    let ssrcs = world.peers[viewer].client.watched_ssrcs();
    for (ssrc, rate) in [(ssrcs.audio, 48_000.0), (ssrcs.video, 90_000.0)] {
        let own: Vec<_> = reports.iter().filter(|report| report.1 == ssrc).collect();
        assert!(own.len() >= 3, "{reports:?}");
        for pair in own.windows(2) {
            let seconds = (pair[1].0 - pair[0].0).as_secs_f64();
            let by_ntp = pair[1].2.wrapping_sub(pair[0].2) as f64 / 4_294_967_296.0;
            let by_rtp = f64::from(pair[1].3.wrapping_sub(pair[0].3)) / rate;
            assert!((by_ntp - seconds).abs() < 0.001, "{by_ntp} in {seconds}");
            assert!((by_rtp - seconds).abs() < 0.005, "{by_rtp} in {seconds}");
        }
    }
    // Audio and video of one moment have one NTP time: they play in sync.
    let of = |ssrc| reports.iter().find(|report| report.1 == ssrc).expect("a report");
    let (audio, video) = (of(ssrcs.audio), of(ssrcs.video));
    assert_eq!((audio.0, audio.2), (video.0, video.2));
    finish(&mut world);
}

#[test]
fn a_publisher_whose_packets_are_too_long_for_viewers_has_it_on_its_card() {
    let (mut world, publisher, _viewer) = playing(SETUP);
    let key = world.peers[publisher].key;
    let card = |world: &World| {
        let cards = &world.server.wiring.meters[usize::from(key.shard)].cards;
        cards.read(key.slot).expect("it lives").1
    };
    pass(&mut world, 2_500);
    assert!(!card(&world).oversized);
    world.peers[publisher].encoders.as_mut().expect("it publishes").enlarge(1_460);
    pass(&mut world, 2_500);
    assert!(card(&world).oversized && drops(&world, DropReason::TooLong) > 0);
    finish(&mut world);
}
