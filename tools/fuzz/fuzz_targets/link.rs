//! No frame and no hello makes the readers panic; no datagram opens that was not sealed with the
//! keys, and one that was is taken once.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use monoport::cluster::is_hello;
use monoport::id::StreamKey;
use monoport::link::{Exchange, Frame, Incoming, Keys, Outgoing, Peer};
use ring::hmac;
use monoport::wire::link::{HEAD_BYTES, Head};

const STREAM: StreamKey = StreamKey { index: 1, generation: 2 };
const PEER: Peer = Peer { shard: 3, link: 4 };

fn keys() -> [Keys; 2] {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"the secret");
    let (edge, origin) = (Exchange::new(), Exchange::new());
    let (to_origin, to_edge) = (edge.public, origin.public);
    let sends = origin.outgoing(&to_origin, &secret, b"s").expect("a key");
    [sends, edge.incoming(&to_edge, &secret, b"s").expect("a key")]
}

fuzz_target!(|bytes: &[u8]| {
    static KEYS: OnceLock<[Keys; 2]> = OnceLock::new();
    let [sends, takes] = KEYS.get_or_init(keys);
    let now = Instant::now();
    let _ = Frame::read(bytes, STREAM, now);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = is_hello(text);
    }
    let mut incoming = Incoming::new(now, STREAM, PEER, takes, None);
    let mut outgoing = Outgoing::new(now, STREAM, PEER, sends);
    assert!(incoming.receive(now, &mut bytes.to_vec()).is_err());
    assert!(outgoing.receive(now, &mut bytes.to_vec()).is_err());
    let head = Head { shard: 3, link: 4, counter: 0 };
    let mut headed = [&head.bytes()[..], bytes].concat();
    assert_eq!(Head::read(&headed).is_some(), headed.len() > HEAD_BYTES + 16);
    assert!(incoming.receive(now, &mut headed).is_err());
    let mut slot = [0; 1_452];
    let length = outgoing.say(now, &mut slot).expect("it has room");
    assert!(incoming.receive(now, &mut slot[..length].to_vec()).is_ok());
    assert!(incoming.receive(now, &mut slot[..length]).is_err());
});
