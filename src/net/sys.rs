//! One thin function per system call: arguments in, `io::Result` out, no policy.
//!
//! What sends, receives or shares memory with the kernel is here, and what the crate `nix` has not:
//! socket options by number, ethtool, masks of more CPUs than `cpu_set_t` has, a thread's priority.
//! Everything unsafe about talking to the kernel is here or, for the ring back end, in
//! [`super::uring`]. Each function quotes the sentence of the man page that governs the argument it
//! has to get right.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use crate::limits::MAX_CPUS;

/// Words of a CPU mask; bit `n % 64` of word `n / 64` is CPU `n`.
pub(crate) const CPU_MASK_WORDS: usize = MAX_CPUS / 64;

/// Turns the -1 of a system call into the error in `errno`.
fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `setsockopt(2)` for the options whose value is an `int`.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: "optval and optlen are used to access option values": the pointer is to a live int
    // and the length is an int's; the kernel only reads it.
    checked(unsafe {
        let value = ptr::from_ref(&value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, name, value, length)
    })?;
    Ok(())
}

/// `getsockopt(2)` for the options whose value is an `int`.
pub(super) fn option(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: "optlen is a value-result argument, initially containing the size of the buffer
    // pointed to by optval": both point to live locals and the size is right.
    checked(unsafe {
        let value = ptr::from_mut(&mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, value, &mut length)
    })?;
    Ok(value)
}

/// `sendmmsg(2)` without blocking. Returns how many of `messages` the kernel took, at least one;
/// the error is that of the first message.
///
/// # Safety
///
/// Every pointer in `messages` must be valid for reads of the length beside it.
pub(super) unsafe fn send_messages(
    socket: BorrowedFd<'_>,
    messages: &mut [libc::mmsghdr],
) -> io::Result<usize> {
    let count = messages.len() as libc::c_uint;
    // SAFETY: "The msgvec argument is a pointer to an array of mmsghdr structures. The size of
    // this array is specified in vlen": both come from one slice; its pointers are the caller's.
    let sent = checked(unsafe {
        libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    })?;
    Ok(sent as usize)
}

/// `recvmmsg(2)` without blocking. Returns how many of `messages` were filled.
///
/// # Safety
///
/// Every pointer in `messages` must be valid for writes of the length beside it, and nothing else
/// may read or write that memory during the call.
pub(super) unsafe fn receive_messages(
    socket: BorrowedFd<'_>,
    messages: &mut [libc::mmsghdr],
) -> io::Result<usize> {
    let count = messages.len() as libc::c_uint;
    // SAFETY: "The vlen argument is the number of elements in msgvec": both come from one slice.
    // "If timeout is NULL, then the operation blocks indefinitely" does not apply: MSG_DONTWAIT.
    let received = checked(unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    })?;
    Ok(received as usize)
}

/// `ioctl(SIOCETHTOOL)` with `ETHTOOL_GRXFH`: what of an IPv4 UDP datagram a card hashes, as the
/// `RXH_*` bits of include/uapi/linux/ethtool.h.
pub(super) fn udp_hash_fields(socket: BorrowedFd<'_>, name: &str) -> io::Result<u64> {
    const ETHTOOL_GRXFH: u32 = 0x29;
    const UDP_V4_FLOW: u32 = 0x02;
    /// The head of `struct ethtool_rxnfc`, which is all that this command reads and writes
    /// (net/ethtool/ioctl.c, `ethtool_rxnfc_copy_struct`).
    #[repr(C)]
    struct FlowHash {
        command: u32,
        flow_type: u32,
        fields: u64,
    }
    let mut hash = FlowHash { command: ETHTOOL_GRXFH, flow_type: UDP_V4_FLOW, fields: 0 };
    // SAFETY: "ifreq" is integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the name is a string.
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut hash).cast();
    // SAFETY: "ifr_data" points at the command's structure, a live local as long as the kernel
    // copies in and out for it; the name is terminated.
    checked(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, ptr::from_mut(&mut request))
    })?;
    Ok(hash.fields)
}

/// `sched_getaffinity(2)` of the calling thread.
pub(crate) fn affinity() -> io::Result<[u64; CPU_MASK_WORDS]> {
    let mut mask = [0u64; CPU_MASK_WORDS];
    // SAFETY: "cpusetsize is the length (in bytes) of the data pointed to by mask". A mask longer
    // than cpu_set_t is allowed, and needed where the kernel was built for over 1,024 CPUs.
    checked(unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) })?;
    Ok(mask)
}

/// `sched_setaffinity(2)` of the calling thread.
pub(crate) fn set_affinity(mask: &[u64; CPU_MASK_WORDS]) -> io::Result<()> {
    // SAFETY: "cpusetsize is the length (in bytes) of the data pointed to by mask", which is read.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(mask), mask.as_ptr().cast()) })?;
    Ok(())
}

/// `setpriority(2)` of the calling thread.
pub(crate) fn set_thread_priority(nice: c_int) -> io::Result<()> {
    // SAFETY: no memory changes hands. "A zero value for who denotes the calling process", which on
    // Linux is the calling thread alone (NOTES: "the nice value is a per-thread attribute").
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
    Ok(())
}

/// Zeroed memory from `mmap(2)` that both the kernel and we hold addresses of.
///
/// Pages nobody has touched take no memory, so a receive slot costs what arrives in it and not
/// its 64 KiB; a page, once touched, stays.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to its owner alone, like a Box, and to no thread in particular.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes, page-aligned.
    pub(super) fn new(length: usize) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: "If addr is NULL, then the kernel chooses the (page-aligned) address": no
        // existing mapping is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, length })
    }

    /// The address of byte `offset`.
    pub(super) fn address(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.length, "offset {offset} is outside a mapping of {}", self.length);
        self.start.as_ptr().wrapping_add(offset)
    }

    /// Borrows `length` bytes from `offset` on.
    ///
    /// # Safety
    ///
    /// Neither we nor the kernel may write to these bytes while the borrow lives.
    pub(super) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(fits, "bytes {offset}+{length} are outside a mapping of {}", self.length);
        // SAFETY: inside the mapping by the assertion, zeroed by mmap so initialised, and not
        // written to by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
    }

    /// Borrows `length` bytes from `offset` on, to change them.
    ///
    /// # Safety
    ///
    /// Nobody else, the kernel included, may read or write these bytes while the borrow lives.
    #[expect(clippy::mut_from_ref, reason = "who owns which bytes is the caller's to know")]
    pub(super) unsafe fn bytes_mut(&self, offset: usize, length: usize) -> &mut [u8] {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(fits, "bytes {offset}+{length} are outside a mapping of {}", self.length);
        // SAFETY: inside the mapping by the assertion, zeroed by mmap so initialised, and the
        // caller's alone by his promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, unmapped once; borrows of it end before.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
