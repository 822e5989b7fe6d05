//! A connection whose client does not read: what waits for it is given up after a while.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{HTTP_STALL_BYTES, HTTP_STALL_TIMEOUT};

/// A stream that fails once its peer has taken less than [`HTTP_STALL_BYTES`] of what waits for it
/// in [`HTTP_STALL_TIMEOUT`]. Where nothing waits, the peer may be silent for as long as it likes.
pub(super) struct NoStall<S> {
    stream: S,
    timeout: Duration,
    /// While something waits.
    waiting: Option<Waiting>,
}

struct Waiting {
    until: Pin<Box<Sleep>>,
    /// Bytes taken since it began.
    taken: usize,
}

impl<S> NoStall<S> {
    pub fn new(stream: S) -> NoStall<S> {
        NoStall { stream, timeout: HTTP_STALL_TIMEOUT, waiting: None }
    }

    /// What a write of `offered` bytes is to its caller, that has come to `written`.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        offered: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            let taken = result.as_ref().map_or(0, |taken| *taken);
            if let Some(waiting) = &mut self.waiting {
                waiting.taken += taken;
                if taken == offered || waiting.taken >= HTTP_STALL_BYTES {
                    self.waiting = None;
                }
            }
            return Poll::Ready(result);
        }
        let begin = || Waiting { until: Box::pin(sleep(self.timeout)), taken: 0 };
        let waiting = self.waiting.get_or_insert_with(begin);
        if waiting.until.deadline() > Instant::now() {
            ready!(waiting.until.as_mut().poll(context));
        }
        let words = "the client does not read what it has asked for";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NoStall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoStall<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, offered, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What waits after each of these polls of writes of 1,000 bytes said how many were taken, or
    /// that none could be; an error ends it.
    fn waits_after(timeout: Duration, takes: &[Option<usize>]) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let _inside = runtime.enter();
        let mut stream = NoStall { timeout, ..NoStall::new(()) };
        let context = &mut Context::from_waker(Waker::noop());
        for taken in takes {
            let written = taken.map_or(Poll::Pending, |taken| Poll::Ready(Ok(taken)));
            if let Poll::Ready(written) = stream.written(context, 1_000, written) {
                written?;
            }
        }
        Ok(stream.waiting.is_some())
    }

    #[test]
    fn who_reads_nothing_of_what_waits_is_given_up_in_time() {
        let given_up = |takes: &[_]| waits_after(Duration::ZERO, takes).is_err();
        assert!(given_up(&[None]) && given_up(&[Some(1_000), None]));
        assert!(given_up(&[Some(999), None]));
        assert!(!given_up(&[Some(1_000), Some(1_000)]), "nothing waits");
        assert!(waits_after(HTTP_STALL_TIMEOUT, &[None, Some(1), None]).is_ok(), "not yet");
    }

    #[test]
    fn the_time_begins_anew_once_enough_is_taken_or_all_that_waits() {
        let waits = |takes: &[_]| waits_after(HTTP_STALL_TIMEOUT, takes).expect("in time");
        assert!(waits(&[None, Some(999)]), "too little of it");
        assert!(!waits(&[None, Some(999), Some(1_000)]), "all of it");
        let slowly = [Some(999); HTTP_STALL_BYTES / 999 + 1];
        assert!(!waits(&[&[None][..], &slowly].concat()), "enough of it");
    }
}
