//! Whatever is peeked lies within the message, and bytes behind MESSAGE-INTEGRITY change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::{kind, stun};

fuzz_target!(|bytes: &[u8]| {
    let Ok(peek) = stun::peek(bytes) else { return };
    assert_eq!(kind::of(bytes), Some(kind::Kind::Stun));
    assert_eq!(peek.transaction_id, bytes[8..20]);
    if let Some(ufrag) = peek.local_ufrag {
        assert!(bytes[20..].as_ptr_range().contains(&ufrag.as_ptr()));
        assert!(!ufrag.contains(&b':'));
    }
});
