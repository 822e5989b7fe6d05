//! Memory: what the process has, and the parts of it that have a name.

use serde::Serialize;

use super::Api;
use crate::telemetry;

#[derive(Serialize)]
pub(super) struct Memory {
    rss_bytes: Option<u64>,
    terms: Vec<Term>,
}

/// One part: what it takes now, and what it may come to take.
#[derive(Serialize)]
struct Term {
    name: &'static str,
    bytes: usize,
    budget_bytes: usize,
}

pub(super) fn memory(api: &Api) -> Memory {
    let terms = api.control.memory_terms();
    let terms = terms.into_iter().map(|term| Term {
        name: term.name,
        bytes: term.bytes,
        budget_bytes: term.budget_bytes,
    });
    Memory { rss_bytes: telemetry::resident_bytes(), terms: terms.collect() }
}
