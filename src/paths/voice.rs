//! Where a peer speaks from: which of its paths is in use, and which has fallen silent.
//!
//! A peer that nominates (RFC 8445 §8.1.1) says which path it wants. One whose NAT forgot it may
//! not know that it has another address, and goes on checking without a word about it; so the path
//! in use is left for another that speaks, once it has been silent for two of the peer's own check
//! intervals, or nearly.

use std::time::{Duration, Instant};

use super::proof::Moved;
use super::{FlowKey, Path, Paths};
use crate::limits::{CHECK_INTERVAL, FLOW_HELD, MIN_CHECK_INTERVAL};

/// A path that a session has proved to be its own.
#[derive(Debug)]
pub(super) struct Own {
    pub path: Path,
    /// What the flow table has of it; a TCP connection has none.
    pub flow: Option<FlowKey>,
    /// When something that authenticated came by it last: a check, media, a report.
    pub heard: Instant,
    /// When a check did, and how long after the one before.
    checked: Instant,
    interval: Duration,
    /// Whether the peer was seen to receive by it.
    pub verified: bool,
}

impl Own {
    pub fn new(now: Instant, path: Path, flow: Option<FlowKey>) -> Own {
        let interval = CHECK_INTERVAL;
        Own { path, flow, heard: now, checked: now, interval, verified: false }
    }

    /// A check has come by it.
    fn check(&mut self, now: Instant) {
        let interval = now.saturating_duration_since(self.checked);
        (self.heard, self.checked) = (now, now);
        // Checks come in bursts while a client connects, and late where some are lost.
        self.interval = interval.clamp(MIN_CHECK_INTERVAL, CHECK_INTERVAL);
    }

    /// Whether nothing came by it for as long as a peer that uses it is never silent: a quarter of
    /// an interval before its second check is missed, since the one that shows it comes from
    /// elsewhere at that time.
    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= self.interval * 7 / 4
    }

    /// Whether another session may have it.
    pub fn is_given_up(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= FLOW_HELD
    }
}

/// What follows from something that authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The session's datagrams take the path it came by from now on.
    pub moved: Option<Moved>,
    /// The peer receives by that path, which was not known before.
    pub verified: bool,
}

impl Paths {
    /// Media or a report of the session in `slot` has come by `path` and authenticated: whoever
    /// made it has the keys, so it is there, and the path is left alone no longer.
    #[inline]
    pub fn heard(&mut self, now: Instant, slot: u32, path: &Path) -> Heard {
        let Some(peer) = self.peers.at_mut(slot) else { return Heard::default() };
        let in_use = peer.path == Some(*path);
        let Some(own) = peer.own.iter_mut().find(|own| own.path == *path) else {
            return Heard::default();
        };
        own.heard = now;
        let verified = !std::mem::replace(&mut own.verified, true);
        let moved = if in_use { None } else { self.leave_silent(now, slot, path) };
        Heard { moved, verified }
    }

    /// A check of the session in `slot` has come by `path`, which is its own.
    pub(super) fn heard_check(&mut self, now: Instant, slot: u32, path: &Path) -> Option<Moved> {
        let peer = self.peers.at_mut(slot)?;
        let in_use = peer.path == Some(*path);
        peer.own.iter_mut().find(|own| own.path == *path)?.check(now);
        if in_use { None } else { self.leave_silent(now, slot, path) }
    }

    /// The session in `slot` speaks by `path`. Its datagrams follow if the one they take is silent.
    fn leave_silent(&mut self, now: Instant, slot: u32, path: &Path) -> Option<Moved> {
        let peer = self.peers.at(slot)?;
        let in_use = peer.own.iter().find(|own| Some(own.path) == peer.path)?;
        if in_use.is_silent(now) { self.move_to(slot, *path) } else { None }
    }

    /// The peer of the session in `slot` was seen to receive by `path`.
    pub fn verify(&mut self, slot: u32, path: &Path) {
        let own = self.peers.at_mut(slot).and_then(|peer| peer.own_mut(path));
        if let Some(own) = own {
            own.verified = true;
        }
    }

    /// Whether the peer of the session in `slot` was seen to receive by `path`.
    #[must_use]
    pub fn is_verified(&self, slot: u32, path: &Path) -> bool {
        let peer = self.peers.at(slot);
        peer.is_some_and(|peer| peer.own.iter().any(|own| own.path == *path && own.verified))
    }

    /// The datagrams of the session in `slot` take `path`, if it is its own and they do not yet.
    pub fn take_path(&mut self, slot: u32, path: &Path) -> Option<Moved> {
        let peer = self.peers.at(slot)?;
        let is_own = peer.own.iter().any(|own| own.path == *path);
        if is_own && peer.path != Some(*path) { self.move_to(slot, *path) } else { None }
    }

    /// The path in use has not been seen to be received by. Where the peer was seen to receive by
    /// others, its datagrams take the one it was heard by last.
    pub fn retreat(&mut self, slot: u32) -> Option<Moved> {
        let peer = self.peers.at(slot)?;
        let others = peer.own.iter().filter(|own| own.verified && Some(own.path) != peer.path);
        let path = others.max_by_key(|own| own.heard)?.path;
        self.move_to(slot, path)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::id::Via;

    fn own(now: Instant) -> Own {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let path = Path { via: Via::Udp(0), local, remote: SocketAddr::new(local, 1) };
        Own::new(now, path, None)
    }

    #[test]
    fn silence_is_measured_by_the_peers_own_interval() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut own = own(start);
        assert!(!own.is_silent(at(4_374)) && own.is_silent(at(4_375)), "as browsers check");
        own.check(at(50));
        own.check(at(100));
        assert!(!own.is_silent(at(1_849)) && own.is_silent(at(1_850)), "a burst tells little");
        own.check(at(1_700));
        assert!(!own.is_silent(at(4_499)) && own.is_silent(at(4_500)));
        own.check(at(9_700));
        assert!(!own.is_silent(at(14_074)) && own.is_silent(at(14_075)), "some were lost");
        own.heard = at(14_000);
        assert!(!own.is_silent(at(18_374)), "media is speech, too");
    }
}
