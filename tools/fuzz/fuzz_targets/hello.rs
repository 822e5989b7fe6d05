//! Whatever the fragments say, a hello is put together in bounded time, and each list of it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::limits::MAX_HELLO_BYTES;
use monoport_fuzz::wire::hello::{ClientHello, assemble};

fuzz_target!(|bytes: &[u8]| {
    let mut datagrams = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (datagram, after) = after.split_at(length);
        datagrams.push(datagram.to_vec());
        rest = after;
    }
    let mut buffer = [0; MAX_HELLO_BYTES];
    let Some(message) = assemble(&datagrams, &mut buffer) else { return };
    // What is put together does not depend on what comes after it.
    datagrams.push(vec![22; 64]);
    assert_eq!(assemble(&datagrams, &mut [0; MAX_HELLO_BYTES]), Some(message));
    if let Some(hello) = ClientHello::parse(message) {
        assert!(2 * hello.suites().count() <= message.len());
        for number in 0..64 {
            assert!(hello.extension(number).is_none_or(|body| body.len() < message.len()));
        }
    }
});
