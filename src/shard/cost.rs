//! What a publisher's packet costs a shard with many small streams, the kernel left out.
//!
//! `cargo test --release --lib shard::cost -- --ignored --nocapture` prints nanoseconds of CPU an
//! Opus packet, from the datagram to the viewer's datagram, for as many streams of one viewer each:
//! batches that are looked ahead over and batches that are not, in turn. `shard::cost::link` does
//! so for a stream that comes from another node, beside one that is published here.

mod link;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use str0m::IceCreds;
use str0m::media::{Direction, MediaKind};

use super::core::Core;
use super::sessions::Keys;
use super::turn::tests::{LOCAL, core_of};
use super::{Command, SessionPort};
use crate::egress::Egress;
use crate::id::{SessionKey, StreamKey, TrackId, TrackKind, Via};
use crate::ingest::Ingest;
use crate::media::{ExtensionIds, ExtensionKind, ViewerTerms, ViewerTrack};
use crate::net::Destination;
use crate::paths::{Inbound, Path};
use crate::session::{CodecMatch, LocalIce, Negotiator, Offer, StreamCodecs};
use crate::srtp::{MasterKey, Profile, RtpSealer};
use crate::track::StreamShared;
use crate::wire::rtp::HeaderWriter;

/// Datagrams of a turn: 40,000 a second, a millisecond apart.
const BATCH: usize = 40;
const ROUNDS: usize = 15;

/// What publishers send.
#[derive(Clone, Copy)]
struct Media {
    kind: TrackKind,
    /// Bytes of a payload.
    payload: usize,
    profile: Profile,
}

const OPUS: Media = Media { kind: TrackKind::Audio, payload: 120, profile: Profile::AeadAes256Gcm };

struct Bench {
    core: Core,
    media: Media,
    sealers: Vec<RtpSealer>,
    payload_type: u8,
    /// Of publishers' transport-wide numbers, which those of video write as browsers do.
    transport_sequence: Option<u8>,
    /// Packets each publisher has sent.
    number: u64,
    now: Instant,
}

fn key(slot: u32) -> SessionKey {
    SessionKey { shard: 0, slot, generation: 0 }
}

fn remote(slot: u32, host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, host, (slot >> 8) as u8], 1_024 + (slot & 0xff) as u16))
}

fn master(profile: Profile, slot: u32) -> MasterKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&slot.to_be_bytes());
    let bytes = &bytes[..profile.key_len()];
    MasterKey::new(profile, bytes, &[3; 12]).expect("lengths of the profile")
}

impl Bench {
    /// Nobody yet, where there is room for so many.
    fn empty(media: Media, sessions: u32) -> Bench {
        let now = Instant::now();
        Bench {
            core: core_of(now, sessions as usize),
            media,
            sealers: Vec::new(),
            payload_type: 0,
            transport_sequence: None,
            number: 0,
            now,
        }
    }

    fn new(streams: u32) -> Bench {
        let mut bench = Bench::empty(OPUS, streams);
        for slot in 0..streams {
            bench.publisher(slot);
            bench.viewer(StreamKey { index: slot, generation: 0 }, slot);
        }
        bench
    }

    fn publisher(&mut self, slot: u32) {
        let (core, now) = (&mut self.core, self.now);
        let stream = StreamKey { index: slot, generation: 0 };
        let mut client = str0m::Rtc::builder().build(now);
        let mut changes = client.sdp_api();
        let Media { kind, profile, .. } = self.media;
        let kind = match kind {
            TrackKind::Audio => MediaKind::Audio,
            TrackKind::Video => MediaKind::Video,
        };
        changes.add_media(kind, Direction::SendOnly, None, None, None);
        let (offer, _pending) = changes.apply().expect("something is offered");
        let offer = Offer::to_publish(&offer.to_sdp_string()).expect("an offer");
        let codecs = offer.choose_codecs(StreamCodecs::default()).expect("it is taken");
        let ufrag = core.post.wiring.ufrag_key.encode(key(slot)).as_str().to_owned();
        let credentials = IceCreds { ufrag, pass: "p".repeat(24) };
        let candidates = [SocketAddr::new(LOCAL, 7_882)];
        let local = LocalIce { credentials, candidates: &candidates, tcp_candidates: &[] };
        let negotiator = Negotiator::new(false, CodecMatch::default());
        let negotiated = negotiator.publisher(now, offer, local, codecs, stream);
        let session = Box::new(negotiated.expect("it is negotiated").session);
        let (port, shared) = (SessionPort::Mux(0), Arc::new(StreamShared::new(stream)));
        let command = Command::Add { key: key(slot), port, session, stream: shared };
        assert!(core.post.mailbox().command(command).is_ok());
        core.turn(now, false);
        let path = Path { via: Via::Udp(0), local: LOCAL, remote: remote(slot, 1) };
        core.paths.prove(now, slot, path, true, core.post.counters());
        let entry = core.sessions.at(slot).expect("it was added");
        let master = master(profile, slot);
        entry.connected = true;
        entry.keys = Some(Box::new(Keys::new(profile, master.clone(), &master)));
        let publishing = entry.publishes.as_mut().expect("it publishes");
        let terms = std::mem::take(&mut publishing.terms);
        self.payload_type = terms.tracks[0].payload.payload_type;
        let is_it = |(_, kind): &&(u8, ExtensionKind)| *kind == ExtensionKind::TransportSequence;
        let id = terms.extensions.iter().find(is_it).map(|(id, _)| *id);
        self.transport_sequence = id.filter(|_| self.media.kind == TrackKind::Video);
        publishing.ingest = Some(Ingest::new(stream, terms, profile, &master, now));
        self.sealers.push(RtpSealer::new(profile, &master));
    }

