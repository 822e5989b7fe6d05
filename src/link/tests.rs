//! Two ends with a bad way between them, under virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ring::hmac;
use str0m::format::Codec;

use super::*;
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::{
    LINK_ALIVE, LINK_DESERTED, LINK_FIRST_WORD, LINK_REORDERED, LINK_REPAIR_BURST, LINK_SILENT,
    MAX_DATAGRAM_OUT, MAX_LINK_ASKED, MAX_PAYLOAD_OUT,
};
use crate::media::{
    ClockReport, DependencyDescriptor, HeaderExtensions, LayerName, MediaPacket, Origin,
};

const THERE: StreamKey = StreamKey { index: 3, generation: 1 };
const HERE: StreamKey = StreamKey { index: 8, generation: 2 };

/// Both ends of a link that has begun.
fn ends(now: Instant) -> (Outgoing, Incoming) {
    let (mut outgoing, incoming) = strangers(now);
    outgoing.begin(now, 0);
    (outgoing, incoming)
}

/// The same, before they have heard of one another.
fn strangers(now: Instant) -> (Outgoing, Incoming) {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"the secret");
    let (edge, origin) = (Exchange::new(), Exchange::new());
    let (to_origin, to_edge) = (edge.public, origin.public);
    let sends = origin.outgoing(&to_origin, &secret, b"s").expect("a key");
    let takes = edge.incoming(&to_edge, &secret, b"s").expect("a key");
    let outgoing = Outgoing::new(now, THERE, Peer { shard: 1, link: 7 }, &sends);
    (outgoing, Incoming::new(now, HERE, Peer { shard: 2, link: 9 }, &takes, None))
}

fn packet(sequence: u64, received: Instant) -> MediaPacket {
    let id = TrackId { kind: TrackKind::Video, number: 1 };
    MediaPacket {
        track: TrackKey { stream: THERE, id },
        codec: Codec::H264,
        layer: 2,
        origin: Origin { publisher: 5, source: 6 },
        sequence,
        timestamp: sequence as u32 * 3_000,
        marker: sequence.is_multiple_of(3),
        keyframe: sequence.is_multiple_of(100),
        extensions: HeaderExtensions {
            audio_level: None,
            video_orientation: Some(1),
            playout_delay: Some([1, 2, 3]),
            descriptor: DependencyDescriptor::new(&[1, 2, 3, 4]),
        },
        padding: 9,
        received,
        payload: vec![sequence as u8; 1_200].into(),
    }
}

/// The last packets of the stream, as a shard keeps them.
#[derive(Default)]
struct Kept(BTreeMap<u64, MediaPacket>);

fn sealed(make: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>) -> Vec<u8> {
    let mut slot = vec![0; MAX_DATAGRAM_OUT];
    let length = make(&mut slot).expect("it has room");
    slot.truncate(length);
    slot
}

/// A way that loses, delays and doubles.
struct Way {
    random: fastrand::Rng,
    loss: f64,
    doubled: f64,
    jitter_ms: u64,
    under_way: Vec<(Instant, Vec<u8>)>,
}

impl Way {
    fn send(&mut self, now: Instant, datagram: Vec<u8>) {
        let copies = 1 + usize::from(self.random.f64() < self.doubled);
        for _ in 0..copies {
            if self.random.f64() >= self.loss {
                let delay = Duration::from_millis(5 + self.random.u64(0..=self.jitter_ms));
                self.under_way.push((now + delay, datagram.clone()));
            }
        }
    }

    fn take(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let due: Vec<_> = self.under_way.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().map(|(_, datagram)| datagram).collect()
    }
}

struct Run {
    got: Vec<u64>,
    sent: Figures,
    taken: Figures,
    refused: VecDeque<DropReason>,
}

