//! What a session does of ICE beside str0m: it answers checks with the address they came from,
//! makes checks of its own, and starts over under other credentials.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::IceCreds;

use super::{LocalIce, Refused, Session};
use crate::id::Transport;
use crate::wire::attributes;
use crate::wire::binding::{self, TransactionId};

/// The credentials of both ends, and the one address that str0m knows of the peer.
///
/// str0m keeps every address that a check came from, with a pair for each, as long as the session
/// lives. It would do so for each of forty thousand that a client forges; so it gets to see the
/// first one of each transport in the place of all, and which one is used is [`crate::paths`]'
/// business.
#[derive(Debug)]
pub(super) struct Ice {
    local: IceCreds,
    remote: Option<IceCreds>,
    /// By UDP and by TCP.
    seen_as: [Option<SocketAddr>; 2],
    /// The first of our addresses in the answer, likewise: str0m takes nothing for others, and a
    /// host has more of them than it names, or others by now.
    reached_at: [Option<SocketAddr>; 2],
}

impl Ice {
    pub fn new(local: &LocalIce<'_>, remote: Option<IceCreds>) -> Ice {
        let reached_at = [local.candidates.first(), local.tcp_candidates.first()];
        let local = local.credentials.clone();
        Ice { local, remote, seen_as: [None; 2], reached_at: reached_at.map(Option::<&_>::copied) }
    }

    /// What str0m is told for a datagram that reached us at `local`.
    pub fn reached_at(&self, transport: Transport, local: SocketAddr) -> SocketAddr {
        self.reached_at[transport as usize].unwrap_or(local)
    }

    /// Whether a peer that has these credentials by now starts ICE over.
    pub fn is_restart(&self, remote: &Option<IceCreds>) -> bool {
        remote.is_some() && *remote != self.remote
    }

    /// What str0m is told for a datagram from `remote`.
    pub fn seen_as(&mut self, transport: Transport, remote: SocketAddr) -> SocketAddr {
        *self.seen_as[transport as usize].get_or_insert(remote)
    }
}

impl Session {
    /// The session's ICE has these credentials from now on: checks with the former ones are
    /// refused. What its peer has proved stays its own, and media goes where it went until the peer
    /// chooses another path.
    pub fn restart_ice(&mut self, local: IceCreds, remote: IceCreds) {
        let mut direct = self.rtc.direct_api();
        direct.set_local_ice_credentials(local.clone());
        direct.set_remote_ice_credentials(remote.clone());
        (self.ice.local, self.ice.remote) = (local, Some(remote));
    }

    /// Takes in a connectivity check, which str0m answers in the next drain: as it is, or of the
    /// parts that str0m reads where it lacks some or has others. Returns the answer to one that
    /// asks for what is not understood (RFC 8489 §6.3.1).
    ///
    /// # Errors
    /// When it can't be read, or str0m refuses it. One with a wrong password is left unanswered.
    pub fn check(
        &mut self,
        now: Instant,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        (bytes, id): (&[u8], TransactionId),
    ) -> Result<Option<Vec<u8>>, Refused> {
        let check = attributes::of_check(bytes).ok_or(Refused)?;
        if check.is_usual {
            return self.receive(now, transport, local, remote, bytes).map(|()| None);
        }
        let password = &self.ice.local.pass;
        if !binding::is_sealed_with(bytes, password) {
            // Unanswered, like one that str0m does not believe.
            return Ok(None);
        }
        if !check.unknown().is_empty() {
            return Ok(Some(binding::unknown_attributes(id, check.unknown(), password)));
        }
        let remade = binding::remade(id, &check, password);
        self.receive(now, transport, local, remote, &remade).map(|()| None)
    }

    /// The success response to a check that came from `from`.
    #[must_use]
    pub fn binding_response(&self, id: TransactionId, from: SocketAddr) -> Vec<u8> {
        binding::response(id, from, &self.ice.local.pass)
    }

    /// A check of our own: only the peer can answer it, and only where it receives. `None` where
    /// its offer had no credentials.
    #[must_use]
    pub fn binding_request(&self, id: TransactionId) -> Option<Vec<u8>> {
        let remote = self.ice.remote.as_ref()?;
        let username = format!("{}:{}", remote.ufrag, self.ice.local.ufrag);
        let tie_breaker = u64::from_be_bytes(*id.first_chunk()?);
        Some(binding::request(id, &username, tie_breaker, &remote.pass))
    }

    /// The check of ours that a message answers, if the peer wrote it.
    #[must_use]
    pub fn answered_check(&self, message: &[u8]) -> Option<TransactionId> {
        let remote = self.ice.remote.as_ref()?;
        binding::answered(message).filter(|_| binding::is_sealed_with(message, &remote.pass))
    }
}
