//! How many sessions there are of each kind, counted from their cards.

use crate::shard::Wiring;
use crate::telemetry::{CardRole, Level};

/// Sessions by role, state and quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionCounts {
    pub publishers: u64,
    pub viewers: u64,
    pub connecting: u64,
    pub connected: u64,
    /// Connected publishers by [`Level`], the worst first.
    pub up: [u64; Level::ALL.len()],
    /// Connected viewers.
    pub down: [u64; Level::ALL.len()],
}

impl SessionCounts {
    /// Reads 128 bytes a session and allocates nothing.
    pub fn take(wiring: &Wiring) -> SessionCounts {
        let mut counts = SessionCounts::default();
        for (_, _, card) in wiring.meters.iter().flat_map(|meters| meters.cards.iter()) {
            let levels = match card.role {
                CardRole::Publisher => {
                    counts.publishers += 1;
                    &mut counts.up
                }
                CardRole::Viewer => {
                    counts.viewers += 1;
                    &mut counts.down
                }
            };
            if !card.stage.is_connected() {
                counts.connecting += 1;
                continue;
            }
            counts.connected += 1;
            if let Some(level) = card.level() {
                levels[level as usize] += 1;
            }
        }
        counts
    }
}
