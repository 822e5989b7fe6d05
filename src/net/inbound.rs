//! What a receive leaves behind, whichever back end did it: a list of messages in slots of memory
//! and an iterator that splits coalesced ones into datagrams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::addr;
use super::cmsg;
use super::socket::UdpSocket;
use super::sys::Mapping;
use crate::limits::RECEIVE_SLOT_BYTES;

/// Bytes before the payload of a slot, for address and control messages.
///
/// An odd multiple of a cache line: slots then start in different sets of the first-level cache,
/// where a stride of exactly 64 KiB would put every slot's head into the same one.
pub(super) const SLOT_HEAD_BYTES: usize = 192;

/// Distance between slots.
pub(super) const SLOT_BYTES: usize = SLOT_HEAD_BYTES + RECEIVE_SLOT_BYTES;

/// Bytes of a slot's head set aside for the address, a multiple of a word.
pub(super) const SLOT_NAME_BYTES: usize = addr::RAW_BYTES.next_multiple_of(8);

const _: () = assert!(SLOT_HEAD_BYTES.is_multiple_of(64) && (SLOT_HEAD_BYTES / 64) % 2 == 1);

/// One received datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it; an IPv4 peer on a dual-stack socket is an IPv4 address here.
    pub remote: SocketAddr,
    /// Which of our addresses it was sent to, and the one to answer from.
    pub local: IpAddr,
    /// The payload, possibly empty: where the kernel has put it, so that it can be opened there.
    pub bytes: &'a mut [u8],
    /// When the kernel had it from the network, in nanoseconds of Unix time; 0 when it did not say.
    pub arrived_ns: u64,
}

/// One message as the kernel handed it over: a datagram, or several of one sender and one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    remote: SocketAddr,
    local: IpAddr,
    arrived_ns: u64,
    offset: usize,
    length: usize,
    /// Bytes of each datagram in it, never 0; the last may be shorter.
    segment: usize,
}

impl Message {
    /// Who sent it, and our address that it was sent to.
    pub(super) fn sender(&self) -> (SocketAddr, IpAddr) {
        (self.remote, self.local)
    }

    /// How many datagrams it is. An empty message is one empty datagram.
    pub(super) fn datagrams(&self) -> usize {
        self.length.div_ceil(self.segment).max(1)
    }

    /// Reads what the kernel wrote beside a payload of `length` bytes at `offset` of the memory.
    /// `None` if it has no sender, which the kernel always gives. `overflow` grows by the receive
    /// queue drops that the kernel reports for `socket`.
    pub(super) fn read(
        socket: &UdpSocket,
        overflow: &mut u64,
        (name, control): (&[u8], &[u8]),
        (offset, length): (usize, usize),
    ) -> Option<Message> {
        let said = cmsg::parse(control);
        if let Some(reading) = said.overflow {
            *overflow += socket.overflow_increment(reading);
        }
        Some(Message {
            remote: addr::decode(name)?,
            local: said.local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            arrived_ns: said.arrived_ns.unwrap_or(0),
            offset,
            length,
            segment: said.segment_bytes.filter(|size| *size > 0).unwrap_or(length.max(1)),
        })
    }
}

/// The datagrams of the last receive, in the order of arrival.
pub struct Datagrams<'a> {
    memory: &'a Mapping,
    messages: std::slice::Iter<'a, Message>,
    /// What is left of the message being split.
    rest: Option<Message>,
}

impl<'a> Datagrams<'a> {
    /// # Safety
    ///
    /// Nobody else, the kernel included, may read or write the bytes of `messages`, which do not
    /// overlap, while the iterator or a datagram of it lives.
    pub(super) unsafe fn new(memory: &'a Mapping, messages: &'a [Message]) -> Datagrams<'a> {
        Datagrams { memory, messages: messages.iter(), rest: None }
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let message = self.rest.take().or_else(|| self.messages.next().copied())?;
        let length = message.segment.min(message.length);
        if message.length > length {
            let (offset, left) = (message.offset + length, message.length - length);
            self.rest = Some(Message { offset, length: left, ..message });
        }
        // SAFETY: these bytes are nobody else's while 'a lasts, by the promise made to `new`, and
        // no other datagram's: what is left of the message begins behind them.
        let bytes = unsafe { self.memory.bytes_mut(message.offset, length) };
        let Message { remote, local, arrived_ns, .. } = message;
        Some(Datagram { remote, local, bytes, arrived_ns })
    }
}
