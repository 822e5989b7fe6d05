//! The floor: the least that this kernel and this cipher can do for a fan-out, in nanoseconds of
//! the sending thread's CPU per packet.
//!
//! One thread does what a viewer's packet cannot do without: copy the payload into the arena, seal
//! it with the viewer's own key, and hand trains to the kernel. There is no session, no timer, no
//! history. Receivers are a few sockets with the options of a real one, which a second thread
//! reads: on loopback the sender pays for the packet's whole way, up to waking who waits for it,
//! and that is part of what a server in front of a load generator pays too.

use crate::args::parse_duration;
use crate::output;
use clap::Args;
use mio::unix::SourceFd;
use monoport::limits::{MAX_DATAGRAM_OUT, MAX_TRAIN_SEGMENTS};
use monoport::net::{Backend, Destination, Receiver, SendBatch, Sender, SocketOptions, UdpSocket};
use monoport::srtp::{MasterKey, Profile, RtpSealer, library};
use monoport::wire::rtp::HeaderWriter;
use serde::Serialize;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Sockets that stand for all receivers.
const SINKS: usize = 4;
/// How long the reader waits before it looks whether it is over.
const READER_PATIENCE: Duration = Duration::from_millis(20);
/// Messages handed to the kernel at once, as a shard's turn does under load.
const MESSAGES_PER_FLUSH: usize = 64;
/// A flush of the longest trains.
const ARENA_BYTES: usize = (MESSAGES_PER_FLUSH + 1) * MAX_TRAIN_SEGMENTS * MAX_DATAGRAM_OUT;
/// An RTP header with one extension element, as the egress lane writes it.
const HEADER_BYTES: usize = 20;
/// Work before the clock starts: page faults, the branch predictor, the sinks' queues.
const WARM_UP: Duration = Duration::from_millis(300);

/// Measures the least CPU a packet can cost here.
#[derive(Args, Clone, Debug)]
pub struct FloorArgs {
    /// Bytes of each datagram, header and tag included
    #[arg(long, default_value_t = 1_200)]
    pub size: usize,
    /// Datagrams that leave together for one destination
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub train: u64,
    /// Destinations, each with a key of its own
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub destinations: u64,
    /// How long each of the two measurements lasts
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Write the result here, as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The result. Its keys are an interface: they stay.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// Copy, seal and send.
    pub floor_ns_per_packet: f64,
    /// The same without the send.
    pub seal_ns_per_packet: f64,
    pub size: usize,
    pub train: usize,
    pub destinations: usize,
    pub packets: u64,
    /// How many of those the reader got; the others came when its queue was full.
    pub packets_received: u64,
    pub packets_per_syscall: f64,
    /// Trains that the kernel refused; not 0 means that trains were not measured.
    pub trains_refused: u64,
    pub cipher_library: &'static str,
}

/// What a fan-out needs of one viewer.
struct Lane {
    sealer: RtpSealer,
    to: Destination,
    index: u64,
}

/// Measures, prints and writes the result.
///
/// # Errors
/// When sockets cannot be made, `/proc` does not tell CPU time, or the file cannot be written.
pub fn run(args: &FloorArgs) -> io::Result<()> {
    output::check("--json", args.json.as_deref())?;
    let floor = measure(args)?;
    let json = serde_json::to_string_pretty(&floor).map_err(io::Error::other)?;
    println!("{json}");
    output::write("--json", args.json.as_deref(), &(json + "\n"))
}

/// Measures both costs in one run, one after the other.
fn measure(args: &FloorArgs) -> io::Result<Floor> {
    let sinks = sinks()?;
    let lanes = lanes(args, &sinks);
    let reader = Reader::start(sinks)?;
    let size = args.size.clamp(HEADER_BYTES + 64, MAX_DATAGRAM_OUT);
    let train = (args.train as usize).min(MAX_TRAIN_SEGMENTS);
    let mut bench = Bench {
        socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketOptions::default())?,
        sender: Sender::new(MESSAGES_PER_FLUSH),
        // One message more than a flush: a full table refuses what would join its last train.
        batch: SendBatch::new(MESSAGES_PER_FLUSH + 1, ARENA_BYTES),
        lanes,
        payload: vec![0x5a; size - HEADER_BYTES - Profile::AeadAes256Gcm.tag_len()],
        train,
        refused: 0,
        syscalls: 0,
    };
    bench.pass(WARM_UP, true)?;
    let warmed_up = reader.caught_up();
    (bench.refused, bench.syscalls) = (0, 0);
    let (packets, whole_ns) = bench.pass(args.duration, true)?;
    let (trains_refused, syscalls) = (bench.refused, bench.syscalls);
    let received = reader.caught_up() - warmed_up;
    reader.stop();
    let (sealed, seal_ns) = bench.pass(args.duration, false)?;
    Ok(Floor {
        floor_ns_per_packet: whole_ns as f64 / packets.max(1) as f64,
        seal_ns_per_packet: seal_ns as f64 / sealed.max(1) as f64,
        size,
        train,
        destinations: bench.lanes.len(),
        packets,
        packets_received: received,
        packets_per_syscall: packets as f64 / syscalls.max(1) as f64,
        trains_refused,
        cipher_library: library::cipher_library(),
    })
}

fn sinks() -> io::Result<Vec<UdpSocket>> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    (0..SINKS).map(|_| UdpSocket::bind(any, &SocketOptions::default())).collect()
}

/// The thread that reads what is sent, as the load generator's workers do.
struct Reader {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the reader is told and tells.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Datagrams it has read.
    received: AtomicU64,
    /// How often it has found every socket empty.
    rounds: AtomicU64,
}

