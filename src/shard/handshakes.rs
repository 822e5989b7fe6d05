//! Handshakes wait for their turn: a join storm must not hold up media.
//!
//! What a peer says in its DTLS handshake costs elliptic curves, a hundred microseconds a datagram.
//! A turn takes in a few; the rest waits, in the order it came, for the turns that follow at once.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::core::Core;
use super::inbound::Handled;
use crate::drop::DropReason;
use crate::id::Via;
use crate::limits::{
    HANDSHAKE_DATAGRAMS_PER_TURN, MAX_HANDSHAKE_DATAGRAM, MAX_HANDSHAKE_DATAGRAMS_OF_SESSION,
    MAX_HANDSHAKE_DATAGRAMS_WAITING,
};
use crate::paths::{Inbound, Whose};
use crate::wire::kind::Kind;

/// Datagrams of handshakes that wait, and how many this turn may yet take in.
pub(super) struct Handshakes {
    waiting: VecDeque<Waiting>,
    left: usize,
    /// The datagram at hand is one that has waited.
    has_waited: bool,
}

/// A datagram that waits.
struct Waiting {
    /// Whose it was when it came.
    slot: u32,
    via: Via,
    local: IpAddr,
    remote: SocketAddr,
    arrived: Instant,
    handed_over: bool,
    bytes: Box<[u8]>,
}

impl Handshakes {
    pub fn new() -> Handshakes {
        let left = HANDSHAKE_DATAGRAMS_PER_TURN;
        Handshakes { waiting: VecDeque::new(), left, has_waited: false }
    }

    /// Whether the datagram at hand is taken in at once.
    pub fn is_next(&mut self) -> bool {
        let is_next = self.has_waited || (self.waiting.is_empty() && self.left > 0);
        self.left = self.left.saturating_sub(usize::from(is_next));
        is_next
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        let datagrams = self.waiting.iter().map(|waiting| waiting.bytes.len()).sum::<usize>();
        self.waiting.capacity() * size_of::<Waiting>() + datagrams
    }

    /// Keeps a datagram of the session in `slot` until its turn comes.
    ///
    /// # Errors
    /// [`DropReason::HandshakesLimited`] when too many wait, of all sessions or of this one.
    pub fn wait(&mut self, slot: u32, datagram: &Inbound<'_>) -> Result<Handled, DropReason> {
        let is_full = self.waiting.len() >= MAX_HANDSHAKE_DATAGRAMS_WAITING;
        if is_full || datagram.bytes.len() > MAX_HANDSHAKE_DATAGRAM {
            return Err(DropReason::HandshakesLimited);
        }
        // A thousand at most, which takes a microsecond: a hundredth of what taking one in does.
        let of_session = self.waiting.iter().filter(|waiting| waiting.slot == slot).count();
        if of_session >= MAX_HANDSHAKE_DATAGRAMS_OF_SESSION {
            return Err(DropReason::HandshakesLimited);
        }
        let Inbound { via, local, remote, arrived, handed_over, ref bytes } = *datagram;
        let bytes = Box::from(&**bytes);
        self.waiting.push_back(Waiting { slot, via, local, remote, arrived, handed_over, bytes });
        Ok(Handled::Dtls)
    }
}

impl Core {
    /// Takes in what waits, as much as this turn may; true when there is more.
    pub fn shake_hands(&mut self, now: Instant) -> bool {
        while self.handshakes.left > 0
            && let Some(next) = self.handshakes.waiting.pop_front()
        {
            let Waiting { via, local, remote, arrived, handed_over, mut bytes, .. } = next;
            let bytes = &mut bytes[..];
            let datagram = Inbound { via, local, remote, bytes, arrived, handed_over };
            // Its path may be another's by now, and then it is of no use to anybody.
            let Ok(Whose::Session(slot)) = self.paths.whose(Kind::Dtls, &datagram) else {
                continue;
            };
            self.take_in_hand(slot);
            self.handshakes.has_waited = true;
            // It was counted when it came.
            let _ = self.on_session(now, slot, Kind::Dtls, datagram);
            self.handshakes.has_waited = false;
        }
        self.handshakes.left = HANDSHAKE_DATAGRAMS_PER_TURN;
        !self.handshakes.waiting.is_empty()
    }
}
