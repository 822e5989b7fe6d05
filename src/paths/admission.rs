//! Which checks are looked at: a check costs an HMAC and an answer, and proves a path.

use std::time::Instant;

use super::{FlowKey, Path, Paths};
use crate::drop::DropReason;
use crate::id::Via;

/// A check is not looked at, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwelcome {
    /// What it is counted as.
    pub reason: DropReason,
    /// The shard whose session has the flow, and is to let it go if it was silent.
    pub asked: Option<(u16, FlowKey)>,
}

impl From<DropReason> for Unwelcome {
    fn from(reason: DropReason) -> Unwelcome {
        Unwelcome { reason, asked: None }
    }
}

impl Paths {
    /// Whether a check for the session in `slot` that came by `path` is looked at.
    ///
    /// # Errors
    ///
    /// [`DropReason::ForeignFlow`] while another session speaks by the path,
    /// [`DropReason::TooManyAddresses`] and [`DropReason::ChecksLimited`] when too many came
    /// before.
    pub fn admits(&mut self, now: Instant, slot: u32, path: &Path) -> Result<(), Unwelcome> {
        let peer = self.peers.at(slot).ok_or(DropReason::EndedSession)?;
        let is_own = peer.own.iter().any(|own| own.path == *path);
        if !is_own {
            self.is_free(now, slot, path)?;
        }
        let Some(peer) = self.peers.at_mut(slot) else { return Ok(()) };
        if !peer.guard.may_be_wrong(now, is_own) {
            return Err(DropReason::ChecksLimited.into());
        }
        if !is_own && !peer.guard.may_be_new(now) {
            return Err(DropReason::TooManyAddresses.into());
        }
        Ok(())
    }

    /// A flow that its owner spoke by a moment ago is not taken from it: a client can write any
    /// sender on its checks.
    fn is_free(&self, now: Instant, slot: u32, path: &Path) -> Result<(), Unwelcome> {
        let reason = DropReason::ForeignFlow;
        match path.via {
            Via::Udp(port) => {
                let Some(flow) = self.flow(port, path.local, path.remote) else { return Ok(()) };
                if let Some(owner) = self.flows.get(&flow).filter(|owner| *owner != slot) {
                    let held = !self.is_given_up(now, owner, path);
                    return if held { Err(reason.into()) } else { Ok(()) };
                }
                if self.ports.are_of_sessions() {
                    return Ok(());
                }
                match self.ownership.owner(&flow).filter(|shard| *shard != self.shard) {
                    Some(shard) => Err(Unwelcome { reason, asked: Some((shard, flow)) }),
                    None => Ok(()),
                }
            }
            Via::Tcp(id) => {
                let owner = self.ways.tcp.session_of(id).filter(|owner| *owner != slot);
                let held = owner.is_some_and(|owner| !self.is_given_up(now, owner, path));
                if held { Err(reason.into()) } else { Ok(()) }
            }
        }
    }

    fn is_given_up(&self, now: Instant, owner: u32, path: &Path) -> bool {
        let own = self.peers.at(owner).map(|peer| &peer.own);
        own.is_none_or(|own| own.iter().all(|own| own.path != *path || own.is_given_up(now)))
    }

    /// Another shard's session wants `flow`. It is let go if its session here has been silent.
    /// Returns who moved for it.
    pub fn give_up(&mut self, now: Instant, flow: &FlowKey) -> Option<super::Moved> {
        let slot = self.flows.get(flow)?;
        let own = self.peers.at(slot)?.own.iter().find(|own| own.flow.as_ref() == Some(flow));
        if own.is_some_and(|own| !own.is_given_up(now)) {
            return None;
        }
        self.forget(flow, slot);
        self.part(slot, flow)
    }

    /// Notes that a check for the session in `slot` by `path` had a wrong password; true the first
    /// time.
    pub fn refuse(&mut self, now: Instant, slot: u32, path: &Path) -> bool {
        self.peers.at_mut(slot).is_some_and(|peer| {
            let is_own = peer.own_mut(path).is_some();
            peer.guard.was_wrong(now, is_own)
        })
    }

    /// Whether a check for the session in `slot` had a wrong password.
    #[must_use]
    pub fn was_refused(&self, slot: u32) -> bool {
        self.peers.at(slot).is_some_and(|peer| peer.guard.refused)
    }
}
