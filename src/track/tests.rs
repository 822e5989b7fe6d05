//! Whole streams: who publishes, who is asked, who gets what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::tcp_tests::Pipe;
use super::*;
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind, Via};
use crate::limits::{KEYFRAME_ANSWER, KEYFRAME_INTERVAL, KEYFRAME_RETRY};
use crate::media::{ExtensionIds, HeaderExtensions, MediaPacket, Origin};
use crate::media::{ViewerTerms, ViewerTrack};
use crate::net::{Backlog, Destination, Way};
use crate::srtp::{MasterKey, Profile, RtpOpener};
use crate::telemetry::ShardCounters;

pub(super) const VIDEO: TrackId = TrackId::first(TrackKind::Video);
pub(super) const KEY: StreamKey = StreamKey { index: 3, generation: 1 };
pub(super) const TRACK: TrackKey = TrackKey { stream: KEY, id: VIDEO };

/// What leaves: sequence numbers and timestamps, which are not encrypted, and all of it; some of it
/// through a TCP connection.
#[derive(Default)]
pub(super) struct Left(Vec<(u16, u32)>, pub(super) Vec<Vec<u8>>, pub(super) Option<Pipe>);

impl Way for Left {
    fn push(
        &mut self,
        to: Destination,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        let mut datagram = [0; 1_500];
        let length = write(&mut datagram)?;
        if let (Via::Tcp(_), Some(pipe)) = (to.via, &mut self.2) {
            pipe.push(length);
        }
        self.1.push(datagram[..length].to_vec());
        let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
        let timestamp = u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]);
        self.0.push((sequence, timestamp));
        Ok(())
    }

    fn backlog(&self, to: Destination) -> Option<Backlog> {
        let pipe = self.2.as_ref().filter(|_| matches!(to.via, Via::Tcp(_)));
        pipe.map(Pipe::backlog)
    }
}

fn master() -> MasterKey {
    let profile = Profile::AeadAes128Gcm;
    let (key, salt) = (vec![1; profile.key_len()], vec![9; profile.salt_len()]);
    MasterKey::new(profile, &key, &salt).expect("lengths of the profile")
}

/// A datagram's payload in the clear, without padding. No viewer here has so many that their
/// numbers wrap.
pub(super) fn payload(datagram: &[u8]) -> Vec<u8> {
    let opener = RtpOpener::new(Profile::AeadAes128Gcm, &master());
    let mut plain = datagram.to_vec();
    let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().expect("a header"));
    let (ssrc, index) = (word(8), u64::from(word(0) & 0xffff));
    let has_elements = datagram[0] & 0x10 != 0;
    let start = if has_elements { 16 + 4 * (word(12) & 0xffff) as usize } else { 12 };
    let length = opener.open(&mut plain, start, ssrc, index).expect("it opens");
    let padding = if plain[0] & 0x20 != 0 { usize::from(plain[length - 1]) } else { 0 };
    plain[start..length - padding].to_vec()
}

/// The streams of one shard and what they have said.
pub(super) struct Shard {
    pub(super) streams: Streams,
    pub(super) sent: Left,
    pub(super) counters: ShardCounters,
    started: Vec<u32>,
    /// Key frames that were asked for.
    pub(super) asked: usize,
}

impl Shard {
    pub(super) fn new(index: u16) -> Shard {
        Shard {
            streams: Streams::new(index, Duration::ZERO, true),
            sent: Left::default(),
            counters: ShardCounters::default(),
            started: Vec::new(),
            asked: 0,
        }
    }

    /// What is asked for, and when there is more to do, in a turn at `now`.
    pub(super) fn turn(&mut self, now: Instant) -> (Vec<Ask>, Option<Instant>) {
        let mut needed = Vec::new();
        self.streams.keyframes_due(now, &mut needed);
        self.asked += needed.len();
        let Shard { streams, sent, counters, started, .. } = self;
        let next = streams.deliver(now, sent, counters, started, &mut Vec::new());
        if let Some(pipe) = &mut sent.2 {
            pipe.flush(now);
        }
        (needed.into_iter().map(|needed| needed.ask).collect(), next)
    }

