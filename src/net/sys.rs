//! One thin function per system call: arguments in, `io::Result` out, no policy.
//!
//! Everything unsafe about talking to the kernel is here or, for the ring back end, in
//! [`super::uring`]. Each function quotes the sentence of the man page that governs the argument it
//! has to get right.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

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

/// `eventfd(2)`, counting from zero.
pub(super) fn event() -> io::Result<OwnedFd> {
    // SAFETY: no memory changes hands.
    let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: "On success, eventfd() returns a new file descriptor": nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `epoll_create1(2)`.
pub(super) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no memory changes hands.
    let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: "returns a file descriptor referring to the new epoll instance": nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `epoll_ctl(2)`: adds `fd` for reading, level-triggered; events for it carry `number`.
pub(super) fn watch_for_input(
    epoll: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    number: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number };
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: "The event argument describes the object linked to the file descriptor fd": a live
    // local that the kernel copies.
    checked(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) })?;
    Ok(())
}

/// `epoll_wait(2)` without waiting. Returns how many of `events` were filled.
pub(super) fn ready_now(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
) -> io::Result<usize> {
    let most = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: "Up to maxevents are returned by epoll_wait(). The maxevents argument must be greater
    // than zero": the pointer is to at least as many, and for none the kernel says EINVAL.
    let found =
        checked(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), most, 0) })?;
    Ok(found as usize)
}

/// `getrlimit(2)` and `setrlimit(2)` of this process for open files: makes `soft` the soft limit,
/// where given, and returns the soft and hard limits from before.
pub(super) fn open_files(soft: Option<u64>) -> io::Result<(u64, u64)> {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: "If the old_limit argument is not NULL, then a successful call places the previous
    // limits in the rlimit structure pointed to by old_limit": a live local.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) })?;
    if let Some(soft) = soft {
        let after = libc::rlimit { rlim_cur: soft, rlim_max: before.rlim_max };
        // SAFETY: the structure is a live local that the kernel copies.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &after) })?;
    }
    Ok((before.rlim_cur, before.rlim_max))
}

/// `unshare(2)`: gives the calling thread an empty network namespace. For tests.
#[cfg(test)]
pub(super) fn leave_network() -> io::Result<()> {
    // SAFETY: no memory changes hands, and only the calling thread's namespace changes.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    Ok(())
}

/// One line of `getifaddrs(3)`: an interface together with one of its addresses.
pub(super) struct InterfaceAddress {
    /// The interface's name.
    pub name: String,
    /// `IFF_*` flags.
    pub flags: u32,
    /// The leading bytes of its `sockaddr`, as many as [`super::addr::decode`] wants; `None` for
    /// link-layer addresses and interfaces without one.
    pub address: Option<[u8; super::addr::RAW_BYTES]>,
}

/// `getifaddrs(3)`, copied out and freed.
pub(super) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut head: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: "stores the address of the first item of the list in *ifap": a live local.
    checked(unsafe { libc::getifaddrs(&mut head) })?;
    let mut found = Vec::new();
    let mut entry = head;
    // SAFETY: "ifa_next contains a pointer to the next structure on the list, or NULL": entries
    // stay valid until freeifaddrs below.
    while let Some(item) = unsafe { entry.as_ref() } {
        found.push(InterfaceAddress {
            // SAFETY: "ifa_name points to the null-terminated interface name".
            name: unsafe { CStr::from_ptr(item.ifa_name) }.to_string_lossy().into_owned(),
            flags: item.ifa_flags,
            address: interface_sockaddr(item.ifa_addr),
        });
        entry = item.ifa_next;
    }
    // SAFETY: `head` came from getifaddrs and nothing borrowed from it is left.
    unsafe { libc::freeifaddrs(head) };
    Ok(found)
}

/// Copies an IP `sockaddr` of the interface list; other families, and null, are `None`.
fn interface_sockaddr(address: *const libc::sockaddr) -> Option<[u8; super::addr::RAW_BYTES]> {
    // SAFETY: "ifa_addr points to a structure containing the interface address ... This pointer
    // may be null"; it is live while the list is.
    let family = c_int::from(unsafe { address.as_ref() }?.sa_family);
    let length = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut bytes = [0; super::addr::RAW_BYTES];
    // SAFETY: "The sa_family subfield should be consulted to determine the format": the family says
    // how long the structure is, and neither is longer than `bytes`.
    unsafe { ptr::copy_nonoverlapping(address.cast(), bytes.as_mut_ptr(), length) };
    Some(bytes)
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

/// `prctl(2)` with `PR_SET_THP_DISABLE`: no transparent huge pages for this process.
pub(crate) fn disable_huge_pages() -> io::Result<()> {
    // SAFETY: no memory changes hands. "arg2 is nonzero" sets the flag, and the others "must be
    // specified as 0".
    checked(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) })?;
    Ok(())
}

/// `clock_gettime(2)`.
///
/// # Panics
///
/// If the kernel does not know the clock, which for the CPU-time clocks it always does.
pub(crate) fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: "tp ... is a pointer to a timespec structure": a live local.
    let result = checked(unsafe { libc::clock_gettime(id, &mut time) });
    assert!(result.is_ok(), "clock {id} does not exist on this kernel");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, unmapped once; borrows of it end before.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
