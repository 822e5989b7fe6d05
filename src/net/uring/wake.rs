//! Wake-ups from ring to ring: `IORING_OP_MSG_RING` (`io_uring/msg_ring.c`).
//!
//! A shard that has posted mail wakes its readers by one system call for all of them, where an
//! eventfd takes one each; and a message to a ring that defers its work is the cheaper of the two
//! even for one reader (measured between two threads that sleep in epoll, Linux 6.18: 1.7 to 2.8 µs
//! against 2.5 to 3.2).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use nix::sys::eventfd::EventFd;

use super::ring::{ENTER_GETEVENTS, SUBMISSIONS, cooperative, deferred, event};
use crate::net::Readiness;

/// Wake-ups that can wait to be taken in. A shard is woken once per sleep.
const MESSAGES: u16 = 64;

/// What a wake-up says at the ring that gets it. Numbers of wakers are smaller.
const WOKEN: u64 = u64::MAX;

/// Calls that may fail before a wake-up is given up: the kernel asks for another one when it was
/// interrupted, or had no memory or no room for completions at that moment (io_uring_enter(2):
/// `EINTR`, `EAGAIN`, `EBUSY`).
const ATTEMPTS: usize = 3;

/// The ring one thread is woken by, and wakes others from.
pub struct WakeRing {
    ring: IoUring,
    /// Counted up by the kernel when somebody has woken this ring; see `SocketRing` for why the
    /// ring's own descriptor will not do.
    event: EventFd,
    /// The numbers of the wake-ups in the submission queue, in its order.
    queued: VecDeque<usize>,
}

/// What others need to wake the thread of a [`WakeRing`].
#[derive(Debug)]
pub struct RingWaker(OwnedFd);

impl WakeRing {
    /// A ring for the calling thread, which alone may use it.
    ///
    /// # Errors
    ///
    /// What the kernel says to a ring, see [`super::uring_available`].
    pub fn new() -> io::Result<WakeRing> {
        let ring = deferred(MESSAGES).or_else(|_| cooperative(MESSAGES))?;
        let event = event()?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        ring.submitter().register_enable_rings()?;
        Ok(WakeRing { ring, event, queued: VecDeque::with_capacity(SUBMISSIONS as usize) })
    }

