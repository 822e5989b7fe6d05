//! One ring, receiving for one socket: a multishot recvmsg that stays armed, and its completions.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use io_uring::types::{CancelBuilder, Fixed, RecvMsgOut, Timespec};
use io_uring::{Builder, IoUring, cqueue, opcode};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::buffers::{Buffers, GROUP};
use crate::net::cmsg;
use crate::net::inbound::{Message, SLOT_BYTES, SLOT_HEAD_BYTES, SLOT_NAME_BYTES};
use crate::net::socket::UdpSocket;

/// Submissions in flight: arming is the only one there ever is.
pub(super) const SUBMISSIONS: u32 = 4;

/// `IORING_ENTER_GETEVENTS` of `include/uapi/linux/io_uring.h`: run the work that was deferred.
pub(super) const ENTER_GETEVENTS: u32 = 1;

/// Times one receive goes back to the kernel. A multishot posts up to 32 completions at a time
/// (`MULTISHOT_MAX_RETRY` in `io_uring/net.c`), so this many fill the largest batch; and it bounds
/// how often a persistent failure is retried.
const MAX_ROUNDS: usize = 33;

/// Bytes of the header io_uring puts before name, control messages and payload.
const OUT_BYTES: usize = 16;

/// Bytes for control messages: what is left of a slot's head, so that the payload follows it.
const CONTROL_BYTES: usize = SLOT_HEAD_BYTES - OUT_BYTES - SLOT_NAME_BYTES;

const _: () = assert!(cmsg::RECEIVE_CONTROL_BYTES <= CONTROL_BYTES);

/// A ring with the one socket it receives for.
pub(super) struct SocketRing {
    // Fields drop in order: the ring is closed before its buffers are unmapped.
    ring: IoUring,
    /// Counted up by the kernel when there is something to receive and nobody is receiving.
    ///
    /// The ring's own descriptor will not do: with DEFER_TASKRUN, an arrival does not wake a
    /// runtime that sleeps on it (epoll, Linux 6.18).
    event: EventFd,
    /// `None` only once dropped.
    buffers: Option<Buffers>,
    /// The template of the receive, read by the kernel while armed; boxed to stay where it is.
    template: Box<libc::msghdr>,
    socket: RawFd,
    /// Whether the ring was enabled, by the thread that receives.
    enabled: bool,
    /// Whether the multishot is armed or about to be submitted.
    armed: bool,
    /// Whether it is not to be armed again: somebody else reads the socket.
    pub(super) paused: bool,
    /// Buffers of the last batch, which the caller may still be reading.
    held: Vec<u16>,
    batch: usize,
    /// How often the kernel found no buffer.
    pub(super) exhausted: u64,
}

// SAFETY: the template's pointers are null, and it moves with the ring that was given its address,
// staying where it is. Entering an enabled ring from another thread is an error, not a race.
unsafe impl Send for SocketRing {}

impl SocketRing {
    /// A ring for `socket` on `ring`, which [`deferred`] or [`cooperative`] made for as many
    /// buffers, `count`.
    pub(super) fn new(
        ring: IoUring,
        socket: &UdpSocket,
        batch: usize,
        count: u16,
    ) -> io::Result<SocketRing> {
        ring.submitter().register_files(&[socket.as_raw_fd()])?;
        let event = event()?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        let buffers = Buffers::register(&ring, count)?;
        // SAFETY: integers and pointers, for which zero is a value: nothing.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        template.msg_namelen = SLOT_NAME_BYTES as u32;
        template.msg_controllen = CONTROL_BYTES as _;
        Ok(SocketRing {
            ring,
            event,
            buffers: Some(buffers),
            template,
            socket: socket.as_raw_fd(),
            enabled: false,
            armed: false,
            paused: false,
            held: Vec::with_capacity(batch),
            batch,
            exhausted: 0,
        })
    }

    /// The descriptor of the socket this ring receives for.
    pub(super) fn socket(&self) -> RawFd {
        self.socket
    }

