//! A server behind a router that forwards one UDP port: `--announce` is all it takes.

use crate::support::namespace::in_namespace;
use crate::support::router::{Network, plays_at};

/// A network with `rules` in which a server with `options` plays at `expected`.
fn behind(name: &str, rules: &[&str], options: &[&str], expected: &[&str]) {
    in_namespace(name, &[], || match Network::new(rules) {
        Ok(network) => {
            let _server = network.serve(options);
            plays_at(expected);
        }
        Err(command) => eprintln!("{name} is not tested: `{command}` fails here"),
    });
}

#[test]
fn a_forwarded_port_and_its_address_are_enough() {
    behind(
        "dnat::a_forwarded_port_and_its_address_are_enough",
        &["pre iifname out udp dport 7882 dnat to 10.0.0.2:7882"],
        &["--announce", "203.0.113.1"],
        &["203.0.113.1:7882"],
    );
}

#[test]
fn the_outside_port_may_be_another() {
    behind(
        "dnat::the_outside_port_may_be_another",
        &["pre iifname out udp dport 9000 dnat to 10.0.0.2:7882"],
        &["--announce", "203.0.113.1:9000"],
        &["203.0.113.1:9000"],
    );
}
