//! Whatever one process says to the other about a takeover, what is understood of it is understood
//! again once it is written anew; and datagrams that are handed over lie within their message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport::net::Strays;
use monoport::node::understood_letter;

fuzz_target!(|bytes: &[u8]| {
    for written in understood_letter(bytes).into_iter().flatten() {
        let again = understood_letter(&written).expect("it was written by a process of ours");
        assert!(again.contains(&written), "{}", String::from_utf8_lossy(&written));
    }
    let payloads: usize = Strays::of(bytes).map(|stray| stray.bytes.len()).sum();
    assert!(payloads <= bytes.len(), "{payloads}");
});
