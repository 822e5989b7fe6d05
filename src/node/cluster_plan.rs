//! The ports of all nodes that share a directory, for the firewall in front of them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use super::StartError;
use crate::config::Config;
use crate::control::{Directory, MediaPorts, NodeRecord, RedisDirectory};

/// What each node tells clients and other nodes to come to. A node that is not alive is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPlan(Vec<NodeRecord>);

impl ClusterPlan {
    /// What the directory of `config` knows of its nodes, or of the one that `--node` names.
    ///
    /// # Errors
    /// There is no directory, it does not answer, or it knows no such node.
    pub fn ask(config: &Config) -> Result<ClusterPlan, StartError> {
        let wrong = |words: String| Err(StartError::Cluster(words));
        let Some(url) = &config.cluster.cluster else {
            return wrong("--nodes asks the directory of nodes: pass --cluster URL".into());
        };
        // It asks, and is no node itself.
        let directory = RedisDirectory::new(&url.urls, url.master.as_deref(), "", 0);
        let directory = directory.map_err(StartError::Cluster)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Ok(mut nodes) = runtime.block_on(directory.peers()) else {
            return wrong(format!(
                "{url} does not answer; look at the log above, and at --cluster"
            ));
        };
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(only) = &config.cluster.node {
            nodes.retain(|node| node.name == only.0);
        }
        match (nodes.is_empty(), &config.cluster.node) {
            (true, None) => wrong(format!("no node is alive in {url}")),
            (true, Some(name)) => wrong(format!("no node `{}` is alive in {url}", name.0)),
            (false, _) => Ok(ClusterPlan(nodes)),
        }
    }

    /// A line per port, under a line per node, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for node in &self.0 {
            let zone = match &*node.about.zone {
                "" => String::new(),
                zone => format!(" in zone {zone}"),
            };
            let _ = writeln!(text, "node {}{zone}, monoport {}", node.name, node.about.version);
            for (protocol, purpose, ports) in listed(node) {
                let (ip, ports) = (ports.ip, numbers(&ports));
                let _ = writeln!(text, "  {protocol} {ports} {purpose}, reached at {ip}");
            }
        }
        text
    }

    /// The same as JSON: an array of objects.
    #[must_use]
    pub fn json(&self) -> String {
        let each = self.0.iter().flat_map(|node| {
            listed(node).into_iter().map(move |(protocol, purpose, ports)| {
                serde_json::json!({
                    "node": node.name,
                    "zone": node.about.zone,
                    "protocol": protocol,
                    "port": ports.first,
                    "last_port": ports.last,
                    "address": ports.ip,
                    "purpose": purpose,
                })
            })
        });
        format!("{:#}\n", serde_json::Value::from(each.collect::<Vec<_>>()))
    }

    /// Rules for `nft -f -` of a firewall in front of the nodes, for the chain `forward` of the
    /// table `inet filter`. What only a node's own machine reaches has none, and a node of which
    /// that is all has a comment.
    #[must_use]
    pub fn nft(&self) -> String {
        let mut text = String::new();
        for node in &self.0 {
            let listed = listed(node);
            let reached: Vec<_> =
                listed.iter().filter(|(.., ports)| !ports.ip.is_loopback()).collect();
            if reached.is_empty() {
                let _ = writeln!(
                    text,
                    "# node {}: no rule, since all that it announces is loopback: nobody comes to \
                     it from elsewhere (--announce, --http)",
                    node.name
                );
            }
            let heads: BTreeSet<_> = reached.iter().map(|(p, u, at)| (at.ip, *p, *u)).collect();
            for (ip, protocol, purpose) in heads {
                let same = |one: &&&(&str, &str, MediaPorts)| {
                    (one.2.ip, one.0, one.1) == (ip, protocol, purpose)
                };
                let ports = reached.iter().filter(same).map(|(.., ports)| numbers(ports));
                let ports = ports.collect::<Vec<_>>().join(", ");
                let family = if matches!(ip, IpAddr::V4(_)) { "ip" } else { "ip6" };
                let _ = writeln!(
                    text,
                    "add rule inet filter forward {family} daddr {ip} {protocol} dport \
                     {{ {ports} }} accept comment \"monoport {purpose} of {}\"",
                    node.name
                );
            }
        }
        text
    }
}

