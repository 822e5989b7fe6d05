//! A stream goes from node to node as a tree: over the long way once for each zone, past a node
//! that dies, and away from one that drains, with nothing missing and no key frame asked for.

use std::time::{Duration, Instant};

use crate::cluster::{VP8, known, live};
use crate::nodes::{Nodes, try_watch, watch};
use crate::support::client::{Client, connect, run_for, socket};
use crate::support::process::Process;
use crate::support::{PATIENCE, Server, eventually, request};
use monoport::control::LinkView;
use serde_json::json;
use str0m::media::{Direction, MediaKind};

/// How far apart packets are: what a node keeps for who comes from another one is twenty seconds
/// then, whatever else the machine has to do.
const PACE: Duration = Duration::from_millis(20);

fn meet(servers: &[&Server], nodes: usize) {
    known(servers);
    eventually("they know one another", || {
        servers.iter().all(|server| server.node().control().nodes().len() == nodes)
    });
}

/// The links by which streams come to a node.
fn brought(server: &Server) -> Vec<LinkView> {
    server.node().control().links().into_iter().filter(|link| link.brings).collect()
}

/// The node that a node has its one stream from.
pub fn parent(server: &Server) -> Option<String> {
    brought(server).first().map(|link| link.node.to_string())
}

/// How many links take streams from a node.
fn children(server: &Server) -> usize {
    server.node().control().links().iter().filter(|link| !link.brings).count()
}

/// A publisher that goes on and on, with one key frame, and those who watch it.
struct Show {
    publisher: Client,
    viewers: Vec<Client>,
    next: u32,
}

impl Show {
    fn of(publisher: Client) -> Show {
        Show { publisher, viewers: Vec::new(), next: 1 }
    }

    /// One that was answered comes to watch.
    fn joins(&mut self, viewer: Client) {
        self.viewers.push(viewer);
        let last = self.viewers.len() - 1;
        connect(&mut [&mut self.publisher, &mut self.viewers[last]]);
        let since = Instant::now();
        while self.viewers[last].received.is_empty() {
            assert!(since.elapsed() < PATIENCE, "it plays");
            // It may have come before there was anything to begin with.
            let keyframe = std::mem::take(&mut self.publisher.keyframes_asked) > 0;
            self.step(keyframe);
        }
    }

    fn step(&mut self, keyframe: bool) {
        self.publisher.send(MediaKind::Video, keyframe, self.next, self.next * 3_000);
        let mut all: Vec<&mut Client> = vec![&mut self.publisher];
        all.extend(self.viewers.iter_mut());
        run_for(PACE, &mut all);
        self.next += 1;
    }

    /// Goes on until `is_so`, and then until all have what was sent.
    fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let since = Instant::now();
        while !is_so() {
            assert!(since.elapsed() < PATIENCE, "{what}");
            self.step(false);
        }
        let last = self.next - 1;
        let has = |viewer: &Client| viewer.video_numbers().contains(&last);
        while !self.viewers.iter().all(has) {
            assert!(since.elapsed() < PATIENCE * 2, "{what}: all play on");
            self.step(false);
        }
    }

    /// Each has all from its first packet on, and nobody has asked for a key frame.
    fn is_whole(&self) {
        for viewer in &self.viewers {
            let mut numbers = viewer.video_numbers();
            numbers.sort_unstable();
            numbers.dedup();
            let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
            assert_eq!(numbers, (first..=last).collect::<Vec<u32>>(), "holes");
            let mut sequence: Vec<u64> = viewer.received.iter().map(|one| *one.seq_no).collect();
            sequence.sort_unstable();
            sequence.dedup();
            let (first, last) = (sequence[0], sequence[sequence.len() - 1]);
            assert_eq!(sequence.len() as u64, last - first + 1, "its numbers have gone on");
        }
        assert_eq!(self.publisher.keyframes_asked, 0, "there was a picture all the time");
    }

    /// The longest time since then in which one of them has got nothing.
    fn gap(&self, viewer: usize, since: Instant) -> Duration {
        let times = self.viewers[viewer].received.iter().map(|packet| packet.timestamp);
        let times = times.filter(|time| *time >= since);
        let times: Vec<Instant> = [since].into_iter().chain(times).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// Whether no node has taken another one for dead that was only kept waiting for a core. Where one
/// has, the tree is right and another one than is to be shown here.
pub fn are_calm(servers: &[&Server]) -> bool {
    let moved = |server: &&Server| server.metric("monoport_relay_reparented_total") > 0;
    let are_calm = !servers.iter().any(moved);
    if !are_calm {
        println!("the machine is too busy: a node seemed dead that was not");
    }
    are_calm
}

/// A publisher on `a`, whose stream comes to the zone of `b` and `c` by `b`; nothing on a machine
/// that is too busy for that.
fn by_way_of_b(a: &Server, watch_b: impl FnOnce(&mut Show) -> Client, c: &Server) -> Option<Show> {
    let mut show = Show::of(live(a));
    let near = watch_b(&mut show);
    show.joins(near);
    let far = watch(c);
    show.joins(far);
    let (is_right, count) = (parent(c).as_deref() == Some("b"), children(a));
    if !are_calm(&[c]) {
        return None;
    }
    assert!(is_right && count == 1, "a zone has it over the long way once");
    show.until("it plays", || true);
    show.publisher.keyframes_asked = 0;
    Some(show)
}

/// A viewer that `b`, which is a process of its own, serves.
fn watch_process(show: &mut Show, b: &Process) -> Client {
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < PATIENCE, "it is served");
        let post = Client::try_post_at(&b.url, "/whep/s", VP8, Direction::RecvOnly, socket());
        match post {
            Ok(viewer) if viewer.session_url.contains("/session/b-") => return viewer,
            _ => show.step(false),
        }
    }
}

