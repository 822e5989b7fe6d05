//! Whole streams: who publishes, who is asked, who gets what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::*;
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind, Via};
use crate::limits::{KEYFRAME_INTERVAL, KEYFRAME_RETRY};
use crate::media::{ExtensionIds, HeaderExtensions, MediaPacket, Origin};
use crate::media::{ViewerTerms, ViewerTrack};
use crate::net::{Destination, Way};
use crate::srtp::{MasterKey, Profile};
use crate::telemetry::ShardCounters;

const VIDEO: TrackId = TrackId::first(TrackKind::Video);
const KEY: StreamKey = StreamKey { index: 3, generation: 1 };
const TRACK: TrackKey = TrackKey { stream: KEY, id: VIDEO };

/// Counts what leaves.
#[derive(Default)]
struct Counted(usize);

impl Way for Counted {
    fn push(
        &mut self,
        _to: Destination,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        write(&mut [0; 1_500])?;
        self.0 += 1;
        Ok(())
    }
}

/// The streams of one shard and what they have said.
struct Shard {
    streams: Streams,
    sent: Counted,
    counters: ShardCounters,
    started: Vec<u32>,
}

impl Shard {
    fn new(index: u16) -> Shard {
        Shard {
            streams: Streams::new(index, Duration::ZERO),
            sent: Counted::default(),
            counters: ShardCounters::default(),
            started: Vec::new(),
        }
    }

    /// What is asked for, and when there is more to do, in a turn at `now`.
    fn turn(&mut self, now: Instant) -> (Vec<Ask>, Option<Instant>) {
        let mut needed = Vec::new();
        self.streams.keyframes_due(now, &mut needed);
        let Shard { streams, sent, counters, started } = self;
        let next = streams.deliver(now, sent, counters, started, &mut Vec::new());
        (needed.into_iter().map(|needed| needed.ask).collect(), next)
    }

    fn watch(&mut self, shared: &Arc<StreamShared>, slot: u32) -> usize {
        self.streams.join(shared);
        let profile = Profile::AeadAes128Gcm;
        let (key, salt) = (vec![1; profile.key_len()], vec![9; profile.salt_len()]);
        let master = MasterKey::new(profile, &key, &salt).expect("lengths of the profile");
        let tracks = vec![ViewerTrack {
            id: VIDEO,
            codec: Codec::Vp8,
            mid: "0".into(),
            ssrc: slot,
            rtx_ssrc: None,
            payload_type: 96,
            rtx_payload_type: None,
            extensions: ExtensionIds::default(),
        }];
        let egress = Egress::new(&ViewerTerms { tracks }, profile, &master, 7);
        let remote = "127.0.0.1:9".parse().expect("an address");
        let local = std::net::Ipv4Addr::LOCALHOST.into();
        let to = Destination { remote, local, via: Via::Udp(0), trains: false };
        self.streams.add_viewer(KEY, slot, egress, to).expect("the stream is there")
    }
}

fn shared() -> Arc<StreamShared> {
    Arc::new(StreamShared::new(KEY))
}

fn packet(publisher: u32, sequence: u64, keyframe: bool) -> MediaPacket {
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
    assert_eq!((shard.sent.0, &*shard.started), (1, &[1][..]));
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
    publish(&mut shard, packet(number, 1, true)).expect("it is taken");
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
    let second = shard.streams.take_over(KEY, Source::Session(9), [VIDEO].into_iter());
    assert_eq!(publish(&mut shard, packet(second.unwrap(), 900, true)), Ok(Published::Here));
    assert_eq!(publish(&mut shard, packet(1, 3, false)), Err(DropReason::StaleMedia));
    shard.turn(now);
    assert_eq!(shard.sent.0, 3);
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
    assert_eq!(here.turn(now + KEYFRAME_INTERVAL).0, [Ask::Shard(0)], "the mail was lost");
    let mut copies = Vec::new();
    let published = there.streams.publish(packet(number, 1, true), |shard, packet| {
        copies.push((shard, packet.copy_for_other_shard()));
    });
    assert_eq!(published, Ok(Published::Elsewhere));
    let (shard, copy) = copies.remove(0);
    assert_eq!((shard, here.streams.receive(copy)), (1, Ok(())));
    assert_eq!(here.turn(now + KEYFRAME_RETRY), (vec![], None));
    assert_eq!(here.sent.0, 1);
    assert_eq!(here.streams.remove_viewer(KEY, 0), None);
    let nobody = there.streams.publish(packet(number, 2, false), |_, _| panic!("nobody watches"));
    assert_eq!(nobody, Err(DropReason::NoViewers));
}
