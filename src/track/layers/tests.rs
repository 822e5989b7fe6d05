//! What a track does with packets of one publisher and several, of one layer and several.

use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::*;
use crate::id::{StreamKey, TrackKey};
use crate::limits::{
    AWAITED_RUN_PACKETS, HISTORY_MIN_PACKETS, HISTORY_TIME, HISTORY_VIDEO_PACKETS, PUBLISHER_REPAIR,
};
use crate::media::{HeaderExtensions, Origin};

const VIDEO: TrackId = TrackId::first(TrackKind::Video);

fn key() -> TrackKey {
    TrackKey { stream: StreamKey { index: 0, generation: 0 }, id: VIDEO }
}

pub(in crate::track) fn packet(
    publisher: u32,
    sequence: u64,
    timestamp: u32,
    received: Instant,
) -> MediaPacket {
    MediaPacket {
        track: key(),
        codec: Codec::Vp8,
        layer: 0,
        origin: Origin { publisher, source: 0 },
        sequence,
        timestamp,
        marker: false,
        keyframe: false,
        extensions: HeaderExtensions::default(),
        padding: 0,
        received,
        payload: vec![0; 10].into(),
    }
}

/// Carries and admits, as the publisher's shard does.
fn take(track: &mut Track, packet: MediaPacket, hold: Duration) -> Result<Admission, Carry> {
    match track.carry_published(&packet, |_, _| {}).0 {
        Carry::Yes => Ok(track.admit(packet, hold)),
        other => Err(other),
    }
}

fn take_now(track: &mut Track, packet: MediaPacket) -> Result<Admission, Carry> {
    take(track, packet, Duration::ZERO)
}

fn drain(track: &mut Track, now: Instant) -> Vec<(u64, u32)> {
    let mut packets = Vec::new();
    track.take_pending(now, &mut packets);
    packets.iter().map(|packet| (packet.sequence, packet.timestamp)).collect()
}

#[test]
fn a_second_publisher_continues_the_numbers_of_the_first() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    take_now(&mut track, packet(1, 65_535, 1_000, start)).unwrap();
    take_now(&mut track, packet(1, 65_536, 1_000, start)).unwrap();
    let later = start + Duration::from_secs(2);
    take_now(&mut track, packet(2, 7, 500, later)).unwrap();
    assert_eq!(
        drain(&mut track, later),
        [(65_535, 1_000), (65_536, 1_000), (65_537, 1_000 + 180_000)]
    );
    assert_eq!(
        take_now(&mut track, packet(1, 65_537, 4_000, later)),
        Err(Carry::Replaced),
        "a straggler of the first publisher must not take the second one's numbers"
    );
}

#[test]
fn a_stream_outlives_any_number_of_publishers() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let publishers = [u32::MAX - 2_000, u32::MAX, 0, 1, 4_096, 1 << 20, 1 << 30];
    for (index, publisher) in publishers.into_iter().enumerate() {
        let at = start + Duration::from_millis(40 * index as u64);
        let taken = take_now(&mut track, packet(publisher, 1_000, 7, at));
        assert_eq!(taken, Ok(Admission::Admitted), "publisher {publisher}");
        assert_eq!(drain(&mut track, at).len(), 1);
    }
}

#[test]
fn a_source_that_takes_a_layer_over_continues_its_numbers() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let ms = Duration::from_millis;
    let of = |source, sequence, timestamp, at: Instant| MediaPacket {
        origin: Origin { publisher: 1, source },
        ..packet(1, sequence, timestamp, at)
    };
    take_now(&mut track, of(0, 40_000, 1_000, start)).unwrap();
    take_now(&mut track, of(1, 3, 77_777, start + ms(20))).unwrap();
    assert_eq!(
        take_now(&mut track, of(0, 40_001, 4_000, start + ms(21))),
        Ok(Admission::Replaced),
        "what the former one still sends is late"
    );
    assert_eq!(drain(&mut track, start + ms(30)), [(40_000, 1_000), (40_001, 1_000 + 1_800)]);
}

