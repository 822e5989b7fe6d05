//! Viewers of one encoding with spatial layers get smaller pictures of it: what they are sent can
//! be decoded, and nothing of it is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use str0m::format::Codec;

use super::tests::{KEY, Shard, TRACK, VIDEO, payload, shared, track};
use super::*;
use crate::media::{HeaderExtensions, MediaPacket, Origin, PictureSize, ViewerTrack};

const MS: fn(u64) -> Duration = Duration::from_millis;
const SPATIAL: u8 = 3;
/// Of modes with an `h`.
const SIZES: [PictureSize; 3] = [
    PictureSize { width: 426, height: 240 },
    PictureSize { width: 640, height: 360 },
    PictureSize { width: 960, height: 540 },
];
/// Of four pictures, as libvpx makes them of three temporal layers.
const TEMPORAL: [u8; 4] = [0, 2, 1, 2];

/// What one packet that was sent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    timestamp: u32,
    picture: u16,
    spatial: u8,
    temporal: u8,
    key: bool,
    marker: bool,
}

/// A publisher of VP9 with three spatial and three temporal layers, of which each picture needs
/// the last one of its own size, and the smaller one of the same time.
struct Studio {
    now: Instant,
    shared: Arc<StreamShared>,
    shard: Shard,
    sequence: u64,
    picture: u16,
    time: u32,
    place: usize,
    wants_keyframe: bool,
    sent: BTreeMap<u16, Packet>,
}

impl Studio {
    fn new() -> (Studio, usize) {
        let now = Instant::now();
        let (shared, mut shard) = (shared(), Shard::new(0));
        shard.streams.join(&shared);
        shard.streams.connected(KEY, Source::Session(1), [VIDEO].into_iter()).expect("the first");
        let (sequence, picture, time, place) = (100, 0x7ff0, 77, 0);
        let (wants_keyframe, sent) = (true, BTreeMap::new());
        let mut camera =
            Studio { now, shared, shard, sequence, picture, time, place, wants_keyframe, sent };
        camera.pictures(120);
        let terms = ViewerTrack { codec: Codec::Vp9, ..track(7) };
        let viewer = camera.shard.watch_as(camera.now, &camera.shared, 7, terms);
        camera.wants_keyframe = true;
        camera.pictures(8);
        assert_eq!(camera.has(viewer), Some(0), "all of it");
        (camera, viewer)
    }

    fn pictures(&mut self, count: usize) {
        for _ in 0..count {
            let key = std::mem::take(&mut self.wants_keyframe);
            self.place = if key { 0 } else { self.place };
            let temporal = TEMPORAL[self.place % TEMPORAL.len()];
            (self.place, self.picture) = (self.place + 1, self.picture.wrapping_add(1) & 0x7fff);
            self.time += 2_970;
            for spatial in 0..SPATIAL {
                self.frame(spatial, temporal, key);
                // A shard may turn between the sizes of a picture.
                self.turn(MS(1));
            }
            self.turn(MS(30));
        }
    }

    /// As many packets as the picture is large.
    fn frame(&mut self, spatial: u8, temporal: u8, key: bool) {
        for index in 0..=spatial {
            self.sequence += 1;
            let (first, last) = (index == 0, index == spatial);
            let bit = |is: bool, bit: u8| if is { bit } else { 0 };
            let flags = 0xb0 | bit(!key, 0x40) | bit(first, 0x08) | bit(last, 0x04);
            let [high, low] = (self.picture | 0x8000).to_be_bytes();
            let up = bit(temporal > 0, 0x10);
            let indices = temporal << 5 | up | spatial << 1 | u8::from(spatial > 0);
            let mut payload = vec![flags, high, low, indices];
            payload.extend((!key).then_some(2));
            if key && first && spatial == 0 {
                payload[0] |= 0x02;
                payload.push(0x58);
                let sides = SIZES[..].iter().flat_map(|size| [size.width, size.height]);
                payload.extend(sides.flat_map(u16::to_be_bytes));
            }
            payload.resize(300, 0x55);
            let packet: MediaPacket = MediaPacket {
                track: TRACK,
                codec: Codec::Vp9,
                layer: 0,
                origin: Origin { publisher: 1, source: 0 },
                sequence: self.sequence,
                timestamp: self.time,
                marker: last && spatial + 1 == SPATIAL,
                keyframe: key && first && spatial == 0,
                extensions: HeaderExtensions::default(),
                padding: 0,
                received: self.now,
                payload: payload.into(),
            };
            let _ = self.shard.streams.publish(packet, |_, _| panic!("there is one shard"));
            while self.shard.streams.changed().is_some() {}
        }
    }

    fn turn(&mut self, after: Duration) {
        self.now += after;
        self.shard.turn(self.now);
        for datagram in std::mem::take(&mut self.shard.sent.1) {
            let (number, packet) = read(&datagram);
            assert_eq!(self.sent.insert(number, packet), None, "{number} was sent twice");
        }
    }

    fn wish(&mut self, viewer: usize, limit: Option<u8>) {
        let number = limit.map_or(0, |limit| point(0, limit).expect("there is one"));
        self.shard.streams.wish(self.now, (KEY, viewer), 0, Wish::Layer(number));
    }

    fn has(&self, viewer: usize) -> Option<u8> {
        self.shard.streams.get(KEY)?.viewer(viewer)?.egress.lanes()[0].layer()
    }

    /// The largest picture of the last ones that were sent.
    fn largest(&self) -> u8 {
        self.sent.values().rev().take(12).map(|packet| packet.spatial).max().expect("some")
    }
}

