//! What a viewer was sent again lately: a packet goes out again once per round trip at most, and a
//! few times in all, however often it is asked for.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use crate::limits::{
    ASSUMED_ROUND_TRIP, HISTORY_TIME, MAX_RESENT_REMEMBERED, RESENDS_PER_PACKET, RESENT_REMEMBERED,
};

/// One packet that was sent again.
#[derive(Clone, Copy, Debug)]
struct Again {
    ssrc: u32,
    /// Its number to the viewer; of 2^32 later ones the history has none.
    index: u32,
    /// When it was sent again last, in milliseconds since `since`.
    at_ms: u32,
    times: NonZeroU8,
}

const _: () = assert!(size_of::<Option<Again>>() <= 16, "a cache line holds four");

/// A ring by the packets' numbers. It grows while what it has no room for is asked for still, and
/// forgets the oldest then.
#[derive(Debug)]
pub struct Resent {
    since: Instant,
    /// Empty until something is sent again.
    ring: Vec<Option<Again>>,
}

impl Resent {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Resent {
        Resent { since: now, ring: Vec::new() }
    }

    /// Whether packet `index` of `ssrc` may be sent again at `now`. A viewer that is `round_trip`
    /// away can't know yet what was sent within that time.
    #[must_use]
    pub fn admits(
        &self,
        now: Instant,
        ssrc: u32,
        index: u64,
        round_trip: Option<Duration>,
    ) -> bool {
        let Some(again) = self.find(ssrc, index as u32) else { return true };
        let pause = round_trip.unwrap_or(ASSUMED_ROUND_TRIP);
        let passed = self.millis(now).wrapping_sub(again.at_ms);
        u128::from(passed) >= pause.as_millis() && again.times.get() < RESENDS_PER_PACKET
    }

    /// Packet `index` of `ssrc` is sent again at `now`.
    pub fn note(&mut self, now: Instant, ssrc: u32, index: u64) {
        let (now_ms, index) = (self.millis(now), index as u32);
        if self.ring.is_empty() {
            self.ring = vec![None; RESENT_REMEMBERED];
        }
        let times = match self.find(ssrc, index) {
            Some(again) => again.times.saturating_add(1),
            None => {
                self.make_room(now_ms, ssrc, index);
                NonZeroU8::MIN
            }
        };
        let place = self.place(ssrc, index);
        self.ring[place] = Some(Again { ssrc, index, at_ms: now_ms, times });
    }

    fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.since).as_millis() as u32
    }

    fn find(&self, ssrc: u32, index: u32) -> Option<Again> {
        let known = self.ring.get(self.place(ssrc, index)).copied().flatten();
        known.filter(|again| (again.ssrc, again.index) == (ssrc, index))
    }

    /// Another packet stands where one is to be noted. It is kept if it can still be asked for, as
    /// far as the ring may grow.
    fn make_room(&mut self, now_ms: u32, ssrc: u32, index: u32) {
        let is_asked_for =
            |other: Again| u128::from(now_ms.wrapping_sub(other.at_ms)) <= HISTORY_TIME.as_millis();
        while self.ring[self.place(ssrc, index)].is_some_and(is_asked_for)
            && self.ring.len() < MAX_RESENT_REMEMBERED
        {
            let doubled = vec![None; self.ring.len() * 2];
            for again in std::mem::replace(&mut self.ring, doubled).into_iter().flatten() {
                let place = self.place(again.ssrc, again.index);
                self.ring[place] = Some(again);
            }
        }
    }

    /// The place of a packet. The tracks of a viewer begin at random numbers and places.
    fn place(&self, ssrc: u32, index: u32) -> usize {
        index.wrapping_add(ssrc) as usize & self.ring.len().wrapping_sub(1)
    }
}

const _: () = assert!(
    RESENT_REMEMBERED.is_power_of_two() && MAX_RESENT_REMEMBERED.is_power_of_two(),
    "the ring is indexed by masking"
);

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(50));

    /// Sends a packet again if it may be.
    fn again(resent: &mut Resent, now: Instant, (ssrc, index): (u32, u64)) -> bool {
        let is_due = resent.admits(now, ssrc, index, RTT);
        if is_due {
            resent.note(now, ssrc, index);
        }
        is_due
    }

    #[test]
    fn a_packet_goes_out_again_once_per_round_trip_and_a_few_times_in_all() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        // Every 10 ms for ten seconds.
        let sent: Vec<u64> = (0..1_000)
            .map(|step| step * 10)
            .filter(|ms| again(&mut resent, start + Duration::from_millis(*ms), (7, 99)))
            .collect();
        assert_eq!(sent, [0, 50, 100, 150]);
    }

    #[test]
    fn what_is_asked_for_and_not_sent_again_is_not_counted_as_sent() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        assert!((0..100).all(|_| resent.admits(start, 7, 99, RTT)));
        assert!(again(&mut resent, start, (7, 99)));
        assert!(!resent.admits(start, 7, 99, RTT));
    }

    #[test]
    fn a_round_trip_that_is_not_known_is_taken_for_a_players() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        resent.note(start, 7, 99);
        let at = |ms| resent.admits(start + Duration::from_millis(ms), 7, 99, None);
        assert_eq!([at(60), at(99), at(100)], [false, false, true]);
    }

    #[test]
    fn each_packet_of_a_burst_is_remembered_whatever_its_track() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        let packets = || (0..128).flat_map(|index| [(7, index), (900, index)]);
        let ms = Duration::from_millis;
        assert!(packets().all(|packet| again(&mut resent, start, packet)));
        assert!(packets().all(|packet| !again(&mut resent, start + ms(20), packet)));
        assert!(packets().all(|packet| again(&mut resent, start + ms(60), packet)));
        // Whoever asks for everything makes it no larger.
        (0..100_000).for_each(|index| assert!(again(&mut resent, start + ms(70), (3, index))));
        assert_eq!(resent.ring.len(), MAX_RESENT_REMEMBERED);
    }
}
