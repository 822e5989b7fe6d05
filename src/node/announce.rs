//! Which addresses answers name.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

use super::StartError;
use super::outside::{Outside, discover};
use crate::config::{AddressFilter, Announced, Config, Host};
use crate::net::{Interface, SocketOptions, UdpSocket, interfaces};

/// An address clients reach, and the port where it is not the bound one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reachable {
    pub ip: IpAddr,
    /// The port of all mux ports' candidates.
    port: Option<u16>,
    /// Mux ports that a NAT shows as another: the bound one, then the other.
    mapped: Vec<(u16, u16)>,
}

impl Reachable {
    fn new(ip: IpAddr, port: Option<u16>) -> Reachable {
        Reachable { ip, port, mapped: Vec::new() }
    }

    /// The address a client is given for the mux port `port`.
    pub fn at(&self, port: u16) -> SocketAddr {
        let mapped = self.mapped.iter().find(|(bound, _)| *bound == port).map(|(_, seen)| *seen);
        SocketAddr::new(self.ip, mapped.or(self.port).unwrap_or(port))
    }
}

/// What clients are given for the TCP port `port`: the same addresses in the same order. A port
/// that was announced stands for the UDP port alone.
pub(super) fn at_tcp(reachable: &[Reachable], port: u16) -> Vec<SocketAddr> {
    distinct(reachable.iter().map(|one| SocketAddr::new(one.ip, port)).collect())
}

/// Addresses for answers, in order: those announced, else the bound one, else those of the
/// interfaces that the filter admits. Of each family in which STUN servers see the `sockets` under
/// an address, that one stands in their place. Nothing else ever gets into an answer.
pub(super) fn reachable(
    config: &Config,
    sockets: &[Vec<UdpSocket>],
) -> Result<Vec<Reachable>, StartError> {
    let inside = inside(config)?;
    if config.external_ip.is_empty() {
        return Ok(inside);
    }
    let serves = |v6: bool| inside.iter().any(|one| one.ip.is_ipv6() == v6);
    let discovery = discover(&config.external_ip, serves, sockets)?;
    for warning in &discovery.warnings {
        tracing::warn!("--external-ip: {warning}");
    }
    Ok(seen_from_outside(inside, discovery.found))
}

/// What [`reachable`] will be once the UDP ports are bound: asked through another socket, so that
/// the outside port is not known.
pub(super) fn planned(config: &Config) -> Result<Vec<Reachable>, StartError> {
    if config.external_ip.is_empty() {
        return inside(config);
    }
    let options = SocketOptions::default();
    let bind = |ip: IpAddr| UdpSocket::bind_alone(SocketAddr::new(ip, 0), &options).ok();
    let socket = config.bind_candidates().into_iter().find_map(bind);
    let socket = socket.ok_or(StartError::NothingToAnnounce)?;
    let mut found = reachable(config, &[vec![socket]])?;
    found.iter_mut().for_each(|one| one.mapped.clear());
    Ok(found)
}

/// Puts what was found outside in the place of the addresses inside, family by family.
fn seen_from_outside(inside: Vec<Reachable>, found: Vec<Outside>) -> Vec<Reachable> {
    let mut seen: Vec<Reachable> = found
        .into_iter()
        .map(|Outside { ip, ports }| Reachable { ip, port: None, mapped: ports })
        .collect();
    let families: Vec<bool> = seen.iter().map(|one| one.ip.is_ipv6()).collect();
    seen.extend(inside.into_iter().filter(|one| !families.contains(&one.ip.is_ipv6())));
    seen.sort_by_key(|one| one.ip.is_ipv6());
    seen
}

/// What the options and the host itself say.
fn inside(config: &Config) -> Result<Vec<Reachable>, StartError> {
    if !config.announce.is_empty() {
        return resolve(&config.announce, config.ipv4_only());
    }
    if let Some(ip) = config.bind.filter(|ip| !ip.is_unspecified()) {
        return Ok(vec![Reachable::new(ip, None)]);
    }
    of_interfaces(config)
}

/// What the interfaces have now, as far as the filter admits it.
pub(super) fn of_interfaces(config: &Config) -> Result<Vec<Reachable>, StartError> {
    let there: Vec<Interface> = interfaces()?
        .into_iter()
        .filter(|one| one.up && (one.address.is_ipv4() || !config.ipv4_only()))
        .collect();
    let chosen = choose(&there, &config.filter);
    if chosen.is_empty() {
        let there: Vec<String> =
            there.iter().map(|one| format!("{} {}", one.name, one.address)).collect();
        let filter = config.filter.options();
        return Err(match filter.is_empty() || there.is_empty() {
            true => StartError::NothingToAnnounce,
            false => StartError::NothingAdmitted { filter, there: there.join(", ") },
        });
    }
    Ok(chosen.into_iter().map(|ip| Reachable::new(ip, None)).collect())
}