#[test]
fn a_node_between_two_others_is_killed_and_viewers_behind_it_miss_nothing() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, c) = (nodes.start("a", &["--zone", "x"]), nodes.start("c", &["--zone", "y"]));
    let b = nodes.process("b", &["--zone", "y"]);
    meet(&[&a, &c], 3);
    let Some(mut show) = by_way_of_b(&a, |show| watch_process(show, &b), &c) else { return };
    // Its own viewers go with it.
    show.viewers.remove(0);
    b.signal("-KILL");
    let killed = Instant::now();
    let walked = request("GET", &a.url("/api/v1/streams/s/tree"), &[], "").body;
    assert!(walked.contains("`b`, whose HTTP is at"), "it says who does not answer: {walked}");
    show.until("it comes from elsewhere", || parent(&c).as_deref() == Some("a"));
    for _ in 0..50 {
        show.step(false);
    }
    show.until("it plays on", || true);
    println!("without media for {:?}", show.gap(0, killed));
    show.is_whole();
    assert_eq!(c.metric("monoport_link_lost_total{node=\"a\",direction=\"in\"}"), 0);
    assert!(c.metric("monoport_relay_reparented_total") >= 1);
    let metrics = request("GET", &c.url("/metrics"), &[], "").body;
    let counted =
        metrics.lines().filter(|line| line.starts_with("monoport_relay_gap_seconds_count"));
    assert!(counted.filter(|line| !line.ends_with(" 0")).count() > 0, "the gap is measured");
}

#[test]
fn of_two_behind_a_node_that_is_killed_one_takes_the_stream_from_the_other_and_both_miss_nothing() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.start("a", &["--zone", "x"]);
    let (c, d) = (nodes.start("c", &["--zone", "y"]), nodes.start("d", &["--zone", "y"]));
    let b = nodes.process("b", &["--zone", "y"]);
    meet(&[&a, &c, &d], 4);
    let Some(mut show) = by_way_of_b(&a, |show| watch_process(show, &b), &c) else { return };
    let third = watch(&d);
    show.joins(third);
    let is_right = parent(&d).as_deref() == Some("b");
    if !are_calm(&[&c, &d]) {
        return;
    }
    assert!(is_right, "its zone has it already");
    show.until("all play", || true);
    show.publisher.keyframes_asked = 0;
    // The key frame is long ago, and what another node would begin with is of no help.
    for _ in 0..60 {
        show.step(false);
    }
    show.viewers.remove(0);
    b.signal("-KILL");
    let killed = Instant::now();
    let mended = || {
        let parents = [parent(&c), parent(&d)].map(Option::unwrap_or_default);
        [["a", "c"], ["d", "a"]].contains(&[&*parents[0], &*parents[1]])
    };
    show.until("the zone has it over the long way once", mended);
    for _ in 0..50 {
        show.step(false);
    }
    show.until("both play on", || true);
    let gaps = [show.gap(0, killed), show.gap(1, killed)];
    println!("without media for {gaps:?}");
    show.is_whole();
}

