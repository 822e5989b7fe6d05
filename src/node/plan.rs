//! Every port a server would use with given options, ready for a firewall.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::{StartError, announce};
use crate::config::Config;

/// What a server would listen on. Nothing of it is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan(Vec<Listener>);

/// One port, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    /// `udp` or `tcp`.
    protocol: &'static str,
    /// `media` or `http`.
    purpose: &'static str,
    bound: SocketAddr,
    /// The last port, where it stands for a range of which each session has one; else its own.
    last: u16,
    /// Sockets on it.
    sockets: usize,
    /// Whether it is opened only when it is needed.
    under_load: bool,
    /// What clients are told.
    announced: Vec<SocketAddr>,
}

impl Listener {
    fn is_range(&self) -> bool {
        self.last != self.bound.port()
    }

    /// `7882` or `50000-60000`, as people and nft write it.
    fn ports(&self) -> String {
        match self.is_range() {
            true => format!("{}-{}", self.bound.port(), self.last),
            false => self.last.to_string(),
        }
    }
}

impl PortPlan {
    /// The ports that [`super::Node::start`] would use with `config`.
    ///
    /// # Errors
    /// A port that is chosen only at the start, or no address for answers.
    pub fn new(config: &Config) -> Result<PortPlan, StartError> {
        if config.http.port() == 0 {
            return Err(StartError::ChosenAtStart("--http"));
        }
        if config.udp.mux.contains(&0) {
            return Err(StartError::ChosenAtStart("--udp-port"));
        }
        if config.tcp_port == Some(0) {
            return Err(StartError::ChosenAtStart("--tcp-port"));
        }
        let reachable = announce::planned(config)?;
        let candidates = config.bind_candidates();
        let bindable = |ip: &&IpAddr| std::net::UdpSocket::bind((**ip, 0)).is_ok();
        // What can't be bound is reported when it is tried; the plan stays what was asked for.
        let ip = *candidates.iter().find(bindable).unwrap_or(&candidates[0]);
        let open = config.udp.mux.len();
        let possible = config.udp.possible_mux();
        let media = possible.iter().enumerate().map(|(index, port)| Listener {
            protocol: "udp",
            purpose: "media",
            bound: SocketAddr::new(ip, *port),
            last: *port,
            sockets: config.shards(),
            under_load: index >= open,
            announced: reachable.iter().map(|one| one.at(*port)).collect(),
        });
        let own = config.udp.range.map(|range| Listener {
            protocol: "udp",
            purpose: "media",
            bound: SocketAddr::new(ip, range.first),
            last: range.last,
            sockets: 1,
            under_load: true,
            announced: reachable.iter().map(|one| one.at(range.first)).collect(),
        });
        let tcp = config.tcp_port.map(|port| Listener {
            protocol: "tcp",
            purpose: "media",
            bound: SocketAddr::new(ip, port),
            last: port,
            sockets: 1,
            under_load: false,
            announced: announce::at_tcp(&reachable, port),
        });
        let http = Listener {
            protocol: "tcp",
            purpose: "http",
            bound: config.http,
            last: config.http.port(),
            sockets: 1,
            under_load: false,
            announced: Vec::new(),
        };
        Ok(PortPlan(media.chain(own).chain(tcp).chain([http]).collect()))
    }

