//! The ring of provided buffers: memory the kernel picks from when a datagram arrives.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::net::inbound::SLOT_BYTES;
use crate::net::sys::Mapping;

/// The one group of buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// Buffers, and the ring in which those the kernel may fill are queued.
pub(super) struct Buffers {
    /// A slot per buffer.
    pub(super) memory: Mapping,
    /// The entries shared with the kernel; the tail lies in a spare field of the first.
    entries: Mapping,
    /// How many there are, a power of two.
    count: u16,
    /// Entries ever queued, modulo 2^16; published by [`Buffers::publish`].
    tail: u16,
}

impl Buffers {
    /// Maps `count` buffers, a power of two up to 32,768, and registers them with `ring`, all of
    /// them ready to be filled.
    pub(super) fn register(ring: &IoUring, count: u16) -> io::Result<Buffers> {
        let memory = Mapping::new(usize::from(count) * SLOT_BYTES)?;
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let mut buffers = Buffers { memory, entries, count, tail: 0 };
        (0..count).for_each(|id| buffers.queue(id));
        buffers.publish();
        let address = buffers.entries.address(0).addr() as u64;
        // SAFETY: "the ring must be page-aligned and hold ring_entries entries": it is a mapping of
        // that size, and the owner keeps it until the kernel is done (`super::ring`, Drop).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0) }?;
        Ok(buffers)
    }

    /// Queues buffer `id` for the kernel, which sees it after [`Buffers::publish`]. It must not be
    /// queued already, and nobody may be reading it.
    pub(super) fn queue(&mut self, id: u16) {
        let address = self.memory.address(usize::from(id) * SLOT_BYTES).addr() as u64;
        let index = usize::from(self.tail & (self.count - 1));
        let entry = self.entries.address(index * size_of::<BufRingEntry>());
        // SAFETY: inside the mapping and aligned, because entries divide a page. The kernel reads
        // entries before the published tail only, and this one is at or after it. The setters leave
        // the spare field alone, where the tail is.
        let entry = unsafe { &mut *entry.cast::<BufRingEntry>() };
        entry.set_addr(address);
        entry.set_len(SLOT_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel have what was queued.
    pub(super) fn publish(&self) {
        // SAFETY: the entry is inside the mapping, and its spare field is the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries.address(0).cast()) };
        // SAFETY: a live, aligned u16 that is only ever accessed atomically, by us and the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries are written before the kernel, which loads with acquire, sees them.
        tail.store(self.tail, Ordering::Release);
    }
}
