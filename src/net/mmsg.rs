//! The portable receive back end: `recvmmsg(2)` into slots of one mapping.

use std::io;
use std::os::fd::AsFd;

use super::addr;
use super::cmsg;
use super::inbound::{Datagrams, Message, SLOT_BYTES, SLOT_HEAD_BYTES, SLOT_NAME_BYTES};
use super::socket::UdpSocket;
use super::sys::{self, Mapping};
use crate::limits::{MAX_MESSAGES_PER_CALL, RECEIVE_SLOT_BYTES};

/// Receives batches with `recvmmsg(2)`, from any socket.
pub(super) struct MmsgReceiver {
    /// A slot per message of the batch: address, control messages, payload.
    memory: Mapping,
    headers: Box<[libc::mmsghdr]>,
    /// One per header, pointed to by it. Held only to stay alive; never touched again.
    _vectors: Box<[libc::iovec]>,
    /// Headers the kernel has written to since they were last reset.
    used: usize,
    messages: Vec<Message>,
    overflow: u64,
}

// SAFETY: the pointers in the headers are to the mapping and the vectors, which move with them.
unsafe impl Send for MmsgReceiver {}

impl MmsgReceiver {
    pub(super) fn new(batch: usize) -> io::Result<MmsgReceiver> {
        let batch = batch.clamp(1, MAX_MESSAGES_PER_CALL);
        let memory = Mapping::new(batch * SLOT_BYTES)?;
        let payload = |index: usize| memory.address(index * SLOT_BYTES + SLOT_HEAD_BYTES);
        let vector =
            |index| libc::iovec { iov_base: payload(index).cast(), iov_len: RECEIVE_SLOT_BYTES };
        let mut vectors: Box<[libc::iovec]> = (0..batch).map(vector).collect();
        let first = vectors.as_mut_ptr();
        let header = |index: usize| {
            // SAFETY: integers and pointers, for which zero is a value: an empty message.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            let name = memory.address(index * SLOT_BYTES);
            header.msg_hdr.msg_name = name.cast();
            header.msg_hdr.msg_control = name.wrapping_add(SLOT_NAME_BYTES).cast();
            header.msg_hdr.msg_iov = first.wrapping_add(index);
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let headers: Box<[libc::mmsghdr]> = (0..batch).map(header).collect();
        let messages = Vec::with_capacity(batch);
        // All are to be reset: `used` counts them as if they had been used.
        Ok(MmsgReceiver { memory, headers, _vectors: vectors, used: batch, messages, overflow: 0 })
    }

    pub(super) fn batch(&self) -> usize {
        self.headers.len()
    }

    /// See [`super::Receiver::bytes`].
    pub(super) fn bytes(&self) -> usize {
        self.headers.len() * SLOT_BYTES
    }

    /// See [`super::Receiver::receive`].
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.messages.clear();
        loop {
            self.reset_headers();
            // SAFETY: the headers point into the mapping and the vectors, both alive; the borrow
            // of self is unique, so no datagram of an earlier receive is left.
            let result = unsafe { sys::receive_messages(socket.as_fd(), &mut self.headers) };
            match result {
                Ok(count) => self.used = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.read(socket);
            let datagrams = self.messages.iter().map(Message::datagrams).sum();
            // 0 means that nothing is there, so a batch of nothing but unusable messages, which no
            // kernel has been seen to give, is not reported as one.
            if datagrams > 0 {
                return Ok(datagrams);
            }
        }
    }

    /// See [`super::Receiver::datagrams`].
    pub(super) fn datagrams(&mut self) -> Datagrams<'_> {
        // SAFETY: the kernel writes to the mapping during `receive` only, and both need self alone.
        // A message has a slot of its own.
        unsafe { Datagrams::new(&self.memory, &self.messages) }
    }

    /// The messages of the last receive.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn overflow_drops(&self) -> u64 {
        self.overflow
    }

    /// "msg_namelen and msg_controllen are value-result arguments": they have to be set again.
    fn reset_headers(&mut self) {
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = addr::RAW_BYTES as u32;
            header.msg_hdr.msg_controllen = cmsg::RECEIVE_CONTROL_BYTES as _;
        }
        self.used = 0;
    }

    fn read(&mut self, socket: &UdpSocket) {
        for (index, header) in self.headers[..self.used].iter().enumerate() {
            let start = index * SLOT_BYTES;
            let name_length = addr::RAW_BYTES.min(header.msg_hdr.msg_namelen as usize);
            let control_length = header.msg_hdr.msg_controllen;
            // SAFETY: the kernel writes to the mapping inside the system call only.
            let beside = unsafe {
                let name = self.memory.bytes(start, name_length);
                (name, self.memory.bytes(start + SLOT_NAME_BYTES, control_length))
            };
            let payload = (start + SLOT_HEAD_BYTES, header.msg_len as usize);
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let message = Message::read(socket, &mut self.overflow, beside, payload);
            self.messages.extend(message.filter(|_| !cut));
        }
    }
}

const _: () = assert!(SLOT_NAME_BYTES + cmsg::RECEIVE_CONTROL_BYTES <= SLOT_HEAD_BYTES);