fn read(datagram: &[u8]) -> (u16, Packet) {
    let payload = payload(datagram);
    let number = u16::from_be_bytes([datagram[2], datagram[3]]);
    let timestamp = u32::from_be_bytes(datagram[4..8].try_into().expect("four"));
    let picture = u16::from_be_bytes([payload[1] & 0x7f, payload[2]]);
    let (spatial, temporal) = (payload[3] >> 1 & 7, payload[3] >> 5);
    let (key, marker) = (payload[0] & 0x40 == 0, datagram[1] & 0x80 != 0);
    (number, Packet { timestamp, picture, spatial, temporal, key, marker })
}

/// What was sent, as a decoder takes it: no number is missing, each picture has all sizes up to its
/// largest, which ends with the marker, and one becomes larger at a key frame only.
fn decode(sent: &BTreeMap<u16, Packet>) -> Result<(), String> {
    let (first, last) = (sent.keys().next().expect("some"), sent.keys().last().expect("some"));
    if usize::from(last - first) + 1 != sent.len() {
        return Err("numbers are missing".into());
    }
    let packets: Vec<Packet> = sent.values().copied().collect();
    let mut before: Option<(Packet, u8)> = None;
    for picture in packets.chunk_by(|one, next| one.timestamp == next.timestamp) {
        let (start, end) = (picture[0], picture[picture.len() - 1]);
        let sizes: Vec<u8> = picture.iter().map(|packet| packet.spatial).collect();
        let whole: Vec<u8> =
            (0..=end.spatial).flat_map(|spatial| vec![spatial; 1 + usize::from(spatial)]).collect();
        let markers = picture.iter().filter(|packet| packet.marker).count();
        if sizes != whole || markers != 1 || !end.marker {
            return Err(format!("{picture:?} is no picture"));
        }
        if let Some((last, size)) = before {
            let is_later = start.timestamp.wrapping_sub(last.timestamp).cast_signed() > 0;
            if !is_later || end.spatial > size && !start.key {
                return Err(format!("{picture:?} behind {last:?}"));
            }
        }
        before = Some((end, end.spatial));
    }
    Ok(())
}

#[test]
fn a_viewer_gets_smaller_pictures_at_once_and_larger_ones_at_a_key_frame() {
    let (mut scene, viewer) = Studio::new();
    for (limit, size) in [(Some(2), 0), (None, 2), (Some(3), 1), (Some(2), 0), (Some(3), 1)] {
        let is_up = size > scene.largest();
        scene.wish(viewer, limit);
        scene.pictures(20);
        assert_eq!(scene.largest() == size, !is_up, "{limit:?}");
        scene.wants_keyframe = is_up;
        scene.pictures(20);
        assert_eq!(scene.largest(), size, "{limit:?}");
    }
    scene.wish(viewer, Some(2));
    scene.pictures(20);
    let asked = scene.shard.asked;
    scene.pictures(20);
    assert_eq!(scene.shard.asked, asked, "it has what it wants");
    scene.wish(viewer, None);
    scene.pictures(4);
    assert!(scene.shard.asked > asked, "nothing else leads there");
    decode(&scene.sent).expect("it can be decoded");
}

#[test]
fn pictures_are_offered_by_size_and_the_smallest_with_fewer_frames() {
    let (scene, _) = Studio::new();
    let offered = |offers: &[Offered]| -> Vec<(u8, String)> {
        offers.iter().map(|offer| (offer.layer, offer.called())).collect()
    };
    let pictures = scene.shared.pictures(VIDEO);
    let of = |limit: u8| point(0, limit).expect("there is one");
    let all = [(of(2), "S0".to_owned()), (of(3), "S1".to_owned()), (0, "S2".to_owned())];
    assert_eq!(offered(&pictures), all);
    let sizes = |offers: &[Offered]| offers.iter().map(|offer| offer.size).collect::<Vec<_>>();
    assert_eq!(sizes(&pictures), SIZES.map(Some), "as the publisher says");
    let points = scene.shared.points(VIDEO);
    let numbers: Vec<u8> = points.iter().map(|offer| offer.layer).collect();
    assert_eq!(numbers, [of(0), of(1), of(2), of(3), 0]);
    assert_eq!(sizes(&points)[..3], [Some(SIZES[0]); 3], "fewer frames are of the smallest");
    assert!(points.windows(2).all(|pair| pair[0].bits_per_s < pair[1].bits_per_s), "{points:?}");
    let places = numbers.iter().map(|number| picture_in(&pictures, *number).expect("one"));
    assert_eq!(places.collect::<Vec<_>>(), [0, 0, 0, 1, 2]);
    let place = |bounds: Bounds| points[bounds.enough(&points)].layer;
    assert_eq!(place(Bounds { place: Some(1), ..Bounds::default() }), of(3));
    assert_eq!(place(Bounds { height: Some(300), ..Bounds::default() }), of(3), "halves are less");
    assert_eq!(
        place(Bounds { temporal: Some(0), ..Bounds::default() }),
        0,
        "frames are its choice"
    );
    let small = Bounds { place: Some(0), temporal: Some(1), ..Bounds::default() };
    assert_eq!(place(small), of(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_a_viewer_is_given_it_can_decode(
        steps in prop::collection::vec((0u8..5, 1usize..20, any::<bool>()), 4..30),
    ) {
        let (mut scene, viewer) = Studio::new();
        for (limit, pictures, key) in steps {
            scene.wish(viewer, Some(limit).filter(|limit| *limit < 4));
            scene.wants_keyframe |= key;
            scene.pictures(pictures);
        }
        let decoded = decode(&scene.sent);
        prop_assert!(decoded.is_ok(), "{decoded:?}");
    }
}