/// Sends `count` packets, one every 5 ms, and lets a second pass.
fn run(seed: u64, count: u64, loss: f64, doubled: f64, jitter_ms: u64) -> Run {
    let start = Instant::now();
    let (mut outgoing, mut incoming) = strangers(start);
    let way = |seed| Way {
        random: fastrand::Rng::with_seed(seed),
        loss,
        doubled,
        jitter_ms,
        under_way: Vec::new(),
    };
    let (mut there, mut back) = (way(seed), way(seed + 1));
    let mut kept = Kept::default();
    let mut done = Run {
        got: Vec::new(),
        sent: Figures::default(),
        taken: Figures::default(),
        refused: VecDeque::new(),
    };
    let mut next = 0;
    for tick in 0..count * 5 + 1_500 {
        let now = start + Duration::from_millis(tick);
        if tick % 5 == 0 && next < count && outgoing.has_begun() {
            let packet = packet(next, now);
            there.send(now, sealed(|slot| outgoing.media(now, next, &packet, slot)));
            kept.0.insert(next, packet);
            next += 1;
        }
        if outgoing.deadline().is_some_and(|due| due <= now) {
            there.send(now, sealed(|slot| outgoing.say(now, slot)));
        }
        while incoming.has_to_say(now) {
            back.send(now, sealed(|slot| incoming.say(now, slot)));
        }
        for mut datagram in back.take(now) {
            match outgoing.receive(now, &mut datagram) {
                Ok(Asked::Again(positions)) => {
                    for position in positions {
                        if !outgoing.may_repair() {
                            break;
                        }
                        let packet = kept.0.get(&position).expect("it was sent");
                        there.send(now, sealed(|slot| outgoing.again(position, packet, slot)));
                    }
                }
                Ok(Asked::Begins(_)) => outgoing.begin(now, 0),
                Ok(_) => {}
                Err(reason) => done.refused.push_back(reason),
            }
        }
        for mut datagram in there.take(now) {
            match incoming.receive(now, &mut datagram) {
                Ok(Got::Media(packet)) => {
                    assert_eq!(packet.track.stream, HERE);
                    done.got.push(packet.sequence);
                }
                Ok(_) => {}
                Err(reason) => done.refused.push_back(reason),
            }
        }
    }
    (done.sent, done.taken) = (outgoing.figures(), incoming.figures());
    done
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_the_way_loses_delays_and_doubles_each_packet_comes_once(
        seed: u64,
        loss in 0.0..0.08,
        doubled in 0.0..0.1,
        jitter_ms in 0u64..30,
    ) {
        const COUNT: u64 = 400;
        let Run { mut got, sent, taken, refused } = run(seed, COUNT, loss, doubled, jitter_ms);
        got.sort_unstable();
        let all: Vec<u64> = (0..COUNT).collect();
        // The link begins with the first packet that comes.
        let from = got.first().copied().unwrap_or(COUNT) as usize;
        prop_assert!(from < 5, "{from}");
        prop_assert_eq!(&got, &all[from..], "seed {}", seed);
        prop_assert_eq!(taken.lost, 0);
        prop_assert_eq!(sent.packets, COUNT);
        prop_assert_eq!(taken.packets + taken.repaired, COUNT - from as u64);
        let expected = |reason: &DropReason| {
            matches!(reason, DropReason::LinkReplay | DropReason::LinkDuplicate)
        };
        prop_assert!(refused.iter().all(expected), "{:?}", refused);
    }

    #[test]
    fn bytes_of_strangers_are_no_frame_or_one_and_nothing_panics(
        kind in 0u8..8,
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let frame = [&[kind], &bytes[..]].concat();
        let _ = Frame::read(&frame, HERE, Instant::now());
    }

    #[test]
    fn what_is_changed_on_the_way_is_refused_and_changes_nothing(
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = ends(now);
        let right = sealed(|slot| outgoing.media(now, 0, &packet(0, now), slot));
        let mut wrong = right.clone();
        wrong[at.index(right.len())] ^= 1 << bit;
        let refused = incoming.receive(now, &mut wrong).expect_err("it is not what was sealed");
        prop_assert!(matches!(refused, DropReason::LinkAuth | DropReason::MalformedLink));
        prop_assert!(matches!(incoming.receive(now, &mut right.clone()), Ok(Got::Media(_))));
    }
}