    fn watch(&mut self, shared: &Arc<StreamShared>, slot: u32) -> usize {
        self.watch_at(Instant::now(), shared, slot)
    }

    pub(super) fn watch_at(
        &mut self,
        now: Instant,
        shared: &Arc<StreamShared>,
        slot: u32,
    ) -> usize {
        self.watch_as(now, shared, slot, track(slot))
    }

    /// As a viewer with these terms.
    pub(super) fn watch_as(
        &mut self,
        now: Instant,
        shared: &Arc<StreamShared>,
        slot: u32,
        track: ViewerTrack,
    ) -> usize {
        self.watch_by(now, shared, (slot, Via::Udp(0)), vec![track])
    }

    /// The same, by another way.
    pub(super) fn watch_by(
        &mut self,
        now: Instant,
        shared: &Arc<StreamShared>,
        (slot, via): (u32, Via),
        tracks: Vec<ViewerTrack>,
    ) -> usize {
        self.streams.join(shared);
        let terms = ViewerTerms { tracks };
        let egress = Egress::new(&terms, Profile::AeadAes128Gcm, &master(), 7);
        let remote = "127.0.0.1:9".parse().expect("an address");
        let local = std::net::Ipv4Addr::LOCALHOST.into();
        let to = Destination { remote, local, via, trains: false };
        self.streams.add_viewer(now, KEY, slot, egress, to).expect("the stream is there")
    }
}

/// A viewer's track without RTX and extensions.
pub(super) fn track(ssrc: u32) -> ViewerTrack {
    ViewerTrack {
        id: VIDEO,
        codec: Codec::Vp8,
        mid: "0".into(),
        ssrc,
        rtx_ssrc: None,
        payload_type: 96,
        rtx_payload_type: None,
        red_payload_type: None,
        extensions: ExtensionIds::default(),
    }
}

pub(super) fn shared() -> Arc<StreamShared> {
    Arc::new(StreamShared::new(KEY))
}

pub(super) fn packet(publisher: u32, sequence: u64, keyframe: bool) -> MediaPacket {
    MediaPacket {
        track: TRACK,
        codec: Codec::Vp8,
        layer: 0,
        origin: Origin { publisher, source: 0 },
        sequence,
        timestamp: sequence as u32 * 3_000,
        marker: true,
        keyframe,
        extensions: HeaderExtensions::default(),
        padding: 0,
        received: Instant::now(),
        payload: vec![0; 10].into(),
    }
}

fn publish(shard: &mut Shard, packet: MediaPacket) -> Result<Published, DropReason> {
    shard.streams.publish(packet, |_, _| panic!("there is no other shard"))
}

#[test]
fn a_stream_without_a_publisher_here_plays_from_a_relay() {
    let (shared, now) = (shared(), Instant::now());
    let mut shard = Shard::new(0);
    let source = Source::Relay(4);
    shard.watch(&shared, 1);
    assert_eq!(shard.turn(now), (vec![], None), "nobody can be asked");
    shard.streams.join(&shared);
    let number = shard.streams.connected(KEY, source, [VIDEO].into_iter());
    let number = number.expect("there is no other publisher");
    assert_eq!(shard.turn(now).0, [Ask::Source(source)]);
    assert_eq!(publish(&mut shard, packet(number, 70_000, true)), Ok(Published::Here));
    shard.turn(now);
    assert_eq!((shard.sent.0.len(), &*shard.started), (1, &[1][..]));
    shard.streams.leave(KEY, source);
    assert_eq!(shared.publisher(), None);
    shard.streams.want_keyframe(TRACK, None);
    assert_eq!(shard.turn(now + KEYFRAME_RETRY), (vec![], None), "nor after it has left");
}

