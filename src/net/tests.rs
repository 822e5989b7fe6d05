//! Both back ends against real sockets on loopback: the same tests, and the same results.

mod namespace;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::limits::{MAX_DATAGRAM_IN, MAX_DATAGRAM_OUT};

/// A datagram that is ours: who, to which of our addresses, what.
type Owned = (SocketAddr, IpAddr, Vec<u8>);

fn backends() -> Vec<Backend> {
    match uring_available() {
        Ok(()) => vec![Backend::Mmsg, Backend::Uring],
        Err(reason) => {
            eprintln!("io_uring is not tested: {reason}");
            vec![Backend::Mmsg]
        }
    }
}

fn bind(address: &str) -> UdpSocket {
    UdpSocket::bind(address.parse().unwrap(), &SocketOptions::default()).unwrap()
}

fn peer(address: &str) -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn owned(datagram: Datagram<'_>) -> Owned {
    (datagram.remote, datagram.local, datagram.bytes.to_vec())
}

/// Receives until `count` datagrams are there, or for some seconds.
fn collect(receiver: &mut Receiver, socket: &UdpSocket, count: usize) -> Vec<Owned> {
    let mut found = Vec::new();
    for _ in 0..5_000 {
        let received = receiver.receive(socket).unwrap();
        assert_eq!(receiver.datagrams().count(), received, "the count is that of the iterator");
        found.extend(receiver.datagrams().map(owned));
        if found.len() >= count {
            break;
        }
        if received == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(found.len(), count);
    assert_eq!(receiver.receive(socket).unwrap(), 0, "nothing is there twice");
    assert_eq!(receiver.datagrams().count(), 0, "an empty receive leaves no datagrams");
    found
}

fn push(batch: &mut SendBatch, to: Destination, bytes: &[u8]) {
    batch.slot().expect("room")[..bytes.len()].copy_from_slice(bytes);
    batch.commit(to, bytes.len());
}

fn to(remote: SocketAddr) -> Destination {
    Destination::new(remote, [0, 0, 0, 0].into(), true)
}

/// Flushes everything, expecting no failure.
fn flush(socket: &UdpSocket, batch: &mut SendBatch) -> FlushReport {
    let report = Sender::new(64).flush(socket, batch, &mut |to, failure| {
        panic!("{to:?}: {failure:?}");
    });
    assert!(batch.is_empty() && !report.would_block);
    report
}

#[test]
fn an_answer_comes_from_the_address_that_was_hit() {
    // The socket's address, the client's, and the address of ours the client sends to.
    let cases = [
        ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"),
        ("[::1]:0", "[::1]:0", "::1"),
        ("[::]:0", "[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1:0", "127.0.0.1"),
        ("[::]:0", "127.0.0.3:0", "127.0.0.2"),
    ];
    for backend in backends() {
        for (ours, theirs, hit) in cases {
            let socket = bind(ours);
            let hit: IpAddr = hit.parse().unwrap();
            let mut receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
            let client = peer(theirs);
            client.send_to(b"hello", (hit, socket.port())).unwrap();
            let found = collect(&mut receiver, &socket, 1);
            let remote = client.local_addr().unwrap();
            assert_eq!(found, [(remote, hit, b"hello".to_vec())], "{backend:?} {ours}");

            let mut batch = SendBatch::new(4, 16 << 10);
            let back = Destination::new(remote, hit, true);
            // A train and a single datagram use different control messages.
            for bytes in [&b"same"[..], b"size", b"then longer"] {
                push(&mut batch, back, bytes);
            }
            let report = flush(&socket, &mut batch);
            assert_eq!((report.datagrams, report.messages, report.bytes), (3, 2, 19));
            for bytes in [&b"same"[..], b"size", b"then longer"] {
                let mut buffer = [0; 64];
                let (length, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], bytes);
                assert_eq!(from, SocketAddr::new(hit, socket.port()), "{backend:?} {ours}");
            }
        }
    }
}

#[test]
fn a_coalesced_train_is_split_again() {
    for backend in backends() {
        for lengths in [vec![1000; 5], vec![1000, 1000, 1000, 1], vec![7; 64]] {
            let (socket, sender) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let mut receiver = Receiver::new(backend, 1, &[&socket]).unwrap();
            let mut batch = SendBatch::new(64, 1 << 20);
            for (index, length) in lengths.iter().enumerate() {
                push(&mut batch, to(socket.local_addr()), &vec![index as u8; *length]);
            }
            let report = flush(&sender, &mut batch);
            assert_eq!((report.messages, report.syscalls), (1, 1), "one train");
            assert_eq!(batch.train_lengths()[lengths.len()], 1);
            // A batch of one message that holds them all: loopback keeps a train in one piece.
            assert_eq!(receiver.receive(&socket).unwrap(), lengths.len(), "{backend:?}");
            for (index, datagram) in receiver.datagrams().enumerate() {
                assert_eq!(datagram.bytes, vec![index as u8; lengths[index]]);
                assert_eq!(datagram.remote, sender.local_addr());
            }
        }
    }
}

