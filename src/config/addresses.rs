//! Ports, and which addresses answers name.
//!
//! Either `--announce` lists the addresses, or the interfaces' own are taken, as far as an
//! [`AddressFilter`] lets them through.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::limits::MAX_MUX_PORTS;

/// An address for answers, with a port where that differs from the bound one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The host clients reach.
    pub host: Host,
    /// The port clients reach, if not the bound one.
    pub port: Option<u16>,
}

/// An address, or a name that is looked up at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name: letters, digits, hyphens and dots.
    Name(String),
}

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Announced, String> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Announced { host: Host::Ip(ip), port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Announced { host: Host::Ip(address.ip()), port: Some(address.port()) });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_error| wrong(text))?)),
            None => (text, None),
        };
        // What is nothing but digits and dots is an address with a slip in it.
        let numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if numeric || !is_host_name(name) {
            return Err(wrong(text));
        }
        Ok(Announced { host: Host::Name(name.to_owned()), port })
    }
}

fn wrong(text: &str) -> String {
    format!(
        "`{text}` is neither an IP address nor a host name, with or without a port (IPv6 with a \
         port: [IP]:PORT)"
    )
}

/// Labels of letters, digits and inner hyphens, up to 63 each and 253 in all (RFC 1123 §2.1).
fn is_host_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label)
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Host::Ip(ip), Some(port)) => SocketAddr::new(*ip, port).fmt(f),
            (Host::Ip(ip), None) => ip.fmt(f),
            (Host::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (Host::Name(name), None) => f.write_str(name),
        }
    }
}

/// Which of the interfaces' addresses answers may name. Empty lists let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFilter {
    /// Interfaces that are taken; empty for all.
    pub interfaces: Vec<InterfaceName>,
    /// Interfaces that are not.
    pub excluded: Vec<InterfaceName>,
    /// Networks an address must be in one of; empty for all.
    pub networks: Vec<Cidr>,
    /// Whether IPv6 is left out.
    pub no_ipv6: bool,
}

impl AddressFilter {
    /// Whether `address` of the interface `name` is let through.
    #[must_use]
    pub fn admits(&self, name: &str, address: IpAddr) -> bool {
        let any = |patterns: &[InterfaceName]| patterns.iter().any(|one| one.matches(name));
        (self.interfaces.is_empty() || any(&self.interfaces))
            && !any(&self.excluded)
            && (self.networks.is_empty() || self.networks.iter().any(|n| n.contains(address)))
            && !(self.no_ipv6 && address.is_ipv6())
    }

    /// Whether it says by name or network what is taken: loopback, if let through, is then meant.
    #[must_use]
    pub fn selects(&self) -> bool {
        !self.interfaces.is_empty() || !self.networks.is_empty()
    }

    /// The options that made it, as they would be written; empty when nothing is filtered.
    #[must_use]
    pub fn options(&self) -> String {
        let mut text = String::new();
        let mut option = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                text.push_str(&format!(" --{name} {}", values.join(",")));
            }
        };
        let names = |names: &[InterfaceName]| names.iter().map(|name| name.0.clone()).collect();
        option("interfaces", names(&self.interfaces));
        option("exclude-interfaces", names(&self.excluded));
        option("ips", self.networks.iter().map(ToString::to_string).collect());
        if self.no_ipv6 {
            text.push_str(" --no-ipv6");
        }
        text.trim_start().to_owned()
    }
}

/// The name of an interface, or with a `*` at its end, of all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(pub String);

impl InterfaceName {
    fn matches(&self, name: &str) -> bool {
        self.0.strip_suffix('*').map_or(self.0 == name, |prefix| name.starts_with(prefix))
    }
}

impl FromStr for InterfaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<InterfaceName, String> {
        // IFNAMSIZ in include/uapi/linux/if.h is 16, with the terminating zero.
        let fits = (1..16).contains(&text.trim_end_matches('*').len()) || text == "*";
        let plain = !text.contains(['/', ' ']) && !text.trim_end_matches('*').contains('*');
        match fits && plain {
            true => Ok(InterfaceName(text.to_owned())),
            false => Err(format!("`{text}` is not the name of an interface, as in eth0 or veth*")),
        }
    }
}