#[test]
fn packets_wait_for_the_marker_or_the_deadline() {
    let start = Instant::now();
    let hold = Duration::from_millis(5);
    let mut track = Track::new(VIDEO);
    take(&mut track, packet(1, 1, 0, start), hold).unwrap();
    assert!(drain(&mut track, start).is_empty());
    assert_eq!(track.pending_deadline(), Some(start + hold));
    assert_eq!(drain(&mut track, start + hold).len(), 1, "the deadline has come");
    take(&mut track, packet(1, 2, 0, start), hold).unwrap();
    take(&mut track, MediaPacket { marker: true, ..packet(1, 3, 0, start) }, hold).unwrap();
    assert_eq!(drain(&mut track, start).len(), 2, "the frame is complete");
    assert_eq!(track.pending_deadline(), None);
}

#[test]
fn duplicates_and_packets_older_than_the_history_are_refused() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let far = HISTORY_VIDEO_PACKETS as u64 + 10;
    assert_eq!(take_now(&mut track, packet(1, far, 0, start)), Ok(Admission::Admitted));
    assert_eq!(take_now(&mut track, packet(1, far, 0, start)), Ok(Admission::Duplicate));
    assert_eq!(take_now(&mut track, packet(1, 1, 0, start)), Ok(Admission::TooOld));
    assert_eq!(take_now(&mut track, packet(1, far - 1, 0, start)), Ok(Admission::Admitted));
}

#[test]
fn the_history_reaches_as_far_back_whatever_the_rate() {
    let start = Instant::now();
    for (packets_per_s, room) in
        [(5u64, HISTORY_MIN_PACKETS), (50, 128), (500, 1_024), (9_000, 4_096)]
    {
        let mut track = Track::new(VIDEO);
        let count = packets_per_s * 5;
        let at = |number: u64| start + Duration::from_micros(number * 1_000_000 / packets_per_s);
        for number in 0..count {
            take_now(&mut track, packet(1, number, 0, at(number))).unwrap();
            drain(&mut track, at(number));
        }
        assert_eq!(track.layers()[0].history.reach(), room, "{packets_per_s} a second");
        let reached = (packets_per_s * HISTORY_TIME.as_secs()).min(HISTORY_VIDEO_PACKETS as u64);
        let oldest = track.recall(0, count - reached, at(count));
        assert!(matches!(oldest, Recall::Kept(_)), "{packets_per_s} a second");
    }
}

#[test]
fn a_layer_takes_memory_as_it_sends() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    assert_eq!(track.layers()[0].history.bytes(), 0, "nothing has come");
    let mut taken = Vec::new();
    for packets_per_s in [2u32, 50, 500] {
        let mut track = Track::new(VIDEO);
        for number in 0..packets_per_s * 5 {
            let at = start + Duration::from_secs(1) * number / packets_per_s;
            take_now(&mut track, packet(1, u64::from(number), 0, at)).unwrap();
            drain(&mut track, at);
        }
        taken.push(track.layers()[0].history.bytes());
    }
    assert!(taken[0] < 16 * 300 && taken[0] * 6 < taken[1] && taken[1] * 6 < taken[2], "{taken:?}");
    track.layer_mut(0).unwrap().history.clear();
    assert_eq!(track.layers()[0].history.bytes(), 0);
}

#[test]
fn a_hole_is_awaited_for_a_while_and_then_given_up() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let run = AWAITED_RUN_PACKETS as u64;
    for sequence in [1, 3, 3 + run, 5 + 2 * run] {
        take_now(&mut track, packet(1, sequence, 0, start)).unwrap();
    }
    drain(&mut track, start);
    assert!(matches!(track.recall(0, 1, start), Recall::Kept(packet) if packet.sequence == 1));
    let soon = start + PUBLISHER_REPAIR / 2;
    assert!(matches!(track.recall(0, 2, soon), Recall::Awaited));
    assert!(matches!(track.recall(0, 4, soon), Recall::Awaited), "as long a run as is awaited");
    assert!(matches!(track.recall(0, 4 + run, soon), Recall::Gone), "one packet more");
    assert!(matches!(track.recall(0, 2, start + PUBLISHER_REPAIR), Recall::Gone));
    assert!(matches!(track.recall(0, 6 + 2 * run, soon), Recall::Gone), "nothing is behind it");
    assert!(matches!(track.recall(1, 2, soon), Recall::Gone), "there is no such layer");
    take_now(&mut track, packet(1, 4 + run, 0, soon)).unwrap();
    drain(&mut track, soon);
    assert!(matches!(track.recall(0, 4 + run, soon), Recall::Kept(p) if p.sequence == 4 + run));
}

