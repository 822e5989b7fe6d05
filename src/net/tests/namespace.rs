//! What loopback cannot provoke: a full queue, a narrow link and a firewall, in a network namespace
//! of the test's own. Without root, iproute2 or nftables these say so and pass over.

use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::*;

/// Runs `test` on a thread with a namespace of its own, in which 192.0.2.2 is behind a link of
/// 1,280 bytes, and which `commands` have prepared further.
fn in_namespace(commands: &'static [&'static str], test: fn()) {
    let thread = std::thread::spawn(move || {
        let prepared = unshare(CloneFlags::CLONE_NEWNET).is_ok()
            && ["ip link set lo up", "ip link add v0 mtu 1280 type veth peer name v1"]
                .into_iter()
                .chain(["ip link set v0 up", "ip link set v1 up"])
                .chain(["ip address add 192.0.2.1/24 dev v0"])
                .chain(["ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev v0"])
                .chain(commands.iter().copied())
                .all(run);
        if prepared {
            test()
        } else {
            eprintln!("not tested: no namespace with a narrow link here")
        }
    });
    thread.join().unwrap();
}

fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = words.next().expect("a command");
    let result = Command::new(program).args(words).stderr(Stdio::null()).status();
    result.is_ok_and(|status| status.success())
}

fn narrow() -> Destination {
    to("192.0.2.2:9".parse().unwrap())
}

#[test]
fn a_full_queue_keeps_the_rest_for_the_next_flush() {
    // A byte in a millisecond: what is sent stays in the queue and in the socket's account.
    in_namespace(&["tc qdisc add dev v0 root tbf rate 8kbit burst 1600 limit 1000000"], || {
        let options = SocketOptions { send_buffer_bytes: 16 << 10, ..SocketOptions::default() };
        for address in ["0.0.0.0:0", "[::]:0"] {
            let socket = UdpSocket::bind(address.parse().unwrap(), &options).unwrap();
            let mut batch = SendBatch::new(256, 256 << 10);
            for byte in 0..200u8 {
                push(&mut batch, Destination { trains: false, ..narrow() }, &[byte; 1_000]);
            }
            let mut sender = Sender::new(64);
            let mut failures = 0;
            let first = sender.flush(&socket, &mut batch, &mut |_, _| failures += 1);
            assert!(first.would_block && first.datagrams > 0);
            assert_eq!(first.datagrams + batch.datagrams() as u64, 200);
            let again = sender.flush(&socket, &mut batch, &mut |_, _| failures += 1);
            assert_eq!((again.datagrams, again.syscalls, again.would_block), (0, 1, true));
            // Emptying the queue frees the account. Room for all the rest: a link that is fast.
            assert!(run("tc qdisc replace dev v0 root pfifo limit 1000"));
            let rest = sender.flush(&socket, &mut batch, &mut |_, _| failures += 1);
            assert_eq!((rest.datagrams, failures), (200 - first.datagrams, 0));
            assert!(batch.is_empty() && !rest.would_block);
            assert!(run("tc qdisc replace dev v0 root tbf rate 8kbit burst 1600 limit 1000000"));
        }
    });
}

#[test]
fn what_exceeds_the_link_is_refused_and_the_rest_goes() {
    in_namespace(&[], || {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let socket = bind(address);
            let mut batch = SendBatch::new(64, 64 << 10);
            // A train too wide but for its last, which fits to the byte: 1,280 less 28 of headers.
            // Then a single too wide.
            for length in [1_400, 1_400, 1_400, 1_252, 1_452] {
                push(&mut batch, narrow(), &vec![0; length]);
            }
            let mut failures = Vec::new();
            let report = Sender::new(64).flush(&socket, &mut batch, &mut |_, failure| {
                failures.push(failure);
            });
            assert!(matches!(failures[0], SendFailure::TrainRefused(_)), "{failures:?}");
            assert_eq!(failures[1..], [SendFailure::Refused(libc::EMSGSIZE); 4]);
            assert_eq!((report.datagrams, report.refused, report.trains_refused), (1, 4, 1));
            assert!(batch.is_empty() && !report.would_block);
        }
    });
}

#[test]
fn a_firewall_refuses_its_own_and_no_others() {
    let firewall = [
        "nft add table inet t",
        "nft add chain inet t o { type filter hook output priority 0 ; }",
        "nft add rule inet t o udp dport 8 drop",
    ];
    in_namespace(Box::leak(Box::new(firewall)), || {
        let socket = bind("0.0.0.0:0");
        let mut batch = SendBatch::new(64, 64 << 10);
        let forbidden = to("192.0.2.2:8".parse().unwrap());
        for destination in [narrow(), forbidden, narrow(), forbidden, narrow()] {
            push(&mut batch, destination, &[1]);
        }
        let mut failures = Vec::new();
        let report = Sender::new(64).flush(&socket, &mut batch, &mut |to, failure| {
            failures.push((to, failure));
        });
        assert_eq!(failures, [(forbidden, SendFailure::Refused(libc::EPERM)); 2]);
        assert_eq!((report.datagrams, report.refused), (3, 2));
    });
}
