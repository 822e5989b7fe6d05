//! Memory that will be needed soon.

/// Bytes of a cache line, of all processors this runs on.
const LINE: usize = 64;

/// Asks the processor for the memory of `value`, which somebody will read soon.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_bytes(std::ptr::from_ref(value).cast(), size_of_val(value));
}

/// The same by address, which may be any: nothing is read by us, and what can't be is left.
#[inline]
pub fn prefetch_bytes(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..bytes).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: "The PREFETCHh instruction is merely a hint and does not affect program
        // behavior", whatever the address (Intel SDM, volume 2B).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes, LINE);
}
