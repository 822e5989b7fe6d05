//! What a packet costs on its way to a viewer, before the kernel: the lane, and str0m's `write_rtp`
//! beside it.
//!
//! `cargo bench --bench egress` prints a table of the lane (profile × size × order × batch over the
//! number of viewers), one of `write_rtp`, and two ratios the project promises. `-- FILTER` runs
//! the lines that contain the word, as in `-- Gcm`, `-- write_rtp` or `-- "1200 B list"`.
//!
//! *Batch* is the packets each viewer gets in one turn. *List* is the order of fan-out, which the
//! processor can foresee; *random* shows what a miss costs where it cannot. Nothing is handed to
//! the kernel: a full batch is forgotten, as if it had been sent.
//!
//! The measure is CPU time. Each figure is the median of rounds in which the lines take turns, so
//! that a slow minute hurts all of them alike, and a ratio is the median of each round's ratio.
//! What that cannot mend is a busy sibling of the core: the yardstick under the table, one hot key
//! sealing 1,200 bytes, tells how quiet the run was.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use monoport::cpu;
use monoport::drop::DropReason;
use monoport::egress::{Egress, Lane};
use monoport::id::{StreamKey, TrackId, TrackKey, TrackKind};
use monoport::limits::{SEND_ARENA_BYTES, SEND_BATCH_MESSAGES};
use monoport::media::{
    ExtensionIds, HeaderExtensions, MediaPacket, Origin, ViewerTerms, ViewerTrack,
};
use monoport::net::{Destination, SendBatch};
use monoport::srtp::{MasterKey, Profile, RtpSealer, cipher_library};
use str0m::format::Codec;

use write_rtp::Baseline;

#[expect(clippy::disallowed_types, reason = "str0m counts its crypto")]
#[path = "egress/write_rtp.rs"]
mod write_rtp;

const STREAM: StreamKey = StreamKey { index: 0, generation: 0 };

/// Rounds of each line; the median of them is printed.
const ROUNDS: usize = 7;

/// Packets of one round at least, so that a round is long against the clock.
const PACKETS: usize = 10_000;

const VIEWERS: [usize; 5] = [1, 100, 1_000, 4_000, 10_000];
const BASELINE_VIEWERS: [usize; 3] = [1, 100, 1_000];
const SIZES: [usize; 2] = [160, 1_200];
const BATCHES: [usize; 3] = [1, 4, 16];

/// As `shard/streams.rs` has it: what fan-out walks over.
struct Viewer {
    egress: Egress,
    to: Destination,
    #[expect(dead_code, reason = "it takes the room it takes in a shard")]
    session: (usize, u32),
}

fn master(profile: Profile, number: usize) -> MasterKey {
    let mut key = vec![7; profile.key_len()];
    key[..8].copy_from_slice(&(number as u64).to_le_bytes());
    MasterKey::new(profile, &key, &vec![9; profile.salt_len()]).expect("lengths of the profile")
}

fn viewer(profile: Profile, number: usize) -> Viewer {
    let track = |kind, ssrc, rtx| ViewerTrack {
        id: TrackId::first(kind),
        codec: if kind == TrackKind::Audio { Codec::Opus } else { Codec::Vp8 },
        mid: "0".into(),
        ssrc,
        rtx_ssrc: rtx,
        payload_type: 96,
        rtx_payload_type: rtx.map(|_ssrc| 97),
        red_payload_type: None,
        extensions: ExtensionIds { mid: Some(4), ..ExtensionIds::default() },
    };
    let base = number as u32 * 3;
    let tracks = vec![
        track(TrackKind::Audio, base, None),
        track(TrackKind::Video, base + 1, Some(base + 2)),
    ];
    let terms = ViewerTerms { tracks };
    let mut egress = Egress::new(&terms, profile, &master(profile, number), number as u64);
    // As soon as a viewer has reported, the section's name rides along no more.
    egress.lanes_mut()[1].acknowledged();
    let remote = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number as u32), 5_004));
    let to = Destination::new(remote, IpAddr::V4(Ipv4Addr::LOCALHOST), true);
    Viewer { egress, to, session: (0, number as u32) }
}

/// The packets of one turn.
struct Turn {
    packets: Vec<MediaPacket>,
}

impl Turn {
    fn new(size: usize, batch: usize) -> Turn {
        let packet = |index: usize| MediaPacket {
            track: TrackKey { stream: STREAM, id: TrackId::first(TrackKind::Video) },
            codec: Codec::Vp8,
            layer: 0,
            origin: Origin::default(),
            sequence: index as u64,
            timestamp: 0,
            marker: index + 1 == batch,
            keyframe: true,
            extensions: HeaderExtensions::default(),
            padding: 0,
            received: Instant::now(),
            payload: vec![index as u8; size].into(),
        };
        Turn { packets: (0..batch).map(packet).collect() }
    }