/// A network, as in `192.0.2.0/24`; a bare address stands for itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// The same, for sets of them.
    #[must_use]
    pub fn network(self) -> IpNet {
        self.0
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let bare = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse().or_else(|_error| bare());
        network.map(Cidr).map_err(|_error| {
            format!("`{text}` is not a network, as in 192.0.2.0/24 or 2001:db8::/32")
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// UDP ports, as in `7882`, `7882-7891` or `7882,3478`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList(pub Vec<u16>);

impl FromStr for PortList {
    type Err = String;

    fn from_str(text: &str) -> Result<PortList, String> {
        let number = |part: &str| {
            part.trim().parse::<u16>().map_err(|_error| format!("`{part}` is not a port"))
        };
        let mut ports = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => ports.extend(number(first)?..=number(last)?),
                None => ports.push(number(part)?),
            }
        }
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != ports.len() && ports.iter().any(|port| *port != 0) {
            return Err("a port stands there twice".into());
        }
        if !(1..=MAX_MUX_PORTS).contains(&ports.len()) {
            return Err(format!("{} ports; 1 to {MAX_MUX_PORTS} are taken", ports.len()));
        }
        Ok(PortList(ports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_a_range_or_a_list() {
        let ports = |text: &str| text.parse::<PortList>().map(|ports| ports.0);
        assert_eq!(ports("7882"), Ok(vec![7882]));
        assert_eq!(ports("7882-7884,3478"), Ok(vec![7882, 7883, 7884, 3478]));
        for wrong in ["", "x", "7884-7882", "1-1000", "7882,7882", "70000"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn announced_hosts_are_addresses_or_names_and_may_carry_a_port() {
        let parse = |text: &str| text.parse::<Announced>();
        let v4 = Host::Ip(IpAddr::from([198, 51, 100, 7]));
        assert_eq!(parse("198.51.100.7"), Ok(Announced { host: v4.clone(), port: None }));
        assert_eq!(parse("198.51.100.7:99"), Ok(Announced { host: v4, port: Some(99) }));
        assert_eq!(parse("[2001:db8::1]:99").map(|a| a.port), Ok(Some(99)));
        assert_eq!(parse("2001:db8::1").map(|a| a.port), Ok(None));
        let name = Host::Name("media.example.org".into());
        let with_port = Announced { host: name.clone(), port: Some(99) };
        assert_eq!(parse("media.example.org:99"), Ok(with_port));
        assert_eq!(parse("media.example.org"), Ok(Announced { host: name, port: None }));
        let long = "a".repeat(64);
        for wrong in ["", "198.51.100", "198.51.100.256", "a b", "-a", "a..b", "a:x", "a:", &long] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        let contains = |network: &str, address: &str| {
            network.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1") && contains("::/0", "fd00::1"));
        for wrong in ["", "192.0.2.0/33", "192.0.2.0/", "::/129", "x/8", "192.0.2.0/-1"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_admits_what_every_one_of_its_rules_admits() {
        let names = |list: &[&str]| list.iter().map(|name| name.parse().unwrap()).collect();
        let filter = AddressFilter {
            interfaces: names(&["eth*", "wlan0"]),
            excluded: names(&["eth1"]),
            networks: vec!["192.0.2.0/24".parse().unwrap(), "::/0".parse().unwrap()],
            no_ipv6: false,
        };
        let admits = |name, address: &str| filter.admits(name, address.parse().unwrap());
        assert!(admits("eth0", "192.0.2.1") && admits("wlan0", "2001:db8::1"));
        assert!(!admits("eth1", "192.0.2.1"), "excluded");
        assert!(!admits("wlan01", "192.0.2.1"), "not listed");
        assert!(!admits("eth0", "198.51.100.1"), "another network");
        let v4 = AddressFilter { no_ipv6: true, ..AddressFilter::default() };
        assert!(v4.admits("eth0", "192.0.2.1".parse().unwrap()));
        assert!(!v4.admits("eth0", "2001:db8::1".parse().unwrap()));
        assert_eq!(
            filter.options(),
            "--interfaces eth*,wlan0 --exclude-interfaces eth1 --ips 192.0.2.0/24,::/0"
        );
        for wrong in ["", "a b", "../x", "a*b", "an-interface-too-long"] {
            assert!(wrong.parse::<InterfaceName>().is_err(), "{wrong}");
        }
    }
}
