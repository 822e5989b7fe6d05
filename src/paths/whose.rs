//! Whose a datagram is.
//!
//! A STUN request names its session in the ufrag and has to prove itself by MESSAGE-INTEGRITY; only
//! then does its 4-tuple become a *flow* of that session. Everything else is found by its flow
//! alone. What belongs to another shard is handed over, and what nobody here knows to the process
//! that this one has taken over from, if there is one; what belongs to nobody leaves nothing but a
//! count.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{Path, Paths};
use crate::drop::DropReason;
use crate::id::{SessionKey, Via};
use crate::wire::kind::Kind;
use crate::wire::link::Head;
use crate::wire::stun::{self, Class};

/// A datagram with where it came from and where it arrived.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// What carried it.
    pub via: Via,
    /// Our address that was hit.
    pub local: IpAddr,
    /// The sender.
    pub remote: SocketAddr,
    /// The payload: media is opened where it lies.
    pub bytes: &'a mut [u8],
    /// When the kernel had it.
    pub arrived: Instant,
    /// Another shard has already sent it here: it goes no further.
    pub handed_over: bool,
}

impl Inbound<'_> {
    /// The path it came by.
    #[must_use]
    pub const fn path(&self) -> Path {
        Path { via: self.via, local: self.local, remote: self.remote }
    }
}

/// Whose a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A check that says which session it is for, and has to prove it.
    Check(Check),
    /// The session's in this slot, which has proved the path it came by.
    Session(u32),
    /// Another shard's.
    Shard(u16),
    /// The link's of this name on this shard, as it says.
    Link(u32),
    /// It may be the process's that this one has taken over from.
    Earlier,
}

/// What a connectivity check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The session it is for.
    pub session: SessionKey,
    /// What the answer to it must repeat.
    pub transaction_id: [u8; 12],
    /// The peer chooses this path.
    pub chosen: bool,
}

impl Paths {
    /// Whose a datagram is that begins like `kind`.
    ///
    /// # Errors
    ///
    /// Why it is nobody's.
    #[inline]
    pub fn whose(&self, kind: Kind, datagram: &Inbound<'_>) -> Result<Whose, DropReason> {
        match kind {
            Kind::Stun => self.named(datagram),
            Kind::Link => self.linked(datagram),
            _ => self.owned(datagram),
        }
    }

    /// The session that a check names.
    fn named(&self, datagram: &Inbound<'_>) -> Result<Whose, DropReason> {
        let peek = stun::peek(datagram.bytes).map_err(|_malformed| DropReason::MalformedStun)?;
        if peek.class == Class::Success && peek.binding {
            // To a check of ours, where it comes from somebody we have asked.
            return self.owned(datagram).map_err(|_unknown| DropReason::UnsolicitedStun);
        }
        if peek.class != Class::Request || !peek.binding {
            return Err(DropReason::UnsolicitedStun);
        }
        let ufrag = peek.local_ufrag.ok_or(DropReason::StunWithoutUsername)?;
        let Some(session) = self.ufrag_key.decode(ufrag) else {
            let earlier = self.earlier_keys.iter().any(|key| key.decode(ufrag).is_some());
            let earlier = if earlier { self.earlier(datagram) } else { None };
            return earlier.ok_or(DropReason::ForgedUfrag);
        };
        if let Via::Udp(port) = datagram.via
            && self.ports.are_of_sessions()
            && (session.shard, session.slot) != (self.shard, port)
        {
            // The port is given to one session and goes with it.
            return Err(DropReason::WrongPort);
        }
        if session.shard != self.shard {
            return handed_over(session.shard, datagram);
        }
        let (transaction_id, chosen) = (peek.transaction_id, peek.use_candidate);
        Ok(Whose::Check(Check { session, transaction_id, chosen }))
    }

    /// The session whose path a datagram came by.
    #[inline]
    fn owned(&self, datagram: &Inbound<'_>) -> Result<Whose, DropReason> {
        let port = match datagram.via {
            Via::Udp(port) => port,
            Via::Tcp(connection) => {
                let session = self.ways.tcp.session_of(connection);
                return session.map(Whose::Session).ok_or(DropReason::UnknownFlow);
            }
        };
        let flow = self.flow(port, datagram.local, datagram.remote);
        let flow = flow.ok_or(DropReason::PortClosed)?;
        match self.flows.get(&flow) {
            Some(slot) => Ok(Whose::Session(slot)),
            None if self.ports.are_of_sessions() => Err(DropReason::UnknownFlow),
            None => match self.ownership.owner(&flow) {
                Some(shard) if shard != self.shard => handed_over(shard, datagram),
                _ if datagram.handed_over => Err(DropReason::StaleFlow),
                _ => self.earlier(datagram).ok_or(DropReason::UnknownFlow),
            },
        }
    }

    /// The link that a datagram of another node names.
    fn linked(&self, datagram: &Inbound<'_>) -> Result<Whose, DropReason> {
        let head = Head::read(datagram.bytes).ok_or(DropReason::MalformedLink)?;
        if matches!(datagram.via, Via::Tcp(_)) || self.ports.are_of_sessions() {
            // Links go between mux ports alone.
            return Err(DropReason::UnknownLink);
        }
        let (shard, link) = (u16::from(head.shard), head.link);
        match self.ownership.links.has(shard, link) {
            true if shard == self.shard => Ok(Whose::Link(link)),
            true if !datagram.handed_over => Ok(Whose::Shard(shard)),
            _ if datagram.handed_over => Err(DropReason::UnknownLink),
            _ => self.earlier(datagram).ok_or(DropReason::UnknownLink),
        }
    }

    /// What nobody here knows is an earlier process's, where there is one and the port is its too.
    fn earlier(&self, datagram: &Inbound<'_>) -> Option<Whose> {
        let may_be = matches!(datagram.via, Via::Udp(_)) && !self.ports.are_of_sessions();
        (may_be && !self.earlier_keys.is_empty()).then_some(Whose::Earlier)
    }
}

/// The datagram is `shard`'s. One that was handed over already, or that came by a connection, which
/// stays where its first check led, goes no further.
fn handed_over(shard: u16, datagram: &Inbound<'_>) -> Result<Whose, DropReason> {
    match datagram.via {
        _ if datagram.handed_over => Err(DropReason::StaleFlow),
        Via::Tcp(_) => Err(DropReason::ForeignConnection),
        Via::Udp(_) => Ok(Whose::Shard(shard)),
    }
}
