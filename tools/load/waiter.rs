//! Waiting for sockets and for the next timer, which decides how packets arrive at the server.
//!
//! `epoll_wait` counts in whole milliseconds. With a hundred publishers every such wait ends with
//! several packets that are due, and they leave together: the server then sees bursts with a gap
//! before each, where real publishers come one by one. So the next timer is a timerfd beside the
//! sockets, which the kernel's high resolution timers fire (timerfd_create(2)).

use crate::args::Arrivals;
use mio::unix::SourceFd;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// How long a wait is at most, so that a worker sees new peers and phases.
const MAX_WAIT: Duration = Duration::from_millis(5);
/// Sockets that one wait can name.
const EVENTS: usize = 256;
/// The timer among the sockets, which count from zero.
const TIMER: mio::Token = mio::Token(usize::MAX);

/// What a worker sleeps in.
pub struct Waiter {
    poll: mio::Poll,
    events: mio::Events,
    /// The timer for what is due between two milliseconds, and when it was set to fire; without it
    /// waits end with the next whole millisecond.
    timer: Option<(TimerFd, Option<Instant>)>,
}

impl Waiter {
    /// Waits as `arrivals` says.
    ///
    /// # Errors
    /// When the process may open no more descriptors.
    pub fn new(arrivals: Arrivals) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let timer = match arrivals {
            Arrivals::Burst => None,
            Arrivals::Spread => {
                let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
                let fd = timer.as_fd().as_raw_fd();
                poll.registry().register(&mut SourceFd(&fd), TIMER, mio::Interest::READABLE)?;
                Some((timer, None))
            }
        };
        Ok(Self { poll, events: mio::Events::with_capacity(EVENTS), timer })
    }

    /// Also waits for datagrams at a socket, which [`Waiter::wait`] calls `number`.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn register(&self, socket: &impl AsFd, number: usize) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        let interest = mio::Interest::READABLE;
        self.poll.registry().register(&mut SourceFd(&fd), mio::Token(number), interest)
    }

    /// Sleeps until `until` at the latest, 5 ms at most, and adds to `ready` the sockets that got
    /// something.
    ///
    /// # Errors
    /// Those of epoll_wait(2) and timerfd_settime(2).
    pub fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<usize>) -> io::Result<()> {
        let now = Instant::now();
        let left = until.map_or(MAX_WAIT, |at| at.saturating_duration_since(now)).min(MAX_WAIT);
        if let Some((timer, set)) = &mut self.timer
            && !left.is_zero()
            && left < MAX_WAIT
            && *set != until
        {
            // What it was set to before is of no interest, and its edge comes without being read.
            timer.set(Expiration::OneShot(TimeSpec::from(left)), TimerSetTimeFlags::empty())?;
            *set = until;
        }
        match self.poll.poll(&mut self.events, Some(left)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in self.events.iter().filter(|event| event.token() != TIMER) {
            if !ready.contains(&event.token().0) {
                ready.push(event.token().0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest of many waits of 300 µs: a busy machine makes some longer, none shorter.
    fn shortest(arrivals: Arrivals) -> Duration {
        let mut waiter = Waiter::new(arrivals).expect("two descriptors are free");
        let waits = (0..100).map(|_| {
            let start = Instant::now();
            let until = start + Duration::from_micros(300);
            while Instant::now() < until {
                waiter.wait(Some(until), &mut Vec::new()).expect("nothing fails");
            }
            start.elapsed()
        });
        waits.min().expect("there were a hundred")
    }

    #[test]
    fn a_wait_ends_when_a_timer_is_due_and_not_with_the_next_millisecond() {
        let (spread, burst) = (shortest(Arrivals::Spread), shortest(Arrivals::Burst));
        assert!(spread >= Duration::from_micros(300), "{spread:?}");
        assert!(spread < Duration::from_micros(900), "{spread:?}");
        assert!(burst >= Duration::from_millis(1), "{burst:?}");
    }

    #[test]
    fn a_datagram_ends_a_wait_and_names_its_socket() {
        let mut waiter = Waiter::new(Arrivals::Spread).expect("two descriptors are free");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        waiter.register(&socket, 7).expect("it is a descriptor");
        let to = socket.local_addr().expect("it is bound");
        let mut ready = Vec::new();
        waiter.wait(Some(Instant::now()), &mut ready).expect("nothing fails");
        assert!(ready.is_empty());
        for _ in 0..2 {
            socket.send_to(&[0], to).expect("loopback takes it");
            waiter.wait(None, &mut ready).expect("nothing fails");
            assert_eq!(ready, [7], "named once, however often it is ready");
        }
    }
}
