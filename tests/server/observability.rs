//! The dashboard and the alert rules name only what `/metrics` has, and the dashboard leaves
//! nothing out: a metric that is renamed or new fails here and not on the day it is needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::SecretFile;
use crate::support::{Server, free_port, request};
use serde::Deserialize;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../tools/grafana/monoport.json");
const ALERTS: &str = include_str!("../../tools/alerts/monoport.yml");

/// Labels that Prometheus itself gives to what it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// What the dashboard need not show, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("monoport_link_layers_withheld", "the API says which, and of which link"),
    ("monoport_node_load", "the greater of two that are shown: busy shards, and sessions"),
    ("monoport_receive_batches_total", "the histogram of batches counts them"),
    ("monoport_kernel_receive_drops", "shown by port"),
    ("monoport_turn_gap_microseconds", "its rests a second tell as much"),
    ("monoport_stun_responses_out_total", "one per request that authenticated"),
    ("monoport_stun_requests_out_total", "one per new address"),
    ("monoport_stun_answers_total", "one per new address"),
    ("monoport_publisher_packets_total", "what came in shows RTP"),
    ("monoport_viewer_packets_total", "nearly all of what goes out"),
    ("monoport_replayed_packets_total", "a part of what goes out, for a moment"),
    ("monoport_layers_silent_total", "the API says which, and what viewers get meanwhile"),
    ("monoport_layers_deaf_total", "the API says which, and that viewers wait for no answer"),
    ("monoport_padding_packets_total", "their bytes say more"),
    ("monoport_viewer_reports_total", "what came in shows RTCP"),
    (
        "monoport_transport_feedback_total",
        "what came in shows RTCP, and the API what is made of it",
    ),
    ("monoport_media_taken_over_total", "the other end of what is handed over"),
    ("monoport_taken_over_total", "the other end of what is handed over"),
    ("monoport_media_admitted_total", "the bookkeeping of conservation"),
    ("monoport_media_relayed_total", "the bookkeeping of conservation"),
    ("monoport_send_would_block_total", "shown by port"),
    ("monoport_port_bytes_in_total", "the packets of each port say enough"),
    ("monoport_port_bytes_out_total", "the packets of each port say enough"),
    ("monoport_answers_total", "what a set-up costs is seen in the shards' and control's CPU"),
    ("monoport_flows", "two or three a session"),
    ("monoport_mux_ports", "the panels by port have a line for each"),
    ("monoport_earlier_sessions", "there for as long as a takeover takes: see the status"),
    ("monoport_handed_to_earlier_total", "the same"),
    ("monoport_link_in_total", "0 without other nodes, and told of each by monoport_link_packets"),
    ("monoport_link_packets_out_total", "the same"),
    ("monoport_link_repairs_out_total", "the same"),
    ("monoport_streams", "shards with viewers of a stream each count it"),
];

/// The metrics of a running server: each with its labels and their values.
type Metrics = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn metrics() -> Metrics {
    // Nobody answers where its directory would be: what is counted about it is there all the same.
    let directory = format!("redis://{}", free_port());
    let secret = SecretFile::new("the secret of the nodes of this test");
    let cluster = ["--cluster", &directory, "--node", "a", "--cluster-secret-file", secret.path()];
    let server = Server::start(&[&["--shards", "2"][..], &cluster].concat());
    let text = request("GET", &server.url("/metrics"), &[], "").body;
    let mut metrics = Metrics::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let labels = metrics.entry(line[..end].to_owned()).or_default();
        let Some((inside, _)) = line[end..].strip_prefix('{').and_then(|l| l.split_once('}'))
        else {
            continue;
        };
        for (name, value) in inside.split(',').filter_map(|label| label.split_once('=')) {
            labels.entry(name.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    assert!(metrics.contains_key("monoport_turns_total"), "{text}");
    metrics
}

/// One metric of a query, with what its labels must match.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    metric: String,
    matchers: Vec<(String, String)>,
}

/// The words of a query: names, strings with their quotes, and single signs.
fn words(query: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_:$".contains(c);
        let length = if first == '"' {
            rest[1..].find('"').map_or(rest.len(), |end| end + 2)
        } else if is_name(first) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(length);
        if !word.trim().is_empty() {
            words.push(word);
        }
        rest = after;
    }
    words
}

/// The metrics a query selects, and the labels it groups by.
fn read(query: &str) -> (Vec<Selector>, BTreeSet<String>) {
    let words = words(query);
    let (mut selectors, mut groups) = (Vec::new(), BTreeSet::new());
    for (at, word) in words.iter().enumerate() {
        let group = ["by", "on", "without", "ignoring"].contains(word);
        if group && words.get(at + 1) == Some(&"(") {
            let names = words[at + 2..].iter().take_while(|word| **word != ")");
            groups.extend(names.filter(|word| **word != ",").map(|word| (*word).to_owned()));
        }
        if word.starts_with("monoport_") {
            let mut matchers = Vec::new();
            if words.get(at + 1) == Some(&"{") {
                let inside: Vec<_> = words[at + 2..].iter().take_while(|w| **w != "}").collect();
                for matcher in inside.split(|word| **word == ",") {
                    let (name, value) = (matcher.first(), matcher.last());
                    let (Some(name), Some(value)) = (name, value) else { continue };
                    matchers.push(((**name).to_owned(), value.trim_matches('"').to_owned()));
                }
            }
            selectors.push(Selector { metric: (*word).to_owned(), matchers });
        }
    }
    (selectors, groups)
}

