//! Datagrams on their way out: one arena they are written into and a table of messages over it.
//!
//! Datagrams for one destination that follow one another become one *train*: a single message which
//! the kernel, or the network card, cuts into segments (`UDP_SEGMENT`, GSO). The kernel's price is
//! per message, so trains are the cheapest datagrams there are. Joining costs nothing here: the
//! arena is filled from front to back, so what follows is already contiguous.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::id::Via;
use crate::limits::{MAX_DATAGRAM_OUT, MAX_TRAIN_BYTES, MAX_TRAIN_SEGMENTS};

/// Where a datagram goes, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// What carries it: for UDP, the port it leaves through.
    pub via: Via,
    /// The peer.
    pub remote: SocketAddr,
    /// Our address it is sent from; unspecified leaves the choice to the kernel.
    pub local: IpAddr,
    /// Whether datagrams may leave as trains.
    pub trains: bool,
}

impl Destination {
    /// `remote`, from our address `local` at the first port.
    #[must_use]
    pub const fn new(remote: SocketAddr, local: IpAddr, trains: bool) -> Destination {
        Destination { via: Via::Udp(0), remote, local, trains }
    }
}

/// Why the kernel did not take a message. The number is an `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// One datagram was refused and is gone: `EMSGSIZE` when it exceeds the interface's MTU,
    /// `EPERM` from a firewall, `ENETUNREACH`, `EACCES`, `EINVAL` and so on.
    Refused(i32),
    /// A train was refused with `EMSGSIZE`, `EIO` or `EINVAL`. Its datagrams are sent one by one,
    /// and the destination's [`Destination::trains`] should become false.
    TrainRefused(i32),
}

/// What one flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Datagrams the kernel took.
    pub datagrams: u64,
    /// Messages they were in: trains and single datagrams.
    pub messages: u64,
    /// Bytes of UDP payload the kernel took.
    pub bytes: u64,
    /// System calls made.
    pub syscalls: u64,
    /// Datagrams the kernel refused.
    pub refused: u64,
    /// Trains the kernel refused, whose datagrams were then sent one by one.
    pub trains_refused: u64,
    /// `EAGAIN` (the send buffer is full) or `ENOBUFS` (no memory): what is left stays in the batch
    /// for the next flush, which should wait for [`super::UdpSocket::writable`].
    pub would_block: bool,
}

/// Datagrams waiting to be flushed. Allocates in [`SendBatch::new`] only.
pub struct SendBatch {
    arena: Box<[u8]>,
    /// Bytes of the arena in use; the next slot starts here.
    filled: usize,
    /// In the order of the arena, without gaps between them.
    messages: VecDeque<Message>,
    datagrams: usize,
    max_messages: usize,
    train_lengths: [u64; MAX_TRAIN_SEGMENTS + 1],
    /// Of those, what [`SendBatch::take_train_lengths`] has not told yet, and which of them are not
    /// zero: bit `n` is of length `n + 1`.
    untold: [u32; MAX_TRAIN_SEGMENTS],
    untold_bits: u64,
}

/// One message of the table: a run of the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) to: Destination,
    pub(super) offset: usize,
    pub(super) length: usize,
    /// Bytes of every segment but the last, which may be shorter.
    pub(super) segment: usize,
    pub(super) segments: usize,
    /// Whether another segment may join.
    open: bool,
}

impl Message {
    fn takes(&self, to: &Destination, length: usize) -> bool {
        self.open
            && to.trains
            && (1..=self.segment).contains(&length)
            && self.segments < MAX_TRAIN_SEGMENTS
            && self.length + length <= MAX_TRAIN_BYTES
            && self.to == *to
    }
}

impl SendBatch {
    /// A batch of up to `max_messages` messages and `arena_bytes` bytes, of which each needs at
    /// least one and [`MAX_DATAGRAM_OUT`].
    #[must_use]
    pub fn new(max_messages: usize, arena_bytes: usize) -> SendBatch {
        let max_messages = max_messages.max(1);
        SendBatch {
            arena: vec![0; arena_bytes.max(MAX_DATAGRAM_OUT)].into_boxed_slice(),
            filled: 0,
            // A refused train is taken apart in place, and is one message already.
            messages: VecDeque::with_capacity(max_messages + MAX_TRAIN_SEGMENTS),
            datagrams: 0,
            max_messages,
            train_lengths: [0; MAX_TRAIN_SEGMENTS + 1],
            untold: [0; MAX_TRAIN_SEGMENTS],
            untold_bits: 0,
        }
    }

