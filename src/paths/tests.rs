//! What a proof does to the path that is proved and to all others.

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket as Client};
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;
use crate::drop::DropReason;
use crate::limits::{MAX_FLOWS_PER_SESSION, MAX_TCP_CONNECTIONS_PER_SESSION};
use crate::net::{SocketOptions, Steering, UdpSocket};
use crate::telemetry::ShardCounters;
use crate::wire::kind::Kind;
use crate::wire::link::Head;

const PORT: u16 = 7_882;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ownership(shards: usize, steering: Option<Steering>) -> SharedOwnership {
    SharedOwnership::new(Ownership {
        directory: Directory::new(1_000),
        steering,
        links: LinkNames::default(),
        shards,
    })
}

/// The paths of shard `shard`, with a mux port and sessions in the slots 0 to 3.
fn paths(shard: u16, ownership: &SharedOwnership) -> Paths {
    let config = PathsConfig {
        shard,
        tcp_candidates: vec![SocketAddr::new(LOCAL, 443)],
        trains: true,
        ufrag_key: UfragKey::random(),
    };
    let transmitter = Transmitter::memory();
    let paths = Paths::new(config, ownership.clone(), Sharing::Mux, transmitter, Instant::now());
    let mut paths = paths.unwrap();
    paths.ports.insert(0, PORT);
    (0..4).for_each(|slot| paths.enter(Instant::now(), slot, 0));
    paths
}

fn udp(remote_port: u16) -> Path {
    Path { via: Via::Udp(0), local: LOCAL, remote: SocketAddr::new(LOCAL, remote_port) }
}

fn prove(paths: &mut Paths, slot: u32, path: Path, chosen: bool) -> Proved {
    paths.prove(Instant::now(), slot, path, chosen, &ShardCounters::default())
}

/// Whose a media datagram is that comes by `path`.
fn media(paths: &Paths, path: Path) -> Result<Whose, DropReason> {
    let Path { via, local, remote } = path;
    let (bytes, arrived) = (&mut [0x80; 12], Instant::now());
    paths.whose(Kind::Rtp, &Inbound { via, local, remote, bytes, arrived, handed_over: false })
}

#[test]
fn a_path_that_was_chosen_outlives_any_number_of_others() {
    let mut paths = paths(0, &ownership(1, None));
    prove(&mut paths, 1, udp(1), true);
    for port in 2..100 {
        assert_eq!(prove(&mut paths, 1, udp(port), false).moved, None);
    }
    assert_eq!(media(&paths, udp(1)), Ok(Whose::Session(1)));
    assert_eq!(paths.flows(), MAX_FLOWS_PER_SESSION, "it is one of those that are kept");
    let kept = (2..100).filter(|port| media(&paths, udp(*port)).is_ok());
    assert_eq!(kept.collect::<Vec<_>>(), (93..100).collect::<Vec<_>>(), "the newest others");
    // The path it takes next is safe as well, and the one before is a path like any other.
    prove(&mut paths, 1, udp(93), true);
    for port in 200..300 {
        prove(&mut paths, 1, udp(port), false);
    }
    assert_eq!(media(&paths, udp(93)), Ok(Whose::Session(1)));
    assert_eq!(media(&paths, udp(1)), Err(DropReason::UnknownFlow));
}

#[test]
fn a_connection_that_was_chosen_outlives_any_number_of_others() {
    let mut paths = paths(0, &ownership(1, None));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connect = |paths: &mut Paths| {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, remote) = listener.accept().unwrap();
        let arrival = NewConnection { stream, local: LOCAL, remote, received: Vec::new() };
        paths.connect(Instant::now(), arrival, &ShardCounters::default());
        let id = paths.ways.tcp.ids().last().unwrap();
        (client, Path { via: Via::Tcp(id), local: LOCAL, remote })
    };
    let (_client, chosen) = connect(&mut paths);
    prove(&mut paths, 2, chosen, true);
    let mut clients = Vec::new();
    for _ in 0..MAX_TCP_CONNECTIONS_PER_SESSION {
        let (client, other) = connect(&mut paths);
        clients.push(client);
        assert_eq!(prove(&mut paths, 2, other, false).moved, None);
    }
    assert_eq!(paths.ways.tcp.len(), MAX_TCP_CONNECTIONS_PER_SESSION);
    assert_eq!(media(&paths, chosen), Ok(Whose::Session(2)));
    assert_eq!(paths.path(2), Some(chosen));
}

