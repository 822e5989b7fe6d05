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

    /// Whether packet `index` of `ssrc` may be sent again at `now`, which is noted then. A viewer
    /// that is `round_trip` away can't know yet what was sent within that time.
    pub fn admits(
        &mut self,
        now: Instant,
        ssrc: u32,
        index: u64,
        round_trip: Option<Duration>,
    ) -> bool {
        let now_ms = now.saturating_duration_since(self.since).as_millis() as u32;
        let index = index as u32;
        if self.ring.is_empty() {
            self.ring = vec![None; RESENT_REMEMBERED];
        }
        let times = match *self.at(ssrc, index) {
            Some(again) if (again.ssrc, again.index) == (ssrc, index) => {
                let pause = round_trip.unwrap_or(ASSUMED_ROUND_TRIP);
                let passed = now_ms.wrapping_sub(again.at_ms);
                let is_early = u128::from(passed) < pause.as_millis();
                if is_early || again.times.get() >= RESENDS_PER_PACKET {
                    return false;
                }
                again.times.saturating_add(1)
            }
            Some(_other) => {
                self.make_room(now_ms, ssrc, index);
                NonZeroU8::MIN
            }
            None => NonZeroU8::MIN,
        };
        *self.at(ssrc, index) = Some(Again { ssrc, index, at_ms: now_ms, times });
        true
    }

    /// Another packet stands where one is to be noted. It is kept if it can still be asked for, as
    /// far as the ring may grow.
    fn make_room(&mut self, now_ms: u32, ssrc: u32, index: u32) {
        let is_asked_for =
            |other: Again| u128::from(now_ms.wrapping_sub(other.at_ms)) <= HISTORY_TIME.as_millis();
        while self.at(ssrc, index).is_some_and(is_asked_for)
            && self.ring.len() < MAX_RESENT_REMEMBERED
        {
            let doubled = vec![None; self.ring.len() * 2];
            for again in std::mem::replace(&mut self.ring, doubled).into_iter().flatten() {
                *self.at(again.ssrc, again.index) = Some(again);
            }
        }
    }

    /// The place of a packet. The tracks of a viewer begin at random numbers and places.
    fn at(&mut self, ssrc: u32, index: u32) -> &mut Option<Again> {
        let place = index.wrapping_add(ssrc) as usize & (self.ring.len() - 1);
        &mut self.ring[place]
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

    #[test]
    fn a_packet_goes_out_again_once_per_round_trip_and_a_few_times_in_all() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        // Every 10 ms for ten seconds.
        let sent: Vec<u64> = (0..1_000)
            .map(|step| step * 10)
            .filter(|ms| resent.admits(start + Duration::from_millis(*ms), 7, 99, RTT))
            .collect();
        assert_eq!(sent, [0, 50, 100, 150]);
    }

    #[test]
    fn a_round_trip_that_is_not_known_is_taken_for_a_players() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        let mut at = |ms| resent.admits(start + Duration::from_millis(ms), 7, 99, None);
        assert_eq!([at(0), at(60), at(99), at(100)], [true, false, false, true]);
    }

    #[test]
    fn each_packet_of_a_burst_is_remembered_whatever_its_track() {
        let start = Instant::now();
        let mut resent = Resent::new(start);
        let packets = || (0..128).flat_map(|index| [(7, index), (900, index)]);
        let ms = Duration::from_millis;
        assert!(packets().all(|(ssrc, index)| resent.admits(start, ssrc, index, RTT)));
        assert!(packets().all(|(ssrc, index)| !resent.admits(start + ms(20), ssrc, index, RTT)));
        assert!(packets().all(|(ssrc, index)| resent.admits(start + ms(60), ssrc, index, RTT)));
        // Whoever asks for everything makes it no larger.
        (0..100_000).for_each(|index| assert!(resent.admits(start + ms(70), 3, index, RTT)));
        assert_eq!(resent.ring.len(), MAX_RESENT_REMEMBERED);
    }
}
