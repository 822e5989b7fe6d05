//! Our side of ICE: a lite agent (RFC 8445 §2.5), which answers checks and starts none to find a
//! path.
//!
//! There is no list of candidates and no state per address in here. A check is believed if it has
//! the names and the password of both ends' offer and answer; which of the addresses that made
//! such checks is used, and for how long, is [`crate::paths`]' business, and so is consent (RFC
//! 7675): a session that nothing authentic has come from for
//! [`SESSION_IDLE`](crate::limits::SESSION_IDLE) is over.

use std::net::SocketAddr;

use str0m::IceCreds;

use super::Session;
use crate::wire::attributes;
use crate::wire::binding::{self, TransactionId};

/// The credentials of both ends.
#[derive(Debug)]
pub(super) struct Ice {
    pub local: IceCreds,
    pub remote: Option<IceCreds>,
}

/// What is answered to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckAnswer {
    /// With success: its sender is the peer, and has proved the path it came by.
    Success(Vec<u8>),
    /// With an error, though it is the peer's.
    Error(Vec<u8>),
    /// Nothing: it can't be read, or somebody else's credentials made it.
    Nothing,
}

impl Ice {
    pub fn new(local: IceCreds, remote: Option<IceCreds>) -> Ice {
        Ice { local, remote }
    }

    /// Whether a check's USERNAME is ours, a colon and the peer's (RFC 8445 §7.2.2).
    fn is_named(&self, username: &[u8]) -> bool {
        let Some(rest) = username.strip_prefix(self.local.ufrag.as_bytes()) else { return false };
        let Some(theirs) = rest.strip_prefix(b":") else { return false };
        self.remote.as_ref().is_none_or(|remote| theirs == remote.ufrag.as_bytes())
    }
}

impl Session {
    /// The session's ICE has these credentials from now on: checks with the former ones are
    /// refused. What its peer has proved stays its own, and media goes where it went until the peer
    /// chooses another path.
    pub fn restart_ice(&mut self, local: IceCreds, remote: IceCreds) {
        self.ice = Ice { local, remote: Some(remote) };
    }

    /// Answers the connectivity check `bytes` named `id`, which came from `from` (RFC 8445 §7.3).
    #[must_use]
    pub fn check(&self, from: SocketAddr, bytes: &[u8], id: TransactionId) -> CheckAnswer {
        let Some(check) = attributes::of_check(bytes) else { return CheckAnswer::Nothing };
        let password = &self.ice.local.pass;
        if !self.ice.is_named(check.username) || !binding::is_sealed_with(bytes, password) {
            return CheckAnswer::Nothing;
        }
        if !check.unknown().is_empty() {
            let unknown = binding::unknown_attributes(id, check.unknown(), password);
            return CheckAnswer::Error(unknown);
        }
        if check.is_controlled {
            // A lite agent is the controlled one whatever the tie breakers say (RFC 8445 §6.1.1).
            return CheckAnswer::Error(binding::role_conflict(id, password));
        }
        CheckAnswer::Success(binding::response(id, from, password))
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
