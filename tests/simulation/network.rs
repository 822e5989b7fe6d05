//! The network between clients and server: each client has a leg of its own, with a NAT on it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::random::Random;

/// What one direction of a leg does to datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    pub lost_permille: u32,
    pub doubled_permille: u32,
    /// The least time on the way, in microseconds.
    pub delay_us: u64,
    /// What may come on top of it; datagrams overtake one another within.
    pub jitter_us: u64,
}

impl Quality {
    /// Nothing is lost, and everything arrives in order.
    pub const PERFECT: Quality =
        Quality { lost_permille: 0, doubled_permille: 0, delay_us: 2_000, jitter_us: 0 };

    /// Anything from a fine line to a bad one.
    pub fn any(random: &mut Random) -> Quality {
        Quality {
            lost_permille: random.one_of(&[0, 0, 5, 20, 50, 150]),
            doubled_permille: random.one_of(&[0, 0, 0, 20]),
            delay_us: random.one_of(&[500, 5_000, 20_000, 60_000]),
            jitter_us: random.one_of(&[0, 0, 2_000, 15_000]),
        }
    }
}

/// One direction of a leg.
#[derive(Clone, Copy, Debug)]
pub struct Direction {
    pub quality: Quality,
    /// Nothing gets through until then.
    pub cut_until: Option<Instant>,
    /// Nor does RTCP until then: what a request for a key frame goes by.
    pub deaf_until: Option<Instant>,
}

impl Direction {
    fn new(quality: Quality) -> Direction {
        Direction { quality, cut_until: None, deaf_until: None }
    }

    /// When a datagram sent at `now` arrives, and when its double does.
    pub fn carry(
        &self,
        random: &mut Random,
        now: Instant,
        datagram: &[u8],
    ) -> [Option<Instant>; 2] {
        let until = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let stopped =
            until(self.cut_until) || (until(self.deaf_until) && kind(datagram) == Kind::Rtcp);
        if stopped || random.chance(self.quality.lost_permille) {
            return [None, None];
        }
        let mut arrival = || {
            let jitter = match self.quality.jitter_us {
                0 => 0,
                most => random.within(0..most),
            };
            now + Duration::from_micros(self.quality.delay_us + jitter)
        };
        let (first, second) = (arrival(), arrival());
        [Some(first), random.chance(self.quality.doubled_permille).then_some(second)]
    }
}

/// A client's way to the server and back.
pub struct Leg {
    pub up: Direction,
    pub down: Direction,
    /// What the client is to the server.
    pub outside: SocketAddr,
}

impl Leg {
    pub fn new(outside: SocketAddr, quality: Quality) -> Leg {
        Leg { up: Direction::new(quality), down: Direction::new(quality), outside }
    }
}

/// What a datagram is, by its first bytes (RFC 7983, RFC 5761).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    Other,
}

pub fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [0..=3, ..] => Kind::Stun,
        [20..=63, ..] => Kind::Dtls,
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] if datagram.len() >= 12 => Kind::Rtp,
        _ => Kind::Other,
    }
}

/// SSRC and sequence number of an RTP datagram.
pub fn rtp_name(datagram: &[u8]) -> (u32, u16) {
    let ssrc = u32::from_be_bytes([datagram[8], datagram[9], datagram[10], datagram[11]]);
    (ssrc, u16::from_be_bytes([datagram[2], datagram[3]]))
}