#[test]
fn a_node_that_drains_sends_those_away_that_have_a_stream_from_it_and_nobody_misses_anything() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.start("a", &["--zone", "x"]);
    let (b, c) = (nodes.start("b", &["--zone", "y"]), nodes.start("c", &["--zone", "y"]));
    meet(&[&a, &b, &c], 3);
    let Some(mut show) = by_way_of_b(&a, |_| watch(&b), &c) else { return };
    let drained = Instant::now();
    b.node().refuse_new_sessions();
    let from = |node: &str| {
        c.metric(&format!("monoport_link_packets_total{{node=\"{node}\",direction=\"in\"}}"))
    };
    let (mut counted, mut all) = (from("b"), brought(&c)[0].packets);
    show.until("c has it from a", || {
        let before = counted;
        counted = from("b");
        assert!(counted >= before, "no counter steps back: {counted} after {before}");
        if let Some(link) = brought(&c).first() {
            assert!(link.packets >= all, "a link counts on: {} after {all}", link.packets);
            all = link.packets;
        }
        parent(&c).as_deref() == Some("a")
    });
    show.until("b gives it to nobody", || children(&b) == 0);
    for _ in 0..20 {
        show.step(false);
    }
    show.until("both play on", || true);
    println!("without media for {:?}", show.gap(1, drained));
    show.is_whole();
    assert_eq!(brought(&b).len(), 1, "its own viewers stay until they go");
    let is_sum = || brought(&c)[0].packets == from("a") + from("b");
    eventually("what has come from all of them is what came from each", is_sum);
    let sent = b.metric("monoport_link_packets_total{node=\"c\",direction=\"out\"}");
    let figure = |name: &str| {
        c.metric(&format!("monoport_link_{name}_total{{node=\"b\",direction=\"in\"}}"))
    };
    let came = figure("packets") + figure("repaired") + figure("lost");
    // What was on its way when it left comes to nobody.
    assert!(came <= sent && sent - came <= 4, "{came} of {sent} are accounted for");
}

#[test]
fn a_node_with_children_enough_names_one_of_them_and_the_tree_is_four_deep_at_most() {
    let Some(nodes) = Nodes::new() else { return };
    let names = ["a", "b", "c", "d", "e", "f"];
    let zone = |name: &str| format!("zone-{name}");
    let start = |name: &&str| nodes.start(name, &["--zone", &zone(name), "--link-children", "1"]);
    let all: Vec<Server> = names.iter().map(start).collect();
    meet(&all.iter().collect::<Vec<_>>(), names.len());
    let mut show = Show::of(live(&all[0]));
    for (place, server) in all.iter().enumerate().take(5).skip(1) {
        let viewer = watch(server);
        assert!(viewer.session_url.contains(&format!("/session/{}-", names[place])));
        show.joins(viewer);
        let is_right = parent(server).as_deref() == Some(names[place - 1]);
        if !are_calm(&all.iter().collect::<Vec<_>>()) {
            return;
        }
        assert!(is_right, "{} has it from {:?}", names[place], parent(server));
        // Who has just come is told by which path it has it.
        show.until("it plays", || true);
    }
    show.publisher.keyframes_asked = 0;
    for _ in 0..20 {
        show.step(false);
    }
    show.until("all play", || true);
    show.is_whole();
    let show_of = |server: &Server| {
        let body = request("GET", &server.url("/api/v1/streams/s/where"), &[], "").body;
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON")["here"].take()
    };
    let (here, below) = (show_of(&all[4]), show_of(&all[1])["children"].take());
    // Whoever is asked, also one that has it not.
    let walked = request("GET", &all[5].url("/api/v1/streams/s/tree"), &[], "").body;
    let (depth, passed_on) =
        (all[4].metric("monoport_relay_depth"), all[1].metric("monoport_relay_children"));
    if !are_calm(&all.iter().collect::<Vec<_>>()) {
        return;
    }
    assert_eq!(here["path"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!((&here["viewers"], below), (&1.into(), json!(["c"])));
    assert!(show_of(&all[5]).is_null());
    assert_eq!((depth, passed_on), (4, 1));
    let walked: serde_json::Value = serde_json::from_str(&walked).expect("JSON");
    assert_eq!((&walked["viewers"], &walked["more"]), (&json!(4), &json!(false)), "{walked:#}");
    let parents = [json!(null), json!("a"), json!("b"), json!("c"), json!("d")];
    for (depth, parent) in parents.into_iter().enumerate() {
        let node = &walked["nodes"][depth];
        assert_eq!((&node["node"], &node["depth"]), (&json!(names[depth]), &json!(depth)));
        assert_eq!((&node["parent"], &node["problem"]), (&parent, &json!(null)));
        assert_eq!(node["viewers"], json!(usize::from(depth > 0)));
        assert_eq!(node["link"]["node"], parent);
    }
    // There is no place left: the node that has the stream serves viewers of the last one.
    let viewer = watch(&all[5]);
    assert!(viewer.session_url.contains("/session/a-"), "{}", viewer.session_url);
    assert_eq!(brought(&all[5]).len(), 0);
}

#[test]
fn a_process_that_drains_ends_once_those_have_left_that_have_a_stream_from_it() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, c) = (nodes.start("a", &["--zone", "x"]), nodes.start("c", &["--zone", "y"]));
    let b = nodes.process("b", &["--zone", "y", "--drain-timeout", "100"]);
    meet(&[&a, &c], 3);
    let Some(mut show) = by_way_of_b(&a, |show| watch_process(show, &b), &c) else { return };
    assert_eq!(show.viewers.remove(0).delete().status, 200);
    b.signal("-TERM");
    show.until("c has it from a", || parent(&c).as_deref() == Some("a"));
    show.until("b ends", || b.log().contains("the last session has ended"));
    assert!(b.log().contains("draining: 0 sessions"), "it has waited: {}", b.log());
    show.is_whole();
}