    /// A line per port, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for one in &self.0 {
            let reached = match one.announced.is_empty() {
                true if one.bound.ip().is_loopback() => "reached from this machine alone".into(),
                true => format!("reached at {}", one.bound),
                false => {
                    let announced = one.announced.iter().map(|address| match one.is_range() {
                        true => format!("{address}-{}", one.last),
                        false => address.to_string(),
                    });
                    format!("reached at {}", announced.collect::<Vec<_>>().join(" "))
                }
            };
            let (protocol, port) = (one.protocol, one.ports());
            let sockets = match (one.is_range(), one.sockets) {
                (true, _) => "1 socket each per session",
                (false, 1) => "1 socket",
                (false, _) => "a socket per shard",
            };
            let reached = match one.under_load && !one.is_range() {
                true => format!("{reached}, opened under load"),
                false => reached,
            };
            let bound = one.bound.ip();
            let purpose = one.purpose;
            let _ = writeln!(text, "{protocol} {port} {purpose}, {sockets} on {bound}, {reached}");
        }
        text
    }

    /// The same as JSON: an array of objects.
    #[must_use]
    pub fn json(&self) -> String {
        let listener = |one: &Listener| {
            serde_json::json!({
                "protocol": one.protocol,
                "port": one.bound.port(),
                "last_port": one.last,
                "address": one.bound.ip(),
                "purpose": one.purpose,
                "sockets": one.sockets,
                "under_load": one.under_load,
                "announced": one.announced,
            })
        };
        let all: Vec<_> = self.0.iter().map(listener).collect();
        format!("{:#}\n", serde_json::Value::from(all))
    }

    /// Rules for `nft -f -`, one per protocol and address, for the chain `input` of the table
    /// `inet filter`. What only this machine reaches has none.
    #[must_use]
    pub fn nft(&self) -> String {
        let mut rules: Vec<(String, String, Vec<String>)> = Vec::new();
        for one in self.0.iter().filter(|one| !one.bound.ip().is_loopback()) {
            let to = match one.bound.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => "meta nfproto ipv4 ".to_owned(),
                IpAddr::V6(ip) if ip.is_unspecified() => String::new(),
                IpAddr::V4(ip) => format!("ip daddr {ip} "),
                IpAddr::V6(ip) => format!("ip6 daddr {ip} "),
            };
            let matched = format!("{to}{} dport", one.protocol);
            let port = one.ports();
            match rules.iter_mut().find(|(known, ..)| *known == matched) {
                Some((_, purposes, ports)) => {
                    if !purposes.contains(one.purpose) {
                        *purposes = format!("{purposes} and {}", one.purpose);
                    }
                    ports.push(port);
                }
                None => rules.push((matched, one.purpose.to_owned(), vec![port])),
            }
        }
        let mut text = String::new();
        for (matched, purpose, ports) in rules {
            let ports = ports.join(", ");
            let _ = writeln!(
                text,
                "add rule inet filter input {matched} {{ {ports} }} accept \
                 comment \"monoport {purpose}\""
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Args;

    fn plan(options: &str) -> Result<PortPlan, StartError> {
        let args = Args::try_parse_from(["monoport"].into_iter().chain(options.split(' ')));
        PortPlan::new(&Config::new(args.unwrap(), &[0, 1]).unwrap())
    }

    #[test]
    fn every_port_has_a_line_with_who_reaches_it() {
        let plan = plan(
            "--udp-port 7882,3478 --bind 127.0.0.1 --announce 198.51.100.7,2001:db8::7 \
             --http 192.0.2.1:80 --token t --shards 2",
        );
        let text = "\
udp 7882 media, a socket per shard on 127.0.0.1, reached at 198.51.100.7:7882 [2001:db8::7]:7882
udp 3478 media, a socket per shard on 127.0.0.1, reached at 198.51.100.7:3478 [2001:db8::7]:3478
tcp 7881 media, 1 socket on 127.0.0.1, reached at 198.51.100.7:7881 [2001:db8::7]:7881
tcp 80 http, 1 socket on 192.0.2.1, reached at 192.0.2.1:80
";
        assert_eq!(plan.unwrap().text(), text);
    }

    #[test]
    fn json_has_every_field() {
        let plan = plan("--udp-port 9 --bind 127.0.0.1 --announce 198.51.100.7:99 --shards 2");
        let json: serde_json::Value = serde_json::from_str(&plan.unwrap().json()).unwrap();
        let media = serde_json::json!({
            "protocol": "udp", "port": 9, "last_port": 9, "address": "127.0.0.1",
            "purpose": "media", "sockets": 2, "under_load": false, "announced": ["198.51.100.7:99"],
        });
        assert_eq!(json[0], media);
        let tcp = serde_json::json!({
            "protocol": "tcp", "port": 7881, "last_port": 7881, "address": "127.0.0.1",
            "purpose": "media", "sockets": 1, "under_load": false,
            "announced": ["198.51.100.7:7881"],
        });
        assert_eq!(json[1], tcp, "an announced port is that of UDP");
        assert_eq!((&json[2]["port"], &json[2]["protocol"]), (&7880.into(), &"tcp".into()));
        assert_eq!(json.as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn a_rule_has_all_ports_of_one_address_and_loopback_has_none() {
        let rules = |options: &str| plan(options).unwrap().nft();
        assert_eq!(
            rules("--udp-port 5,7 --bind 0.0.0.0 --announce 192.0.2.1 --no-tcp"),
            "add rule inet filter input meta nfproto ipv4 udp dport { 5, 7 } accept \
             comment \"monoport media\"\n"
        );
        assert_eq!(
            rules("--bind 192.0.2.1 --http [2001:db8::1]:80 --no-auth"),
            "add rule inet filter input ip daddr 192.0.2.1 udp dport { 7882 } accept \
             comment \"monoport media\"\n\
             add rule inet filter input ip daddr 192.0.2.1 tcp dport { 7881 } accept \
             comment \"monoport media\"\n\
             add rule inet filter input ip6 daddr 2001:db8::1 tcp dport { 80 } accept \
             comment \"monoport http\"\n"
        );
        assert_eq!(rules("--bind 127.0.0.1"), "");
    }

    #[test]
    fn a_range_is_one_line_and_one_rule_and_ports_to_come_are_named() {
        let range = "--port-range 50000-60000 --bind 192.0.2.1 --announce 198.51.100.7";
        let range = plan(range).unwrap();
        let line = range.text().lines().next().map(str::to_owned).unwrap();
        assert_eq!(
            line,
            "udp 50000-60000 media, 1 socket each per session on 192.0.2.1, \
             reached at 198.51.100.7:50000-60000"
        );
        assert!(range.nft().contains("udp dport { 50000-60000 } accept"), "{}", range.nft());
        let json: serde_json::Value = serde_json::from_str(&range.json()).unwrap();
        assert_eq!((&json[0]["port"], &json[0]["last_port"]), (&50_000.into(), &60_000.into()));
        let auto = plan("--ports-auto 1-3 --udp-port 9000 --bind 192.0.2.1 --shards 2").unwrap();
        assert!(auto.nft().contains("{ 9000, 9001, 9002 }"), "{}", auto.nft());
        let under_load = auto.text().lines().filter(|l| l.ends_with("opened under load")).count();
        assert_eq!(under_load, 2, "{}", auto.text());
    }

    #[test]
    fn a_port_that_is_not_known_yet_is_an_error() {
        for option in ["--udp-port", "--tcp-port", "--http"] {
            let value = if option == "--http" { "127.0.0.1:0" } else { "0" };
            let error = plan(&format!("{option} {value}")).expect_err("nobody knows it");
            assert!(error.to_string().contains(option), "{error}");
        }
    }
}