#[test]
fn the_shortest_and_the_longest_datagrams_arrive() {
    for backend in backends() {
        let socket = bind("127.0.0.1:0");
        let mut receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
        let client = peer("127.0.0.1:0");
        let longest: Vec<u8> = (0..MAX_DATAGRAM_IN).map(|index| (index % 251) as u8).collect();
        for bytes in [&[][..], &longest, &[][..], &[1]] {
            client.send_to(bytes, socket.local_addr()).unwrap();
        }
        let found: Vec<_> =
            collect(&mut receiver, &socket, 4).into_iter().map(|one| one.2).collect();
        assert!(found == [vec![], longest, vec![], vec![1]], "{backend:?}");

        let mut batch = SendBatch::new(4, 16 << 10);
        let back = to(client.local_addr().unwrap());
        for bytes in [&[][..], &[][..], &[9; MAX_DATAGRAM_OUT]] {
            push(&mut batch, back, bytes);
        }
        assert_eq!(flush(&socket, &mut batch).datagrams, 3);
        let mut buffer = [0; 2 * MAX_DATAGRAM_OUT];
        let lengths = [0; 3].map(|_| client.recv_from(&mut buffer).unwrap().0);
        assert_eq!(lengths, [0, 0, MAX_DATAGRAM_OUT]);
    }
}

#[test]
fn more_datagrams_than_buffers_arrive_in_order() {
    for backend in backends() {
        let socket = bind("127.0.0.1:0");
        let mut receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
        let client = peer("127.0.0.1:0");
        for number in 0..200u32 {
            client.send_to(&number.to_be_bytes(), socket.local_addr()).unwrap();
        }
        let found = collect(&mut receiver, &socket, 200);
        for ((_, _, bytes), number) in found.iter().zip(0u32..) {
            assert_eq!(bytes[..], number.to_be_bytes(), "{backend:?}");
        }
        let exhausted = receiver.buffers_exhausted() > 0;
        assert_eq!(exhausted, backend == Backend::Uring, "8 buffers cannot hold 200");
    }
}

#[test]
fn queue_drops_are_counted() {
    for backend in backends() {
        let options = SocketOptions { receive_buffer_bytes: 8 << 10, ..SocketOptions::default() };
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let mut receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
        let client = peer("127.0.0.1:0");
        let mut arrived = 0;
        for round in 1..=2 {
            for _ in 0..300 {
                client.send_to(&[0; 500], socket.local_addr()).unwrap();
            }
            loop {
                match receiver.receive(&socket).unwrap() {
                    0 => break,
                    count => arrived += count as u64,
                }
            }
            // The datagram that tells of it.
            client.send_to(&[1], socket.local_addr()).unwrap();
            arrived += collect(&mut receiver, &socket, 1).len() as u64;
            assert_eq!(receiver.overflow_drops() + arrived, round * 301, "{backend:?}");
        }
    }
}

#[test]
fn a_refused_destination_does_not_hold_up_the_rest() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let socket = bind(address);
        let client = peer("127.0.0.1:0");
        let good = to(client.local_addr().unwrap());
        // Broadcast without SO_BROADCAST is EACCES, for a train too.
        let bad = to("255.255.255.255:9".parse().unwrap());
        let mut batch = SendBatch::new(64, 64 << 10);
        for (to, byte) in [(bad, 0), (good, 1), (bad, 0), (bad, 0), (good, 2), (bad, 0), (good, 3)]
        {
            push(&mut batch, to, &[byte]);
        }
        let mut failures = Vec::new();
        let report = Sender::new(64).flush(&socket, &mut batch, &mut |to, failure| {
            failures.push((to, failure));
        });
        assert_eq!(failures, [(bad, SendFailure::Refused(libc::EACCES)); 4], "one per datagram");
        assert_eq!((report.datagrams, report.refused, report.trains_refused), (3, 4, 0));
        assert!(batch.is_empty() && !report.would_block);
        for byte in 1..=3 {
            let mut buffer = [0; 4];
            assert_eq!(client.recv_from(&mut buffer).unwrap().0, 1);
            assert_eq!(buffer[0], byte);
        }
    }
}

