//! An address is only read out of an answer to the very request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::{mapped, stun};

fuzz_target!(|bytes: &[u8]| {
    let Some(id) = bytes.get(8..20).and_then(|id| id.try_into().ok()) else { return };
    let Some(address) = mapped::mapped_address(bytes, id) else { return };
    assert_eq!(stun::peek(bytes).map(|peek| peek.class), Ok(stun::Class::Success));
    assert_eq!(mapped::mapped_address(bytes, id), Some(address));
    assert_eq!(mapped::mapped_address(bytes, id.map(|byte: u8| !byte)), None);
});
