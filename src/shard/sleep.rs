//! Sleeping without missing what comes: who is about to sleep says so and looks once more; who has
//! put something in looks whether the other sleeps, and wakes it. Whichever comes second sees the
//! other.
//!
//! Each side writes one place and then reads the other's, so no ordering weaker than two
//! sequentially consistent fences will do: without one of them both may read what was there before,
//! and the mail lies there until the next deadline. The model below finds just that when a fence is
//! taken out (`tools/models`).

#[cfg(monoport_loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(monoport_loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether one thread sleeps, for those who put something in its queues.
pub(super) struct Sleep {
    asleep: AtomicBool,
}

impl Sleep {
    /// A thread that is awake.
    pub(super) fn new() -> Sleep {
        Sleep { asleep: AtomicBool::new(false) }
    }

    /// Says that the thread is about to sleep; false when its queues are not empty after all, and
    /// it must not.
    pub(super) fn prepare(&self, is_empty: impl FnOnce() -> bool) -> bool {
        // A store would do, and loom would not know that it comes after the swaps of others that it
        // overwrites.
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if is_empty() {
            return true;
        }
        self.finish();
        false
    }

    /// Says that the thread is awake.
    pub(super) fn finish(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the thread sleeps and nobody else is about to wake it: the caller, who has put
    /// something in, must.
    pub(super) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, monoport_loom))]
mod model {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Notify};
    use loom::thread;

    use super::*;

    /// A queue that promises nothing beyond its count, and the sleep of who reads it.
    struct Mailbox {
        mail: AtomicUsize,
        sleep: Sleep,
        notify: Notify,
    }

    impl Mailbox {
        fn post(&self) {
            self.mail.fetch_add(1, Ordering::Relaxed);
            if self.sleep.must_wake() {
                self.notify.notify();
            }
        }

        /// Reads until `count` have come, as a shard does. Sleeping over mail is a deadlock, which
        /// loom reports.
        fn read(&self, count: usize) {
            let mut read = 0;
            loop {
                read += self.mail.swap(0, Ordering::Relaxed);
                if read == count {
                    return;
                }
                if self.sleep.prepare(|| self.mail.load(Ordering::Relaxed) == 0) {
                    self.notify.wait();
                    self.sleep.finish();
                }
            }
        }
    }

    fn mail_of(senders: usize, each: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let mailbox =
                Mailbox { mail: AtomicUsize::new(0), sleep: Sleep::new(), notify: Notify::new() };
            let mailbox = Arc::new(mailbox);
            let senders: Vec<_> = (0..senders)
                .map(|_| {
                    let mailbox = mailbox.clone();
                    thread::spawn(move || (0..each).for_each(|_| mailbox.post()))
                })
                .collect();
            mailbox.read(senders.len() * each);
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
    }

    #[test]
    fn no_mail_of_one_sender_is_slept_over() {
        mail_of(1, 2);
    }

    #[test]
    fn no_mail_of_two_senders_is_slept_over() {
        mail_of(2, 1);
    }
}
