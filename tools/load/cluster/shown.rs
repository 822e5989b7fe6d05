//! What a run across nodes has shown: each node's viewers, its cost, and the links that brought the
//! streams.

use super::ClusterArgs;
use super::nodes::{Look, Node, Nodes};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Links as they were seen during a run, by the node that took the stream and the stream.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    links: BTreeMap<(usize, String), Subscription>,
    last: Vec<Look>,
}

/// One stream on one node, from others.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Subscription {
    node: String,
    stream: String,
    /// Where it came from, one after the other.
    from: Vec<String>,
    /// How many links brought it at once, at most.
    at_once: usize,
    packets: u64,
    repaired: u64,
    lost: u64,
    round_trip_ms: Option<f64>,
}

/// One node, and what its viewers got.
#[derive(Clone, Debug, Serialize)]
struct NodeShown {
    node: String,
    zone: String,
    address: String,
    killed: bool,
    viewers: u64,
    packets_expected: u64,
    packets_received: u64,
    loss_ratio: f64,
    latency_us: Value,
    /// Of the whole run, set-ups included.
    cpu_s: f64,
    resident_bytes: u64,
    forwarded_requests: u64,
    /// Datagrams of links on their way to it that `--loss` lost.
    lost_on_purpose: u64,
}

/// All of it. Its keys are an interface: they stay.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    nodes: Vec<NodeShown>,
    subscriptions: Vec<Subscription>,
    /// What `run` reports.
    total: Value,
    pub missed: Vec<String>,
}

impl Watched {
    /// Takes in what the nodes show now.
    pub fn take(&mut self, looks: &[Look]) {
        self.last.resize_with(looks.len(), Look::default);
        for (place, look) in looks.iter().enumerate() {
            // One that was killed, or is too busy to answer, shows nothing.
            if look.cluster.is_null() {
                continue;
            }
            self.last[place] = look.clone();
            self.take_links(place, &look.cluster);
        }
    }