/// What a query or the text beside it names that there is not.
fn faults(metrics: &Metrics, query: &str, told: &BTreeSet<String>) -> Vec<String> {
    let (selectors, groups) = read(query);
    let mut faults = Vec::new();
    let mut known: BTreeSet<&str> = SCRAPED.into();
    for Selector { metric, matchers } in &selectors {
        let Some(labels) = metrics.get(metric) else {
            faults.push(format!("there is no {metric}"));
            continue;
        };
        known.extend(labels.keys().map(String::as_str));
        for (name, wanted) in matchers.iter().filter(|(name, _)| !SCRAPED.contains(&&**name)) {
            let Some(values) = labels.get(name) else {
                faults.push(format!("{metric} has no label {name}"));
                continue;
            };
            let is_plain = |value: &&str| !value.contains(['.', '*', '$', '[', '+', '(']);
            for value in wanted.split('|').filter(is_plain) {
                if !values.contains(value) {
                    faults.push(format!("{metric} has no {name}=\"{value}\", but {values:?}"));
                }
            }
        }
    }
    // What is grouped away is no longer there to be told.
    let groups_all: Vec<&str> = groups.iter().map(String::as_str).collect();
    for name in groups.iter().chain(told) {
        if !known.contains(name.as_str()) {
            faults.push(format!("nothing in it has a label {name}"));
        }
    }
    for name in told {
        if query.contains("sum") && !groups_all.contains(&name.as_str()) {
            faults.push(format!("the label {name} is summed away"));
        }
    }
    faults.iter().map(|fault| format!("{fault}: {query}")).collect()
}

/// The labels that `{{x}}` or `{{ $labels.x }}` in a text stand for.
fn told(text: &str) -> BTreeSet<String> {
    let parts = text.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
    let names = parts.map(|(inside, _)| inside.trim());
    let labels = names.filter(|inside| !inside.starts_with("$value"));
    labels.map(|inside| inside.trim_start_matches("$labels.").to_owned()).collect()
}

/// Every query of the dashboard with its legend.
fn queries(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            if let Some(query) = fields.get("expr").and_then(Value::as_str) {
                let legend = fields.get("legendFormat").and_then(Value::as_str).unwrap_or_default();
                // A range of Grafana's own, and its variable for the server, as Prometheus sees it.
                let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
                found.push((query, legend.to_owned()));
            }
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn the_dashboard_names_what_there_is_and_leaves_nothing_out() {
    let metrics = metrics();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() > 50, "the dashboard looks different now; read it anew");
    let all: Vec<String> =
        found.iter().flat_map(|(query, legend)| faults(&metrics, query, &told(legend))).collect();
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));

    let shown: BTreeSet<String> = found
        .iter()
        .flat_map(|(query, _)| read(query).0)
        .map(|selector| family(&selector.metric).to_owned())
        .collect();
    for (name, why) in NOT_SHOWN {
        assert!(metrics.contains_key(*name), "there is no {name} any more ({why})");
        assert!(!shown.contains(*name), "{name} is shown; take it off the list");
    }
    let is_shown = |name: &str| {
        let listed = NOT_SHOWN.iter().any(|(other, _)| *other == name);
        listed || shown.contains(family(name))
    };
    let missing: Vec<&String> = metrics.keys().filter(|name| !is_shown(name)).collect();
    assert!(missing.is_empty(), "show these, or say above why not: {missing:?}");
    for variable in ["source", "instance"] {
        let list = dashboard["templating"]["list"].as_array().expect("it has variables");
        assert!(list.iter().any(|one| one["name"] == variable), "{variable}");
    }
}

/// A histogram's name without what tells its numbers apart.
fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[test]
fn the_alerts_name_what_there_is_and_say_what_to_do() {
    let metrics = metrics();
    let rules: Rules = serde_saphyr::from_str(ALERTS).expect("the rules are YAML of their form");
    let rules: Vec<Rule> = rules.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(rules.len() > 10, "the rules look different now; read them anew");
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for Rule { alert, expr, labels, annotations } in &rules {
        assert!(names.insert(alert), "{alert} is there twice");
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{alert}");
        let text = |name: &str| {
            annotations.get(name).unwrap_or_else(|| panic!("{alert} has no {name}")).as_str()
        };
        assert!(text("runbook").len() > 60, "{alert}: say what to look at and what to do");
        all.extend(faults(&metrics, expr, &told(text("summary"))));
    }
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

/// The checks above find what they look for.
#[test]
fn a_wrong_name_label_or_value_is_found() {
    let labels = [("reason", ["ring_full", "empty"])];
    let labels = labels.map(|(name, values)| (name.to_owned(), values.map(String::from).into()));
    let metrics = Metrics::from([("monoport_dropped_total".to_owned(), labels.into())]);
    let right = r#"sum by (reason) (rate(monoport_dropped_total{reason=~"ring_full|em.*"}[5m]))"#;
    assert_eq!(faults(&metrics, right, &told("{{reason}}")), Vec::<String>::new());
    let (selectors, groups) = read(right);
    assert_eq!(selectors[0].metric, "monoport_dropped_total");
    assert_eq!(selectors[0].matchers, [("reason".to_owned(), "ring_full|em.*".to_owned())]);
    assert_eq!(groups, ["reason".to_owned()].into());
    for (query, legend) in [
        ("rate(monoport_drops_total[5m])", ""),
        (r#"monoport_dropped_total{cause="empty"}"#, ""),
        (r#"monoport_dropped_total{reason="full"}"#, ""),
        ("sum by (shard) (monoport_dropped_total)", ""),
        ("monoport_dropped_total", "{{port}}"),
        ("sum(monoport_dropped_total)", "{{ $labels.reason }}"),
    ] {
        assert_eq!(faults(&metrics, query, &told(legend)).len(), 1, "{query}, {legend}");
    }
}
