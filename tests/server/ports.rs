//! Several mux ports: sessions spread over them, every shard serves each, and no other is opened.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until};
use crate::support::{Server, eventually, request, steerings};
use monoport::drop::DropReason;
use str0m::format::Codec;
use str0m::media::MediaKind;

const BOTH: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// The port a session was given: that of every candidate of its answer.
fn port_of(client: &Client) -> u16 {
    let lines = client.answer.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let mut ports: Vec<u16> = lines
        .map(|line| line.split(' ').nth(5).and_then(|port| port.parse().ok()).unwrap())
        .collect();
    ports.dedup();
    assert_eq!(ports.len(), 1, "one port: {}", client.answer);
    ports[0]
}

fn per_port<'a>(clients: impl IntoIterator<Item = &'a Client>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for client in clients {
        *counts.entry(port_of(client)).or_default() += 1;
    }
    counts
}

#[test]
fn a_new_session_gets_the_port_with_the_fewest() {
    let server = Server::start(&["--shards", "2", "--udp-port", "0,0,0"]);
    let mut ports = server.node().udp_ports().to_vec();
    ports.sort_unstable();
    let mut publisher = Client::publish(&server, "s", BOTH);
    connect(&mut [&mut publisher]);
    let mut viewers: Vec<Client> = (0..11).map(|_| Client::watch(&server, "s", BOTH)).collect();
    let counts = per_port(viewers.iter().chain([&publisher]));
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ports);
    assert!(counts.values().all(|count| *count == 4), "12 over 3: {counts:?}");

    // Two of the ports are left; who comes now evens it out, which taking turns would not.
    let stays = port_of(&publisher);
    viewers.retain(|viewer| {
        let stays = port_of(viewer) == stays;
        if !stays {
            assert_eq!(viewer.delete().status, 200);
        }
        stays
    });
    eventually("they are gone", || server.node().counts().0 == 4);
    let new: Vec<Client> = (0..8).map(|_| Client::watch(&server, "s", BOTH)).collect();
    let counts = per_port(&new);
    assert_eq!(counts.get(&stays), None, "it had the most: {counts:?}");
    assert!(counts.len() == 2 && counts.values().all(|count| *count == 4), "{counts:?}");
}

#[test]
fn viewers_on_every_port_of_every_shard_play_one_stream() {
    for steering in steerings() {
        let shards = ["--shards", "2", "--steering", steering];
        let server = Server::start(&[&shards[..], &["--udp-port", "0,0,0"]].concat());
        let mut clients = vec![Client::publish(&server, "s", BOTH)];
        let mut all: Vec<&mut Client> = clients.iter_mut().collect();
        connect(&mut all);
        clients.extend((0..12).map(|_| Client::watch(&server, "s", BOTH)));
        assert_eq!(per_port(&clients[1..]).len(), 3, "viewers are on all of the ports");
        let mut all: Vec<&mut Client> = clients.iter_mut().collect();
        connect(&mut all);
        run_until("viewers are ready", &mut all, |_| server.sum(|c| c.viewers_ready.get()) == 12);
        for shard in server.node().counters() {
            assert!(shard.viewers_ready.get() >= 5, "both shards have viewers");
        }
        for number in 0..50 {
            all[0].send(MediaKind::Video, number == 0, number, number * 3_000);
            all[0].send(MediaKind::Audio, false, number, number * 960);
            run_for(Duration::from_millis(1), &mut all);
        }
        let every: Vec<u32> = (0..50).collect();
        run_until("every packet on every port", &mut all, |all| {
            let has = |viewer: &&mut Client| {
                viewer.video_numbers() == every && viewer.audio_numbers() == every
            };
            all[1..].iter().all(has)
        });
        assert_eq!(server.drops(DropReason::UnknownFlow), 0, "{steering}");
    }
}

/// A server in a process of its own, so that its descriptors are its own.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ports of the UDP sockets a process has, one entry a socket.
fn udp_sockets(pid: u32) -> Vec<u16> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
    let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inodes: Vec<String> = links
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            link.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let mut ports = Vec::new();
    for table in ["udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            // Columns of proc_net(5): 1 is the local address, 9 the inode.
            let columns: Vec<&str> = line.split_whitespace().collect();
            if inodes.iter().any(|inode| inode == columns[9]) {
                let (_, port) = columns[1].rsplit_once(':').expect("ADDRESS:PORT");
                ports.push(u16::from_str_radix(port, 16).expect("a port in hexadecimal"));
            }
        }
    }
    ports.sort_unstable();
    ports
}

/// Starts the server's program and returns it with what it says until it is ready. `before` are
/// commands of a shell that come first.
fn start(before: &str, options: &[&str]) -> (Process, Vec<String>) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_monoport")])
        .args(["--http", "127.0.0.1:0", "--announce", "127.0.0.1", "--no-tcp"])
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let process = Process(child);
    let lines = stdout.lines().map_while(Result::ok).take_while(|line| !line.starts_with("ready"));
    (process, lines.collect())
}

/// What stands behind a name in the banner.
fn banner<'a>(lines: &'a [String], name: &str) -> &'a str {
    let found = lines.iter().find_map(|line| line.trim().strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {lines:?}")).trim()
}

#[test]
fn a_server_has_a_socket_per_port_and_shard_and_no_other() {
    for (ports, shards) in [("0", 1), ("0", 3), ("0,0,0,0", 2)] {
        let (process, lines) = start("", &["--udp-port", ports, "--shards", &shards.to_string()]);
        let media = banner(&lines, "media");
        let media = media.split("port ").nth(1).and_then(|rest| rest.split(',').next());
        let named = media.expect("the ports").split(' ').map(|port| port.parse::<u16>().unwrap());
        let mut expected: Vec<u16> =
            named.flat_map(|port| std::iter::repeat_n(port, shards)).collect();
        expected.sort_unstable();
        assert_eq!(expected.len(), ports.split(',').count() * shards);
        assert_eq!(udp_sockets(process.0.id()), expected);
    }
}

/// A port that can't be opened on every shard is opened on none: here the descriptors run out,
/// sooner or later in the middle of it.
#[test]
fn a_port_that_fails_on_one_shard_is_open_on_none() {
    const SHARDS: usize = 4;
    for limit in [100, 101, 102, 103] {
        let before = format!("ulimit -n {limit};");
        let (process, lines) =
            start(&before, &["--udp-port", "0", "--shards", "4", "--steering", "hash"]);
        let url = banner(&lines, "page").replace("localhost", "127.0.0.1") + "api/v1/ports";
        let mut opened = 0;
        let refused = loop {
            let response = request("POST", &url, &[], "{\"port\":0}");
            if response.status != 201 {
                break response;
            }
            opened += 1;
        };
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(opened > 0, "there were {limit} descriptors: {}", refused.body);
        eventually("what was begun is undone", || {
            udp_sockets(process.0.id()).len() == (1 + opened) * SHARDS
        });
        let listed = request("GET", &url, &[], "").body;
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(listed["ports"].as_array().map(Vec::len), Some(1 + opened), "{listed}");
    }
}