    /// Becomes readable when a receive that found nothing would find something.
    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// The memory the messages point into.
    pub(super) fn buffers(&self) -> &Buffers {
        self.buffers.as_ref().expect("present until drop")
    }

    /// Takes in nothing more. What is in the buffers is received as ever.
    pub(super) fn pause(&mut self) {
        self.paused = true;
        if self.armed && self.enabled {
            // The end of the multishot comes as its last completion; where it has ended by itself
            // there is nothing to cancel.
            let timeout = Timespec::new().sec(1);
            let _ = self.ring.submitter().register_sync_cancel(Some(timeout), CancelBuilder::any());
        }
    }

    /// Takes the last batch's buffers back and fills `messages` with the next batch.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        messages: &mut Vec<Message>,
        overflow: &mut u64,
    ) -> io::Result<()> {
        if !self.enabled {
            // Ties the ring to this thread: with SINGLE_ISSUER, the one that enables it.
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        self.give_back();
        // While we are at it nobody needs to be told, and telling costs the sender's softirq time.
        self.ring.completion().disable_eventfd();
        for _ in 0..MAX_ROUNDS {
            match self.turn() {
                // What is there goes out first; a failure that lasts is met again by the next call.
                Err(_) if !messages.is_empty() => return Ok(()),
                turned => turned?,
            }
            let failure = self.reap(socket, messages, overflow);
            if messages.len() >= self.batch {
                return Ok(());
            }
            if (self.armed || self.paused) && !self.has_work() {
                if !messages.is_empty() {
                    return Ok(());
                }
                // The caller will sleep. What arrives from here on is told, what arrived before
                // is seen by looking once more.
                self.ring.completion().enable_eventfd();
                fence(Ordering::SeqCst);
                if !self.has_work() {
                    return Ok(());
                }
            }
            if let (Some(error), true) = (failure, messages.is_empty()) {
                return Err(error);
            }
        }
        // Unarmed and with nothing to show is not "nothing there": nobody would be woken.
        let stuck = messages.is_empty() && !self.armed && !self.paused;
        if stuck { Err(io::Error::from_raw_os_error(libc::ENOBUFS)) } else { Ok(()) }
    }

    /// Queues the buffers of the last batch for the kernel.
    fn give_back(&mut self) {
        let buffers = self.buffers.as_mut().expect("present until drop");
        if self.held.is_empty() {
            return;
        }
        self.held.drain(..).for_each(|id| buffers.queue(id));
        buffers.publish();
    }

    /// Whether completions or deferred work wait.
    fn has_work(&mut self) -> bool {
        !self.ring.completion().is_empty() || self.ring.submission().taskrun()
    }

    /// Arms the multishot if it is not, and lets the kernel post completions if there are none.
    /// Makes no system call when the kernel has nothing to do, which it says in shared memory.
    fn turn(&mut self) -> io::Result<()> {
        if !self.armed && !self.paused {
            let receive = opcode::RecvMsgMulti::new(Fixed(0), &raw const *self.template, GROUP);
            // SAFETY: the template is boxed and outlives the ring; the buffers are registered.
            let pushed = unsafe { self.ring.submission().push(&receive.build()) };
            pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
            self.armed = true;
        }
        let submissions = self.ring.submission().len();
        if submissions == 0 && !self.ring.completion().is_empty() {
            return Ok(());
        }
        if submissions == 0 && !self.ring.submission().taskrun() {
            return Ok(());
        }
        // SAFETY: no argument is passed, and what is submitted was checked when pushed.
        let entered = unsafe {
            let submitter = self.ring.submitter();
            submitter.enter::<libc::sigset_t>(submissions as u32, 0, ENTER_GETEVENTS, None)
        };
        match entered {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(drop),
        }
    }

    /// Reads completions into `messages` until the batch is full or none is left. Returns the last
    /// failure other than having run out of buffers.
    fn reap(
        &mut self,
        socket: &UdpSocket,
        messages: &mut Vec<Message>,
        overflow: &mut u64,
    ) -> Option<io::Error> {
        let buffers = self.buffers.as_mut().expect("present until drop");
        let mut failure = None;
        let mut completions = self.ring.completion();
        while messages.len() < self.batch {
            let Some(completion) = completions.next() else { break };
            self.armed &= cqueue::more(completion.flags());
            let buffer = cqueue::buffer_select(completion.flags());
            let message = match (completion.result(), buffer) {
                (length @ 0.., Some(id)) => {
                    let start = usize::from(id) * SLOT_BYTES;
                    // SAFETY: the kernel gave this buffer away with the completion and does not
                    // write to it until it is queued again.
                    let bytes = unsafe { buffers.memory.bytes(start, length as usize) };
                    read(socket, overflow, bytes, &self.template, start)
                }
                (result, _) if result == -libc::ENOBUFS => {
                    self.exhausted += 1;
                    None
                }
                (result, _) if result < 0 => {
                    failure = Some(io::Error::from_raw_os_error(-result));
                    None
                }
                _ => None,
            };
            match (message, buffer) {
                (Some(message), Some(id)) => {
                    self.held.push(id);
                    messages.push(message);
                }
                (_, Some(id)) => {
                    buffers.queue(id);
                    buffers.publish();
                }
                (_, None) => {}
            }
        }
        failure
    }
}

