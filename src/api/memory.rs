//! Memory: what the process has, and the named terms of what the control side and the cards take.

use serde::Serialize;

use super::Api;
use crate::limits::{ENDED_SESSIONS_KEPT, SESSION_HISTORY_BYTES};

#[derive(Serialize)]
pub(super) struct Memory {
    rss_bytes: Option<u64>,
    terms: Vec<Term>,
}

/// One term of the sum: what it takes now, at most, and what it may take when the server is full.
#[derive(Serialize)]
struct Term {
    name: &'static str,
    bytes: u64,
    budget_bytes: u64,
}

/// `sessions` is how many there are now.
pub(super) fn memory(api: &Api, sessions: usize) -> Memory {
    let cards = api.wiring().meters.iter().map(|meters| meters.cards.bytes());
    let (now, full) = cards.fold((0, 0), |sum, cards| (sum.0 + cards.0, sum.1 + cards.1));
    let history = |sessions: usize| sessions * SESSION_HISTORY_BYTES;
    let term = |name, bytes: usize, budget: usize| Term {
        name,
        bytes: bytes as u64,
        budget_bytes: budget as u64,
    };
    Memory {
        rss_bytes: rss_bytes(),
        terms: vec![
            term("session_cards", now, full),
            term("session_histories", history(sessions), history(api.facts.max_sessions)),
            term("ended_sessions", history(api.control.ended_kept()), history(ENDED_SESSIONS_KEPT)),
        ],
    }
}

/// The process's resident memory, as `/proc/self/status` has it (proc_pid_status(5)).
fn rss_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
