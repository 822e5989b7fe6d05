//! Viewers stay in: they are sent again what they lack and no more, whichever way they report, and
//! are followed to where they speak from.

use monoport::drop::DropReason;
use monoport::limits::RESENDS_PER_PACKET;

use crate::found::{SETUP, pass, playing};
use crate::rogue::Reporter;
use crate::scenario::finish;
use crate::world::World;

/// Packets the server has sent again.
fn sent_again(world: &World) -> u64 {
    world.server.wiring.counters[0].repaired_packets.get()
}

/// The number of the packet of video that a viewer was sent last.
fn newest(world: &mut World, viewer: usize) -> u16 {
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
