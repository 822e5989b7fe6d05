//! A browser whose network lets no UDP through publishes and watches over TCP.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alone::is_alone;
use crate::devtools::Tab;
use crate::floor;
use crate::layers::settled;
use crate::namespace::{in_namespace, run};
use crate::pipe::Pipe;
use crate::stage::Stage;
use crate::{PATIENCE, assert_no_complaints, frozen, stats};

/// A host of its own with a card, and a firewall that drops every UDP datagram. Without addresses
/// that come of themselves a second later: Chromium drops what it is loading then.
const HOST_WITHOUT_UDP: &[&str] = &[
    "ip link set lo up",
    "ip link add eth0 type veth peer name eth0-peer",
    "ip link set eth0 addrgenmode none",
    "ip link set eth0-peer addrgenmode none",
    "ip address add 192.0.2.1/24 dev eth0",
    "ip link set eth0 up",
    "ip link set eth0-peer up",
    "ip route add default via 192.0.2.254",
    "nft add table inet t",
    "nft add chain inet t input { type filter hook input priority 0 ; }",
    "nft add rule inet t input meta l4proto udp counter drop",
];

/// The transport, the server's candidate and the state of the pair that carries media.
const SELECTED: &str = "(async () => {
    const [pc] = window.connections.filter((pc) => pc.connectionState === 'connected').slice(-1);
    const report = [...(await pc.getStats()).values()];
    const find = (id) => report.find((s) => s.id === id);
    const transport = report.find((s) => s.type === 'transport');
    const pair = find(transport.selectedCandidatePairId);
    const [local, remote] = [find(pair.localCandidateId), find(pair.remoteCandidateId)];
    return { protocol: remote.protocol, own: local.protocol, kind: remote.candidateType,
             tcpType: local.tcpType, address: remote.address, port: remote.port,
             state: pair.state };
})()";

/// Keeps every connection that the page makes where the test finds it.
const KEEP: &str = "(() => {
    window.connections = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...options) { super(...options); window.connections.push(this); }
    };
})()";

