//! The program against the kernel, on sockets of loopback. Without the privilege to load one these
//! say so and pass over.

use std::io::ErrorKind;
use std::net::UdpSocket as Peer;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::id::SessionKey;
use crate::limits::STEERED_STUN_ATTRIBUTES;
use crate::net::{Destination, SendBatch, Sender, SocketOptions, UdpSocket};
use crate::wire::link::{FIRST_BYTE, Head};
use crate::wire::ufrag::UfragKey;

/// Sockets that share a port, one per shard, and their steering.
struct Group {
    sockets: Vec<Peer>,
    steering: Steering,
}

impl Group {
    /// `None`, with the reason printed, without the privilege.
    fn new(address: &str, shards: usize, drop_unknown: bool) -> Option<Group> {
        let mut address: SocketAddr = address.parse().unwrap();
        // Asked through a socket that shares, the kernel may give out the port of another test.
        let free = Peer::bind(address).and_then(|socket| socket.local_addr());
        address.set_port(free.unwrap().port());
        let mut sockets = Vec::new();
        for _ in 0..shards {
            let options =
                SocketOptions { receive_buffer_bytes: 1 << 18, ..SocketOptions::default() };
            let socket = UdpSocket::bind(address, &options).unwrap();
            let socket = Peer::from(socket.as_fd().try_clone_to_owned().unwrap());
            sockets.push(socket);
        }
        let group = vec![sockets.iter().map(AsFd::as_fd).collect()];
        match Steering::load(&group, 1_000, drop_unknown) {
            Ok(steering) => Some(Group { sockets, steering }),
            Err(reason) => {
                assert!(reason.contains("CAP_BPF"), "with the privilege it loads: {reason}");
                eprintln!("steering is not tested: {reason}");
                None
            }
        }
    }

    fn port(&self) -> u16 {
        self.sockets[0].local_addr().unwrap().port()
    }

    /// Waits for a datagram on any of the sockets: the shard, and `expected` is what it is.
    fn take(&self, expected: &[u8]) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(shard) = self.look(expected) {
                return shard;
            }
        }
        panic!("{expected:?} arrived nowhere");
    }

    /// The shard whose socket has a datagram now.
    fn look(&self, expected: &[u8]) -> Option<usize> {
        let mut buffer = [0; 2_048];
        self.sockets.iter().position(|socket| match socket.recv(&mut buffer) {
            Ok(length) => {
                assert_eq!(&buffer[..length], expected);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        })
    }

    /// Waits until the kernel has dropped `count` datagrams.
    fn until_dropped(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.steering.dropped() < count && Instant::now() < deadline {}
        assert_eq!(self.steering.dropped(), count);
    }
}

/// The socket's address, the client's, and the address of ours the client sends to.
const FAMILIES: [(&str, &str, &str); 5] = [
    ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"),
    ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"),
    ("[::1]:0", "[::1]:0", "::1"),
    ("[::]:0", "[::1]:0", "::1"),
    ("[::]:0", "127.0.0.1:0", "127.0.0.1"),
];

/// A binding request with `username` behind `before` attributes of other kinds.
fn request(before: usize, username: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    for length in 0..before {
        attribute(0x8022, &vec![b'x'; length]);
    }
    attribute(0x0006, username);
    attribute(0x0008, &[0; 20]);
    let mut bytes = vec![0, 1];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(0x2112_a442_u32.to_be_bytes());
    bytes.extend(*b"transaction!");
    bytes.extend(body);
    bytes
}

fn username(shard: usize) -> Vec<u8> {
    let session = SessionKey { shard: shard as u16, slot: 77, generation: 3 };
    [UfragKey::random().encode(session).as_bytes(), &b":them"[..]].concat()
}

#[test]
fn a_request_goes_to_the_shard_in_its_ufrag() {
    for (ours, theirs, hit) in FAMILIES {
        let Some(group) = Group::new(ours, 4, false) else { return };
        let hit: IpAddr = hit.parse().unwrap();
        for shard in 0..4 {
            // Of eight clients the hash would put one or other elsewhere.
            for before in 0..STEERED_STUN_ATTRIBUTES {
                let bytes = request(before, &username(shard));
                let client = Peer::bind(theirs).unwrap();
                client.send_to(&bytes, (hit, group.port())).unwrap();
                let found = group.take(&bytes);
                assert_eq!(found, shard, "{ours}, {before} attributes before it");
            }
        }
    }
}

#[test]
fn every_character_of_the_shard_is_read_right() {
    // Enough shards for each ice-char in the second place and for three in the first.
    let Some(group) = Group::new("127.0.0.1:0", 160, false) else { return };
    let client = Peer::bind("127.0.0.1:0").unwrap();
    for shard in 0..160 {
        let bytes = request(0, &username(shard));
        client.send_to(&bytes, ("127.0.0.1", group.port())).unwrap();
        assert_eq!(group.take(&bytes), shard);
    }
}