    /// Room for one datagram of [`MAX_DATAGRAM_OUT`] bytes, or `None` when the batch is full and
    /// must be flushed. Nothing is queued until [`SendBatch::commit`]; a slot left alone is given
    /// out again.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        if self.messages.len() >= self.max_messages {
            return None;
        }
        if self.filled + MAX_DATAGRAM_OUT > self.arena.len() {
            self.move_to_front();
        }
        self.arena.get_mut(self.filled..self.filled + MAX_DATAGRAM_OUT)
    }

    /// Queues the first `length` bytes of the slot given out last as a datagram for `to`.
    ///
    /// It joins the message before it when that is for the same destination, all its segments so
    /// far have one size, this one is not longer, and the kernel's limits hold. A shorter one
    /// closes the train.
    ///
    /// # Panics
    ///
    /// If `length` exceeds [`MAX_DATAGRAM_OUT`], or no slot was given out.
    pub fn commit(&mut self, to: Destination, length: usize) {
        assert!(length <= MAX_DATAGRAM_OUT, "{length} bytes do not fit the slot");
        let offset = self.filled;
        self.filled += length;
        assert!(self.filled <= self.arena.len(), "a datagram was committed without a slot");
        self.datagrams += 1;
        if let Some(last) = self.messages.back_mut().filter(|last| last.takes(&to, length)) {
            last.open = length == last.segment;
            last.length += length;
            last.segments += 1;
            return;
        }
        assert!(self.messages.len() < self.max_messages, "a datagram was committed without a slot");
        // A segment of no bytes cannot be told from none, so an empty datagram goes alone.
        let open = to.trains && length > 0;
        self.messages.push_back(Message { to, offset, length, segment: length, segments: 1, open });
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Datagrams queued.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Messages queued: trains and single datagrams.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Forgets what is queued. The histogram stays.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.filled = 0;
        self.datagrams = 0;
    }

    /// Drops the older half of what is queued, since a datagram that has waited long is worth less
    /// than one that has not. Returns how many datagrams that were.
    ///
    /// Half at a time: making room means moving what stays.
    pub fn drop_older_half(&mut self) -> usize {
        let before = self.datagrams;
        for _ in 0..self.messages.len().div_ceil(2) {
            self.take_first();
        }
        before - self.datagrams
    }

    /// Messages the kernel took so far, by how many datagrams they carried; index 0 is unused.
    #[must_use]
    pub fn train_lengths(&self) -> &[u64; MAX_TRAIN_SEGMENTS + 1] {
        &self.train_lengths
    }

    /// Tells `visit` how many messages of which length the kernel took since the last call.
    pub fn take_train_lengths(&mut self, mut visit: impl FnMut(usize, u32)) {
        while self.untold_bits != 0 {
            let index = self.untold_bits.trailing_zeros() as usize;
            self.untold_bits &= self.untold_bits - 1;
            visit(index + 1, std::mem::take(&mut self.untold[index]));
        }
    }

    /// The arena and the queued messages, oldest first.
    pub(super) fn queued(&self) -> (&[u8], impl Iterator<Item = &Message>) {
        (&self.arena, self.messages.iter())
    }

    /// The kernel took the first `count` messages.
    pub(super) fn sent(&mut self, count: usize, report: &mut FlushReport) {
        for _ in 0..count {
            let Some(message) = self.take_first() else { return };
            report.messages += 1;
            report.datagrams += message.segments as u64;
            report.bytes += message.length as u64;
            self.train_lengths[message.segments] += 1;
            self.untold[message.segments - 1] += 1;
            self.untold_bits |= 1 << (message.segments - 1);
        }
    }

    /// The kernel refused the first message: a single datagram is dropped, a train is taken apart
    /// when the reason may be that it is one.
    pub(super) fn refused(&mut self, errno: i32, report: &mut FlushReport) -> Option<Refusal> {
        let message = self.take_first()?;
        let about_trains = matches!(errno, libc::EMSGSIZE | libc::EIO | libc::EINVAL);
        if message.segments > 1 && about_trains {
            self.take_apart(&message);
            report.trains_refused += 1;
            return Some((message.to, 1, SendFailure::TrainRefused(errno)));
        }
        report.refused += message.segments as u64;
        Some((message.to, message.segments, SendFailure::Refused(errno)))
    }

    fn take_first(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.datagrams -= message.segments;
        if self.messages.is_empty() {
            self.filled = 0;
        }
        Some(message)
    }

    /// Puts the segments of a train back to the front of the queue as single datagrams.
    fn take_apart(&mut self, train: &Message) {
        let to = Destination { trains: false, ..train.to };
        for index in (0..train.segments).rev() {
            let start = index * train.segment;
            let length = train.segment.min(train.length - start);
            let (offset, segment) = (train.offset + start, length);
            let single = Message { to, offset, length, segment, segments: 1, open: false };
            self.messages.push_front(single);
        }
        self.datagrams += train.segments;
        // `take_first` may have declared the arena empty.
        self.filled = self.filled.max(train.offset + train.length);
    }

    /// Reclaims what the kernel took while the rest had to wait. At most once per flush, because
    /// only a flush frees the front.
    fn move_to_front(&mut self) {
        let Some(start) = self.messages.front().map(|first| first.offset) else { return };
        if start == 0 {
            return;
        }
        self.arena.copy_within(start..self.filled, 0);
        self.filled -= start;
        for message in &mut self.messages {
            message.offset -= start;
        }
    }
}

