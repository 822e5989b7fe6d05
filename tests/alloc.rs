//! What the packet path asks of the allocator: nothing per forwarded packet, nothing for a viewer's
//! RTCP, and a budget for what publishers send.
//!
//! The counts are per thread, so that tests running beside one another do not disturb each other.
//! What C code takes from `malloc` behind the crypto library's calls is not seen here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use monoport::egress::{Control, Egress, Feedback, Reception};
use monoport::id::{StreamKey, TrackId, TrackKey, TrackKind};
use monoport::limits::{HISTORY_VIDEO_PACKETS, SEND_ARENA_BYTES, SEND_BATCH_MESSAGES};
use monoport::media::{
    ExtensionIds, HeaderExtensions, MediaPacket, Origin, ViewerTerms, ViewerTrack,
};
use monoport::net::{Destination, SendBatch, Sender, SocketOptions, UdpSocket};
use monoport::srtp::{MasterKey, Profile, RtcpOpener, RtcpSealer};
use monoport::track::{Admission, Carry, Recall, Track};
use monoport::wire::rtcp;
use str0m::format::Codec;

#[path = "alloc/publisher.rs"]
mod publisher;

const HOLD: Duration = Duration::from_millis(5);
const VIEWERS: usize = 100;
/// Packets of a frame, the last of which is shorter and has the marker.
const FRAME: u64 = 8;

/// The system's allocator with a count per thread.
struct Counting;

thread_local! {
    /// Without a destructor, so that it may be touched while a thread ends.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is handed on to the system's allocator with its arguments unchanged, and
// counting touches a plain cell of this thread: it neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `alloc`, which are the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the block came from the system's allocator, because all of ours do.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates, or has a block moved, while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn terms() -> ViewerTerms {
    let track = |kind, ssrc, rtx_ssrc: Option<u32>| ViewerTrack {
        id: TrackId::first(kind),
        codec: codec(kind),
        mid: "0".into(),
        ssrc,
        rtx_ssrc,
        payload_type: 96,
        rtx_payload_type: rtx_ssrc.map(|_ssrc| 97),
        red_payload_type: None,
        extensions: ExtensionIds { mid: Some(4), playout_delay: Some(5), ..Default::default() },
    };
    ViewerTerms {
        tracks: vec![
            track(TrackKind::Audio, AUDIO_SSRC, None),
            track(TrackKind::Video, VIDEO_SSRC, Some(VIDEO_SSRC + 1)),
        ],
    }
}

const STREAM: StreamKey = StreamKey { index: 0, generation: 0 };

fn codec(kind: TrackKind) -> Codec {
    match kind {
        TrackKind::Audio => Codec::Opus,
        TrackKind::Video => Codec::Vp8,
    }
}

const AUDIO_SSRC: u32 = 10;
const VIDEO_SSRC: u32 = 20;

fn master(profile: Profile, number: u8) -> MasterKey {
    let (key, salt) = (vec![number; profile.key_len()], vec![9; profile.salt_len()]);
    MasterKey::new(profile, &key, &salt).expect("lengths of the profile")
}

/// Packets numbered from `first` on, in frames of [`FRAME`].
fn packets(kind: TrackKind, first: u64, count: u64) -> Vec<MediaPacket> {
    let packet = |sequence: u64| {
        let marker = sequence % FRAME == FRAME - 1;
        let size = if marker { 700 } else { 1_100 - (sequence % 2) as usize };
        MediaPacket {
            track: TrackKey { stream: STREAM, id: TrackId::first(kind) },
            codec: codec(kind),
            layer: 0,
            origin: Origin { publisher: 1, source: 0 },
            sequence,
            timestamp: (sequence / FRAME) as u32 * 3_000,
            marker,
            keyframe: sequence.is_multiple_of(FRAME) || kind == TrackKind::Audio,
            extensions: HeaderExtensions { playout_delay: Some([0, 0, 9]), ..Default::default() },
            padding: 0,
            received: Instant::now(),
            payload: vec![sequence as u8; size].into(),
        }
    };
    (first..first + count).map(packet).collect()
}

fn bind(options: &SocketOptions) -> UdpSocket {
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).expect("loopback")
}

/// A stream with its viewers and the way out of one shard, driven as `shard/deliver.rs` does.
struct Fan {
    tracks: [Track; 2],
    viewers: Vec<(Egress, Destination)>,
    pending: Vec<MediaPacket>,
    socket: UdpSocket,
    batch: SendBatch,
    sender: Sender,
    /// Datagrams the kernel took.
    sent: u64,
    _sinks: Vec<UdpSocket>,
}

