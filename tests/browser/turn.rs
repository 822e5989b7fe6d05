//! The page takes the TURN server it is handed: everything through coturn, nothing beside it.

use crate::coturn::{Coturn, SECRET};
use crate::stage::Stage;
use crate::{PATIENCE, SMALL, assert_no_complaints};

/// Lets connections made from here on use relays alone.
const RELAYS_ALONE: &str = "{
    const Connection = RTCPeerConnection;
    window.RTCPeerConnection = function (config) {
        return new Connection({ ...config, iceTransportPolicy: 'relay' });
    };
}";

#[test]
fn the_page_plays_through_a_relay() {
    let Some(turn) = Coturn::start() else { return };
    let options = [
        format!("--turn-server=turn:{}?transport=udp", turn.address),
        format!("--turn-secret={SECRET}"),
    ];
    let Some(stage) = Stage::set_with_options(&options) else { return };
    let publisher = stage.tab("/publish");
    publisher.eval(&format!("monoport.publish({{ stream: 'relayed', {SMALL} }})"));
    let viewer = stage.tab("/watch/relayed?autoplay=0");
    viewer.eval(RELAYS_ALONE);
    viewer.eval("monoport.watch()");
    viewer.wait_for(
        "a picture through the relay",
        "monoport.stats().then((s) => s.watch?.framesDecoded > 0)",
        PATIENCE,
    );
    stage.assert_plays(&viewer);
    assert_no_complaints(&[&publisher, &viewer]);
}
