//! Viewers that come before there is a publisher, and he comes to another node.

use crate::cluster::{known, live};
use crate::nodes::{Nodes, try_watch};
use crate::support::client::{connect, run_for};
use crate::support::eventually;
use str0m::media::MediaKind;

#[test]
fn viewers_that_wait_play_when_the_stream_goes_live_on_another_node() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.start("a", &[]), nodes.start("b", &["--whep-wait"]));
    known(&[&a, &b]);
    eventually("b knows a", || b.node().control().nodes().len() == 2);
    let mut viewer = try_watch(&b, "s").expect("it may wait");
    connect(&mut [&mut viewer]);
    let (none, last) = b.node().control().awaited(None);
    assert_eq!((none, last), (vec!["s".into()], None));

    let mut publisher = live(&a);
    let mut next = 1;
    eventually("it plays", || {
        publisher.send(MediaKind::Video, true, next, next * 3_000);
        run_for(std::time::Duration::from_millis(20), &mut [&mut publisher, &mut viewer]);
        next += 1;
        viewer.video_numbers().len() > 5
    });
    assert_eq!((a.sessions(), b.sessions()), (1, 1), "each is where it has come");
    assert!(b.node().control().awaited(None).0.is_empty());
}