impl Fan {
    fn new(profile: Profile) -> Fan {
        // Sinks with room for next to nothing: what is sent is dropped at the socket's door.
        let small = SocketOptions { receive_buffer_bytes: 1, ..SocketOptions::default() };
        let sinks: Vec<UdpSocket> = (0..4).map(|_| bind(&small)).collect();
        let viewer = |number: usize| {
            let egress = Egress::new(&terms(), profile, &master(profile, number as u8), 77);
            let remote = sinks[number % sinks.len()].local_addr();
            let to = Destination::new(remote, IpAddr::V4(Ipv4Addr::LOCALHOST), true);
            (egress, to)
        };
        Fan {
            tracks: TrackKind::ALL.map(|kind| Track::new(TrackId::first(kind))),
            viewers: (0..VIEWERS).map(viewer).collect(),
            pending: Vec::new(),
            socket: bind(&SocketOptions::default()),
            batch: SendBatch::new(SEND_BATCH_MESSAGES, SEND_ARENA_BYTES),
            sender: Sender::new(SEND_BATCH_MESSAGES),
            sent: 0,
            _sinks: sinks,
        }
    }

    /// Takes packets of a publisher in and sends what is due.
    fn forward(&mut self, packets: Vec<MediaPacket>) {
        for packet in packets {
            let (kind, now) = (packet.track.id.kind, packet.received);
            let track = &mut self.tracks[kind as usize];
            assert_eq!(track.carry_published(&packet, |_, _| {}).0, Carry::Yes);
            assert_eq!(track.admit(packet, HOLD), Admission::Admitted);
            track.take_pending(now, &mut self.pending);
            let pending = std::mem::take(&mut self.pending);
            for viewer in 0..self.viewers.len() {
                for packet in &pending {
                    self.send(viewer, packet);
                }
            }
            self.pending = pending;
            self.pending.clear();
            self.flush();
        }
    }

    fn send(&mut self, viewer: usize, packet: &MediaPacket) {
        if self.batch.slot().is_none() {
            self.flush();
        }
        let (egress, to) = &mut self.viewers[viewer];
        let admitted = egress.admit(packet).expect("it plays");
        let slot = self.batch.slot().expect("a flushed batch has room");
        let length = admitted.send(packet, slot).expect("it fits");
        self.batch.commit(*to, length);
    }

    fn flush(&mut self) {
        let failed = &mut |to: Destination, failure| panic!("{to:?}: {failure:?}");
        let report = self.sender.flush(&self.socket, &mut self.batch, failed);
        assert!(!report.would_block, "loopback takes all of it at once");
        self.sent += report.datagrams;
    }
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    for profile in Profile::ALL {
        let mut fan = Fan::new(profile);
        // The history is full afterwards, so that each packet drives out another.
        let warm = HISTORY_VIDEO_PACKETS as u64 + FRAME;
        fan.forward(packets(TrackKind::Video, 0, FRAME));
        fan.forward(packets(TrackKind::Audio, 0, 200));
        for first in (FRAME..warm).step_by(FRAME as usize) {
            for packet in packets(TrackKind::Video, first, FRAME) {
                let track = &mut fan.tracks[TrackKind::Video as usize];
                assert_eq!(track.carry_published(&packet, |_, _| {}).0, Carry::Yes);
                track.admit(packet, HOLD);
                track.take_pending(Instant::now(), &mut fan.pending);
            }
            fan.pending.clear();
        }
        let video = packets(TrackKind::Video, warm, 125 * FRAME);
        let audio = packets(TrackKind::Audio, 200, 100);
        let expected = ((video.len() + audio.len()) * VIEWERS) as u64;
        let before = fan.sent;
        let counted = allocations(|| {
            fan.forward(video);
            fan.forward(audio);
        });
        assert_eq!(fan.sent - before, expected, "{profile:?}: every viewer got every packet");
        assert_eq!(counted, 0, "{profile:?}: {counted} allocations for {expected} packets");
        let trains: u64 = fan.batch.train_lengths()[2..].iter().sum();
        assert!(trains > 0, "they left as trains");
    }
}

/// A viewer's report with requests in it, sealed: reception, five lost packets, a key frame.
fn feedback(sealer: &mut RtcpSealer, lost_from: u16) -> Vec<u8> {
    let lost: Vec<u16> = (0..5).map(|index| lost_from.wrapping_add(index)).collect();
    let block = rtcp::ReportBlock { ssrc: VIDEO_SSRC, ..Default::default() };
    let mut datagram = vec![0; 400];
    let mut length = rtcp::receiver_report(1, &[block], &mut datagram).expect("room");
    length += rtcp::nack(1, VIDEO_SSRC, &lost, &mut datagram[length..]).expect("room");
    length += rtcp::pli(1, VIDEO_SSRC, &mut datagram[length..]).expect("room");
    let length = sealer.seal(&mut datagram, length);
    datagram.truncate(length);
    datagram
}

