//! A client with its way to the server, and what may have become of its session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use monoport::id::SessionKey;
use monoport::shard::EndReason;

use crate::client::Client;
use crate::media::Encoders;
use crate::network::Leg;
use crate::rogue::Reporter;

pub struct Peer {
    pub client: Client,
    pub key: SessionKey,
    pub stream: usize,
    pub port: usize,
    pub leg: Leg,
    /// What it publishes; a viewer has none.
    pub encoders: Option<Encoders>,
    /// A viewer that writes its own RTCP.
    pub reporter: Option<Reporter>,
    /// It is there: neither switched off nor done.
    pub present: bool,
    /// It has closed its DTLS.
    pub said_goodbye: bool,
    /// Its address is another client's now, or was: the DTLS of one may have been taken for the
    /// other's.
    pub address_changed_hands: bool,
    /// The server has reported its end.
    pub ended: Option<EndReason>,
}

impl Peer {
    /// When it sends its next frame, if it publishes and may.
    pub fn next_frame(&self) -> Option<Instant> {
        self.encoders.as_ref().filter(|_| self.client.connected)?.next()
    }

    /// A session ends for a reason that is there: not because of what others send, and not while
    /// its client is.
    pub fn may_end(&self, reason: EndReason) -> Result<(), String> {
        let may = match reason {
            EndReason::Deleted | EndReason::Replaced => true,
            EndReason::ClosedByPeer => self.said_goodbye,
            EndReason::Failed(_) => self.address_changed_hands,
            EndReason::Vanished | EndReason::Unheard | EndReason::DtlsTimeout(_) => !self.present,
            _ => false,
        };
        if may { Ok(()) } else { Err(format!("session {} ends: {reason:?}", self.key)) }
    }
}

/// Who has and had which address outside the NATs.
#[derive(Default)]
pub struct Addresses {
    holders: HashMap<SocketAddr, Vec<usize>>,
    next: u16,
}

impl Addresses {
    /// A new one for a client.
    pub fn give(&mut self, peer: usize) -> SocketAddr {
        self.next += 1;
        let outside = SocketAddr::from(([198, 51, 100, 1], 20_000 + self.next));
        self.holders.insert(outside, vec![peer]);
        outside
    }

    /// One that another client had is this client's now.
    pub fn pass_on(&mut self, outside: SocketAddr, peer: usize) {
        self.holders.entry(outside).or_default().push(peer);
    }

    /// Everybody who has or had an address, the last first.
    pub fn holders(&self, outside: SocketAddr) -> impl Iterator<Item = usize> {
        self.holders.get(&outside).into_iter().flatten().rev().copied()
    }
}
