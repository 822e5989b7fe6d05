//! Sending a batch: sendmmsg, and what to do when the kernel does not take all of it.

use std::io;
use std::os::fd::AsFd;

use super::addr::{self, Family};
use super::batch::{Destination, FlushReport, Message, SendBatch, SendFailure};
use super::cmsg::SendControl;
use super::socket::UdpSocket;
use super::sys;
use crate::limits::MAX_MESSAGES_PER_CALL;

/// Sends batches. Owns the tables `sendmmsg(2)` reads, so that a send allocates nothing.
///
/// Sending is apart from receiving on purpose: a back end for sends alone would be a second
/// variant of this type, and the receivers would not notice.
pub struct Sender {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[[u8; addr::RAW_BYTES]]>,
    controls: Box<[SendControl]>,
}

// SAFETY: the pointers in the tables are written anew before each system call and mean nothing
// after it, so the tables can move to another thread.
unsafe impl Send for Sender {}

impl Sender {
    /// A sender that hands the kernel up to `messages` messages at once, at most
    /// [`MAX_MESSAGES_PER_CALL`]. Any batch and any socket will do.
    #[must_use]
    pub fn new(messages: usize) -> Sender {
        let messages = messages.clamp(1, MAX_MESSAGES_PER_CALL);
        // SAFETY: "mmsghdr" is integers and pointers, for which zero is a value: an empty message.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Sender {
            headers: vec![header; messages].into_boxed_slice(),
            vectors: vec![vector; messages].into_boxed_slice(),
            names: vec![[0; addr::RAW_BYTES]; messages].into_boxed_slice(),
            controls: vec![SendControl::new(); messages].into_boxed_slice(),
        }
    }

    /// Sends `batch` until it is empty or the kernel has no room.
    ///
    /// A refused message is reported and passed over; it never holds up the rest. A refused train
    /// is reported once and its datagrams are sent one by one. Every call to the kernel takes at
    /// least one message off the batch or ends the flush, so this ends.
    pub fn flush(
        &mut self,
        socket: &UdpSocket,
        batch: &mut SendBatch,
        on_failure: &mut dyn FnMut(Destination, SendFailure),
    ) -> FlushReport {
        let mut report = FlushReport::default();
        while !batch.is_empty() {
            report.syscalls += 1;
            let error = match self.send(socket, batch) {
                Ok(count) => {
                    batch.sent(count, &mut report);
                    continue;
                }
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            match error {
                libc::EINTR => {}
                // ENOBUFS is want of memory, which passes. A full device queue is silent:
                // udp_send_skb in net/ipv4/udp.c reports it only to sockets with IP_RECVERR.
                libc::EAGAIN | libc::ENOBUFS => {
                    report.would_block = true;
                    break;
                }
                errno => {
                    if let Some((to, times, failure)) = batch.refused(errno, &mut report) {
                        (0..times).for_each(|_| on_failure(to, failure));
                    }
                }
            }
        }
        report
    }

    /// One `sendmmsg` of as much of the batch as the tables hold.
    fn send(&mut self, socket: &UdpSocket, batch: &SendBatch) -> io::Result<usize> {
        let (arena, messages) = batch.queued();
        let mut count = 0;
        for (message, index) in messages.zip(0..self.headers.len()) {
            self.prepare(index, arena, message, socket.family());
            count = index + 1;
        }
        self.aim(count);
        // SAFETY: `prepare` and `aim` pointed each of these headers at the arena, which is borrowed
        // here, and at tables of `self`, none of which is touched until the call returns.
        unsafe { sys::send_messages(socket.as_fd(), &mut self.headers[..count]) }
    }

    /// Fills slot `index` of the tables.
    fn prepare(&mut self, index: usize, arena: &[u8], message: &Message, family: Family) {
        let bytes = &arena[message.offset..message.offset + message.length];
        let segment = (message.segments > 1).then_some(message.segment as u16);
        let control = &mut self.controls[index];
        let (offset, control_length) = control.patch(family, message.to.local, segment);
        let name_length = addr::encode(message.to.remote, family, &mut self.names[index]);
        // The kernel only reads through iov_base here; the type is shared with receiving.
        let iov_base = bytes.as_ptr().cast_mut().cast();
        self.vectors[index] = libc::iovec { iov_base, iov_len: bytes.len() };

        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = name_length;
        header.msg_iovlen = 1;
        // An offset for now; `aim` adds where the controls are.
        header.msg_control = std::ptr::without_provenance_mut(offset);
        header.msg_controllen = control_length as _;
    }

    /// Points the first `count` headers at the tables. Done once all values are written, because
    /// writing through the tables again would invalidate the pointers.
    fn aim(&mut self, count: usize) {
        let names = self.names.as_mut_ptr();
        let vectors = self.vectors.as_mut_ptr();
        let controls = self.controls.as_mut_ptr();
        for (index, header) in self.headers[..count].iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            let offset = header.msg_control.addr();
            header.msg_name = names.wrapping_add(index).cast();
            header.msg_iov = vectors.wrapping_add(index);
            header.msg_control = controls.wrapping_add(index).wrapping_byte_add(offset).cast();
        }
    }
}