#[test]
fn a_key_frame_is_asked_for_until_it_comes_and_by_nobody_once_there_is_no_publisher() {
    let (shared, start) = (shared(), Instant::now());
    let mut shard = Shard::new(0);
    let source = Source::Session(9);
    shard.streams.join(&shared);
    let number = shard.streams.connected(KEY, source, [VIDEO].into_iter()).expect("the first");
    assert_eq!(shard.turn(start), (vec![], None), "nobody waits");
    shard.watch(&shared, 1);
    let mut asked = 0;
    let mut now = start;
    while now < start + Duration::from_secs(10) {
        let (asks, next) = shard.turn(now);
        asked += asks.len();
        let next = next.expect("it is asked again");
        assert!(next > now, "a turn in the past would be a turn at once, for ever");
        now = next;
    }
    assert!((5..8).contains(&asked), "asked {asked} times");
    let keyframe = MediaPacket { received: now, ..packet(number, 1, true) };
    publish(&mut shard, keyframe).expect("it is taken");
    assert_eq!(shard.turn(now), (vec![], None), "it has come");
    shard.streams.want_keyframe(TRACK, Some(0));
    assert!(shard.turn(now).1.is_some());
    shard.streams.leave(KEY, source);
    assert_eq!(shard.turn(now + KEYFRAME_INTERVAL), (vec![], None), "nobody can be asked");
    shard.streams.join(&shared);
    shard.streams.connected(KEY, Source::Session(10), [VIDEO].into_iter()).expect("the next");
    assert_eq!(shard.turn(now + KEYFRAME_INTERVAL).0, [Ask::Source(Source::Session(10))]);
}

#[test]
fn a_newcomer_takes_over_with_its_first_media_and_not_before() {
    let (shared, now) = (shared(), Instant::now());
    let mut shard = Shard::new(0);
    shard.watch(&shared, 1);
    for slot in [8, 9] {
        shard.streams.join(&shared);
        shard.streams.connected(KEY, Source::Session(slot), [VIDEO].into_iter());
    }
    assert_eq!(publish(&mut shard, packet(1, 1, true)), Ok(Published::Here));
    assert_eq!(publish(&mut shard, packet(1, 2, false)), Ok(Published::Here));
    shard.turn(now + KEYFRAME_INTERVAL);
    let second = shard.streams.take_over(KEY, Source::Session(9), [VIDEO].into_iter());
    assert_eq!(publish(&mut shard, packet(second.unwrap(), 900, true)), Ok(Published::Here));
    assert_eq!(publish(&mut shard, packet(1, 3, false)), Err(DropReason::StaleMedia));
    shard.turn(now + KEYFRAME_INTERVAL);
    assert_eq!(shard.sent.0.len(), 3);
    shard.streams.leave(KEY, Source::Session(8));
    assert_eq!(shared.publisher(), Some(0), "the one that was replaced takes nothing along");
}

#[test]
fn a_shard_whose_publisher_is_elsewhere_asks_there_and_again() {
    let (shared, now) = (shared(), Instant::now());
    let (mut here, mut there) = (Shard::new(1), Shard::new(0));
    there.streams.join(&shared);
    let number = there.streams.connected(KEY, Source::Session(2), [VIDEO].into_iter()).unwrap();
    here.watch(&shared, 1);
    assert_eq!(here.turn(now).0, [Ask::Shard(0)]);
    assert_eq!(here.turn(now + KEYFRAME_ANSWER).0, [Ask::Shard(0)], "the mail was lost");
    let mut copies = Vec::new();
    let published = there.streams.publish(packet(number, 1, true), |shard, packet| {
        copies.push((shard, packet.copy_for_other_shard()));
    });
    assert_eq!(published, Ok(Published::Elsewhere));
    let (shard, copy) = copies.remove(0);
    assert_eq!((shard, here.streams.receive(copy)), (1, Ok(())));
    assert_eq!(here.turn(now + KEYFRAME_RETRY), (vec![], None));
    assert_eq!(here.sent.0.len(), 1);
    assert_eq!(here.streams.remove_viewer(KEY, 0), None);
    let nobody = there.streams.publish(packet(number, 2, false), |_, _| panic!("nobody watches"));
    assert_eq!(nobody, Err(DropReason::NoViewers));
}