#[test]
fn a_packet_that_waits_for_its_frame_is_not_sent_again_before_it_is_sent() {
    let start = Instant::now();
    let hold = Duration::from_millis(5);
    let mut track = Track::new(VIDEO);
    take(&mut track, packet(1, 2, 0, start), hold).unwrap();
    assert_eq!(drain(&mut track, start + hold).len(), 1);
    take(&mut track, packet(1, 1, 0, start + hold), hold).unwrap();
    let third = MediaPacket { payload: vec![0; 11].into(), ..packet(1, 3, 0, start + hold) };
    take(&mut track, third, hold).unwrap();
    assert!(matches!(track.recall(0, 1, start + hold), Recall::Awaited), "its padding is open");
    assert_eq!(drain(&mut track, start + hold * 2).len(), 2);
    assert!(matches!(track.recall(0, 1, start + hold * 2), Recall::Kept(_)));
}

/// A packet of one of two layers, with numbers and times of its own.
fn layered(layer: u8, number: u64, keyframe: bool, at: Instant) -> MediaPacket {
    let (first, clock) = [(100, 5_000), (60_000, 4_000_000_000)][usize::from(layer)];
    let size = [10, 100][usize::from(layer)];
    MediaPacket {
        layer,
        keyframe,
        payload: vec![0; size].into(),
        ..packet(1, first + number, clock + number as u32 * 3_000, at)
    }
}

#[test]
fn the_best_layer_is_told_after_a_second_and_each_keeps_its_numbers() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let at = |number: u64| start + Duration::from_millis(number * 100);
    let mut told = Vec::new();
    let mut sent = [Vec::new(), Vec::new()];
    for number in 0..20 {
        for layer in 0..2 {
            let packet = layered(layer, number, number == 0, at(number));
            let (carry, standing) = track.carry_published(&packet, |_, _| {});
            told.extend(standing.map(|standing| (number, standing.best)));
            assert_eq!(carry, Carry::Yes);
            assert_eq!(track.admit(packet, Duration::ZERO), Admission::Admitted);
            sent[usize::from(layer)].extend(drain(&mut track, at(number)));
        }
    }
    assert_eq!(told, [(0, 0), (10, 1)], "after a second it is known which one is better");
    for (layer, first) in [(0, 100), (1, 60_000)] {
        let numbers: Vec<u64> = sent[layer].iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (first..first + 20).collect::<Vec<_>>());
    }
    let times = sent.map(|sent| sent.iter().map(|(_, time)| *time).collect::<Vec<_>>());
    assert_eq!(times[0], times[1], "what comes at the same time is of the same time");
}

#[test]
fn layers_of_one_publisher_are_aligned_by_its_clock_before_anybody_has_them() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let ms = Duration::from_millis;
    let origin = Origin { publisher: 1, source: 0 };
    take_now(&mut track, layered(0, 0, true, start)).unwrap();
    track.layer_mut(0).unwrap().is_begun();
    // It came 70 ms late; what it shows is of when it was made.
    take_now(&mut track, layered(1, 0, true, start + ms(70))).unwrap();
    assert_eq!(drain(&mut track, start + ms(70))[1].1, 5_000 + 70 * 90, "by when it came");
    // The same instant of the publisher's clock, in each layer's time.
    for (layer, timestamp) in [(0, 5_000), (1, 4_000_000_000)] {
        let received = start + ms(80);
        track.set_clock(ClockReport {
            track: key(),
            layer,
            origin,
            ntp: 9 << 32,
            timestamp,
            received,
        });
    }
    let mut leaving = Vec::new();
    take_now(&mut track, layered(1, 1, false, start + ms(170))).unwrap();
    track.take_pending(start + ms(170), &mut leaving);
    track.align(1, start + ms(170), &mut leaving);
    assert_eq!(leaving[0].timestamp, 5_000 + 3_000, "what leaves just now, too");
    let kept = track.recall(1, 60_000, start + ms(170));
    assert!(matches!(kept, Recall::Kept(packet) if packet.timestamp == 5_000));
    take_now(&mut track, layered(1, 2, false, start + ms(270))).unwrap();
    assert_eq!(drain(&mut track, start + ms(270)), [(60_002, 5_000 + 2 * 3_000)]);
    let clock = track.clock_at(start + ms(80), Some(1)).expect("each has one");
    assert_eq!(clock, (9 << 32, 5_000));
    // Once somebody has it, its time stays.
    track.layer_mut(1).unwrap().is_begun();
    let origin = Origin { publisher: 1, source: 0 };
    let (ntp, timestamp, received) = (9 << 32, 4_000_009_000, start);
    track.set_clock(ClockReport { track: key(), layer: 1, origin, ntp, timestamp, received });
    track.align(1, start + ms(270), &mut []);
    let kept = track.recall(1, 60_000, start + ms(270));
    assert!(matches!(kept, Recall::Kept(packet) if packet.timestamp == 5_000));
}

