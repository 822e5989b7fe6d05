//! What decodes is what the key encodes; the peek at the shard agrees with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::id::SessionKey;
use monoport_fuzz::wire::ufrag::{UfragKey, node_of, shard_of};

fuzz_target!(|bytes: &[u8]| {
    let key = UfragKey::from_bytes([7; 16]);
    let (claimed, node) = (shard_of(bytes), node_of(bytes));
    if let Some(session) = key.decode(bytes) {
        let node = node.expect("it decodes");
        let made = |restarts| *key.encode_at(node, session, restarts).as_bytes();
        let found = (0..16).any(|restarts| made(restarts) == bytes);
        assert!(found);
        assert_eq!(claimed, Some(session.shard));
    }
    // The same bytes as the fields of a session: an inverse from the other side.
    let Some(&[shard, a, b, c, d, e]) = bytes.first_chunk() else { return };
    let session = SessionKey {
        shard: u16::from(shard),
        slot: u32::from_be_bytes([0, a & 0x0F, b, c]),
        generation: u32::from_be_bytes([0, 0, d, e]),
    };
    let ufrag = key.encode(session);
    assert_eq!(key.decode(ufrag.as_bytes()), Some(session));
});