#[test]
fn a_refused_train_is_sent_one_by_one() {
    let socket = bind("127.0.0.1:0");
    // The kernel does not cut trains for a socket without checksums: udp_send_skb, EINVAL (EIO
    // in some versions).
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let client = peer("127.0.0.1:0");
    let destination = to(client.local_addr().unwrap());
    let mut batch = SendBatch::new(2, 64 << 10);
    for byte in 0..10u8 {
        push(&mut batch, destination, &[byte; 100]);
    }
    let mut failures = Vec::new();
    let report = Sender::new(64).flush(&socket, &mut batch, &mut |to, failure| {
        failures.push((to, failure));
    });
    assert!(matches!(failures[..], [(to, SendFailure::TrainRefused(_))] if to == destination));
    assert_eq!((report.datagrams, report.messages, report.trains_refused), (10, 10, 1));
    assert_eq!((report.refused, batch.train_lengths()[1]), (0, 10));
    for byte in 0..10u8 {
        let mut buffer = [0; 200];
        assert_eq!(client.recv_from(&mut buffer).unwrap().0, 100);
        assert_eq!(buffer[..100], [byte; 100]);
    }
}

#[test]
fn a_port_can_be_shared_and_its_holder_is_seen() {
    let first = bind("127.0.0.1:0");
    let second = UdpSocket::bind(first.local_addr(), &SocketOptions::default()).unwrap();
    assert_eq!(second.port(), first.port());
    let holder = udp_port_holder(first.port()).unwrap().expect("held twice");
    assert_eq!(holder.pid, Some(std::process::id()));
    let (receive, send) = first.effective_buffers();
    assert!(receive > 0 && send > 0);
}

/// What each receiving socket got, in order.
type Deliveries = BTreeMap<usize, Vec<Vec<u8>>>;

/// Sends `plan`, pairs of receiver index and length, from one socket to several receivers, and
/// returns what each got. Contents tell the datagrams apart.
fn deliver(
    plan: &[(usize, usize)],
    trains: bool,
    from: &UdpSocket,
    receivers: &mut [(UdpSocket, Receiver)],
) -> Deliveries {
    let mut batch = SendBatch::new(8, 8 << 10);
    for (number, (index, length)) in plan.iter().enumerate() {
        let destination = Destination { trains, ..to(receivers[*index].0.local_addr()) };
        if batch.slot().is_none() {
            flush(from, &mut batch);
        }
        push(&mut batch, destination, &vec![number as u8; *length]);
    }
    flush(from, &mut batch);
    let count = |index| plan.iter().filter(|(to, _)| *to == index).count();
    let each = receivers.iter_mut().enumerate().map(|(index, (socket, receiver))| {
        let found = collect(receiver, socket, count(index));
        (index, found.into_iter().map(|one| one.2).collect())
    });
    each.collect()
}