#[test]
fn a_packet_comes_as_the_publisher_numbered_it() {
    let now = Instant::now();
    let (mut outgoing, mut incoming) = ends(now);
    let sent = packet(1 << 40 | 5, now);
    let mut datagram = sealed(|slot| outgoing.media(now, 0, &sent, slot));
    let later = now + Duration::from_millis(3);
    let Ok(Got::Media(got)) = incoming.receive(later, &mut datagram) else { panic!("no packet") };
    assert_eq!(got.track, TrackKey { stream: HERE, id: sent.track.id });
    let of = |p: &MediaPacket<&[u8]>| (p.codec, p.layer, p.origin, p.sequence, p.timestamp);
    assert_eq!(of(&got), (sent.codec, sent.layer, sent.origin, sent.sequence, sent.timestamp));
    assert_eq!((got.marker, got.keyframe), (sent.marker, sent.keyframe));
    assert_eq!((&got.extensions, got.payload), (&sent.extensions, &sent.payload[..]));
    assert_eq!((got.padding, got.received), (0, later), "what is made of it here");
}

#[test]
fn what_was_taken_is_not_taken_again_nor_by_another_link() {
    let now = Instant::now();
    let (mut outgoing, mut incoming) = ends(now);
    let (_, mut other) = ends(now);
    let datagram = sealed(|slot| outgoing.media(now, 0, &packet(0, now), slot));
    let taken = |incoming: &mut Incoming, bytes: &[u8]| {
        incoming.receive(now, &mut bytes.to_vec()).map(|_got| ())
    };
    assert_eq!(taken(&mut incoming, &datagram), Ok(()));
    assert_eq!(taken(&mut incoming, &datagram), Err(DropReason::LinkReplay));
    assert_eq!(taken(&mut other, &datagram), Err(DropReason::LinkAuth));
    let again = sealed(|slot| outgoing.again(0, &packet(0, now), slot));
    assert_eq!(taken(&mut incoming, &again), Err(DropReason::LinkDuplicate), "it has come");
    // What an end says is nothing to that end.
    assert_eq!(outgoing.receive(now, &mut again.clone()), Err(DropReason::LinkAuth));
}

#[test]
fn what_comes_yet_of_the_link_before_is_no_forgery() {
    let now = Instant::now();
    let ((mut old, before), (mut outgoing, mut incoming)) = (ends(now), ends(now));
    incoming.follows(before);
    let mut next = |number| sealed(|slot| outgoing.media(now, number, &packet(number, now), slot));
    let (mut first, second) = (next(0), next(1));
    assert!(incoming.receive(now, &mut first).is_ok());
    // The other end of that stands somewhere else.
    (0..2).for_each(|number| drop(sealed(|slot| old.media(now, number, &packet(0, now), slot))));
    for number in 2..40 {
        let late = sealed(|slot| old.media(now, number, &packet(number, now), slot));
        assert_eq!(incoming.receive(now, &mut late.clone()).err(), Some(DropReason::UnknownLink));
        assert_eq!(incoming.receive(now, &mut late.clone()).err(), Some(DropReason::UnknownLink));
        let mut forged = late;
        *forged.last_mut().expect("a tag") ^= 1;
        assert_eq!(incoming.receive(now, &mut forged).err(), Some(DropReason::LinkAuth));
    }
    assert!(incoming.receive(now, &mut second.clone()).is_ok(), "it has disturbed nothing");
    assert_eq!(incoming.receive(now, &mut second.clone()).err(), Some(DropReason::LinkReplay));
}