#[test]
fn whoever_loses_a_path_to_another_falls_back_to_its_newest() {
    let mut paths = paths(0, &ownership(1, None));
    prove(&mut paths, 0, udp(1), false);
    prove(&mut paths, 0, udp(2), false);
    let moved = prove(&mut paths, 0, udp(3), true).moved.expect("it was chosen");
    assert_eq!((moved.to, moved.had_one), (udp(3).destination(true), true));
    let proved = prove(&mut paths, 1, udp(3), true);
    let displaced = Moved { slot: 0, to: udp(2).destination(true), had_one: true };
    assert_eq!(proved.displaced, Some(displaced));
    assert_eq!(media(&paths, udp(3)), Ok(Whose::Session(1)));
    // Whoever did not use what it lost stays where it is.
    assert_eq!(prove(&mut paths, 1, udp(1), false).displaced, None);
    paths.leave(0, &ShardCounters::default());
    assert_eq!(media(&paths, udp(2)), Err(DropReason::UnknownFlow));
    assert_eq!(media(&paths, udp(3)), Ok(Whose::Session(1)));
}

#[test]
fn a_flow_goes_from_shard_to_shard_and_the_former_is_told() {
    let ownership = ownership(2, None);
    let (mut one, mut other) = (paths(0, &ownership), paths(1, &ownership));
    assert_eq!(prove(&mut one, 0, udp(1), true).taken_from, None);
    assert_eq!(media(&other, udp(1)), Ok(Whose::Shard(0)));
    let (from, flow) = prove(&mut other, 3, udp(1), true).taken_from.expect("it was another's");
    assert_eq!(from, 0);
    assert_eq!(media(&one, udp(1)), Ok(Whose::Session(0)), "until it is told");
    assert_eq!(one.lose(&flow), None, "it has no other path");
    assert_eq!(media(&one, udp(1)), Ok(Whose::Shard(1)));
    // A note that comes late takes nothing away.
    assert_eq!(prove(&mut one, 0, udp(1), true).taken_from, Some((1, flow)));
    assert_eq!(one.lose(&flow), None);
    assert_eq!(media(&one, udp(1)), Ok(Whose::Session(0)));
}

#[test]
fn a_closed_port_takes_its_flows_along_and_names_who_is_left_without() {
    let mut paths = paths(0, &ownership(1, None));
    paths.ports.insert(1, PORT + 1);
    paths.enter(Instant::now(), 7, 1);
    let second = |port| Path { via: Via::Udp(1), ..udp(port) };
    prove(&mut paths, 0, second(1), true);
    prove(&mut paths, 1, udp(2), true);
    prove(&mut paths, 1, second(3), false);
    assert_eq!(paths.sessions_at(1), [0, 7], "reached through it, and given it");
    paths.close_port(1);
    assert_eq!(media(&paths, second(3)), Err(DropReason::PortClosed));
    assert_eq!(paths.flows(), 1);
}

/// The kernel's map keeps what was not silent longest: a path that is proved and waits is forgotten
/// by and by, and with `--kernel-drop` nothing but checks comes by it then.
#[test]
fn a_flow_that_the_kernel_forgot_is_known_again_after_the_next_check() {
    let options = SocketOptions::default();
    let socket = UdpSocket::bind(SocketAddr::new(LOCAL, 0), &options).unwrap();
    let steering = match Steering::load(&[vec![socket.as_fd()]], 100, true) {
        Ok(steering) => steering,
        Err(reason) => return eprintln!("steering is not tested: {reason}"),
    };
    let ownership = ownership(1, Some(steering));
    let mut paths = paths(0, &ownership);
    paths.ports.insert(0, socket.port());
    let client = Client::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let path = udp(client.local_addr().unwrap().port());
    let own = Client::from(socket.as_fd().try_clone_to_owned().unwrap());
    own.set_nonblocking(false).unwrap();
    own.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let arrives = || {
        // The kernel answers what it drops with ICMP, which the next send may report.
        let _ = client.send_to(&[0x80; 12], socket.local_addr());
        own.recv(&mut [0; 64]).is_ok()
    };
    prove(&mut paths, 0, path, true);
    assert!(arrives(), "a proved flow is known");
    let steering = ownership.steering.as_ref().unwrap();
    steering.release(socket.local_addr(), client.local_addr().unwrap());
    assert!(!arrives(), "the kernel has forgotten it");
    prove(&mut paths, 0, path, false);
    let _ = client.send_to(&[0x80; 12], socket.local_addr());
    assert!(arrives(), "and knows it again");
}

