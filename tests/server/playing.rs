//! A stream that goes on while something happens elsewhere, and whose viewer lacks nothing of it.

use std::time::{Duration, Instant};

use crate::support::client::{Client, connect, run_for, run_until};
use str0m::media::MediaKind;

/// How long anything may take meanwhile.
const PATIENCE: Duration = Duration::from_secs(40);

/// A publisher and a viewer of it, and the number of the next packet.
pub struct Playing {
    pub publisher: Client,
    pub viewer: Client,
    number: u32,
}

impl Playing {
    /// Those two, of which the publisher may have sent the packet 0.
    pub fn new(mut publisher: Client, mut viewer: Client) -> Playing {
        connect(&mut [&mut publisher, &mut viewer]);
        Playing { publisher, viewer, number: 1 }
    }

    pub fn send(&mut self, packets: u32) {
        for _ in 0..packets {
            let (number, is_first) = (self.number, self.number == 1);
            self.publisher.send(MediaKind::Video, is_first, number, number * 3_000);
            self.number += 1;
            run_for(Duration::from_millis(10), &mut [&mut self.publisher, &mut self.viewer]);
        }
    }

    /// Goes on until `what` is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let since = Instant::now();
        while !is_so() {
            assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            self.send(1);
        }
    }

    /// Goes on while something else is done.
    pub fn during<T: Send>(&mut self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let done = scope.spawn(what);
            self.until("the other thing", || done.is_finished());
            done.join().expect("no panic")
        })
    }

    /// The viewer has had each packet; what was on its way may come late, since it is asked for
    /// again.
    pub fn lost_nothing(&mut self) {
        let last = self.number;
        self.send(1);
        run_until("all have come", &mut [&mut self.publisher, &mut self.viewer], |all| {
            all[1].video_numbers().last() == Some(&last)
        });
        let mut numbers = self.viewer.video_numbers();
        numbers.retain(|number| *number > 0);
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
        assert!(!self.publisher.closed && !self.viewer.closed);
    }
}
