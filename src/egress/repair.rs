//! How much a viewer may ask for again.

use std::time::{Duration, Instant};

use crate::limits::{
    LOOKUPS_PER_PACKET, REPAIR_BURST_PACKETS, REPAIR_PACKETS_PER_SECOND, REPAIR_SHARE,
};

/// A token bucket: a viewer that asks for the same packet endlessly, or for everything, gets its
/// share and no more. The share grows with the rate of what it watches.
///
/// It counts in look-ups, of which a packet sent again costs [`LOOKUPS_PER_PACKET`], and in
/// nanoseconds of a token, so that no fraction is lost however often it is asked.
#[derive(Debug)]
pub struct RepairBudget {
    /// Look-ups times nanoseconds in a second.
    credit: u64,
    filled: Instant,
}

const SECOND: u64 = 1_000_000_000;

impl RepairBudget {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> RepairBudget {
        RepairBudget { credit: credit(REPAIR_BURST_PACKETS), filled: now }
    }

    /// Earns what the time since the last call is worth to a viewer whose layer sends so many
    /// packets a second.
    pub fn earn(&mut self, now: Instant, packets_per_s: u32) {
        let share = (packets_per_s / REPAIR_SHARE).max(REPAIR_PACKETS_PER_SECOND);
        let elapsed = now.saturating_duration_since(self.filled).min(Duration::from_secs(60));
        self.filled = self.filled.max(now);
        let earned = elapsed.as_nanos() as u64 * u64::from(share * LOOKUPS_PER_PACKET);
        let most = credit(share.max(REPAIR_BURST_PACKETS));
        self.credit = self.credit.saturating_add(earned).min(most);
    }

    /// Pays for looking a number up; false when the share is used up.
    pub fn look_up(&mut self) -> bool {
        self.pay(SECOND)
    }

    /// Pays for sending a packet again, its look-up paid already.
    pub fn send(&mut self) -> bool {
        self.pay(u64::from(LOOKUPS_PER_PACKET - 1) * SECOND)
    }

    fn pay(&mut self, price: u64) -> bool {
        let rest = self.credit.checked_sub(price);
        self.credit = rest.unwrap_or(self.credit);
        rest.is_some()
    }
}

/// What so many packets sent again cost.
const fn credit(packets: u32) -> u64 {
    packets as u64 * LOOKUPS_PER_PACKET as u64 * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(budget: &mut RepairBudget, asked: u32) -> u32 {
        (0..asked).filter(|_| budget.look_up() && budget.send()).count() as u32
    }

    #[test]
    fn a_viewer_that_asks_endlessly_gets_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut budget = RepairBudget::new(start);
        assert_eq!(granted(&mut budget, REPAIR_BURST_PACKETS * 4), REPAIR_BURST_PACKETS);
        budget.earn(start + Duration::from_millis(100), 0);
        assert_eq!(granted(&mut budget, 1_000), REPAIR_PACKETS_PER_SECOND / 10);
    }

    #[test]
    fn the_rate_is_kept_however_often_it_is_asked() {
        let start = Instant::now();
        let mut budget = RepairBudget::new(start);
        granted(&mut budget, REPAIR_BURST_PACKETS * 4);
        let mut sent = 0;
        // Every 9.9 ms, when a hundredth of a packet is still missing.
        for step in 1..=1_010 {
            budget.earn(start + Duration::from_micros(9_900 * step), 0);
            sent += granted(&mut budget, 1);
        }
        let promised = REPAIR_PACKETS_PER_SECOND * 10;
        assert!((promised - 20..=promised).contains(&sent), "{sent} of {promised}");
    }

    #[test]
    fn a_layer_of_many_packets_has_more_of_them_sent_again() {
        let start = Instant::now();
        let mut budget = RepairBudget::new(start);
        granted(&mut budget, REPAIR_BURST_PACKETS * 4);
        budget.earn(start + Duration::from_secs(1), 3_000);
        assert_eq!(granted(&mut budget, 3_000), 3_000 / REPAIR_SHARE);
    }

    #[test]
    fn looking_up_what_is_gone_uses_the_share_up() {
        let mut budget = RepairBudget::new(Instant::now());
        let looked_up = (0..100_000).filter(|_| budget.look_up()).count() as u32;
        assert_eq!(looked_up, REPAIR_BURST_PACKETS * LOOKUPS_PER_PACKET);
        assert!(!budget.send());
    }
}