/// A shard with a publisher that has sent `count` packets, 10 ms and 1,000 B each, of which the
/// first is a key frame; nobody has watched.
fn published(
    start: Instant,
    count: u64,
) -> (Arc<StreamShared>, Shard, impl Fn(u64) -> MediaPacket) {
    let (shared, mut shard) = (shared(), Shard::new(0));
    shard.streams.join(&shared);
    let number = shard.streams.connected(KEY, Source::Session(1), [VIDEO].into_iter()).unwrap();
    let made = move |sequence: u64| MediaPacket {
        received: start + Duration::from_millis(10 * sequence),
        timestamp: sequence as u32 * 900,
        payload: vec![0; 1_000].into(),
        ..packet(number, sequence, sequence == 0)
    };
    for sequence in 0..count {
        assert_eq!(publish(&mut shard, made(sequence)), Err(DropReason::NoViewers));
    }
    (shared, shard, made)
}

#[test]
fn who_comes_late_is_sent_everything_since_the_key_frame_and_then_what_comes() {
    let start = Instant::now();
    let (shared, mut shard, made) = published(start, 300);
    let mut now = start + Duration::from_secs(3);
    shard.watch_at(now, &shared, 7);
    let mut next = 300;
    while shard.sent.0.len() < 400 {
        assert_eq!(publish(&mut shard, made(next)), Ok(Published::Here));
        next += 1;
        for _ in 0..2 {
            now += Duration::from_millis(5);
            let before = shard.sent.0.len();
            assert_eq!(shard.turn(now).0, [], "nobody need be asked");
            let sent = shard.sent.0.len() - before;
            assert!(sent <= 14, "{sent} packets of 1 KB in two ticks are not 10 Mb/s");
        }
    }
    assert!(next < 500, "it has caught up: {next}");
    assert_eq!(&*shard.started, [7]);
    let first = shard.sent.0[0];
    for (number, (sequence, timestamp)) in (0u32..).zip(&shard.sent.0) {
        assert_eq!(sequence.wrapping_sub(first.0), number as u16, "in order, and each once");
        // 2.99 s of the past are 93 ms to the viewer; from then on time is as it was.
        let since = timestamp.wrapping_sub(first.1);
        let squeezed = 299 * 900 / 32 + number.saturating_sub(299) * 900;
        let expected = if number < 299 { number * 900 / 32 } else { squeezed };
        assert!(since.abs_diff(expected) <= 1, "{number}: {since}, not {expected}");
    }
}

#[test]
fn what_comes_late_in_the_past_is_sent_when_it_comes() {
    let start = Instant::now();
    let (shared, mut shard, made) = published(start, 0);
    for sequence in (0..300).filter(|sequence| *sequence != 295) {
        assert!(publish(&mut shard, made(sequence)).is_err());
    }
    let mut now = start + Duration::from_millis(3_000);
    shard.watch_at(now, &shared, 7);
    for _ in 0..400 {
        now += Duration::from_millis(5);
        shard.turn(now);
    }
    assert_eq!(shard.sent.0.len(), 299);
    publish(&mut shard, made(295)).expect("it is repaired");
    shard.turn(now);
    let behind = shard.sent.0[298].0.wrapping_sub(shard.sent.0[299].0);
    assert_eq!(behind, 4, "under the number that was left for it");
}

