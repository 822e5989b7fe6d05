//! Streams that go from node to node go on while one process of a node takes the place of another.

use std::time::{Duration, Instant};

use super::place::{Place, VP8};
use crate::cluster::SecretFile;
use crate::support::client::{Client, connect, run_for, run_until, socket};
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
struct Across {
    publisher: Client,
    viewer: Client,
    number: u32,
}

impl Across {
    fn start(stream: &str, (at, node): (&str, &str), from: &str, from_node: &str) -> Across {
        let mut publisher = post(at, &format!("/whip/{stream}"), Direction::SendOnly);
        connect(&mut [&mut publisher]);
        publisher.send(MediaKind::Video, true, 0, 0);
        run_until("it is known", &mut [&mut publisher], |_| has(from, stream, node));
        let mut viewer = post(from, &format!("/whep/{stream}"), Direction::RecvOnly);
        let served = format!("/session/{from_node}-");
        assert!(viewer.session_url.contains(&served), "{}", viewer.session_url);
        connect(&mut [&mut publisher, &mut viewer]);
        Across { publisher, viewer, number: 1 }
    }

    fn send(&mut self, packets: u32) {
        for _ in 0..packets {
            let (number, is_first) = (self.number, self.number == 1);
            self.publisher.send(MediaKind::Video, is_first, number, number * 3_000);
            self.number += 1;
            run_for(Duration::from_millis(10), &mut [&mut self.publisher, &mut self.viewer]);
        }
    }

    /// Goes on while something else is done.
    fn during<T: Send>(&mut self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let done = scope.spawn(what);
            let since = Instant::now();
            while !done.is_finished() {
                assert!(since.elapsed() < Duration::from_secs(40));
                self.send(1);
            }
            done.join().expect("no panic")
        })
    }

    fn lost_nothing(&mut self) {
        let last = self.number;
        self.send(1);
        run_until("all have come", &mut [&mut self.publisher, &mut self.viewer], |all| {
            all[1].video_numbers().last() == Some(&last)
        });
        let mut numbers = self.viewer.video_numbers();
        numbers.retain(|number| *number > 0);
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
        assert!(!self.publisher.closed && !self.viewer.closed);
    }
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
        let mut out = Across::start("out", (&a, "a"), &b, "b");
        let mut taken = Across::start("in", (&b, "b"), &a, "a");
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
        let mut more = Across::start("more", (&a, "a"), &b, "b");
        let mut others = Across::start("others", (&b, "b"), &a, "a");
        for _ in 0..30 {
            [&mut more, &mut others, &mut out, &mut taken].into_iter().for_each(|s| s.send(1));
        }
        for stream in [&mut more, &mut others, &mut out, &mut taken] {
            stream.lost_nothing();
        }
        drop((first, second));
    }
}
