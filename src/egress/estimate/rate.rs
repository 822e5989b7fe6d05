//! What the rate becomes: it falls below what arrives, and grows by a share, or slowly where it
//! fell last (draft-ietf-rmcat-gcc-02 §5.5).

use super::Micros;
use crate::limits::{ESTIMATE_LEAST, ESTIMATE_MOST};

/// What is left of the rate that arrives, upon overuse.
const FALL: f64 = 0.85;
/// Growth a second, far from where it fell last.
const GROWTH: f64 = 1.08;
/// Near is within this share of it.
const NEAR: f64 = 0.3;
/// Bits of a packet: growth near where it fell, per response time.
const PACKET_BITS: f64 = 1_200.0 * 8.0;
/// The least growth there, in bits a second and second.
const GROWTH_LEAST: f64 = 4_000.0;
/// A round trip is followed by this much before growth shows, in seconds.
const RESPONSE: f64 = 0.1;
/// The rate may be so many times what arrives, and [`AHEAD_BITS`]: more was never tried.
const AHEAD: f64 = 1.5;
const AHEAD_BITS: f64 = 10_000.0;
/// Falls are as far apart as this at least, and as a round trip.
const FALL_PAUSE: Micros = 200_000;

/// The rate, by delays.
#[derive(Debug)]
pub(super) struct Rate {
    bits_per_s: f64,
    /// What arrived when it fell.
    fell_at: Option<f64>,
    fell: Option<Micros>,
    /// What arrives, over a longer time.
    usual: f64,
}

impl Rate {
    pub fn new(start: f64) -> Rate {
        Rate { bits_per_s: start, fell_at: None, fell: None, usual: 0.0 }
    }

    pub fn bits_per_s(&self) -> f64 {
        self.bits_per_s
    }

    /// It is no more than this.
    pub fn limit(&mut self, bits_per_s: f64) {
        self.bits_per_s = self.bits_per_s.min(bits_per_s).clamp(ESTIMATE_LEAST, ESTIMATE_MOST);
    }

    /// A probe, or the first train, has shown that there is as much.
    pub fn raise(&mut self, bits_per_s: f64) {
        self.bits_per_s = self.bits_per_s.max(bits_per_s).min(ESTIMATE_MOST);
    }

    /// Overuse: it falls below what arrives, unless it fell a moment ago. Whether it did.
    pub fn fall(&mut self, now: Micros, acked: f64, round_trip: Micros) -> bool {
        let pause = FALL_PAUSE.max(round_trip);
        if acked <= 0.0 || self.fell.is_some_and(|fell| now.saturating_sub(fell) < pause) {
            return false;
        }
        self.fell = Some(now);
        self.bits_per_s = self.bits_per_s.min(FALL * acked).max(ESTIMATE_LEAST);
        self.fell_at = Some(match self.fell_at {
            Some(before) if (0.5..=1.5).contains(&(acked / before)) => 0.95 * before + 0.05 * acked,
            _ => acked,
        });
        true
    }

    /// No overuse for so many seconds: it grows.
    pub fn grow(&mut self, acked: f64, round_trip: Micros, passed: f64) {
        if self.fell_at.is_some_and(|fell| acked > (1.0 + NEAR) * fell) {
            self.fell_at = None;
        }
        let rate = self.bits_per_s;
        let is_near = |fell: f64| (1.0 - NEAR..1.0 + NEAR).contains(&(rate / fell));
        let step = if self.fell_at.is_some_and(is_near) {
            let response = round_trip as f64 / 1e6 + RESPONSE;
            (PACKET_BITS / response).max(GROWTH_LEAST) * passed
        } else {
            rate * (GROWTH.powf(passed) - 1.0)
        };
        self.usual += 0.2 * (acked - self.usual);
        let most = AHEAD * self.usual.max(acked) + AHEAD_BITS;
        if rate < most {
            self.bits_per_s = (rate + step).min(most).min(ESTIMATE_MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Micros = 50_000;

    #[test]
    fn it_falls_below_what_arrives_once_per_round_trip() {
        let mut rate = Rate::new(3e6);
        assert!(rate.fall(1_000_000, 2e6, RTT));
        assert_eq!(rate.bits_per_s(), 0.85 * 2e6);
        assert!(!rate.fall(1_199_999, 1e6, RTT));
        assert!(!rate.fall(1_300_000, 1e6, 400_000), "nor within a longer round trip");
        assert!(rate.fall(1_400_000, 1e6, 400_000));
        assert_eq!(rate.bits_per_s(), 0.85 * 1e6);
        assert!(rate.fall(9_000_000, 1.0, RTT));
        assert_eq!(rate.bits_per_s(), ESTIMATE_LEAST);
    }

    #[test]
    fn it_grows_by_a_share_and_by_a_packet_where_it_fell() {
        let mut rate = Rate::new(1e6);
        (0..20).for_each(|_| rate.grow(1e6, RTT, 0.05));
        assert!((rate.bits_per_s() - 1.08e6).abs() < 1.0, "{}", rate.bits_per_s());
        rate.fall(0, 1e6, RTT);
        rate.grow(0.85e6, RTT, 1.0);
        assert_eq!(rate.bits_per_s(), 0.85e6 + PACKET_BITS / 0.15);
        // What arrives is far above where it fell: that is no bound any more.
        rate.grow(1.4e6, RTT, 1.0);
        assert!(rate.bits_per_s() > 0.97e6, "{}", rate.bits_per_s());
    }

    #[test]
    fn it_does_not_run_ahead_of_what_is_sent() {
        let mut rate = Rate::new(1e6);
        (0..1_000).for_each(|_| rate.grow(0.8e6, RTT, 1.0));
        assert_eq!(rate.bits_per_s(), AHEAD * 0.8e6 + AHEAD_BITS);
        // Sending less does not lower it.
        rate.grow(0.1e6, RTT, 1.0);
        assert_eq!(rate.bits_per_s(), AHEAD * 0.8e6 + AHEAD_BITS);
    }
}