/// For whom, how many times, and what to tell the caller about a refused message.
pub(super) type Refusal = (Destination, usize, SendFailure);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_makes_room_for_what_is_new() {
        let mut batch = SendBatch::new(4, 4 * MAX_DATAGRAM_OUT);
        for port in 1..=4 {
            batch.slot().unwrap()[0] = port as u8;
            batch.commit(to(port), MAX_DATAGRAM_OUT);
        }
        assert!(batch.slot().is_none(), "it is full");
        assert_eq!(batch.drop_older_half(), 2);
        batch.slot().unwrap()[0] = 5;
        batch.commit(to(5), 1);
        let (arena, messages) = batch.queued();
        let left: Vec<_> = messages.map(|m| (m.to.remote.port(), arena[m.offset])).collect();
        assert_eq!(left, [(3, 3), (4, 4), (5, 5)]);
        assert_eq!(batch.datagrams(), 3);
    }

    fn to(port: u16) -> Destination {
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        Destination::new(remote, [0, 0, 0, 0].into(), true)
    }

    fn filled(datagrams: &[(Destination, usize)]) -> SendBatch {
        let mut batch = SendBatch::new(256, 1 << 20);
        for (to, length) in datagrams {
            batch.slot().expect("room");
            batch.commit(*to, *length);
        }
        batch
    }

    fn shape(batch: &SendBatch) -> Vec<(u16, usize, usize)> {
        let (_, messages) = batch.queued();
        messages.map(|one| (one.to.remote.port(), one.segments, one.length)).collect()
    }

    #[test]
    fn a_train_takes_equal_sizes_and_a_shorter_last() {
        let batch = filled(&[(to(1), 1000), (to(1), 1000), (to(1), 400), (to(1), 400)]);
        assert_eq!(shape(&batch), [(1, 3, 2400), (1, 1, 400)], "the shorter one closed the train");
        let batch = filled(&[(to(1), 400), (to(1), 401)]);
        assert_eq!(shape(&batch), [(1, 1, 400), (1, 1, 401)], "a longer one never joins");
        let batch = filled(&[(to(1), 9), (to(2), 9), (to(1), 9)]);
        assert_eq!(shape(&batch), [(1, 1, 9), (2, 1, 9), (1, 1, 9)], "order beats length");
    }

    #[test]
    fn single_mindedness_and_emptiness_make_no_trains() {
        let alone = Destination { trains: false, ..to(1) };
        assert_eq!(filled(&[(alone, 9), (alone, 9)]).messages(), 2);
        assert_eq!(filled(&[(to(1), 0), (to(1), 0), (to(1), 5), (to(1), 0)]).messages(), 4);
        let other_source = Destination { local: [127, 0, 0, 2].into(), ..to(1) };
        assert_eq!(filled(&[(to(1), 9), (other_source, 9)]).messages(), 2);
        let other_port = Destination { via: Via::Udp(1), ..to(1) };
        assert_eq!(filled(&[(to(1), 9), (other_port, 9)]).messages(), 2);
    }

    #[test]
    fn the_kernels_limits_end_a_train() {
        let batch = filled(&[(to(1), 10); MAX_TRAIN_SEGMENTS + 1]);
        assert_eq!(shape(&batch), [(1, MAX_TRAIN_SEGMENTS, 640), (1, 1, 10)]);
        let batch = filled(&[(to(1), MAX_DATAGRAM_OUT); 60]);
        let fits = MAX_TRAIN_BYTES / MAX_DATAGRAM_OUT;
        assert_eq!(shape(&batch)[0], (1, fits, fits * MAX_DATAGRAM_OUT));
        assert_eq!(batch.datagrams(), 60);
    }

    #[test]
    fn lengths_are_told_once() {
        let mut batch = filled(&[(to(1), 9), (to(1), 9), (to(2), 9), (to(3), 9)]);
        batch.sent(3, &mut FlushReport::default());
        let mut told = Vec::new();
        batch.take_train_lengths(|length, count| told.push((length, count)));
        assert_eq!(told, [(1, 2), (2, 1)]);
        batch.take_train_lengths(|_, _| panic!("they were told"));
        assert_eq!(batch.train_lengths()[1], 2, "the sum stays");
    }

    #[test]
    fn a_full_batch_says_so() {
        let mut batch = SendBatch::new(2, 1 << 20);
        for port in [1, 2] {
            batch.slot().expect("room");
            batch.commit(to(port), 100);
        }
        assert!(batch.slot().is_none(), "the table is full");
        batch.clear();
        assert!(batch.is_empty() && batch.slot().is_some());
        let mut batch = SendBatch::new(99, 2 * MAX_DATAGRAM_OUT + 100);
        for _ in 0..2 {
            batch.slot().expect("room");
            batch.commit(to(1), MAX_DATAGRAM_OUT);
        }
        assert!(batch.slot().is_none(), "the arena is full");
    }

    #[test]
    fn room_freed_at_the_front_is_used_again() {
        let mut batch = SendBatch::new(99, 3 * MAX_DATAGRAM_OUT);
        for port in [1, 2, 3] {
            batch.slot().expect("room").fill(port as u8);
            batch.commit(to(port), MAX_DATAGRAM_OUT);
        }
        assert!(batch.slot().is_none());
        batch.sent(1, &mut FlushReport::default());
        batch.slot().expect("the front was freed").fill(4);
        batch.commit(to(4), MAX_DATAGRAM_OUT);
        let (arena, messages) = batch.queued();
        for (message, port) in messages.zip(2u16..) {
            assert_eq!(message.to.remote.port(), port);
            let bytes = &arena[message.offset..message.offset + message.length];
            assert!(bytes.iter().all(|byte| u16::from(*byte) == port));
        }
    }

    #[test]
    fn a_refused_train_comes_apart_in_order() {
        let mut batch = filled(&[(to(1), 10), (to(1), 10), (to(1), 3)]);
        let mut report = FlushReport::default();
        let failure = SendFailure::TrainRefused(libc::EIO);
        assert_eq!(batch.refused(libc::EIO, &mut report), Some((to(1), 1, failure)));
        assert_eq!(shape(&batch), [(1, 1, 10), (1, 1, 10), (1, 1, 3)]);
        assert_eq!(batch.datagrams(), 3);
        batch.slot().expect("room");
        batch.commit(to(1), 3);
        assert_eq!(batch.messages(), 4, "nothing joins a datagram that must go alone");
        let refused = Some((Destination { trains: false, ..to(1) }, 1, SendFailure::Refused(1)));
        assert_eq!(batch.refused(1, &mut report), refused);
        assert_eq!((report.trains_refused, report.refused, batch.datagrams()), (1, 1, 3));
    }
}