#[test]
fn what_the_program_can_not_read_is_spread_by_the_hash() {
    let Some(group) = Group::new("127.0.0.1:0", 4, false) else { return };
    let text = username(2);
    let mut wrong_version = text.clone();
    wrong_version[0] = b'A';
    let mut no_ice_char = text.clone();
    no_ice_char[2] = b'-';
    let longer = [b"B", &text[..]].concat();
    let mut reaches_beyond = request(1, &text);
    reaches_beyond[22..24].copy_from_slice(&[0xff, 0xff]);
    let datagrams = [
        request(0, &username(4)),
        request(0, &username(255)),
        request(0, &wrong_version),
        request(0, &no_ice_char),
        request(0, &longer),
        request(0, &text[..18]),
        request(0, b""),
        request(STEERED_STUN_ATTRIBUTES, &text),
        reaches_beyond,
        request(0, &text)[..30].to_vec(),
        vec![0],
        vec![],
    ];
    for bytes in datagrams {
        let mut shards: Vec<usize> = (0..48)
            .map(|_| {
                let client = Peer::bind("127.0.0.1:0").unwrap();
                client.send_to(&bytes, ("127.0.0.1", group.port())).unwrap();
                group.take(&bytes)
            })
            .collect();
        shards.sort_unstable();
        shards.dedup();
        // That 48 clients hash to one shard happens once in 10^28.
        assert!(shards.len() > 1, "{bytes:?} all went to {shards:?}");
    }
}

#[test]
fn other_datagrams_follow_the_map_and_move_with_it() {
    for (ours, theirs, hit) in FAMILIES {
        let Some(group) = Group::new(ours, 4, false) else { return };
        let local = SocketAddr::new(hit.parse().unwrap(), group.port());
        for shard in [0, 1, 2, 3, 0] {
            for first in [20, 63, 128, 191] {
                let bytes = [first, 96, 1, 2];
                let client = Peer::bind(theirs).unwrap();
                let remote = client.local_addr().unwrap();
                client.send_to(&bytes, local).unwrap();
                let by_hash = group.take(&bytes);
                group.steering.claim(local, remote, shard).unwrap();
                client.send_to(&bytes, local).unwrap();
                assert_eq!(group.take(&bytes), usize::from(shard), "{ours}");
                group.steering.claim(local, remote, 3 - shard).unwrap();
                client.send_to(&bytes, local).unwrap();
                assert_eq!(group.take(&bytes), usize::from(3 - shard), "{ours}");
                group.steering.release(local, remote);
                group.steering.release(local, remote);
                client.send_to(&bytes, local).unwrap();
                assert_eq!(group.take(&bytes), by_hash, "{ours}");
            }
        }
        assert_eq!(group.steering.dropped(), 0);
    }
}

#[test]
fn what_another_node_sends_goes_to_the_shard_it_names_also_where_unknown_flows_are_dropped() {
    for (ours, theirs, hit) in FAMILIES {
        let Some(group) = Group::new(ours, 4, true) else { return };
        let hit: IpAddr = hit.parse().unwrap();
        for shard in 0..4 {
            for _ in 0..8 {
                let head = Head { shard: shard as u8, link: 1, counter: 2 };
                let bytes = [&head.bytes()[..], b"sealed"].concat();
                let client = Peer::bind(theirs).unwrap();
                client.send_to(&bytes, (hit, group.port())).unwrap();
                assert_eq!(group.take(&bytes), shard, "{ours}");
            }
        }
        // A shard there is not, and no more than the first byte: the hash has them.
        for bytes in [&[FIRST_BYTE, 200, 1, 0][..], &[FIRST_BYTE]] {
            let client = Peer::bind(theirs).unwrap();
            client.send_to(bytes, (hit, group.port())).unwrap();
            assert!(group.take(bytes) < 4);
        }
        assert_eq!(group.steering.dropped(), 0);
    }
}

#[test]
fn unknown_flows_are_dropped_and_counted_where_asked_for() {
    for (ours, theirs, hit) in FAMILIES {
        let Some(group) = Group::new(ours, 4, true) else { return };
        assert!(group.steering.drops_unknown());
        let local = SocketAddr::new(hit.parse().unwrap(), group.port());
        let client = Peer::bind(theirs).unwrap();
        let media = [0x80, 96, 1, 2];
        for count in 1..=10 {
            client.send_to(&media, local).unwrap();
            group.until_dropped(count);
            assert_eq!(group.look(&media), None, "{ours}");
        }
        let check = request(0, &username(1));
        client.send_to(&check, local).unwrap();
        assert_eq!(group.take(&check), 1, "checks of strangers pass");
        group.steering.claim(local, client.local_addr().unwrap(), 2).unwrap();
        client.send_to(&media, local).unwrap();
        assert_eq!(group.take(&media), 2);
        assert_eq!(group.steering.dropped(), 10);
    }
}