#[test]
fn the_last_packets_are_repaired_though_nothing_comes_after_them() {
    let Run { got, taken, .. } = run(3, 2, 0.0, 0.0, 0);
    assert_eq!((got.len(), taken.repaired), (2, 0));
    let start = Instant::now();
    let (mut outgoing, mut incoming) = ends(start);
    assert_eq!(outgoing.deadline(), Some(start), "it says at once where it begins");
    let mut begins = sealed(|slot| outgoing.say(start, slot));
    assert!(incoming.receive(start, &mut begins).is_ok());
    let mut first = sealed(|slot| outgoing.media(start, 0, &packet(0, start), slot));
    assert!(incoming.receive(start, &mut first).is_ok());
    let _lost = sealed(|slot| outgoing.media(start, 1, &packet(1, start), slot));
    let now = start + LINK_ALIVE;
    assert_eq!(outgoing.deadline(), Some(now));
    let mut alive = sealed(|slot| outgoing.say(now, slot));
    assert!(incoming.receive(now, &mut alive).is_ok());
    let now = now + Duration::from_millis(10);
    let mut asks = sealed(|slot| incoming.say(now, slot));
    assert_eq!(outgoing.receive(now, &mut asks), Ok(Asked::Again(vec![1])));
}

#[test]
fn a_link_begins_when_its_other_end_is_heard_and_that_says_so_until_it_is_answered() {
    let start = Instant::now();
    let (mut outgoing, mut incoming) = strangers(start);
    assert_eq!(outgoing.deadline(), None, "nobody would hear it");
    let _lost = sealed(|slot| incoming.say(start, slot));
    let now = start + LINK_FIRST_WORD;
    assert!(!incoming.has_to_say(start) && incoming.has_to_say(now));
    let mut word = sealed(|slot| incoming.say(now, slot));
    assert_eq!(outgoing.receive(now, &mut word), Ok(Asked::Begins(None)));
    outgoing.begin(now, 17);
    assert_eq!(outgoing.deadline(), Some(now));
    let mut alive = sealed(|slot| outgoing.say(now, slot));
    assert!(incoming.receive(now, &mut alive).is_ok());
    let now = now + LINK_FIRST_WORD;
    let mut word = sealed(|slot| incoming.say(now, slot));
    assert_eq!(outgoing.receive(now, &mut word), Ok(Asked::Nothing));
    assert!(!incoming.has_to_say(now + LINK_FIRST_WORD), "it was answered");
}

#[test]
fn key_frames_are_asked_for_once_and_the_time_in_a_layer_is_what_it_was() {
    let start = Instant::now();
    let (mut outgoing, mut incoming) = ends(start);
    let _first_report = sealed(|slot| incoming.say(start, slot));
    assert!(!incoming.has_to_say(start));
    let video = TrackId::first(TrackKind::Video);
    incoming.want_keyframe(video, 1);
    incoming.want_keyframe(video, 1);
    let mut wish = sealed(|slot| incoming.say(start, slot));
    assert_eq!(outgoing.receive(start, &mut wish), Ok(Asked::Keyframe(video, 1)));
    assert!(!incoming.has_to_say(start));

    let report = ClockReport {
        track: TrackKey { stream: THERE, id: video },
        layer: 1,
        origin: Origin { publisher: 5, source: 0 },
        ntp: 1 << 40,
        timestamp: 77,
        received: start,
    };
    let sent = start + Duration::from_millis(30);
    let mut datagram = sealed(|slot| outgoing.clock(sent, &report, slot));
    let came = sent + Duration::from_millis(20);
    let Ok(Got::Clock(got)) = incoming.receive(came, &mut datagram) else { panic!("no clock") };
    assert_eq!(got.received, came - Duration::from_millis(30), "before a round trip is known");
    assert_eq!((got.ntp, got.timestamp, got.track.stream), (report.ntp, 77, HERE));
}

#[test]
fn a_layer_is_called_there_what_its_publisher_calls_it() {
    let now = Instant::now();
    let (mut outgoing, mut incoming) = ends(now);
    let (video, mut name) = (TrackId::first(TrackKind::Video), LayerName::default());
    name.0[..2].copy_from_slice(b"hi");
    assert!(outgoing.is_to_report(now));
    let mut datagram = sealed(|slot| outgoing.name(video, 2, &name, slot));
    let Ok(Got::Name(track, 2, got)) = incoming.receive(now, &mut datagram) else {
        panic!("no name");
    };
    assert_eq!((track, got), (video, name));
}

