//! Layers of a stream that comes from another node: a viewer there is given the one it asks for, as
//! where the stream is published.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::known;
use crate::links::Hopped;
use crate::nodes::{Nodes, try_watch};
use crate::support::client::{Client, connect, run_for, run_until};
use crate::support::{PATIENCE, Server, eventually, request};
use crate::tree::{are_calm, parent};
use crate::whip_letter::listen;
use monoport::link::Coming;

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

/// The session of one's first viewer.
fn viewer_of(server: &Server) -> String {
    let mut id = String::new();
    eventually("a viewer is there", || {
        let page = json(&server.url("/api/v1/sessions?role=viewer"));
        id = page["sessions"][0]["id"].as_str().unwrap_or_default().to_owned();
        !id.is_empty()
    });
    server.url(&format!("/api/v1/sessions/{id}"))
}

/// It is to get a layer from here on.
fn wishes(session: &str, layer: &str) {
    let wish = format!(r#"{{"encodingId": "{layer}"}}"#);
    let header = ("Content-Type", "application/json");
    let answer = request("POST", &format!("{session}/layer"), &[header], &wish);
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// How the layers come by the link that brings a stream to a node, or takes it from there, the
/// smallest first.
fn states(server: &Server, brings: bool) -> Option<Vec<Coming>> {
    let links = server.node().control().links();
    let link = links.into_iter().find(|link| link.brings == brings)?;
    Some(link.layers.into_iter().map(|(_, coming)| coming).collect())
}

/// The smallest of three alone.
const ONE: [Coming; 3] = [Coming::Comes, Coming::Unasked, Coming::Unasked];

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
    let session = viewer_of(&b);
    let offered = || json(&session)["layer"]["offered"].as_array().map_or(0, Vec::len);
    eventually("it is offered three layers", || offered() == 3);
    for layer in ["q", "f", "h", "q"] {
        wishes(&session, layer);
        eventually(&format!("it gets {layer}"), || json(&session)["layer"]["got"] == layer);
    }
    assert_eq!(b.node().control().links().len(), 1, "all of them by one link");

    // What nobody watches any more does not come, at either end's word, and what the link carries
    // is what the smallest layer sends.
    let states = |server: &Server| states(server, true).or(self::states(server, false));
    let states = |server: &Server| states(server).unwrap_or_default();
    eventually("the smallest alone comes", || states(&a) == ONE && states(&b) == ONE);
    let counted = || {
        let packets = a.node().control().links().remove(0).packets;
        (packets, a.sum(|counters| counters.publisher_packets.get()))
    };
    let (carried, published) = counted();
    std::thread::sleep(Duration::from_secs(3));
    let (now, all) = counted();
    let (carried, published) = (now - carried, all - published);
    assert!(carried * 3 < published, "{carried} of {published} packets were carried");

    // It is offered all the same, and comes when it is asked for.
    assert_eq!(offered(), 3);
    for layer in ["f", "h"] {
        let switches = || b.sum(|counters| counters.layer_switches.get());
        let (before, asked) = (switches(), Instant::now());
        wishes(&session, layer);
        while switches() == before {
            assert!(asked.elapsed() < PATIENCE, "it goes there");
            std::thread::sleep(Duration::from_millis(1));
        }
        eprintln!("a layer that did not come: {layer} after {:?}", asked.elapsed());
        eventually(&format!("it gets {layer}"), || json(&session)["layer"]["got"] == layer);
    }
    assert_eq!(states(&b), [Coming::Comes; 3], "the last one for some seconds more");
    let link = &json(&b.url("/api/v1/cluster"))["links"][0];
    assert_eq!(link["layers"][2], serde_json::json!({ "layer": "f", "state": "comes" }));
    assert_eq!(link["lost"], 0);
}

#[test]
fn a_node_in_between_takes_what_its_viewers_want_and_what_nodes_below_it_want() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &["--zone", "x"]), nodes.start("b", &["--zone", "y"]));
    let c = nodes.start("c", &["--zone", "y"]);
    known(&[&a, &b, &c]);
    eventually("they know one another", || {
        [&a, &b, &c].iter().all(|server| server.node().control().nodes().len() == 3)
    });
    let _load = load(&a, &b);
    let above = viewer_of(&b);
    wishes_once_offered(&above, "q");
    let mut viewer = watching(&c);
    let below = viewer_of(&c);
    wishes_once_offered(&below, "q");
    let all = [&a, &b, &c];
    let mut until = |what: &str, is_so: &dyn Fn() -> bool| -> bool {
        let began = Instant::now();
        while !is_so() {
            let waited = began.elapsed();
            assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}, but {}", said(&all));
            run_for(Duration::from_millis(5), &mut [&mut viewer]);
        }
        // Where one has, the stream comes by another way, as it is to, than is to be shown here.
        are_calm(&all)
    };
    let all_say = |states: &[Coming]| {
        let mut ends = all.iter().flat_map(|server| server.node().control().links());
        let count = ends.clone().count();
        count == 4 && ends.all(|link| link.layers.iter().map(|(_, is)| is).eq(states))
    };
    if !until("the smallest alone comes, to both", &|| all_say(&ONE)) {
        return;
    }
    assert_eq!(parent(&c).as_deref(), Some("b"), "{}", said(&all));
    wishes(&below, "f");
    let last = [Coming::Comes, Coming::Unasked, Coming::Comes];
    let is_calm =
        until("it comes from the first node to the last", &|| all_say(&last) || !are_calm(&all));
    if !is_calm || !until("its viewer gets it", &|| json(&below)["layer"]["got"] == "f") {
        return;
    }
    assert_eq!(json(&above)["layer"]["got"], "q", "what another one wants is nothing to it");
    wishes(&below, "q");
    until("and no longer", &|| all_say(&ONE));
}