#[test]
fn ports_share_the_map_and_keep_their_flows_apart() {
    let ports: Vec<Vec<UdpSocket>> = (0..2)
        .map(|_| {
            let options = SocketOptions::default();
            let first = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
            let second = UdpSocket::bind(first.local_addr(), &options).unwrap();
            vec![first, second]
        })
        .collect();
    let groups: Vec<Vec<BorrowedFd<'_>>> =
        ports.iter().map(|sockets| sockets.iter().map(AsFd::as_fd).collect()).collect();
    let steering = match Steering::load(&groups, 10, false) {
        Ok(steering) => steering,
        Err(reason) => return eprintln!("steering is not tested: {reason}"),
    };
    let client = Peer::bind("127.0.0.1:0").unwrap();
    let remote = client.local_addr().unwrap();
    for (claimed, other) in [(0, 1), (1, 0)] {
        steering.claim(ports[0][0].local_addr(), remote, claimed).unwrap();
        steering.claim(ports[1][0].local_addr(), remote, other).unwrap();
        for (port, shard) in [(0, claimed), (1, other)] {
            client.send_to(&[0x80, port], ports[usize::from(port)][0].local_addr()).unwrap();
            let socket = &ports[usize::from(port)][usize::from(shard)];
            let socket = Peer::from(socket.as_fd().try_clone_to_owned().unwrap());
            let (deadline, mut buffer) = (Instant::now() + Duration::from_secs(5), [0; 8]);
            let mut received = socket.recv(&mut buffer);
            while received.is_err() && Instant::now() < deadline {
                received = socket.recv(&mut buffer);
            }
            assert_eq!(received.unwrap(), 2, "port {port} has it at {shard}");
        }
    }
}

/// The payload of a train lies outside the linear part of its buffer.
#[test]
fn a_train_is_steered_like_a_single_datagram() {
    for (ours, theirs, hit) in FAMILIES {
        let Some(group) = Group::new(ours, 4, true) else { return };
        let local = SocketAddr::new(hit.parse().unwrap(), group.port());
        let check = request(3, &username(3));
        for (bytes, shard) in [(&[0x80u8; 900][..], 2u16), (&check[..], 3)] {
            let options = SocketOptions::default();
            let client = UdpSocket::bind(theirs.parse().unwrap(), &options).unwrap();
            group.steering.claim(local, client.local_addr(), 2).unwrap();
            let any = IpAddr::from([0, 0, 0, 0]);
            let mut batch = SendBatch::new(4, 1 << 16);
            for _ in 0..4 {
                batch.slot().expect("room")[..bytes.len()].copy_from_slice(bytes);
                let to = Destination::new(local, any, true);
                batch.commit(to, bytes.len());
            }
            let report =
                Sender::new(4).flush(&client, &mut batch, &mut |_, failure| panic!("{failure:?}"));
            assert_eq!((report.datagrams, report.messages), (4, 1));
            let socket = &group.sockets[usize::from(shard)];
            let (deadline, mut found) = (Instant::now() + Duration::from_secs(5), 0);
            // The sockets of shards take trains in one piece (UDP_GRO).
            while found < 4 * bytes.len() && Instant::now() < deadline {
                found += socket.recv(&mut [0; 8_192]).unwrap_or(0);
            }
            assert_eq!(found, 4 * bytes.len(), "{ours}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nothing_is_lost_that_is_not_to_be_dropped(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 32),
        checks in prop::collection::vec((0usize..12, any::<Vec<u8>>()), 8),
    ) {
        let Some(group) = Group::new("[::]:0", 3, false) else { return Ok(()) };
        let client = Peer::bind("127.0.0.1:0").unwrap();
        let checks = checks.into_iter().map(|(before, username)| request(before, &username));
        for bytes in datagrams.into_iter().chain(checks) {
            client.send_to(&bytes, ("127.0.0.1", group.port())).unwrap();
            prop_assert!(group.take(&bytes) < 3);
        }
    }
}

#[test]
fn a_refusal_says_what_to_grant_and_the_log_is_read_to_its_point() {
    let refused = |errno| refusal(&io::Error::from_raw_os_error(errno));
    assert!(refused(libc::EPERM).contains("CAP_BPF"));
    assert!(refused(libc::E2BIG).contains("refuses"));
    let log = b"0: r0 = 1\nR1 !read_ok\nprocessed 3 insns (limit 1000000)\n\0\0junk";
    assert_eq!(last_line(log), "R1 !read_ok");
    assert_eq!(last_line(b"\0"), "no reason given");
}