/// A connectivity check for a session whose ufrag `key` made.
fn check(key: &UfragKey) -> Vec<u8> {
    let session = crate::id::SessionKey { shard: 0, slot: 1, generation: 0 };
    let username = format!("{}:peer", key.encode(session).as_str());
    let padded = username.len().next_multiple_of(4);
    let mut bytes = vec![0x00, 0x01, 0x00, 4 + padded as u8, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend([7; 12]);
    bytes.extend([0x00, 0x06, 0x00, username.len() as u8]);
    bytes.extend(username.bytes());
    bytes.resize(24 + padded, 0);
    bytes
}

#[test]
fn what_nobody_here_knows_is_the_earlier_process_s_where_there_is_one() {
    let mut paths = paths(0, &ownership(1, None));
    let (earlier, nobody) = (UfragKey::random(), UfragKey::random());
    let own = check(&paths.ufrag_key);
    let whose = |paths: &Paths, kind, bytes: &[u8], handed_over| {
        let Path { via, local, remote } = udp(1);
        let arrived = Instant::now();
        {
            let bytes = &mut bytes.to_vec()[..];
            paths.whose(kind, &Inbound { via, local, remote, bytes, arrived, handed_over })
        }
    };
    let (theirs, forged) = (check(&earlier), check(&nobody));
    assert_eq!(whose(&paths, Kind::Stun, &theirs, false), Err(DropReason::ForgedUfrag));
    assert_eq!(media(&paths, udp(1)), Err(DropReason::UnknownFlow));

    paths.set_earlier(vec![earlier]);
    assert_eq!(whose(&paths, Kind::Stun, &theirs, false), Ok(Whose::Earlier));
    assert_eq!(whose(&paths, Kind::Stun, &forged, false), Err(DropReason::ForgedUfrag));
    assert!(matches!(whose(&paths, Kind::Stun, &own, false), Ok(Whose::Check(_))));
    assert_eq!(media(&paths, udp(1)), Ok(Whose::Earlier));
    // Another shard has asked its own table and everybody's already.
    assert_eq!(whose(&paths, Kind::Rtp, &[0x80; 12], true), Err(DropReason::StaleFlow));
    prove(&mut paths, 1, udp(1), true);
    assert_eq!(media(&paths, udp(1)), Ok(Whose::Session(1)));

    paths.set_earlier(Vec::new());
    assert_eq!(whose(&paths, Kind::Stun, &theirs, false), Err(DropReason::ForgedUfrag));
    assert_eq!(media(&paths, udp(2)), Err(DropReason::UnknownFlow));
}

#[test]
fn what_names_no_link_there_is_is_handed_to_nobody_but_an_earlier_process() {
    let ownership = ownership(2, None);
    let mut paths = paths(0, &ownership);
    let (own, other) = (0x8000_1005, 0x8000_2005);
    ownership.links.enter(0, own);
    ownership.links.enter(1, other);
    let whose = |paths: &Paths, shard: u8, link: u32, handed_over: bool| {
        let Path { via, local, remote } = udp(1);
        let head = Head { shard, link, counter: 0 };
        let (mut bytes, arrived) = ([&head.bytes()[..], &[0; 17]].concat(), Instant::now());
        let bytes = &mut bytes[..];
        paths.whose(Kind::Link, &Inbound { via, local, remote, bytes, arrived, handed_over })
    };
    assert_eq!(whose(&paths, 0, own, false), Ok(Whose::Link(own)));
    assert_eq!(whose(&paths, 0, own, true), Ok(Whose::Link(own)));
    assert_eq!(whose(&paths, 1, other, false), Ok(Whose::Shard(1)));
    for (shard, link) in [(0, other), (1, own), (9, own), (255, 0), (1, other ^ 1 << 20)] {
        assert_eq!(whose(&paths, shard, link, false), Err(DropReason::UnknownLink), "{link:x}");
    }
    assert_eq!(whose(&paths, 1, other, true), Err(DropReason::UnknownLink));
    paths.set_earlier(vec![UfragKey::random()]);
    assert_eq!(whose(&paths, 0, other, false), Ok(Whose::Earlier));
    assert_eq!(whose(&paths, 0, other, true), Err(DropReason::UnknownLink));
    assert_eq!(whose(&paths, 0, own, false), Ok(Whose::Link(own)));
}
