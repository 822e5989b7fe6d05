//! `--external-ip`: answers name the address a STUN server sees, and the start depends on nobody.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered};
use crate::support::namespace::in_namespace;
use crate::support::router::{Network, OUTSIDE, candidates, plays_at};
use crate::support::stun::mapped;
use crate::support::{PATIENCE, Server};
use str0m::format::Codec;

/// A STUN server of the test's own; gone when dropped.
struct Stun {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Stun {
    /// One at `address`; `answer` makes the datagrams that answer a request and its sender.
    fn at(
        address: &str,
        answer: impl Fn(&[u8], SocketAddr) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Stun {
        let socket = UdpSocket::bind(address).expect("the address is free");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                for datagram in answer(&buffer[..length], from) {
                    let _ = socket.send_to(&datagram, from);
                }
            }
        });
        Stun { address, stop }
    }

    /// One that says `seen` to everybody.
    fn saying(seen: &'static str) -> Stun {
        Stun::at("127.0.0.1:0", move |request, _| vec![mapped(request, seen.parse().unwrap())])
    }

    fn uri(&self) -> String {
        format!("stun:{}", self.address)
    }
}

impl Drop for Stun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The addresses in the answers of a server that asked `servers`, and its port.
fn announced(servers: &[&Stun]) -> (Vec<SocketAddr>, u16) {
    let uris: Vec<String> = servers.iter().map(|server| server.uri()).collect();
    let server =
        Server::start(&["--shards", "2", "--bind", "127.0.0.1", "--external-ip", &uris.join(",")]);
    let client = Client::publish(&server, "s", Offered::both(Codec::Vp8));
    (candidates(&client.answer), server.node().udp_ports()[0])
}

#[test]
fn answers_name_what_the_server_is_told() {
    let (found, _) = announced(&[&Stun::saying("127.3.3.3:40000")]);
    assert_eq!(found, ["127.3.3.3:40000".parse().unwrap()]);
    let (found, port) =
        announced(&[&Stun::at("127.0.0.1:0", |request, from| vec![mapped(request, from)])]);
    assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], port))]);
}

#[test]
fn the_majority_of_servers_is_believed() {
    let honest = || Stun::saying("127.3.3.3:40000");
    let liar = Stun::saying("127.6.6.6:40000");
    let (found, _) = announced(&[&liar, &honest(), &honest()]);
    assert_eq!(found, ["127.3.3.3:40000".parse().unwrap()]);
}

#[test]
fn a_nat_with_a_port_for_each_server_leaves_the_bound_port() {
    let servers = [Stun::saying("127.3.3.3:40000"), Stun::saying("127.3.3.3:40001")];
    let (found, port) = announced(&[&servers[0], &servers[1]]);
    assert_eq!(found, [SocketAddr::from(([127, 3, 3, 3], port))]);
}

/// Nothing of this is an answer, or an address anybody could use.
fn garbage(request: &[u8], from: SocketAddr) -> Vec<Vec<u8>> {
    let nowhere = ["0.0.0.0:7", "127.0.0.1:0", "224.0.0.1:7", "203.0.113.9:7", "[::1]:7"];
    let mut all: Vec<Vec<u8>> =
        nowhere.iter().map(|mapped_to| mapped(request, mapped_to.parse().unwrap())).collect();
    let good = mapped(request, from);
    let mut of_another = good.clone();
    of_another[8] ^= 1;
    all.extend([of_another, good[..good.len() - 4].to_vec(), request.to_vec(), Vec::new()]);
    all.extend([vec![0xff; 1_400], vec![1; 20]]);
    all
}

#[test]
fn garbage_is_not_believed() {
    let (found, port) = announced(&[&Stun::at("127.0.0.1:0", garbage)]);
    assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], port))]);
}

#[test]
fn a_good_server_makes_up_for_a_dead_and_a_mad_one() {
    let dead = Stun::at("127.0.0.1:0", |_, _| Vec::new());
    let mad = Stun::at("127.0.0.1:0", garbage);
    let (found, _) = announced(&[&dead, &mad, &Stun::saying("127.3.3.3:40000")]);
    assert_eq!(found, ["127.3.3.3:40000".parse().unwrap()]);
}

#[test]
fn a_start_without_an_answer_is_late_but_not_long_and_says_so() {
    let dead = Stun::at("127.0.0.1:0", |_, _| Vec::new());
    let before = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args([
            "--http",
            "127.0.0.1:0",
            "--udp-port",
            "0",
            "--bind",
            "127.0.0.1",
            "--shards",
            "1",
            "--no-tcp",
        ])
        .args(["--external-ip", &format!("{},stun:nobody.invalid", dead.uri())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let answers = lines.by_ref().map_while(Result::ok).find(|l| l.trim().starts_with("answers"));
    let ready = lines.map_while(Result::ok).any(|line| line.starts_with("ready"));
    // Three seconds by design; here it is a matter of seconds or minutes.
    assert!(ready && before.elapsed() < PATIENCE, "it took {:?}", before.elapsed());
    assert!(answers.is_some_and(|line| line.contains("127.0.0.1:")), "the address it has");
    child.kill().expect("it runs");
    let said = child.wait_with_output().expect("it ran").stderr;
    let said = String::from_utf8_lossy(&said);
    for part in [&dead.uri(), "did not answer", "stun:nobody.invalid", "--announce"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

#[test]
fn an_address_is_announced_or_found_and_not_both() {
    let options = ["--announce", "192.0.2.1", "--external-ip", "stun:192.0.2.2"];
    let output = Command::new(env!("CARGO_BIN_EXE_monoport")).args(options).output();
    let output = output.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot be used with"), "{said}");
}

/// The plan asks too, through a port of its own, and names the address with the port to be.
#[test]
fn the_port_plan_names_the_outside_address() {
    let stun = Stun::saying("127.3.3.3:40000");
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["ports", "--udp-port", "7882", "--bind", "127.0.0.1"])
        .args(["--external-ip", &stun.uri()])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("reached at 127.3.3.3:7882"), "{said}");
}

/// A network with `rules` in which the server asks a STUN server outside, is told where it is, and
/// plays there.
fn behind(name: &str, rules: &[&str], expected: &str, said: Option<&str>) {
    in_namespace(name, &[], || match Network::new(rules) {
        Ok(network) => {
            let outside = format!("{OUTSIDE}:3478");
            let stun = Stun::at(&outside, |request, from| vec![mapped(request, from)]);
            let server = network.serve(&["--external-ip", &stun.uri()]);
            plays_at(&[expected]);
            let log = server.log();
            assert_eq!(said.is_some(), log.contains("WARN"), "{log}");
            assert!(said.is_none_or(|said| log.contains(said)), "{log}");
        }
        Err(command) => eprintln!("{name} is not tested: `{command}` fails here"),
    });
}

#[test]
fn behind_a_nat_the_mapped_address_is_announced() {
    behind(
        "external::behind_a_nat_the_mapped_address_is_announced",
        &["pre iifname out udp dport 7882 dnat to 10.0.0.2:7882", "post oifname out masquerade"],
        "203.0.113.1:7882",
        None,
    );
}

#[test]
fn a_nat_that_changes_the_port_is_followed_and_told() {
    behind(
        "external::a_nat_that_changes_the_port_is_followed_and_told",
        &[
            "pre iifname out udp dport 40000 dnat to 10.0.0.2:7882",
            "post oifname out udp sport 7882 snat to 203.0.113.1:40000",
        ],
        "203.0.113.1:40000",
        Some("shows UDP port 7882 as 40000"),
    );
}
