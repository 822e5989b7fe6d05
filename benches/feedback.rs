//! What it costs to hear of a viewer when its packets came, and to think about its path: one
//! datagram of transport-wide feedback, in the clear, on what was sent in a sixteenth of a second.
//!
//! The viewers take turns, so that with many of them each is found out of the cache, as in a
//! server. Sending is not timed. Noise: compare the lower bounds of runs on the same quiet machine.
//!
//! ```text
//! cargo bench --bench feedback
//! ```

#![expect(missing_docs, reason = "criterion's macro writes a function without")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use monoport::egress::{Egress, Feedback, KnownBy, Reception};
use monoport::id::{StreamKey, TrackId, TrackKey, TrackKind};
use monoport::media::{
    ExtensionIds, HeaderExtensions, MediaPacket, Origin, ViewerTerms, ViewerTrack,
};
use monoport::srtp::{MasterKey, Profile};
use monoport::wire::rtcp::TransportReport;
use str0m::format::Codec;

const VIEWERS: [usize; 3] = [1, 1_000, 5_000];

/// Two frames of eight packets: 2.4 Mb/s at 30 frames a second.
const FRAMES: u64 = 2;
const PACKETS: u64 = 8;
const FRAME: Duration = Duration::from_millis(33);
const BYTES: usize = 1_200;

/// Of a packet's way, in ticks of 250 us.
const WAY: u32 = 80;

struct Viewer {
    egress: Egress,
    reception: Reception,
    ssrc: u32,
    /// The number of its next packet, once one was sent.
    number: u16,
}

fn viewer(number: u32, now: Instant) -> Viewer {
    let ssrc = number * 2;
    let extensions = ExtensionIds { transport_sequence: Some(3), ..ExtensionIds::default() };
    let track = ViewerTrack {
        id: TrackId::first(TrackKind::Video),
        codec: Codec::Vp8,
        mid: "0".into(),
        ssrc,
        rtx_ssrc: Some(ssrc + 1),
        payload_type: 96,
        rtx_payload_type: Some(97),
        red_payload_type: None,
        extensions,
    };
    let profile = Profile::AeadAes128Gcm;
    let (key, salt) = (vec![7; profile.key_len()], vec![9; profile.salt_len()]);
    let master = MasterKey::new(profile, &key, &salt).expect("lengths of the profile");
    let terms = ViewerTerms { tracks: vec![track] };
    let mut egress = Egress::new(&terms, profile, &master, u64::from(number));
    egress.know_by(now, KnownBy::Numbers);
    // The first number is the source's.
    Viewer { egress, reception: Reception::new(1), ssrc, number: ssrc as u16 }
}

impl Viewer {
    /// Sends it the frames that begin with the packet `sequence`, at `now` and after, and returns
    /// what it says of them.
    fn send(&mut self, start: Instant, now: Instant, sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut ticks = Vec::new();
        for frame in 0..FRAMES {
            let at = now + FRAME * frame as u32;
            for place in 0..PACKETS {
                let sequence = sequence + frame * PACKETS + place;
                let packet = MediaPacket {
                    track: TrackKey {
                        stream: StreamKey { index: 0, generation: 0 },
                        id: TrackId::first(TrackKind::Video),
                    },
                    codec: Codec::Vp8,
                    layer: 0,
                    origin: Origin::default(),
                    sequence,
                    timestamp: sequence as u32 * 3_000,
                    marker: place + 1 == PACKETS,
                    keyframe: true,
                    extensions: HeaderExtensions::default(),
                    padding: 0,
                    received: at,
                    payload: payload.to_vec().into(),
                };
                let mut slot = [0; 1_500];
                self.egress.send_numbered(&packet, &mut slot).expect("it plays");
                let passed = at.saturating_duration_since(start).as_micros() / 250;
                ticks.push(Some(passed as u32 + WAY + place as u32));
            }
            self.egress.left(at);
        }
        let report =
            TransportReport { sender_ssrc: 1, media_ssrc: self.ssrc, base: self.number, number: 0 };
        self.number = self.number.wrapping_add(ticks.len() as u16);
        let mut compound = [0; 300];
        let written = report.write(ticks.into_iter(), &mut compound);
        let (length, _) = written.expect("room");
        compound[..length].to_vec()
    }
}

fn feedback(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feedback");
    for count in VIEWERS {
        let start = Instant::now();
        let mut viewers: Vec<Viewer> = (0..count as u32).map(|n| viewer(n, start)).collect();
        let payload = vec![5; BYTES];
        let (mut now, mut sequence) = (start, 0);
        let mut asked = Feedback::default();
        group.bench_function(BenchmarkId::new("heard", count), |bencher| {
            bencher.iter_custom(|iterations| {
                let (mut heard, mut took) = (0, Duration::ZERO);
                while heard < iterations {
                    let said: Vec<Vec<u8>> = viewers
                        .iter_mut()
                        .map(|viewer| viewer.send(start, now, sequence, &payload))
                        .collect();
                    now += FRAME * FRAMES as u32;
                    sequence += FRAMES * PACKETS;
                    let these = (iterations - heard).min(count as u64);
                    let began = Instant::now();
                    for (viewer, said) in viewers.iter_mut().zip(&said).take(these as usize) {
                        asked.clear();
                        let Viewer { egress, reception, .. } = viewer;
                        let read = reception.read(now, egress, black_box(said), &mut asked);
                        assert!(read.is_ok() && asked.arrivals == 1, "it is understood");
                    }
                    took += began.elapsed();
                    heard += these;
                }
                let estimate = viewers[0].egress.estimate().expect("its packets have numbers");
                assert!(estimate.lost.is_none_or(|lost| lost == 0.0), "{estimate:?}");
                took
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500));
    targets = feedback
}
criterion_main!(benches);
