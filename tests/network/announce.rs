//! What answers name: exactly the addresses that were asked for, in order, each with the mux port,
//! and nothing else of the host.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use crate::support::client::{Client, Offered, connect};
use crate::support::namespace::in_namespace;
use crate::support::{Server, request};
use str0m::format::Codec;

/// The candidates of the answer to one publisher, in order.
///
/// They are of component 1, UDP and host type only, and every section that has any has the same;
/// nothing in the answer names an address but they.
pub fn candidates(server: &Server) -> Vec<SocketAddr> {
    let client = Client::publish(server, "s", Offered::both(Codec::Vp8));
    let mut sections: Vec<Vec<SocketAddr>> = Vec::new();
    for section in client.answer.split("m=").skip(1) {
        let lines = section.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
        let found: Vec<SocketAddr> = lines.map(candidate).collect();
        if !found.is_empty() {
            sections.push(found);
        }
    }
    for line in client.answer.lines().filter(|line| !line.starts_with("a=candidate:")) {
        // `c=` and `o=` must hold an address; these say nothing.
        let silent = ["0.0.0.0", "127.0.0.1", "::"];
        let words = line.split([' ', '=']);
        let mut leaked = words.filter(|word| word.parse::<IpAddr>().is_ok());
        assert!(leaked.all(|word| silent.contains(&word)), "{line}");
    }
    assert_eq!(request("DELETE", &client.session_url, &[], "").status, 200);
    let first = sections.first().expect("an answer has candidates").clone();
    assert!(sections.iter().all(|section| *section == first), "{}", client.answer);
    first
}

fn candidate(line: &str) -> SocketAddr {
    let words: Vec<&str> = line.split(' ').collect();
    let [_, component, protocol, _, ip, port, "typ", kind, ..] = words[..] else {
        panic!("not a candidate: {line}")
    };
    let protocol = protocol.to_ascii_lowercase();
    assert_eq!((component, &*protocol, kind), ("1", "udp", "host"), "{line}");
    SocketAddr::new(ip.parse().expect("an address"), port.parse().expect("a port"))
}

/// Each of `ips` with the server's mux port.
pub fn at_mux_port(server: &Server, ips: &[&str]) -> Vec<SocketAddr> {
    let port = server.node().udp_ports()[0];
    ips.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), port)).collect()
}

#[test]
fn exactly_the_announced_addresses_are_named_in_their_order() {
    let lists: [&[&str]; 3] = [
        &["198.51.100.7", "192.0.2.1", "127.0.0.1"],
        // A LAN and a WAN address, and both families, the wider one first.
        &["2001:db8::7", "192.168.1.2", "198.51.100.7", "fd00::2"],
        &["127.0.0.1"],
    ];
    for list in lists {
        let server = Server::start(&["--shards", "1", "--announce", &list.join(",")]);
        assert_eq!(candidates(&server), at_mux_port(&server, list));
    }
}

#[test]
fn an_announced_port_stands_for_the_mux_port() {
    let announce = "198.51.100.7:3478,192.0.2.1,[2001:db8::7]:443";
    let server = Server::start(&["--shards", "1", "--announce", announce]);
    let port = server.node().udp_ports()[0];
    let expected = format!("198.51.100.7:3478,192.0.2.1:{port},[2001:db8::7]:443");
    let expected = expected.split(',').map(|one| one.parse().expect("an address"));
    assert_eq!(candidates(&server), expected.collect::<Vec<SocketAddr>>());
}

#[test]
fn host_names_become_addresses() {
    let announce = ["--announce", "192.0.2.1,localhost", "--no-ipv6"];
    let server = Server::start(&[&["--shards", "1"], &announce[..]].concat());
    assert_eq!(candidates(&server), at_mux_port(&server, &["192.0.2.1", "127.0.0.1"]));

    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["--http", "127.0.0.1:0", "--udp-port", "0", "--no-tcp"])
        .args(["--announce", "nobody.invalid"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--announce nobody.invalid"), "{said}");
}

#[test]
fn the_bound_address_is_the_announced_one() {
    let server = Server::start(&["--shards", "1", "--bind", "127.0.0.3"]);
    assert_eq!(candidates(&server), at_mux_port(&server, &["127.0.0.3"]));
}

#[test]
fn loopback_is_named_where_a_filter_means_it() {
    for filter in [["--ips", "127.0.0.1/32"], ["--interfaces", "lo"]] {
        let options = ["--shards", "1", "--no-ipv6", "--bind", "0.0.0.0"];
        let server = Server::start(&[&options, &filter[..]].concat());
        let named = candidates(&server);
        assert!(named.iter().all(|address| address.ip().is_loopback()), "{named:?}");
        assert!(named.contains(&at_mux_port(&server, &["127.0.0.1"])[0]), "{named:?}");
    }
}

const HOST: &[&str] = &[
    "ip link set lo up",
    "ip link add eth0 type veth peer name eth0-peer",
    "ip link add docker0 type veth peer name docker0-peer",
    "ip link add eth1 type veth peer name eth1-peer",
    "ip address add 192.0.2.1/24 dev eth0",
    "ip address add 198.51.100.1/24 dev eth0",
    "ip address add 172.17.0.1/16 dev docker0",
    "ip address add 10.0.0.1/8 dev eth1",
    "ip address add 2001:db8::1/64 dev eth0 nodad",
    "ip link set eth0 up",
    "ip link set docker0 up",
    // eth1 stays down: nobody reaches its address.
];

#[test]
fn interfaces_are_announced_as_far_as_the_filters_let_them() {
    let name = "announce::interfaces_are_announced_as_far_as_the_filters_let_them";
    in_namespace(name, HOST, || {
        // Every one with a bind, or the support would announce loopback.
        let cases: [(&str, &[&str]); 6] = [
            ("--bind ::", &["192.0.2.1", "198.51.100.1", "172.17.0.1", "2001:db8::1"]),
            ("--bind 0.0.0.0", &["192.0.2.1", "198.51.100.1", "172.17.0.1"]),
            (
                "--bind :: --exclude-interfaces docker*",
                &["192.0.2.1", "198.51.100.1", "2001:db8::1"],
            ),
            ("--bind :: --interfaces docker0", &["172.17.0.1"]),
            ("--bind :: --ips 192.0.2.0/24,2001:db8::/32", &["192.0.2.1", "2001:db8::1"]),
            ("--bind 0.0.0.0 --no-ipv6 --interfaces eth0 --ips 198.51.0.0/16", &["198.51.100.1"]),
        ];
        for (options, expected) in cases {
            let options: Vec<&str> = options.split(' ').collect();
            let server = Server::start(&[&["--shards", "1"], &options[..]].concat());
            assert_eq!(candidates(&server), at_mux_port(&server, expected), "{options:?}");
        }
        let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
            .args(["--http", "127.0.0.1:0", "--udp-port", "0", "--interfaces", "eth1,eth9"])
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("--interfaces eth1,eth9"), "{said}");
        assert!(said.contains("eth0 192.0.2.1"), "it says what there is: {said}");
    });
}

#[test]
fn a_host_with_nothing_but_loopback_announces_that() {
    let name = "announce::a_host_with_nothing_but_loopback_announces_that";
    in_namespace(name, &["ip link set lo up"], || {
        let server = Server::start(&["--shards", "1", "--bind", "::"]);
        assert_eq!(candidates(&server), at_mux_port(&server, &["127.0.0.1", "::1"]));
        let mut client = Client::publish(&server, "s", Offered::both(Codec::Vp8));
        connect(&mut [&mut client]);
    });
}