#[test]
fn both_ends_know_how_far_away_the_other_is_and_that_it_is_gone() {
    let Run { taken, sent, .. } = run(9, 400, 0.0, 0.0, 0);
    assert!((10_000..12_000).contains(&taken.round_trip_us), "{taken:?}");
    assert!((10_000..12_000).contains(&sent.round_trip_us), "{sent:?}");
    let start = Instant::now();
    let (mut outgoing, mut incoming) = ends(start);
    assert!(!incoming.falls_silent(start) && incoming.is_alive());
    let later = start + LINK_SILENT;
    assert!(incoming.falls_silent(later) && !incoming.is_alive());
    assert!(!incoming.falls_silent(later), "it was noticed");
    assert!(!outgoing.is_deserted(start) && outgoing.is_deserted(start + LINK_DESERTED));
    let mut alive = sealed(|slot| outgoing.say(later, slot));
    assert!(incoming.receive(later, &mut alive).is_ok());
    assert!(incoming.is_alive() && !incoming.falls_silent(later), "it speaks again");
    let mut over = sealed(|slot| outgoing.end(slot));
    assert!(matches!(incoming.receive(later, &mut over), Ok(Got::Ended)));
    assert!(!incoming.is_alive() && !incoming.has_to_say(later + LINK_SILENT));
    let mut over = sealed(|slot| incoming.end(slot));
    assert_eq!(outgoing.receive(later, &mut over), Ok(Asked::Ended));
}

#[test]
fn repairs_have_their_share_and_no_more() {
    let now = Instant::now();
    let (mut outgoing, _) = ends(now);
    let repairs = |outgoing: &mut Outgoing| (0..10_000).filter(|_| outgoing.may_repair()).count();
    assert_eq!(repairs(&mut outgoing), LINK_REPAIR_BURST as usize);
    for position in 0..100 {
        sealed(|slot| outgoing.media(now, position, &packet(position, now), slot));
    }
    assert_eq!(repairs(&mut outgoing), 10, "one of ten");
}

#[test]
fn a_datagram_names_no_more_than_it_has_room_for() {
    let mut slot = [0; MAX_DATAGRAM_OUT];
    let positions: Vec<u64> = (0..1_000).collect();
    let length = frame::write_missing(&mut slot, &positions).expect("it has room");
    let Some(Frame::Missing(named)) = Frame::read(&slot[..length], HERE, Instant::now()) else {
        panic!("not what was written");
    };
    assert_eq!(named, positions[..MAX_LINK_ASKED]);
    let one_more = [&slot[..length], &[0; 6]].concat();
    assert!(Frame::read(&one_more, HERE, Instant::now()).is_none());
}

#[test]
fn a_packet_that_has_no_room_in_a_datagram_comes_in_two() {
    let now = Instant::now();
    let (mut outgoing, mut incoming) = ends(now);
    let longest = DependencyDescriptor::new(&[7; 255]);
    let (mut whole, mut in_two) = (0, 0);
    for (position, length) in (1_100..=MAX_PAYLOAD_OUT).enumerate() {
        let (position, mut sent) = (position as u64, packet(position as u64, now));
        sent.payload = (0..length).map(|byte| byte as u8).collect::<Vec<_>>().into();
        if length % 2 == 0 {
            sent.extensions.descriptor = longest.clone();
        }
        assert_eq!(fits(&sent), Ok(()));
        let front = front_of(&sent);
        if !front.is_empty() {
            in_two += 1;
            let mut datagram = sealed(|slot| outgoing.front(position, front, slot));
            assert!(matches!(incoming.receive(now, &mut datagram), Ok(Got::Nothing)), "{length}");
        } else {
            whole += 1;
        }
        let mut datagram = sealed(|slot| outgoing.media(now, position, &sent, slot));
        let Ok(Got::Media(got)) = incoming.receive(now, &mut datagram) else { panic!("{length}") };
        assert_eq!((got.sequence, got.payload), (sent.sequence, &sent.payload[..]));
        assert_eq!((got.marker, &got.extensions), (sent.marker, &sent.extensions));
    }
    assert!(whole > 100 && in_two > 100, "{whole} {in_two}");
    let too_long = MediaPacket { payload: vec![0; MAX_PAYLOAD_OUT + 1].into(), ..packet(0, now) };
    assert_eq!(fits(&too_long), Err(DropReason::TooLong), "no viewer could be sent it");
    assert_eq!(incoming.figures().packets, (MAX_PAYLOAD_OUT - 1_099) as u64, "each counts once");
}