/// A node's ports with protocol and purpose: those of media as clients are told of them, and that
/// of HTTP where other nodes come.
fn listed(node: &NodeRecord) -> Vec<(&'static str, &'static str, MediaPorts)> {
    let media = node.about.media.iter().map(|ports| {
        let protocol = if ports.tcp { "tcp" } else { "udp" };
        (protocol, "media", *ports)
    });
    let (ip, port) = (node.http.address.ip(), node.http.address.port());
    let http = MediaPorts { tcp: true, ip, first: port, last: port };
    media.chain([("tcp", "http", http)]).collect()
}

/// `7882` or `50000-60000`, as people and nft write it.
fn numbers(ports: &MediaPorts) -> String {
    match ports.first == ports.last {
        true => ports.first.to_string(),
        false => format!("{}-{}", ports.first, ports.last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{About, HttpAt, Terms};

    #[test]
    fn each_node_has_its_ports_and_what_its_own_machine_alone_reaches_no_rule() {
        let at = |tcp, ip: &str, first, last| {
            let ip = ip.parse().expect("an address");
            MediaPorts { tcp, ip, first, last }
        };
        let node = |name: &str, zone: &str, http: &str, media: Vec<MediaPorts>| NodeRecord {
            name: name.into(),
            http: HttpAt { tls: false, address: http.parse().expect("an address") },
            number: 1,
            sessions: 0,
            draining: false,
            beat_age_ms: 0,
            terms: Terms::default(),
            about: About { zone: zone.into(), version: "1".into(), media, ..About::default() },
        };
        let first = vec![
            at(false, "192.0.2.1", 7_882, 7_882),
            at(false, "192.0.2.1", 3_478, 3_478),
            at(true, "192.0.2.1", 7_881, 7_881),
        ];
        let second = vec![at(false, "2001:db8::2", 50_000, 60_000)];
        let plan = ClusterPlan(vec![
            node("a", "x", "192.0.2.1:7880", first),
            node("b", "", "127.0.0.1:7880", second),
        ]);
        let text = "\
node a in zone x, monoport 1
  udp 7882 media, reached at 192.0.2.1
  udp 3478 media, reached at 192.0.2.1
  tcp 7881 media, reached at 192.0.2.1
  tcp 7880 http, reached at 192.0.2.1
node b, monoport 1
  udp 50000-60000 media, reached at 2001:db8::2
  tcp 7880 http, reached at 127.0.0.1
";
        assert_eq!(plan.text(), text);
        let rule = |rest: &str| format!("add rule inet filter forward {rest}\"\n");
        let rules = [
            rule("ip daddr 192.0.2.1 tcp dport { 7880 } accept comment \"monoport http of a"),
            rule("ip daddr 192.0.2.1 tcp dport { 7881 } accept comment \"monoport media of a"),
            rule(
                "ip daddr 192.0.2.1 udp dport { 7882, 3478 } accept comment \"monoport media of a",
            ),
            rule(
                "ip6 daddr 2001:db8::2 udp dport { 50000-60000 } accept comment \"monoport media \
                 of b",
            ),
        ];
        assert_eq!(plan.nft(), rules.concat());
        let alone = vec![at(false, "127.0.0.1", 7_882, 7_882), at(true, "::1", 7_881, 7_881)];
        let alone = ClusterPlan(vec![node("c", "", "127.0.0.1:7880", alone)]).nft();
        assert!(alone.starts_with("# node c: no rule") && alone.lines().count() == 1, "{alone}");
        let json: serde_json::Value = serde_json::from_str(&plan.json()).expect("JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(6));
        assert_eq!((&json[4]["node"], &json[4]["last_port"]), (&"b".into(), &60_000.into()));
    }
}
