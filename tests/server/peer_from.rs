//! `monoport check --peer --from`: a node, looked at from another one of its cluster.

use std::net::UdpSocket;
use std::process::{Command, Output};

use serde_json::Value;

use crate::nodes::Nodes;
use crate::support::{Server, eventually, request};

fn check(server: &Server, options: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["check", "--peer", &server.url("")])
        .args(options)
        .env_remove("MONOPORT_TOKEN")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output, said)
}

/// The line that names `address`.
fn line<'a>(said: &'a str, address: &str) -> &'a str {
    said.lines().find(|line| line.contains(address)).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn a_node_is_looked_at_from_another_one() {
    let Some(nodes) = Nodes::new() else { return };
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().expect("it is bound").to_string();
    let announce = format!("127.0.0.1,{silent}");
    // Neither publishers nor viewers need a token of who asks for this.
    let options = ["--announce", &announce, "--token", "t", "--admin-token", "boss"];
    let (a, b) = (nodes.start("a", &options), nodes.start("b", &["--token", "u"]));
    eventually("they know one another", || {
        [&a, &b].iter().all(|server| server.node().control().nodes().len() == 2)
    });
    let (output, said) = check(&a, &["--from", "b", "--admin-token", "boss"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(line(&said, "HTTP").starts_with("ok"), "{said}");
    let media = a.media().to_string();
    let found = line(&said, &media);
    assert!(found.starts_with("ok") && found.contains("it sees us as 127.0.0.1:"), "{said}");
    let found = line(&said, &silent);
    assert!(found.starts_with("fail") && found.contains("does not answer"), "{said}");
    eventually("the session is over", || a.node().counts() == (0, 0));

    for (options, words) in [
        (["--from", "b", "--admin-token", "nobody"], "fix: pass --admin-token"),
        (["--from", "a", "--admin-token", "boss"], "`a` is this node"),
        (["--from", "c", "--admin-token", "boss"], "the node `c` is not alive"),
    ] {
        let (output, said) = check(&a, &options);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("fail  HTTP") && said.contains(words), "{said}");
    }
    let alone = Server::with_shards(1);
    let (_, said) = check(&alone, &["--from", "b"]);
    assert!(said.contains("no node of a cluster") && said.contains("--cluster"), "{said}");
    let asked = request("POST", &a.url("/api/v1/cluster/check"), &[], r#"{"from": "b"}"#);
    assert_eq!(asked.status, 401, "{}", asked.body);
    assert_eq!(request("POST", &b.url("/check"), &[], "").status, 404, "no path of clients");
}

#[test]
fn each_node_shows_how_long_ago_it_was_heard() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &[]), nodes.process("b", &[]));
    let age = |name: &str| {
        let text = request("GET", &a.url("/api/v1/cluster"), &[], "").body;
        let cluster: Value = serde_json::from_str(&text).expect("JSON");
        let all = cluster["nodes"].as_array().expect("a list").clone();
        let node = all.into_iter().find(|node| node["name"] == name);
        node.map(|node| node["beat_age_s"].as_f64().expect("a number"))
    };
    eventually("a knows b", || age("b").is_some_and(|age| (0.0..5.0).contains(&age)));
    b.signal("-STOP");
    eventually("b is silent", || age("b").is_some_and(|age| age > 6.0));
    assert!(age("a").is_some_and(|age| age < 6.0), "{:?}", age("a"));
    eventually("b is gone", || age("b").is_none());
    b.signal("-CONT");
    eventually("b is back", || age("b").is_some());
}
