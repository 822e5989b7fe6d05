//! What all shards show of themselves, for a scraper.

use super::{Mail, Wiring};
use crate::limits::MAIL_QUEUE;
use crate::telemetry::{self, Exposition, MemoryTerm, Meters, ShardCounters, Shown};

impl Wiring {
    /// Every metric of the shards at this moment.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        let shards = self.counters.iter().zip(&self.meters).zip(&self.mailboxes);
        let shown: Vec<Shown<'_>> = shards
            .map(|((counters, meters), mailbox)| Shown {
                counters,
                meters,
                mail_waiting: mailbox.depth(),
            })
            .collect();
        let mut exposition = telemetry::exposition(&shown);
        telemetry::kernel_dropped(&mut exposition, self.ownership.kernel_dropped());
        exposition
    }

    /// The parts of the memory that are shared with the shards, with what they may come to take.
    /// What is taken at the start takes all of its budget.
    #[must_use]
    pub fn memory_terms(&self) -> Vec<MemoryTerm> {
        let shards = self.mailboxes.len();
        let cards = self.meters.iter().map(|meters| meters.cards.bytes());
        let cards = cards.fold((0, 0), |sum, (now, full)| (sum.0 + now, sum.1 + full));
        let fixed = |name, bytes| MemoryTerm { name, bytes, budget_bytes: bytes };
        vec![
            MemoryTerm { name: "session_cards", bytes: cards.0, budget_bytes: cards.1 },
            fixed("counters", shards * (size_of::<ShardCounters>() + size_of::<Meters>())),
            // A place of the queue has a word of its own beside the mail (crossbeam's `Slot`).
            fixed("mailboxes", shards * MAIL_QUEUE * (size_of::<Mail>() + size_of::<usize>())),
            fixed("flow_directory", self.ownership.directory.bytes()),
        ]
    }
}
