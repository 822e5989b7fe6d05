//! The tables, as text in rows: the same for the screen and for `--once`.

use super::answers::{
    Cluster, Failures, Link, LinkLayer, Node, Port, Ports, Reason, Session, Shard, Shards, Status,
};
use super::figures::{bits, count, duration, index, micros, millis, percent, ratio, tenths, text};

/// A column: its head, its width, and whether it holds numbers, which stand to the right.
pub type Column = (&'static str, u16, bool);

/// A table.
#[derive(Debug)]
pub struct Sheet {
    /// The columns; a last one of text takes what width is left.
    pub columns: &'static [Column],
    /// A cell for each column.
    pub rows: Vec<Vec<String>>,
    /// What stands there instead of rows.
    pub empty: &'static str,
}

const PORTS: &[Column] = &[
    ("port", 9, false),
    ("state", 9, false),
    ("sessions", 8, true),
    ("in pkt/s", 8, true),
    ("out pkt/s", 9, true),
    ("in", 9, true),
    ("out", 9, true),
    ("drops in/out", 12, true),
];

/// The ports.
#[must_use]
pub fn ports(ports: Option<&Ports>) -> Sheet {
    let rows = ports.map_or(&[][..], |ports| &ports.ports).iter().map(port);
    Sheet { columns: PORTS, rows: rows.collect(), empty: "the server has no port" }
}

fn port(port: &Port) -> Vec<String> {
    let name = match port.port {
        Some(_) => format!("{} {}", text(port.protocol.as_deref()), index(port.port)),
        None => "all".to_owned(),
    };
    vec![
        name,
        text(port.state.as_deref()),
        count(port.sessions),
        count(port.packets_in_per_s),
        count(port.packets_out_per_s),
        bits(port.bits_in_per_s),
        bits(port.bits_out_per_s),
        format!("{}/{}", count(port.receive_drops), count(port.send_drops)),
    ]
}

const SHARDS: &[Column] = &[
    ("shard", 5, true),
    ("core", 4, true),
    ("cpu", 6, true),
    ("sessions", 8, true),
    ("in pkt/s", 8, true),
    ("out pkt/s", 9, true),
    ("drops/s", 7, true),
    ("turn p99", 8, true),
    ("mail", 5, true),
    ("state", 9, false),
];

/// The shards.
#[must_use]
pub fn shards(shards: Option<&Shards>) -> Sheet {
    let rows = shards.map_or(&[][..], |shards| &shards.shards).iter().map(shard);
    Sheet { columns: SHARDS, rows: rows.collect(), empty: "the server has no shard" }
}

fn shard(shard: &Shard) -> Vec<String> {
    let full = shard.mail_full.filter(|full| *full > 0.0);
    let state = match (shard.stuck, full) {
        (true, _) => "stuck".to_owned(),
        (false, Some(_)) => format!("full {}", count(full)),
        (false, None) => "ok".to_owned(),
    };
    vec![
        index(shard.shard),
        index(shard.core),
        percent(shard.cpu_percent),
        count(shard.sessions),
        count(shard.packets_in_per_s),
        count(shard.packets_out_per_s),
        count(shard.drops_per_s),
        micros(shard.turn_us.p99),
        count(shard.mail_depth),
        state,
    ]
}

const SESSIONS: &[Column] = &[
    ("session", 12, false),
    ("score", 5, true),
    ("level", 10, false),
    ("loss", 6, true),
    ("rtt", 7, true),
    ("jitter", 7, true),
    ("rate", 9, true),
    ("role", 9, false),
    ("stream", 7, false),
];

/// A page of sessions.
#[must_use]
pub fn sessions(sessions: &[Session]) -> Sheet {
    let rows = sessions.iter().map(session).collect();
    Sheet { columns: SESSIONS, rows, empty: "nobody is here" }
}

fn session(session: &Session) -> Vec<String> {
    // A session that is not connected has no quality; its state stands there.
    let level = session.level.as_deref().or(session.state.as_deref());
    vec![
        text(Some(&session.id)),
        index(session.score),
        text(level),
        ratio(session.loss_ratio),
        millis(session.rtt_ms),
        millis(session.jitter_ms),
        bits(session.bits_per_s),
        text(session.role.as_deref()),
        text(session.stream.as_deref()),
    ]
}

const NODES: &[Column] = &[
    ("node", 14, false),
    ("state", 8, false),
    ("zone", 6, false),
    ("sessions", 8, true),
    ("load", 6, true),
    ("version", 7, false),
    ("HTTP", 20, false),
];

/// The nodes of a cluster.
#[must_use]
pub fn nodes(cluster: &Cluster) -> Sheet {
    let rows = cluster.nodes.iter().map(node).collect();
    Sheet { columns: NODES, rows, empty: "no node is known" }
}

fn node(node: &Node) -> Vec<String> {
    let state = if node.draining { "draining" } else { "alive" };
    vec![
        text(Some(&node.name)),
        state.to_owned(),
        text(node.zone.as_deref()),
        count(node.sessions),
        ratio(node.load),
        text(node.version.as_deref()),
        text(node.http.as_deref()),
    ]
}

const LINKS: &[Column] = &[
    ("stream", 14, false),
    ("from or to", 17, false),
    ("packets", 8, true),
    ("again", 7, true),
    ("lost", 7, true),
    ("rtt", 8, true),
    ("layers", 13, false),
];

/// The streams that a node takes from others, and gives to them.
#[must_use]
pub fn links(cluster: &Cluster) -> Sheet {
    let rows = cluster.links.iter().map(link).collect();
    Sheet { columns: LINKS, rows, empty: "no stream comes from another node, or goes to one" }
}

fn link(link: &Link) -> Vec<String> {
    let way = if link.direction.as_deref() == Some("in") { "from" } else { "to" };
    let layers: Vec<String> = link.layers.iter().map(layer).collect();
    vec![
        text(link.stream.as_deref()),
        format!("{way} {}", text(link.node.as_deref())),
        count(link.packets),
        count(link.repaired),
        count(link.lost),
        millis(link.round_trip_ms),
        layers.join(", "),
    ]
}

/// What comes has its name alone.
fn layer(layer: &LinkLayer) -> String {
    let name = text(Some(&layer.layer));
    match layer.state.as_deref() {
        Some("comes") | None => name,
        Some(state) => format!("{name} {}", text(Some(state))),
    }
}

/// How it goes with the directory that the nodes share.
#[must_use]
pub fn cluster_notes(cluster: &Cluster) -> Vec<String> {
    let node = text(cluster.node.as_deref());
    let sessions: f64 = cluster.nodes.iter().filter_map(|node| node.sessions).sum();
    let (nodes, sessions) = (cluster.nodes.len(), count(Some(sessions)));
    let mut notes = vec![match cluster.directory.as_deref() {
        Some("none") => "this server is no node of a cluster (--cluster)".to_owned(),
        Some("silent") => format!("the directory does not answer: {node} serves alone"),
        Some("refuses") => format!("the directory refuses this node: {node} serves alone"),
        _ => format!(
            "{node} is one of {nodes} nodes with {sessions} sessions; the directory answers"
        ),
    }];
    let refused = cluster.refused.as_deref().map(|why| text(Some(why)));
    notes.extend(refused.map(|why| format!("{node} is not taken by the others: {why}")));
    notes
}

const REASONS: &[Column] = &[
    ("reason", 24, false),
    ("total", 9, true),
    ("per s", 9, true),
    ("share", 7, true),
    ("", 20, false),
];

/// Why datagrams were not forwarded, most first.
#[must_use]
pub fn drops(status: Option<&Status>) -> Sheet {
    let reasons = status.map_or(&[][..], |status| &status.drops);
    Sheet { columns: REASONS, rows: ranked(reasons), empty: "no packet was dropped" }
}

/// Why sessions failed, most first.
#[must_use]
pub fn failures(status: Option<&Status>) -> Sheet {
    let reasons = status.map_or(&[][..], |status| &status.failures);
    Sheet { columns: REASONS, rows: ranked(reasons), empty: "no session has failed" }
}

/// The latest failures in words, a line each; times are before `now`, in Unix seconds.
#[must_use]
pub fn failures_in_words(failures: &Failures, now: f64) -> Vec<String> {
    let line = |failed: &super::answers::Failed| {
        let ago = duration(failed.at.map(|at| (now - at).max(0.0)));
        let who = failed.id.as_deref().or(failed.role.as_deref());
        let (who, stream) = (text(who), text(failed.stream.as_deref()));
        format!("{ago} ago, {who} of {stream}: {}", text(failed.words.as_deref()))
    };
    failures.failures.iter().map(line).collect()
}

/// Characters of the longest bar.
const BAR: f64 = 20.0;

fn ranked(reasons: &[Reason]) -> Vec<Vec<String>> {
    let mut reasons: Vec<&Reason> = reasons.iter().collect();
    let total = |reason: &Reason| reason.total.unwrap_or(0.0);
    reasons.sort_by(|one, other| total(other).total_cmp(&total(one)));
    let all: f64 = reasons.iter().map(|reason| total(reason)).sum();
    let row = |reason: &Reason| {
        let share = total(reason) / all.max(1.0);
        let bar = "█".repeat((share * BAR).clamp(0.0, BAR).round() as usize);
        let (total, per_s) = (count(reason.total), count(reason.per_s));
        vec![text(Some(&reason.reason)), total, per_s, ratio(Some(share)), bar]
    };
    reasons.into_iter().map(row).collect()
}

/// What is known of one session: names with values.
#[must_use]
pub fn facts(s: &Session) -> Vec<(&'static str, String)> {
    let words = |t: &Option<String>| text(t.as_deref());
    let age = |at| duration(at);
    let phases = &s.phases_ms;
    let mut facts = vec![
        ("stream", words(&s.stream)),
        ("role", format!("{}, {}", words(&s.role), words(&s.state))),
        ("place", format!("shard {}, port {}", index(s.shard), index(s.port))),
        ("address", format!("{} → {}", words(&s.remote), words(&s.local))),
        ("quality", format!("{} {}, MOS {}", words(&s.level), index(s.score), tenths(s.mos))),
        ("codecs", format!("{} {}", words(&s.codecs.audio), words(&s.codecs.video))),
        ("dtls", words(&s.dtls)),
        ("rate", format!("{} of {}", bits(s.bits_per_s), bits(s.expected_bits_per_s))),
        ("loss, rtt", format!("{}, {}", ratio(s.loss_ratio), millis(s.rtt_ms))),
        ("jitter", millis(s.jitter_ms)),
        ("packets", count(s.packets)),
        ("repair", format!("{} asked, {} sent", count(s.nacked), count(s.repaired))),
        ("key frames", format!("{} asked", count(s.keyframe_requests))),
        ("layers off", tenths(s.layer_distance)),
        ("first STUN", millis(phases.first_stun)),
        ("DTLS done", millis(phases.dtls)),
        ("first media", millis(phases.first_media)),
        ("moves", count(s.moves)),
    ];
    let last =
        s.history.last().and_then(|moment| moment.at).or(s.timeline.last().and_then(|e| e.at));
    if let (Some(last), Some(created)) = (last, s.created_at) {
        facts.push(("seen for", age(Some(last - created))));
    }
    if let Some(end) = &s.ended {
        facts.push(("ended", format!("{}: {}", words(&end.reason), words(&end.words))));
    }
    facts
}

/// What happened to a session, each with its time since the session began.
#[must_use]
pub fn timeline(session: &Session) -> Vec<String> {
    let start = session.created_at.or(session.timeline.first().and_then(|event| event.at));
    let line = |event: &super::answers::Event| {
        let after = event.at.zip(start).map(|(at, start)| (at - start) * 1e6);
        format!("+{:<8} {}", micros(after), text(event.what.as_deref()))
    };
    session.timeline.iter().map(line).collect()
}

/// What is to be said about the ports besides the table.
#[must_use]
pub fn port_notes(ports: &Ports) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(range) = &ports.range {
        let (first, last) = (index(range.first), index(range.last));
        let (used, free) = (count(range.used), count(range.free));
        notes.push(format!("a port per session from {first} to {last}: {used} used, {free} free"));
    }
    if let Some(auto) = &ports.auto {
        let (min, max) = (index(auto.min), index(auto.max));
        notes.push(format!("the server opens and closes ports by itself, {min} to {max} of them"));
        // The latest ones; a table stands above.
        let latest = auto.decisions.len().saturating_sub(3);
        for decision in &auto.decisions[latest..] {
            let (action, why) = (text(decision.action.as_deref()), text(decision.why.as_deref()));
            notes.push(format!("{action} {}: {why}", index(decision.port)));
        }
    }
    notes
}