/// What the filter admits of the addresses that are there; loopback only where there is nothing
/// else or the filter names it.
fn choose(there: &[Interface], filter: &AddressFilter) -> Vec<IpAddr> {
    let admitted = |loopback: bool| -> Vec<IpAddr> {
        let of_kind = there.iter().filter(|one| one.loopback == loopback);
        let admitted = of_kind.filter(|one| filter.admits(&one.name, one.address));
        admitted.map(|one| one.address).collect()
    };
    let mut addresses = admitted(false);
    // Excluding every network card by mistake must not look like a server that works.
    let nothing_else = there.iter().all(|one| one.loopback);
    if addresses.is_empty() && (nothing_else || filter.selects()) {
        addresses = admitted(true);
    }
    // Some clients take the first candidate only, and IPv4 is what most of them have.
    addresses.sort_by_key(IpAddr::is_ipv6);
    distinct(addresses)
}

/// Looks names up; a name stands for all of its addresses, in the resolver's order.
fn resolve(announced: &[Announced], ipv4_only: bool) -> Result<Vec<Reachable>, StartError> {
    let mut reachable = Vec::new();
    for Announced { host, port } in announced {
        let addresses = match host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => look_up(name, ipv4_only)
                .map_err(|error| StartError::HostName { name: name.clone(), error })?,
        };
        reachable.extend(addresses.into_iter().map(|ip| Reachable::new(ip, *port)));
    }
    Ok(distinct(reachable))
}

fn look_up(name: &str, ipv4_only: bool) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs()?.map(|address| address.ip());
    let usable: Vec<IpAddr> = found.filter(|ip| ip.is_ipv4() || !ipv4_only).collect();
    match usable.is_empty() {
        true => Err(io::Error::other("it has no address of a family that is served")),
        false => Ok(usable),
    }
}

/// Each once, where it stood first.
fn distinct<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(all.len());
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(list: &[(&str, &str)]) -> Vec<Interface> {
        let interface = |(name, address): &(&str, &str)| Interface {
            name: (*name).into(),
            address: address.parse().unwrap(),
            loopback: *name == "lo",
            up: true,
        };
        list.iter().map(interface).collect()
    }

    fn filter(interfaces: &[&str], excluded: &[&str], networks: &[&str]) -> AddressFilter {
        AddressFilter {
            interfaces: interfaces.iter().map(|name| name.parse().unwrap()).collect(),
            excluded: excluded.iter().map(|name| name.parse().unwrap()).collect(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            no_ipv6: false,
        }
    }

    #[test]
    fn loopback_is_announced_only_where_it_is_meant() {
        let host = there(&[
            ("lo", "127.0.0.1"),
            ("eth0", "2001:db8::1"),
            ("eth0", "192.0.2.1"),
            ("docker0", "172.17.0.1"),
        ]);
        let chosen = |filter: &AddressFilter| {
            choose(&host, filter).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all = AddressFilter::default();
        assert_eq!(chosen(&all), ["192.0.2.1", "172.17.0.1", "2001:db8::1"]);
        assert_eq!(chosen(&filter(&[], &["docker*"], &[])), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(chosen(&filter(&["docker0"], &[], &[])), ["172.17.0.1"]);
        assert_eq!(chosen(&filter(&[], &[], &["192.0.2.0/24"])), ["192.0.2.1"]);
        assert_eq!(chosen(&filter(&["lo"], &[], &[])), ["127.0.0.1"]);
        assert_eq!(chosen(&filter(&[], &[], &["127.0.0.0/8"])), ["127.0.0.1"]);
        assert!(chosen(&filter(&[], &["eth0", "docker0"], &[])).is_empty(), "no silent loopback");
        let alone = there(&[("lo", "127.0.0.1"), ("lo", "::1")]);
        assert_eq!(choose(&alone, &all).len(), 2, "there is nothing else");
    }

    #[test]
    fn names_are_looked_up_and_order_is_kept() {
        let list = "198.51.100.7,localhost:99,192.0.2.1".split(',');
        let announced: Vec<Announced> = list.map(|one| one.parse().unwrap()).collect();
        let found = resolve(&announced, true).unwrap();
        let found: Vec<SocketAddr> = found.iter().map(|one| one.at(7882)).collect();
        let expected = ["198.51.100.7:7882", "127.0.0.1:99", "192.0.2.1:7882"];
        assert_eq!(found, expected.map(|address| address.parse().unwrap()));
    }

    #[test]
    fn an_outside_address_stands_for_its_family() {
        let inside = ["10.0.0.1", "10.0.0.2", "2001:db8::1"];
        let inside = inside.map(|ip| Reachable::new(ip.parse().unwrap(), None)).to_vec();
        let ip = "198.51.100.7".parse().unwrap();
        let found = vec![Outside { ip, ports: vec![(7883, 99)] }];
        let seen = seen_from_outside(inside.clone(), found);
        let at = |port| seen.iter().map(|one| one.at(port).to_string()).collect::<Vec<_>>();
        assert_eq!(at(7882), ["198.51.100.7:7882", "[2001:db8::1]:7882"]);
        assert_eq!(at(7883), ["198.51.100.7:99", "[2001:db8::1]:7883"]);
        assert_eq!(seen_from_outside(inside.clone(), Vec::new()), inside);
    }

    #[test]
    fn a_name_nobody_knows_is_named() {
        // RFC 6761 section 6.4: never in the DNS.
        let announced = ["nobody.invalid".parse().unwrap()];
        let error = resolve(&announced, false).expect_err("it does not exist").to_string();
        assert!(error.contains("nobody.invalid"), "{error}");
    }
}
