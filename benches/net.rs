//! What a datagram costs at the kernel boundary, over loopback and on one core.
//!
//! `cargo bench --bench net` prints two tables: receiving (back end × GRO, without and with the
//! kernel's timestamps × what was sent × batch × size) and sending (singles and trains × size ×
//! destinations × MTU discovery). With `-- FILTER` only lines that contain the word are run. While
//! any socket asks for timestamps, the kernel stamps every packet of the machine: to see the whole
//! price, run `-- gro` by itself.
//!
//! The measure is CPU time, because the question is how many datagrams a core can carry, and
//! because it is the least disturbed by neighbours; wall time stands beside it, and where the two
//! differ much the machine was busy. Each figure is the median of rounds that take turns, so that
//! a slow minute hurts all the lines alike. Loopback does the receiver's protocol work inside the
//! send; the send figures therefore include the way up to a socket that drops what it gets.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use monoport::cpu;
use monoport::net::{
    Backend, Destination, Receiver, SendBatch, Sender, SocketOptions, UdpSocket, uring_available,
};

/// Rounds of each line; the median of them is printed.
const ROUNDS: usize = 31;

/// Datagrams of one round.
const DATAGRAMS: usize = 4_096;

/// Datagrams queued before each drain: fewer than the smallest buffer granted anywhere holds.
const BURST: usize = 128;

/// Nanoseconds per datagram: of CPU time, and by the clock on the wall.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Cost {
    cpu: f64,
    wall: f64,
}

/// CPU and wall time of `work` added to `total`.
fn timed<T>(total: &mut (Duration, Duration), work: impl FnOnce() -> T) -> T {
    let (cpu, wall) = (cpu::thread_cpu_time(), Instant::now());
    let result = work();
    total.1 += wall.elapsed();
    total.0 += cpu::thread_cpu_time() - cpu;
    result
}

fn per_datagram(total: (Duration, Duration), count: usize) -> Cost {
    let nanoseconds = |time: Duration| time.as_nanos() as f64 / count as f64;
    Cost { cpu: nanoseconds(total.0), wall: nanoseconds(total.1) }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let mut middle = |key: fn(&Cost) -> f64| {
        costs.sort_by(|a, b| key(a).total_cmp(&key(b)));
        key(&costs[costs.len() / 2])
    };
    Cost { cpu: middle(|cost| cost.cpu), wall: middle(|cost| cost.wall) }
}

fn bind(options: &SocketOptions) -> UdpSocket {
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).expect("loopback")
}

/// Queues `count` datagrams of `size` bytes for the destinations in turn, `run` to each, and
/// flushes whenever the batch is full.
fn send(
    sender: &mut Sender,
    socket: &UdpSocket,
    batch: &mut SendBatch,
    to: &[Destination],
    (size, run, count): (usize, usize, usize),
) {
    for number in 0..count {
        if batch.slot().is_none() {
            flush(sender, socket, batch);
        }
        black_box(batch.slot()).expect("an empty batch has room")[0] = number as u8;
        batch.commit(to[number / run % to.len()], size);
    }
    flush(sender, socket, batch);
}

fn flush(sender: &mut Sender, socket: &UdpSocket, batch: &mut SendBatch) {
    let report = sender.flush(socket, batch, &mut |to, failure| panic!("{to:?}: {failure:?}"));
    assert!(!report.would_block, "loopback has room");
}

/// One line of the receive table.
struct ReceiveCase {
    name: String,
    socket: UdpSocket,
    receiver: Receiver,
    sent_in_runs_of: usize,
    size: usize,
    /// Cost of draining, and of filling and draining together: io_uring does part of its work when
    /// a datagram arrives, which the first alone would not show.
    costs: [Vec<Cost>; 2],
}

impl ReceiveCase {
    fn round(&mut self, sender: &mut Sender, from: &UdpSocket, batch: &mut SendBatch) {
        let remote = self.socket.local_addr();
        let trains = self.sent_in_runs_of > 1;
        let to = Destination::new(remote, IpAddr::V4(Ipv4Addr::UNSPECIFIED), trains);
        let (mut drain, mut both) = Default::default();
        let mut received = 0;
        for _ in 0..DATAGRAMS / BURST {
            let shape = (self.size, BURST, BURST);
            timed(&mut both, || send(sender, from, batch, &[to], shape));
            let drained = timed(&mut drain, || {
                let mut count = 0;
                while self.receiver.receive(&self.socket).expect("receive") > 0 {
                    let datagrams = self.receiver.datagrams();
                    count += datagrams
                        .map(|one| usize::from(!black_box(one).bytes.is_empty()))
                        .sum::<usize>();
                }
                count
            });
            received += drained;
        }
        assert_eq!(received, DATAGRAMS, "{}: the receive buffer holds a burst", self.name);
        both.0 += drain.0;
        both.1 += drain.1;
        self.costs[0].push(per_datagram(drain, DATAGRAMS));
        self.costs[1].push(per_datagram(both, DATAGRAMS));
    }
}