    fn take_links(&mut self, place: usize, cluster: &Value) {
        let links = cluster["links"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut now: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for link in links.iter().filter(|link| link["direction"] == "in") {
            now.entry(text(&link["stream"])).or_default().push(link);
        }
        for (stream, links) in now {
            let known = self.links.entry((place, stream.clone())).or_default();
            (known.node, known.stream) = (text(&cluster["node"]), stream);
            known.at_once = known.at_once.max(links.len());
            for link in links {
                let from = text(&link["node"]);
                // Another link begins to count at nothing.
                if known.from.last() != Some(&from) {
                    known.from.push(from);
                }
                let count = |name: &str| link[name].as_u64().unwrap_or(0);
                (known.packets, known.repaired) = (count("packets"), count("repaired"));
                known.lost = count("lost");
                known.round_trip_ms = link["round_trip_ms"].as_f64();
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Shown {
    /// What a run has shown, with its `total`.
    pub fn new(args: &ClusterArgs, nodes: &Nodes, watched: &Watched, total: Value) -> Shown {
        let shown = nodes.all().iter().zip(watched.last.iter().cloned());
        let nodes = shown.map(|(node, look)| NodeShown::new(node, &look, &total)).collect();
        let subscriptions = watched.links.values().cloned().collect();
        let mut shown = Shown { nodes, subscriptions, total, missed: Vec::new() };
        shown.missed = shown.missed(args);
        shown
    }

    /// What was not kept, in words.
    fn missed(&self, args: &ClusterArgs) -> Vec<String> {
        let mut missed = Vec::new();
        let number = |key: &str| self.total[key].as_u64().unwrap_or(0);
        let (connected, requested) = (number("sessions_connected"), number("sessions_requested"));
        if connected < requested || requested == 0 {
            let why = &self.total["failures"];
            missed.push(format!("{connected} of {requested} sessions connected: {why}"));
        }
        let spared = |node: &&NodeShown| {
            args.kill.as_ref().is_some_and(|kill| kill.node == node.node) && !node.killed
        };
        for NodeShown { node, .. } in self.nodes.iter().filter(spared) {
            missed.push(format!("{node} was not killed: the run was over before it was time"));
        }
        for node in self.nodes.iter().filter(|node| !node.killed) {
            let NodeShown { node: name, loss_ratio, packets_received, viewers, .. } = node;
            if *viewers > 0 && (*loss_ratio > args.max_loss || *packets_received == 0) {
                let expected = node.packets_expected;
                missed.push(format!("viewers of {name} got {packets_received} of {expected}"));
            }
        }
        for of in self.subscriptions.iter().filter(|of| of.at_once > 1) {
            let Subscription { node, stream, at_once, .. } = of;
            missed.push(format!("{node} took {stream} {at_once} times at once"));
        }
        for node in self.nodes.iter().skip(1).filter(|node| node.viewers > 0 && !node.killed) {
            let taken = self.subscriptions.iter().filter(|of| of.node == node.node).count();
            if taken != usize::from(args.streams) {
                let (name, streams) = (&node.node, args.streams);
                missed.push(format!("{name} has viewers of {streams} streams, and took {taken}"));
            }
        }
        missed
    }

    /// The nodes and their subscriptions as Markdown tables.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| Node | Zone | Viewers | Received | Lost | p50 | p99 | CPU | Memory | Forwarded |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for node in &self.nodes {
            let NodeShown { node: name, zone, viewers, packets_received, .. } = node;
            let lost = node.packets_expected.saturating_sub(*packets_received);
            let ms = |key: &str| node.latency_us[key].as_f64().unwrap_or(f64::NAN) / 1_000.0;
            let (p50, p99, cpu_s) = (ms("p50"), ms("p99"), node.cpu_s);
            let megabytes = node.resident_bytes >> 20;
            let forwarded = node.forwarded_requests;
            let killed = if node.killed { " (killed)" } else { "" };
            let _ = writeln!(
                text,
                "| {name}{killed} | {zone} | {viewers} | {packets_received} | {lost} | {p50:.1} ms \
                 | {p99:.1} ms | {cpu_s:.2} s | {megabytes} MB | {forwarded} |"
            );
        }
        let total = |key: &str| self.total[key].as_u64().unwrap_or(0);
        let (received, expected) = (total("packets_received"), total("packets_expected"));
        let _ = writeln!(text, "\nin all {received} of {expected} packets\n");
        text += "| Stream | On | From | At once | Packets | Repaired | Lost | Round trip |\n\
                 |---|---|---|---|---|---|---|---|\n";
        for of in &self.subscriptions {
            let Subscription { node, stream, at_once, packets, repaired, lost, .. } = of;
            let from = of.from.join(", then ");
            let round_trip = of.round_trip_ms.map_or_else(String::new, |ms| format!("{ms:.2} ms"));
            let _ = writeln!(
                text,
                "| {stream} | {node} | {from} | {at_once} | {packets} | {repaired} | {lost} | \
                 {round_trip} |"
            );
        }
        text
    }
}

impl NodeShown {
    fn new(node: &Node, look: &Look, total: &Value) -> NodeShown {
        let address = node.address.to_string();
        let servers = total["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let served = servers.iter().find(|server| server["address"] == address.as_str());
        let served = served.cloned().unwrap_or_default();
        let count = |key: &str| served[key].as_u64().unwrap_or(0);
        NodeShown {
            node: node.name.clone(),
            zone: node.zone.clone(),
            address,
            killed: node.is_killed(),
            viewers: count("viewers"),
            packets_expected: count("packets_expected"),
            packets_received: count("packets_received"),
            loss_ratio: served["loss_ratio"].as_f64().unwrap_or(0.0),
            latency_us: served["latency_us"].clone(),
            cpu_s: look.cpu_s,
            resident_bytes: look.resident_bytes,
            forwarded_requests: look.forwarded,
            lost_on_purpose: node.lost_on_the_way(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(links: &[(&str, &str, &str, u64)]) -> Look {
        let link = |(stream, node, direction, packets): &(&str, &str, &str, u64)| {
            json!({ "stream": stream, "node": node, "direction": direction, "packets": packets,
                    "repaired": 1, "lost": 0, "round_trip_ms": 0.5 })
        };
        let links: Vec<Value> = links.iter().map(link).collect();
        Look { cluster: json!({ "node": "b", "links": links }), ..Look::default() }
    }

    #[test]
    fn links_are_counted_by_node_and_stream_and_a_second_one_at_once_is_seen() {
        let mut watched = Watched::default();
        watched.take(&[Look::default(), look(&[("s", "a", "in", 5), ("t", "a", "in", 7)])]);
        watched.take(&[Look::default(), look(&[("s", "c", "in", 2), ("s", "d", "out", 9)])]);
        let seen = &watched.links[&(1, "s".to_owned())];
        assert_eq!((seen.at_once, seen.packets), (1, 2));
        assert_eq!(seen.from, ["a", "c"]);
        watched.take(&[Look::default(), look(&[("t", "a", "in", 8), ("t", "c", "in", 1)])]);
        assert_eq!(watched.links[&(1, "t".to_owned())].at_once, 2);
        // What is killed keeps what it showed.
        watched.take(&[Look::default(), Look::default()]);
        assert_eq!(watched.last[1].cluster["node"], "b");
    }
}