impl Drop for SocketRing {
    /// Stops the receive before the buffers go: the kernel must not write to memory that has been
    /// unmapped and perhaps mapped again.
    fn drop(&mut self) {
        let timeout = Timespec::new().sec(1);
        let cancelled = !self.enabled
            || match self.ring.submitter().register_sync_cancel(Some(timeout), CancelBuilder::any())
            {
                Ok(()) => true,
                // Nothing was armed.
                Err(error) => error.raw_os_error() == Some(libc::ENOENT),
            };
        if !cancelled {
            // Dropped on another thread than it ran on: leaking the memory is the safe choice.
            std::mem::forget(self.buffers.take());
        }
    }
}

/// Reads one completed receive, whose buffer is slot-sized and starts at `start` of the memory.
fn read(
    socket: &UdpSocket,
    overflow: &mut u64,
    bytes: &[u8],
    template: &libc::msghdr,
    start: usize,
) -> Option<Message> {
    let out = RecvMsgOut::parse(bytes, template).ok()?;
    if out.is_payload_truncated() {
        return None;
    }
    let payload = (start + SLOT_HEAD_BYTES, out.payload_data().len());
    Message::read(socket, overflow, (out.name_data(), out.control_data()), payload)
}

/// Something for the kernel to count up when a ring has completions.
pub(super) fn event() -> io::Result<EventFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)
}

/// A disabled ring that runs deferred work when we ask for completions, instead of interrupting
/// the turn anywhere. Since Linux 6.1.
pub(super) fn deferred(buffers: u16) -> io::Result<IoUring> {
    builder(buffers).setup_single_issuer().setup_defer_taskrun().build(SUBMISSIONS)
}

/// A disabled ring that runs deferred work at any system call, but does not interrupt for it.
pub(super) fn cooperative(buffers: u16) -> io::Result<IoUring> {
    builder(buffers).setup_coop_taskrun().build(SUBMISSIONS)
}

fn builder(buffers: u16) -> Builder {
    let mut builder = IoUring::builder();
    // Twice the buffers: each completion but the final one of a multishot has a buffer, so the
    // queue cannot overflow.
    let completions = (u32::from(buffers) * 2).max(SUBMISSIONS * 2);
    // Disabled, so that the thread that receives may enable it. TASKRUN_FLAG makes the kernel say
    // in shared memory that it has something for us.
    builder.setup_cqsize(completions).setup_r_disabled().setup_taskrun_flag();
    builder
}
