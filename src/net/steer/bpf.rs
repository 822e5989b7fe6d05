//! The commands of `bpf(2)` that steering needs, one thin function each.
//!
//! `union bpf_attr` has a struct per command; the kernel takes a shorter one than its own and reads
//! the rest as zeros, so each command here passes just the fields it sets.

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::asm::Instruction;
use crate::limits::MAX_CPUS;

/// `enum bpf_cmd`.
const MAP_CREATE: c_long = 0;
const MAP_LOOKUP_ELEM: c_long = 1;
const MAP_UPDATE_ELEM: c_long = 2;
const MAP_DELETE_ELEM: c_long = 3;
const PROG_LOAD: c_long = 5;

/// `BPF_PROG_TYPE_SK_REUSEPORT` of `enum bpf_prog_type`.
const SK_REUSEPORT: u32 = 21;
/// `BPF_SK_REUSEPORT_SELECT` of `enum bpf_attach_type`.
const REUSEPORT_SELECT: u32 = 39;

/// What a map is, by `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum MapKind {
    /// An array whose elements each CPU has its own copy of.
    PerCpuArray = 6,
    /// A hash that forgets what was unused longest when it is full.
    LruHash = 9,
    /// An array of sockets that share a port.
    ReuseportSockets = 20,
}

/// A map with keys of `KEY` bytes and values of `VALUE` bytes.
#[derive(Debug)]
pub(super) struct Map<const KEY: usize, const VALUE: usize>(OwnedFd);

#[repr(C)]
struct CreateMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; NAME_BYTES],
}

#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct LoadProgram {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
    interface: u32,
    expected_attach_type: u32,
}

/// `BPF_OBJ_NAME_LEN`.
const NAME_BYTES: usize = 16;

impl<const KEY: usize, const VALUE: usize> Map<KEY, VALUE> {
    /// `BPF_MAP_CREATE`. The name is what `bpftool map` shows.
    pub fn create(kind: MapKind, entries: u32, name: &CStr) -> io::Result<Self> {
        let mut attributes = CreateMap {
            kind: kind as u32,
            key_size: KEY as u32,
            value_size: VALUE as u32,
            max_entries: entries,
            flags: 0,
            inner_map: 0,
            numa_node: 0,
            name: padded(name),
        };
        // SAFETY: "Create a map and return a file descriptor that refers to the map": no memory
        // but the attributes' own is read.
        let fd = unsafe { bpf(MAP_CREATE, &mut attributes) }?;
        // SAFETY: the descriptor is new, and nobody else has it.
        Ok(Map(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A map that another process has made, of the same type.
    pub fn adopt(fd: OwnedFd) -> Self {
        Map(fd)
    }

    /// `BPF_MAP_UPDATE_ELEM`: creates the element or replaces it.
    pub fn update(&self, key: &[u8; KEY], value: &[u8; VALUE]) -> io::Result<()> {
        let mut attributes = self.element(key, value.as_ptr() as u64);
        // SAFETY: the kernel reads as many bytes of key and value as the map was created with,
        // which is the length of both by their types; both outlive the call.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }?;
        Ok(())
    }

    /// `BPF_MAP_DELETE_ELEM`. `NotFound` when there is no such element.
    pub fn delete(&self, key: &[u8; KEY]) -> io::Result<()> {
        let mut attributes = self.element(key, 0);
        // SAFETY: the kernel reads as many bytes of the key as the map was created with, which is
        // its length by its type; it outlives the call.
        unsafe { bpf(MAP_DELETE_ELEM, &mut attributes) }?;
        Ok(())
    }

    fn element(&self, key: &[u8; KEY], value: u64) -> Element {
        let map = self.0.as_raw_fd() as u32;
        Element { map, padding: 0, key: key.as_ptr() as u64, value, flags: 0 }
    }
}

impl<const KEY: usize, const VALUE: usize> AsFd for Map<KEY, VALUE> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One number that the kernel counts up, on each CPU apart.
#[derive(Debug)]
pub(super) struct PerCpuCounter(Map<4, 8>);

impl PerCpuCounter {
    /// A counter at zero.
    pub fn create(name: &CStr) -> io::Result<PerCpuCounter> {
        Map::create(MapKind::PerCpuArray, 1, name).map(PerCpuCounter)
    }

    /// A counter that another process has made.
    pub fn adopt(fd: OwnedFd) -> PerCpuCounter {
        PerCpuCounter(Map::adopt(fd))
    }

    /// `BPF_MAP_LOOKUP_ELEM`: the sum over all CPUs.
    pub fn sum(&self) -> io::Result<u64> {
        let mut values = vec![0u64; MAX_CPUS];
        let mut attributes = self.0.element(&[0; 4], values.as_mut_ptr() as u64);
        // SAFETY: the kernel reads four bytes of key and, for a map of this kind, writes eight
        // bytes for each possible CPU: at most NR_CPUS, which MAX_CPUS is not less than. The memory
        // is ours and outlives the call.
        unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) }?;
        Ok(values.iter().sum())
    }
}

impl AsFd for PerCpuCounter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `BPF_PROG_LOAD` of a steering program. When the verifier refuses it, `log` tells why, in text
/// that ends with a zero byte; an empty one is not written to.
pub(super) fn load_program(program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    // None of the helpers is for GPL programs only, so the kernel takes any licence.
    const LICENSE: &CStr = c"MIT or Apache-2.0";
    let logging = !log.is_empty();
    let mut attributes = LoadProgram {
        kind: SK_REUSEPORT,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: u32::from(logging),
        log_size: log.len() as u32,
        log: if logging { log.as_mut_ptr() as u64 } else { 0 },
        kernel_version: 0,
        flags: 0,
        name: padded(c"monoport_steer"),
        interface: 0,
        expected_attach_type: REUSEPORT_SELECT,
    };
    // SAFETY: the kernel reads as many instructions as the slice has, the licence up to its zero
    // byte, and writes at most `log_size` bytes of log; all of them outlive the call.
    let fd = unsafe { bpf(PROG_LOAD, &mut attributes) }?;
    // SAFETY: "returns a new file descriptor associated with the eBPF program": nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn padded(name: &CStr) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    // The last byte stays zero: the kernel wants a terminated string.
    for (to, from) in bytes[..NAME_BYTES - 1].iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    bytes
}

/// `bpf(2)`.
///
/// # Safety
///
/// `attributes` must be of the type that `command` wants, and its pointers valid for what the
/// command does with them.
unsafe fn bpf<T>(command: c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: "The attr argument is a pointer to a union of type bpf_attr; the size argument is the
    // size of the union pointed to by attr": the size is that of the struct, the rest the caller's.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    // A descriptor, or zero: either fits.
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn attributes_lie_where_the_kernel_has_them() {
        // include/uapi/linux/bpf.h, union bpf_attr
        assert_eq!((offset_of!(CreateMap, name), size_of::<CreateMap>()), (28, 44));
        assert_eq!((offset_of!(Element, key), size_of::<Element>()), (8, 32));
        assert_eq!(offset_of!(LoadProgram, log), 32);
        assert_eq!(offset_of!(LoadProgram, expected_attach_type), 68);
    }

    #[test]
    fn names_are_cut_to_what_the_kernel_takes() {
        assert_eq!(&padded(c"a_name_of_more_than_sixteen"), b"a_name_of_more_\0");
    }
}
