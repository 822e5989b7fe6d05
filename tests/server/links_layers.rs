//! Layers of a stream that comes from another node: a viewer there is given the one it asks for, as
//! where the stream is published.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cluster::known;
use crate::nodes::Nodes;
use crate::support::{Server, eventually, request};

/// Publishers and viewers, which end with it.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Three layers published on one node, and a viewer on another.
fn load(a: &Server, b: &Server) -> Load {
    let load = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--whip-url", &a.url("/whip/{name}"), "--whep-url", &b.url("/whep/{name}")])
        .args(["--prefix", "s", "--layers", "3", "--video-kbps", "1200", "--threads", "1"])
        // Who goes to a layer must ask for its key frame.
        .args(["--key-frame-interval", "10m", "--duration", "10m", "--live=never"])
        .env_remove("MONOPORT_TOKEN")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Load(load.expect("the load generator starts"))
}

fn json(url: &str) -> Value {
    serde_json::from_str(&request("GET", url, &[], "").body).unwrap_or_default()
}

#[test]
fn a_viewer_on_another_node_gets_each_layer_it_asks_for() {
    let Some(nodes) = Nodes::new() else { return };
    let start = |name, zone| nodes.start(name, &["--zone", zone, "--shards", "2"]);
    let (a, b) = (start("a", "x"), start("b", "y"));
    known(&[&a, &b]);
    eventually("they know one another", || {
        [&a, &b].iter().all(|server| server.node().control().nodes().len() == 2)
    });
    let _load = load(&a, &b);
    let mut id = String::new();
    eventually("a viewer is there", || {
        let page = json(&b.url("/api/v1/sessions?role=viewer"));
        id = page["sessions"][0]["id"].as_str().unwrap_or_default().to_owned();
        !id.is_empty()
    });
    let session = b.url(&format!("/api/v1/sessions/{id}"));
    let offered = || json(&session)["layer"]["offered"].as_array().map_or(0, Vec::len);
    eventually("it is offered three layers", || offered() == 3);
    for layer in ["q", "f", "h", "q"] {
        let wish = format!(r#"{{"encodingId": "{layer}"}}"#);
        let header = ("Content-Type", "application/json");
        let answer = request("POST", &format!("{session}/layer"), &[header], &wish);
        assert_eq!(answer.status, 204, "{}", answer.body);
        eventually(&format!("it gets {layer}"), || json(&session)["layer"]["got"] == layer);
    }
    assert_eq!(b.node().control().links().len(), 1, "all of them by one link");
}