#[test]
fn a_past_that_is_old_long_or_has_a_hole_is_not_begun_with() {
    let start = Instant::now();
    let asks = |shard: &mut Shard, shared: &Arc<StreamShared>, now: Instant| {
        shard.watch_at(now, shared, 7);
        shard.turn(now).0
    };
    let source = [Ask::Source(Source::Session(1))];
    let (shared, mut shard, _) = published(start, 300);
    assert_eq!(asks(&mut shard, &shared, start + Duration::from_secs(11)), source, "too old");
    let (shared, mut shard, _) = published(start, 1_100);
    assert_eq!(asks(&mut shard, &shared, start + Duration::from_secs(11)), source, "too long");
    let (shared, mut shard, made) = published(start, 0);
    for sequence in (0..300).filter(|sequence| *sequence != 100) {
        assert!(publish(&mut shard, made(sequence)).is_err());
    }
    assert_eq!(asks(&mut shard, &shared, start + Duration::from_secs(3)), source, "a hole");
}

#[test]
fn who_comes_while_a_key_frame_waits_for_the_rest_of_its_frame_begins_with_it() {
    let start = Instant::now();
    let (shared, mut shard, made) = published(start, 300);
    let now = start + Duration::from_secs(3);
    // Somebody watches, so that what comes waits for the end of the turn.
    shard.watch_at(now, &shared, 6);
    while shard.turn(now).1.is_some() && shard.sent.0.len() < 300 {
        let packets = shard.sent.0.len();
        let later = now + Duration::from_millis(5 * packets as u64 + 5);
        shard.turn(later);
    }
    for sequence in 300..303 {
        let keyframe = sequence == 300;
        let packet = MediaPacket { keyframe, ..made(sequence) };
        publish(&mut shard, packet).expect("it is taken");
    }
    shard.watch_at(now, &shared, 7);
    shard.sent.0.clear();
    assert_eq!(shard.turn(now + Duration::from_secs(9)).0, []);
    assert_eq!(shard.sent.0.len(), 6, "three to each, from the first of them on");
}

#[test]
fn what_a_publisher_sent_that_has_left_is_not_begun_with() {
    let start = Instant::now();
    let (shared, mut shard, _) = published(start, 300);
    shard.streams.leave(KEY, Source::Session(1));
    shard.streams.join(&shared);
    shard.streams.connected(KEY, Source::Session(2), [VIDEO].into_iter()).expect("the next");
    shard.watch_at(start + Duration::from_secs(3), &shared, 7);
    assert_eq!(shard.turn(start + Duration::from_secs(3)).0, [Ask::Source(Source::Session(2))]);
    assert_eq!(shard.sent.0, []);
}

#[test]
fn who_leaves_before_it_has_caught_up_leaves_the_others_to_go_on() {
    let start = Instant::now();
    let (shared, mut shard, _) = published(start, 300);
    let mut now = start + Duration::from_secs(3);
    for slot in 0..3 {
        shard.watch_at(now, &shared, slot);
    }
    now += Duration::from_millis(5);
    shard.turn(now);
    assert_eq!(shard.streams.remove_viewer(KEY, 0), Some(2), "the last has its place");
    shard.sent.0.clear();
    let mut turns = 0;
    while let (_, Some(next)) = shard.turn(now) {
        now = next.max(now + Duration::from_millis(1));
        turns += 1;
        assert!(turns < 1_000, "it ends");
    }
    assert!(shard.sent.0.len() > 550, "{} packets to two", shard.sent.0.len());
}

#[test]
fn who_has_waited_for_a_key_frame_is_sent_it_at_the_time_it_has() {
    let start = Instant::now();
    let (shared, mut shard) = (shared(), Shard::new(0));
    shard.watch_at(start, &shared, 7);
    shard.streams.join(&shared);
    let number = shard.streams.connected(KEY, Source::Session(1), [VIDEO].into_iter()).unwrap();
    // All of it comes within one turn.
    for sequence in 0..4 {
        let packet = MediaPacket { received: start, ..packet(number, sequence, sequence == 0) };
        publish(&mut shard, packet).expect("it is taken");
    }
    shard.turn(start);
    let times: Vec<u32> = shard.sent.0.iter().map(|(_, timestamp)| *timestamp).collect();
    let since: Vec<u32> = times.iter().map(|time| time.wrapping_sub(times[0])).collect();
    assert_eq!(since, [0, 3_000, 6_000, 9_000]);
}
