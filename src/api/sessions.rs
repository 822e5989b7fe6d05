//! `GET /api/v1/sessions`: a page of sessions in one of three orders.
//!
//! Of ten thousand sessions the worst fifty are found in one pass over their cards, which keeps
//! the fifty best candidates so far and allocates for them alone. A page ends with a cursor: where
//! in its order it stopped, so that the next begins there even when sessions have come, gone or
//! changed positions meanwhile.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Answer, json, page, parameters};
use super::session::Brief;
use crate::control::{EndedSession, LiveSession};
use crate::id::SessionKey;
use crate::telemetry::SessionCard;
use crate::whip::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<usize>,
    after: Option<String>,
    #[serde(default)]
    order: Order,
    stream: Option<String>,
    role: Option<Role>,
    state: Option<SessionState>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// By public name.
    #[default]
    Id,
    /// The lowest score first; those without one last.
    Worst,
    /// The latest set-up first.
    Newest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Publisher,
    Viewer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SessionState {
    Connecting,
    Connected,
    Ended,
}

#[derive(Serialize)]
struct Page {
    sessions: Vec<Brief>,
    next: Option<String>,
}

/// A session's position in an order: what it is ordered by, then its key, both ascending.
type Position = (u64, SessionKey);

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let asked = parameters(asked)?;
    let limit = page(asked.limit)?;
    let after = asked.after.as_deref().map(|text| cursor(&api, &asked, text)).transpose()?;
    let positions = match asked.state {
        Some(SessionState::Ended) => ended(&api, &asked, after, limit),
        _ => living(&api, &asked, after, limit),
    };
    let more = positions.len() > limit;
    let next =
        positions.get(limit - 1).filter(|_| more).map(|position| show(asked.order, *position));
    let briefs = positions.iter().take(limit).filter_map(|(_, key)| brief(&api, &asked, *key));
    json(&Page { sessions: briefs.collect(), next })
}

/// The first `limit` positions behind `after`, and one more where there is one.
fn living(api: &Api, asked: &Asked, after: Option<Position>, limit: usize) -> Vec<Position> {
    let mut first = First::new(limit + 1, after);
    // By name, those before the page need not be looked at, and those behind it neither.
    let by_name = asked.order == Order::Id;
    let start = after.filter(|_| by_name).map(|(_, key)| key);
    api.control.each_session(start, |key, live| {
        let needs_card = asked.order == Order::Worst || asked.state.is_some();
        let card = if needs_card { api.control.card(key) } else { None };
        if matches(asked, live) && in_state(asked, card.as_ref()) {
            first.offer((rank(asked.order, live, card.as_ref()), key));
        }
        if by_name && first.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    first.sorted()
}

fn ended(api: &Api, asked: &Asked, after: Option<Position>, limit: usize) -> Vec<Position> {
    let mut first = First::new(limit + 1, after);
    api.control.each_ended(|session| {
        if matches(asked, &session.live) {
            first.offer((rank_of_ended(asked.order, session), session.key));
        }
        ControlFlow::Continue(())
    });
    first.sorted()
}

fn brief(api: &Api, asked: &Asked, key: SessionKey) -> Option<Brief> {
    let card = api.control.card(key);
    match asked.state {
        Some(SessionState::Ended) => api
            .control
            .with_ended(key, |ended| Brief::new(key, &ended.live, ended.card.as_deref(), true)),
        // One that has ended since it was found is left out.
        _ => api.control.with_session(key, |live| Brief::new(key, live, card.as_ref(), false)),
    }
}

fn matches(asked: &Asked, live: &LiveSession) -> bool {
    let stream = asked.stream.as_deref().is_none_or(|stream| *live.stream == *stream);
    stream && asked.role.is_none_or(|role| (role == Role::Publisher) == live.publisher)
}

fn in_state(asked: &Asked, card: Option<&SessionCard>) -> bool {
    let connected = card.is_some_and(|card| card.stage.is_connected());
    asked.state.is_none_or(|state| (state == SessionState::Connected) == connected)
}

fn rank(order: Order, live: &LiveSession, card: Option<&SessionCard>) -> u64 {
    match order {
        Order::Id => 0,
        Order::Worst => match card.and_then(|card| card.score) {
            Some(score) => (score * 100.0) as u64,
            None => u64::from(u32::MAX),
        },
        // Microseconds before the year 2112, so that later is less.
        Order::Newest => (1u64 << 52).saturating_sub((live.created_at * 1e6) as u64),
    }
}

fn rank_of_ended(order: Order, session: &EndedSession) -> u64 {
    rank(order, &session.live, session.card.as_deref())
}

/// A cursor as text: `RANK~ID`, or the name alone where that is the order.
fn show(order: Order, (rank, key): Position) -> String {
    match order {
        Order::Id => key.to_string(),
        _ => format!("{rank}~{key}"),
    }
}

/// The position a cursor stands for; a session's name alone stands for where the session is now.
fn cursor(api: &Api, asked: &Asked, text: &str) -> Result<Position, Problem> {
    let problem = |words: &str| Problem::bad_request(format!("after={text}: {words}"));
    let key = |name: &str| name.parse().map_err(|error| problem(&format!("{error}")));
    if let Some((rank, name)) = text.split_once('~') {
        let rank = rank.parse().map_err(|_error| problem("it is no `next` of a page"))?;
        return Ok((rank, key(name)?));
    }
    let key: SessionKey = key(text)?;
    if asked.order == Order::Id {
        return Ok((0, key));
    }
    let card = api.control.card(key);
    let live = api.control.with_session(key, |live| rank(asked.order, live, card.as_ref()));
    let ended = || api.control.with_ended(key, |session| rank_of_ended(asked.order, session));
    let rank = live.or_else(ended).ok_or_else(|| problem("there is no such session any more"))?;
    Ok((rank, key))
}

/// The first few of many positions, found in one pass.
struct First {
    /// The last of those kept on top.
    kept: BinaryHeap<Position>,
    most: usize,
    after: Option<Position>,
}

impl First {
    fn new(most: usize, after: Option<Position>) -> First {
        First { kept: BinaryHeap::with_capacity(most + 1), most, after }
    }

    fn offer(&mut self, position: Position) {
        if self.after.is_some_and(|after| position <= after) {
            return;
        }
        if self.is_full() && self.kept.peek().is_some_and(|last| position >= *last) {
            return;
        }
        self.kept.push(position);
        if self.kept.len() > self.most {
            self.kept.pop();
        }
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= self.most
    }

    fn sorted(self) -> Vec<Position> {
        self.kept.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(rank: u64, slot: u32) -> Position {
        (rank, SessionKey { shard: 0, slot, generation: 0 })
    }

    #[test]
    fn pages_of_the_first_few_are_what_sorting_everything_gives() {
        // Ranks that repeat, so that keys decide too.
        let all: Vec<Position> = (0..1_000).map(|n| position((n * 7_919) % 97, n as u32)).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let mut first = First::new(50, after);
            all.iter().for_each(|position| first.offer(*position));
            assert!(first.kept.capacity() < 120, "memory for a page, not for all");
            let page = first.sorted();
            let Some(last) = page.last() else { break };
            after = Some(*last);
            paged.extend(page);
        }
        assert_eq!(paged, sorted);
    }
}
