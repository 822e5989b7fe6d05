//! Whatever the records say, the walk ends, and more bytes behind never tell of less.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::dtls;

fuzz_target!(|bytes: &[u8]| {
    let whole = dtls::flight(bytes);
    for end in 0..bytes.len().min(64) {
        assert!(dtls::flight(&bytes[..end]) <= whole);
    }
});