    /// Numbers the packets from `sequence` on, which never comes back: an index is sealed once.
    fn number(&mut self, sequence: &mut u64) {
        for packet in &mut self.packets {
            packet.sequence = *sequence;
            packet.timestamp = *sequence as u32 * 3_000;
            *sequence += 1;
        }
    }
}

/// What `shard/deliver.rs` does with a stream's packets of one turn, to the viewers in `order`.
fn fan_out(
    viewers: &mut [Viewer],
    order: impl Iterator<Item = usize>,
    packets: &[MediaPacket],
    batch: &mut SendBatch,
) {
    for index in order {
        let Viewer { egress, to, .. } = &mut viewers[index];
        for packet in packets {
            let sent = egress
                .admit(packet)
                .and_then(|admitted| push(batch, *to, |slot| admitted.send(packet, slot)));
            sent.expect("a viewer that plays takes every packet");
        }
    }
}

/// `shard/ports.rs` without the system call.
fn push(
    batch: &mut SendBatch,
    to: Destination,
    write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
) -> Result<(), DropReason> {
    if batch.slot().is_none() {
        black_box(&*batch);
        batch.clear();
    }
    let slot = batch.slot().ok_or(DropReason::SendQueueFull)?;
    let length = write(slot)?;
    batch.commit(to, length);
    Ok(())
}

/// A permutation of `0..n` by a fixed xorshift, the same in every run.
fn shuffled(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..n).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}

/// One figure of a table: a line, a number of viewers and the nanoseconds of each round.
struct Case {
    line: String,
    viewers: usize,
    rounds: Vec<f64>,
    kind: Kind,
}

enum Kind {
    Lane { profile: usize, size: usize, batch: usize, order: Option<Vec<usize>> },
    WriteRtp { size: usize, batch: usize },
}

fn cases(filter: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |line: String, viewers, kind| {
        if line.contains(filter) {
            cases.push(Case { line, viewers, rounds: Vec::new(), kind });
        }
    };
    for (profile, name) in Profile::ALL.iter().enumerate() {
        for (size, random, batch) in lines() {
            for viewers in VIEWERS {
                let order = random.then(|| shuffled(viewers));
                let kind = Kind::Lane { profile, size, batch, order };
                add(lane_line(*name, size, random, batch), viewers, kind);
            }
        }
    }
    for size in SIZES {
        for batch in BATCHES {
            for viewers in BASELINE_VIEWERS {
                add(write_rtp_line(size, batch), viewers, Kind::WriteRtp { size, batch });
            }
        }
    }
    cases
}

fn lines() -> impl Iterator<Item = (usize, bool, usize)> {
    let of_size = |size| [false, true].map(|random| BATCHES.map(|batch| (size, random, batch)));
    SIZES.into_iter().flat_map(of_size).flatten()
}

fn lane_line(profile: Profile, size: usize, random: bool, batch: usize) -> String {
    let order = if random { "random" } else { "list" };
    let profile = format!("{profile:?}");
    format!("{profile:16}{size:5} B {order:7}batch {batch:2}")
}

fn write_rtp_line(size: usize, batch: usize) -> String {
    format!("{:16}{size:5} B {:7}batch {batch:2}", "write_rtp", "list")
}

/// Runs `turn`, which handles `packets` packets, once to warm up and then for a round; returns the
/// nanoseconds of CPU time per packet.
fn round(packets: usize, mut turn: impl FnMut()) -> f64 {
    let turns = PACKETS.div_ceil(packets);
    turn();
    let start = cpu::thread_cpu_time();
    for _ in 0..turns {
        turn();
    }
    let spent = cpu::thread_cpu_time() - start;
    spent.as_nanos() as f64 / (turns * packets) as f64
}

/// What the tables are measured on.
struct Stage {
    /// By index into [`Profile::ALL`].
    viewers: [Vec<Viewer>; 3],
    baseline: Option<Baseline>,
    batch: SendBatch,
    sequence: u64,
}

impl Stage {
    fn new(cases: &[Case]) -> Stage {
        let most = |wanted: &dyn Fn(&Kind) -> bool| {
            let counts = cases.iter().filter(|case| wanted(&case.kind)).map(|case| case.viewers);
            counts.max().unwrap_or(0)
        };
        let viewers = [0, 1, 2].map(|index| {
            let is_of =
                |kind: &Kind| matches!(kind, Kind::Lane { profile, .. } if *profile == index);
            let count = most(&is_of);
            (0..count).map(|number| viewer(Profile::ALL[index], number)).collect()
        });
        let sessions = most(&|kind| matches!(kind, Kind::WriteRtp { .. }));
        Stage {
            viewers,
            baseline: (sessions > 0).then(|| Baseline::new(sessions)),
            batch: SendBatch::new(SEND_BATCH_MESSAGES, SEND_ARENA_BYTES),
            sequence: 0,
        }
    }

