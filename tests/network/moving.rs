//! The host's address changes while the server runs.

use crate::announce::{at_mux_port, candidates};
use crate::support::client::{Client, Offered, connect};
use crate::support::namespace::{in_namespace, run};
use crate::support::{Server, eventually};
use str0m::format::Codec;

const HOST: &[&str] = &[
    "ip link set lo up",
    "ip link add eth0 type veth peer name eth0-peer",
    "ip link set eth0 up",
    "ip addr add 192.0.2.1/24 dev eth0",
];

#[test]
fn new_answers_name_the_new_address_and_sessions_there_are_go_on() {
    let name = "moving::new_answers_name_the_new_address_and_sessions_there_are_go_on";
    in_namespace(name, HOST, || {
        // With a bind, or the support would announce loopback.
        let server = Server::start(&["--shards", "1", "--bind", "0.0.0.0"]);
        let announced = Server::start(&["--shards", "1", "--announce", "192.0.2.1"]);
        assert_eq!(candidates(&server), at_mux_port(&server, &["192.0.2.1"]));
        let mut before = Client::publish(&server, "before", Offered::both(Codec::Vp8));
        connect(&mut [&mut before]);
        assert!(run("ip addr add 198.51.100.9/24 dev eth0"));
        assert!(run("ip addr del 192.0.2.1/24 dev eth0"));
        eventually("the new address is named", || {
            candidates(&server) == at_mux_port(&server, &["198.51.100.9"])
        });
        assert_eq!(candidates(&announced), at_mux_port(&announced, &["192.0.2.1"]), "as was said");
        // By an address that the answer names alone, and by one that it does not.
        let mut after = Client::publish(&server, "after", Offered::both(Codec::Vp8));
        connect(&mut [&mut after]);
        assert!(server.sessions() >= 1 && !before.closed);
        // A host without any is not one that nobody can find again.
        assert!(run("ip addr del 198.51.100.9/24 dev eth0"));
        std::thread::sleep(std::time::Duration::from_millis(600));
        assert!(run("ip addr add 203.0.113.33/24 dev eth0"));
        eventually("the third is named", || {
            candidates(&server) == at_mux_port(&server, &["203.0.113.33"])
        });
    });
}
