//! Every datagram that comes has one outcome, and the path that a client chose stays its path.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::StunMessage;
use monoport::drop::DropReason;
use monoport::limits::MAX_NACKED_PER_DATAGRAM;
use monoport::telemetry::ShardCounters;

use crate::network::{Kind, kind};
use crate::peer::Peer;
use crate::server::{LOCAL, Server};

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stun,
    StunAnswer,
    Dtls,
    Rtp,
    Rtcp,
    HandedOver,
    Dropped(DropReason),
}

#[derive(Default)]
pub struct Arrivals {
    /// The address that each client's last check chose which the server took.
    chosen: HashMap<usize, SocketAddr>,
    /// Since when an address is proved to be a client's, at one of the server's ports: what another
    /// has proved at another port is another flow. And which each has proved last.
    proved: HashMap<(usize, SocketAddr, usize), Instant>,
    proved_last: HashMap<usize, SocketAddr>,
}

/// A shard hears this late at most that another's session has proved an address.
const TOLD_WITHIN: Duration = Duration::from_millis(5);

impl Arrivals {
    /// Gives a datagram to a shard and sees what becomes of it.
    pub fn deliver(
        &self,
        server: &mut Server,
        now: Instant,
        shard: usize,
        (port, from): (usize, SocketAddr),
        bytes: &[u8],
    ) -> Result<Outcome, String> {
        let counters = |server: &Server| outcomes(&server.wiring.counters[shard]);
        let before = counters(server);
        let looked_up = |server: &Server| {
            let counters = &server.wiring.counters[shard];
            counters.nacked_packets.get() - counters.drops(DropReason::RepairLimited)
        };
        let work = looked_up(server);
        server.shards[shard].deliver(now, port as u32, LOCAL, from, bytes);
        let after = counters(server);
        let work = looked_up(server) - work;
        if work > MAX_NACKED_PER_DATAGRAM as u64 {
            return Err(format!("one datagram made shard {shard} look up {work} packets"));
        }
        let mut changed = before.iter().zip(&after).filter(|(before, after)| before.1 != after.1);
        let outcome = match (changed.next(), changed.next()) {
            (Some((before, after)), None) if after.1 == before.1 + 1 => after.0,
            _ => {
                return Err(format!("a datagram has no outcome or several: {before:?}, {after:?}"));
            }
        };
        let (come, gone) = server.wiring.counters[shard].conservation();
        let (media_come, media_gone) = server.wiring.counters[shard].media_conservation();
        if (come, media_come) != (gone, media_gone) {
            return Err(format!(
                "shard {shard}: {come} datagrams came, of {gone} is known what became; of media, \
                 {media_come} and {media_gone}"
            ));
        }
        Ok(outcome)
    }

    /// Notes what became of a datagram of a client's.
    pub fn note(
        &mut self,
        now: Instant,
        peer: &Peer,
        number: usize,
        (port, from): (usize, SocketAddr),
        bytes: &[u8],
        outcome: Outcome,
    ) -> Result<(), String> {
        if outcome == Outcome::Stun {
            self.proved.entry((port, from, number)).or_insert(now);
            self.proved_last.insert(number, from);
        }
        if outcome == Outcome::Stun && chooses(bytes) {
            self.chosen.insert(number, from);
        }
        if kind(bytes) == Kind::Stun && outcome == Outcome::HandedOver {
            // Which check comes first is the other shard's business.
            self.chosen.remove(&number);
        }
        let lost =
            matches!(outcome, Outcome::Dropped(DropReason::UnknownFlow | DropReason::StaleFlow));
        let by_chosen_path = self.chosen.get(&number) == Some(&from);
        if lost && by_chosen_path && peer.ended.is_none() {
            return Err(format!(
                "peer {number} chose {from}, and what comes from there is {outcome:?}"
            ));
        }
        Ok(())
    }

    /// A client gets an address, which it may have had before: it has yet to prove it.
    pub fn passes_on(&mut self, outside: SocketAddr, peer: usize) {
        self.proved.retain(|(_, address, of), _| (*address, *of) != (outside, peer));
        self.chosen.retain(|of, chosen| (*of, *chosen) != (peer, outside));
    }

    /// Whether media of a client may still go to an address that `newer` clients have had since. It
    /// may while the client has proved no other.
    pub fn may_reach(
        &self,
        now: Instant,
        (port, to): (usize, SocketAddr),
        peer: usize,
        mut newer: impl Iterator<Item = usize>,
    ) -> Result<(), String> {
        let is_known = |other: usize| {
            self.proved.get(&(port, to, other)).is_some_and(|since| now - *since > TOLD_WITHIN)
        };
        if self.proved_last.get(&peer).is_none_or(|last| *last == to) {
            return Ok(());
        }
        match newer.find(|other| is_known(*other)) {
            Some(other) => Err(format!("{to} is peer {other}'s, and gets media of peer {peer}")),
            None => Ok(()),
        }
    }
}

/// Whether a check chooses its path.
fn chooses(check: &[u8]) -> bool {
    StunMessage::parse(check).is_ok_and(|check| check.use_candidate())
}

fn outcomes(counters: &ShardCounters) -> Vec<(Outcome, u64)> {
    let mut all = vec![
        (Outcome::Stun, counters.stun_requests.get()),
        (Outcome::StunAnswer, counters.stun_answers.get()),
        (Outcome::Dtls, counters.dtls_in.get()),
        (Outcome::Rtp, counters.rtp_in.get()),
        (Outcome::Rtcp, counters.rtcp_in.get()),
        (Outcome::HandedOver, counters.handed_over.get()),
    ];
    let arrival =
        DropReason::ALL.iter().filter(|reason| reason.stage() == monoport::drop::Stage::Arrival);
    all.extend(arrival.map(|reason| (Outcome::Dropped(*reason), counters.drops(*reason))));
    all
}