    /// Something for others to wake this thread by.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn waker(&self) -> io::Result<RingWaker> {
        // SAFETY: the ring keeps its descriptor open while it lives.
        let own = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        own.try_clone_to_owned().map(RingWaker)
    }

    /// Something to await that is ready when somebody has woken this ring. Made inside the runtime.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn readiness(&self) -> io::Result<Readiness> {
        Readiness::new(self.event.as_fd())
    }

    /// Takes in the wake-ups that have come, and returns how many; `refused` is told the numbers of
    /// those sent that the kernel has given up since. Makes no system call when there is nothing.
    pub fn drain(&mut self, mut refused: impl FnMut(usize)) -> usize {
        let mut woken = self.reap(&mut refused);
        // The kernel posts some at a time (`IO_LOCAL_TW_DEFAULT_MAX` in `io_uring/io_uring.c`).
        while self.ring.submission().taskrun() {
            if let Err(error) = self.enter(0) {
                // What waits is taken in at the next call: the thread is awake, and that is all a
                // wake-up is for.
                tracing::debug!("wake-ups are not taken in: {error}");
                break;
            }
            woken += self.reap(&mut refused);
        }
        woken
    }

    /// Wakes the thread of every waker, each with a number to call it by; `refused` is told the
    /// numbers of those that were not woken, for whatever reason.
    pub fn wake_all<'a>(
        &mut self,
        wakers: impl Iterator<Item = (usize, &'a RingWaker)>,
        mut refused: impl FnMut(usize),
    ) {
        for (number, waker) in wakers {
            let message = opcode::MsgRingData::new(Fd(waker.0.as_raw_fd()), 0, WOKEN, None);
            let message = message.build().flags(Flags::SKIP_SUCCESS).user_data(number as u64);
            if self.ring.submission().is_full() {
                self.submit(&mut refused);
            }
            // SAFETY: a message names no memory. A descriptor that is closed before the kernel
            // reads the message, which takes a failed call, is refused, or wakes somebody in vain.
            match unsafe { self.ring.submission().push(&message) } {
                Ok(()) => self.queued.push_back(number),
                Err(_full) => refused(number),
            }
        }
        if !self.queued.is_empty() {
            self.submit(&mut refused);
        }
    }

    /// Submits what is queued. What the kernel does not take is refused; it stays in the queue, and
    /// wakes somebody in vain when a later call succeeds.
    fn submit(&mut self, refused: &mut impl FnMut(usize)) {
        for _ in 0..ATTEMPTS {
            let entered = self.enter(self.queued.len() as u32);
            self.reap(refused);
            // The kernel takes messages in their order, and says how far it has come.
            let left = self.ring.submission().len();
            self.queued.drain(..self.queued.len().saturating_sub(left));
            if self.queued.is_empty() {
                return;
            }
            if let Err(error) = entered {
                tracing::debug!("wake-ups are not sent: {error}");
            }
        }
        self.queued.iter().for_each(|number| refused(*number));
    }

    /// Takes in completions: returns how many are wake-ups, and tells `refused` of failures.
    fn reap(&mut self, refused: &mut impl FnMut(usize)) -> usize {
        let mut woken = 0;
        for completion in self.ring.completion() {
            if completion.user_data() == WOKEN {
                woken += 1;
            } else if completion.result() < 0 {
                refused(completion.user_data() as usize);
            }
        }
        woken
    }

    /// Submits what is queued, and lets the kernel post what it has for us.
    fn enter(&mut self, queued: u32) -> io::Result<usize> {
        // SAFETY: no argument is passed, and what is submitted was checked when pushed.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::uring_available;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn all_woken(number: usize) {
        panic!("{number} was not woken")
    }

    #[test]
    fn a_sleeper_is_woken_by_each_wake_up_and_by_none_that_was_drained() {
        if let Err(reason) = uring_available() {
            return eprintln!("io_uring is not tested: {reason}");
        }
        const TIMES: usize = 200;
        let (waker_out, waker_in) = std::sync::mpsc::channel();
        let (awake_out, awake_in) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut ring = WakeRing::new().unwrap();
                let readiness = [ring.readiness().unwrap()];
                waker_out.send(ring.waker().unwrap()).unwrap();
                let mut woken = 0;
                while woken < TIMES {
                    Readiness::any_readable(&readiness).await;
                    let now = ring.drain(all_woken);
                    woken += now;
                    (0..now).for_each(|_| awake_out.send(()).unwrap());
                }
                assert_eq!(ring.drain(all_woken), 0);
                let silence = Readiness::any_readable(&readiness);
                let mut late = tokio::time::timeout(Duration::from_millis(50), silence).await;
                // An edge from before the drain is no wake-up.
                if late.is_ok() {
                    let silence = Readiness::any_readable(&readiness);
                    late = tokio::time::timeout(Duration::from_millis(50), silence).await;
                }
                assert!(late.is_err(), "nobody wakes it any more");
            });
        });
        let waker = waker_in.recv().unwrap();
        let mut ring = WakeRing::new().unwrap();
        for _ in 0..TIMES {
            ring.wake_all(std::iter::once((7, &waker)), all_woken);
            awake_in.recv_timeout(Duration::from_secs(20)).expect("the sleeper wakes");
        }
        sleeper.join().unwrap();
    }

    /// Three rings, and a waker of each but the second, whose waker wakes nobody.
    fn others() -> (Vec<WakeRing>, Vec<RingWaker>) {
        let others: Vec<WakeRing> = (0..3).map(|_| WakeRing::new().unwrap()).collect();
        let mut wakers: Vec<RingWaker> = others.iter().map(|ring| ring.waker().unwrap()).collect();
        wakers[1] = RingWaker(event().unwrap().into());
        (others, wakers)
    }

    #[test]
    fn who_cannot_be_woken_is_named_and_the_others_are_woken() {
        if let Err(reason) = uring_available() {
            return eprintln!("io_uring is not tested: {reason}");
        }
        let mut ring = WakeRing::new().unwrap();
        let (mut others, wakers) = others();
        let mut refused = Vec::new();
        // More than one call takes, all the same.
        let many = (0..200).map(|number| (number, &wakers[number % 3]));
        ring.wake_all(many, |number| refused.push(number));
        assert_eq!(refused, (0..200).filter(|number| number % 3 == 1).collect::<Vec<_>>());
        for index in [0, 2] {
            assert!(others[index].drain(all_woken) > 60);
        }
    }

    /// A shard that was to be woken has been marked as awake by then: nobody else will wake it, and
    /// it would sleep on over its mail.
    #[test]
    fn a_call_that_fails_names_everybody_it_did_not_wake() {
        if uring_available().is_err() || deferred(MESSAGES).is_err() {
            return eprintln!("not tested: no ring that belongs to one thread");
        }
        let (_others, wakers) = others();
        let waker = &wakers[0];
        // A ring of another thread: the kernel takes nothing from this one (EEXIST).
        let mut ring = std::thread::spawn(|| WakeRing::new().unwrap()).join().unwrap();
        for count in [1, 3, 20] {
            let mut refused = Vec::new();
            ring.wake_all((0..count).map(|number| (number, waker)), |n| refused.push(n));
            refused.sort_unstable();
            refused.dedup();
            assert_eq!(refused, (0..count).collect::<Vec<_>>());
        }
    }
}
