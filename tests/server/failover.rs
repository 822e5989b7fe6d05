//! What becomes of streams when the directory's server is replaced or emptied, or when a node loses
//! sight of it: nobody lacks a packet, and the later publisher of a name has it everywhere.

use std::time::{Duration, Instant};

use crate::cluster::{VP8, is_known, known, live, node, refusal};
use crate::nodes::{Nodes, watch};
use crate::playing::Playing;
use crate::support::client::{Client, connect, run_for, run_until, socket};
use crate::support::redis::{Redis, Sentinel, Way};
use crate::support::{Server, eventually, request};
use str0m::media::{Direction, MediaKind};

/// A stream of a node, and a viewer there.
fn playing_on(server: &Server) -> Playing {
    Playing::new(live(server), watch(server))
}

/// How often the directory was told all that a node has.
fn told_again(server: &Server) -> u64 {
    server.metric("monoport_directory_kept_claims_total")
}

#[test]
fn sentinels_name_another_master_and_streams_stay_whose_they_were() {
    let Some(mut master) = Redis::start() else { return };
    let mut replica = Redis::replica_of(&master);
    let sentinel = Sentinel::of(&master);
    eventually("the Sentinel knows the replica", || sentinel.replicas() == 1);
    let first = sentinel.master().expect("it says");
    let (a, b) = (node(&sentinel.url(), "a", &[]), node(&sentinel.url(), "b", &[]));
    known(&[&a, &b]);
    let mut playing = playing_on(&a);
    eventually("b knows", || refusal(&b).1.contains("on the node `a`"));
    eventually("so does the replica", || {
        let keys: Vec<String> = replica.ask(&["KEYS", "*s:s"]);
        keys.len() == 1
    });

    master.kill();
    playing
        .until("the replica is the master", || sentinel.master().is_some_and(|now| now != first));
    playing.until("both nodes have found it", || {
        let role: Vec<redis::Value> = replica.ask(&["ROLE"]);
        let is_master = role.first() == Some(&redis::Value::BulkString(b"master".to_vec()));
        is_master && is_known(&a) && is_known(&b)
    });
    assert!(refusal(&b).1.contains("on the node `a`"), "{}", refusal(&b).1);
    // What is new is known, too.
    let other = Client::publish(&b, "t", VP8);
    drop(other);
    let mut second = Client::publish(&b, "u", VP8);
    connect(&mut [&mut second]);
    second.send(MediaKind::Video, true, 0, 0);
    playing.until("a knows of it", || {
        run_for(Duration::from_millis(1), &mut [&mut second]);
        request("GET", &a.url("/api/v1/streams/u/where"), &[], "").body.contains(r#""node":"b""#)
    });

    // The one that was the master comes back empty, and is none.
    master.start_again();
    playing.until("it is made a replica", || {
        let role: Vec<redis::Value> = master.ask(&["ROLE"]);
        role.first() == Some(&redis::Value::BulkString(b"slave".to_vec()))
    });
    assert!(refusal(&b).1.contains("on the node `a`"), "{}", refusal(&b).1);
    playing.lost_nothing();
    replica.kill();
}

#[test]
fn a_directory_that_was_emptied_is_told_again() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (node(&redis.url(), "a", &[]), node(&redis.url(), "b", &[]));
    known(&[&a, &b]);
    let mut playing = playing_on(&a);
    eventually("b knows", || refusal(&b).1.contains("on the node `a`"));
    let before = told_again(&a);
    let _: String = redis.ask(&["FLUSHALL"]);
    playing.until("a has told it again", || told_again(&a) > before);
    playing.until("b knows again", || refusal(&b).1.contains("on the node `a`"));
    playing.lost_nothing();
}

