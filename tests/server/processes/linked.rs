//! Streams that go from node to node go on while one process of a node takes the place of another.

use super::place::{Place, VP8};
use crate::cluster::SecretFile;
use crate::playing::Playing;
use crate::support::client::{Client, connect, run_until, socket};
use crate::support::redis::Redis;
use crate::support::{Server, eventually, request};
use str0m::media::{Direction, MediaKind};

/// Two nodes: `a`, whose processes follow one another, and `b`, far from it.
struct Two {
    _redis: Redis,
    _secret: SecretFile,
    a: Place,
    b: Server,
}

impl Two {
    fn new(steering: &str) -> Option<Two> {
        let redis = Redis::start()?;
        let secret = SecretFile::new(&"s".repeat(40));
        let url = redis.url();
        let shared = ["--cluster", &url, "--cluster-secret-file", secret.path()];
        let a = ["--node", "a", "--zone", "x", "--shards", "2", "--steering", steering];
        let a = Place::new(&[&shared[..], &a].concat());
        let b = ["--node", "b", "--zone", "y", "--shards", "1"];
        let b = Server::start(&[&shared[..], &b].concat());
        Some(Two { _redis: redis, _secret: secret, a, b })
    }
}

fn post(base: &str, path: &str, direction: Direction) -> Client {
    Client::try_post_at(base, path, VP8, direction, socket())
        .unwrap_or_else(|refused| panic!("{path}: {} {}", refused.status, refused.body))
}

fn has(base: &str, stream: &str, node: &str) -> bool {
    let url = format!("{base}/api/v1/streams/{stream}/where");
    request("GET", &url, &[], "").body.contains(&format!(r#""node":"{node}""#))
}

/// A stream that is published at one node and watched at another.
fn across(stream: &str, (at, node): (&str, &str), from: &str, from_node: &str) -> Playing {
    let mut publisher = post(at, &format!("/whip/{stream}"), Direction::SendOnly);
    connect(&mut [&mut publisher]);
    publisher.send(MediaKind::Video, true, 0, 0);
    run_until("it is known", &mut [&mut publisher], |_| has(from, stream, node));
    let viewer = post(from, &format!("/whep/{stream}"), Direction::RecvOnly);
    let served = format!("/session/{from_node}-");
    assert!(viewer.session_url.contains(&served), "{}", viewer.session_url);
    Playing::new(publisher, viewer)
}

#[test]
fn what_a_node_sends_to_others_and_takes_from_them_goes_on_while_its_process_is_replaced() {
    for steering in crate::support::steerings() {
        let Some(two) = Two::new(steering) else { return };
        let (a, b) = (two.a.url(""), two.b.url(""));
        let first = two.a.start(&[]);
        eventually("the nodes know one another", || {
            [&a, &b].iter().all(|base| {
                let body = request("GET", &format!("{base}/api/v1/cluster"), &[], "").body;
                body.contains(r#""name":"a""#) && body.contains(r#""name":"b""#)
            })
        });
        let mut out = across("out", (&a, "a"), &b, "b");
        let mut taken = across("in", (&b, "b"), &a, "a");
        out.send(20);
        taken.send(20);
        let second = out.during(|| taken.during(|| two.a.start(&["--takeover"])));
        eventually("the first has told what it has", || two.a.sessions() == (0, Some(2)));
        for _ in 0..100 {
            out.send(1);
            taken.send(1);
        }
        out.lost_nothing();
        taken.lost_nothing();

        // What comes to the second process is taken and given by links of its own.
        let mut more = across("more", (&a, "a"), &b, "b");
        let mut others = across("others", (&b, "b"), &a, "a");
        for _ in 0..30 {
            [&mut more, &mut others, &mut out, &mut taken].into_iter().for_each(|s| s.send(1));
        }
        for stream in [&mut more, &mut others, &mut out, &mut taken] {
            stream.lost_nothing();
        }
        drop((first, second));
    }
}
