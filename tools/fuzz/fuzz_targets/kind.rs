//! The first byte decides; for RTP and RTCP the second too; nothing else does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::kind;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(kind::of(bytes), kind::of(&bytes[..bytes.len().min(2)]));
});
