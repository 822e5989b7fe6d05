//! Whatever is peeked lies within the message, and reads the same a second time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::stun;

fuzz_target!(|bytes: &[u8]| {
    let Ok(peek) = stun::peek(bytes) else { return };
    assert_eq!(stun::peek(bytes), Ok(peek));
    assert_eq!(peek.transaction_id, bytes[8..20]);
    if let Some(ufrag) = peek.local_ufrag {
        assert!(bytes[20..].as_ptr_range().contains(&ufrag.as_ptr()));
        assert!(!ufrag.contains(&b':'));
    }
});
