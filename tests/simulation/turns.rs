//! A shard's turns: never in the past, few where nothing comes, and each within its bounds.

use std::time::{Duration, Instant};

use monoport::limits::{
    COMMANDS_PER_TURN, HANDSHAKE_DATAGRAMS_PER_TURN, MAIL_PER_TURN, MAIL_QUEUE,
};
use monoport::telemetry::ShardCounters;

use crate::server::Server;

/// Turns at one moment at which nothing has come.
const AT_ONE_MOMENT: u32 = 4;

/// Besides one a millisecond, the tick of the timers.
const TO_SPARE: u64 = 16;

#[derive(Clone, Copy, Default)]
struct Quiet {
    /// Turns since something came.
    turns: u64,
    at_one_moment: u32,
    /// Of the first of them, and of the last.
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What was counted before a turn.
#[derive(Clone, Copy)]
pub struct Before {
    taken: u64,
    sessions: u64,
    handshakes: usize,
}

pub struct Turns {
    quiet: Vec<Quiet>,
}

fn mail_taken(counters: &ShardCounters) -> u64 {
    counters.taken_over.get() + counters.media_taken_over.get()
}

impl Turns {
    pub fn new(shards: usize) -> Turns {
        Turns { quiet: vec![Quiet::default(); shards] }
    }

    pub fn something_came(&mut self, shard: usize) {
        self.quiet[shard] = Quiet::default();
    }

    pub fn before(&self, server: &Server, shard: usize) -> Before {
        let counters = &server.wiring.counters[shard];
        let handshakes = server.shards[shard].handshakes_waiting();
        Before { taken: mail_taken(counters), sessions: counters.sessions.get(), handshakes }
    }

    pub fn after(
        &mut self,
        server: &Server,
        shard: usize,
        before: Before,
        now: Instant,
        next: Option<Instant>,
    ) -> Result<(), String> {
        let waiting = server.shards[shard].handshakes_waiting();
        let shaken = before.handshakes.saturating_sub(waiting);
        if shaken > HANDSHAKE_DATAGRAMS_PER_TURN {
            return Err(format!("shard {shard} took {shaken} datagrams of handshakes in a turn"));
        }
        if shaken > 0 {
            // What came a moment ago is work for more than one turn.
            self.something_came(shard);
        }
        let quiet = &mut self.quiet[shard];
        quiet.turns += 1;
        let same_moment = quiet.last == Some(now);
        quiet.at_one_moment = if same_moment { quiet.at_one_moment + 1 } else { 1 };
        quiet.last = Some(now);
        let first = *quiet.first.get_or_insert(now);
        if let Some(at) = next
            && at < now
        {
            return Err(format!("shard {shard} is to turn again {:?} ago", now - at));
        }
        if quiet.at_one_moment > AT_ONE_MOMENT {
            return Err(format!("shard {shard} spins: nothing comes, and no time passes"));
        }
        let span = now.saturating_duration_since(first);
        let most = TO_SPARE + span.as_millis() as u64;
        if quiet.turns > most {
            let turns = quiet.turns;
            return Err(format!("shard {shard}: {turns} turns in {span:?} in which nothing came"));
        }
        self.work(server, shard, before)
    }

    fn work(&self, server: &Server, shard: usize, before: Before) -> Result<(), String> {
        let counters = &server.wiring.counters[shard];
        let taken = mail_taken(counters) - before.taken;
        if taken > MAIL_PER_TURN as u64 {
            return Err(format!("shard {shard} took {taken} pieces of mail in a turn"));
        }
        // One command each; what a turn has left is for checks that overtake theirs.
        let added = counters.sessions.get().saturating_sub(before.sessions);
        if added > 2 * COMMANDS_PER_TURN as u64 {
            return Err(format!("shard {shard} took {added} sessions in a turn"));
        }
        let depth = server.wiring.mailboxes[shard].depth();
        if depth > MAIL_QUEUE {
            return Err(format!("shard {shard} has {depth} pieces of mail waiting"));
        }
        Ok(())
    }
}

/// How long a run is looked at in which nothing comes any more.
pub const SILENCE: Duration = Duration::from_secs(45);