#[test]
fn a_layer_whose_past_comes_from_another_shard_has_its_own_time() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    for frame in 0..90 {
        let at = start + Duration::from_millis(33 * u64::from(frame));
        let mut packet = packet(1, u64::from(frame), 7_000 + frame * 2_970, at);
        assert!(track.keep(&mut packet).is_ok());
    }
    // A key frame made with the first picture of all, by an encoder whose time begins elsewhere.
    let mut past = MediaPacket { layer: 1, keyframe: true, ..packet(1, 500, 99, start) };
    track.layer_made(1).expect("there may be so many");
    let kept = track.keep(&mut past).expect("it is kept");
    let apart = kept.timestamp.wrapping_sub(7_000).cast_signed().abs();
    assert!(apart <= 90, "{apart} ticks apart from what was made at the same moment");
}

#[test]
fn a_layer_that_falls_silent_is_left() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let at = |number: u64| start + Duration::from_millis(number * 100);
    for number in 0..12 {
        track.carry_published(&layered(1, number, number == 0, at(number)), |_, _| {});
        track.carry_published(&layered(0, number, number == 0, at(number)), |_, _| {});
    }
    assert_eq!(track.best_layer(), 1);
    for number in 12..70 {
        track.carry_published(&layered(0, number, number % 30 == 0, at(number)), |_, _| {});
    }
    assert_eq!(track.best_layer(), 0);
}

#[test]
fn another_shard_follows_the_publishers_and_no_more_layers_are_told_apart_than_there_may_be() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    let standing = |best, changes| Standing { best, changes };
    let packet = layered(0, 0, true, start);
    assert_eq!(track.carry_received(&packet, standing(0, 0)), (Carry::Yes, true));
    assert_eq!(track.carry_received(&packet, standing(0, 0)), (Carry::Yes, false));
    let packet = layered(1, 5, false, start);
    assert_eq!(track.carry_received(&packet, standing(1, 0)), (Carry::Yes, true));
    assert_eq!(track.carry_received(&packet, standing(1, 1)), (Carry::Yes, true));
    assert_eq!(track.best_layer(), 1);
    let ninth = MediaPacket { layer: MAX_LAYERS as u8, ..layered(0, 3, true, start) };
    assert_eq!(track.carry_received(&ninth, standing(1, 1)).0, Carry::TooManyLayers);
}

#[test]
fn the_clock_runs_on_from_the_publishers_last_report() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    assert_eq!(track.clock_at(start, None), None);
    take_now(&mut track, packet(1, 1, 0, start)).unwrap();
    let report = ClockReport {
        track: key(),
        layer: 0,
        origin: Origin { publisher: 1, source: 0 },
        ntp: 5 << 32,
        timestamp: 9_000,
        received: start,
    };
    track.set_clock(report);
    let half_a_second = start + Duration::from_millis(500);
    assert_eq!(track.clock_at(half_a_second, None), Some(((5 << 32) + (1 << 31), 9_000 + 45_000)));
    take_now(&mut track, packet(2, 1, 0, half_a_second)).unwrap();
    assert_eq!(track.clock_at(half_a_second, None), None, "another publisher's says nothing");
}

#[test]
fn what_a_newcomers_first_packet_has_overtaken_takes_no_number_of_the_former() {
    let start = Instant::now();
    let mut track = Track::new(VIDEO);
    // Number 11 was lost on its way.
    for sequence in [10, 12] {
        take_now(&mut track, packet(1, sequence, 1_000, start)).unwrap();
    }
    take_now(&mut track, packet(2, 502, 5_000, start)).unwrap();
    assert_eq!(take_now(&mut track, packet(2, 500, 5_000, start)), Err(Carry::Replaced));
    take_now(&mut track, packet(2, 503, 5_000, start)).unwrap();
    let numbers: Vec<_> = drain(&mut track, start).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [10, 12, 13, 14]);
}