fn receive_cases(filter: &str) -> Vec<ReceiveCase> {
    let mut cases = Vec::new();
    let mut backends = vec![Backend::Mmsg];
    match uring_available() {
        Ok(()) => backends.push(Backend::Uring),
        Err(reason) => println!("io_uring is left out: {reason}"),
    }
    for size in [160, 1_200] {
        let ways = [(1, false, false), (1, true, false), (16, true, false)];
        for (sent_in_runs_of, gro, stamped) in
            [&ways[..], &[(1, true, true), (16, true, true)]].concat()
        {
            for batch in [16, 64, 256] {
                for backend in &backends {
                    let sent = if sent_in_runs_of == 1 { "singles" } else { "trains" };
                    let gro_name = match (gro, stamped) {
                        (_, true) => "stamped",
                        (true, false) => "gro",
                        (false, false) => "no gro",
                    };
                    let label = format!("{backend:?}").to_lowercase();
                    let name = format!("{size:5} B {sent:8}{gro_name:8} batch {batch:3} {label:5}");
                    if !name.contains(filter) {
                        continue;
                    }
                    let timestamps = stamped;
                    let options = SocketOptions { gro, timestamps, ..SocketOptions::default() };
                    let socket = bind(&options);
                    let receiver = Receiver::new(*backend, batch, &[&socket]).expect("receiver");
                    let costs = [Vec::new(), Vec::new()];
                    cases.push(ReceiveCase {
                        name,
                        socket,
                        receiver,
                        sent_in_runs_of,
                        size,
                        costs,
                    });
                }
            }
        }
    }
    cases
}

fn bench_receive(filter: &str) {
    let mut cases = receive_cases(filter);
    let (mut sender, from) = (Sender::new(64), bind(&SocketOptions::default()));
    for _ in 0..ROUNDS {
        for case in &mut cases {
            // A train of the batch is a message, and loopback keeps it in one piece.
            let mut batch = SendBatch::new(64, 64 * case.sent_in_runs_of.max(2) * 1_452);
            case.round(&mut sender, &from, &mut batch);
        }
    }
    println!("\nreceive, ns per datagram{:14}drain cpu  wall   with send cpu  wall", "");
    for case in cases {
        let [drain, both] = case.costs.map(median);
        let (a, b, c, d) = (drain.cpu, drain.wall, both.cpu, both.wall);
        println!("{:38}{a:9.0}{b:6.0}{c:16.0}{d:6.0}", case.name);
    }
}

/// One line of the send table.
struct SendCase {
    name: String,
    socket: UdpSocket,
    size: usize,
    train: usize,
    destinations: Vec<Destination>,
    costs: Vec<Cost>,
}

fn send_cases(filter: &str, sinks: &[UdpSocket]) -> Vec<SendCase> {
    let mut cases = Vec::new();
    for size in [160, 1_200] {
        for peers in [1, sinks.len()] {
            for train in [1, 4, 8, 16] {
                for probe in [true, false] {
                    let mtu = if probe { "probe" } else { "default mtu" };
                    let name = format!("{size:5} B trains of {train:2}, {peers:2} peers, {mtu}");
                    if !name.contains(filter) {
                        continue;
                    }
                    let socket = bind(&SocketOptions::default());
                    if !probe {
                        socket.heed_path_mtu().expect("the kernel's default");
                    }
                    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    let to =
                        |sink: &UdpSocket| Destination::new(sink.local_addr(), local, train > 1);
                    let destinations = sinks[..peers].iter().map(to).collect();
                    let costs = Vec::new();
                    cases.push(SendCase { name, socket, size, train, destinations, costs });
                }
            }
        }
    }
    cases
}

fn bench_send(filter: &str) {
    // Sinks with room for next to nothing: what is sent is dropped at the socket's door.
    let options = SocketOptions { receive_buffer_bytes: 1, ..SocketOptions::default() };
    let sinks: Vec<UdpSocket> = (0..32).map(|_| bind(&options)).collect();
    let mut cases = send_cases(filter, &sinks);
    let mut sender = Sender::new(64);
    for _ in 0..ROUNDS {
        for case in &mut cases {
            // With one peer, a message too many would join the train before it: the batch takes as
            // many bytes as make trains of the wanted length, one per flush.
            let alone = case.destinations.len() == 1 && case.train > 1;
            let messages = if alone { 1 } else { 64 };
            let arena = messages * case.train * case.size + 1_452 - case.size;
            let mut batch = SendBatch::new(messages + 1, arena);
            let mut total = Default::default();
            let shape = (case.size, case.train, DATAGRAMS);
            timed(&mut total, || {
                send(&mut sender, &case.socket, &mut batch, &case.destinations, shape);
            });
            let expected = (DATAGRAMS / case.train) as u64;
            assert!(batch.train_lengths()[case.train] >= expected * 9 / 10, "{}", case.name);
            case.costs.push(per_datagram(total, DATAGRAMS));
        }
    }
    println!("\nsend, ns per datagram{:23}cpu  wall", "");
    for case in cases {
        let cost = median(case.costs);
        println!("{:42}{:5.0}{:6.0}", case.name, cost.cpu, cost.wall);
    }
}

fn main() {
    // cargo passes --bench; what is not a flag is the filter.
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let cores = cpu::available_cores();
    cpu::pin_current_thread(cores[cores.len() - 1]).expect("pinned");
    bench_receive(&filter);
    bench_send(&filter);
}