/// The viewer's number of the layer's packet `sequence`.
fn viewer_sequence(egress: &Egress, sequence: u64) -> u16 {
    let is_it = |number: &u16| {
        let sent = egress.lanes()[VIDEO_LANE].find(*number);
        sent.is_some_and(|sent| sent.sequence == sequence)
    };
    (0..=u16::MAX).find(is_it).expect("a packet that was sent has a number")
}

/// The second track of the terms.
const VIDEO_LANE: usize = 1;

#[test]
fn a_viewers_rtcp_and_the_repair_it_asks_for_allocate_nothing() {
    for profile in Profile::ALL {
        let mut fan = Fan::new(profile);
        fan.forward(packets(TrackKind::Video, 0, 8 * FRAME));
        let now = Instant::now();
        let (local, remote) = (master(profile, 0), master(profile, 200));
        let mut control = Control::new(now);
        let mut opener = RtcpOpener::new(profile, &remote);
        let mut sealer = RtcpSealer::new(profile, &local);
        let mut reception = Reception::new(2);
        let mut viewers = RtcpSealer::new(profile, &remote);
        let lost = viewer_sequence(&fan.viewers[0].0, 20);
        let mut datagrams: Vec<_> = (0..40).map(|_| feedback(&mut viewers, lost)).collect();
        let (first, rest) = datagrams.split_first_mut().expect("some");
        let mut wanted = Feedback::default();
        let mut repaired = 0;
        let mut receive = |datagram: &mut [u8]| {
            wanted.clear();
            let (egress, to) = &mut fan.viewers[0];
            let length = opener.open(datagram).expect("it is genuine");
            let compound = &datagram[..length];
            reception.read(now, egress, compound, &mut wanted).expect("it is well-formed");
            assert!(wanted.keyframes == [VIDEO_LANE] && wanted.reports == 1, "{wanted:?}");
            let track = &fan.tracks[TrackKind::Video as usize];
            for (number, sequence) in &wanted.lost {
                let sent = egress.lanes()[*number].find(*sequence).expect("it was sent");
                let found = track.recall(sent.layer, sent.sequence, now);
                let Recall::Kept(packet) = found else { panic!("it is still there") };
                assert!(control.repair.look_up() && control.repair.send(), "within the burst");
                let slot = fan.batch.slot().expect("room");
                let length = egress.resend(*number, sent.index, packet, slot).expect("it fits");
                fan.batch.commit(*to, length);
                repaired += 1;
            }
            let slot = fan.batch.slot().expect("room");
            let clock = (5 << 32, 9_000);
            let length = reception.sender_report(now, egress, VIDEO_LANE, clock, slot);
            let length = sealer.seal(slot, length.expect("it plays"));
            fan.batch.commit(*to, length);
            fan.batch.clear();
        };
        receive(first);
        let counted = allocations(|| rest.iter_mut().for_each(|datagram| receive(datagram)));
        assert_eq!(counted, 0, "{profile:?}");
        assert_eq!(repaired, 40 * 5, "{profile:?}");
    }
}

#[test]
fn a_packet_for_another_shard_is_one_allocation() {
    let packet = packets(TrackKind::Video, 0, 1).remove(0);
    let mut copy = None;
    assert_eq!(allocations(|| copy = Some(packet.copy_for_other_shard())), 1);
    assert_eq!(copy.expect("it was made").payload, packet.payload);
}

#[test]
fn a_publishers_packet_allocates_nothing() {
    let mut publisher = publisher::Connected::new();
    let mut tracks = TrackKind::ALL.map(|kind| Track::new(TrackId::first(kind)));
    let mut pending = Vec::new();
    let (mut counted, mut taken, mut checks) = (0, 0, 0);
    // The history is full before it counts, so that each packet takes the memory of another.
    let warm = HISTORY_VIDEO_PACKETS;
    for round in 0..warm + 2_000 {
        for mut datagram in publisher.next_datagrams() {
            let mut is_media = false;
            let allocated = allocations(|| {
                if let Some(packet) = publisher.receive(&mut datagram) {
                    let track = &mut tracks[packet.track.id.kind as usize];
                    let now = packet.received;
                    assert_eq!(track.carry_published(&packet, |_, _| {}).0, Carry::Yes);
                    assert_eq!(track.admit(packet, HOLD), Admission::Admitted);
                    track.take_pending(now, &mut pending);
                    is_media = true;
                }
                pending.clear();
            });
            if round >= warm {
                taken += u64::from(is_media);
                *(if is_media { &mut counted } else { &mut checks }) += allocated;
            }
        }
    }
    assert_eq!(taken, 2_000, "every packet became the stream's");
    println!("{counted} allocations for 2,000 packets, {checks} for the checks between");
    assert_eq!(counted, 0);
}