#[test]
fn half_a_packet_is_missing_until_both_halves_have_come() {
    let start = Instant::now();
    let (mut outgoing, mut incoming) = ends(start);
    let mut first = sealed(|slot| outgoing.media(start, 0, &packet(0, start), slot));
    assert!(incoming.receive(start, &mut first).is_ok());
    let large = MediaPacket { payload: vec![5; 1_400].into(), ..packet(1, start) };
    let mut front = sealed(|slot| outgoing.front(1, front_of(&large), slot));
    let mut rest = sealed(|slot| outgoing.media(start, 1, &large, slot));
    let early = incoming.receive(start, &mut rest).err();
    assert_eq!(early, Some(DropReason::LinkIncomplete), "it has overtaken its front");
    assert!(matches!(incoming.receive(start, &mut front), Ok(Got::Nothing)));
    let now = start + LINK_REORDERED;
    let mut asks = sealed(|slot| incoming.say(now, slot));
    assert_eq!(outgoing.receive(now, &mut asks), Ok(Asked::Again(vec![1])));
    let mut again = sealed(|slot| outgoing.again(1, &large, slot));
    let Ok(Got::Media(got)) = incoming.receive(now, &mut again) else { panic!("both are there") };
    assert_eq!(got.payload, &large.payload[..]);
    assert_eq!(incoming.figures().repaired, 1);
}

#[test]
fn the_first_word_of_a_link_says_what_there_is_and_is_said_until_the_other_end_is_heard() {
    let start = Instant::now();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"the secret");
    let (edge, origin) = (Exchange::new(), Exchange::new());
    let (to_origin, to_edge) = (edge.public, origin.public);
    let sends = origin.outgoing(&to_origin, &secret, b"s").expect("a key");
    let takes = edge.incoming(&to_edge, &secret, b"s").expect("a key");
    let had = Had { publication: 7, back: 3, layers: Vec::new() };
    let (peer, other) = (Peer { shard: 2, link: 9 }, Peer { shard: 1, link: 7 });
    let mut incoming = Incoming::new(start, HERE, peer, &takes, Some(had.clone()));
    let mut outgoing = Outgoing::new(start, THERE, other, &sends);
    // A viewer's wish waits: a link begins with the first thing that is heard.
    incoming.want_keyframe(TrackId::first(TrackKind::Video), 0);
    for word in 0..3 {
        let now = start + LINK_FIRST_WORD * word;
        assert!(incoming.has_to_say(now));
        let mut first = sealed(|slot| incoming.say(now, slot));
        let begins = Ok(Asked::Begins(Some(had.clone())));
        assert_eq!(outgoing.receive(now, &mut first), begins);
        assert!(!incoming.has_to_say(now));
    }
    outgoing.begin(start, 0);
    let path = Path::new([3, 4]);
    let lineage = Lineage { publisher: 1, publication: 7, path, leaves: false };
    assert!(outgoing.is_news(&lineage));
    let mut said = sealed(|slot| outgoing.lineage(&lineage, slot));
    assert!(!outgoing.is_news(&lineage));
    assert!(outgoing.is_news(&Lineage { leaves: true, ..lineage }));
    let got = incoming.receive(start, &mut said);
    assert!(matches!(got, Ok(Got::Lineage(got)) if got == lineage), "{got:?}");
    let mut wish = sealed(|slot| incoming.say(start, slot));
    let asked = outgoing.receive(start, &mut wish);
    assert_eq!(asked, Ok(Asked::Keyframe(TrackId::first(TrackKind::Video), 0)));
}