    fn viewer(&mut self, stream: StreamKey, slot: u32) {
        let Media { kind, profile, .. } = self.media;
        let track = ViewerTrack {
            id: TrackId::first(kind),
            codec: match kind {
                TrackKind::Audio => str0m::format::Codec::Opus,
                TrackKind::Video => str0m::format::Codec::Vp8,
            },
            mid: "0".into(),
            ssrc: slot,
            rtx_ssrc: None,
            payload_type: 96,
            rtx_payload_type: None,
            red_payload_type: None,
            extensions: ExtensionIds { mid: Some(4), ..Default::default() },
        };
        let terms = ViewerTerms { tracks: vec![track] };
        let egress = Egress::new(&terms, profile, &master(profile, slot), u64::from(slot));
        let to = Destination::new(remote(slot, 2), LOCAL, true);
        self.core.streams.add_viewer(self.now, stream, slot, egress, to).expect("the stream is");
    }

    /// A packet of each publisher, sealed.
    fn packets(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.number += 1;
        self.now += Duration::from_millis(20);
        let payload_type = self.payload_type;
        let packet = |(slot, sealer): (u32, &RtpSealer)| {
            let header = HeaderWriter {
                marker: false,
                padding: false,
                payload_type,
                sequence: self.number as u16,
                timestamp: self.number as u32 * 960,
                ssrc: slot + 1,
            };
            let payload = self.media.payload;
            let mut bytes = vec![0; payload + 80];
            let number = (self.number as u16).to_be_bytes();
            let elements = self.transport_sequence.map(|id| (id, &number[..]));
            let start = header.write(elements.as_slice(), &mut bytes).expect("room");
            // To VP8 a key frame once in a while, and the first of a picture each.
            bytes[start] = 0x10;
            bytes[start + 1] = u8::from(!self.number.is_multiple_of(300));
            let sealed = sealer.seal(&mut bytes, start, start + payload, slot + 1, self.number);
            bytes.truncate(sealed);
            (remote(slot, 1), bytes)
        };
        (0..).zip(&self.sealers).map(packet).collect()
    }

    /// Handles a packet of each, a batch at a time, and returns what a packet took, in nanoseconds.
    fn round(&mut self, ahead: bool) -> f64 {
        let mut packets = self.packets();
        // In no order that a processor could foresee.
        fastrand::shuffle(&mut packets);
        let count = packets.len() as f64;
        let now = self.now;
        let began = cpu();
        let mut sent = 0;
        let mut asleep = Duration::ZERO;
        for batch in packets.chunks_mut(BATCH) {
            if ahead {
                let senders = batch.iter().map(|(remote, _)| (*remote, LOCAL));
                self.core.look_ahead(0, senders);
            }
            for (remote, bytes) in batch.iter_mut() {
                let (via, local, remote) = (Via::Udp(0), LOCAL, *remote);
                let datagram =
                    Inbound { via, local, remote, bytes, arrived: now, handed_over: false };
                self.core.on_datagram(now, datagram);
            }
            self.core.turn(now, false);
            let paused = cpu();
            sent += self.core.paths.ways.transmitter.take_sent().len();
            asleep += cpu() - paused;
        }
        let took = cpu() - began - asleep;
        assert!(sent >= packets.len(), "{sent} left");
        took.as_nanos() as f64 / count
    }
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock there is").into()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[test]
#[ignore = "it measures"]
fn a_look_ahead_is_worth_its_while() {
    println!("{:>8} {:>10} {:>10}", "streams", "without", "with");
    for streams in [1, 40, 200, 800, 2_000] {
        let mut bench = Bench::new(streams);
        // Histories are full before it counts.
        for _ in 0..300 {
            bench.round(false);
        }
        let repeats = (4_000 / streams).max(1);
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (ahead, took) in [false, true].into_iter().zip(&mut took) {
                let sum: f64 = (0..repeats).map(|_| bench.round(ahead)).sum();
                took.push(sum / f64::from(repeats));
            }
        }
        let [without, with] = took.map(median);
        println!("{streams:>8} {without:>7.0} ns {with:>7.0} ns");
    }
}