#[test]
fn a_node_that_drains_gives_what_is_published_there_on_and_its_publishers_go_last() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.process("a", &["--zone", "y", "--drain-timeout", "20"]);
    let c = nodes.start("c", &["--zone", "y"]);
    meet(&[&c], 2);
    let post = Client::try_post_at(&a.url, "/whip/s", VP8, Direction::SendOnly, socket());
    let mut publisher = post.unwrap_or_else(|refused| panic!("{}", refused.body));
    connect(&mut [&mut publisher]);
    let mut show = Show::of(publisher);
    show.step(true);
    let near = Client::try_post_at(&a.url, "/whep/s", VP8, Direction::RecvOnly, socket());
    show.joins(near.unwrap_or_else(|refused| panic!("{}", refused.body)));
    a.signal("-TERM");
    // Who comes now is served elsewhere, though its node is of the zone.
    let (since, mut viewer) = (Instant::now(), None);
    while viewer.is_none() {
        assert!(since.elapsed() < PATIENCE, "it is served by another node");
        show.step(false);
        let served = try_watch(&c, "s").ok();
        viewer = served.filter(|one| one.session_url.contains("/session/c-"));
    }
    show.joins(viewer.expect("it is served"));
    while !show.viewers[0].closed {
        assert!(since.elapsed() < PATIENCE * 2, "viewers are ended");
        show.step(false);
    }
    assert!(!show.publisher.closed, "a publisher stays longer");
    let had = show.viewers[1].received.len();
    for _ in 0..20 {
        show.step(false);
    }
    assert!(show.viewers[1].received.len() > had, "and is seen elsewhere");
    while !show.publisher.closed {
        assert!(since.elapsed() < PATIENCE * 2, "and is ended last");
        show.step(false);
    }
    assert!(a.log().contains("viewers are ended; publishers have"), "{}", a.log());
}

#[test]
fn the_node_with_the_publisher_is_killed_and_viewers_play_on_when_that_comes_to_another_one() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.process("a", &["--zone", "x"]);
    let (b, c) = (nodes.start("b", &["--zone", "y"]), nodes.start("c", &["--zone", "z"]));
    meet(&[&b, &c], 3);
    let post = Client::try_post_at(&a.url, "/whip/s", VP8, Direction::SendOnly, socket());
    let mut first = post.unwrap_or_else(|refused| panic!("{}", refused.body));
    connect(&mut [&mut first]);
    let mut show = Show::of(first);
    show.step(true);
    let mut viewer = None;
    while viewer.is_none() {
        show.step(true);
        viewer = try_watch(&b, "s").ok();
    }
    show.joins(viewer.expect("it is served"));
    show.until("it plays", || true);
    assert_eq!(parent(&b).as_deref(), Some("a"));
    a.signal("-KILL");
    show.publisher = live(&c);
    let (since, had) = (Instant::now(), show.viewers[0].received.len());
    while show.viewers[0].received.len() < had + 5 {
        assert!(since.elapsed() < PATIENCE, "it plays on");
        show.step(true);
    }
    println!("plays on {:?} after it is live elsewhere", since.elapsed());
    assert_eq!(parent(&b).as_deref(), Some("c"));
    assert!(!show.viewers[0].closed);
    let mut sequence: Vec<u64> = show.viewers[0].received.iter().map(|one| *one.seq_no).collect();
    sequence.sort_unstable();
    sequence.dedup();
    let (first, last) = (sequence[0], sequence[sequence.len() - 1]);
    assert_eq!(sequence.len() as u64, last - first + 1, "its numbers have gone on");
}