#[test]
fn a_node_that_is_cut_from_the_directory_serves_on_and_yields_once_it_is_back() {
    let Some(redis) = Redis::start() else { return };
    let way = Way::to(&redis);
    let (a, b) = (node(&way.url(), "a", &[]), node(&redis.url(), "b", &[]));
    known(&[&a, &b]);
    let mut playing = playing_on(&a);
    eventually("b knows", || refusal(&b).1.contains("on the node `a`"));
    way.cut();
    playing.until("a has seen it", || !is_known(&a));
    playing.until("its lease has run out", || refusal(&b).1.contains("nobody publishes"));
    playing.lost_nothing();
    assert_eq!(request("GET", &a.url("/readyz"), &[], "").status, 200);

    // Another node has the name meanwhile.
    let mut later = live(&b);
    playing.until("it is b's", || {
        run_for(Duration::from_millis(1), &mut [&mut later]);
        b.node().control().is_live("s")
    });
    playing.lost_nothing();
    way.mend();
    let Playing { publisher, viewer, .. } = &mut playing;
    run_until("the earlier one is let go", &mut [publisher, viewer, &mut later], |all| {
        all[0].closed
    });
    assert!(!later.closed);
    eventually("it is b's for a, too", || refusal(&a).1.contains("on the node `b`"));
}

#[test]
fn a_node_that_froze_past_its_lease_has_lost_its_stream_when_it_wakes() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.process("a", &[]), nodes.start("b", &[]));
    let post = |url: &str, path: &str, direction| {
        Client::try_post_at(url, path, VP8, direction, socket())
            .unwrap_or_else(|refused| panic!("{} {}", refused.status, refused.body))
    };
    let has = |url: &str, name: &str| {
        let body = request("GET", &format!("{url}/api/v1/streams/s/where"), &[], "").body;
        body.contains(&format!(r#""node":"{name}""#))
    };
    known(&[&b]);
    let mut first = post(&a.url, "/whip/s", Direction::SendOnly);
    connect(&mut [&mut first]);
    first.send(MediaKind::Video, true, 0, 0);
    run_until("b knows", &mut [&mut first], |_| has(&b.url(""), "a"));
    let mut viewer = post(&a.url, "/whep/s", Direction::RecvOnly);
    connect(&mut [&mut first, &mut viewer]);
    first.send(MediaKind::Video, true, 1, 3_000);
    run_until("it plays", &mut [&mut first, &mut viewer], |all| !all[1].received.is_empty());

    a.signal("-STOP");
    // What they send meanwhile lies in the sockets of the frozen node.
    let mut number = 2;
    let mut go_on = |what: &str, others: &mut [&mut Client], is_so: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !is_so() {
            assert!(since.elapsed() < Duration::from_secs(40), "{what}: not within 40 s");
            first.send(MediaKind::Video, false, number, number * 3_000);
            number += 1;
            let mut all: Vec<&mut Client> = vec![&mut first, &mut viewer];
            all.extend(others.iter_mut().map(|client| &mut **client));
            run_for(Duration::from_millis(100), &mut all);
        }
    };
    go_on("its lease has run out", &mut [], &|| refusal(&b).1.contains("nobody publishes"));
    let mut second = live(&b);
    go_on("it is b's", &mut [&mut second], &|| has(&b.url(""), "b"));
    let had = viewer.video_numbers().len();
    a.signal("-CONT");
    let mut number = 1_000;
    let since = Instant::now();
    while !(first.closed && viewer.video_numbers().iter().any(|number| *number >= 1_000)) {
        let numbers = viewer.video_numbers();
        let state = (first.closed, viewer.closed, second.closed, numbers.last());
        assert!(since.elapsed() < Duration::from_secs(40), "{state:?}: {}", a.log());
        second.send(MediaKind::Video, true, number, number * 3_000);
        run_for(Duration::from_millis(20), &mut [&mut first, &mut viewer, &mut second]);
        number += 1;
    }
    // Nothing of the one that was replaced comes after what replaced it.
    let numbers: Vec<u32> = viewer.video_numbers().split_off(had);
    let later = numbers.iter().position(|number| *number >= 1_000).expect("it plays");
    assert!(numbers[later..].iter().all(|number| *number >= 1_000), "{numbers:?}");
    assert!(!viewer.closed && !second.closed);
}
