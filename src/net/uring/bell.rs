//! Wake-ups from ring to ring: `IORING_OP_MSG_RING` (`io_uring/msg_ring.c`).
//!
//! A shard that has posted mail wakes its readers by one system call for all of them, where an
//! eventfd takes one each; and a message to a ring that defers its work is the cheaper of the two
//! even for one reader (measured between two threads that sleep in epoll, Linux 6.18: 1.7 to 2.8 µs
//! against 2.5 to 3.2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};

use super::ring::{ENTER_GETEVENTS, cooperative, deferred};
use crate::net::Readiness;
use crate::net::sys;

/// Wake-ups that can wait to be taken in. A shard is rung once per sleep.
const MESSAGES: u16 = 64;

/// What a wake-up says at the ring that gets it. Tokens of refused ones are smaller.
const WOKEN: u64 = u64::MAX;

/// The ring one thread is woken by, and wakes others from.
pub struct Bell {
    ring: IoUring,
    /// Counted up by the kernel when somebody rang; see `SocketRing` for why the ring's own
    /// descriptor will not do.
    event: OwnedFd,
}

/// What others need to ring a [`Bell`].
#[derive(Debug)]
pub struct BellRope(OwnedFd);

impl Bell {
    /// A bell for the calling thread, which alone may use it.
    ///
    /// # Errors
    ///
    /// What the kernel says to a ring, see [`super::uring_available`].
    pub fn new() -> io::Result<Bell> {
        let ring = deferred(MESSAGES).or_else(|_| cooperative(MESSAGES))?;
        let event = sys::event()?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        ring.submitter().register_enable_rings()?;
        Ok(Bell { ring, event })
    }

    /// Something for others to ring it by.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn rope(&self) -> io::Result<BellRope> {
        // SAFETY: the ring keeps its descriptor open while it lives.
        let own = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        own.try_clone_to_owned().map(BellRope)
    }

    /// Something to await that is ready when somebody has rung. Made inside the runtime.
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

    /// Takes in that somebody has rung. Makes no system call when nobody has.
    pub fn hush(&mut self) {
        self.count();
    }

    /// How often somebody has rung since the last look.
    fn count(&mut self) -> usize {
        let mut rung = self.ring.completion().count();
        // The kernel posts some at a time (`IO_LOCAL_TW_DEFAULT_MAX` in `io_uring/io_uring.c`).
        while self.ring.submission().taskrun() {
            self.enter(0);
            rung += self.ring.completion().count();
        }
        rung
    }

    /// Rings every bell of `ropes`, each with a number to call it by. Returns nothing; `refused` is
    /// told the numbers of those the kernel could not ring.
    pub fn ring<'a>(
        &mut self,
        ropes: impl Iterator<Item = (usize, &'a BellRope)>,
        mut refused: impl FnMut(usize),
    ) {
        let mut queued = 0;
        for (number, rope) in ropes {
            let message = opcode::MsgRingData::new(Fd(rope.0.as_raw_fd()), 0, WOKEN, None);
            let message = message.build().flags(Flags::SKIP_SUCCESS).user_data(number as u64);
            // SAFETY: a message names no memory, and the rope keeps its descriptor open until this
            // call has submitted it.
            while unsafe { self.ring.submission().push(&message) }.is_err() {
                self.submit(queued, &mut refused);
                queued = 0;
            }
            queued += 1;
        }
        if queued > 0 {
            self.submit(queued, &mut refused);
        }
    }

    fn submit(&mut self, queued: u32, refused: &mut impl FnMut(usize)) {
        self.enter(queued);
        for completion in self.ring.completion() {
            if completion.user_data() != WOKEN && completion.result() < 0 {
                refused(completion.user_data() as usize);
            }
        }
    }

    /// Submits what is queued, and lets the kernel post what it has for us.
    fn enter(&mut self, queued: u32) {
        // SAFETY: no argument is passed, and what is submitted was checked when pushed.
        let entered = unsafe {
            self.ring.submitter().enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None)
        };
        if let Err(error) = entered {
            tracing::debug!("a bell was not rung: {error}");
        }
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

    #[test]
    fn a_sleeper_is_woken_by_each_ring_and_by_none_that_was_hushed() {
        if let Err(reason) = uring_available() {
            return eprintln!("io_uring is not tested: {reason}");
        }
        const TIMES: usize = 200;
        let (rope_out, rope_in) = std::sync::mpsc::channel();
        let (awake_out, awake_in) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut bell = Bell::new().unwrap();
                let readiness = [bell.readiness().unwrap()];
                rope_out.send(bell.rope().unwrap()).unwrap();
                let mut rung = 0;
                while rung < TIMES {
                    Readiness::any_readable(&readiness).await;
                    let now = bell.count();
                    rung += now;
                    (0..now).for_each(|_| awake_out.send(()).unwrap());
                }
                bell.hush();
                let silence = Readiness::any_readable(&readiness);
                let mut late = tokio::time::timeout(Duration::from_millis(50), silence).await;
                // An edge from before the hush is no ring.
                if late.is_ok() {
                    let silence = Readiness::any_readable(&readiness);
                    late = tokio::time::timeout(Duration::from_millis(50), silence).await;
                }
                assert!(late.is_err(), "nobody rings any more");
            });
        });
        let rope = rope_in.recv().unwrap();
        let mut bell = Bell::new().unwrap();
        for _ in 0..TIMES {
            bell.ring(std::iter::once((7, &rope)), |number| panic!("{number} was not rung"));
            awake_in.recv_timeout(Duration::from_secs(20)).expect("the sleeper wakes");
        }
        sleeper.join().unwrap();
    }

    #[test]
    fn what_cannot_be_rung_is_named_and_the_others_are_rung() {
        if let Err(reason) = uring_available() {
            return eprintln!("io_uring is not tested: {reason}");
        }
        let mut bell = Bell::new().unwrap();
        let mut others: Vec<Bell> = (0..3).map(|_| Bell::new().unwrap()).collect();
        let mut ropes: Vec<BellRope> = others.iter().map(|bell| bell.rope().unwrap()).collect();
        ropes[1] = BellRope(sys::event().unwrap());
        let mut refused = Vec::new();
        // More than one call takes, all the same.
        let many = (0..200).map(|number| (number, &ropes[number % 3]));
        bell.ring(many, |number| refused.push(number));
        assert_eq!(refused, (0..200).filter(|number| number % 3 == 1).collect::<Vec<_>>());
        for index in [0, 2] {
            assert!(others[index].count() > 60);
        }
    }
}