/// The differential oracle: trains or not, GRO or not, recvmmsg or io_uring, v4 or v6: every
/// datagram arrives as it was sent, in order, at its destination.
#[test]
fn every_way_delivers_the_same() {
    let from = bind("[::]:0");
    let mut groups = Vec::new();
    for backend in backends() {
        for gro in [true, false] {
            let options = SocketOptions { gro, ..SocketOptions::default() };
            let receiver = |address: &str| {
                let socket = UdpSocket::bind(address.parse().unwrap(), &options).unwrap();
                let receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
                (socket, receiver)
            };
            groups.push([receiver("127.0.0.1:0"), receiver("[::1]:0")]);
        }
    }
    let groups = RefCell::new(groups);
    let lengths = prop_oneof![0..4usize, 998..1002usize, Just(1_200), Just(MAX_DATAGRAM_OUT)];
    let plan = prop::collection::vec((0..2usize, lengths), 0..60);
    TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() })
        .run(&plan, |plan| {
            let mut expected: Deliveries = [(0, Vec::new()), (1, Vec::new())].into();
            for (number, (index, length)) in plan.iter().enumerate() {
                expected.get_mut(index).unwrap().push(vec![number as u8; *length]);
            }
            for group in groups.borrow_mut().iter_mut() {
                for trains in [true, false] {
                    let found = deliver(&plan, trains, &from, group);
                    prop_assert!(found == expected, "trains {}", trains);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Waits as a shard does: for readiness, in a tokio-uring runtime. Each round waits anew, so a
/// wake-up that was lost would be seen as a time-out.
#[test]
fn readiness_wakes_the_runtime() {
    for backend in backends() {
        echo_asleep(|socket| Receiver::new(backend, 4, &[socket]).unwrap());
        if backend == Backend::Uring {
            echo_asleep(|socket| {
                Receiver(Inner::Uring(uring::UringReceiver::cooperative(4, socket).unwrap()))
            });
        }
    }
}

/// Echoes a datagram a round, asleep in between.
fn echo_asleep(receiver: impl FnOnce(&UdpSocket) -> Receiver) {
    const ROUNDS: u8 = 100;
    tokio_uring::start(async {
        let socket = bind("127.0.0.1:0");
        let mut receiver = receiver(&socket);
        assert_eq!(receiver.receive(&socket).unwrap(), 0);
        let readiness = [receiver.readiness(&socket).unwrap()];
        let address = socket.local_addr();
        let client = std::thread::spawn(move || {
            let client = peer("127.0.0.1:0");
            let mut buffer = [0; 8];
            for round in 0..ROUNDS {
                // Lets the runtime fall asleep first, in most rounds.
                std::thread::sleep(Duration::from_micros(500));
                client.send_to(&[round], address).unwrap();
                assert_eq!(client.recv_from(&mut buffer).unwrap().0, 1);
            }
        });
        let mut seen = 0;
        while seen < ROUNDS {
            let ready =
                tokio::time::timeout(Duration::from_secs(5), Readiness::any_readable(&readiness))
                    .await;
            ready.expect("a wake-up");
            while receiver.receive(&socket).unwrap() > 0 {
                let mut batch = SendBatch::new(4, 16 << 10);
                for datagram in receiver.datagrams() {
                    assert_eq!(datagram.bytes, [seen]);
                    push(&mut batch, to(datagram.remote), datagram.bytes);
                    seen += 1;
                }
                flush(&socket, &mut batch);
            }
        }
        socket.writable().await.unwrap();
        client.join().unwrap();
    });
}

/// Arrivals race with falling asleep: a lost wake-up would leave the last datagrams of a burst
/// in the queue until the next one, and the very last ones for good.
#[test]
fn no_wake_up_is_lost_in_a_flood() {
    const DATAGRAMS: u32 = 4_096;
    // Unanswered datagrams, which the smallest receive buffer in use holds.
    const WINDOW: u32 = 256;
    for backend in backends() {
        tokio_uring::start(async {
            let socket = bind("127.0.0.1:0");
            let mut receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
            assert_eq!(receiver.receive(&socket).unwrap(), 0);
            let readiness = [receiver.readiness(&socket).unwrap()];
            let address = socket.local_addr();
            let client = std::thread::spawn(move || {
                let client = peer("127.0.0.1:0");
                for number in 0..DATAGRAMS {
                    client.send_to(&number.to_be_bytes(), address).unwrap();
                    if number % WINDOW == WINDOW - 1 {
                        client.recv_from(&mut [0; 8]).unwrap();
                    }
                    // Bursts of 1 to 7 with pauses of about as long as a wake-up takes.
                    if number % 29 % 7 == 0 {
                        (0..number % 61 * 100).for_each(|_| std::hint::spin_loop());
                    }
                }
            });
            let mut seen = 0;
            while seen < DATAGRAMS {
                let limit = Duration::from_secs(5);
                let ready = tokio::time::timeout(limit, Readiness::any_readable(&readiness)).await;
                ready.expect("a wake-up");
                while receiver.receive(&socket).unwrap() > 0 {
                    let mut batch = SendBatch::new(4, 16 << 10);
                    for datagram in receiver.datagrams() {
                        assert_eq!(datagram.bytes, seen.to_be_bytes(), "{backend:?}");
                        seen += 1;
                        if seen.is_multiple_of(WINDOW) {
                            push(&mut batch, to(datagram.remote), &[1]);
                        }
                    }
                    flush(&socket, &mut batch);
                }
            }
            client.join().unwrap();
        });
    }
}

#[test]
fn a_receiver_can_move_to_its_thread_and_be_dropped_elsewhere() {
    for backend in backends() {
        let socket = bind("127.0.0.1:0");
        let receiver = Receiver::new(backend, 4, &[&socket]).unwrap();
        let moved = std::thread::spawn(move || {
            let (socket, mut receiver) = (socket, receiver);
            let client = peer("127.0.0.1:0");
            client.send_to(&[1], socket.local_addr()).unwrap();
            collect(&mut receiver, &socket, 1);
            (socket, receiver)
        });
        let (socket, mut receiver) = moved.join().unwrap();
        let again = receiver.receive(&socket);
        assert!(again.is_ok() || backend == Backend::Uring, "a ring belongs to its thread");
    }
}