/// What the links of nodes carry, as each end has it, and what viewers wish there.
fn said(servers: &[&Server]) -> String {
    let mut said = String::new();
    for server in servers {
        let links = server.node().control().links();
        let viewers = json(&server.url("/api/v1/sessions?role=viewer"));
        let ids = viewers["sessions"].as_array().into_iter().flatten();
        let urls = ids.filter_map(|one| Some(format!("/api/v1/sessions/{}", one["id"].as_str()?)));
        let layers: Vec<Value> = urls.map(|url| json(&server.url(&url))["layer"].take()).collect();
        let [silent, deaf, switches] = [
            server.sum(|counters| counters.layers_silent.get()),
            server.sum(|counters| counters.layers_deaf.get()),
            server.sum(|counters| counters.layer_switches.get()),
        ];
        let moved = server.metric("monoport_relay_reparented_total");
        said += &format!(
            "\n{}: {links:?}, viewers {layers:?}; it was taken from another node {moved} times, \
             layers fell silent {silent} times and deaf {deaf} times, switches {switches}",
            server.url("")
        );
    }
    said
}

/// A viewer that plays, once the node serves it.
fn watching(node: &Server) -> Client {
    let mut viewer = None;
    eventually("it is served", || {
        viewer = try_watch(node, "s-0").ok();
        viewer.is_some()
    });
    let mut viewer = viewer.expect("it is served");
    connect(&mut [&mut viewer]);
    viewer
}

fn wishes_once_offered(session: &str, layer: &str) {
    eventually("three layers are offered", || {
        json(session)["layer"]["offered"].as_array().map_or(0, Vec::len) == 3
    });
    wishes(session, layer);
}

#[test]
fn a_way_that_loses_too_much_gets_no_largest_layer_until_it_loses_less() {
    let Some(nodes) = Nodes::new() else { return };
    let Hopped { a, b, to_b, to_a: _to_a } = Hopped::new(&nodes, "1");
    let _load = load(&a, &b);
    let session = viewer_of(&b);
    wishes_once_offered(&session, "f");
    let got = || json(&session)["layer"]["got"].clone();
    let last = |server: &Server, brings| states(server, brings).and_then(|all| all.last().copied());
    eventually("it gets the largest", || got() == "f");
    to_b.state.loses.store(80, Ordering::Relaxed);
    eventually("the largest is left out, as both say", || {
        let all = [last(&a, false), last(&b, true)];
        all == [Some(Coming::Loses); 2]
    });
    to_b.state.loses.store(0, Ordering::Relaxed);
    assert_eq!(a.metric("monoport_link_layers_withheld{reason=\"loses\"}"), 1);
    eventually("its viewer gets the next", || got() == "h");
    eventually("and the largest again", || got() == "f");
    assert_eq!(last(&a, false), Some(Coming::Comes));
}

#[test]
fn a_link_carries_no_more_than_it_may() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.start("a", &["--zone", "x", "--link-mbps", "1"]);
    let (b, c) = (nodes.start("b", &["--zone", "y"]), nodes.start("c", &["--zone", "y"]));
    let all = [&a, &b, &c];
    known(&all);
    eventually("they know one another", || {
        all.iter().all(|server| server.node().control().nodes().len() == 3)
    });
    let _load = load(&a, &b);
    let session = viewer_of(&b);
    let capped = Some(vec![Coming::Comes, Coming::Comes, Coming::Capped]);
    eventually("the largest is more than that", || states(&a, false) == capped);
    eventually("both say so", || states(&b, true) == capped);
    eventually("its viewer gets the next", || json(&session)["layer"]["got"] == "h");
    let words = "the way between the nodes has no room for a larger one";
    eventually("it is told why", || json(&session)["layer"]["reason"] == words);
    wishes(&session, "f");
    eventually("also who wants it by name", || {
        let layer = &json(&session)["layer"];
        layer["wanted"] == "f" && layer["got"] == "h" && layer["reason"] == words
    });
    let mut viewer = watching(&c);
    let below = viewer_of(&c);
    run_until("and who watches further down", &mut [&mut viewer], |_| {
        json(&below)["layer"]["reason"] == words
    });
    let header = ("Content-Type", "application/json");
    let events = format!("{}/events", viewer.session_url);
    let channel = request("POST", &events, &[header], "[\"layers\"]");
    let channel = c.url(channel.header("location").expect("a Location"));
    let [(_, told)] = &listen(&channel, |_| true)[..] else { panic!("one event") };
    let told: Value = serde_json::from_str(told).expect("JSON");
    let section = told.as_object().and_then(|told| told.values().next()).expect("a section");
    assert_eq!(section["layers"].as_array().map(Vec::len), Some(2), "{told}");
    let (left_out, reason) =
        (&section["inactive"][0]["encodingId"], &section["inactive"][0]["reason"]);
    assert_eq!((left_out.as_str(), reason.as_str()), (Some("f"), Some("withheld")), "{told}");
    let layers = &json(&c.url("/api/v1/streams"))["streams"][0]["layers"];
    let withheld = layers.as_array().into_iter().flatten().filter(|one| one["withheld"] == true);
    assert_eq!(withheld.count(), 1, "{layers}");
    // On a machine that stood still the stream may come from the first node.
    if parent(&c).as_deref() == Some("b") {
        let above = Some(vec![Coming::Comes, Coming::Comes, Coming::Above]);
        assert_eq!(states(&c, true), above, "{}", said(&all));
    }
}