impl Reader {
    fn start(sockets: Vec<UdpSocket>) -> io::Result<Reader> {
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let mut poll = mio::Poll::new()?;
        for (index, socket) in sockets.iter().enumerate() {
            let (token, interest) = (mio::Token(index), mio::Interest::READABLE);
            poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, interest)?;
        }
        let every: Vec<&UdpSocket> = sockets.iter().collect();
        let mut receiver = Receiver::new(Backend::Mmsg, MESSAGES_PER_FLUSH, &every)?;
        let thread = std::thread::spawn(move || {
            let mut events = mio::Events::with_capacity(SINKS);
            while !told.over.load(Ordering::Relaxed) {
                // An interrupted wait is a short one.
                let _ = poll.poll(&mut events, Some(READER_PATIENCE));
                for socket in &sockets {
                    while let Ok(count) = receiver.receive(socket)
                        && count > 0
                    {
                        told.received.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
                told.rounds.fetch_add(1, Ordering::Release);
            }
        });
        Ok(Reader { shared, thread })
    }

    /// Waits until what was sent before is read; returns how many datagrams have been, in all.
    fn caught_up(&self) -> u64 {
        // The round that is under way may have passed a socket by.
        let rounds = self.shared.rounds.load(Ordering::Acquire) + 2;
        while self.shared.rounds.load(Ordering::Acquire) < rounds && !self.thread.is_finished() {
            std::thread::sleep(READER_PATIENCE / 20);
        }
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Ends the thread.
    fn stop(self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // It has told what it counted; one that panicked has said so.
        let _ = self.thread.join();
    }
}

/// Destinations with addresses of their own, over the sinks' ports.
fn lanes(args: &FloorArgs, sinks: &[UdpSocket]) -> Vec<Lane> {
    let profile = Profile::AeadAes256Gcm;
    (0..args.destinations as u32)
        .map(|number| {
            let mut key = [0x17; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let master = MasterKey::new(profile, &key, &[0x29; 12]).expect("the profile's lengths");
            let address = Ipv4Addr::from(u32::from_be_bytes([127, 1, 0, 0]) + number);
            let port = sinks[number as usize % sinks.len()].port();
            let from = Ipv4Addr::LOCALHOST.into();
            let to = Destination::new((address, port).into(), from, args.train > 1);
            Lane { sealer: RtpSealer::new(profile, &master), to, index: 0 }
        })
        .collect()
}

struct Bench {
    socket: UdpSocket,
    sender: Sender,
    batch: SendBatch,
    lanes: Vec<Lane>,
    payload: Vec<u8>,
    train: usize,
    refused: u64,
    syscalls: u64,
}

impl Bench {
    /// Fans out for `duration`; returns packets and nanoseconds of this thread's CPU.
    fn pass(&mut self, duration: Duration, send: bool) -> io::Result<(u64, u64)> {
        let end = Instant::now() + duration;
        let before = thread_cpu_ns()?;
        let mut packets = 0;
        while Instant::now() < end {
            for lane in 0..self.lanes.len() {
                for _ in 0..self.train {
                    self.packet(lane);
                }
                packets += self.train as u64;
                if self.batch.messages() >= MESSAGES_PER_FLUSH {
                    self.flush(send);
                }
            }
            self.flush(send);
        }
        Ok((packets, thread_cpu_ns()? - before))
    }

    /// Header, copy, seal.
    fn packet(&mut self, lane: usize) {
        let Self { lanes, batch, payload, .. } = self;
        let lane = &mut lanes[lane];
        let index = lane.index;
        lane.index += 1;
        let header = HeaderWriter {
            marker: false,
            padding: false,
            payload_type: 96,
            sequence: index as u16,
            timestamp: 0,
            ssrc: 1,
        };
        let slot = batch.slot().expect("the batch holds a flush of trains");
        let header_len = header.write(&[(2, &[0; 3])], slot).expect("the slot holds a header");
        let end = header_len + payload.len();
        slot[header_len..end].copy_from_slice(payload);
        let length = lane.sealer.seal(slot, header_len, end, header.ssrc, index);
        batch.commit(lane.to, length);
    }

    fn flush(&mut self, send: bool) {
        if !send {
            self.batch.clear();
            return;
        }
        let report = self.sender.flush(&self.socket, &mut self.batch, &mut |_, _| {});
        self.refused += report.trains_refused;
        self.syscalls += report.syscalls;
        // Loopback takes everything; what a full device queue left over is not sent twice.
        self.batch.clear();
    }
}

/// Nanoseconds this thread has been on a CPU: the first field of `schedstat`
/// (`Documentation/scheduler/sched-stats.rst`).
fn thread_cpu_ns() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
    first.ok_or_else(|| io::Error::other("/proc/thread-self/schedstat has no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run over trains and over single datagrams: what it reports hangs together.
    #[test]
    fn a_short_run_hangs_together() {
        for train in [1, 8] {
            let args = FloorArgs {
                size: 1_200,
                train,
                destinations: 100,
                duration: Duration::from_millis(20),
                json: None,
            };
            let floor = measure(&args).unwrap();
            assert!(floor.packets >= 100 * train, "{floor:?}");
            let received = floor.packets_received;
            assert!(received > 0 && received <= floor.packets, "{floor:?}");
            assert_eq!(floor.trains_refused, 0, "{floor:?}");
            assert!(floor.floor_ns_per_packet > 0.0 && floor.seal_ns_per_packet > 0.0, "{floor:?}");
            assert!(floor.packets_per_syscall >= train as f64, "{floor:?}");
        }
    }
}