#[test]
fn a_network_without_udp_is_served_over_tcp() {
    let name = "tcp::a_network_without_udp_is_served_over_tcp";
    // The browser is that of another process: its stage does not know of the others' here.
    let _place = (!is_alone(name)).then(floor::alone);
    in_namespace(name, HOST_WITHOUT_UDP, || {
        let port = 7_881u16;
        let Some(stage) = Stage::set_with_tcp(2, "192.0.2.1", port) else { return };
        let publisher = stage.tab("/publish");
        publisher.eval(KEEP);
        // Small, so that two encoders' and decoders' worth of it fits a small machine.
        publisher.eval(
            "monoport.publish({ stream: 'wall', source: 'pattern', width: 640, height: 360 })",
        );
        let viewer = stage.tab("/watch/wall?autoplay=0");
        viewer.eval(KEEP);
        viewer.eval("monoport.watch()");
        stage.assert_plays(&viewer);
        let first = stats(&viewer)["firstFrameMs"].as_f64().expect("milliseconds");
        println!("first picture {first:.0} ms after the POST");
        for tab in [&publisher, &viewer] {
            let pair = selected(tab);
            println!("selected: {pair}");
            assert_eq!((&pair["protocol"], &pair["own"]), (&"tcp".into(), &"tcp".into()), "{pair}");
            assert_eq!(pair["address"], "192.0.2.1", "{pair}");
            assert_eq!((&pair["port"], &pair["state"]), (&port.into(), &"succeeded".into()));
        }
        assert_eq!(stage.server.metric("monoport_tcp_connections"), 2.0);
        let deadline = Instant::now() + PATIENCE;
        while stage.server.metric("monoport_tcp_frames_out_total") <= 100.0 {
            assert!(Instant::now() < deadline, "no hundred frames left over TCP");
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(stage.server.metric("monoport_datagrams_in_total"), 0.0, "no UDP came through");
        assert_no_complaints(&[&publisher, &viewer]);
        // The wall is what does it: without it, the next to come gets UDP.
        drop(viewer);
        assert!(run("nft flush table inet t"));
        let free = stage.tab("/watch/wall?autoplay=0");
        free.eval(KEEP);
        free.eval("monoport.watch()");
        stage.assert_plays(&free);
        assert_eq!(selected(&free)["protocol"], "udp", "UDP goes before TCP");
    });
}

/// Connections to the server's TCP port that are made from here on go through a pipe.
const THROUGH_PIPE: &[&str] = &[
    "nft add table ip way",
    "nft add chain ip way output { type nat hook output priority -100 ; }",
    "nft add rule ip way output ip daddr 192.0.2.1 tcp dport 7881 redirect to :7882",
];

/// How long the picture may stand in all, on a machine that encodes three layers and decodes two:
/// without another layer it would for as long as the way is narrow.
const FREEZE_LIMIT_S: f64 = 20.0;

/// A viewer over TCP gets the layer that gets through, and another one notices nothing.
#[test]
fn a_viewer_over_tcp_gets_the_layer_that_gets_through() {
    let name = "tcp::a_viewer_over_tcp_gets_the_layer_that_gets_through";
    let _place = (!is_alone(name)).then(floor::alone);
    in_namespace(name, HOST_WITHOUT_UDP, || {
        let Some(stage) = Stage::set_with_tcp(2, "192.0.2.1", 7_881) else { return };
        let publisher = stage.tab("/publish");
        publisher.eval(
            "monoport.publish({ stream: 'narrow', source: 'pattern', codec: 'VP8', simulcast: true,
                width: 960, height: 540, maxBitrate: 2500000 })",
        );
        let fast = stage.viewer("narrow");
        stage.assert_plays(&fast);
        settled(&fast, 960);
        // Packets as long as on a real way: what has room in a small buffer.
        let prepared = ["ip link set lo mtu 1500"].iter().chain(THROUGH_PIPE);
        if let Some(command) = prepared.clone().find(|command| !run(command)) {
            println!("{name} is not tested: `{command}` fails here");
            return;
        }
        let pipe = Pipe::start(7_882, ([127, 0, 0, 1], 7_881).into(), 5_000_000);
        let slow = stage.viewer("narrow");
        println!("begins: 960 pixels after {:?}", settled(&slow, 960));
        stage.assert_plays(&slow);
        println!("layers: {:?}", stage.layers());
        let (before, fast_before) = (frozen(&slow), frozen(&fast));
        for (speed, width) in [(300_000, 240), (1_000_000, 480), (5_000_000, 960)] {
            let stood = frozen(&slow);
            pipe.set_speed(speed);
            let took = settled(&slow, width);
            std::thread::sleep(Duration::from_secs(1));
            let stood = frozen(&slow) - stood;
            println!("{speed} b/s: {width} pixels after {took:?}, frozen {stood:.2} s");
        }
        let stood = frozen(&slow) - before;
        println!("frozen {stood} s in all, the other {} s", frozen(&fast) - fast_before);
        assert!(stood <= FREEZE_LIMIT_S, "the picture stood for {stood} s");
        assert!(frozen(&fast) - fast_before <= FREEZE_LIMIT_S / 2.0);
        // A machine that stands still for a moment makes a queue of its connection, too.
        settled(&fast, 960);
        assert_eq!(stage.server.metric("monoport_datagrams_in_total"), 0.0, "no UDP came through");
        assert_no_complaints(&[&publisher, &fast, &slow]);
    });
}

fn selected(tab: &Tab<'_>) -> Value {
    let connected = "window.connections.some((pc) => pc.connectionState === 'connected')";
    tab.wait_for("a connection", connected, PATIENCE);
    std::thread::sleep(Duration::from_millis(200));
    tab.eval(SELECTED)
}