    /// One round of a case.
    fn run(&mut self, case: &Case) -> f64 {
        match &case.kind {
            Kind::WriteRtp { size, batch } => {
                let baseline = self.baseline.as_mut().expect("it was made for its cases");
                let payloads = vec![vec![1; *size].into(); *batch];
                round(case.viewers * batch, || baseline.turn(case.viewers, &payloads))
            }
            Kind::Lane { profile, size, batch, order } => {
                let mut turn = Turn::new(*size, *batch);
                let viewers = &mut self.viewers[*profile][..case.viewers];
                round(viewers.len() * batch, || {
                    turn.number(&mut self.sequence);
                    match order {
                        None => {
                            let all = 0..viewers.len();
                            fan_out(viewers, all, &turn.packets, &mut self.batch);
                        }
                        Some(order) => {
                            let all = order.iter().copied();
                            fan_out(viewers, all, &turn.packets, &mut self.batch);
                        }
                    }
                })
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_table(cases: &[Case], title: &str, columns: &[usize], is_baseline: bool) {
    let of_table = |case: &&Case| matches!(case.kind, Kind::WriteRtp { .. }) == is_baseline;
    let mut table: Vec<&Case> = cases.iter().filter(of_table).collect();
    if table.is_empty() {
        return;
    }
    let head: String = columns.iter().map(|column| format!("{column:7}")).collect();
    println!("\n{title:38}{head}");
    while let Some(first) = table.first() {
        let line = first.line.clone();
        let (row, rest): (Vec<&Case>, Vec<&Case>) =
            table.into_iter().partition(|case| case.line == line);
        let figures = row.iter().map(|case| format!("{:7.0}", median(case.rounds.clone())));
        println!("{line:38}{}", figures.collect::<String>());
        table = rest;
    }
}

/// The median over rounds of one case's cost as a multiple of another's.
fn print_ratio(
    cases: &[Case],
    name: &str,
    over: (&str, usize),
    under: (&str, usize),
    promise: &str,
) {
    let find = |(line, viewers): (&str, usize)| {
        cases.iter().find(|case| case.line == line && case.viewers == viewers)
    };
    if let (Some(over), Some(under)) = (find(over), find(under)) {
        let ratios = over.rounds.iter().zip(&under.rounds).map(|(over, under)| over / under);
        println!("{name} = {:.2} (promise {promise})", median(ratios.collect()));
    }
}

/// Nanoseconds of one seal of 1,200 bytes with one hot key.
fn yardstick(sealer: &RtpSealer, index: &mut u64) -> f64 {
    let mut packet = [0u8; 1_300];
    round(1, || {
        *index += 1;
        black_box(sealer.seal(black_box(&mut packet), 12, 1_212, 5, *index));
    })
}

fn print_sizes() {
    println!(
        "bytes: Egress {}, of it RtpSealer {} and two lanes of {}; a viewer in its list {}; \
         a key of ring {}, of aws-lc {} and what it points to",
        size_of::<Egress>(),
        size_of::<RtpSealer>(),
        size_of::<Lane>(),
        size_of::<Viewer>(),
        size_of::<ring::aead::LessSafeKey>(),
        size_of::<aws_lc_rs::aead::LessSafeKey>(),
    );
}

fn main() {
    // cargo passes --bench; what is not a flag is the filter.
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let cores = cpu::available_cores();
    cpu::pin_current_thread(cores[cores.len() - 1]).expect("pinned");
    println!("AES-GCM by {}", cipher_library());
    print_sizes();
    let mut cases = cases(&filter);
    let mut stage = Stage::new(&cases);
    let hot = RtpSealer::new(Profile::AeadAes256Gcm, &master(Profile::AeadAes256Gcm, 0));
    let (mut yards, mut index) = (Vec::new(), 0);
    let (cpu, wall) = (cpu::thread_cpu_time(), Instant::now());
    for _ in 0..ROUNDS {
        yards.push(yardstick(&hot, &mut index));
        for case in &mut cases {
            let cost = stage.run(case);
            case.rounds.push(cost);
        }
    }
    let busy = (cpu::thread_cpu_time() - cpu).as_secs_f64() / wall.elapsed().as_secs_f64();
    print_table(&cases, "lane, ns of CPU per packet, viewers:", &VIEWERS, false);
    print_table(&cases, "write_rtp, likewise (aes-256-gcm):", &BASELINE_VIEWERS, true);
    yards.sort_by(f64::total_cmp);
    println!(
        "\nyardstick {:.0} to {:.0} ns, median {:.0}; had the core for {:.0} % of {:.0} s",
        yards[0],
        yards[yards.len() - 1],
        median(yards.clone()),
        busy * 100.0,
        wall.elapsed().as_secs_f64()
    );
    let lane = lane_line(Profile::AeadAes256Gcm, 1_200, false, 1);
    let baseline = write_rtp_line(1_200, 1);
    let name = "lane at 10,000 / lane at 100";
    print_ratio(&cases, name, (&lane, 10_000), (&lane, 100), "≤ 1.3");
    let name = "write_rtp at 1,000 / lane at 1,000";
    print_ratio(&cases, name, (&baseline, 1_000), (&lane, 1_000), "≥ 6");
}
