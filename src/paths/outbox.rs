//! Datagrams on their way into a TCP connection, framed, in the order in which they were made.
//!
//! A reader that falls behind fills it. Then new datagrams are dropped whole: what is in already
//! may have been taken by the kernel in part, and a stream with a hole in a frame is lost.

use crate::drop::DropReason;
use crate::limits::{MAX_DATAGRAM_OUT, TCP_OUTBOX_BYTES, TCP_OUTBOX_KEPT_BYTES};
use crate::wire::framing;

/// Bytes a datagram may need.
const SLOT_BYTES: usize = framing::HEADER_BYTES + MAX_DATAGRAM_OUT;

/// Framed datagrams that wait for the kernel. Allocates while it grows, up to
/// [`TCP_OUTBOX_BYTES`], and not at the rate it once had.
#[derive(Default)]
pub(super) struct Outbox {
    /// As long as it has ever been; what is in use lies within.
    bytes: Vec<u8>,
    /// The oldest frame of which the kernel lacks a byte begins here.
    head: usize,
    /// The kernel has everything before this.
    taken: usize,
    /// The next frame goes here.
    end: usize,
    frames: usize,
}

impl Outbox {
    /// Lets `write` fill a slot of [`MAX_DATAGRAM_OUT`] bytes and queues what it wrote.
    ///
    /// # Errors
    /// [`DropReason::TcpQueueFull`], and what `write` says.
    pub fn push(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<(), DropReason> {
        self.make_room()?;
        let slot = &mut self.bytes[self.end..self.end + SLOT_BYTES];
        let (header, datagram) = slot.split_at_mut(framing::HEADER_BYTES);
        let length = write(datagram)?;
        header.copy_from_slice(&framing::header(length).ok_or(DropReason::TooLong)?);
        self.end += framing::HEADER_BYTES + length;
        self.frames += 1;
        Ok(())
    }

    /// What the kernel should take next; empty when nothing waits.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.taken..self.end]
    }

    /// Frames of which the kernel lacks a byte.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The kernel took the first `count` bytes of [`Outbox::waiting`]; returns how many frames that
    /// completed.
    pub fn take(&mut self, count: usize) -> usize {
        self.taken += count;
        let before = self.frames;
        while let framing::Front::Whole(datagram, _) =
            framing::front(&self.bytes[self.head..self.taken], MAX_DATAGRAM_OUT)
        {
            self.head += framing::HEADER_BYTES + datagram.len();
            self.frames -= 1;
        }
        if self.taken == self.end {
            (self.head, self.taken, self.end) = (0, 0, 0);
            if self.bytes.len() > TCP_OUTBOX_KEPT_BYTES {
                self.bytes.truncate(TCP_OUTBOX_KEPT_BYTES);
                self.bytes.shrink_to_fit();
            }
        }
        before - self.frames
    }

    fn make_room(&mut self) -> Result<(), DropReason> {
        if self.end + SLOT_BYTES <= self.bytes.len() {
            return Ok(());
        }
        if self.head > 0 {
            // Once per flush at most, because only a flush frees the front.
            self.bytes.copy_within(self.head..self.end, 0);
            self.taken -= self.head;
            self.end -= self.head;
            self.head = 0;
        }
        let needed = self.end + SLOT_BYTES;
        if needed > TCP_OUTBOX_BYTES {
            return Err(DropReason::TcpQueueFull);
        }
        if needed > self.bytes.len() {
            let doubled = (self.bytes.len() * 2).min(TCP_OUTBOX_BYTES);
            self.bytes.resize(doubled.max(needed), 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(outbox: &mut Outbox, bytes: &[u8]) -> Result<(), DropReason> {
        outbox.push(|slot| {
            slot[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }

    #[test]
    fn a_full_outbox_takes_nothing_and_keeps_what_it_has() {
        let mut outbox = Outbox::default();
        let datagram = [7; MAX_DATAGRAM_OUT];
        let mut pushed = 0;
        while push(&mut outbox, &datagram).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, TCP_OUTBOX_BYTES / SLOT_BYTES);
        assert_eq!(push(&mut outbox, &datagram), Err(DropReason::TcpQueueFull));
        assert_eq!(outbox.frames(), pushed);
        // Half of the first frame is no room: the rest of it must still leave.
        assert_eq!(outbox.take(SLOT_BYTES / 2), 0);
        assert_eq!(push(&mut outbox, &datagram), Err(DropReason::TcpQueueFull));
        assert_eq!(outbox.take(SLOT_BYTES), 1);
        assert_eq!(push(&mut outbox, &datagram), Ok(()));
        assert_eq!(outbox.take(outbox.waiting().len()), pushed);
        assert!(outbox.waiting().is_empty() && outbox.frames() == 0);
        assert_eq!(outbox.bytes.capacity(), TCP_OUTBOX_KEPT_BYTES, "the peak is given back");
    }

    #[test]
    fn what_is_not_written_is_not_queued() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(|_| Err(DropReason::TooLong)), Err(DropReason::TooLong));
        assert!(outbox.waiting().is_empty() && outbox.frames() == 0);
    }

    proptest! {
        /// Whatever the kernel takes at a time, the stream is that of the frames, whole and in
        /// order, less the dropped ones.
        #[test]
        fn the_stream_is_that_of_the_frames(
            steps in prop::collection::vec((any::<bool>(), 0usize..4_000), 1..800),
        ) {
            let (mut outbox, mut sent, mut expected) = (Outbox::default(), Vec::new(), Vec::new());
            let (mut pushed, mut completed) = (0, 0);
            for (number, (take, size)) in steps.into_iter().enumerate() {
                if take {
                    let count = size.min(outbox.waiting().len());
                    sent.extend_from_slice(&outbox.waiting()[..count]);
                    completed += outbox.take(count);
                } else {
                    let datagram = vec![number as u8; size.min(MAX_DATAGRAM_OUT)];
                    if push(&mut outbox, &datagram).is_ok() {
                        pushed += 1;
                        expected.extend_from_slice(&framing::header(datagram.len()).unwrap());
                        expected.extend_from_slice(&datagram);
                    }
                }
                prop_assert_eq!(outbox.frames(), pushed - completed);
                prop_assert!(outbox.bytes.len() <= TCP_OUTBOX_BYTES);
            }
            sent.extend_from_slice(outbox.waiting());
            prop_assert_eq!(sent, expected);
        }
    }
}
