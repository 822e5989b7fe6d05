//! What a shard's memory is, part by part: it walks through its sessions and streams, a few a turn,
//! and says at the end of each walk what they came to.

use std::time::{Duration, Instant};

use super::core::Core;

/// How often a walk begins.
const PERIOD: Duration = Duration::from_secs(2);

/// Sessions, and streams, looked at in one turn, where each may be a cache miss.
const LOOKED_AT_PER_TURN: usize = 16;

/// A walk under way.
pub(super) struct Survey {
    /// When the next one begins.
    next: Instant,
    /// How far this one has come, by slot and by the streams' places.
    at: Option<usize>,
    sessions: usize,
    dtls: usize,
    streams: usize,
    histories: usize,
}

impl Survey {
    pub fn new(now: Instant) -> Survey {
        Survey { next: now, at: None, sessions: 0, dtls: 0, streams: 0, histories: 0 }
    }
}

impl Core {
    /// Goes on with the walk, or begins one where it is time.
    pub fn survey(&mut self, now: Instant) {
        let Core { survey, sessions, streams, paths, .. } = self;
        let from = match survey.at {
            Some(at) => at,
            None if now < survey.next => return,
            None => {
                *survey = Survey::new(now + PERIOD);
                0
            }
        };
        let to = from + LOOKED_AT_PER_TURN;
        for at in from..to {
            if let Some(entry) = sessions.look_at(at as u32) {
                let (own, dtls) = entry.bytes();
                survey.sessions += own + paths.bytes(at as u32);
                survey.dtls += dtls;
            }
            if let Some((own, history)) = streams.bytes(at) {
                survey.streams += own;
                survey.histories += history;
            }
        }
        let is_over = to >= sessions.slots().max(streams.places());
        survey.at = (!is_over).then_some(to);
        if is_over {
            let memory = &self.post.meters().memory;
            memory.sessions.set(survey.sessions as u64);
            memory.dtls.set(survey.dtls as u64);
            memory.streams.set(survey.streams as u64);
            memory.histories.set(survey.histories as u64);
            memory.handshakes.set(self.handshakes.bytes() as u64);
            memory.send_arenas.set(self.paths.ways.transmitter.bytes() as u64);
        }
    }
}
