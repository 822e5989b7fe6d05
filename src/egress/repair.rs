//! How much a viewer may ask for again.

use std::time::{Duration, Instant};

use crate::limits::{REPAIR_BURST_PACKETS, REPAIR_PACKETS_PER_SECOND};

/// A token bucket: a viewer that asks for the same packet endlessly, or for everything, gets its
/// share and no more.
#[derive(Debug)]
pub struct RepairBudget {
    tokens: u32,
    filled: Instant,
}

const TOKEN: Duration = Duration::from_nanos(1_000_000_000 / REPAIR_PACKETS_PER_SECOND as u64);

impl RepairBudget {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> RepairBudget {
        RepairBudget { tokens: REPAIR_BURST_PACKETS, filled: now }
    }

    /// Takes one packet's worth; false when the share is used up.
    pub fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.filled).as_nanos() / TOKEN.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(REPAIR_BURST_PACKETS);
            self.filled = now;
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_that_asks_endlessly_gets_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut budget = RepairBudget::new(start);
        let granted = (0..REPAIR_BURST_PACKETS * 4).filter(|_| budget.take(start)).count();
        assert_eq!(granted, REPAIR_BURST_PACKETS as usize);
        let later = start + Duration::from_millis(100);
        let granted = (0..REPAIR_BURST_PACKETS * 4).filter(|_| budget.take(later)).count();
        assert_eq!(granted as u32, REPAIR_PACKETS_PER_SECOND / 10);
    }
}
